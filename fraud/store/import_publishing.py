"""Publishing: everything that one import names is watched, all or nothing, from one new exposure version on."""

from __future__ import annotations

import hashlib
from typing import Final

from sqlalchemy import BigInteger, Connection, and_, case, exists, func, insert, literal, select, update

from fraud.alert_files import AlertRow
from fraud.card_references import RENEWED_TIER
from fraud.cards import display, is_card_ref
from fraud.compromise import CompromiseStatus, ExposedCardStatus
from fraud.errors import ConflictError, InvalidInputError
from fraud.store.audit import MAX_REASON, append_audit
from fraud.store.card_lineages import follow_exposures, insert_new, join_lines, store_lines
from fraud.store.compromise_records import locked_compromise_event
from fraud.store.exposure_reviews import ensure_review
from fraud.store.exposure_versions import next_exposure_version
from fraud.store.import_findings import RowOutcome, references_complete
from fraud.store.import_staging import (
    ImportView,
    begin_import,
    finish_staging,
    get_import,
    imported_before,
    locked_import,
    stage_rows,
)
from fraud.store.lookback_requests import request_lookback
from fraud.store.statements import storable_text
from fraud.store.tables import alert_file, exposed_card, exposed_card_history
from fraud.store.tables_cards import (
    card_reference,
    exposure_import,
    exposure_import_alias,
    exposure_import_row,
    exposure_source,
)
from fraud.store.views import CompromiseEventView

_ACTIVE: Final = ExposedCardStatus.ACTIVE.value
_RELEASED: Final = ExposedCardStatus.RELEASED.value
_UNMATCHED: Final = ExposedCardStatus.UNMATCHED.value
_ROW = exposure_import_row.c
_CARD = exposed_card.c


def publish_import(connection: Connection, import_id: int, published_by: str, now: int) -> ImportView:
    """Watch the cards of a staged import, from one new exposure version on; the past is looked back over for them.

    A second time changes nothing, nor does content that another import has brought meanwhile. `ConflictError` when the
    import is not ready, or the event is closed; `InvalidInputError` when it names no card.
    """
    staged = get_import(connection, import_id)
    event = locked_compromise_event(connection, staged.compromise_event_id)  # before the import: the order of all
    staged = locked_import(connection, import_id)
    if staged.status == "PUBLISHED":
        return staged
    if staged.status != "STAGED":
        message = f"an import that is {staged.status} cannot be published"
        raise ConflictError(message)
    if imported_before(connection, event.compromise_event_id, staged.provenance, staged.sha256 or "") is not None:
        return _done(connection, staged, None, published_by, now, no_op=True)
    if not CompromiseStatus(event.status).is_open:
        message = f"a compromise event that is {event.status} takes no cards; reopen it first"
        raise ConflictError(message)
    if not _cards(staged):
        message = "the import names no card of this issuer; there is nothing to publish"
        raise InvalidInputError(message, field="file")
    version = next_exposure_version(connection)
    _watch_again(connection, staged, version)
    _insert_exposures(connection, staged, event, version, now)
    accepted = _accepted(connection, version)
    if staged.provenance == "MANUAL" or accepted < _cards(staged) or staged.findings.get("RELEASED_BEFORE"):
        _note_sources(connection, staged, version, published_by, now)
    _join_aliases(connection, import_id, version)
    follow_exposures(connection, version, now, compromise_event_id=event.compromise_event_id)
    if staged.provenance == "ALERT_FILE":
        _record_file(connection, staged, accepted, published_by, now)
    ensure_review(connection, event.compromise_event_id, now)
    if accepted:
        request_lookback(connection, event.compromise_event_id, version, "IMPORT", now)
    return _done(connection, staged, version, published_by, now, accepted=accepted)


