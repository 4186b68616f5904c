"""The whole path beside its reference: real runs give what the slow, single-threaded one gives, row by row."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "reference"))
sys.path.insert(0, str(Path(__file__).parent.parent / "faults"))

from oracles import check_conservation, check_determinism, check_model_equality, check_uniqueness
from reference_comparison import Finished
from reference_inputs import exposures_at
from reference_samples import Sent, add_model, mixed_records, small_simulation
from sqlalchemy import select
from worker_support import CARD_KEY, EVENT, NOW, Deployment, eventually

from fraud.alert_files import parse_alert_file
from fraud.cases import Outcome as CaseOutcome
from fraud.cases import ReasonCode, Resolution
from fraud.cli.wiring import make_tokenizer
from fraud.compromise import CompromiseStatus, DataElements, ExposureWindow
from fraud.pan_guard import PanGuard
from fraud.store.cases import case_detections
from fraud.store.compromise_events import get_compromise_event
from fraud.store.database import read, write
from fraud.store.exposure import (
    NewCompromiseEvent,
    create_compromise_event,
    exposure_version,
    import_exposed_cards,
    set_status,
)
from fraud.store.labels import store_quiet_patterns
from fraud.store.tables import activation, detection, position, reference_set
from streams.dead_letters import ErrorClass
from streams.simulator import Simulation

SECOND = "supplier-2022"
RECORDS = 2_600


@pytest.fixture(scope="module")
def small() -> Simulation:
    return small_simulation(CARD_KEY)


@pytest.fixture(scope="module")
def models_dir(small: Simulation, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    add_model(small, folder)
    return folder


@pytest.fixture
def deployment(stack: Any, tmp_path: Path, models_dir: Path, request: pytest.FixtureRequest) -> Iterator[Deployment]:
    made = Deployment(stack.kafka, stack.database_url, tmp_path, **request.param)
    made.settings.data_dir.mkdir()
    made.settings.models_dir.symlink_to(models_dir)
    yield made
    made.close()


class Feed:
    """Publishes a list of records little by little, and knows when a change has reached the stream."""

    def __init__(self, deployment: Deployment, records: list[Sent], check: Callable[[], None]) -> None:
        self.deployment, self.records, self.check = deployment, records, check

    def send(self, count: int, *, wait: bool = True) -> None:
        """The next records; with `wait`, until they are accounted for."""
        part, self.records = self.records[:count], self.records[count:]
        assert part, "the feed is too short for this test"
        self.deployment.publish_raw(part)
        if wait:
            self.deployment.wait_until_done(self.check)

    def until_in_force(self) -> None:
        """Go on until a batch has run under the newest exposure version."""

        def in_force() -> bool:
            self.send(10)
            with read(self.deployment.engine) as connection:
                sets = select(reference_set.c.exposure_version).join_from(position, reference_set)
                return exposure_version(connection) in connection.execute(sets).scalars().all()

        eventually(in_force, "a batch runs under the newest exposures", self.check)


def expose_second(deployment: Deployment, simulation: Simulation) -> None:
    """The same cards in a second event, whose window lies in the stream's own days: matches before, in and after it."""
    settings = deployment.settings
    told = simulation.parameters.dates.told
    window = ExposureWindow(told + timedelta(days=1), told + timedelta(days=3), settings.portfolio.timezone)
    event = NewCompromiseEvent(SECOND, "Supplier", "MERCHANT_NOTICE", window, DataElements(track=True))
    guard = PanGuard.from_settings(settings.portfolio)
    parsed = parse_alert_file(simulation.alert_file_csv(), tokenizer=make_tokenizer(settings), guard=guard)
    with write(deployment.engine) as connection:
        create_compromise_event(connection, event, NOW)
        import_exposed_cards(connection, SECOND, "alert.csv", parsed, "tester", NOW)


