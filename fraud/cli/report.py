"""`mimamori report`: what the stream has done."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from fraud.cli.wiring import open_store
from fraud.errors import UnavailableError
from fraud.settings import Settings, load_settings
from fraud.store.database import read
from fraud.store.operations import summary
from streams.lag import published_records

app = typer.Typer(help="Reports.", no_args_is_help=True)

_COUNTS = ("published", "processed", "dead_letters", "duplicates", "quarantined")


@app.callback()
def _reports() -> None:
    """Reports."""


@app.command("summary", epilog="Example: mimamori report summary --json")
def report_summary(
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object.")] = False,
    with_broker: Annotated[
        bool, typer.Option("--broker/--no-broker", help="Ask the broker how many records were published.")
    ] = True,
) -> None:
    """Counts that add up: published = processed + dead letters + duplicates + quarantined (+ waiting)."""
    settings = load_settings()
    report = build_summary(settings, with_broker=with_broker)
    if as_json:
        typer.echo(json.dumps(report, indent=2))
        return
    table = Table(title="Stream summary")
    table.add_column("what")
    table.add_column("count", justify="right")
    for key, value in report.items():
        if isinstance(value, int):
            table.add_row(key.replace("_", " "), f"{value:,}")
    Console().print(table)


def build_summary(settings: Settings, *, with_broker: bool) -> dict[str, Any]:
    """The store's counters beside the broker's; `adds_up` says whether every published record is accounted for."""
    with read(open_store(settings)) as connection:
        report = summary(connection)
    report["published"] = None
    if with_broker:
        try:
            report["published"] = published_records(settings.kafka)
        except UnavailableError as error:
            typer.echo(f"mimamori: {error}; the counts are those of the store alone", err=True)
    accounted = sum(report[key] for key in _COUNTS[1:])
    if report["published"] is not None:
        report["waiting"] = report["published"] - accounted
        report["adds_up"] = report["waiting"] == 0
    return report
