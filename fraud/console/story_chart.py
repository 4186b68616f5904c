"""A picture of dates: the exposure window, what happened when one by one, and where today is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

from fraud.console.charts import Band, Plot, Tick, TimeScale, time_ticks
from fraud.console.formatting import DAY_MS

PLOT = Plot(width=1180, height=128, left=20, top=28, right_margin=20)
_NEAREST = 26.0  # user units between two markers on one line; closer ones move up a line
_LINE = 24.0
_LINES_WITHIN = 2  # beyond the first; more make the picture taller
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
    today: Tick | None  # None when it lies outside the picture
    today_at_end: bool  # the label stands left of the line, so that it stays inside the picture
    earlier: tuple[Band, ...] = ()  # windows that were amended since


def story_chart(
    dates: Sequence[Mapping[str, Any]],
    window: Mapping[str, str],
    today: str,
    zone: ZoneInfo,
    earlier: Sequence[Mapping[str, str]] = (),
    plot: Plot = PLOT,
) -> StoryChart | None:
    """Lay the dates out; None where the story has none. All dates are ISO dates in `zone`.

    `earlier` are windows that were amended since. Where many dates lie close together the picture grows upwards.
    """
    if not dates or not window:
        return None
    ordered = sorted(dates, key=lambda item: str(item["on"]))
    windows = [window, *earlier]
    first = min([str(ordered[0]["on"]), *(item["starts_on"] for item in windows)])
    last = max([str(ordered[-1]["on"]), *(item["ends_on"] for item in windows)])
    margin = _MARGIN_DAYS * DAY_MS
    begins, ends = _midnight(first, zone) - margin, _midnight(last, zone) + DAY_MS + margin
    scale = TimeScale(begins, ends, plot.left, plot.right)
    places = [scale(_midnight(str(item["on"]), zone)) for item in ordered]
    level = 0
    levels = [0]
    for left, right in pairwise(places):
        level = level + 1 if right - left < _NEAREST else 0
        levels.append(level)
    plot = replace(plot, height=plot.height + max(0, max(levels) - _LINES_WITHIN) * _LINE)
    ends_on = date.fromisoformat(window["ends_on"])
    moments = tuple(
        Moment(
            number=number,
            on=str(item["on"]),
            label=str(item["label"]),
            past=str(item["on"]) <= today,
            days_after_window=(date.fromisoformat(str(item["on"])) - ends_on).days,
            x=x,
            y=plot.bottom - 14 - line * _LINE,
        )
        for number, (item, x, line) in enumerate(zip(ordered, places, levels, strict=True), start=1)
    )
    today_at = _midnight(today, zone)
    inside = begins <= today_at <= ends
    return StoryChart(
        plot,
        time_ticks(scale, zone, most=9),
        _band(window, scale, zone),
        moments,
        Tick(scale(today_at), today) if inside else None,
        today_at_end=inside and scale(today_at) > plot.right - 160,
        earlier=tuple(_band(item, scale, zone) for item in earlier),
    )


def _band(window: Mapping[str, str], scale: TimeScale, zone: ZoneInfo) -> Band:
    opens, closes = _midnight(window["starts_on"], zone), _midnight(window["ends_on"], zone) + DAY_MS
    label = f"{window['starts_on']} \u2013 {window['ends_on']}"
    return Band(scale(opens), round(scale(closes) - scale(opens), 1), label)


def _midnight(day: str, zone: ZoneInfo) -> int:
    return int(datetime.combine(date.fromisoformat(day), time.min, zone).timestamp() * 1000)


def days_between(first: str, last: str) -> int:
    """Whole days from one ISO date to another."""
    return (date.fromisoformat(last) - date.fromisoformat(first)) // timedelta(days=1)
