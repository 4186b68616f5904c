"""The schedules that there are, and the table of what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import negative_controls
import rows_broker
import rows_crashes
import rows_database
import rows_machine
import rows_members
import rows_records
import rows_stopping
from fault_schedule import Outcome, Schedule

_MODULES: Final = (
    *(rows_crashes, rows_members, rows_broker, rows_database, rows_records, rows_machine, rows_stopping),
    negative_controls,
)
# Rows of the matrix without a schedule, and why.
NOT_BUILT: Final = {
    2: "look-back: not built yet; the import of an alert file is tested",
    11: "log truncation: needs three brokers and an unclean election",
    26: "models: tests/models and tests/streams",
    27: "key rotation: not built yet",
    29: "the API under faults: tests/api",
    30: "secrets: tests/api and O8 of every schedule",
    31: "long run: not part of this run",
}


@dataclass(frozen=True, slots=True)
class Planned:
    """A schedule on one stack."""

    schedule: Schedule
    stack: str


def plan(*, rows: Sequence[int] = (), name: str = "", stack: str = "", smoke: bool = False) -> list[Planned]:
    """The schedules that are asked for, row by row; the negative controls are row 0 and come last."""
    schedules = [schedule for module in _MODULES for schedule in module.SCHEDULES]
    ordered = sorted(schedules, key=lambda item: (item.is_control, item.row))
    return [
        Planned(schedule, where)
        for schedule in ordered
        for where in (schedule.smoke if smoke else schedule.stacks)
        if (not rows or schedule.row in rows) and name.lower() in schedule.name.lower() and stack in where
    ]


def line(outcome: Outcome) -> str:
    """One line of the table."""
    if outcome.control:
        judged = f"control: red as it must be ({', '.join(outcome.red)})" if outcome.passed else "control: GREEN"
    else:
        judged = "ok" if outcome.passed else f"FAILED ({', '.join(outcome.red)})"
    row = "-" if outcome.control else str(outcome.row)
    numbers = f"{outcome.events:>8,}{outcome.lost:>6}{outcome.duplicated:>6}{outcome.seconds:>8.1f}"
    return f"{row:>3}  {outcome.name[:62]:<62}  {outcome.stack[:5]:<5}{numbers}  {judged}"


HEADER: Final = f"{'row':>3}  {'fault':<62}  {'stack':<5}{'events':>8}{'lost':>6}{'twice':>6}{'seconds':>8}  verdict"


def table(outcomes: Sequence[Outcome]) -> list[str]:
    """Row by row: fault, schedules, events, lost, duplicated, seconds."""
    lines = [f"{'row':>3}  {'fault':<62}  {'schedules':>9}{'events':>9}{'lost':>6}{'twice':>6}{'seconds':>9}"]
    lines.append("-" * len(lines[0]))
    groups: dict[tuple[int, str], list[Outcome]] = {}
    for outcome in outcomes:
        groups.setdefault((outcome.row, outcome.name), []).append(outcome)
    for (row, name), group in groups.items():
        total = {
            what: sum(getattr(item, what) for item in group) for what in ("events", "lost", "duplicated", "seconds")
        }
        verdict = "" if all(item.passed for item in group) else "  FAILED"
        if group[0].control:
            red = sorted({oracle for item in group for oracle in item.red})
            verdict = f"  control: red as it must be ({', '.join(red)})" if not verdict else "  control: GREEN"
        numbers = (
            f"{len(group):>9}{total['events']:>9,}{total['lost']:>6}{total['duplicated']:>6}{total['seconds']:>9.1f}"
        )
        lines.append(f"{'-' if group[0].control else row:>3}  {name[:62]:<62}  {numbers}{verdict}")
    done = {outcome.row for outcome in outcomes}
    lines += [f"{row:>3}  {why}" for row, why in sorted(NOT_BUILT.items()) if len(done) > 3]
    return lines


def summary(outcomes: Sequence[Outcome], seconds: float) -> dict[str, Any]:
    """The run in numbers."""
    faults = [outcome for outcome in outcomes if not outcome.control]
    controls = [outcome for outcome in outcomes if outcome.control]
    return {
        "schedules": len(faults),
        "passed": sum(outcome.passed for outcome in faults),
        "controls": len(controls),
        "controls_red": sum(outcome.passed for outcome in controls),
        "events": sum(outcome.events for outcome in faults),
        "lost": sum(outcome.lost for outcome in faults),
        "duplicated": sum(outcome.duplicated for outcome in faults),
        "seconds": round(seconds, 1),
    }


def sentence(numbers: dict[str, Any]) -> str:
    """The last line."""
    return (
        f"{numbers['passed']} of {numbers['schedules']} schedules passed, {numbers['controls_red']} of "
        f"{numbers['controls']} controls red as they must be; {numbers['events']:,} events, {numbers['lost']} lost, "
        f"{numbers['duplicated']} duplicated, {numbers['seconds']:,.0f} s"
    )
