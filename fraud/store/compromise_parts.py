"""The entities and the scheme alerts of a compromise event."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import Connection, delete, insert
from sqlalchemy.exc import IntegrityError

from fraud.compromise import AlertSource, CompromisedEntity, EntityRole, SchemeAlert
from fraud.errors import ConflictError, InvalidInputError
from fraud.store.tables import compromised_entity
from fraud.store.tables_events import scheme_alert


def replace_entities(connection: Connection, compromise_event_id: str, entities: tuple[CompromisedEntity, ...]) -> None:
    """Make these the entities of an event."""
    connection.execute(
        delete(compromised_entity).where(compromised_entity.c.compromise_event_id == compromise_event_id)
    )
    rows = [
        {**asdict(entity), "role": EntityRole(entity.role).value, "compromise_event_id": compromise_event_id}
        for entity in entities
    ]
    if rows:
        connection.execute(insert(compromised_entity), rows)


def insert_alerts(
    connection: Connection, compromise_event_id: str, alerts: tuple[SchemeAlert, ...], actor: str, now: int
) -> None:
    """Record scheme alerts. `ConflictError` when this event has one of them already."""
    rows = [
        {
            "compromise_event_id": compromise_event_id,
            "source": alert_source(alert.source).value,
            "external_id": alert.external_id,
            "received_at": alert.received_at,
            "note": alert.note,
            "recorded_at": now,
            "recorded_by": actor,
        }
        for alert in alerts
    ]
    if any(alert.received_at > now for alert in alerts):
        message = "a scheme alert cannot have been received in the future"
        raise InvalidInputError(message, field="received_at")
    try:
        if rows:
            connection.execute(insert(scheme_alert), rows)
    except IntegrityError:
        message = "this event has this scheme alert already"
        raise ConflictError(message) from None


def alert_source(name: str) -> AlertSource:
    """The source of this name; `InvalidInputError` on `source`."""
    if name not in list(AlertSource):
        message = f"source must be one of {', '.join(AlertSource)}"
        raise InvalidInputError(message, field="source")
    return AlertSource(name)
