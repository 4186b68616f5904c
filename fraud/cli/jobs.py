"""`mimamori jobs`: what is neither stream nor request."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from dataclasses import asdict
from types import FrameType
from typing import Annotated, Final

import typer

from fraud.cli import lookback, watchlist
from fraud.cli.operators import AsJson, print_json, print_table, store
from fraud.cli.wiring import open_store
from fraud.clock import now_ms
from fraud.logs import configure_logging
from fraud.settings import load_settings
from fraud.store.database import read, write
from fraud.store.jobs import ensure_job, list_jobs
from fraud.store.outbox import delivery_counts
from streams.jobs import JobFunction, JobKind, JobRunner
from streams.reference_intake import run_reference_intake
from streams.relay import run_relay
from streams.watchlist import run_watchlist

app = typer.Typer(help="Jobs: what is neither stream nor request, such as the relay.", no_args_is_help=True)

REGISTRY: Final[Mapping[JobKind, JobFunction]] = {
    JobKind.RELAY: run_relay,
    JobKind.CARD_REFERENCES: run_reference_intake,
    JobKind.LOOKBACK: lookback.job,
    JobKind.WATCHLIST: run_watchlist,
}
# Jobs that are always there, each once: kind to subject.
STANDING: Final[Mapping[JobKind, str]] = {
    JobKind.RELAY: "outbox",
    JobKind.CARD_REFERENCES: "topic",
    JobKind.LOOKBACK: lookback.SUBJECT,
    JobKind.WATCHLIST: watchlist.SUBJECT,
}
_OTHER_SLOTS: Final = 4  # for jobs that come to an end, beside those that never do


@app.command("run", epilog="Example: mimamori jobs run")
def run(
    json_logs: Annotated[bool | None, typer.Option(help="JSON lines; by default when not on a terminal.")] = None,
) -> None:
    """Run jobs until SIGTERM or Ctrl-C. Start as many of these as you like: each job has one runner at a time."""
    configure_logging(json_lines=json_logs)
    settings = load_settings()
    engine = open_store(settings, migrate=True)
    with write(engine) as connection:
        for kind, subject in STANDING.items():
            ensure_job(connection, kind, subject, now_ms())
    runner = JobRunner(engine, settings, REGISTRY, slots=len(STANDING) + _OTHER_SLOTS)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        runner.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    runner.run()
    engine.dispose()


@app.command("list", epilog="Example: mimamori jobs list --json")
def list_all(as_json: AsJson = False) -> None:
    """List the jobs, who runs them, and what the relay has delivered and still owes."""
    with store(load_settings()) as engine, read(engine) as connection:
        jobs = list_jobs(connection)
        deliveries = delivery_counts(connection)
    if as_json:
        print_json({"jobs": [asdict(item) for item in jobs], "deliveries": [asdict(item) for item in deliveries]})
        return
    names = ("job_id", "kind", "subject", "status", "leased_by", "failures", "error")
    print_table(
        "Jobs", [name.replace("_", " ") for name in names], [[getattr(item, name) for name in names] for item in jobs]
    )
    if deliveries:
        rows = [(item.destination, item.status, item.deliveries) for item in deliveries]
        print_table("Deliveries", ("destination", "status", "messages"), rows)
