"""Detections fold into one open case for each card lineage."""

from __future__ import annotations

import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from store_samples import EVENT, HOUR, NOW, Partition, add_event, card_ref, detection, rows

from fraud.cases import Outcome, ReasonCode, Resolution
from fraud.store import tables
from fraud.store.cases import case_events, claim, get_case, resolve
from fraud.store.database import open_engine, read, write
from fraud.store.effects import commit_effects
from fraud.store.folding import ACTOR

UNDETERMINED = Resolution(Outcome.UNDETERMINED, ReasonCode.OTHER)


def close(engine: Engine, case_id: int) -> None:
    with write(engine) as connection:
        claimed = claim(connection, case_id, "hana", get_case(connection, case_id).version, NOW)
        resolve(connection, case_id, "hana", claimed.version, UNDETERMINED, NOW, 0)


def history(engine: Engine, case_id: int) -> list[str]:
    with read(engine) as connection:
        events = case_events(connection, case_id)
    assert {event.actor for event in events if event.kind in {"OPENED", "DETECTION_ADDED"}} == {ACTOR}
    return [event.kind for event in events]


def test_two_detections_of_a_card_in_one_batch_are_one_case(engine: Engine) -> None:
    Partition(engine).commit(detection(1, card=7), detection(2, card=8), detection(3, card=7))
    first, second = rows(engine, tables.case)
    assert [(row["card_ref"], row["detections"], row["version"]) for row in (first, second)] == [
        (card_ref(7), 2, 1),
        (card_ref(8), 1, 1),
    ]
    assert history(engine, first["case_id"]) == ["OPENED", "DETECTION_ADDED"]
    assert history(engine, second["case_id"]) == ["OPENED"]


def test_two_detections_of_a_card_in_two_batches_are_one_case(engine: Engine) -> None:
    partition = Partition(engine)
    partition.commit(detection(1, card=7))
    partition.commit(detection(3, card=7))
    (row,) = rows(engine, tables.case)
    assert (row["detections"], row["version"], row["opened_at"]) == (2, 2, NOW + 1)
    assert history(engine, row["case_id"]) == ["OPENED", "DETECTION_ADDED"]


def test_a_lineage_is_one_case_over_reissue_and_partitions(engine: Engine) -> None:
    before, after = Partition(engine, 0), Partition(engine, 1)
    old = before.batch(detection(1, card=7))
    new = after.batch(replace(detection(2, card=8), card_lineage=card_ref(7)))
    with write(engine) as connection:
        assert commit_effects(connection, [new, old]) == []
    (row,) = rows(engine, tables.case)
    assert (row["card_lineage"], row["card_ref"], row["detections"]) == (card_ref(7), card_ref(8), 2)


def test_claimed_case_takes_more_and_a_resolved_one_does_not(engine: Engine) -> None:
    partition = Partition(engine)
    partition.commit(detection(1, card=7))
    (first,) = rows(engine, tables.case)
    with write(engine) as connection:
        claimed = claim(connection, first["case_id"], "hana", 1, NOW)
    partition.commit(detection(3, card=7))
    with read(engine) as connection:
        grown = get_case(connection, first["case_id"])
    assert (grown.status, grown.claimed_by, grown.detections) == ("CLAIMED", "hana", 2)
    assert grown.version == claimed.version + 1  # whoever decides now has not seen everything
    with write(engine) as connection:
        resolve(connection, first["case_id"], "hana", grown.version, UNDETERMINED, NOW, 0)
    partition.commit(detection(5, card=7))
    partition.commit(detection(6, card=7))
    cases = rows(engine, tables.case)
    assert [(row["status"], row["detections"]) for row in cases] == [("RESOLVED", 2), ("NEW", 2)]


def test_detection_of_a_resolved_case_that_comes_again_opens_nothing(engine: Engine) -> None:
    partition = Partition(engine)
    partition.commit(detection(1, card=7))
    (row,) = rows(engine, tables.case)
    close(engine, row["case_id"])
    partition.commit(detection(1, card=7, offset=5))
    assert [row["status"] for row in rows(engine, tables.case)] == ["RESOLVED"]


def test_case_shows_the_worst_and_the_latest(engine: Engine) -> None:
    add_event(engine, "b-shop")
    add_event(engine, "a-shop")
    partition = Partition(engine)
    worst = detection(
        1,
        card=7,
        kind="EXPOSED",
        tier=3,
        compromise_event_ids=("b-shop",),
        expected_loss_minor=9_000,
        due_at=NOW + HOUR,
    )
    milder = detection(
        3,
        card=7,
        kind="EXPOSED",
        tier=1,
        compromise_event_ids=("a-shop",),
        expected_loss_minor=10,
        due_at=NOW + 9 * HOUR,
    )
    earlier = detection(5, card=7, detected_at=NOW, transaction={"merchant_name": "earlier"})
    for record in (worst, milder, earlier):
        partition.commit(record)
    (row,) = rows(engine, tables.case)
    assert (row["kind"], row["tier"], row["compromise_event_ids"]) == ("EXPOSED", 3, ["a-shop", "b-shop"])
    assert (row["priority"], row["priority_reason"], row["headline"]) == (9_000, "reason 1", worst.reasons[0])
    assert (row["due_at"], row["last_detection_at"]) == (NOW + HOUR, NOW + 3)
    assert (row["merchant_name"], row["last_amount_minor"], row["pan_last4"]) == ("店 3", 103, "1111")


