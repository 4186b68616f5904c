"""`mimamori bench stream`: the whole way of a record, beside the public client's `poll()` alone, on one core."""

from __future__ import annotations

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
from streams.bench.children import child
from streams.bench.machine import last_core
from streams.bench.sizes import BenchSize

_WORKER = "fraud.cli.bench_worker"
_RAW = "streams.bench.raw_poll"
_FIGURES = {
    "records": "",
    "raw_cpu_us_per_record": "us",
    "worker_cpu_us_per_record": "us",
    "ratio_to_raw": "",
    "records_per_core_second": "/s",
    "records_per_wall_second": "/s",
    "detections": "",
    "detection_percent": "%",
    "exposed_percent": "%",
    "cards_in_memory": "",
    "checkpoints": "",
    "archive_commits": "",
    "rules": "",
}


def run(size: BenchSize, core: int | None, report_file: Path | None) -> dict[str, Any]:
    """Run it, show it, and give the report."""
    core = last_core() if core is None else core
    with prepared(size) as ready:
        report = {**head("stream"), "core": core, "settings": dict(ready.facts), **_measure(ready, size, core)}
        show("bench stream", report, _FIGURES)
        show_stages("stage", report["stages"], "CPU us per record")
        show_stages("thread", report["threads_cpu_us_per_record"], "CPU us per record")
        finish(report, report_file, ready.console)
    return report


def _measure(ready: Prepared, size: BenchSize, core: int) -> dict[str, Any]:
    task = {"settings": ready.settings, "records": size.records, "core": core}
    raw = [_raw(ready, task)]
    servers = ready.place.server_seconds()
    with child(_WORKER, task, log_of(ready.place, "worker")) as worker, steps(ready.console) as bar:
        shown = bar.add_task("the whole worker", total=size.records)
        worker.wait_for("ready", QUIET_SECONDS)
        result = worker.wait_for("result", QUIET_SECONDS, lambda done: bar.update(shown, completed=done))
        bar.update(shown, completed=size.records)
        after = ready.place.server_seconds()
        ended = worker.wait_for("ended", QUIET_SECONDS)
        worker.end()
    raw.append(_raw(ready, task))  # once before and once after: the machine may have been busier then
    return _report(size, raw, result, ended, {name: after[name] - servers[name] for name in servers if name in after})


def _raw(ready: Prepared, task: dict[str, Any]) -> dict[str, Any]:
    with child(_RAW, task, log_of(ready.place, "raw")) as process, steps(ready.console) as bar:
        shown = bar.add_task("poll() alone", total=task["records"])
        result: dict[str, Any] = process.wait_for(
            "result", QUIET_SECONDS, lambda done: bar.update(shown, completed=done)
        )
        bar.update(shown, completed=task["records"])
        process.end()
    return result


def _report(
    size: BenchSize, raw: list[dict[str, Any]], result: dict[str, Any], ended: dict[str, Any], servers: dict[str, float]
) -> dict[str, Any]:
    records = result["records"]
    each = [1e6 * item["cpu_seconds"] / item["records"] for item in raw]
    raw_us = sum(each) / len(each)
    worker_us = 1e6 * result["cpu_seconds"] / records
    stages = {name: 1e6 * item["cpu_seconds"] / records for name, item in result["stages"].items()}
    stages["threads of libraries"] = 1e6 * result["library_threads"] / records
    stages["not attributed"] = worker_us - sum(stages.values())
    return {
        "records": records,
        "raw_cpu_us_per_record": raw_us,
        "raw_cpu_us_per_record_each": each,
        "worker_cpu_us_per_record": worker_us,
        "ratio_to_raw": worker_us / raw_us,
        "records_per_core_second": records / result["cpu_seconds"],
        "records_per_wall_second": records / result["wall_seconds"],
        "raw_records_per_wall_second": raw[0]["records"] / raw[0]["wall_seconds"],
        "published": size.records,
        "cards_in_memory": ended["cards"],
        "detections": result["detections"],
        "detection_percent": 100 * result["detections"] / records,
        "exposed_percent": 100 * result["matches"] / records,
        "checkpoints": result["checkpoints"],
        "archive_commits": result["archive_commits"],
        "with_the_last": {name: ended[name] for name in ("checkpoints", "archive_commits", "archived_rows")},
        "rules": len(ended["triggers"]),
        "rule_codes": ended["triggers"],
        "stages": stages,
        "stage_wall_us_per_record": {
            name: 1e6 * item["wall_seconds"] / records for name, item in result["stages"].items()
        },
        "stage_calls": {name: item["calls"] for name, item in result["stages"].items()},
        "threads_cpu_us_per_record": {name: 1e6 * seconds / records for name, seconds in result["threads"].items()},
        "stages_not_found": result["not_found"],
        "server_cpu_us_per_record": {name: 1e6 * seconds / records for name, seconds in servers.items()},
    }
