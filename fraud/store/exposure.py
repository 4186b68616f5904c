"""Compromise events and their exposed cards. Every change of who is exposed gets the next exposure version."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import Connection, func, insert, literal, select, update

from fraud.alert_files import ParsedAlertFile
from fraud.cases import CaseStatus, Outcome
from fraud.compromise import CompromiseStatus, ExposedCardStatus, transition
from fraud.errors import ConflictError
from fraud.store.compromise_events import (
    NewCompromiseEvent,
    add_fact,
    change_compromise_event,
    create_compromise_event,
    get_compromise_event,
    list_compromise_events,
    locked_compromise_event,
)
from fraud.store.exposure_versions import exposure_version, next_exposure_version
from fraud.store.paging import Page, fetch_page
from fraud.store.records import ExposureChange
from fraud.store.statements import chunks, insert_ignore, storable_text
from fraud.store.tables import (
    alert_file,
    case,
    compromise_event,
    detection,
    detection_compromise_event,
    exposed_card,
    exposed_card_history,
    exposure_match,
)
from fraud.store.views import CompromiseEventView, ExposedCardView

# Events and the cards exposed in them are used together, so they are imported from one place.
__all__ = [
    "ImportReport",
    "NewCompromiseEvent",
    "add_fact",
    "card_exposures",
    "create_compromise_event",
    "event_counts",
    "exposed_cards",
    "exposure_changes",
    "exposure_version",
    "exposures_before",
    "get_compromise_event",
    "import_exposed_cards",
    "list_compromise_events",
    "set_status",
]

_FETCHED_AT_ONCE = 20_000
_INSERTED_AT_ONCE = 20_000


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


def set_status(
    connection: Connection,
    compromise_event_id: str,
    to: CompromiseStatus,
    version: int,
    now: int,
    reason: str | None = None,
) -> CompromiseEventView:
    """Take the finding a step further. Its cards are released when it closes, and watched again when it is reopened.

    `ConflictError` when the event is no longer at `version` or the step is not allowed; reopening needs a `reason`.
    """
    before = locked_compromise_event(connection, compromise_event_id)
    if before.version != version:
        message = "the compromise event has changed since it was read"
        raise ConflictError(message)
    current = CompromiseStatus(before.status)
    status = transition(current, to, reason=reason)
    facts = list(before.facts)
    if reason:
        on = datetime.fromtimestamp(now / 1000, ZoneInfo(before.zone)).date().isoformat()
        facts.append({"kind": status.value, "on": on, "note": reason})
    change_compromise_event(connection, before, now, status=status.value, facts=facts)
    if current.is_open != status.is_open:
        active, released = ExposedCardStatus.ACTIVE.value, ExposedCardStatus.RELEASED.value
        before_it, after_it = (released, active) if status.is_open else (active, released)
        _change_cards(connection, compromise_event_id, before_it, after_it)
    return get_compromise_event(connection, compromise_event_id)


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
    accepted = _expose(connection, event, parsed, now)
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


def exposures_before(connection: Connection, version: int) -> list[ExposureChange]:
    """What has changed after a version, each exposure once as it was then: released where it was not there yet.

    Applied to the exposures of now, they give those of `version`.
    """
    now, before = exposed_card, exposed_card_history
    same_card = (before.c.compromise_event_id == now.c.compromise_event_id) & (before.c.card_ref == now.c.card_ref)
    then = same_card & (before.c.exposure_version <= version) & (before.c.until_version > version)
    absent = before.c.status.is_(None) | (before.c.status != ExposedCardStatus.ACTIVE.value)
    statement = (
        select(
            now.c.card_ref,
            now.c.compromise_event_id,
            func.coalesce(before.c.tier, now.c.tier),
            compromise_event.c.window_start_at,
            compromise_event.c.window_end_at,
            absent,
        )
        .join_from(now, compromise_event)
        .join(before, then, isouter=True)
        .where(now.c.exposure_version > version)
        .order_by(now.c.compromise_event_id, now.c.card_ref)
    )
    return [ExposureChange(*row) for row in connection.execute(statement)]


def exposure_changes(connection: Connection, since_version: int) -> list[ExposureChange]:
    """What changed after a version, each exposure once as it is now, in the order of its last change."""
    columns = (
        exposed_card.c.card_ref,
        exposed_card.c.compromise_event_id,
        exposed_card.c.tier,
        compromise_event.c.window_start_at,
        compromise_event.c.window_end_at,
        exposed_card.c.status != ExposedCardStatus.ACTIVE.value,
    )
    statement = (
        select(*columns)
        .join_from(exposed_card, compromise_event)
        .where(exposed_card.c.exposure_version > since_version)
        .order_by(exposed_card.c.exposure_version)
        .execution_options(yield_per=_FETCHED_AT_ONCE)
    )
    return [ExposureChange(*row) for row in connection.execute(statement)]


def exposed_cards(
    connection: Connection, compromise_event_id: str, after: str | None, limit: int
) -> Page[ExposedCardView]:
    """A page of an event's exposed cards, by card reference."""
    return fetch_page(
        connection,
        select(exposed_card).where(exposed_card.c.compromise_event_id == compromise_event_id),
        [exposed_card.c.card_ref],
        lambda row: ExposedCardView(**row),
        order="card_ref",
        descending=False,
        after=after,
        limit=limit,
    )


