"""The queue: filters, orders, and pages that stay complete while cases come in."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine
from store_samples import EVENT, NOW, Partition, add_event, card_ref, detection, match

from fraud.cases import CaseStatus, Outcome, ReasonCode, Resolution
from fraud.errors import InvalidInputError, NotFoundError
from fraud.store.cases import (
    CaseFilter,
    CaseSort,
    add_note,
    card_matches,
    case_detections,
    case_events,
    claim,
    get_case,
    list_cases,
    past_cases,
    queue_counts,
    resolve,
)
from fraud.store.database import open_engine, read, write
from fraud.store.views import CaseView

SORTS = get_args(CaseSort)


def all_pages(engine: Engine, sort: CaseSort, descending: bool, limit: int, **wanted: Any) -> list[CaseView]:
    found: list[CaseView] = []
    cursor = None
    while True:
        with read(engine) as connection:
            page = list_cases(connection, CaseFilter(**wanted), sort, descending, cursor, limit)
        assert len(page.items) <= limit
        found.extend(page.items)
        cursor = page.next_cursor
        if cursor is None:
            return found


def ids(engine: Engine, **wanted: Any) -> list[int]:
    return sorted(case.case_id for case in all_pages(engine, "priority", True, 3, **wanted))


@settings(max_examples=25, deadline=None)
@given(
    made=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), max_size=15),
    sort=st.sampled_from(SORTS),
    descending=st.booleans(),
    limit=st.integers(1, 6),
)
def test_pages_are_the_whole_list_in_order(
    tmp_path_factory: pytest.TempPathFactory,
    migrated_file: Path,
    made: list[tuple[int, int, int]],
    sort: CaseSort,
    descending: bool,
    limit: int,
) -> None:
    path = tmp_path_factory.mktemp("pages") / "store.db"
    shutil.copy(migrated_file, path)
    engine = open_engine(f"sqlite:///{path}")
    partition = Partition(engine)
    partition.commit(
        *(
            detection(number, expected_loss_minor=loss, detected_at=opened, due_at=due)
            for number, (loss, opened, due) in enumerate(made)
        )
    )
    keys = [(getattr(case, sort), case.case_id) for case in all_pages(engine, sort, descending, limit)]
    engine.dispose()
    assert len(keys) == len(made)
    assert keys == sorted(keys, reverse=descending)


@pytest.mark.parametrize("descending", [True, False])
@pytest.mark.parametrize("sort", SORTS)
def test_cases_that_come_in_between_shift_no_page(engine: Engine, sort: CaseSort, descending: bool) -> None:
    partition = Partition(engine)
    partition.commit(*(detection(number) for number in range(10, 30)))
    with read(engine) as connection:
        first = list_cases(connection, CaseFilter(), sort, descending, None, 7)
    # One in front of everything, one at the very place of the cursor, one behind everything.
    for number in (1, 16, 99):
        changed = {"expected_loss_minor": 1_000 + number, "detected_at": NOW + number, "due_at": NOW + number}
        begin = partition.position.next_offset
        partition.commit(detection(100 + number, offset=begin, **changed))
    with read(engine) as connection:
        rest = list_cases(connection, CaseFilter(), sort, descending, first.next_cursor, 200)
    seen = [case.case_id for case in (*first.items, *rest.items)]
    assert len(seen) == len(set(seen))
    before = {card_ref(number) for number in range(10, 30)}
    assert before <= {case.card_ref for case in (*first.items, *rest.items)}


def test_filters(engine: Engine) -> None:
    add_event(engine)
    partition = Partition(engine)
    partition.commit(
        detection(1),
        detection(2, kind="EXPOSED", tier=2),
        detection(3, kind="EXPOSED", tier=4, compromise_event_ids=(EVENT,)),
        detection(4, kind="EXPOSED", tier=4, compromise_event_ids=(EVENT,)),
        detection(5, card=4, kind="EXPOSED", tier=4, compromise_event_ids=(EVENT,)),
    )
    with write(engine) as connection:
        claim(connection, 1, "hana", 1, NOW)
    assert ids(engine) == [1, 2, 3, 4]
    assert ids(engine, status=(CaseStatus.NEW,)) == [2, 3, 4]
    assert ids(engine, status=(CaseStatus.NEW, CaseStatus.CLAIMED)) == [1, 2, 3, 4]
    assert ids(engine, status=()) == []
    assert ids(engine, kind="ANOMALY") == [1]
    assert ids(engine, tier_at_least=3) == [3, 4]
    assert ids(engine, compromise_event_id=EVENT) == [3, 4]
    assert ids(engine, compromise_event_id="none") == []
    assert ids(engine, claimed_by="hana") == [1]
    assert ids(engine, card_ref=card_ref(2)) == [2]
    assert ids(engine, opened_from=NOW + 2, opened_to=NOW + 4) == [2, 3]
    assert ids(engine, kind="EXPOSED", tier_at_least=3, opened_from=NOW + 4) == [4]


def test_total_counts_what_the_filter_leaves(engine: Engine) -> None:
    Partition(engine).commit(*(detection(number, tier=number % 2) for number in range(9)))
    with read(engine) as connection:
        page = list_cases(connection, CaseFilter(tier_at_least=1), "priority", True, None, 3)
    assert (len(page.items), page.total) == (3, 4)


@pytest.mark.parametrize("limit", [0, -1, 201])
def test_limit_is_held(engine: Engine, limit: int) -> None:
    with pytest.raises(InvalidInputError) as caught, read(engine) as connection:
        list_cases(connection, CaseFilter(), "priority", True, None, limit)
    assert caught.value.field == "limit"


def test_cursor_of_another_sort_is_refused(engine: Engine) -> None:
    Partition(engine).commit(detection(1), detection(2))
    with read(engine) as connection:
        cursor = list_cases(connection, CaseFilter(), "priority", True, None, 1).next_cursor
        for sort, descending in (("priority", False), ("due_at", True)):
            with pytest.raises(InvalidInputError) as caught:
                list_cases(connection, CaseFilter(), sort, descending, cursor, 1)  # type: ignore[arg-type]
            assert caught.value.field == "cursor"


def test_one_case_with_everything(engine: Engine) -> None:
    add_event(engine)
    partition = Partition(engine)
    partition.commit(detection(1, card=7), detection(2, card=7), match(1, card=7), match(3, card=7), match(4, card=8))
    with write(engine) as connection:
        add_note(connection, 1, "hana", "called, no answer", NOW + 9)
    with read(engine) as connection:
        case = get_case(connection, 1)
        assert (case.status, case.version, case.card_ref) == ("NEW", 1, card_ref(7))
        assert case.headline == {"code": "MODEL_SCORE_HIGH", "facts": {"number": 2}}
        assert [item.event_id for item in case_detections(connection, 1)] == ["event-2", "event-1"]
        assert [item.event_id for item in card_matches(connection, card_ref(7), 10)] == ["event-3", "event-1"]
        assert [item.event_id for item in card_matches(connection, card_ref(7), 1)] == ["event-3"]
        events = case_events(connection, 1)
    assert [(item.kind, item.actor) for item in events][2:] == [("NOTE", "hana")]
    assert (events[-1].data, events[-1].at) == ({"text": "called, no answer"}, NOW + 9)


def test_unknown_case_is_not_found(engine: Engine) -> None:
    with pytest.raises(NotFoundError), read(engine) as connection:
        get_case(connection, 1)
    with pytest.raises(NotFoundError), write(engine) as connection:
        add_note(connection, 1, "hana", "text", NOW)


def test_every_case_of_a_card_newest_first(engine: Engine) -> None:
    partition = Partition(engine)
    partition.commit(detection(1, card=7), detection(2, card=8))
    resolution = Resolution(Outcome.UNDETERMINED, ReasonCode.OTHER)
    with write(engine) as connection:
        resolve(connection, 1, "hana", claim(connection, 1, "hana", 1, NOW).version, resolution, NOW, 0)
    partition.commit(detection(3, card=7))
    with read(engine) as connection:
        assert [(case.case_id, case.status) for case in past_cases(connection, card_ref(7))] == [
            (3, "NEW"),
            (1, "RESOLVED"),
        ]
        assert queue_counts(connection) == {"NEW": 2, "CLAIMED": 0, "RESOLVED": 1}
