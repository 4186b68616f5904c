"""The picture of the story: the exposure window, the notice's dates one by one, and where today is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from fraud.console.charts import Band, Plot, Tick, TimeScale, time_ticks
from fraud.console.formatting import DAY_MS

PLOT = Plot(width=1180, height=128, left=20, top=28, right_margin=20)
_NEAREST = 26.0  # user units between two markers on one line; closer ones move up a line
_LINE = 24.0
_MARGIN_DAYS = 6


@dataclass(frozen=True, slots=True)
class Moment:
    """One date of the story; `number` links the picture to the list beneath it."""

    number: int
    on: str
    label: str
    past: bool
    days_after_window: int
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class StoryChart:
    """Everything that the picture shows."""

    plot: Plot
    x_ticks: tuple[Tick, ...]
    window: Band
    moments: tuple[Moment, ...]
    today: Tick
    today_at_end: bool  # the label stands left of the line, so that it stays inside the picture


def story_chart(
    dates: Sequence[Mapping[str, Any]], window: Mapping[str, str], today: str, zone: ZoneInfo
) -> StoryChart | None:
    """Lay the dates out; None where the story has none. All dates are ISO dates in `zone`."""
    if not dates or not window:
        return None
    ordered = sorted(dates, key=lambda item: str(item["on"]))
    opens, closes = _midnight(window["starts_on"], zone), _midnight(window["ends_on"], zone) + DAY_MS
    margin = _MARGIN_DAYS * DAY_MS
    scale = TimeScale(opens - margin, _midnight(str(ordered[-1]["on"]), zone) + margin, PLOT.left, PLOT.right)
    places = [scale(_midnight(str(item["on"]), zone)) for item in ordered]
    level = 0
    levels = [0]
    for left, right in pairwise(places):
        level = level + 1 if right - left < _NEAREST else 0
        levels.append(level)
    ends_on = date.fromisoformat(window["ends_on"])
    moments = tuple(
        Moment(
            number=number,
            on=str(item["on"]),
            label=str(item["label"]),
            past=str(item["on"]) <= today,
            days_after_window=(date.fromisoformat(str(item["on"])) - ends_on).days,
            x=x,
            y=PLOT.bottom - 14 - line * _LINE,
        )
        for number, (item, x, line) in enumerate(zip(ordered, places, levels, strict=True), start=1)
    )
    today_x = scale(_midnight(today, zone))
    return StoryChart(
        PLOT,
        time_ticks(scale, zone, most=9),
        Band(scale(opens), round(scale(closes) - scale(opens), 1), f"{window['starts_on']} \u2013 {window['ends_on']}"),
        moments,
        Tick(today_x, today),
        today_at_end=today_x > PLOT.right - 160,
    )


def _midnight(day: str, zone: ZoneInfo) -> int:
    return int(datetime.combine(date.fromisoformat(day), time.min, zone).timestamp() * 1000)


def days_between(first: str, last: str) -> int:
    """Whole days from one ISO date to another."""
    return (date.fromisoformat(last) - date.fromisoformat(first)) // timedelta(days=1)