def take_further(deployment: Deployment, *steps: CompromiseStatus) -> None:
    """Take the first event's finding further; closing it releases its cards."""
    for status in steps:
        with write(deployment.engine) as connection:
            version = get_compromise_event(connection, EVENT).version
            set_status(connection, EVENT, status, version, NOW, reason="for the test")


def confirm_a_pattern(deployment: Deployment) -> None:
    """The holder of the card with the most detections says that they are genuine; they stay quiet from then on."""
    genuine = Resolution(CaseOutcome.GENUINE, ReasonCode.HOLDER_CONFIRMED)
    with write(deployment.engine) as connection:
        (case_id,) = Counter(connection.execute(select(detection.c.case_id)).scalars()).most_common(1)[0][:1]
        store_quiet_patterns(connection, case_detections(connection, case_id), genuine, NOW, quiet_days=30)


def run_with_changes(deployment: Deployment, simulation: Simulation, records: list[Sent]) -> None:
    """Two workers, one after the other, while cards are exposed, released and exposed again."""
    with deployment.worker() as worker:
        feed = Feed(deployment, records, worker.check)
        feed.send(200)
        deployment.expose(simulation)
        feed.until_in_force()
        feed.send(300)
        confirm_a_pattern(deployment)
        feed.send(500, wait=False)
        take_further(deployment, CompromiseStatus.CONFIRMED, CompromiseStatus.CLOSED)
        feed.until_in_force()
    expose_second(deployment, simulation)
    with deployment.worker() as worker:
        feed.check = worker.check
        feed.send(400, wait=False)
        take_further(deployment, CompromiseStatus.CONFIRMED)
        feed.until_in_force()
        feed.send(len(feed.records))


def batches_of(*sizes: int) -> list[dict[str, int]]:
    return [{"max_poll_records": size} for size in sizes]


@pytest.mark.parametrize(
    "deployment", batches_of(7, 150, 2_000), indirect=True, ids=lambda item: item["max_poll_records"]
)
def test_a_run_equals_the_reference(deployment: Deployment, small: Simulation) -> None:
    records = mixed_records(small.live, 1)[:RECORDS]
    run_with_changes(deployment, small, records)
    run = Finished(deployment.engine, deployment.settings)
    wanted = check_model_equality(run)
    check_conservation(run)
    check_uniqueness(run)
    check_determinism(run)

    # What the run was to contain, so that equality is not that of two empty things.
    totals = {name: sum(row[name] for row in wanted.positions.values()) for name in wanted.positions[0]}
    assert sum(totals[name] for name in ("processed", "duplicates", "quarantined", "dead_lettered")) == RECORDS
    assert min(totals[name] for name in ("duplicates", "quarantined", "dead_lettered", "matched", "detected")) > 0
    assert {row["error_class"] for row in wanted.dead_letters.values()} == {*ErrorClass, "EVENT_ID_REUSED"}
    assert {row["kind"] for row in wanted.matches.values()} == {"BEFORE_WINDOW", "IN_WINDOW", "AFTER_WINDOW"}
    assert {row["kind"] for row in wanted.detections.values()} == {"EXPOSED", "ANOMALY"}
    assert max(row["detections"] for row in wanted.cases.values()) > 1
    assert len(run.rows(select(activation.c.reference_set_id).distinct())) >= 4
    with read(deployment.engine) as connection:
        watched = [len(exposures_at(connection, version)) for version in range(exposure_version(connection) + 1)]
    assert watched[0] == 0
    assert 0 in watched[1:] or len(set(watched)) > 2


@pytest.mark.parametrize("deployment", batches_of(2_000), indirect=True, ids=["one batch"])
def test_cases_are_folded_in_log_order_wherever_batches_are_cut(deployment: Deployment, small: Simulation) -> None:
    deployment.expose(small)
    deployment.publish_raw(mixed_records(small.live, 1)[:1_000])
    with deployment.worker() as worker:
        deployment.wait_until_done(worker.check)
    check_model_equality(Finished(deployment.engine, deployment.settings))
