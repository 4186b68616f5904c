"""`mimamori bench restart`: from the assignment of the partitions to the first new record, after a crash."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from fraud.cli.bench_setup import (
    QUIET_SECONDS,
    Prepared,
    finish,
    head,
    log_of,
    prepared,
    show,
    show_stages,
    steps,
)
from fraud.store.database import read
from fraud.store.effects import list_positions
from streams.bench.children import child
from streams.bench.sizes import BenchSize

_NEW_RECORDS = 20_000
_NEVER = 1_000_000_000  # no checkpoint but the first
_FIGURES = {
    "cards": "",
    "tail_records": "",
    "seconds_to_first_record": "s",
    "seconds_to_all_partitions": "s",
    "cpu_seconds_in_stages": "s",
}


def run(size: BenchSize, tail: int, report_file: Path | None) -> dict[str, Any]:
    """Run it, show it, and give the report."""
    never = {"checkpoint_seconds": _NEVER, "checkpoint_records": _NEVER, "waiting_rows": _NEVER}
    with prepared(replace(size, records=tail + _NEW_RECORDS).with_stream(never)) as ready:
        report = {**head("restart"), "settings": dict(ready.facts), **_measure(ready, tail)}
        show("bench restart", report, _FIGURES)
        show_stages("stage", report["stages"], "seconds until all partitions run")
        finish(report, report_file, ready.console)
    return report


def _measure(ready: Prepared, tail: int) -> dict[str, Any]:
    place = ready.place
    with (
        child(
            "fraud.cli.bench_worker", {"settings": ready.settings, "crash_at": tail}, log_of(place, "first")
        ) as first,
        steps(ready.console) as bar,
    ):
        shown = bar.add_task("a worker that crashes", total=tail)
        first.wait_for("crashing", QUIET_SECONDS, lambda done: bar.update(shown, completed=done))
        bar.update(shown, completed=tail)
        first.process.wait()
    with read(place.engine) as connection:
        positions = [position.next_offset for position in list_positions(connection)]
    # It goes on until it has told everything, and is killed at the end of the context.
    with child("fraud.cli.bench_worker", {"settings": ready.settings}, log_of(place, "second")) as second:
        loading = second.wait_for("loading", QUIET_SECONDS)
        to_all = second.wait_for("ready", QUIET_SECONDS)
        first_record = second.wait_for("first_committed", QUIET_SECONDS)
    stages = {name: item["wall_seconds"] for name, item in loading.items()}
    stages["not attributed"] = to_all["all_ready"] - sum(stages.values())
    return {
        "cards": ready.facts["cards_with_state"],
        "tail_records": sum(positions),
        "tail_by_partition": positions,
        "seconds_to_first_record": first_record["first_committed"],
        "seconds_to_first_partition": to_all["first_ready"],
        "seconds_to_all_partitions": to_all["all_ready"],
        "cpu_seconds_in_stages": sum(item["cpu_seconds"] for item in loading.values()),
        "stages": stages,
        "stage_cpu_seconds": {name: item["cpu_seconds"] for name, item in loading.items()},
    }