def expose_by_hand(
    connection: Connection,
    compromise_event_id: str,
    card_ref: str,
    *,
    reason: str,
    exposed_by: str,
    now: int,
    pan_last4: str | None = None,
    aliases: tuple[str, ...] = (),
) -> ImportView:
    """Watch one card for an event, because a person says so. A card that is watched already gets one more source.

    `InvalidInputError` on `card_ref` or `reason`; `ConflictError` when the event is closed.
    """
    if not is_card_ref(card_ref):
        message = "card_ref must be a card reference"
        raise InvalidInputError(message, field="card_ref")
    if not reason.strip():
        message = "a card that is added by hand needs a reason"
        raise InvalidInputError(message, field="reason")
    content = hashlib.sha256(f"{card_ref}|{now}|{reason}".encode()).hexdigest()
    staged = begin_import(
        connection,
        compromise_event_id,
        provenance="MANUAL",
        name=display(None, pan_last4),
        sha256=content,
        created_by=exposed_by,
        now=now,
        reason=storable_text(reason, MAX_REASON),
    )
    if staged.no_op:  # the very same click once more
        return staged
    row = AlertRow(1, None, card_ref, pan_last4, aliases=aliases)
    stage_rows(connection, staged.import_id, [row], 1, 1.0, now)
    finish_staging(connection, staged.import_id, now)
    return publish_import(connection, staged.import_id, exposed_by, now)


def discard_import(connection: Connection, import_id: int, discarded_by: str, now: int) -> ImportView:
    """Give up a dry run; its rows are to be removed after this transaction. `ConflictError` once it is published."""
    before = locked_import(connection, import_id)
    if before.status not in ("STAGING", "STAGED", "FAILED", "DISCARDED"):
        message = f"an import that is {before.status} cannot be discarded"
        raise ConflictError(message)
    mine = exposure_import.c.import_id == import_id
    if before.status in ("STAGING", "STAGED"):
        connection.execute(update(exposure_import).where(mine).values(status="DISCARDED", updated_at=now))
        subject = f"exposure_import/{import_id}"
        append_audit(connection, actor=discarded_by, action="exposure_import.discard", subject=subject, now=now)
    return get_import(connection, import_id)


def _watch_again(connection: Connection, staged: ImportView, version: int) -> None:
    """Cards that a person has released from this event and that are named anew; what they were is kept."""
    named = exists().where(
        _ROW.import_id == staged.import_id, _ROW.outcome == RowOutcome.CARD.value, _ROW.card_ref == _CARD.card_ref
    )
    chosen = (_CARD.compromise_event_id == staged.compromise_event_id, _CARD.status == _RELEASED, named)
    names = ("compromise_event_id", "card_ref", "exposure_version", "tier", "status")
    before = select(*(_CARD[name] for name in names), literal(version, BigInteger)).where(*chosen)
    connection.execute(insert(exposed_card_history).from_select([*names, "until_version"], before))
    connection.execute(update(exposed_card).where(*chosen).values(status=_ACTIVE, exposure_version=version))


def _insert_exposures(
    connection: Connection, staged: ImportView, event: CompromiseEventView, version: int, now: int
) -> None:
    known = select(card_reference.c.card_ref).where(card_reference.c.card_ref == _ROW.card_ref)
    renewed = known.where(card_reference.c.expiry > _ROW.expiry).exists()
    is_file = staged.provenance == "ALERT_FILE"
    values = {
        "compromise_event_id": literal(staged.compromise_event_id),
        "card_ref": _ROW.card_ref,
        "tier": case((renewed, RENEWED_TIER), else_=event.tier),
        "status": literal(_ACTIVE),
        "provenance": literal(staged.provenance),
        "alert_file_sha256": literal(staged.sha256 if is_file else None, _CARD.alert_file_sha256.type),
        "pan_last4": _ROW.pan_last4,
        "expiry": _ROW.expiry,
        "exposure_version": literal(version, BigInteger),
        "created_at": literal(now, BigInteger),
    }
    if references_complete(connection):
        values["status"] = case((known.exists(), _ACTIVE), else_=_UNMATCHED)
    cards = (_ROW.import_id == staged.import_id, _ROW.outcome == RowOutcome.CARD.value)
    # In the order of the index: twice as fast.
    source = select(*values.values()).where(*cards).order_by(_ROW.card_ref)
    insert_new(connection, exposed_card, list(values), source)


