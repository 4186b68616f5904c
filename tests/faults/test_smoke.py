"""The most telling schedules of the fault matrix, shorter than in `make faults`, and some of its negative controls."""

from __future__ import annotations

from pathlib import Path

import pytest
from fault_schedule import execute
from fault_services import Services
from fault_table import Planned, plan

_SHARE_OF_EVENTS = 0.4


@pytest.mark.parametrize(
    "planned", plan(smoke=True), ids=lambda planned: f"{planned.schedule.row} {planned.schedule.name} {planned.stack}"
)
def test_smoke(planned: Planned, fault_services: Services, tmp_path: Path) -> None:
    """A fault passes its oracles; a planted bug turns the named ones red."""
    outcome = execute(
        planned.schedule,
        fault_services,
        planned.stack,
        fault_services.seed,
        tmp_path / "run",
        share_of_events=_SHARE_OF_EVENTS,
    )
    said = "\n".join([*outcome.history, *(f"{name}: {text}" for name, text in outcome.said.items())])
    wanted = f"{planned.schedule.red} must be red" if outcome.control else "no oracle may be red"
    assert outcome.passed, f"{wanted}, and these are: {outcome.red}\n{said}"
