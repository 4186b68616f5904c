"""Reviews of what is watched: one task a compromise event, when its time has come, decided by a person and no timer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    and_,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    update,
)

from fraud.card_references import CardStatus
from fraud.compromise import ExposedCardStatus
from fraud.errors import ConflictError, InvalidInputError, NotFoundError
from fraud.store.audit import append_audit
from fraud.store.card_lineages import FOLLOWED, lineage_of
from fraud.store.compromise_records import locked_compromise_event
from fraud.store.exposure_versions import next_exposure_version
from fraud.store.paging import Page, fetch_page
from fraud.store.statements import IN_CHUNK, chunks, insert_ignore, storable_text
from fraud.store.tables import case, exposed_card, exposed_card_history
from fraud.store.tables_cards import card_reference, exposure_review

REVIEW_DAYS: Final = 90
MAX_REVIEW_DAYS: Final = 400
MAX_EXCEPTIONS: Final = 10_000
_DAY_MS: Final = 86_400_000
_ACTIVE: Final = ExposedCardStatus.ACTIVE.value
_RELEASED: Final = ExposedCardStatus.RELEASED.value
_CARD, _REVIEW = exposed_card.c, exposure_review.c


class ReviewDecision(StrEnum):
    """What becomes of the event's cards; exceptions get the other."""

    EXTENDED = "EXTENDED"
    RELEASED = "RELEASED"


class ExceptionReason(StrEnum):
    """Why a card wants a look of its own."""

    OPEN_CASE = "OPEN_CASE"
    CONFIRMED_FRAUD = "CONFIRMED_FRAUD"
    CLOSED = "CLOSED"
    EXPIRED = "EXPIRED"
    SUPERSEDED = "SUPERSEDED"
    IN_OTHER_EVENT = "IN_OTHER_EVENT"


@dataclass(frozen=True, slots=True)
class ReviewView:
    """A review: due at a time, decided or still open."""

    review_id: int
    compromise_event_id: str
    due_at: int
    decision: str | None
    reason: str | None
    exceptions: int
    opened_at: int
    decided_at: int | None
    decided_by: str | None


@dataclass(frozen=True, slots=True)
class ExceptionView:
    """A watched card that wants a look of its own, and why."""

    card_ref: str
    pan_last4: str | None
    tier: int
    provenance: str
    reasons: tuple[ExceptionReason, ...]


def ensure_review(connection: Connection, compromise_event_id: str, now: int) -> None:
    """Have an event's watching reviewed after 90 days, unless a review is to come already."""
    row = {"compromise_event_id": compromise_event_id, "due_at": now + REVIEW_DAYS * _DAY_MS, "opened_at": now}
    insert_ignore(connection, exposure_review, [row], ["compromise_event_id"], text("decision IS NULL"))


def list_reviews(connection: Connection, due_before: int | None = None, *, decided: bool = False) -> list[ReviewView]:
    """Reviews that are open, the first due first; or those that have been decided, the latest first."""
    if decided:
        ordered = select(exposure_review).where(_REVIEW.decision.is_not(None)).order_by(_REVIEW.decided_at.desc())
        return [_review(row) for row in connection.execute(ordered.limit(200))]
    statement = select(exposure_review).where(_REVIEW.decision.is_(None)).order_by(_REVIEW.due_at)
    if due_before is not None:
        statement = statement.where(_REVIEW.due_at <= due_before)
    return [_review(row) for row in connection.execute(statement)]


def get_review(connection: Connection, review_id: int) -> ReviewView:
    """One review; `NotFoundError` when there is none."""
    found = connection.execute(select(exposure_review).where(_REVIEW.review_id == review_id)).one_or_none()
    if found is None:
        message = "there is no review of this number"
        raise NotFoundError(message)
    return _review(found)


def review_exceptions(
    connection: Connection, compromise_event_id: str, after: str | None, limit: int
) -> Page[ExceptionView]:
    """A page of the watched cards of an event for which one decision for all may not fit, by card reference."""
    reasons = _reasons()
    columns = [condition.label(name.value) for name, condition in reasons.items()]
    statement = (
        select(exposed_card, *columns)
        .join_from(exposed_card, card_reference, card_reference.c.card_ref == _CARD.card_ref, isouter=True)
        .where(_CARD.compromise_event_id == compromise_event_id, _CARD.status == _ACTIVE, or_(*reasons.values()))
    )

    def view(row: Any) -> ExceptionView:
        found = tuple(name for name in reasons if row[name.value])
        return ExceptionView(row["card_ref"], row["pan_last4"], row["tier"], row["provenance"], found)

    return fetch_page(
        connection, statement, [_CARD.card_ref], view, order="card_ref", descending=False, after=after, limit=limit
    )


