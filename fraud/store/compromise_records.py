"""Reading compromise events: as they are now with their facts, alerts and entities, and as they were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, select, true

from fraud.compromise import CompromisedEntity, EntityRole
from fraud.compromise_amendments import suppliers
from fraud.errors import ConflictError, NotFoundError
from fraud.store.compromise_views import (
    CompromiseEventView,
    CompromiseFactView,
    CompromiseVersionView,
    SchemeAlertView,
    as_seen,
)
from fraud.store.tables import compromise_event, compromised_entity
from fraud.store.tables_events import compromise_event_version, compromise_fact, scheme_alert

_ALERT_KEYS: Final = ("scheme_alert_id", "compromise_event_id")


def get_compromise_event(connection: Connection, compromise_event_id: str) -> CompromiseEventView:
    """One compromise event; `NotFoundError` when there is none of this id."""
    found = _events(connection, compromise_event.c.compromise_event_id == compromise_event_id)
    if not found:
        message = "there is no compromise event with this id"
        raise NotFoundError(message)
    return found[0]


def list_compromise_events(connection: Connection) -> list[CompromiseEventView]:
    """All compromise events, the latest exposure window first."""
    return _events(connection, true())


def compromise_versions(connection: Connection, compromise_event_id: str) -> list[CompromiseVersionView]:
    """Every version of an event, the first one first."""
    of_event = compromise_event_version.c.compromise_event_id == compromise_event_id
    rows = connection.execute(
        select(compromise_event_version).where(of_event).order_by(compromise_event_version.c.version)
    )
    return [CompromiseVersionView(**row) for row in rows.mappings()]


def locked_compromise_event(
    connection: Connection, compromise_event_id: str, version: int | None = None
) -> CompromiseEventView:
    """One compromise event, locked until the end of the transaction; `NotFoundError` when there is none.

    `ConflictError` when `version` is given and the event is no longer at it.
    """
    event = compromise_event.c.compromise_event_id == compromise_event_id
    connection.execute(select(compromise_event.c.version).where(event).with_for_update())
    found = get_compromise_event(connection, compromise_event_id)
    if version is not None and found.version != version:
        message = "the compromise event has changed since it was read"
        raise ConflictError(message)
    return found


def related_events(connection: Connection, event: CompromiseEventView, *, insider: bool) -> list[CompromiseEventView]:
    """Other events with the same supplier or processor, as far as both may be named to the reader."""
    shared = suppliers(as_seen(event, insider=insider).entities)
    if not shared:
        return []
    others = (as_seen(other, insider=insider) for other in list_compromise_events(connection))
    return [
        other
        for other in others
        if other.compromise_event_id != event.compromise_event_id and shared & suppliers(other.entities)
    ]


def windows_at(connection: Connection, exposure_version: int) -> dict[str, tuple[int, int]]:
    """The exposure window of every event, (start, end) in epoch milliseconds, as the stream had it at a version.

    What was recorded later has the window that it was recorded with.
    """
    columns = (
        compromise_event_version.c.compromise_event_id,
        compromise_event_version.c.exposure_version,
        compromise_event_version.c.window_start_at,
        compromise_event_version.c.window_end_at,
    )
    ordered = select(*columns).order_by(
        compromise_event_version.c.compromise_event_id, compromise_event_version.c.version
    )
    found: dict[str, tuple[int, int]] = {}
    for event_id, since, start_at, end_at in connection.execute(ordered):
        if event_id not in found or since <= exposure_version:
            found[event_id] = (start_at, end_at)
    return found


def _events(connection: Connection, condition: ColumnElement[bool]) -> list[CompromiseEventView]:
    latest_first = (compromise_event.c.window_end_at.desc(), compromise_event.c.compromise_event_id)
    events = connection.execute(select(compromise_event).where(condition).order_by(*latest_first)).mappings().all()
    entities: dict[str, list[CompromisedEntity]] = {}
    facts: dict[str, list[CompromiseFactView]] = {}
    alerts: dict[str, list[SchemeAlertView]] = {}
    joined = select(compromised_entity).join_from(compromised_entity, compromise_event).where(condition)
    for row in connection.execute(joined.order_by(compromised_entity.c.compromised_entity_id)):
        entity = CompromisedEntity(row.name, EntityRole(row.role), row.acquirer_id, row.merchant_id)
        entities.setdefault(row.compromise_event_id, []).append(entity)
    of_facts = select(compromise_fact).join_from(compromise_fact, compromise_event).where(condition)
    for row in connection.execute(
        of_facts.order_by(compromise_fact.c.happened_on, compromise_fact.c.compromise_fact_id)
    ):
        facts.setdefault(row.compromise_event_id, []).append(_fact(row._mapping))
    of_alerts = select(scheme_alert).join_from(scheme_alert, compromise_event).where(condition)
    for row in connection.execute(of_alerts.order_by(scheme_alert.c.received_at, scheme_alert.c.scheme_alert_id)):
        found = {name: value for name, value in row._mapping.items() if name not in _ALERT_KEYS}
        alerts.setdefault(row.compromise_event_id, []).append(SchemeAlertView(**found))
    return [
        CompromiseEventView(
            **row,
            entities=tuple(entities.get(row["compromise_event_id"], ())),
            facts=tuple(facts.get(row["compromise_event_id"], ())),
            alerts=tuple(alerts.get(row["compromise_event_id"], ())),
        )
        for row in events
    ]


def _fact(row: Mapping[Any, Any]) -> CompromiseFactView:
    names = ("kind", "author", "note", "recorded_at", "recorded_by", "withdrawn_at", "withdrawn_by", "withdrawn_reason")
    kept = {name: row[name] for name in names}
    return CompromiseFactView(fact_id=row["compromise_fact_id"], on=row["happened_on"], **kept)
