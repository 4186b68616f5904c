"""Compromise events: lifecycle, tiers, windows."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud.compromise import (
    DAY_MS,
    AlertSource,
    CompromisedEntity,
    CompromiseEvent,
    CompromiseStatus,
    DataElements,
    EntityRole,
    ExposureWindow,
    days_since_window,
    transition,
)
from fraud.errors import ConflictError, InvalidInputError

S = CompromiseStatus
ELEMENTS = ("pan", "expiry", "cvv2", "name", "address", "phone", "email", "login", "three_ds_secret", "track", "pin")


@pytest.mark.parametrize(
    "path",
    [
        (S.SUSPECTED, S.ALERTED, S.INVESTIGATING, S.CONFIRMED, S.CLOSED),
        (S.SUSPECTED, S.INVESTIGATING, S.INCONCLUSIVE, S.CLOSED),
        (S.SUSPECTED, S.ALERTED, S.INVESTIGATING, S.INCONCLUSIVE, S.INVESTIGATING, S.CONFIRMED),
        (S.SUSPECTED, S.CONFIRMED),
    ],
)
def test_paths_that_notices_take(path: tuple[S, ...]) -> None:
    for current, to in pairwise(path):
        assert transition(current, to) is to


def test_every_open_event_can_be_refuted_and_nothing_leaves_refuted() -> None:
    for current in S:
        if current.is_open:
            assert transition(current, S.REFUTED) is S.REFUTED
        with pytest.raises(ConflictError):
            transition(S.REFUTED, current, reason="new word")


def test_no_step_goes_nowhere_or_back_to_suspicion() -> None:
    for current, to in product(S, S):
        if to in (current, S.SUSPECTED):
            with pytest.raises(ConflictError, match=f"is {current} cannot become {to}"):
                transition(current, to, reason="any")


def test_only_confirmed_and_inconclusive_events_close() -> None:
    for current in set(S) - {S.CONFIRMED, S.INCONCLUSIVE}:
        with pytest.raises(ConflictError):
            transition(current, S.CLOSED)


@pytest.mark.parametrize("reason", [None, "", "  "])
def test_a_closed_event_reopens_with_a_reason_only(reason: str | None) -> None:
    with pytest.raises(InvalidInputError) as caught:
        transition(S.CLOSED, S.CONFIRMED, reason=reason)
    assert caught.value.field == "reason"
    assert transition(S.CLOSED, S.CONFIRMED, reason="second forensic report") is S.CONFIRMED


@pytest.mark.parametrize(
    ("names", "tier"),
    [
        ((), 1),
        (("expiry",), 2),
        (("expiry", "name", "email"), 2),
        (("expiry", "cvv2"), 3),
        (("cvv2",), 3),
        (("expiry", "cvv2", "name"), 4),
        (("expiry", "cvv2", "three_ds_secret"), 4),
        (("track",), 5),
        (("track", "pin"), 5),
    ],
)
def test_tiers(names: tuple[str, ...], tier: int) -> None:
    assert DataElements.from_names(("pan", *names)).tier() == tier


@given(st.sets(st.sampled_from(ELEMENTS)), st.sampled_from(ELEMENTS))
def test_more_elements_never_lower_the_tier(names: set[str], more: str) -> None:
    assert 1 <= DataElements.from_names(names).tier() <= DataElements.from_names(names | {more}).tier() <= 5


@given(st.sets(st.sampled_from(ELEMENTS)))
def test_elements_come_back_from_their_names(names: set[str]) -> None:
    elements = DataElements.from_names(names)
    assert set(elements.names()) == names
    assert DataElements.from_names(elements.names()) == elements


def test_unknown_elements_are_refused_unseen() -> None:
    with pytest.raises(InvalidInputError) as caught:
        DataElements.from_names(["pan", "4111111111111111"])
    assert caught.value.field == "data_elements"
    assert "4111" not in str(caught.value)


def test_window_ends_with_its_last_day_in_its_zone() -> None:
    window = ExposureWindow(date(2022, 7, 19), date(2022, 7, 26), "Asia/Tokyo")
    assert window.start_at == int(datetime(2022, 7, 18, 15, tzinfo=UTC).timestamp()) * 1000
    assert window.end_at == int(datetime(2022, 7, 26, 15, tzinfo=UTC).timestamp()) * 1000
    assert window.end_at - window.start_at == 8 * DAY_MS


def test_a_day_with_a_clock_change_is_as_long_as_it_was() -> None:
    spring = ExposureWindow(date(2022, 3, 27), date(2022, 3, 27), "Europe/Berlin")
    autumn = ExposureWindow(date(2022, 10, 30), date(2022, 10, 30), "Europe/Berlin")
    assert spring.end_at - spring.start_at == 23 * 3_600_000
    assert autumn.end_at - autumn.start_at == 25 * 3_600_000


@pytest.mark.parametrize(
    ("starts_on", "ends_on", "zone", "field"),
    [
        (date(2022, 7, 26), date(2022, 7, 25), "Asia/Tokyo", "ends_on"),
        (date(202, 7, 19), date(2022, 7, 26), "Asia/Tokyo", "starts_on"),
        (date(2022, 7, 19), date.max, "Asia/Tokyo", "ends_on"),
        (date(2022, 7, 19), date(2022, 7, 26), "Mars/Olympus", "zone"),
        (date(2022, 7, 19), date(2022, 7, 26), "", "zone"),
        (date(2022, 7, 19), date(2022, 7, 26), "../../etc/passwd", "zone"),
        (date(2022, 7, 19), date(2022, 7, 26), "Asia", "zone"),
    ],
)
def test_windows_that_cannot_be(starts_on: date, ends_on: date, zone: str, field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        ExposureWindow(starts_on, ends_on, zone)
    assert caught.value.field == field


def test_days_since_window() -> None:
    end = ExposureWindow(date(2022, 7, 19), date(2022, 7, 26), "Asia/Tokyo").end_at
    at = np.array([0, end - 1, end, end + DAY_MS - 1, end + DAY_MS, end + 166 * DAY_MS, np.iinfo(np.int64).max // 2])
    days = days_since_window(at, end)
    assert days.dtype == np.int32
    assert days[:-1].tolist() == [0, 0, 0, 0, 1, 166]
    assert days[-1] == np.iinfo(np.int32).max
    assert days_since_window(at[4:6], np.array([end, end + DAY_MS])).tolist() == [1, 165]


def test_an_event_has_the_tier_of_its_elements() -> None:
    event = CompromiseEvent(
        compromise_event_id="ce-1",
        name="Payment page of a cosmetics shop",
        status=S.SUSPECTED,
        source=AlertSource.MERCHANT_NOTICE,
        window=ExposureWindow(date(2022, 7, 19), date(2022, 7, 26), "Asia/Tokyo"),
        elements=DataElements(expiry=True, cvv2=True),
        entities=(CompromisedEntity("Script supplier", EntityRole.SUPPLIER),),
    )
    assert event.tier == 3
    assert event.status.is_open