def decide_review(
    connection: Connection,
    review_id: int,
    decision: ReviewDecision,
    *,
    decided_by: str,
    reason: str,
    now: int,
    exceptions: Sequence[str] = (),
    days: int = REVIEW_DAYS,
) -> ReviewView:
    """Extend an event's watching by some days, or release its cards; `exceptions`, by reference, get the other.

    While cards stay watched, the next review is due after `days`. `ConflictError` when it has been decided;
    `InvalidInputError` on `reason`, `days` or `exceptions`.
    """
    if not reason.strip():
        message = "a decision on watching needs a reason"
        raise InvalidInputError(message, field="reason")
    if not 1 <= days <= MAX_REVIEW_DAYS:
        message = f"days is 1 to {MAX_REVIEW_DAYS}"
        raise InvalidInputError(message, field="days")
    event_id = get_review(connection, review_id).compromise_event_id
    locked_compromise_event(connection, event_id)
    before = get_review(connection, review_id)
    if before.decision is not None:
        message = "the review has been decided already"
        raise ConflictError(message)
    named = _with_lines(connection, event_id, exceptions)
    released = release_exposures(connection, event_id, named, except_for=decision is ReviewDecision.RELEASED)
    changes = {"decision": decision.value, "reason": storable_text(reason, None), "exceptions": len(set(exceptions))}
    mine = update(exposure_review).where(_REVIEW.review_id == review_id)
    connection.execute(mine.values(**changes, decided_at=now, decided_by=decided_by))
    active = select(func.count()).where(_CARD.compromise_event_id == event_id, _CARD.status == _ACTIVE)
    watched = connection.execute(active).scalar_one()
    if watched:
        row = {"compromise_event_id": event_id, "due_at": now + days * _DAY_MS, "opened_at": now}
        connection.execute(insert(exposure_review), row)
    append_audit(
        connection,
        actor=decided_by,
        action="exposure_review.decide",
        subject=f"compromise_event/{event_id}",
        now=now,
        reason=reason,
        new={**changes, "review_id": review_id, "released": released, "watched": watched, "days": days},
    )
    return get_review(connection, review_id)


def release_exposures(
    connection: Connection, compromise_event_id: str, refs: Sequence[str], *, except_for: bool = False
) -> int:
    """Release these cards of an event, or all others, under a new version; what they were is kept. How many it was."""
    if not refs and not except_for:
        return 0
    version = next_exposure_version(connection)
    of_event = (_CARD.compromise_event_id == compromise_event_id, _CARD.status == _ACTIVE)
    released = 0
    parts: list[ColumnElement[bool]] = (
        [~_CARD.card_ref.in_(refs)] if except_for else [_CARD.card_ref.in_(chunk) for chunk in chunks(refs, IN_CHUNK)]
    )
    names = ("compromise_event_id", "card_ref", "exposure_version", "tier", "status")
    for part in parts:
        before = select(*(_CARD[name] for name in names), literal(version, BigInteger)).where(*of_event, part)
        connection.execute(insert(exposed_card_history).from_select([*names, "until_version"], before))
        change = update(exposed_card).where(*of_event, part).values(status=_RELEASED, exposure_version=version)
        released += connection.execute(change).rowcount
    return released


def _with_lines(connection: Connection, event_id: str, refs: Sequence[str]) -> list[str]:
    """These cards, and those that are watched only because they came after them. Each must be watched."""
    if len(refs) > MAX_EXCEPTIONS:
        message = f"a decision has at most {MAX_EXCEPTIONS:,} exceptions; decide the other way round"
        raise InvalidInputError(message, field="exceptions")
    mine = and_(_CARD.compromise_event_id == event_id, _CARD.status == _ACTIVE)
    found: set[str] = set()
    for chunk in chunks(sorted(set(refs)), IN_CHUNK):
        found.update(connection.execute(select(_CARD.card_ref).where(mine, _CARD.card_ref.in_(chunk))).scalars())
    if found != set(refs):
        message = "exceptions may only name cards that are watched in this event"
        raise InvalidInputError(message, field="exceptions")
    followed = set(connection.execute(select(_CARD.card_ref).where(mine, _CARD.provenance == FOLLOWED)).scalars())
    if followed:
        for ref in refs:
            found.update(other for other, _ in lineage_of(connection, ref) if other in followed)
    return sorted(found)


def _reasons() -> dict[ExceptionReason, ColumnElement[bool]]:
    status = card_reference.c.status
    other = exposed_card.alias("other")
    mine = case.c.card_ref == _CARD.card_ref
    elsewhere = (other.c.card_ref == _CARD.card_ref, other.c.compromise_event_id != _CARD.compromise_event_id)
    return {
        ExceptionReason.OPEN_CASE: select(1).where(mine, case.c.status != "RESOLVED").correlate(exposed_card).exists(),
        ExceptionReason.CONFIRMED_FRAUD: select(1)
        .where(mine, case.c.outcome == "CONFIRMED_FRAUD")
        .correlate(exposed_card)
        .exists(),
        ExceptionReason.CLOSED: func.coalesce(status, "") == CardStatus.CLOSED.value,
        ExceptionReason.EXPIRED: func.coalesce(status, "") == CardStatus.EXPIRED.value,
        ExceptionReason.SUPERSEDED: func.coalesce(status, "") == CardStatus.SUPERSEDED.value,
        ExceptionReason.IN_OTHER_EVENT: select(1)
        .where(*elsewhere, other.c.status == _ACTIVE)
        .correlate(exposed_card)
        .exists(),
    }


def _review(row: Row[Any]) -> ReviewView:
    return ReviewView(**row._mapping)
