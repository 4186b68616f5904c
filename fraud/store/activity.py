"""What has happened on the cards of a compromise event, day by day."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, literal, select

from fraud.compromise import DAY_MS
from fraud.store.tables import compromise_event, exposure_match


@dataclass(frozen=True, slots=True)
class DayActivity:
    """One day: its start (epoch milliseconds), and how many matches and detections it had."""

    starts_at: int
    matches: int
    detections: int


def activity_by_day(connection: Connection, compromise_event_id: str) -> list[DayActivity]:
    """Matches and detections of an event by day, in order; days without any are left out.

    Days are counted in steps of 24 hours from the start of the exposure window, a midnight of the event's zone; in
    zones whose clocks change they drift by that hour.
    """
    since_window = exposure_match.c.occurred_at - compromise_event.c.window_start_at
    # The rest goes first: a plain division would round towards zero on one database and to a fraction on another.
    of_day = since_window - (since_window % literal(DAY_MS))
    rows = connection.execute(
        select(
            (compromise_event.c.window_start_at + of_day).label("starts_at"),
            func.count(),
            func.count(exposure_match.c.detection_id),
        )
        .join_from(exposure_match, compromise_event)
        .where(
            exposure_match.c.compromise_event_id == compromise_event_id,
            exposure_match.c.occurred_at >= compromise_event.c.window_start_at,
        )
        .group_by("starts_at")
        .order_by("starts_at")
    )
    return [DayActivity(*row) for row in rows]
