"""Cases: the queue, one case with everything about it, and the steps that reviewers take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, func, insert, select, update

from fraud.cases import CaseStatus, Resolution, check_step
from fraud.errors import ConflictError, NotFoundError
from fraud.store.labels import store_labels, store_quiet_patterns
from fraud.store.paging import Page, fetch_page
from fraud.store.tables import (
    case,
    case_event,
    detection,
    detection_compromise_event,
    exposure_match,
)
from fraud.store.views import CaseEventView, CaseView, DetectionView, ExposureMatchView

CaseSort = Literal["priority", "opened_at", "due_at"]

_COUNTED = 10_000  # a longer list is not counted to its end: the number would tell nobody more


@dataclass(frozen=True, slots=True)
class CaseFilter:
    """Which cases a list holds; None leaves a thing open. Opened from `opened_from` to before `opened_to`."""

    status: tuple[CaseStatus, ...] | None = None
    kind: str | None = None
    tier_at_least: int | None = None
    compromise_event_id: str | None = None
    claimed_by: str | None = None
    card_ref: str | None = None
    opened_from: int | None = None
    opened_to: int | None = None


def list_cases(
    connection: Connection,
    filter: CaseFilter,  # noqa: A002 - the natural name
    sort: CaseSort,
    descending: bool,
    after: str | None,
    limit: int,
) -> Page[CaseView]:
    """A page of cases. `total` is None when there are more than 10,000.

    `InvalidInputError` on `cursor` unless `after` is a cursor of this order, or on `limit` (1 to 200).
    """
    statement = select(case).where(*_conditions(filter))
    counted = statement.with_only_columns(case.c.case_id).limit(_COUNTED + 1).subquery()
    total = connection.execute(select(func.count()).select_from(counted)).scalar_one()
    return fetch_page(
        connection,
        statement,
        [case.c[sort], case.c.case_id],
        lambda row: CaseView(**row),
        order=f"{sort} {'descending' if descending else 'ascending'}",
        descending=descending,
        after=after,
        limit=limit,
        total=total if total <= _COUNTED else None,
    )


def get_case(connection: Connection, case_id: int) -> CaseView:
    """One case; `NotFoundError` when there is none of this id."""
    row = connection.execute(select(case).where(case.c.case_id == case_id)).mappings().one_or_none()
    if row is None:
        message = "there is no case with this id"
        raise NotFoundError(message)
    return CaseView(**row)


def case_detections(connection: Connection, case_id: int) -> list[DetectionView]:
    """A case's detections, newest first."""
    statement = select(detection).where(detection.c.case_id == case_id)
    ordered = statement.order_by(detection.c.occurred_at.desc(), detection.c.detection_id)
    return [DetectionView(**row) for row in connection.execute(ordered).mappings()]


def case_events(connection: Connection, case_id: int) -> list[CaseEventView]:
    """A case's history, oldest first."""
    statement = select(case_event).where(case_event.c.case_id == case_id).order_by(case_event.c.case_event_id)
    return [CaseEventView(**row) for row in connection.execute(statement).mappings()]


def card_matches(connection: Connection, card_ref: str, limit: int) -> list[ExposureMatchView]:
    """A card's exposure matches, the latest first, at most `limit`."""
    statement = select(exposure_match).where(exposure_match.c.card_ref == card_ref)
    ordered = statement.order_by(exposure_match.c.occurred_at.desc(), exposure_match.c.event_id).limit(limit)
    return [ExposureMatchView(**row) for row in connection.execute(ordered).mappings()]


def past_cases(connection: Connection, card_ref: str) -> list[CaseView]:
    """Every case of a card, an open one too, the newest first."""
    statement = select(case).where(case.c.card_ref == card_ref).order_by(case.c.case_id.desc())
    return [CaseView(**row) for row in connection.execute(statement).mappings()]


def claim(connection: Connection, case_id: int, actor: str, expected_version: int, now: int) -> CaseView:
    """Claim a new case for `actor`; `ConflictError` when it has changed since `expected_version` or is not new."""
    before = _at_version(connection, case_id, expected_version)
    return _step(connection, before, CaseStatus.CLAIMED, actor, now, "CLAIMED", claimed_by=actor, claimed_at=now)


