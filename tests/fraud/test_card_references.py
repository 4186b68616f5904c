"""Lines of reissued cards: whatever the order in which links arrive, they say what a walk along the links says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud.card_references import (
    CardLineages,
    CardReferenceChange,
    CardStatus,
    LineageNode,
    ShownStatus,
    shown_status,
)
from fraud.errors import ConflictError, InvalidInputError


def ref(number: int) -> str:
    return f"v1:{number:064x}"


@st.composite
def forests(draw: st.DrawFn) -> list[tuple[int, int]]:
    """Links old to new: every card replaces at most one, an earlier one; in any order."""
    count = draw(st.integers(2, 12))
    links = [(draw(st.integers(0, new - 1)), new) for new in range(1, count) if draw(st.booleans())]
    return draw(st.permutations(links))


def walk(links: list[tuple[int, int]], card: int) -> LineageNode:
    before = {new: old for old, new in links}
    generation = 0
    while card in before:
        card, generation = before[card], generation + 1
    return LineageNode(ref(card), generation)


@given(forests(), st.integers(0, 12))
def test_places_are_those_of_a_walk_whatever_the_order_and_however_it_is_cut(
    links: list[tuple[int, int]], cut: int
) -> None:
    nodes: dict[str, LineageNode] = {}
    for part in (links[:cut], links[cut:]):
        lines = CardLineages(nodes)
        for old, new in part:
            lines.replace(ref(old), ref(new))
            lines.replace(ref(old), ref(new))  # twice is the same
        nodes |= lines.changed()
    members = {card for link in links for card in link}
    assert {card: nodes[ref(card)] for card in members} == {card: walk(links, card) for card in members}
    assert len(nodes) == len(members)


def test_a_card_replaces_one_card_and_never_one_that_came_after_it() -> None:
    lines = CardLineages({})
    lines.replace(ref(1), ref(2))
    lines.replace(ref(2), ref(3))
    for old, new in ((9, 3), (3, 1), (1, 3), (2, 2)):
        with pytest.raises(ConflictError) as caught:
            lines.replace(ref(old), ref(new))
        assert ref(old) not in str(caught.value)
    assert lines.node(ref(3)) == LineageNode(ref(1), 2)


def test_a_card_may_be_replaced_twice() -> None:
    lines = CardLineages({})
    lines.replace(ref(1), ref(2))  # lost in the mail
    lines.replace(ref(1), ref(3))
    assert lines.node(ref(2)) == lines.node(ref(3)) == LineageNode(ref(1), 1)


def test_an_alias_stands_beside_its_card_from_either_side() -> None:
    lines = CardLineages({})
    lines.replace(ref(1), ref(2))
    lines.alias("x:C-2", ref(2))
    lines.alias(ref(1), "x:C-1")  # the line that is there keeps its first card
    assert lines.node("x:C-2") == LineageNode(ref(1), 1)
    assert lines.node("x:C-1") == LineageNode(ref(1), 0)
    with pytest.raises(ConflictError):
        lines.alias("x:C-1", ref(2))


def test_what_was_known_before_and_has_not_changed_is_no_change() -> None:
    known = {ref(1): LineageNode(ref(1), 0), ref(2): LineageNode(ref(1), 1)}
    lines = CardLineages(known)
    lines.replace(ref(1), ref(2))
    assert lines.changed() == {}
    lines.replace(ref(0), ref(1))
    assert lines.changed() == {
        ref(0): LineageNode(ref(0), 0),
        ref(1): LineageNode(ref(0), 1),
        ref(2): LineageNode(ref(0), 2),
    }


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"card_ref": "4111111111111111"}, "card_ref"),
        ({"replaced_by": ref(1)}, "replaced_by"),
        ({"alias_of": "nothing"}, "alias_of"),
        ({"expiry": "12/25"}, "expiry"),
        ({"expiry": "2025-13"}, "expiry"),
        ({"product": ""}, "product"),
        ({"product": "a\nb"}, "product"),
    ],
)
def test_a_change_that_cannot_be_names_the_field(change: dict[str, str], field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        CardReferenceChange(**{"card_ref": ref(1), "as_of_at": 1, **change})  # type: ignore[arg-type]
    assert caught.value.field == field
    assert "4111" not in str(caught.value)


def test_a_change_says_only_what_it_says() -> None:
    assert CardReferenceChange(ref(1), 1, status=CardStatus.CLOSED).said() == {"status": CardStatus.CLOSED}
    assert CardReferenceChange(ref(1), 1, alias_of="x:1").said() == {}


@pytest.mark.parametrize(
    ("status", "watched", "shown"),
    [
        (None, True, ShownStatus.WATCHED),
        (None, False, ShownStatus.UNKNOWN),
        (CardStatus.ACTIVE, True, ShownStatus.WATCHED),
        (CardStatus.ACTIVE, False, ShownStatus.ACTIVE),
        (CardStatus.SUPERSEDED, True, ShownStatus.SUPERSEDED),
        (CardStatus.CLOSED, True, ShownStatus.CLOSED),
    ],
)
def test_card_status_and_exposure_are_two_things(status: CardStatus | None, watched: bool, shown: ShownStatus) -> None:
    assert shown_status(status, watched=watched) is shown
