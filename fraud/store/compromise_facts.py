"""Dated facts and scheme alerts of a compromise event: only ever added; a mistake is withdrawn and stays to be seen."""

from __future__ import annotations

from datetime import date

from sqlalchemy import Connection, insert, update

from fraud.compromise import CompromiseStatus, SchemeAlert
from fraud.compromise_facts import DatedFact, FactKind
from fraud.compromise_window import local_day
from fraud.errors import ConflictError, InvalidInputError, NotFoundError
from fraud.store.compromise_events import SYSTEM, audit_change, change_compromise_event
from fraud.store.compromise_parts import insert_alerts
from fraud.store.compromise_records import locked_compromise_event
from fraud.store.compromise_views import CompromiseEventView
from fraud.store.tables_events import compromise_fact


def add_fact(
    connection: Connection,
    compromise_event_id: str,
    kind: str,
    on: date,
    note: str | None,
    now: int,
    author: str | None = None,
    actor: str = SYSTEM,
) -> CompromiseEventView:
    """Add a dated fact, such as that the regulator was told. `kind` is one of `FactKind`.

    `InvalidInputError` on the field at fault; a day that is still to come is no fact.
    """
    fact = DatedFact(FactKind(kind) if kind in list(FactKind) else kind, on, author, note)  # type: ignore[arg-type]
    before = locked_compromise_event(connection, compromise_event_id)
    fact.check_known(local_day(now, before.zone))
    row = {
        "compromise_event_id": compromise_event_id,
        "kind": fact.kind.value,
        "happened_on": fact.on.isoformat(),
        "author": fact.author,
        "note": fact.note,
        "recorded_at": now,
        "recorded_by": actor,
    }
    connection.execute(insert(compromise_fact), row)
    after = change_compromise_event(connection, before, "FACT", actor, now)
    told = {"kind": fact.kind.value, "on": fact.on.isoformat(), "author": fact.author, "note": fact.note}
    audit_change(connection, after, "exposure.fact", actor, now, new=told)
    return after


def withdraw_fact(
    connection: Connection, compromise_event_id: str, fact_id: int, reason: str, now: int, actor: str = SYSTEM
) -> CompromiseEventView:
    """Take back a fact that was a mistake. It stays to be seen, with the reason.

    `NotFoundError` when this event has no such fact, `ConflictError` when it was withdrawn before.
    """
    if not reason.strip():
        message = "withdrawing a fact needs a reason"
        raise InvalidInputError(message, field="reason")
    before = locked_compromise_event(connection, compromise_event_id)
    fact = next((fact for fact in before.facts if fact.fact_id == fact_id), None)
    if fact is None:
        message = "this compromise event has no fact with this id"
        raise NotFoundError(message)
    if fact.withdrawn_at is not None:
        message = "the fact has been withdrawn already"
        raise ConflictError(message)
    withdrawn = {"withdrawn_at": now, "withdrawn_by": actor, "withdrawn_reason": reason}
    connection.execute(
        update(compromise_fact).where(compromise_fact.c.compromise_fact_id == fact_id).values(**withdrawn)
    )
    after = change_compromise_event(connection, before, "FACT_WITHDRAWN", actor, now, reason=reason)
    told = {"kind": fact.kind, "on": fact.on}
    audit_change(connection, after, "exposure.fact.withdraw", actor, now, reason=reason, old=told)
    return after


def add_scheme_alert(
    connection: Connection, compromise_event_id: str, alert: SchemeAlert, now: int, actor: str = SYSTEM
) -> CompromiseEventView:
    """Record a scheme alert. An event that was only suspected is ALERTED from then on.

    `ConflictError` when the event has this alert already.
    """
    before = locked_compromise_event(connection, compromise_event_id)
    insert_alerts(connection, compromise_event_id, (alert,), actor, now)
    suspected = before.status == CompromiseStatus.SUSPECTED
    status = CompromiseStatus.ALERTED.value if suspected else before.status
    after = change_compromise_event(connection, before, "ALERT", actor, now, status=status)
    told = {"source": alert.source, "external_id": alert.external_id, "received_at": alert.received_at}
    audit_change(connection, after, "exposure.alert", actor, now, old={"status": before.status}, new=told)
    return after
