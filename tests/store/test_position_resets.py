"""Positions moved by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import Engine, insert
from store_samples import NOW, Partition, dead_letter, detection, key, rows

from fraud.errors import ConflictError, NotFoundError
from fraud.store import tables
from fraud.store.audit import list_audit, verify_audit
from fraud.store.database import read, write
from fraud.store.effects import claim_position, commit_effects, read_position
from fraud.store.position_resets import (
    ACTION,
    counted_since,
    counting_baseline,
    release_position,
    reset_position,
)
from fraud.store.records import Position


def reset(engine: Engine, to_offset: int, *, force: bool = False) -> Position:
    with write(engine) as connection:
        return reset_position(connection, key(), to_offset, actor="hanako", reason="a test", now=NOW, force=force)


def current(engine: Engine) -> Position:
    with read(engine) as connection:
        found = read_position(connection, key())
    assert found is not None
    return found


def test_a_position_that_a_worker_owns_is_left_alone(engine: Engine) -> None:
    partition = Partition(engine)
    partition.commit(detection(9))
    with pytest.raises(ConflictError, match="stop it first"):
        reset(engine, 3)
    with write(engine) as connection:
        assert not release_position(connection, key(), partition.position.owner_epoch - 1, NOW)
        assert release_position(connection, key(), partition.position.owner_epoch, NOW)
    assert reset(engine, 3).next_offset == 10
    assert current(engine).next_offset == 3


def test_force_fences_the_worker(engine: Engine) -> None:
    partition = Partition(engine)
    partition.commit(detection(9))
    reset(engine, 3, force=True)
    late = partition.batch(detection(12))
    with write(engine) as connection:
        assert commit_effects(connection, [late]) == [late]
        again = replace(late, expected_offset=3)
        assert commit_effects(connection, [again]) == [again]
    assert current(engine).next_offset == 3


def test_who_did_it_and_why_is_recorded_with_the_counters(engine: Engine) -> None:
    Partition(engine).commit(dead_letter(2), detection(9))
    reset(engine, 3, force=True)
    with read(engine) as connection:
        (entry,) = list_audit(connection, action=ACTION)
        assert verify_audit(connection).fault is None
    assert (entry.actor, entry.reason) == ("hanako", "a test")
    assert (entry.old["next_offset"], entry.new["next_offset"]) == (10, 3)
    assert (entry.old["processed"], entry.old["dead_lettered"]) == (9, 1)


def test_what_is_decided_again_is_forgotten_and_the_rest_is_kept(engine: Engine) -> None:
    partition = Partition(engine)
    partition.commit(dead_letter(1), dead_letter(5), detection(9))
    checkpoint = {"group_id": key().group_id, "topic_id": key().topic_id, "partition": 0, "owner_epoch": 1}
    with write(engine) as connection:
        connection.execute(
            insert(tables.checkpoint),
            [{**checkpoint, "next_offset": at, "state_schema": "s", "paths": [], "created_at": NOW} for at in (5, 6)],
        )
    reset(engine, 5, force=True)
    assert [row["offset"] for row in rows(engine, tables.dead_letter)] == [1]
    assert [row["next_offset"] for row in rows(engine, tables.checkpoint)] == [5]
    assert [row["from_offset"] for row in rows(engine, tables.activation)] == [0]
    assert len(rows(engine, tables.detection)) == 1


def test_the_stream_goes_on_from_there_and_counts_from_there(engine: Engine) -> None:
    first = Partition(engine)
    first.commit(dead_letter(5), detection(9))
    with read(engine) as connection:
        assert counting_baseline(connection, current(engine)).first_offset == 0
    reset(engine, 0, force=True)
    with write(engine) as connection:
        claimed = claim_position(connection, key(), "worker-2", NOW)
    again = replace(first.batch(dead_letter(5), detection(9)), expected_offset=0, owner_epoch=claimed.owner_epoch)
    again = replace(again, counters=replace(again.counters, processed=9))
    with write(engine) as connection:
        assert commit_effects(connection, [again]) == []
    with read(engine) as connection:
        baseline = counting_baseline(connection, current(engine))
    assert baseline.first_offset == 0
    assert counted_since(current(engine), baseline) == {
        "processed": 9,
        "duplicates": 0,
        "quarantined": 0,
        "dead_lettered": 1,
    }
    assert len(rows(engine, tables.detection)) == 1
    assert len(rows(engine, tables.dead_letter)) == 1


def test_a_partition_without_a_position(engine: Engine) -> None:
    with pytest.raises(NotFoundError):
        reset(engine, 3)
