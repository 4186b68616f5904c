"""What a dry run finds: each row of a file once, and marks on the cards that a person should know of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, true, update

from fraud.card_references import CardStatus
from fraud.compromise import ExposedCardStatus
from fraud.store.paging import Page, fetch_page
from fraud.store.tables import exposed_card
from fraud.store.tables_cards import (
    card_reference,
    card_reference_load,
    exposure_import_row,
)

_ROW = exposure_import_row.c
_LISTED_AT_ONCE: Final = 5_000


class RowOutcome(StrEnum):
    """What one row is, as far as the file alone tells."""

    CARD = "CARD"
    UNKNOWN = "UNKNOWN"
    DUPLICATE = "DUPLICATE"
    MALFORMED = "MALFORMED"


class Finding(StrEnum):
    """What is counted, and listed. The first six add up to the rows; the others are marks on some of the cards."""

    MATCHED = "MATCHED"  # will be watched
    UNMATCHED = "UNMATCHED"  # in the issuer's ranges, and in a complete list of its cards there is none
    ALREADY_EXPOSED = "ALREADY_EXPOSED"  # in this very event
    DUPLICATE = "DUPLICATE"  # named earlier in the file
    MALFORMED = "MALFORMED"
    UNKNOWN = "UNKNOWN"  # another issuer's: counted, and never stored
    SEEN_EARLIER = "SEEN_EARLIER"  # in another event
    REISSUED = "REISSUED"
    EXPIRY_DIFFERS = "EXPIRY_DIFFERS"
    CLOSED = "CLOSED"  # closed or expired
    RELEASED_BEFORE = "RELEASED_BEFORE"  # from this event; it will be watched again


EXCLUSIVE: Final = tuple(Finding)[:6]
MARKS: Final = {
    Finding.ALREADY_EXPOSED: 1,
    Finding.UNMATCHED: 2,
    Finding.SEEN_EARLIER: 4,
    Finding.REISSUED: 8,
    Finding.EXPIRY_DIFFERS: 16,
    Finding.CLOSED: 32,
    Finding.RELEASED_BEFORE: 64,
}


@dataclass(frozen=True, slots=True)
class ImportRowView:
    """One row of a file that was read: its line, what it is, and of the issuer's own cards the reference."""

    line: int
    outcome: str
    reason: str | None
    card_ref: str | None
    pan_last4: str | None
    expiry: str | None
    findings: tuple[Finding, ...]


def references_complete(connection: Connection) -> bool:
    """True when a list of reference data has named every card: what it did not name is then no card of ours."""
    complete = select(card_reference_load.c.load_id).where(card_reference_load.c.complete).limit(1)
    return connection.execute(complete).first() is not None


def mark_rows(connection: Connection, import_id: int, compromise_event_id: str) -> None:
    """Mark the cards of an import by what is known of them now."""
    mine, same = exposed_card.c, exposed_card.c.card_ref == _ROW.card_ref
    released = ExposedCardStatus.RELEASED.value
    conditions: list[tuple[Finding, ColumnElement[bool]]] = []
    if _filled(connection, exposed_card):
        here = mine.compromise_event_id == compromise_event_id
        conditions += [
            (Finding.ALREADY_EXPOSED, _exists(exposed_card, same, here, mine.status != released)),
            (Finding.RELEASED_BEFORE, _exists(exposed_card, same, here, mine.status == released)),
            (Finding.SEEN_EARLIER, _exists(exposed_card, same, ~here)),
        ]
    if _filled(connection, card_reference):
        known, reference = card_reference.c, card_reference.c.card_ref == _ROW.card_ref
        gone = [CardStatus.CLOSED.value, CardStatus.EXPIRED.value]
        reissued = or_(known.replaced_by.is_not(None), known.status == CardStatus.SUPERSEDED.value)
        conditions += [
            (Finding.REISSUED, _exists(card_reference, reference, reissued)),
            (Finding.CLOSED, _exists(card_reference, reference, known.status.in_(gone))),
            (Finding.EXPIRY_DIFFERS, _exists(card_reference, reference, known.expiry != _ROW.expiry)),
        ]
    if references_complete(connection):
        reference = card_reference.c.card_ref == _ROW.card_ref
        conditions.append((Finding.UNMATCHED, ~_exists(card_reference, reference)))
    cards = and_(_ROW.import_id == import_id, _ROW.outcome == RowOutcome.CARD.value)
    connection.execute(update(exposure_import_row).where(cards, _ROW.marks != 0).values(marks=0))
    for finding, condition in conditions:
        marked = update(exposure_import_row).where(cards, condition).values(marks=_ROW.marks + MARKS[finding])
        connection.execute(marked)


