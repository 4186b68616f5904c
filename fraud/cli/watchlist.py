"""`mimamori watchlist`: what the authorization host and the 3-D Secure server are asked to do with exposed cards."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import asdict
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from fraud.cli.held_job import held_job
from fraud.cli.operators import AsJson, print_json, print_table, store
from fraud.settings import load_settings
from fraud.store.database import write
from fraud.store.watchlist import forget_cursor
from streams.jobs import JobKind
from streams.kafka import topic_id
from streams.watchlist import WatchlistPublisher, is_compacted
from streams.watchlist_check import check_watchlist

app = typer.Typer(help="The watch list: what others are asked to do with exposed cards.", no_args_is_help=True)

SUBJECT: Final = "topic"


@app.command("publish", epilog="Example: mimamori watchlist publish --all")
def publish(
    everything: Annotated[
        bool, typer.Option("--all", help="All of the list again, not only what has changed.")
    ] = False,
) -> None:
    """Publish what has changed. `mimamori jobs run` does so by itself, within seconds of every change."""
    settings = load_settings()
    with (
        store(settings) as engine,
        held_job(engine, JobKind.WATCHLIST, SUBJECT) as fence,
        _progress() as bar,
    ):
        if everything:
            with write(engine) as connection:
                forget_cursor(connection, topic_id(settings.kafka, settings.kafka.watchlist_topic))
        task = bar.add_task("publishing", total=None)

        def told(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        with contextlib.closing(WatchlistPublisher(engine, settings.kafka, fence, told)) as publisher:
            cursor = publisher.publish()
    typer.echo(
        f"published up to exposure version {cursor.published_version}; since the topic was made "
        f"{cursor.entries} entries and {cursor.tombstones} releases"
    )


@app.command("verify", epilog="Example: mimamori watchlist verify --json")
def verify(as_json: AsJson = False) -> None:
    """Build the list from its topic as consumers do, and compare it with the database. Exit code 1 on a difference."""
    settings = load_settings()
    with store(settings) as engine, _progress() as bar:
        tasks = {name: bar.add_task(f"reading the {name}", total=None) for name in ("topic", "database")}

        def told(what: str, done: int, total: int) -> None:
            bar.update(tasks[what], completed=done, total=total)

        check = check_watchlist(engine, settings.kafka, told)
        compacted = is_compacted(settings.kafka)
    figures = {**asdict(check), "compacted": compacted, "agrees": check.agrees}
    if as_json:
        print_json(figures)
    else:
        rows = [
            (name.replace("_", " "), ", ".join(value) if isinstance(value, tuple) else value)
            for name, value in figures.items()
        ]
        print_table("Watch list", ("", ""), rows)
        if compacted is False:
            typer.echo("the topic is not compacted, so entries will be lost: set cleanup.policy=compact", err=True)
    if not check.agrees:
        raise typer.Exit(1)


@contextlib.contextmanager
def _progress() -> Iterator[Progress]:
    columns = (TextColumn("{task.description:22}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        yield bar
