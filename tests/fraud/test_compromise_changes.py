"""Windows, facts, disclosure, code names and amendments of compromise events."""

from __future__ import annotations

from datetime import date, timedelta
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud.compromise import (
    CompromisedEntity,
    CompromiseStatus,
    DataElements,
    EntityRole,
    ExposureWindow,
    WindowPrecision,
    next_statuses,
    transition,
)
from fraud.compromise_amendments import Amendment, KnownExposure, effect_of, suppliers, window_with
from fraud.compromise_disclosure import Disclosure, Names, code_name_for, disclose, refuse_telling_id
from fraud.compromise_facts import DatedFact, FactKind
from fraud.compromise_window import local_day
from fraud.errors import ConflictError, InvalidInputError

TOKYO = "Asia/Tokyo"
WINDOW = ExposureWindow(date(2022, 7, 19), date(2022, 7, 26), TOKYO)
KNOWN = KnownExposure("Web shop", "Amber Heron", WINDOW, DataElements(expiry=True, cvv2=True))
DAYS = st.dates(date(2020, 1, 1), date(2023, 12, 31))


def windows() -> st.SearchStrategy[ExposureWindow]:
    return st.tuples(DAYS, DAYS).map(lambda days: ExposureWindow(min(days), max(days), TOKYO))


@pytest.mark.parametrize(
    ("precision", "given_days", "days"),
    [
        (WindowPrecision.DAY, ("2022-07-19", "2022-07-26"), ("2022-07-19", "2022-07-26")),
        (WindowPrecision.MONTH, ("2022-03-15", "2022-05-02"), ("2022-03-01", "2022-05-31")),
        (WindowPrecision.MONTH, ("2024-02-10", "2024-02-10"), ("2024-02-01", "2024-02-29")),
        (WindowPrecision.MONTH, ("2022-12-31", "2022-12-31"), ("2022-12-01", "2022-12-31")),
        (WindowPrecision.YEAR, ("2021-06-30", "2022-01-01"), ("2021-01-01", "2022-12-31")),
    ],
)
def test_what_a_notice_leaves_open_counts_as_exposed(
    precision: WindowPrecision, given_days: tuple[str, str], days: tuple[str, str]
) -> None:
    first, last = (date.fromisoformat(day) for day in given_days)
    window = ExposureWindow(first, last, TOKYO, precision)
    assert (window.starts_on.isoformat(), window.ends_on.isoformat()) == days
    assert window.start_at <= ExposureWindow(first, last, TOKYO).start_at
    assert window.end_at >= ExposureWindow(first, last, TOKYO).end_at


def test_a_window_must_not_end_before_it_starts_however_coarse() -> None:
    for precision in WindowPrecision:
        with pytest.raises(InvalidInputError) as caught:
            ExposureWindow(date(2022, 7, 26), date(2022, 7, 25), TOKYO, precision)
        assert caught.value.field == "ends_on"


@given(windows(), windows())
def test_days_beyond_are_exactly_the_days_that_the_other_lacks(one: ExposureWindow, other: ExposureWindow) -> None:
    def days(first: date, last: date) -> set[date]:
        return {first + timedelta(days=number) for number in range((last - first).days + 1)}

    stretches = one.days_beyond(other)
    found = [day for first, last in stretches for day in days(first, last)]
    assert len(found) == len(set(found))
    assert set(found) == days(one.starts_on, one.ends_on) - days(other.starts_on, other.ends_on)


def test_days_are_told_in_the_zone_of_the_event() -> None:
    assert local_day(WINDOW.start_at, TOKYO) == date(2022, 7, 19)
    assert local_day(WINDOW.start_at - 1, TOKYO) == date(2022, 7, 18)
    assert local_day(WINDOW.start_at, "America/New_York") == date(2022, 7, 18)


def test_next_statuses_are_those_that_a_step_reaches() -> None:
    for current, to in product(CompromiseStatus, CompromiseStatus):
        try:
            transition(current, to, reason="any")
            reached = True
        except ConflictError:
            reached = False
        assert (to in next_statuses(current)) == reached


