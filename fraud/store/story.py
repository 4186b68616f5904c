"""Queries of the demonstration's story page."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from fraud.store.tables import case, detection, exposure_match, position


@dataclass(frozen=True, slots=True)
class StoryCase:
    """One case, as the story needs it."""

    case_id: int
    card_ref: str
    kind: str
    priority: int
    opened_at: int


def story_cases(connection: Connection) -> list[StoryCase]:
    """All cases, the largest expected loss first."""
    columns = (case.c.case_id, case.c.card_ref, case.c.kind, case.c.priority, case.c.opened_at)
    rows = connection.execute(select(*columns).order_by(case.c.priority.desc(), case.c.case_id))
    return [StoryCase(*row) for row in rows]


def matches_by_card(connection: Connection) -> dict[str, int]:
    """Exposed card to the number of its matched transactions, most first."""
    counted = func.count().label("matches")
    rows = connection.execute(
        select(exposure_match.c.card_ref, counted).group_by(exposure_match.c.card_ref).order_by(counted.desc())
    )
    return {row.card_ref: row.matches for row in rows}


def detected_event_ids(connection: Connection) -> set[str]:
    """Event ids of all detections."""
    return set(connection.execute(select(detection.c.event_id)).scalars())


def stream_progress(connection: Connection) -> dict[str, int]:
    """Records accounted for, detections and cases so far."""
    accounted = position.c.processed + position.c.duplicates + position.c.quarantined + position.c.dead_lettered
    row = connection.execute(
        select(func.coalesce(func.sum(accounted), 0), func.coalesce(func.sum(position.c.detected), 0))
    ).one()
    cases = connection.execute(select(func.count()).select_from(case)).scalar_one()
    return {"transactions": int(row[0]), "detections": int(row[1]), "cases": int(cases)}