def claim_next(connection: Connection, actor: str, now: int) -> CaseView | None:
    """Claim the new case with the highest priority, of several the one that is due first; None when there is none."""
    statement = (
        select(case)
        .where(case.c.status == CaseStatus.NEW.value)
        .order_by(case.c.priority.desc(), case.c.due_at, case.c.case_id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    row = connection.execute(statement).mappings().one_or_none()
    if row is None:
        return None
    before = CaseView(**row)
    return _step(connection, before, CaseStatus.CLAIMED, actor, now, "CLAIMED", claimed_by=actor, claimed_at=now)


def release(connection: Connection, case_id: int, actor: str, expected_version: int, now: int) -> CaseView:
    """Give a case back to the queue; `ConflictError` when it has changed or is not the actor's."""
    before = _own(connection, case_id, actor, expected_version)
    return _step(connection, before, CaseStatus.NEW, actor, now, "RELEASED", claimed_by=None, claimed_at=None)


def add_note(connection: Connection, case_id: int, actor: str, text: str, now: int) -> None:
    """Add a note to a case's history. It changes nothing else, the version neither."""
    get_case(connection, case_id)
    _record(connection, case_id, actor, now, "NOTE", {"text": text})


def resolve(
    connection: Connection,
    case_id: int,
    actor: str,
    expected_version: int,
    resolution: Resolution,
    now: int,
    quiet_days: int,
) -> CaseView:
    """Resolve a case that the actor has claimed. The outcome becomes a label of each event that was detected.

    When the holder has confirmed a genuine payment, the same reasons open nothing on that card for `quiet_days`.
    `ConflictError` when the case has changed since `expected_version` or is not the actor's.
    """
    before = _own(connection, case_id, actor, expected_version)
    decision = {
        "outcome": resolution.outcome.value,
        "reason_code": resolution.reason_code.value,
        "fraud_type": resolution.fraud_type.value if resolution.fraud_type else None,
    }
    changes = {**decision, "resolved_at": now, "resolved_by": actor}
    after = _step(connection, before, CaseStatus.RESOLVED, actor, now, "RESOLVED", data=decision, **changes)
    detections = case_detections(connection, case_id)
    store_labels(connection, detections, resolution, actor, now)
    store_quiet_patterns(connection, detections, resolution, now, quiet_days)
    return after


def queue_counts(connection: Connection) -> dict[str, int]:
    """Cases by status, every status named."""
    counts = dict.fromkeys((status.value for status in CaseStatus), 0)
    for status, cases in connection.execute(select(case.c.status, func.count()).group_by(case.c.status)):
        counts[status] = cases
    return counts


def _conditions(wanted: CaseFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.status is not None:
        conditions.append(case.c.status.in_([status.value for status in wanted.status]))
    conditions.extend(
        case.c[name] == value
        for name in ("kind", "claimed_by", "card_ref")
        if (value := getattr(wanted, name)) is not None
    )
    if wanted.tier_at_least is not None:
        conditions.append(case.c.tier >= wanted.tier_at_least)
    if wanted.opened_from is not None:
        conditions.append(case.c.opened_at >= wanted.opened_from)
    if wanted.opened_to is not None:
        conditions.append(case.c.opened_at < wanted.opened_to)
    if wanted.compromise_event_id is not None:
        in_event = detection_compromise_event.c.compromise_event_id == wanted.compromise_event_id
        case_ids = select(detection.c.case_id).join_from(detection_compromise_event, detection).where(in_event)
        conditions.append(case.c.case_id.in_(case_ids))
    return conditions


def _at_version(connection: Connection, case_id: int, expected_version: int) -> CaseView:
    """A case, locked."""
    connection.execute(select(case.c.version).where(case.c.case_id == case_id).with_for_update())
    found = get_case(connection, case_id)
    if found.version != expected_version:
        message = "the case has changed since it was read; look at it again"
        raise ConflictError(message)
    return found


def _own(connection: Connection, case_id: int, actor: str, expected_version: int) -> CaseView:
    found = _at_version(connection, case_id, expected_version)
    if found.status == CaseStatus.CLAIMED and found.claimed_by != actor:
        message = "somebody else has claimed this case"
        raise ConflictError(message)
    return found


def _step(
    connection: Connection,
    before: CaseView,
    to: CaseStatus,
    actor: str,
    now: int,
    kind: str,
    data: Mapping[str, Any] | None = None,
    **changes: Any,
) -> CaseView:
    check_step(CaseStatus(before.status), to)
    changed = update(case).where(case.c.case_id == before.case_id)
    connection.execute(changed.values(status=to.value, version=before.version + 1, **changes))
    _record(connection, before.case_id, actor, now, kind, data or {})
    return get_case(connection, before.case_id)


def _record(connection: Connection, case_id: int, actor: str, now: int, kind: str, data: Mapping[str, Any]) -> None:
    row = {"case_id": case_id, "at": now, "actor": actor, "kind": kind, "data": dict(data)}
    connection.execute(insert(case_event), row)
