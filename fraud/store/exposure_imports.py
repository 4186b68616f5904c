"""Exposing the cards of a file that is held in memory, in one transaction. Larger ones are staged first."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Final

from sqlalchemy import Connection, func, insert, select

from fraud.alert_files import ParsedAlertFile
from fraud.compromise import CompromiseStatus, ExposedCardStatus
from fraud.errors import ConflictError
from fraud.store.card_lineages import follow_exposures
from fraud.store.compromise_records import locked_compromise_event
from fraud.store.exposure_reviews import ensure_review
from fraud.store.exposure_versions import next_exposure_version
from fraud.store.lookback_requests import request_lookback
from fraud.store.statements import chunks, insert_ignore, storable_text
from fraud.store.tables import alert_file, exposed_card
from fraud.store.views import CompromiseEventView

_INSERTED_AT_ONCE: Final = 20_000


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of a file: rows = accepted + already_exposed + duplicate + malformed + unknown.

    `no_op` says that this very file was imported for the event before; the counts are then those of the first time.
    """

    sha256: str
    rows: int
    accepted: int
    already_exposed: int
    duplicate: int
    malformed: int
    unknown: int
    no_op: bool = False


def import_exposed_cards(
    connection: Connection,
    compromise_event_id: str,
    file_name: str,
    parsed: ParsedAlertFile,
    imported_by: str,
    now: int,
) -> ImportReport:
    """Expose the cards of a file, all under one new exposure version. The same file again changes nothing.

    `ConflictError` when the compromise event is closed or refuted.
    """
    event = locked_compromise_event(connection, compromise_event_id)
    before = connection.execute(
        select(alert_file).where(
            alert_file.c.compromise_event_id == compromise_event_id, alert_file.c.sha256 == parsed.sha256
        )
    ).one_or_none()
    if before is not None:
        counts = {item.name: getattr(before, item.name) for item in fields(ImportReport) if item.name != "no_op"}
        return ImportReport(**counts, no_op=True)
    if not CompromiseStatus(event.status).is_open:
        message = f"a compromise event that is {event.status} takes no cards; reopen it first"
        raise ConflictError(message)
    accepted, version = _expose(connection, event, parsed, now)
    follow_exposures(connection, version, now, compromise_event_id=compromise_event_id)
    ensure_review(connection, compromise_event_id, now)
    if accepted:
        request_lookback(connection, compromise_event_id, version, "IMPORT", now)
    report = ImportReport(
        sha256=parsed.sha256,
        rows=parsed.rows,
        accepted=accepted,
        already_exposed=len(parsed.cards) - accepted,
        duplicate=parsed.duplicates,
        malformed=len(parsed.malformed),
        unknown=parsed.unknown,
    )
    counts = asdict(report)
    del counts["no_op"]
    row = {"compromise_event_id": compromise_event_id, "name": storable_text(file_name, 200), "imported_at": now}
    connection.execute(insert(alert_file), {**row, **counts, "imported_by": imported_by})
    return report


def _expose(connection: Connection, event: CompromiseEventView, parsed: ParsedAlertFile, now: int) -> tuple[int, int]:
    """Insert the cards that this event does not have yet: how many those are, and their exposure version."""
    version = next_exposure_version(connection)
    rows = (
        {
            "compromise_event_id": event.compromise_event_id,
            "card_ref": card.card_ref,
            "tier": event.tier,
            "status": ExposedCardStatus.ACTIVE.value,
            "provenance": "ALERT_FILE",
            "alert_file_sha256": parsed.sha256,
            "pan_last4": card.pan_last4,
            "expiry": card.expiry,
            "exposure_version": version,
            "created_at": now,
        }
        for card in sorted(parsed.cards, key=lambda card: card.card_ref)  # in the order of the index: twice as fast
    )
    for chunk in chunks(rows, _INSERTED_AT_ONCE):
        insert_ignore(connection, exposed_card, chunk, ["compromise_event_id", "card_ref"])
    # Nobody else has this version, so what carries it is what has just been inserted.
    inserted = select(func.count()).where(exposed_card.c.exposure_version == version)
    return connection.execute(inserted).scalar_one(), version
