from __future__ import annotations

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from models.local_time import local_time

QUARTER_MS = 900_000


@pytest.mark.parametrize(
    "timezone", ["UTC", "Asia/Tokyo", "Asia/Kathmandu", "Europe/London", "America/St_Johns", "Australia/Lord_Howe"]
)
@pytest.mark.parametrize("start", ["2021-12-30", "2022-03-10", "2022-03-26", "2022-04-01", "2022-10-01", "2022-10-29"])
def test_equals_the_standard_library_through_changes_of_daylight_saving(timezone, start):
    first = int(datetime.fromisoformat(start).replace(tzinfo=UTC).timestamp() * 1000)
    times = np.arange(first, first + 4 * 86_400_000, QUARTER_MS // 3, dtype=np.int64) + 1
    day, hour, weekday = local_time(times, timezone)
    for row in range(times.size):
        local = datetime.fromtimestamp(int(times[row]) / 1000, UTC).astimezone(ZoneInfo(timezone))
        expected = ((local.date() - date(1970, 1, 1)).days, local.hour, local.weekday())
        assert (day[row], hour[row], weekday[row]) == expected


def test_order_and_repeats_do_not_matter():
    times = np.array([5_000_000_000, -1, 5_000_000_000, 0], dtype=np.int64)
    local = local_time(times, "Asia/Tokyo")
    assert local.hour.tolist() == [5, 8, 5, 9]
    assert local.day.tolist() == [58, 0, 58, 0]


def test_absurd_times_do_not_fail():
    local = local_time(np.array([2**62, -(2**62)], dtype=np.int64), "Asia/Tokyo")
    assert ((local.hour >= 0) & (local.hour < 24)).all()
