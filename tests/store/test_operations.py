"""Reference sets, checkpoints, dead letters, and numbers that add up."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Engine
from store_samples import (
    EVENT,
    NOW,
    Partition,
    add_event,
    alert_file,
    dead_letter,
    detection,
    key,
    match,
    reference,
    rows,
)

from fraud.errors import ConflictError, InvalidInputError
from fraud.store import tables
from fraud.store.database import read, write
from fraud.store.effects import claim_position
from fraud.store.exposure import import_exposed_cards
from fraud.store.operations import (
    dead_letter_offsets,
    ensure_reference_set,
    list_dead_letters,
    newest_checkpoint,
    prune_checkpoints,
    reached_at,
    register_checkpoint,
    set_story,
    story,
    summary,
)
from fraud.store.views import CheckpointView

PATHS = [{"path": "snapshots/base.npz", "sha256": "a" * 64}, {"path": "snapshots/delta.npz", "sha256": "b" * 64}]


def register(engine: Engine, next_offset: int, epoch: int, partition: int = 0, schema: str = "s") -> None:
    with write(engine) as connection:
        register_checkpoint(connection, key(partition), next_offset, epoch, schema, PATHS, NOW)


def newest(engine: Engine, at_most: int, partition: int = 0) -> CheckpointView | None:
    with read(engine) as connection:
        return newest_checkpoint(connection, key(partition), at_most)


def test_same_reference_set_has_the_same_id_and_any_difference_another(engine: Engine) -> None:
    base: dict[str, Any] = {
        "exposure_version": 3,
        "model_digest": "m",
        "policy_digest": "p",
        "decoder_version": 1,
        "content": {"a": 1, "b": [2]},
    }
    differences: list[dict[str, Any]] = [
        {"exposure_version": 4},
        {"model_digest": None},
        {"policy_digest": "q"},
        {"decoder_version": 2},
        {"content": {"a": 1, "b": [3]}},
    ]
    with write(engine) as connection:
        first = ensure_reference_set(connection, **base, now=NOW)
        others = [ensure_reference_set(connection, **{**base, **change}, now=NOW) for change in differences]
    assert len({first, *others}) == 6
    with write(engine) as connection:
        again = {**base, "content": {"b": [2], "a": 1}}
        assert ensure_reference_set(connection, **again, now=NOW + 1) == first
    assert len(rows(engine, tables.reference_set)) == 6


def test_workers_that_register_one_set_at_once_agree(engine: Engine) -> None:
    start = threading.Barrier(6)

    def ensure(_: int) -> int:
        start.wait()
        return reference(engine, 5)

    with ThreadPoolExecutor(6) as pool:
        assert len(set(pool.map(ensure, range(6)))) == 1


def test_newest_checkpoint_not_beyond_an_offset(engine: Engine) -> None:
    partition = Partition(engine)
    partition.commit(detection(99))
    for offset in (0, 40, 90):
        register(engine, offset, partition.position.owner_epoch)
    found = newest(engine, 100)
    assert found is not None
    assert (found.next_offset, found.owner_epoch, found.paths, found.state_schema) == (90, 1, PATHS, "s")
    assert getattr(newest(engine, 90), "next_offset", None) == 90
    assert getattr(newest(engine, 89), "next_offset", None) == 40
    assert getattr(newest(engine, 0), "next_offset", None) == 0
    assert newest(engine, 100, partition=1) is None


def test_of_two_checkpoints_at_one_offset_the_later_one_counts(engine: Engine) -> None:
    register(engine, 0, 0, schema="old")
    register(engine, 0, 0, schema="new")
    assert getattr(newest(engine, 5), "state_schema", None) == "new"


def test_checkpoint_of_an_older_owner_or_ahead_of_the_position_is_refused(engine: Engine) -> None:
    partition = Partition(engine)
    partition.commit(detection(9))
    with write(engine) as connection:
        claim_position(connection, key(), "another", NOW)
    with pytest.raises(ConflictError):
        register(engine, 5, 1)
    with pytest.raises(ConflictError):
        register(engine, 11, 2)
    register(engine, 10, 2)
    assert [row["owner_epoch"] for row in rows(engine, tables.checkpoint)] == [2]


def test_state_from_history_is_registered_before_anybody_owns_the_partition(engine: Engine) -> None:
    register(engine, 0, 0)
    assert newest(engine, 0) is not None


def test_dead_letters_page_by_page_latest_first(engine: Engine) -> None:
    one, two = Partition(engine, 0), Partition(engine, 1)
    one.commit(*(dead_letter(offset) for offset in range(7)))
    two.commit(*(dead_letter(offset) for offset in range(5)), committed_at=NOW + 1)
    found, cursor = [], None
    while True:
        with read(engine) as connection:
            page = list_dead_letters(connection, cursor, 5)
        assert page.total == 12
        found.extend(page.items)
        cursor = page.next_cursor
        if cursor is None:
            break
    assert [(item.partition, item.offset) for item in found] == [
        *((1, offset) for offset in range(4, -1, -1)),
        *((0, offset) for offset in range(6, -1, -1)),
    ]
    with pytest.raises(InvalidInputError), read(engine) as connection:
        list_dead_letters(connection, "x", 5)


def test_dead_letter_offsets_are_those_of_one_partition(engine: Engine) -> None:
    Partition(engine, 0).commit(dead_letter(1), dead_letter(5), dead_letter(6))
    Partition(engine, 1).commit(dead_letter(2))
    with read(engine) as connection:
        assert dead_letter_offsets(connection, key(0), 1, 6) == {1, 5}
        assert dead_letter_offsets(connection, key(1), 0, 99) == {2}
        assert dead_letter_offsets(connection, key(2), 0, 99) == set()


def test_summary_of_nothing(engine: Engine) -> None:
    with read(engine) as connection:
        found = summary(connection)
        assert reached_at(connection) is None
    assert found["published"] is None
    assert found["cases_by_status"] == {"NEW": 0, "CLAIMED": 0, "RESOLVED": 0}
    assert (found["processed"], found["cases_opened"], found["partitions"], found["reached_at"]) == (0, 0, [], None)


def test_summary_adds_up(engine: Engine) -> None:
    add_event(engine)
    add_event(engine, "other")
    with write(engine) as connection:
        import_exposed_cards(connection, EVENT, "a.csv", alert_file([1, 2]), "ken", NOW)
        import_exposed_cards(connection, "other", "a.csv", alert_file([2, 3]), "ken", NOW)
    one, two = Partition(engine, 0), Partition(engine, 1)
    one.commit(detection(1), detection(2, card=1), match(3), dead_letter(4), reached_at=NOW + 40)
    two.commit(detection(3), dead_letter(5), dead_letter(6, error_class="KEY_MISMATCH"), reached_at=NOW + 20)
    with read(engine) as connection:
        found = summary(connection)
        assert reached_at(connection) == found["reached_at"] == NOW + 40
    assert (found["processed"], found["dead_letters"], found["duplicates"], found["quarantined"]) == (9, 3, 0, 0)
    assert found["processed"] + found["dead_letters"] == sum(item["next_offset"] for item in found["partitions"])
    assert (found["matched"], found["detections"], found["cases_opened"]) == (1, 3, 2)
    assert found["cases_by_status"] == {"NEW": 2, "CLAIMED": 0, "RESOLVED": 0}
    assert found["dead_letters_by_class"] == {"KEY_MISMATCH": 1, "MISSING_FIELD": 2}
    assert found["exposed_cards"] == 3
    assert [(item["partition"], item["next_offset"]) for item in found["partitions"]] == [(0, 5), (1, 7)]


def test_story_is_written_part_by_part(engine: Engine) -> None:
    with write(engine) as connection:
        set_story(connection, "title", "one")
        set_story(connection, "title", "two")
        set_story(connection, "cards", [{"card_ref": "x:1", "case_id": None}])
    with read(engine) as connection:
        assert story(connection) == {"title": "two", "cards": [{"card_ref": "x:1", "case_id": None}]}


def test_files_that_a_kept_checkpoint_shares_stay(engine: Engine) -> None:
    for offset, names in ((10, "a"), (20, "ab"), (30, "abc"), (40, "d")):
        with write(engine) as connection:
            paths = [{"path": name, "sha256": name} for name in names]
            register_checkpoint(connection, key(), offset, 1, "schema", paths, NOW)
    with write(engine) as connection:
        assert prune_checkpoints(connection, key(), 2) == []
        assert prune_checkpoints(connection, key(), 1) == ["a", "b", "c"]
