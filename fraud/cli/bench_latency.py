"""`mimamori bench latency`: from the broker's append to the committed case, at a steady rate."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from fraud.cli.bench_setup import QUIET_SECONDS, Prepared, finish, head, log_of, prepared, show, steps
from fraud.errors import InvalidInputError
from streams.bench.children import child
from streams.bench.latencies import latency_report, percentiles, read_moments, within
from streams.bench.machine import machine_facts
from streams.bench.pacer import LINGER_MS
from streams.bench.sizes import BenchSize
from streams.wire_encoder import encode, keys

_FIGURES = {
    "p50_ms": "ms",
    "p99_ms": "ms",
    "p999_ms": "ms",
    "max_ms": "ms",
    "sent": "",
    "processed": "",
    "measured": "",
    "checkpoints": "",
    "detections": "",
}
_LARGEST = 3_000_000
_LATE_MS = 250.0  # a producer that is later than this does not make the rate that was asked for


def run(size: BenchSize, rate: float, seconds: float, warm_up: float, report_file: Path | None) -> dict[str, Any]:
    """Run it, show it, and give the report."""
    records = round(rate * (seconds + warm_up))
    if not 1_000 <= records <= _LARGEST:
        message = f"--rate times the seconds must be from 1,000 to {_LARGEST:,} records"
        raise InvalidInputError(message, field="--seconds")
    with prepared(replace(size, records=records), fill=False) as ready:
        facts = {**ready.facts, "rate": rate, "seconds": seconds, "warm_up_seconds": warm_up, "linger_ms": LINGER_MS}
        report = {**head("latency"), "settings": facts, **_measure(ready, records, rate, warm_up)}
        show("bench latency", report, _FIGURES)
        if not report["kept_schedule"]:
            ready.console.print(
                f"[bold]The producer was up to {report['latest_send_ms']:,.0f} ms late:[/bold] this machine was too "
                "busy for the rate, and the figures are those of an overload."
            )
        for title in (
            "from_intended_send",
            "during_checkpoints",
            "between_checkpoints",
            "computing_a_round",
            "committing_a_round",
        ):
            show(title.replace("_", " "), report[title], dict.fromkeys(list(_FIGURES)[:4], "ms"))
        finish(report, report_file, ready.console)
    return report


def _measure(ready: Prepared, records: int, rate: float, warm_up: float) -> dict[str, Any]:
    place = ready.place
    file = place.folder / "records.msgpack"
    file.write_bytes(
        msgspec.msgpack.encode(
            [pair for block in ready.traffic.blocks() for pair in zip(keys(block), encode(block), strict=True)]
        )
    )
    task = {"settings": ready.settings, "records": records, "keep_commits": True}
    sending = {"settings": ready.settings, "file": str(file), "rate": rate}
    with (
        child("fraud.cli.bench_worker", task, log_of(place, "worker")) as worker,
        child("streams.bench.pacer", sending, log_of(place, "pacer")) as pacer,
        steps(ready.console) as bar,
    ):
        shown = bar.add_task(f"at {rate:,.0f} a second", total=records)
        worker.wait_for("ready", QUIET_SECONDS)
        sent = pacer.wait_for("result", QUIET_SECONDS + records / rate)
        result = worker.wait_for("result", QUIET_SECONDS, lambda done: bar.update(shown, completed=done))
        bar.update(shown, completed=records)
        commits = [tuple(commit) for commit in worker.wait_for("commits", QUIET_SECONDS)]
        rounds = np.array(worker.wait_for("rounds", QUIET_SECONDS))
        spans = worker.wait_for("checkpoint_spans", QUIET_SECONDS)
        worker.end()
    moments = read_moments(place.settings, sent["sent"], commits).after(sent["first_at"] + warm_up)
    during = within(moments, spans)
    processed = sum(to - start for _, start, to, _ in commits)
    return {
        **latency_report(moments),
        "during_checkpoints": latency_report(moments.take(during)),
        "between_checkpoints": latency_report(moments.take(~during)),
        "sent": sent["sent"],
        "processed": processed,
        "failed_to_send": sent["failed"],
        "latest_send_ms": sent["latest_send_ms"],
        "kept_schedule": sent["latest_send_ms"] <= _LATE_MS,
        "load_average_1m_after": machine_facts()["load_average_1m"],
        "rounds": len(rounds),
        "records_a_round": float(np.median(rounds[:, 0])),
        "computing_a_round": percentiles(1000 * rounds[:, 1]),
        "committing_a_round": percentiles(1000 * rounds[:, 2]),
        "worker_cpu_share": result["cpu_seconds"] / result["wall_seconds"],
        "checkpoints": result["checkpoints"],
        "detections": result["detections"],
    }
