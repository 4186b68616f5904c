"""Watching never ends by a timer: one review an event, decided by a person, with exceptions."""

from __future__ import annotations

from typing import Any

import pytest
from import_samples import bring, cards_text, refs, reissue, tell
from sqlalchemy import Engine
from store_samples import EVENT, NOW, Partition, add_event, card_ref, detection, rows

from fraud.card_references import CardReferenceChange, CardStatus
from fraud.errors import ConflictError, InvalidInputError, NotFoundError
from fraud.store import tables
from fraud.store.audit import list_audit
from fraud.store.database import read, write
from fraud.store.exposure import exposure_changes, exposures_before
from fraud.store.exposure_reviews import (
    ExceptionReason,
    ReviewDecision,
    ReviewView,
    decide_review,
    get_review,
    list_reviews,
    review_exceptions,
)

DAY = 86_400_000
DUE = NOW + 90 * DAY


def watched(engine: Engine, event_id: str = EVENT) -> set[str]:
    return {
        row["card_ref"]
        for row in rows(engine, tables.exposed_card)
        if row["status"] == "ACTIVE" and row["compromise_event_id"] == event_id
    }


def decide(engine: Engine, decision: ReviewDecision, **changes: Any) -> ReviewView:
    with read(engine) as connection:
        (review,) = [item for item in list_reviews(connection) if item.compromise_event_id == EVENT]
    arguments = {"decided_by": "ken", "reason": "as agreed", "now": DUE, **changes}
    with write(engine) as connection:
        return decide_review(connection, review.review_id, decision, **arguments)


def reviews(engine: Engine, due_before: int | None = None) -> list[tuple[str, int]]:
    with read(engine) as connection:
        return [(item.compromise_event_id, item.due_at) for item in list_reviews(connection, due_before)]


def test_an_event_is_reviewed_once_ninety_days_after_its_first_cards(engine: Engine) -> None:
    add_event(engine)
    add_event(engine, "other")
    assert reviews(engine) == []
    bring(engine, cards_text(1))
    bring(engine, cards_text(2), now=NOW + DAY)
    bring(engine, cards_text(3), "other", now=NOW + 2 * DAY)
    assert reviews(engine) == [(EVENT, DUE), ("other", DUE + 2 * DAY)]
    assert reviews(engine, DUE - 1) == []
    assert reviews(engine, DUE) == [(EVENT, DUE)]
    assert watched(engine) == set(refs([1, 2]))  # whatever the time is, nothing ends by itself


def test_extending_goes_on_for_all_but_the_exceptions(engine: Engine) -> None:
    add_event(engine)
    bring(engine, cards_text(1, 2, 3))
    done = decide(engine, ReviewDecision.EXTENDED, exceptions=refs([2]), days=30)
    assert (done.decision, done.exceptions, done.decided_by, done.reason) == ("EXTENDED", 1, "ken", "as agreed")
    assert watched(engine) == set(refs([1, 3]))
    assert reviews(engine) == [(EVENT, DUE + 30 * DAY)]
    with read(engine) as connection:
        assert [(item.card_ref, item.released) for item in exposure_changes(connection, 1)] == [(card_ref(2), True)]
        assert [(item.card_ref, item.released) for item in exposures_before(connection, 1)] == [(card_ref(2), False)]
        (entry,) = list_audit(connection, action="exposure_review.decide")
    assert (entry.actor, entry.subject, entry.reason) == ("ken", f"compromise_event/{EVENT}", "as agreed")
    assert (entry.new["released"], entry.new["watched"]) == (1, 2)


def test_extending_without_exceptions_is_no_new_version(engine: Engine) -> None:
    add_event(engine)
    bring(engine, cards_text(1))
    decide(engine, ReviewDecision.EXTENDED)
    with read(engine) as connection:
        assert exposure_changes(connection, 1) == []


def test_releasing_keeps_the_exceptions_and_other_events(engine: Engine) -> None:
    add_event(engine)
    add_event(engine, "other")
    bring(engine, cards_text(1, 2, 3))
    bring(engine, cards_text(1), "other")
    decide(engine, ReviewDecision.RELEASED, exceptions=refs([3]))
    assert watched(engine) == {card_ref(3)}
    assert watched(engine, "other") == {card_ref(1)}
    assert (EVENT, DUE + 90 * DAY) in reviews(engine)
    decide(engine, ReviewDecision.RELEASED, now=DUE + 90 * DAY)
    assert watched(engine) == set()
    assert [event for event, _ in reviews(engine)] == ["other"]
    with read(engine) as connection:
        assert [item.decision for item in list_reviews(connection, decided=True)] == ["RELEASED", "RELEASED"]


def test_a_card_takes_those_along_that_came_after_it(engine: Engine) -> None:
    add_event(engine)
    bring(engine, cards_text(1, 2))
    tell(engine, reissue(1, 11), reissue(11, 12), reissue(2, 22))
    decide(engine, ReviewDecision.EXTENDED, exceptions=refs([1]))
    assert watched(engine) == set(refs([2, 22]))


def test_cards_that_want_a_look_of_their_own(engine: Engine) -> None:
    add_event(engine)
    add_event(engine, "other")
    bring(engine, cards_text(*range(1, 8)))
    bring(engine, cards_text(5), "other")
    tell(
        engine,
        CardReferenceChange(card_ref(2), NOW, status=CardStatus.CLOSED),
        CardReferenceChange(card_ref(3), NOW, status=CardStatus.EXPIRED),
        reissue(4, 40),
        CardReferenceChange(card_ref(6), NOW, status=CardStatus.ACTIVE),
    )
    Partition(engine).commit(detection(1, card=1))
    with read(engine) as connection:
        page = review_exceptions(connection, EVENT, None, 3)
        rest = review_exceptions(connection, EVENT, page.next_cursor, 3)
    found = {item.card_ref: item.reasons for item in [*page.items, *rest.items]}
    assert found == {
        card_ref(1): (ExceptionReason.OPEN_CASE,),
        card_ref(2): (ExceptionReason.CLOSED,),
        card_ref(3): (ExceptionReason.EXPIRED,),
        card_ref(4): (ExceptionReason.SUPERSEDED,),
        card_ref(5): (ExceptionReason.IN_OTHER_EVENT,),
    }
    assert rest.next_cursor is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"reason": " "}, "reason"),
        ({"days": 0}, "days"),
        ({"days": 401}, "days"),
        ({"exceptions": refs([9])}, "exceptions"),
        ({"exceptions": refs(range(10_001))}, "exceptions"),
    ],
)
def test_a_decision_that_cannot_be_changes_nothing(engine: Engine, change: dict[str, Any], field: str) -> None:
    add_event(engine)
    bring(engine, cards_text(1))
    with pytest.raises(InvalidInputError) as caught:
        decide(engine, ReviewDecision.RELEASED, **change)
    assert caught.value.field == field
    assert watched(engine) == {card_ref(1)}
    assert reviews(engine) == [(EVENT, DUE)]


def test_a_review_is_decided_once(engine: Engine) -> None:
    add_event(engine)
    bring(engine, cards_text(1))
    done = decide(engine, ReviewDecision.EXTENDED)
    with pytest.raises(ConflictError), write(engine) as connection:
        decide_review(connection, done.review_id, ReviewDecision.RELEASED, decided_by="ken", reason="x", now=DUE)
    with pytest.raises(NotFoundError), read(engine) as connection:
        get_review(connection, 99)
