"""Compromise events as records: what leaked where, how far the finding is, and the dated facts."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import date
from typing import Any

from sqlalchemy import ColumnElement, Connection, insert, select, true, update
from sqlalchemy.exc import IntegrityError

from fraud.compromise import (
    AlertSource,
    CompromisedEntity,
    CompromiseStatus,
    DataElements,
    EntityRole,
    ExposureWindow,
)
from fraud.errors import ConflictError, InvalidInputError, NotFoundError
from fraud.store.tables import compromise_event, compromised_entity
from fraud.store.views import CompromiseEventView

_EVENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


@dataclass(frozen=True, slots=True)
class NewCompromiseEvent:
    """What is known of a compromise when it is recorded. `source` is one of `AlertSource`; facts are dated notes."""

    compromise_event_id: str
    name: str
    source: str
    window: ExposureWindow
    data_elements: DataElements
    status: CompromiseStatus = CompromiseStatus.SUSPECTED
    entities: tuple[CompromisedEntity, ...] = ()
    external_id: str | None = None
    vector: str | None = None
    suspected_at: int | None = None


def create_compromise_event(connection: Connection, event: NewCompromiseEvent, now: int) -> CompromiseEventView:
    """Record a compromise event. `ConflictError` when the id is taken, `InvalidInputError` on the field at fault."""
    if not _EVENT_ID.fullmatch(event.compromise_event_id):
        message = "an event's id is at most 40 letters, digits, dots, dashes and underscores"
        raise InvalidInputError(message, field="compromise_event_id")
    if event.source not in list(AlertSource):
        message = f"source must be one of {', '.join(AlertSource)}"
        raise InvalidInputError(message, field="source")
    row = {
        "compromise_event_id": event.compromise_event_id,
        "name": event.name,
        "status": event.status.value,
        "version": 1,
        "vector": event.vector,
        "source": AlertSource(event.source).value,
        "external_id": event.external_id,
        "starts_on": event.window.starts_on.isoformat(),
        "ends_on": event.window.ends_on.isoformat(),
        "zone": event.window.zone,
        "window_start_at": event.window.start_at,
        "window_end_at": event.window.end_at,
        "data_elements": list(event.data_elements.names()),
        "tier": event.data_elements.tier(),
        "facts": [],
        "suspected_at": event.suspected_at,
        "created_at": now,
        "updated_at": now,
    }
    try:
        connection.execute(insert(compromise_event), row)
    except IntegrityError:
        message = "a compromise event with this id exists"
        raise ConflictError(message) from None
    entities = [
        {**asdict(entity), "role": EntityRole(entity.role).value, "compromise_event_id": event.compromise_event_id}
        for entity in event.entities
    ]
    if entities:
        connection.execute(insert(compromised_entity), entities)
    return get_compromise_event(connection, event.compromise_event_id)


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


def add_fact(
    connection: Connection, compromise_event_id: str, kind: str, on: date, note: str | None, now: int
) -> CompromiseEventView:
    """Add a dated fact, such as that the regulator was told. Facts are only ever added."""
    before = locked_compromise_event(connection, compromise_event_id)
    change_compromise_event(
        connection, before, now, facts=[*before.facts, {"kind": kind, "on": on.isoformat(), "note": note}]
    )
    return get_compromise_event(connection, compromise_event_id)


def locked_compromise_event(connection: Connection, compromise_event_id: str) -> CompromiseEventView:
    """One compromise event, locked until the end of the transaction; `NotFoundError` when there is none."""
    event = compromise_event.c.compromise_event_id == compromise_event_id
    connection.execute(select(compromise_event.c.version).where(event).with_for_update())
    return get_compromise_event(connection, compromise_event_id)


def change_compromise_event(connection: Connection, before: CompromiseEventView, now: int, **changes: Any) -> None:
    """Change a locked compromise event: its next version."""
    event = compromise_event.c.compromise_event_id == before.compromise_event_id
    changed = update(compromise_event).where(event).values(version=before.version + 1, updated_at=now, **changes)
    connection.execute(changed)


def _events(connection: Connection, condition: ColumnElement[bool]) -> list[CompromiseEventView]:
    latest_first = (compromise_event.c.window_end_at.desc(), compromise_event.c.compromise_event_id)
    events = connection.execute(select(compromise_event).where(condition).order_by(*latest_first)).mappings().all()
    entities: dict[str, list[CompromisedEntity]] = {}
    joined = select(compromised_entity).join_from(compromised_entity, compromise_event).where(condition)
    for row in connection.execute(joined.order_by(compromised_entity.c.compromised_entity_id)):
        entity = CompromisedEntity(row.name, EntityRole(row.role), row.acquirer_id, row.merchant_id)
        entities.setdefault(row.compromise_event_id, []).append(entity)
    return [CompromiseEventView(**row, entities=tuple(entities.get(row["compromise_event_id"], ()))) for row in events]