def _note_sources(connection: Connection, staged: ImportView, version: int, by: str, now: int) -> None:
    """Cards that were known from elsewhere are known from here too; what is added by hand has its reason."""
    by_hand = staged.provenance == "MANUAL"
    source = (
        select(
            _CARD.compromise_event_id,
            _CARD.card_ref,
            literal(staged.provenance),
            literal(staged.sha256 or ""),
            literal(staged.reason, exposure_source.c.reason.type),
            literal(now, BigInteger),
            literal(by),
        )
        .select_from(exposure_import_row)
        .join(
            exposed_card,
            and_(_CARD.card_ref == _ROW.card_ref, _CARD.compromise_event_id == staged.compromise_event_id),
        )
        .where(_ROW.import_id == staged.import_id, _ROW.outcome == RowOutcome.CARD.value)
    )
    if not by_hand:
        first_from_here = and_(_CARD.exposure_version == version, _CARD.provenance == staged.provenance)
        if staged.provenance == "ALERT_FILE":
            first_from_here = and_(first_from_here, _CARD.alert_file_sha256 == staged.sha256)
        source = source.where(~first_from_here)
    insert_new(connection, exposure_source, [column.name for column in exposure_source.columns], source)


def _join_aliases(connection: Connection, import_id: int, version: int) -> None:
    mine = exposure_import_alias.c.import_id == import_id
    pairs = [(row.alias_ref, row.card_ref) for row in connection.execute(select(exposure_import_alias).where(mine))]
    if pairs:
        changed, _ = join_lines(connection, [], pairs)
        store_lines(connection, changed, version)


def _cards(staged: ImportView) -> int:
    return sum(staged.findings.get(name, 0) for name in ("MATCHED", "UNMATCHED", "ALREADY_EXPOSED"))


def _accepted(connection: Connection, version: int) -> int:
    # Nobody else has this version, so what carries it is what has just been inserted or watched again.
    mine = select(func.count()).where(_CARD.exposure_version == version, _CARD.provenance != "LINEAGE")
    return connection.execute(mine).scalar_one()


def _record_file(connection: Connection, staged: ImportView, accepted: int, by: str, now: int) -> None:
    found = staged.findings
    counted = {name.lower(): found.get(name, 0) for name in ("DUPLICATE", "MALFORMED", "UNKNOWN")}
    row = {
        "compromise_event_id": staged.compromise_event_id,
        "sha256": staged.sha256,
        "name": staged.name,
        "rows": staged.rows,
        "accepted": accepted,
        "already_exposed": staged.rows - accepted - sum(counted.values()),
        "imported_at": now,
        "imported_by": by,
        **counted,
    }
    connection.execute(insert(alert_file), row)


def _done(
    connection: Connection,
    staged: ImportView,
    version: int | None,
    by: str,
    now: int,
    *,
    accepted: int = 0,
    no_op: bool = False,
) -> ImportView:
    changes = {"status": "PUBLISHED", "no_op": no_op, "exposure_version": version, "updated_at": now}
    mine = exposure_import.c.import_id == staged.import_id
    connection.execute(update(exposure_import).where(mine).values(**changes, published_at=now, published_by=by))
    new = {"provenance": staged.provenance, "sha256": staged.sha256, "accepted": accepted, "no_op": no_op}
    append_audit(
        connection,
        actor=by,
        action="exposure_import.publish",
        subject=f"compromise_event/{staged.compromise_event_id}",
        now=now,
        reason=staged.reason or "",
        new={**new, "import_id": staged.import_id, "exposure_version": version, "rows": staged.rows},
    )
    return get_import(connection, staged.import_id)
