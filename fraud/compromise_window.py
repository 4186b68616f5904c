"""The exposure window, pure: on which days cards were exposed, in the zone and with the precision of the notice."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fraud.errors import InvalidInputError

DAY_MS = 86_400_000
_EARLIEST = date(1970, 1, 1)
_LATEST = date(9998, 12, 31)  # leaves room for the day after the last one


class WindowPrecision(StrEnum):
    """How exactly a notice says when. What it leaves open counts as exposed."""

    DAY = "DAY"
    MONTH = "MONTH"  # "from March to May": whole months
    YEAR = "YEAR"


@dataclass(frozen=True, slots=True)
class ExposureWindow:
    """The days, both included, on which cards were exposed, in the time zone of the notice.

    With a coarser precision than the day, the window is widened to the whole months or years that the days are in.
    `InvalidInputError` on the field at fault.
    """

    starts_on: date
    ends_on: date
    zone: str
    precision: WindowPrecision = WindowPrecision.DAY

    def __post_init__(self) -> None:
        if not _EARLIEST <= self.starts_on <= _LATEST:
            message = "the exposure window starts on a day that cannot be"
            raise InvalidInputError(message, field="starts_on")
        if not self.starts_on <= self.ends_on <= _LATEST:
            message = "the exposure window must not end before it starts"
            raise InvalidInputError(message, field="ends_on")
        _zone(self.zone)
        if self.precision is not WindowPrecision.DAY:
            whole_year = self.precision is WindowPrecision.YEAR
            first = self.starts_on.replace(day=1, month=1 if whole_year else self.starts_on.month)
            last_month = self.ends_on.replace(day=28, month=12 if whole_year else self.ends_on.month)
            object.__setattr__(self, "starts_on", first)
            object.__setattr__(self, "ends_on", _last_day(last_month))

    @property
    def start_at(self) -> int:
        """Start of the first day, epoch milliseconds."""
        return _midnight(self.starts_on, self.zone)

    @property
    def end_at(self) -> int:
        """End of the last day, exclusive: start of the day after it, epoch milliseconds."""
        return _midnight(self.ends_on + timedelta(days=1), self.zone)

    def days_beyond(self, other: ExposureWindow) -> tuple[tuple[date, date], ...]:
        """The days of this window that `other` does not have, as (first, last), at most two stretches."""
        parts = (
            (self.starts_on, min(self.ends_on, other.starts_on - timedelta(days=1))),
            (max(self.starts_on, other.ends_on + timedelta(days=1)), self.ends_on),
        )
        return tuple(sorted({(first, last) for first, last in parts if first <= last}))


def local_day(at: int, zone: str) -> date:
    """The day in `zone` on which a time (epoch milliseconds) falls."""
    return datetime.fromtimestamp(at / 1000, _zone(zone)).date()


def _last_day(of_month: date) -> date:
    following = of_month.replace(day=28) + timedelta(days=4)
    return following.replace(day=1) - timedelta(days=1)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        message = "zone must be a time zone name such as Asia/Tokyo"
        raise InvalidInputError(message, field="zone") from None


def _midnight(day: date, zone: str) -> int:
    return int(datetime.combine(day, time.min, _zone(zone)).timestamp()) * 1_000


def days_since_window(occurred_at: ArrayLike, window_end_at: ArrayLike) -> NDArray[np.int32]:
    """Whole days from the end of the exposure window to each event: `(n,)` int32.

    Both arguments are epoch milliseconds, `(n,)` or scalar; the end is exclusive. What happened before the end,
    within the window or earlier, counts as 0, and so does the first day after it.
    """
    since = np.asarray(occurred_at, dtype=np.int64) - np.asarray(window_end_at, dtype=np.int64)
    days: NDArray[Any] = np.clip(since // DAY_MS, 0, np.iinfo(np.int32).max)
    return days.astype(np.int32)
