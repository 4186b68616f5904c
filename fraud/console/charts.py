"""Geometry of the charts. Pictures are drawn on the server as SVG; a template turns these numbers into elements.

Lengths are in the user units of the picture's view box, times in epoch milliseconds, amounts in minor units.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from fraud.console.formatting import DAY_MS, HOUR_MS

# Steps between ticks of a time axis, in hours; from a month on the axis goes by calendar months.
_HOUR_STEPS = (1, 3, 6, 12, 24, 48, 168, 336)
_MONTH_STEPS = (1, 2, 3, 6, 12)
_HOURS_A_MONTH = 730


@dataclass(frozen=True, slots=True)
class Tick:
    """One mark of an axis."""

    position: float
    label: str


@dataclass(frozen=True, slots=True)
class Band:
    """A shaded length of time."""

    x: float
    width: float
    label: str


@dataclass(frozen=True, slots=True)
class Mark:
    """One thing at a place. `hollow` is a declined transaction, `ringed` a detection."""

    x: float
    y: float
    shape: str
    title: str
    hollow: bool = False
    ringed: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar, from the base line up."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True, slots=True)
class Plot:
    """The rectangle that data are drawn in, and the whole picture around it."""

    width: float
    height: float
    left: float = 76
    top: float = 12
    right_margin: float = 12
    bottom_margin: float = 24

    @property
    def right(self) -> float:
        """Right edge of the data."""
        return self.width - self.right_margin

    @property
    def bottom(self) -> float:
        """Lower edge of the data."""
        return self.height - self.bottom_margin


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that one picture shows."""

    plot: Plot
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    bands: tuple[Band, ...] = ()
    marks: tuple[Mark, ...] = ()
    bars: tuple[Bar, ...] = ()


@dataclass(frozen=True, slots=True)
class TimeScale:
    """Time from `start` to `end` onto `left` to `right`."""

    start: int
    end: int
    left: float
    right: float

    def __call__(self, at: int) -> float:
        """The place of a time; times outside come to the edge."""
        share = (min(max(at, self.start), self.end) - self.start) / max(1, self.end - self.start)
        return round(self.left + share * (self.right - self.left), 1)


@dataclass(frozen=True, slots=True)
class AmountScale:
    """Amounts onto `bottom` to `top` by their logarithm: a test of ¥100 and a loss of ¥300,000 fit one picture."""

    largest: int
    bottom: float
    top: float

    @property
    def decades(self) -> int:
        """Powers of ten that the axis spans, three at least so that small amounts look small."""
        return max(3, math.ceil(math.log10(max(1, self.largest))))

    def __call__(self, amount: int | None) -> float:
        """The place of an amount; zero and unknown lie on the base line."""
        share = math.log10(max(1, amount or 0)) / self.decades
        return round(self.bottom - share * (self.bottom - self.top), 1)

    def ticks(self, label: Callable[[int], str]) -> tuple[Tick, ...]:
        """A tick at every power of ten, every second one where they are many."""
        step = 1 if self.decades <= 5 else 2
        return tuple(Tick(self(10**power), label(10**power)) for power in range(0, self.decades + 1, step))


def time_ticks(scale: TimeScale, zone: ZoneInfo, most: int = 8) -> tuple[Tick, ...]:
    """At most about `most` ticks at round local times: hours, days from midnight, or firsts of months."""
    hours = (scale.end - scale.start) / HOUR_MS
    step = next((step for step in _HOUR_STEPS if hours / step <= most), None)
    if step is None:
        months = next((m for m in _MONTH_STEPS if hours / _HOURS_A_MONTH / m <= most), _MONTH_STEPS[-1])
        return tuple(Tick(scale(at), f"{day:%Y-%m}") for at, day in _month_starts(scale, zone, months))
    label = "%H:%M" if step < 24 else "%m-%d"
    ticks = []
    local = datetime.fromtimestamp(scale.start / 1000, zone)
    moment = local.replace(minute=0, second=0, microsecond=0, hour=0)
    while (at := _milliseconds(moment)) <= scale.end:
        if at >= scale.start:
            text = f"{moment:%m-%d}" if moment.hour == 0 else f"{moment:{label}}"
            ticks.append(Tick(scale(at), text))
        # Steps are taken on the local clock, so that ticks stay at midnight where clocks change.
        moment = (moment.replace(tzinfo=None) + timedelta(hours=step)).replace(tzinfo=zone)
    return tuple(ticks)


def _month_starts(scale: TimeScale, zone: ZoneInfo, months: int) -> Iterable[tuple[int, datetime]]:
    first = datetime.fromtimestamp(scale.start / 1000, zone)
    month = first.year * 12 + first.month - 1
    month -= month % months
    while True:
        day = datetime(month // 12, month % 12 + 1, 1, tzinfo=zone)
        at = _milliseconds(day)
        if at > scale.end:
            return
        if at >= scale.start:
            yield at, day
        month += months


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def bars_by_day(counts: Sequence[tuple[int, int, str]], plot: Plot, zone: ZoneInfo) -> Chart | None:
    """A bar a day.

    Args:
        counts: (start of the day, count, title) each, in order; empty days may be left out.
        plot: where to draw.
        zone: the zone of the axis.

    """
    if not counts:
        return None
    x = TimeScale(counts[0][0], counts[-1][0] + DAY_MS, plot.left, plot.right)
    top = nice_ceiling(max(count for _, count, _ in counts))
    height = plot.bottom - plot.top
    bars = []
    for day, count, title in counts:
        left, right = x(day), x(day + DAY_MS)
        tall = round(count / top * height, 1)
        gap = min(1.0, (right - left) / 4)
        bars.append(Bar(left, round(plot.bottom - tall, 1), round(max(0.5, right - left - gap), 1), tall, title))
    shares = (0, 0.5, 1) if top > 1 else (0, 1)
    ticks = tuple(Tick(round(plot.bottom - share * height, 1), f"{top * share:,.0f}") for share in shares)
    return Chart(plot, time_ticks(x, zone), ticks, bars=tuple(bars))


def nice_ceiling(value: int) -> int:
    """The next even, round number: 1, 2, 4, 6, 10, 20, 40, 60, 100 and so on."""
    if value <= 1:
        return 1
    power: int = 10 ** int(math.log10(value))
    return next(step * power for step in (1, 2, 4, 6, 10, 20) if step * power >= value and (step * power) % 2 == 0)