def test_billing_amount_is_shown_where_it_is_known(engine: Engine) -> None:
    seen = {"amount_minor": 1_250, "currency": "USD", "billing_amount_minor": 1_800, "billing_currency": "JPY"}
    Partition(engine).commit(detection(1, transaction=seen))
    (row,) = rows(engine, tables.case)
    assert (row["last_amount_minor"], row["currency"], row["merchant_name"]) == (1_800, "JPY", None)


def test_hostile_text_does_not_stop_the_stream(engine: Engine) -> None:
    seen = {"merchant_name": "a\x00\ud800" + "x" * 300, "merchant_country": "JPN", "pan_last4": "11111"}
    Partition(engine).commit(detection(1, transaction=seen))
    (row,) = rows(engine, tables.case)
    assert len(row["merchant_name"]) == 256
    assert (row["merchant_name"][:3], row["merchant_country"], row["pan_last4"]) == ("a\ufffd?", "JP", "1111")


def test_workers_that_open_the_same_cases_at_once_share_them(engine: Engine) -> None:
    """Cards of one lineage lie on several partitions once a card is reissued."""
    partitions = [Partition(engine, number) for number in range(4)]
    start = threading.Barrier(len(partitions))

    def work(number: int) -> None:
        start.wait()
        for round_ in range(5):
            first = 1_000 * number + 100 * round_
            partitions[number].commit(
                *(detection(first + lineage, card=lineage) for lineage in range(round_, round_ + 4))
            )

    with ThreadPoolExecutor(len(partitions)) as pool:
        list(pool.map(work, range(len(partitions))))
    cases = {row["case_id"]: row for row in rows(engine, tables.case)}
    assert sorted(row["card_ref"] for row in cases.values()) == [card_ref(lineage) for lineage in range(8)]
    assert sum(row["detections"] for row in cases.values()) == len(rows(engine, tables.detection)) == 80
    for case_id, row in cases.items():
        kinds = history(engine, case_id)
        assert (kinds.count("OPENED"), len(kinds)) == (1, row["detections"])


def test_more_detections_than_fit_one_statement(engine: Engine) -> None:
    Partition(engine).commit(*(detection(number, card=number % 700) for number in range(1_400)))
    cases = rows(engine, tables.case)
    assert len(cases) == 700
    assert {row["detections"] for row in cases} == {2}
    assert len(rows(engine, tables.detection)) == len(rows(engine, tables.outbox)) == 1_400


# --- against a reference that keeps dictionaries ---------------------------------------------------------------------

Found = tuple[int, int, int, int]  # number, card, expected loss, tier
Step = list[Found] | int  # a batch, or a card whose case is resolved


class Reference:
    """What cases must look like, kept the simplest way."""

    def __init__(self) -> None:
        self.seen: set[int] = set()
        self.open: dict[int, dict[str, Any]] = {}
        self.closed: list[dict[str, Any]] = []

    def detect(self, number: int, card: int, loss: int, tier: int) -> None:
        if number in self.seen:
            return
        self.seen.add(number)
        found = self.open.setdefault(card, {"card": card, "numbers": [], "priority": -1, "tier": 0})
        found["numbers"].append(number)
        if loss > found["priority"]:
            found |= {"priority": loss, "reason": f"reason {number}"}
        found["tier"] = max(found["tier"], tier)

    def resolve(self, card: int) -> None:
        if card in self.open:
            self.closed.append(self.open.pop(card))


FOUND = st.tuples(st.integers(0, 25), st.integers(0, 3), st.integers(0, 4), st.integers(0, 5))
BATCH = st.lists(FOUND, max_size=5).map(sorted)


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(BATCH | st.integers(0, 3), max_size=12))
def test_folding_is_what_a_simple_reference_says(
    tmp_path_factory: pytest.TempPathFactory, migrated_file: Path, steps: list[Step]
) -> None:
    path = tmp_path_factory.mktemp("folding") / "store.db"
    shutil.copy(migrated_file, path)
    engine = open_engine(f"sqlite:///{path}")
    reference = Reference()
    partition = Partition(engine)
    for step in steps:
        if isinstance(step, int):
            reference.resolve(step)
            for row in rows(engine, tables.case):
                if row["card_ref"] == card_ref(step) and row["status"] != "RESOLVED":
                    close(engine, row["case_id"])
            continue
        begin = partition.position.next_offset
        records = []
        for place, (number, card, loss, tier) in enumerate(step):
            reference.detect(number, card, loss, tier)
            record = detection(number, card=card, expected_loss_minor=loss, tier=tier, offset=begin + place)
            records.append(record)
        partition.commit(*records)
    expected = [*reference.closed, *reference.open.values()]
    detections = rows(engine, tables.detection)
    found = [
        {
            "card": int(row["card_ref"].removeprefix("v1:"), 16),
            "numbers": [int(item["detection_id"], 16) for item in detections if item["case_id"] == row["case_id"]],
            "priority": row["priority"],
            "tier": row["tier"],
            "reason": row["priority_reason"],
        }
        for row in rows(engine, tables.case)
    ]
    engine.dispose()
    assert sorted(found, key=str) == sorted(
        ({**item, "numbers": sorted(item["numbers"])} for item in expected), key=str
    )


def test_detection_names_its_compromise_event(engine: Engine) -> None:
    add_event(engine)
    Partition(engine).commit(detection(1, compromise_event_ids=(EVENT,)), detection(2))
    (link,) = rows(engine, tables.detection_compromise_event)
    assert link == {"compromise_event_id": EVENT, "detection_id": detection(1).detection_id}
