"""`mimamori replay`: recorded transactions, published again as contract events."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from fraud.cli.options import parse_day
from fraud.settings import load_settings
from models.datasets import read_handbook
from streams.kafka import create_topics, make_producer
from streams.publishing import publish

app = typer.Typer(help="Publish recorded transactions to the topic.", no_args_is_help=True)


@app.callback()
def _replays() -> None:
    """Publish recorded transactions to the topic."""


@app.command("handbook", epilog="Example: mimamori replay handbook --data DIR --from 2018-07-25 --to 2018-08-14")
def replay_handbook(
    data: Annotated[Path, typer.Option(help="Folder of the Fraud Detection Handbook's transactions.", exists=True)],
    from_day: Annotated[str, typer.Option("--from", help="First day.", metavar="DATE")],
    to_day: Annotated[str, typer.Option("--to", help="Last day, inclusive.", metavar="DATE")],
) -> None:
    """Publish the handbook's simulated transactions: a customer is a card, a terminal is a merchant.

    Labels are not published. The event times lie in the past, so run the workers with MIMAMORI_CLOCK=stream.
    """
    settings = load_settings()
    columns, _, _ = read_handbook(data, parse_day(from_day, "--from"), parse_day(to_day, "--to"))
    create_topics(settings.kafka)
    with (
        contextlib.closing(make_producer(settings.kafka)) as producer,
        Progress(console=Console(stderr=True)) as bar,
    ):
        task = bar.add_task("publishing", total=len(columns))
        published = publish(
            producer, settings.kafka.transactions_topic, columns, lambda count: bar.advance(task, count)
        )
    typer.echo(f"published {published:,} transactions to {settings.kafka.transactions_topic}")
