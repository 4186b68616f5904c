"""Positions and the commit of a batch: who may commit, and that it happens once."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlalchemy import Engine
from store_samples import EVENT, NOW, Partition, add_event, dead_letter, detection, key, match, reference, rows

from fraud.errors import ConflictError
from fraud.store import tables
from fraud.store.database import read, write
from fraud.store.effects import claim_position, commit_effects, list_positions, read_position
from fraud.store.operations import dead_letter_offsets
from fraud.store.records import Counters, PartitionEffects

EVERYTHING = (
    tables.position,
    tables.activation,
    tables.dead_letter,
    tables.security_incident,
    tables.outbox,
    tables.exposure_match,
    tables.case,
    tables.detection,
    tables.detection_compromise_event,
    tables.case_event,
)


def everything(engine: Engine) -> dict[str, list[dict[str, object]]]:
    return {table.name: rows(engine, table) for table in EVERYTHING}


def commit(engine: Engine, *effects: PartitionEffects) -> list[PartitionEffects]:
    with write(engine) as connection:
        return commit_effects(connection, effects)


def test_first_claim_starts_at_the_offset_given_and_later_ones_only_raise_the_epoch(engine: Engine) -> None:
    with write(engine) as connection:
        assert read_position(connection, key()) is None
        first = claim_position(connection, key(), "one", NOW, first_offset=17)
        second = claim_position(connection, key(), "two", NOW + 1, first_offset=99)
    assert (first.next_offset, first.owner, first.owner_epoch) == (17, "one", 1)
    assert second == replace(first, owner="two", owner_epoch=2, updated_at=NOW + 1)
    with read(engine) as connection:
        assert read_position(connection, key()) == second


def test_claims_at_once_get_different_epochs(engine: Engine) -> None:
    start = threading.Barrier(8)

    def claim(number: int) -> int:
        start.wait()
        with write(engine) as connection:
            return claim_position(connection, key(), f"worker-{number}", NOW).owner_epoch

    with ThreadPoolExecutor(8) as pool:
        assert sorted(pool.map(claim, range(8))) == list(range(1, 9))


def test_positions_are_listed_in_order(engine: Engine) -> None:
    for number in (2, 0, 11, 1):
        Partition(engine, number)
    with read(engine) as connection:
        assert [item.key.partition for item in list_positions(connection)] == [0, 1, 2, 11]


def test_commit_writes_every_kind_of_effect_and_adds_up_the_counters(engine: Engine) -> None:
    add_event(engine)
    partition = Partition(engine)
    found = detection(1, kind="EXPOSED", tier=3, compromise_event_ids=(EVENT,))
    partition.commit(found, match(1, detection_id=found.detection_id), match(2), dead_letter(3))
    quarantined = dead_letter(7, kind="QUARANTINED", error_class="EVENT_ID_REUSED")
    partition.commit(
        detection(5),
        dead_letter(8),
        quarantined,
        counters=Counters(processed=2, duplicates=1, quarantined=1, dead_lettered=1, matched=0, detected=1),
        reached_at=NOW - 5,  # a late record does not take the time back
    )
    with read(engine) as connection:
        stored = read_position(connection, key())
        assert dead_letter_offsets(connection, key(), 0, 8) == {3, 7}
        assert dead_letter_offsets(connection, key(), 4, 9) == {7, 8}
    assert stored is not None
    accounted = stored.processed + stored.duplicates + stored.quarantined + stored.dead_lettered
    assert accounted == stored.next_offset == 9
    assert (stored.processed, stored.duplicates, stored.quarantined, stored.dead_lettered) == (5, 1, 1, 2)
    assert (stored.matched, stored.detected, stored.reached_at) == (2, 2, NOW + 4)
    after = everything(engine)
    assert [row["detection_id"] for row in after["exposure_match"]] == [found.detection_id, None]
    assert [(row["offset"], row["kind"]) for row in after["dead_letter"]] == [
        (3, "DEAD_LETTER"),
        (7, "QUARANTINED"),
        (8, "DEAD_LETTER"),
    ]
    assert [row["message_id"] for row in after["outbox"]] == [detection(1).detection_id, detection(5).detection_id]
    assert [row["compromise_event_id"] for row in after["detection_compromise_event"]] == [EVENT]


def test_detection_is_stored_as_it_was_made(engine: Engine) -> None:
    partition = Partition(engine)
    record = detection(1)
    partition.commit(record)
    (stored,) = rows(engine, tables.detection)
    (case,) = rows(engine, tables.case)
    expected = {
        name: getattr(record, name)
        for name in stored
        if name not in {"case_id", "reference_set_id", "topic_id", "partition", "compromise_event_ids"}
    }
    assert {name: stored[name] for name in expected} == expected
    assert stored["case_id"] == case["case_id"]
    assert stored["reference_set_id"] == partition.reference_set_id
    (message,) = rows(engine, tables.outbox)
    assert message["payload"]["case_id"] == str(case["case_id"])
    assert "features" not in message["payload"]


def test_same_batch_committed_again_after_a_lost_answer_is_done_already_and_changes_nothing(engine: Engine) -> None:
    add_event(engine)
    partition = Partition(engine)
    effects = partition.commit(detection(1), match(2), dead_letter(3), security_findings={"merchant_name": 2})
    before = everything(engine)
    assert commit(engine, effects) == []
    assert everything(engine) == before


def test_owner_of_an_older_epoch_is_fenced_and_the_other_partition_commits(engine: Engine) -> None:
    add_event(engine)
    lost, kept = Partition(engine, 0), Partition(engine, 1)
    with write(engine) as connection:
        claim_position(connection, lost.position.key, "another", NOW)
    zombie = lost.batch(detection(1), match(2), dead_letter(3), security_findings={"zombie": 1})
    alive = kept.batch(detection(11), match(12), dead_letter(13), security_findings={"alive": 1})
    assert commit(engine, alive, zombie) == [zombie]
    with read(engine) as connection:
        first, second = list_positions(connection)
    assert (first.next_offset, first.processed, first.owner) == (0, 0, "another")
    assert (second.next_offset, second.dead_lettered) == (14, 1)
    after = everything(engine)
    assert {row["partition"] for row in (*after["detection"], *after["exposure_match"], *after["dead_letter"])} == {1}
    assert [row["field_path"] for row in after["security_incident"]] == ["alive"]
    assert len(after["review_case"]) == len(after["outbox"]) == 1


def test_offset_that_is_not_the_recorded_one_is_fenced(engine: Engine) -> None:
    partition = Partition(engine)
    partition.commit(detection(4))
    before = everything(engine)
    gap = partition.batch(detection(9), expected_offset=6)
    behind = partition.batch(detection(9), expected_offset=3)
    assert commit(engine, gap) == [gap]
    assert commit(engine, behind) == [behind]
    assert everything(engine) == before


def test_partition_that_nobody_has_claimed_is_fenced(engine: Engine) -> None:
    partition = Partition(engine)
    unknown = partition.batch(detection(1), key=key(7))
    assert commit(engine, unknown) == [unknown]
    assert rows(engine, tables.detection) == []


def test_records_that_are_there_already_change_nothing(engine: Engine) -> None:
    """A producer writes one event twice, so far apart that the worker does not see it."""
    add_event(engine)
    partition = Partition(engine)
    partition.commit(detection(1), match(1))
    before = everything(engine)
    partition.commit(replace(detection(1), offset=6, expected_loss_minor=999_999), match(1, offset=6, tier=5))
    after = everything(engine)
    for table in ("review_case", "detection", "exposure_match", "case_event", "outbox"):
        assert after[table] == before[table]
    assert partition.position.next_offset == 7


def test_dead_letter_that_is_there_stays_as_it_is(engine: Engine) -> None:
    partition = Partition(engine)
    partition.commit(dead_letter(0))
    with write(engine) as connection:  # as after a restore of an older backup of the positions
        connection.execute(tables.position.update().values(next_offset=0))
    partition.position = replace(partition.position, next_offset=0)
    partition.commit(dead_letter(0, error_class="OTHER"))
    assert [row["error_class"] for row in rows(engine, tables.dead_letter)] == ["MISSING_FIELD"]


def test_security_findings_are_counted_by_topic_and_field(engine: Engine) -> None:
    one, two = Partition(engine, 0), Partition(engine, 1)
    first = one.batch(security_findings={"merchant_name": 2, "device_ref": 1})
    second = two.batch(security_findings={"merchant_name": 3})
    assert commit(engine, first, second) == []
    one.position = replace(one.position, next_offset=first.next_offset)
    one.commit(security_findings={"merchant_name": 4}, committed_at=NOW + 50)
    found = {
        row["field_path"]: (row["count"], row["aware_at"], row["last_at"])
        for row in rows(engine, tables.security_incident)
    }
    assert found == {"merchant_name": (9, NOW, NOW + 50), "device_ref": (1, NOW, NOW)}


def test_change_of_reference_set_is_recorded_with_its_first_offset(engine: Engine) -> None:
    older, newer = reference(engine, 1), reference(engine, 2)
    partition = Partition(engine, reference_set_id=older)
    partition.commit(detection(3))
    partition.commit(detection(5))
    partition.reference_set_id = newer
    partition.commit(detection(8))
    partition.commit(detection(9))
    activations = [(row["from_offset"], row["reference_set_id"]) for row in rows(engine, tables.activation)]
    assert activations == [(0, older), (6, newer)]


def test_going_back_in_exposures_is_refused_whole(engine: Engine) -> None:
    older, newer = reference(engine, 1), reference(engine, 2)
    partition, other = Partition(engine, 0, newer), Partition(engine, 1, newer)
    partition.commit(detection(1))
    before = everything(engine)
    partition.reference_set_id = older
    with pytest.raises(ConflictError):
        commit(engine, partition.batch(detection(2)), other.batch(detection(3)))
    assert everything(engine) == before


def test_going_back_to_an_earlier_model_is_a_decision_and_is_allowed(engine: Engine) -> None:
    first, second = reference(engine, 1, model="a"), reference(engine, 1, model="c")
    partition = Partition(engine, reference_set_id=first)
    partition.commit(detection(1))
    partition.reference_set_id = second
    partition.commit(detection(2))
    partition.reference_set_id = first
    partition.commit(detection(3))
    assert [row["reference_set_id"] for row in rows(engine, tables.activation)] == [first, second, first]


@pytest.mark.parametrize(
    "change",
    [
        lambda batch: replace(batch, next_offset=batch.expected_offset),
        lambda batch: replace(batch, next_offset=batch.expected_offset - 1),
        lambda batch: replace(batch, expected_offset=2),
        lambda batch: replace(batch, next_offset=4),
        lambda batch: replace(batch, detections=batch.detections[::-1]),
        lambda batch: replace(batch, detections=batch.detections * 2),
        lambda batch: replace(batch, matches=batch.matches[::-1]),
        lambda batch: replace(batch, dead_letters=batch.dead_letters * 2),
    ],
)
def test_offsets_out_of_order_are_refused(
    engine: Engine, change: Callable[[PartitionEffects], PartitionEffects]
) -> None:
    partition = Partition(engine)
    batch = partition.batch(detection(1), detection(4), match(1), match(4), dead_letter(0))
    before = everything(engine)
    with pytest.raises(ValueError, match="offset"):
        commit(engine, change(batch))
    assert everything(engine) == before


def test_partition_twice_in_one_commit_is_refused(engine: Engine) -> None:
    partition = Partition(engine)
    with pytest.raises(ValueError, match="twice"):
        commit(engine, partition.batch(detection(1)), partition.batch(detection(2)))


def test_empty_commit_is_nothing(engine: Engine) -> None:
    assert commit(engine) == []