@pytest.mark.parametrize(
    ("kind", "author", "note", "field"),
    [
        ("FORENSIC_REPORT", None, "done", "author"),
        ("FORENSIC_REPORT", "  ", "done", "author"),
        ("OTHER", None, None, "note"),
        ("RUMOUR", None, "heard", "kind"),
    ],
)
def test_facts_that_say_too_little(kind: str, author: str | None, note: str | None, field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        DatedFact(kind, date(2022, 8, 1), author, note)  # type: ignore[arg-type]
    assert caught.value.field == field


def test_a_plan_is_not_a_fact() -> None:
    fact = DatedFact(FactKind.PUBLISHED, date(2023, 1, 10))
    fact.check_known(date(2023, 1, 10))
    with pytest.raises(InvalidInputError) as caught:
        fact.check_known(date(2023, 1, 9))
    assert caught.value.field == "on"


def test_the_shop_is_named_only_after_publication_and_silence_needs_a_reason() -> None:
    for current, to, published, reason in product(Disclosure, Disclosure, (True, False), (None, " ", "mistake")):
        backwards = list(Disclosure).index(to) < list(Disclosure).index(current)
        if current is to or (to is Disclosure.PUBLISHED and not published):
            with pytest.raises(ConflictError):
                disclose(current, to, published=published, reason=reason)
        elif backwards and not (reason and reason.strip()):
            with pytest.raises(InvalidInputError) as caught:
                disclose(current, to, published=published, reason=reason)
            assert caught.value.field == "reason"
        else:
            assert disclose(current, to, published=published, reason=reason) is to
    assert [(item.may_tell_holder, item.may_name_entity) for item in Disclosure] == [
        (False, False),
        (True, False),
        (True, True),
    ]


@pytest.mark.parametrize(
    ("code_name", "refused"),
    [
        ("Amber Heron", False),
        ("hanamori", True),
        ("Project Hanamori Cosme", True),
        ("HANAMORI-COSME", True),
        ("花森コスメ", True),
        ("花", False),  # too short to tell from an ordinary word
        ("Scripts Ltd", True),
        ("?!", True),
    ],
)
def test_code_names_that_give_the_name_away(code_name: str, refused: bool) -> None:
    names = Names("Hanamori Cosme", code_name)
    entities = ("花森コスメ", "Scripts Ltd")
    if not refused:
        names.check(entities)
        return
    with pytest.raises(InvalidInputError) as caught:
        names.check(entities)
    assert caught.value.field == "code_name"


def test_ids_with_a_word_of_the_name_are_refused() -> None:
    for telling in ("hanamori-2022", "ce.HANAMORI", "x-cosmetics"):
        with pytest.raises(InvalidInputError) as caught:
            refuse_telling_id(telling, ["Hanamori online", "Good Cosmetics"])
        assert caught.value.field == "compromise_event_id"
    refuse_telling_id("shop-2022", ["Web shop"])


def test_made_code_names_are_stable_and_many() -> None:
    assert code_name_for("CE-1") == code_name_for("CE-1") != code_name_for("CE-1", 1)
    assert len({code_name_for(f"CE-{number}") for number in range(200)}) > 150


def test_an_amendment_changes_what_it_names_and_nothing_else() -> None:
    wider = ExposureWindow(date(2022, 7, 17), date(2022, 7, 27), TOKYO)
    after = Amendment("forensic report", window=wider, elements=DataElements(expiry=True, name=True)).applied_to(KNOWN)
    assert (after.name, after.code_name, after.entities) == (KNOWN.name, KNOWN.code_name, KNOWN.entities)
    effect = effect_of(KNOWN, after)
    assert effect.changed == ("window", "elements")
    assert effect.days_added == (
        (date(2022, 7, 17), date(2022, 7, 18)),
        (date(2022, 7, 27), date(2022, 7, 27)),
    )
    assert effect.days_removed == ()
    assert (effect.elements_added, effect.elements_removed) == (("name",), ("cvv2",))
    assert (effect.tier_before, effect.tier_after) == (3, 2)
    assert effect.changes_matching


def test_names_entities_and_vector_do_not_touch_what_workers_match() -> None:
    entity = CompromisedEntity("Scripts Ltd", EntityRole.SUPPLIER)
    with_vector = Amendment("word from them", entities=(entity,), vector="tampered script").applied_to(KNOWN)
    assert not effect_of(KNOWN, with_vector).changes_matching
    without = Amendment("not so", vector="").applied_to(with_vector)
    assert without.vector is None
    assert effect_of(with_vector, without).changed == ("vector",)


def test_amendments_need_a_reason_and_a_change() -> None:
    with pytest.raises(InvalidInputError) as caught:
        Amendment(" ", vector="x")
    assert caught.value.field == "reason"
    with pytest.raises(InvalidInputError) as caught:
        effect_of(KNOWN, Amendment("the same again", window=WINDOW).applied_to(KNOWN))
    assert caught.value.field == "amendment"


def test_parts_of_a_window_that_are_not_given_stay() -> None:
    assert window_with(WINDOW) is None
    assert window_with(WINDOW, ends_on=date(2022, 7, 31)) == ExposureWindow(date(2022, 7, 19), date(2022, 7, 31), TOKYO)
    with pytest.raises(InvalidInputError) as caught:
        window_with(WINDOW, ends_on=date(2022, 7, 18))
    assert caught.value.field == "ends_on"


def test_what_events_can_have_in_common() -> None:
    entities = (
        CompromisedEntity("Web shop", EntityRole.MERCHANT),
        CompromisedEntity("Scripts LTD", EntityRole.SUPPLIER),
        CompromisedEntity("Pay Inc", EntityRole.PROCESSOR),
    )
    assert suppliers(entities) == {"scripts ltd", "pay inc"}