def card_exposures(connection: Connection, card_ref: str) -> list[ExposedCardView]:
    """Every compromise event that a card is in, or was, the latest first."""
    statement = select(exposed_card).where(exposed_card.c.card_ref == card_ref)
    ordered = statement.order_by(exposed_card.c.created_at.desc(), exposed_card.c.compromise_event_id)
    return [ExposedCardView(**row) for row in connection.execute(ordered).mappings()]


def event_counts(connection: Connection, compromise_event_id: str) -> dict[str, int]:
    """Numbers of one compromise event: cards watched now, matches, detections, and cases by how they stand."""
    cards = select(func.count()).where(
        exposed_card.c.compromise_event_id == compromise_event_id,
        exposed_card.c.status == ExposedCardStatus.ACTIVE.value,
    )
    matches = select(func.count()).where(exposure_match.c.compromise_event_id == compromise_event_id)
    in_event = detection_compromise_event.c.compromise_event_id == compromise_event_id
    detections = select(func.count()).where(in_event)
    case_ids = select(detection.c.case_id).join_from(detection_compromise_event, detection).where(in_event)
    by_outcome = (
        select(case.c.status, case.c.outcome, func.count().label("cases"))
        .where(case.c.case_id.in_(case_ids))
        .group_by(case.c.status, case.c.outcome)
    )
    cases = connection.execute(by_outcome).all()
    return {
        "exposed_cards": connection.execute(cards).scalar_one(),
        "matches": connection.execute(matches).scalar_one(),
        "detections": connection.execute(detections).scalar_one(),
        "cases_open": sum(row.cases for row in cases if row.status != CaseStatus.RESOLVED),
        "cases_resolved": sum(row.cases for row in cases if row.status == CaseStatus.RESOLVED),
        "cases_confirmed": sum(row.cases for row in cases if row.outcome == Outcome.CONFIRMED_FRAUD),
    }


def _expose(connection: Connection, event: CompromiseEventView, parsed: ParsedAlertFile, now: int) -> int:
    """Insert the cards that this event does not have yet; returns how many those are."""
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
    return connection.execute(inserted).scalar_one()


def _change_cards(connection: Connection, compromise_event_id: str, from_status: str, to_status: str) -> None:
    """Give an event's cards of one status another one, under a new version; what they were is kept."""
    version = next_exposure_version(connection)
    names = ("compromise_event_id", "card_ref", "exposure_version", "tier", "status")
    chosen = (exposed_card.c.compromise_event_id == compromise_event_id, exposed_card.c.status == from_status)
    before = select(*(exposed_card.c[name] for name in names), literal(version)).where(*chosen)
    connection.execute(insert(exposed_card_history).from_select([*names, "until_version"], before))
    connection.execute(update(exposed_card).where(*chosen).values(status=to_status, exposure_version=version))
