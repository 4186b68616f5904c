"""Geometry of the pictures: everything lies inside, in order, at the right place."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud.console.card_chart import card_chart, close_up
from fraud.console.charts import AmountScale, Plot, TimeScale, bars_by_day, nice_ceiling, time_ticks
from fraud.console.formatting import DAY_MS, HOUR_MS, Format
from fraud.console.language import translator
from fraud.console.story_chart import story_chart
from fraud.console.timeline import Entry

TOKYO = ZoneInfo("Asia/Tokyo")
NOW = int(datetime(2022, 9, 6, 5, 20, tzinfo=UTC).timestamp() * 1000)
FORMAT = Format(translator("en"), TOKYO, NOW)
PLOT = Plot(width=800, height=200)

times = st.integers(min_value=NOW - 400 * DAY_MS, max_value=NOW)
entries_of = st.lists(
    st.builds(
        Entry,
        occurred_at=times,
        amount_minor=st.none() | st.integers(min_value=0, max_value=10**9),
        currency=st.just("JPY"),
        channel=st.sampled_from([None, "ecommerce", "atm", "unheard-of"]),
        detection_id=st.sampled_from([None, "d"]),
    ),
    min_size=1,
    max_size=30,
).map(lambda entries: sorted(entries, key=lambda entry: entry.occurred_at))
windows = st.lists(times.map(lambda at: (at, at + 8 * DAY_MS, "Event")), max_size=3)


@given(entries_of, windows)
def test_everything_lies_inside_the_picture(entries: list[Entry], shaded: list[tuple[int, int, str]]) -> None:
    for chart in (card_chart(entries, shaded, FORMAT, PLOT), close_up(entries, shaded, FORMAT, PLOT)):
        if chart is None:
            continue
        for mark in chart.marks:
            assert PLOT.left <= mark.x <= PLOT.right
            assert PLOT.top <= mark.y <= PLOT.bottom
        for band in chart.bands:
            assert PLOT.left <= band.x <= PLOT.right
            assert band.width >= 2
        for tick in chart.x_ticks:
            assert PLOT.left <= tick.position <= PLOT.right


@given(entries_of, windows)
def test_the_whole_picture_shows_every_transaction_and_every_window(
    entries: list[Entry], shaded: list[tuple[int, int, str]]
) -> None:
    chart = card_chart(entries, shaded, FORMAT, PLOT)
    assert chart is not None
    assert len(chart.marks) == len(entries)
    assert len(chart.bands) == len(shaded)
    assert sum(mark.ringed for mark in chart.marks) == sum(entry.detection_id is not None for entry in entries)


@given(st.integers(0, 10**9), st.integers(0, 10**9))
def test_more_money_is_never_lower(first: int, second: int) -> None:
    scale = AmountScale(10**9, bottom=180, top=10)
    low, high = sorted((first, second))
    assert scale(high) <= scale(low)


@given(times, st.integers(min_value=HOUR_MS, max_value=900 * DAY_MS), st.integers(4, 12))
def test_ticks_are_few_in_order_and_at_round_local_times(start: int, span: int, most: int) -> None:
    scale = TimeScale(start, start + span, 0, 1000)
    ticks = time_ticks(scale, TOKYO, most)
    assert len(ticks) <= most + 2
    assert all(left.position < right.position for left, right in pairwise(ticks))


def test_ticks_of_days_stand_at_local_midnight() -> None:
    start = int(datetime(2022, 7, 18, 15, tzinfo=UTC).timestamp() * 1000)  # midnight in Tokyo, 19 July
    ticks = time_ticks(TimeScale(start, start + 4 * DAY_MS, 0, 400), TOKYO, 5)
    assert [(tick.position, tick.label) for tick in ticks] == [
        (0, "07-19"),
        (100, "07-20"),
        (200, "07-21"),
        (300, "07-22"),
        (400, "07-23"),
    ]


@pytest.mark.parametrize(("value", "top"), [(0, 1), (1, 1), (2, 2), (3, 4), (7, 10), (13, 20), (99, 100), (601, 1000)])
def test_the_axis_ends_at_a_round_number(value: int, top: int) -> None:
    assert nice_ceiling(value) == top


def test_bars_stand_on_the_base_line_and_are_as_tall_as_their_count() -> None:
    chart = bars_by_day([(0, 5, "a"), (DAY_MS, 10, "b"), (3 * DAY_MS, 0, "c")], PLOT, TOKYO)
    assert chart is not None
    assert [round(bar.y + bar.height, 3) for bar in chart.bars] == [PLOT.bottom] * 3
    assert chart.bars[1].height == 2 * chart.bars[0].height == PLOT.bottom - PLOT.top
    assert chart.bars[2].height == 0
    assert bars_by_day([], PLOT, TOKYO) is None


def test_the_storys_dates_are_numbered_in_order_and_do_not_overlap() -> None:
    dates = [
        {"on": on, "label": "label", "kind": "kind"}
        for on in ("2023-01-10", "2022-07-28", "2022-08-01", "2022-08-03", "2022-12-08", "2022-12-09")
    ]
    chart = story_chart(dates, {"starts_on": "2022-07-19", "ends_on": "2022-07-26"}, "2022-08-02", TOKYO)
    assert chart is not None
    assert [moment.number for moment in chart.moments] == [1, 2, 3, 4, 5, 6]
    assert [moment.past for moment in chart.moments] == [True, True, False, False, False, False]
    assert chart.moments[0].days_after_window == 2
    assert chart.moments[0].x < chart.today.position < chart.moments[2].x
    for left in chart.moments:
        for right in chart.moments[left.number :]:
            assert abs(left.x - right.x) >= 20 or abs(left.y - right.y) >= 20
        assert chart.plot.top <= left.y - 10
    assert chart.window.x + chart.window.width < chart.moments[0].x