def count_findings(connection: Connection, import_id: int) -> dict[str, Any]:
    """`{"findings": {finding: rows}, "reasons": {reason: rows}}` of an import's rows."""
    grouped = (
        select(_ROW.outcome, _ROW.marks, _ROW.reason, func.count())
        .where(_ROW.import_id == import_id)
        .group_by(_ROW.outcome, _ROW.marks, _ROW.reason)
    )
    findings = dict.fromkeys(map(str, Finding), 0)
    reasons: dict[str, int] = {}
    for outcome, marks, reason, rows in connection.execute(grouped):
        for finding in findings_of(outcome, marks):
            findings[finding] += rows
        if outcome == RowOutcome.MALFORMED:
            reasons[reason] = reasons.get(reason, 0) + rows
    return {"findings": findings, "reasons": dict(sorted(reasons.items()))}


def findings_of(outcome: str, marks: int) -> tuple[Finding, ...]:
    """The findings that a row counts for."""
    if outcome != RowOutcome.CARD:
        return (Finding(outcome),)
    marked = [finding for finding, bit in MARKS.items() if marks & bit]
    if Finding.ALREADY_EXPOSED in marked:
        marked = [finding for finding in marked if finding is not Finding.UNMATCHED]
    is_new = Finding.ALREADY_EXPOSED not in marked and Finding.UNMATCHED not in marked
    return (Finding.MATCHED, *marked) if is_new else tuple(marked)


def import_rows(
    connection: Connection, import_id: int, finding: Finding | None, after: str | None, limit: int
) -> Page[ImportRowView]:
    """A page of the rows that count for a finding, in the order of the file."""
    rows = select(exposure_import_row).where(_ROW.import_id == import_id, _of(finding))
    return fetch_page(connection, rows, [_ROW.line], _view, order="line", descending=False, after=after, limit=limit)


def all_import_rows(connection: Connection, import_id: int, finding: Finding | None) -> Iterator[ImportRowView]:
    """All of them, as they are fetched: for a list to download."""
    rows = select(exposure_import_row).where(_ROW.import_id == import_id, _of(finding)).order_by(_ROW.line)
    for row in connection.execute(rows.execution_options(yield_per=_LISTED_AT_ONCE)).mappings():
        yield _view(row)


def rows_kept(connection: Connection, import_id: int) -> bool:
    """True while an import's rows are there to be listed."""
    return connection.execute(select(_ROW.line).where(_ROW.import_id == import_id).limit(1)).first() is not None


def _view(row: Any) -> ImportRowView:
    values = {name: row[name] for name in ("line", "outcome", "reason", "card_ref", "pan_last4", "expiry")}
    return ImportRowView(**values, findings=findings_of(row["outcome"], row["marks"]))


def _of(finding: Finding | None) -> ColumnElement[bool]:
    if finding is None:
        return true()
    card = _ROW.outcome == RowOutcome.CARD.value
    already, unmatched = MARKS[Finding.ALREADY_EXPOSED], MARKS[Finding.UNMATCHED]
    if finding is Finding.MATCHED:
        return and_(card, _ROW.marks.op("&")(already + unmatched) == 0)
    if finding is Finding.UNMATCHED:
        return and_(card, _ROW.marks.op("&")(already + unmatched) == unmatched)
    if finding in MARKS:
        return and_(card, _ROW.marks.op("&")(MARKS[finding]) != 0)
    return _ROW.outcome == finding.value


def _exists(table: Any, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    return select(1).select_from(table).where(*conditions).correlate(exposure_import_row).exists()


def _filled(connection: Connection, table: Any) -> bool:
    return connection.execute(select(1).select_from(table).limit(1)).first() is not None
