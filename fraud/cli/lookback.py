"""`mimamori lookback`: what was spent on exposed cards before they were known, searched in the archive."""

from __future__ import annotations

import sys
from dataclasses import asdict
from functools import partial
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from sqlalchemy import Engine

from fraud.cli.held_job import held_job
from fraud.cli.operators import AsJson, Reason, actor, print_json, print_table, store
from fraud.cli.wiring import load_champion, make_clock
from fraud.clock import now_ms
from fraud.logs import configure_logging
from fraud.lookback import RunStatus
from fraud.policy import Policy
from fraud.settings import Settings, load_settings
from fraud.store import lookback as runs
from fraud.store.audit import append_audit
from fraud.store.compromise_records import get_compromise_event
from fraud.store.database import read, write
from fraud.store.lookback import LookbackRunView
from streams.archive import ArchiveTable
from streams.jobs import JobContext, JobKind
from streams.lookback import Lookbacks, run_lookbacks

app = typer.Typer(help="Look-back: what was spent on exposed cards before they were known.", no_args_is_help=True)

SUBJECT: Final = "archive"
_SHOWN: Final = 200

EventOption = Annotated[str | None, typer.Option("--event", help="Only of this compromise event.")]


def policy_in_force(settings: Settings) -> Policy:
    """The policy of the champion model."""
    return load_champion(settings)[1]


def job(context: JobContext) -> bool:
    """Look-back as the runner of jobs runs it."""
    return run_lookbacks(context, policy_in_force, make_clock)


@app.command("list", epilog="Example: mimamori lookback list --event shop-2022")
def list_all(event: EventOption = None, as_json: AsJson = False) -> None:
    """List look-backs, the latest first: how far each is, what it has found, and which days the archive could give."""
    with store(load_settings()) as engine, read(engine) as connection:
        page = runs.list_lookbacks(connection, event, None, _SHOWN)
    if as_json:
        print_json([asdict(item) for item in page.items])
        return
    names = ("run", "event", "reason", "status", "searched", "days held", "cards", "matches", "detections", "error")
    print_table("Look-backs", names, [_row(item) for item in page.items])


@app.command("show", epilog="Example: mimamori lookback show 3 --json")
def show(run: Annotated[int, typer.Argument(min=1, help="Number of the run.")], as_json: AsJson = False) -> None:
    """Show one look-back with its partitions: what each still waits for, and the days that the archive holds."""
    with store(load_settings()) as engine, read(engine) as connection:
        found = runs.get_lookback(connection, run)
        partitions = runs.lookback_partitions(connection, run)
    if as_json:
        print_json({**asdict(found), "partitions": [asdict(item) for item in partitions]})
        return
    print_table(
        f"Look-back {run}", ("", ""), [(name.replace("_", " "), value) for name, value in asdict(found).items()]
    )
    rows = [
        (
            item.topic,
            item.partition,
            item.status,
            item.scanned_offset,
            item.archived_offset,
            item.to_offset,
            *_days(item),
        )
        for item in partitions
    ]
    names = ("topic", "partition", "status", "searched to", "archived to", "known from", "days held", "rows")
    print_table("Partitions", names, rows)


@app.command("run", epilog="Example: mimamori lookback run")
def run() -> None:
    """Take all look-backs as far as they can go now. `mimamori jobs run` does so by itself, and goes on."""
    configure_logging(json_lines=None)
    settings = load_settings()
    console = Console(stderr=True)
    columns = (TextColumn("look-back {task.description:24}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with (
        store(settings) as engine,
        held_job(engine, JobKind.LOOKBACK, SUBJECT) as fence,
        Progress(*columns, console=console, disable=not sys.stderr.isatty()) as bar,
    ):
        tasks: dict[int, TaskID] = {}
        left = Lookbacks(
            engine,
            settings,
            ArchiveTable.from_settings(settings),
            partial(policy_in_force, settings),
            make_clock(settings, engine),
            fence=fence,
            reached=partial(_show_progress, engine, bar, tasks),
        ).step()
    for item in left:
        waits = "its next attempt" if item.error else "workers or the archive: mimamori lookback show"
        typer.echo(f"look-back {item.lookback_run_id} of {item.compromise_event_id} waits for {waits}")
    if not left:
        typer.echo("all look-backs are done")


@app.command("repeat", epilog="Example: mimamori lookback repeat --event shop-2022 --reason 'history imported'")
def repeat(reason: Reason, event: EventOption = None) -> None:
    """Have the archive searched again: for all open compromise events, or for one. What was found stays.

    For rows that came into the archive behind the stream's back, such as imported history.
    """
    with store(load_settings()) as engine, write(engine) as connection:
        if event is not None:
            get_compromise_event(connection, event)
        count = runs.repeat_lookbacks(connection, event, "REPEAT", now_ms())
        append_audit(
            connection,
            actor=actor(),
            action="lookback.repeat",
            subject=event or "all open events",
            now=now_ms(),
            reason=reason,
            new={"runs": count},
        )
    typer.echo(f"{count} look-backs begin anew")


def _show_progress(engine: Engine, bar: Progress, tasks: dict[int, TaskID], point: str) -> None:
    if point not in ("begun", "day", "settled") or bar.disable:
        return
    with read(engine) as connection:
        found = runs.list_lookbacks(connection, None, None, _SHOWN).items
    for item in found:
        if item.status in (RunStatus.SCANNING, RunStatus.WAITING):
            if item.lookback_run_id not in tasks:
                tasks[item.lookback_run_id] = bar.add_task(item.compromise_event_id)
            task = tasks[item.lookback_run_id]
            bar.update(task, total=max(item.rows_total, 1), completed=item.rows_scanned)


def _row(item: LookbackRunView) -> tuple[object, ...]:
    searched = f"{item.rows_scanned / item.rows_total:.0%}" if item.rows_total else ""
    held = f"{item.coverage['days_held']} of {item.coverage['days']}" if item.coverage else ""
    return (
        item.lookback_run_id,
        item.compromise_event_id,
        item.reason,
        item.status,
        searched,
        held,
        item.cards,
        item.matches,
        item.detections,
        item.error,
    )


def _days(item: runs.LookbackPartitionView) -> tuple[int, int]:
    return len(item.days), sum(item.days.values())
