"""Local days, hours and weekdays of many UTC times at once, daylight saving included."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

HOUR_MS = 3_600_000
DAY_MS = 86_400_000
# Every offset from UTC in use, and every change of one, falls on a quarter of an hour since 1972.
_QUARTER_MS = 900_000
_EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday; Monday is 0


class LocalTime(NamedTuple):
    """(n,) int64 each: days since 1970-01-01 in local time, hour 0 to 23, weekday 0 (Monday) to 6."""

    day: NDArray[np.int64]
    hour: NDArray[np.int64]
    weekday: NDArray[np.int64]


def local_time(occurred_at: NDArray[np.int64], timezone: str) -> LocalTime:
    """Local time of (n,) epoch milliseconds UTC in an IANA time zone."""
    quarters, rows = np.unique(occurred_at // _QUARTER_MS, return_inverse=True)
    offsets = np.array([_offset_ms(int(quarter), timezone) for quarter in quarters], dtype=np.int64)
    local = occurred_at + offsets[rows]
    day = local // DAY_MS
    return LocalTime(day, local % DAY_MS // HOUR_MS, (day + _EPOCH_WEEKDAY) % 7)


@lru_cache(maxsize=200_000)  # 5 years of quarters, some 20 MB
def _offset_ms(quarter: int, timezone: str) -> int:
    try:
        instant = datetime.fromtimestamp(quarter * _QUARTER_MS / 1000, UTC)
    except (ValueError, OverflowError, OSError):  # outside the years 1 to 9999: a clamped time never is
        return 0
    offset = instant.astimezone(ZoneInfo(timezone)).utcoffset()
    return 0 if offset is None else round(offset.total_seconds() * 1000)
