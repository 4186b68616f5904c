"""What reviewers do with cases, and that of several at once one wins."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine
from store_samples import NOW, Partition, card_ref, detection, rows

from fraud.cases import FraudType, Outcome, ReasonCode, Resolution
from fraud.compromise import DAY_MS
from fraud.errors import ConflictError, NotFoundError
from fraud.store import tables
from fraud.store.cases import case_events, claim, claim_next, get_case, release, resolve
from fraud.store.database import read, write
from fraud.store.labels import quiet_patterns
from fraud.store.views import CaseView

FRAUD = Resolution(Outcome.CONFIRMED_FRAUD, ReasonCode.HOLDER_DENIED, FraudType.CARD_NOT_PRESENT)
GENUINE = Resolution(Outcome.GENUINE, ReasonCode.HOLDER_CONFIRMED)


@pytest.fixture
def case_id(engine: Engine) -> int:
    """A new case, at version 1, with two detections."""
    Partition(engine).commit(detection(1, card=7), detection(2, card=7))
    (row,) = rows(engine, tables.case)
    return int(row["case_id"])


def claimed(engine: Engine, case_id: int, actor: str = "hana") -> CaseView:
    with write(engine) as connection:
        return claim(connection, case_id, actor, get_case(connection, case_id).version, NOW + 5)


def resolved(engine: Engine, case_id: int, resolution: Resolution, quiet_days: int = 30) -> CaseView:
    version = claimed(engine, case_id).version
    with write(engine) as connection:
        return resolve(connection, case_id, "hana", version, resolution, NOW + 6, quiet_days)


def test_claim_release_claim_resolve(engine: Engine, case_id: int) -> None:
    first = claimed(engine, case_id)
    assert (first.status, first.version, first.claimed_by, first.claimed_at) == ("CLAIMED", 2, "hana", NOW + 5)
    with write(engine) as connection:
        free = release(connection, case_id, "hana", 2, NOW + 6)
    assert (free.status, free.version, free.claimed_by, free.claimed_at) == ("NEW", 3, None, None)
    done = resolved(engine, case_id, FRAUD)
    assert (done.status, done.version, done.resolved_by, done.resolved_at) == ("RESOLVED", 5, "hana", NOW + 6)
    assert (done.outcome, done.reason_code, done.fraud_type) == ("CONFIRMED_FRAUD", "HOLDER_DENIED", "CARD_NOT_PRESENT")
    with read(engine) as connection:
        steps = [(event.kind, event.actor) for event in case_events(connection, case_id)]
        last = case_events(connection, case_id)[-1]
        assert get_case(connection, case_id) == done
    assert steps[2:] == [("CLAIMED", "hana"), ("RELEASED", "hana"), ("CLAIMED", "hana"), ("RESOLVED", "hana")]
    assert last.data == {"outcome": "CONFIRMED_FRAUD", "reason_code": "HOLDER_DENIED", "fraud_type": "CARD_NOT_PRESENT"}


def test_stale_version_is_a_conflict_and_changes_nothing(engine: Engine, case_id: int) -> None:
    held = claimed(engine, case_id)
    before = rows(engine, tables.case), rows(engine, tables.case_event)
    for stale in (held.version - 1, held.version + 1):
        with pytest.raises(ConflictError), write(engine) as connection:
            claim(connection, case_id, "ken", stale, NOW)
        with pytest.raises(ConflictError), write(engine) as connection:
            release(connection, case_id, "hana", stale, NOW)
        with pytest.raises(ConflictError), write(engine) as connection:
            resolve(connection, case_id, "hana", stale, FRAUD, NOW, 30)
    assert (rows(engine, tables.case), rows(engine, tables.case_event)) == before
    assert rows(engine, tables.label) == []


def test_only_the_claimer_goes_on(engine: Engine, case_id: int) -> None:
    version = claimed(engine, case_id).version
    with pytest.raises(ConflictError, match="somebody else"), write(engine) as connection:
        release(connection, case_id, "ken", version, NOW)
    with pytest.raises(ConflictError, match="somebody else"), write(engine) as connection:
        resolve(connection, case_id, "ken", version, FRAUD, NOW, 30)
    with pytest.raises(ConflictError), write(engine) as connection:
        claim(connection, case_id, "ken", version, NOW)


def test_steps_that_the_life_of_a_case_does_not_have(engine: Engine, case_id: int) -> None:
    with pytest.raises(ConflictError), write(engine) as connection:
        release(connection, case_id, "hana", 1, NOW)
    with pytest.raises(ConflictError), write(engine) as connection:
        resolve(connection, case_id, "hana", 1, FRAUD, NOW, 30)
    done = resolved(engine, case_id, FRAUD)
    with pytest.raises(ConflictError), write(engine) as connection:
        claim(connection, case_id, "hana", done.version, NOW)
    with pytest.raises(ConflictError), write(engine) as connection:
        resolve(connection, case_id, "hana", done.version, GENUINE, NOW, 30)


def test_steps_on_a_case_that_is_not_there(engine: Engine) -> None:
    with pytest.raises(NotFoundError), write(engine) as connection:
        claim(connection, 404, "hana", 1, NOW)
    with write(engine) as connection:
        assert claim_next(connection, "hana", NOW) is None


def test_claim_next_takes_the_highest_priority_then_the_first_due(engine: Engine) -> None:
    Partition(engine).commit(
        detection(1, expected_loss_minor=50),
        detection(2, expected_loss_minor=900, due_at=NOW + 10),
        detection(3, expected_loss_minor=900, due_at=NOW + 5),
    )
    order = []
    for _ in range(4):
        with write(engine) as connection:
            case = claim_next(connection, "hana", NOW)
        order.append(case and case.card_ref)
    assert order == [card_ref(3), card_ref(2), card_ref(1), None]


def test_fifty_who_claim_the_next_at_once_get_different_cases(engine: Engine) -> None:
    Partition(engine).commit(*(detection(number) for number in range(40)))
    start = threading.Barrier(50)

    def take(number: int) -> int | None:
        start.wait()
        with write(engine) as connection:
            case = claim_next(connection, f"reviewer-{number}", NOW)
        return None if case is None else case.case_id

    with ThreadPoolExecutor(50) as pool:
        taken = list(pool.map(take, range(50)))
    won = [case_id for case_id in taken if case_id is not None]
    assert len(won) == len(set(won)) == 40
    claims = [row for row in rows(engine, tables.case_event) if row["kind"] == "CLAIMED"]
    assert len(claims) == 40


def test_of_several_who_claim_one_case_one_wins(engine: Engine, case_id: int) -> None:
    start = threading.Barrier(12)

    def take(number: int) -> bool:
        start.wait()
        try:
            with write(engine) as connection:
                claim(connection, case_id, f"reviewer-{number}", 1, NOW)
        except ConflictError:
            return False
        return True

    with ThreadPoolExecutor(12) as pool:
        assert sum(pool.map(take, range(12))) == 1


@pytest.mark.parametrize(
    ("resolution", "basis"),
    [
        (FRAUD, "holder_confirmed"),
        (GENUINE, "holder_confirmed"),
        (Resolution(Outcome.GENUINE, ReasonCode.KNOWN_MERCHANT), "reviewer_judgement"),
        (Resolution(Outcome.CONFIRMED_FRAUD, ReasonCode.CARD_TESTING, FraudType.COUNTERFEIT), "reviewer_judgement"),
    ],
)
def test_resolving_labels_every_detected_event(
    engine: Engine, case_id: int, resolution: Resolution, basis: str
) -> None:
    resolved(engine, case_id, resolution)
    labels = rows(engine, tables.label)
    assert sorted(row["event_id"] for row in labels) == ["event-1", "event-2"]
    for row in labels:
        assert (row["outcome"], row["reason_code"], row["basis"]) == (resolution.outcome, resolution.reason_code, basis)
        assert row["fraud_type"] == resolution.fraud_type
        assert (row["reported_by"], row["reported_at"], row["case_id"]) == ("hana", NOW + 6, case_id)
        assert (row["card_ref"], row["withdrawn"]) == (card_ref(7), False)


def test_event_that_was_detected_twice_has_one_label(engine: Engine) -> None:
    again = detection(2, card=7, event_id="event-1", origin="RESCORE")
    Partition(engine).commit(detection(1, card=7), again)
    (row,) = rows(engine, tables.case)
    resolved(engine, row["case_id"], FRAUD)
    assert [item["event_id"] for item in rows(engine, tables.label)] == ["event-1"]


def test_what_the_holder_confirmed_stays_quiet_on_that_card_for_a_while(engine: Engine) -> None:
    reasons: list[dict[str, Any]] = [
        {"code": code, "facts": {}} for code in ("CARD_TESTING", "NEW_MERCHANT", "SCORING_FAILED")
    ]
    Partition(engine).commit(detection(1, card=7, reasons=reasons), detection(2, card=7), detection(3, card=8))
    resolved(engine, 1, GENUINE, quiet_days=30)
    until = NOW + 6 + 30 * DAY_MS
    quiet = dict.fromkeys(("CARD_TESTING", "NEW_MERCHANT", "MODEL_SCORE_HIGH"), until)  # a failure is never quiet
    with read(engine) as connection:
        assert quiet_patterns(connection, 1) == {card_ref(7): quiet}
        assert quiet_patterns(connection, 1, until - 1) == {card_ref(7): quiet}
        assert quiet_patterns(connection, 1, until) == {}
        assert quiet_patterns(connection, 0) == {}


def test_confirming_again_prolongs_the_quiet_from_that_version_on(engine: Engine) -> None:
    partition = Partition(engine)
    partition.commit(detection(1, card=7))
    resolved(engine, 1, GENUINE, quiet_days=1)
    partition.commit(detection(2, card=7))
    resolved(engine, 2, GENUINE, quiet_days=3)
    first, second = NOW + 6 + DAY_MS, NOW + 6 + 3 * DAY_MS
    with read(engine) as connection:
        assert quiet_patterns(connection, 1) == {card_ref(7): {"MODEL_SCORE_HIGH": first}}
        assert quiet_patterns(connection, 2) == {card_ref(7): {"MODEL_SCORE_HIGH": second}}
    assert [row["case_id"] for row in rows(engine, tables.quiet_pattern)] == [1, 2]


@pytest.mark.parametrize("resolution", [FRAUD, Resolution(Outcome.GENUINE, ReasonCode.KNOWN_MERCHANT)])
def test_nothing_else_makes_a_pattern_quiet(engine: Engine, case_id: int, resolution: Resolution) -> None:
    resolved(engine, case_id, resolution)
    assert rows(engine, tables.quiet_pattern) == []


def test_no_quiet_days_is_no_quiet(engine: Engine, case_id: int) -> None:
    resolved(engine, case_id, GENUINE, quiet_days=0)
    with read(engine) as connection:
        assert quiet_patterns(connection, 1) == {}
