"""The steps of an import, as the commands share them: staged with a progress bar, published, and shown."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from sqlalchemy import Engine

from fraud.cli.operators import actor, print_json, print_table
from fraud.cli.wiring import make_clock, open_store
from fraud.clock import now_ms
from fraud.settings import Settings
from fraud.store.database import read, write
from fraud.store.import_findings import EXCLUSIVE, Finding
from fraud.store.import_publishing import publish_import
from fraud.store.import_staging import (
    CardRows,
    ImportView,
    begin_import,
    get_import,
    stage_file,
    sweep_imports,
)


def bring(
    settings: Settings,
    event_id: str,
    cards: CardRows,
    sha256: str,
    name: str,
    provenance: str,
    *,
    publish: bool,
    as_json: bool,
) -> None:
    """Stage cards for an event and show what was found; with `publish`, watch them at once."""
    with open_with_clock(settings) as (engine, now):
        sweep_imports(engine, now())
        with write(engine) as connection:
            staged = begin_import(
                connection,
                event_id,
                provenance=provenance,
                name=name,
                sha256=sha256,
                created_by=actor()[:64],
                now=now(),
            )
        if staged.no_op:
            typer.echo("this has been imported before; nothing changed. The counts are those of the first import:")
        else:
            with progress_bar() as progress:
                stage_file(engine, staged, cards, now, progress)
        if publish and not staged.no_op:
            publish_and_show(engine, staged.import_id, now, as_json=as_json)
            return
        with read(engine) as connection:
            show(get_import(connection, staged.import_id), as_json=as_json)


def publish_and_show(engine: Engine, import_id: int, now: Callable[[], int], *, as_json: bool) -> None:
    """Watch the cards of a dry run, and show what became of it."""
    with write(engine) as connection:
        done = publish_import(connection, import_id, actor()[:64], now())
    show(done, as_json=as_json)


def show(view: ImportView, *, as_json: bool) -> None:
    """Show an import's findings."""
    if as_json:
        print_json(asdict(view))
        return
    table: list[tuple[Any, ...]] = [(name, view.findings.get(name, 0)) for name in EXCLUSIVE]
    marks = [name for name in Finding if name not in EXCLUSIVE]
    table += [(f"  of these {name}", view.findings[name]) for name in marks if view.findings.get(name)]
    table += [(f"  malformed: {name}", rows_) for name, rows_ in view.reasons.items()]
    print_table(f"Import {view.import_id}: {view.status}, {view.rows:,} rows", ("finding", "rows"), table)
    if view.status == "STAGED":
        typer.echo(f"nothing is watched yet: mimamori imports publish {view.import_id}")


@contextmanager
def open_with_clock(settings: Settings) -> Iterator[tuple[Engine, Callable[[], int]]]:
    """The store and the time in epoch milliseconds, for one command."""
    engine = open_store(settings, migrate=True)
    clock = make_clock(settings, engine)
    try:
        yield engine, lambda: now_ms(clock)
    finally:
        engine.dispose()


@contextmanager
def progress_bar() -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal; nothing where nobody looks."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:,.0f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("rows", total=None)

        def progress(read_rows: int, lines: int) -> None:
            bar.update(task, completed=read_rows, total=max(lines, read_rows))

        yield progress
