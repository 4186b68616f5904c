"""Detections one by one, and lists of exposure matches."""

from __future__ import annotations

from sqlalchemy import Connection, select

from fraud.errors import NotFoundError
from fraud.store.paging import Page, fetch_page
from fraud.store.tables import detection, exposure_match
from fraud.store.views import DetectionView, ExposureMatchView


def get_detection(connection: Connection, detection_id: str) -> DetectionView:
    """One detection; `NotFoundError` when there is none of this id."""
    statement = select(detection).where(detection.c.detection_id == detection_id)
    row = connection.execute(statement).mappings().one_or_none()
    if row is None:
        message = "there is no detection with this id"
        raise NotFoundError(message)
    return DetectionView(**row)


def exposure_matches(
    connection: Connection, card_ref: str | None, compromise_event_id: str | None, after: str | None, limit: int
) -> Page[ExposureMatchView]:
    """A page of the matches of a card, of a compromise event, or of both, the latest transaction first."""
    wanted = {"card_ref": card_ref, "compromise_event_id": compromise_event_id}
    conditions = [exposure_match.c[name] == value for name, value in wanted.items() if value is not None]
    return fetch_page(
        connection,
        select(exposure_match).where(*conditions),
        [exposure_match.c[name] for name in ("occurred_at", "event_id", "compromise_event_id")],
        lambda row: ExposureMatchView(**row),
        order="occurred_at",
        descending=True,
        after=after,
        limit=limit,
    )
