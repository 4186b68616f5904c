"""Recording and changing compromise events: every change is a version that is kept, and an entry in the audit log."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from fraud.compromise import CompromisedEntity, CompromiseStatus, DataElements, ExposureWindow, SchemeAlert
from fraud.compromise_amendments import KnownExposure
from fraud.compromise_disclosure import Disclosure, Names, code_name_for
from fraud.errors import ConflictError, InvalidInputError
from fraud.store.audit import append_audit
from fraud.store.compromise_parts import alert_source, insert_alerts, replace_entities
from fraud.store.compromise_records import (
    compromise_versions,
    get_compromise_event,
    list_compromise_events,
    locked_compromise_event,
)
from fraud.store.compromise_views import CompromiseEventView
from fraud.store.tables import compromise_event
from fraud.store.tables_events import compromise_event_version

__all__ = [
    "SYSTEM",
    "NewCompromiseEvent",
    "audit_change",
    "change_compromise_event",
    "compromise_versions",
    "create_compromise_event",
    "get_compromise_event",
    "known_columns",
    "list_compromise_events",
    "locked_compromise_event",
]

_EVENT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")
SYSTEM = "system"  # whoever set the product up, where nobody else is named
_CODE_NAMES_TRIED = 64


@dataclass(frozen=True, slots=True)
class NewCompromiseEvent:
    """What is known of a compromise when it is recorded. `source` is one of `AlertSource`: where the word came from.

    Without a `code_name` one is made.
    """

    compromise_event_id: str
    name: str
    source: str
    window: ExposureWindow
    data_elements: DataElements
    status: CompromiseStatus = CompromiseStatus.SUSPECTED
    entities: tuple[CompromisedEntity, ...] = ()
    vector: str | None = None
    suspected_at: int | None = None
    code_name: str | None = None
    alerts: tuple[SchemeAlert, ...] = ()


def create_compromise_event(
    connection: Connection, event: NewCompromiseEvent, now: int, actor: str = SYSTEM
) -> CompromiseEventView:
    """Record a compromise event, as RESTRICTED.

    `ConflictError` when the id or the code name is taken, `InvalidInputError` on the field at fault.
    """
    if not _EVENT_ID.fullmatch(event.compromise_event_id):
        message = "an event's id is at most 40 letters, digits, dots, dashes and underscores"
        raise InvalidInputError(message, field="compromise_event_id")
    source = alert_source(event.source)
    if event.suspected_at is not None and event.suspected_at > now:
        message = "a compromise event cannot have been suspected in the future"
        raise InvalidInputError(message, field="suspected_at")
    code_name = event.code_name or _free_code_name(connection, event.compromise_event_id)
    known = KnownExposure(event.name, code_name, event.window, event.data_elements, event.entities, event.vector)
    alerted = event.status is CompromiseStatus.SUSPECTED and event.alerts
    row = {
        "compromise_event_id": event.compromise_event_id,
        "status": (CompromiseStatus.ALERTED if alerted else event.status).value,
        "disclosure": Disclosure.RESTRICTED.value,
        "version": 1,
        "source": source.value,
        "suspected_at": event.suspected_at,
        "created_at": now,
        "updated_at": now,
        **known_columns(known),
    }
    taken = compromise_event.c.compromise_event_id == event.compromise_event_id
    if connection.execute(select(compromise_event.c.version).where(taken)).first():
        message = "a compromise event with this id exists"
        raise ConflictError(message)
    _refuse_code_name(connection, known, event.compromise_event_id)
    try:
        connection.execute(insert(compromise_event), row)
    except IntegrityError:  # at the same moment as somebody else
        message = "a compromise event with this id or code name exists"
        raise ConflictError(message) from None
    replace_entities(connection, event.compromise_event_id, event.entities)
    insert_alerts(connection, event.compromise_event_id, event.alerts, actor, now)
    made = get_compromise_event(connection, event.compromise_event_id)
    _insert_version(connection, made, "RECORDED", actor, now, None, 0)
    audit_change(connection, made, "exposure.record", actor, now, new=_audited(made))
    return made


def change_compromise_event(
    connection: Connection,
    before: CompromiseEventView,
    change: str,
    actor: str,
    now: int,
    *,
    reason: str | None = None,
    exposure_version: int | None = None,
    **columns: Any,
) -> CompromiseEventView:
    """Change a locked compromise event: its next version, which is kept. `change` is what was done to it.

    `exposure_version` is the one from which the stream works with a new window or tier.
    """
    event = compromise_event.c.compromise_event_id == before.compromise_event_id
    changed = update(compromise_event).where(event).values(version=before.version + 1, updated_at=now, **columns)
    try:
        connection.execute(changed)
    except IntegrityError:
        message = "another compromise event has this code name"
        raise ConflictError(message) from None
    after = get_compromise_event(connection, before.compromise_event_id)
    _insert_version(connection, after, change, actor, now, reason, exposure_version)
    return after


def known_columns(known: KnownExposure) -> dict[str, Any]:
    """What can be amended, as columns; entities have a table of their own."""
    Names(known.name, known.code_name).check(tuple(entity.name for entity in known.entities))
    return {
        "name": known.name,
        "code_name": known.code_name,
        "vector": known.vector,
        "starts_on": known.window.starts_on.isoformat(),
        "ends_on": known.window.ends_on.isoformat(),
        "zone": known.window.zone,
        "precision": known.window.precision.value,
        "window_start_at": known.window.start_at,
        "window_end_at": known.window.end_at,
        "data_elements": list(known.elements.names()),
        "tier": known.elements.tier(),
    }


def audit_change(
    connection: Connection,
    event: CompromiseEventView,
    action: str,
    actor: str,
    now: int,
    *,
    reason: str | None = None,
    old: Mapping[str, Any] | None = None,
    new: Mapping[str, Any] | None = None,
) -> None:
    """Write a change of an event to the audit log; the last thing in its transaction."""
    append_audit(
        connection,
        actor=actor,
        action=action,
        subject=f"compromise_event/{event.compromise_event_id}",
        now=now,
        reason=(reason or "")[:2_000],
        old=old,
        new={"version": event.version, **(new or {})},
    )


def _audited(event: CompromiseEventView) -> dict[str, Any]:
    names = ("name", "code_name", "status", "source", "starts_on", "ends_on", "zone", "precision", "data_elements")
    return {name: getattr(event, name) for name in names}


def _refuse_code_name(connection: Connection, known: KnownExposure, compromise_event_id: str) -> None:
    taken = select(compromise_event.c.compromise_event_id).where(compromise_event.c.code_name == known.code_name)
    found = connection.execute(taken).scalar()
    if found is not None and found != compromise_event_id:
        message = "another compromise event has this code name"
        raise ConflictError(message)


def _free_code_name(connection: Connection, compromise_event_id: str) -> str:
    taken = set(connection.execute(select(compromise_event.c.code_name)).scalars())
    for attempt in range(_CODE_NAMES_TRIED):
        if (code_name := code_name_for(compromise_event_id, attempt)) not in taken:
            return code_name
    return f"{code_name_for(compromise_event_id)} {len(taken) + 1}"


def _insert_version(
    connection: Connection,
    event: CompromiseEventView,
    change: str,
    actor: str,
    now: int,
    reason: str | None,
    exposure_version: int | None,
) -> None:
    if exposure_version is None:  # as before
        of_event = compromise_event_version.c.compromise_event_id == event.compromise_event_id
        latest = select(compromise_event_version.c.exposure_version).where(of_event)
        exposure_version = connection.execute(
            latest.order_by(compromise_event_version.c.version.desc()).limit(1)
        ).scalar_one()
    made = {
        "change": change,
        "changed_at": now,
        "changed_by": actor,
        "reason": reason,
        "exposure_version": exposure_version,
        "entities": [asdict(entity) for entity in event.entities],
    }
    copied = {
        column.name: getattr(event, column.name) for column in compromise_event_version.c if column.name not in made
    }
    connection.execute(insert(compromise_event_version), {**copied, **made})
