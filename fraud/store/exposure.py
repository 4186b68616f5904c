"""Compromise events and their exposed cards. Every change of who is exposed gets the next exposure version."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from fraud.cases import CaseStatus, Outcome
from fraud.compromise import ExposedCardStatus
from fraud.store.compromise_changes import set_status
from fraud.store.compromise_events import NewCompromiseEvent, create_compromise_event
from fraud.store.compromise_facts import add_fact
from fraud.store.compromise_records import (
    get_compromise_event,
    list_compromise_events,
    windows_at,
)
from fraud.store.exposure_imports import ImportReport, import_exposed_cards
from fraud.store.exposure_versions import exposure_version
from fraud.store.paging import Page, fetch_page
from fraud.store.records import ExposureChange
from fraud.store.tables import (
    case,
    compromise_event,
    detection,
    detection_compromise_event,
    exposed_card,
    exposed_card_history,
    exposure_match,
)
from fraud.store.views import ExposedCardView

# Events and the cards exposed in them are used together, so they are imported from one place.
__all__ = [
    "ImportReport",
    "NewCompromiseEvent",
    "add_fact",
    "card_exposures",
    "create_compromise_event",
    "event_counts",
    "exposed_cards",
    "exposure_changes",
    "exposure_version",
    "exposures_before",
    "get_compromise_event",
    "import_exposed_cards",
    "list_compromise_events",
    "set_status",
]

_FETCHED_AT_ONCE = 20_000


def exposures_before(connection: Connection, version: int) -> list[ExposureChange]:
    """What has changed after a version, each exposure once as it was then: released where it was not there yet.

    Applied to the exposures of now, they give those of `version`, with the tiers and windows of then.
    """
    windows = windows_at(connection, version)
    now, before = exposed_card, exposed_card_history
    same_card = (before.c.compromise_event_id == now.c.compromise_event_id) & (before.c.card_ref == now.c.card_ref)
    then = same_card & (before.c.exposure_version <= version) & (before.c.until_version > version)
    absent = before.c.status.is_(None) | (before.c.status != ExposedCardStatus.ACTIVE.value)
    statement = (
        select(
            now.c.card_ref,
            now.c.compromise_event_id,
            func.coalesce(before.c.tier, now.c.tier),
            absent,
        )
        .join_from(now, before, then, isouter=True)
        .where(now.c.exposure_version > version)
        .order_by(now.c.compromise_event_id, now.c.card_ref)
        .execution_options(yield_per=_FETCHED_AT_ONCE)
    )
    return [
        ExposureChange(card_ref, event_id, tier, *windows[event_id], released=released)
        for card_ref, event_id, tier, released in connection.execute(statement)
    ]


def exposure_changes(connection: Connection, since_version: int) -> list[ExposureChange]:
    """What changed after a version, each exposure once as it is now, in the order of its last change."""
    columns = (
        exposed_card.c.card_ref,
        exposed_card.c.compromise_event_id,
        exposed_card.c.tier,
        compromise_event.c.window_start_at,
        compromise_event.c.window_end_at,
        exposed_card.c.status != ExposedCardStatus.ACTIVE.value,
    )
    statement = (
        select(*columns)
        .join_from(exposed_card, compromise_event)
        .where(exposed_card.c.exposure_version > since_version)
        .order_by(exposed_card.c.exposure_version)
        .execution_options(yield_per=_FETCHED_AT_ONCE)
    )
    return [ExposureChange(*row) for row in connection.execute(statement)]


def exposed_cards(
    connection: Connection, compromise_event_id: str, after: str | None, limit: int
) -> Page[ExposedCardView]:
    """A page of an event's exposed cards, by card reference."""
    return fetch_page(
        connection,
        select(exposed_card).where(exposed_card.c.compromise_event_id == compromise_event_id),
        [exposed_card.c.card_ref],
        lambda row: ExposedCardView(**row),
        order="card_ref",
        descending=False,
        after=after,
        limit=limit,
    )


def card_exposures(connection: Connection, card_ref: str) -> list[ExposedCardView]:
    """Every compromise event that a card is in, or was, the latest first."""
    statement = select(exposed_card).where(exposed_card.c.card_ref == card_ref)
    ordered = statement.order_by(exposed_card.c.created_at.desc(), exposed_card.c.compromise_event_id)
    return [ExposedCardView(**row) for row in connection.execute(ordered).mappings()]


def event_counts(connection: Connection, compromise_event_id: str) -> dict[str, int]:
    """Numbers of one compromise event: cards watched now, matches, detections, and cases by how they stand."""
    cards = select(func.count()).where(
        exposed_card.c.compromise_event_id == compromise_event_id,
        exposed_card.c.status == ExposedCardStatus.ACTIVE.value,
    )
    matches = select(func.count()).where(exposure_match.c.compromise_event_id == compromise_event_id)
    in_event = detection_compromise_event.c.compromise_event_id == compromise_event_id
    detections = select(func.count()).where(in_event)
    case_ids = select(detection.c.case_id).join_from(detection_compromise_event, detection).where(in_event)
    by_outcome = (
        select(case.c.status, case.c.outcome, func.count().label("cases"))
        .where(case.c.case_id.in_(case_ids))
        .group_by(case.c.status, case.c.outcome)
    )
    cases = connection.execute(by_outcome).all()
    return {
        "exposed_cards": connection.execute(cards).scalar_one(),
        "matches": connection.execute(matches).scalar_one(),
        "detections": connection.execute(detections).scalar_one(),
        "cases_open": sum(row.cases for row in cases if row.status != CaseStatus.RESOLVED),
        "cases_resolved": sum(row.cases for row in cases if row.status == CaseStatus.RESOLVED),
        "cases_confirmed": sum(row.cases for row in cases if row.outcome == Outcome.CONFIRMED_FRAUD),
    }
