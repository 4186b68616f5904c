"""Look-back runs as records: what is asked for, how far each partition has got, and what was found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, bindparam, case, delete, func, insert, literal, select, update

from fraud.compromise import DAY_MS, CompromiseStatus, ExposedCardStatus
from fraud.errors import NotFoundError
from fraud.lookback import Coverage, PartitionReach, RunStatus, run_status
from fraud.store.folding import store_detections
from fraud.store.paging import Page, fetch_page
from fraud.store.records import ExposureChange, ExposureMatchRecord, PartitionEffects, PartitionKey
from fraud.store.statements import chunks, insert_ignore
from fraud.store.tables import (
    activation,
    compromise_event,
    detection,
    detection_compromise_event,
    exposed_card,
    exposure_match,
    position,
    reference_set,
)
from fraud.store.tables_lookback import lookback_partition, lookback_run

LOOKBACK = "LOOKBACK"
IMPORT_PARTITION = -1  # an imported history is searched as a whole

_MATCH = tuple(item.name for item in fields(ExposureMatchRecord))
_FETCHED_AT_ONCE = 20_000


@dataclass(frozen=True, slots=True)
class LookbackRunView:
    """One look-back. `coverage` are the fields of `fraud.lookback.Coverage`; {} before the archive was looked at."""

    lookback_run_id: int
    compromise_event_id: str
    exposure_version: int
    reason: str
    status: str
    window_start_at: int | None
    cards: int
    coverage: dict[str, Any]
    rows_total: int
    rows_scanned: int
    next_day: str | None
    matches: int
    not_scored: int
    detections: int
    error: str | None
    requested_at: int
    started_at: int | None
    updated_at: int
    finished_at: int | None


@dataclass(frozen=True, slots=True)
class LookbackPartitionView:
    """A look-back in one partition. `days` are those of the search that the archive holds: day to rows."""

    topic_id: str
    partition: int
    topic: str
    status: str
    to_offset: int | None
    archived_offset: int | None
    scanned_offset: int
    scanning_to: int | None
    days: dict[str, int]
    updated_at: int

    @property
    def reach(self) -> PartitionReach:
        """How far the search may go here."""
        return PartitionReach(self.to_offset, self.archived_offset, self.scanned_offset)


def open_lookbacks(connection: Connection) -> list[LookbackRunView]:
    """The runs that are not done, the oldest first."""
    statement = select(lookback_run).where(lookback_run.c.status != RunStatus.DONE.value)
    ordered = statement.order_by(lookback_run.c.lookback_run_id)
    return [LookbackRunView(**row) for row in connection.execute(ordered).mappings()]


def list_lookbacks(
    connection: Connection, compromise_event_id: str | None, after: str | None, limit: int
) -> Page[LookbackRunView]:
    """A page of look-backs, the latest first."""
    statement = select(lookback_run)
    if compromise_event_id is not None:
        statement = statement.where(lookback_run.c.compromise_event_id == compromise_event_id)
    counted = statement.with_only_columns(func.count())
    return fetch_page(
        connection,
        statement,
        [lookback_run.c.lookback_run_id],
        lambda row: LookbackRunView(**row),
        order="lookback_run_id",
        descending=True,
        after=after,
        limit=limit,
        total=connection.execute(counted).scalar_one(),
    )


def get_lookback(connection: Connection, lookback_run_id: int) -> LookbackRunView:
    """One look-back; `NotFoundError` when there is none of this id."""
    statement = select(lookback_run).where(lookback_run.c.lookback_run_id == lookback_run_id)
    row = connection.execute(statement).mappings().one_or_none()
    if row is None:
        message = "there is no look-back with this id"
        raise NotFoundError(message)
    return LookbackRunView(**row)


def lookback_partitions(connection: Connection, lookback_run_id: int) -> list[LookbackPartitionView]:
    """How far a run has got in each partition, imported histories last."""
    columns = [lookback_partition.c[item.name] for item in fields(LookbackPartitionView)]
    statement = (
        select(*columns)
        .where(lookback_partition.c.lookback_run_id == lookback_run_id)
        .order_by(lookback_partition.c.partition == IMPORT_PARTITION, *columns[:2])
    )
    return [LookbackPartitionView(**row) for row in connection.execute(statement).mappings()]


def repeat_lookbacks(connection: Connection, compromise_event_id: str | None, reason: str, now: int) -> int:
    """Have all that is in the archive searched again, of one event or of all open ones; how many runs begin anew.

    For what comes into the archive behind the stream's back, such as imported history. What was found stays found.
    """
    is_open = [status.value for status in CompromiseStatus if status.is_open]
    events = select(compromise_event.c.compromise_event_id).where(compromise_event.c.status.in_(is_open))
    chosen: ColumnElement[bool] = lookback_run.c.compromise_event_id.in_(events)
    if compromise_event_id is not None:
        chosen = lookback_run.c.compromise_event_id == compromise_event_id
    run_ids = select(lookback_run.c.lookback_run_id).where(chosen)
    connection.execute(delete(lookback_partition).where(lookback_partition.c.lookback_run_id.in_(run_ids)))
    changes = {"status": RunStatus.REQUESTED.value, "reason": reason[:40], "next_day": None, "updated_at": now}
    return connection.execute(update(lookback_run).where(chosen).values(**changes, finished_at=None)).rowcount


def exposed_card_refs(connection: Connection, compromise_event_id: str, from_version: int) -> Iterator[str]:
    """The event's watched cards that were added or changed at a version or later.

    Later changes are among them: what they changed may have been watched from this version on all the same.
    """
    statement = select(exposed_card.c.card_ref).where(
        exposed_card.c.compromise_event_id == compromise_event_id,
        exposed_card.c.exposure_version >= from_version,
        exposed_card.c.status == ExposedCardStatus.ACTIVE.value,
    )
    yield from connection.execute(statement.execution_options(yield_per=_FETCHED_AT_ONCE)).scalars()


def exposures_of(connection: Connection, card_refs: Sequence[str]) -> list[ExposureChange]:
    """Every compromise event in which these cards are watched now."""
    columns = (
        exposed_card.c.card_ref,
        exposed_card.c.compromise_event_id,
        exposed_card.c.tier,
        compromise_event.c.window_start_at,
        compromise_event.c.window_end_at,
        literal(value=False),
    )
    found: list[ExposureChange] = []
    for chunk in chunks(card_refs):
        statement = (
            select(*columns)
            .join_from(exposed_card, compromise_event)
            .where(exposed_card.c.card_ref.in_(chunk), exposed_card.c.status == ExposedCardStatus.ACTIVE.value)
            .order_by(exposed_card.c.compromise_event_id, exposed_card.c.card_ref)
        )
        found.extend(ExposureChange(*row) for row in connection.execute(statement))
    return found


def known_from(connection: Connection, group_id: str, exposure_version: int) -> dict[PartitionKey, int | None]:
    """Every partition of the stream to the first offset that ran under these exposures; None where no batch has."""
    statement = (
        select(activation.c.topic_id, activation.c.partition, func.min(activation.c.from_offset))
        .join_from(activation, reference_set)
        .where(activation.c.group_id == group_id, reference_set.c.exposure_version >= exposure_version)
        .group_by(activation.c.topic_id, activation.c.partition)
    )
    first = {(topic_id, partition): offset for topic_id, partition, offset in connection.execute(statement)}
    places = select(position.c.topic_id, position.c.topic, position.c.partition).where(position.c.group_id == group_id)
    return {
        PartitionKey(group_id, topic_id, topic, partition): first.get((topic_id, partition))
        for topic_id, topic, partition in connection.execute(places)
    }


def model_digests(connection: Connection, reference_set_ids: Sequence[int]) -> dict[int, str | None]:
    """Reference set to the model that scored under it."""
    statement = select(reference_set.c.reference_set_id, reference_set.c.model_digest)
    rows = connection.execute(statement.where(reference_set.c.reference_set_id.in_(reference_set_ids)))
    return {row.reference_set_id: row.model_digest for row in rows}


def save_run(connection: Connection, lookback_run_id: int, now: int, **changes: Any) -> None:
    """Change a run's columns."""
    statement = update(lookback_run).where(lookback_run.c.lookback_run_id == lookback_run_id)
    connection.execute(statement.values(**changes, updated_at=now))


def save_partitions(
    connection: Connection, lookback_run_id: int, partitions: Sequence[LookbackPartitionView], now: int
) -> RunStatus:
    """Replace what is known of a run's partitions; the run's status that follows from it."""
    connection.execute(delete(lookback_partition).where(lookback_partition.c.lookback_run_id == lookback_run_id))
    rows = [
        {
            **asdict(item),
            "lookback_run_id": lookback_run_id,
            "status": item.reach.status.value,
            "updated_at": now,
        }
        for item in partitions
    ]
    if rows:
        connection.execute(insert(lookback_partition), rows)
    return run_status([item.reach.status for item in partitions])


def save_coverage(connection: Connection, lookback_run_id: int, covered: Coverage, now: int) -> None:
    """Say what the archive held of the search."""
    save_run(connection, lookback_run_id, now, coverage={**asdict(covered), "missing_days": list(covered.missing_days)})


def existing_detections(connection: Connection, detection_ids: Sequence[str]) -> set[str]:
    """Those of these detections that there are."""
    found: set[str] = set()
    for chunk in chunks(detection_ids):
        statement = select(detection.c.detection_id).where(detection.c.detection_id.in_(chunk))
        found.update(connection.execute(statement).scalars())
    return found


def store_findings(
    connection: Connection, lookback_run_id: int, found: Sequence[PartitionEffects], not_scored: int, now: int
) -> None:
    """Store matches and detections that are not there yet, and count them on the run.

    A transaction that the stream has matched, or an earlier attempt, stays as it is: (event, compromise event) is
    unique. `not_scored` of the matches had no score; it counts towards the run when any match is new.
    """
    detection_ids = [item.detection_id for effects in found for item in effects.detections]
    before = existing_detections(connection, detection_ids)
    store_detections(connection, found)
    rows = [
        {
            **{name: getattr(record, name) for name in _MATCH},
            "topic_id": effects.key.topic_id,
            "partition": effects.key.partition,
        }
        for effects in found
        for record in effects.matches
    ]
    known = _known_matches(connection, rows)
    new = [row for row in rows if (row["event_id"], row["compromise_event_id"]) not in known]
    insert_ignore(connection, exposure_match, new, ["event_id", "compromise_event_id"])
    _name_detections(connection, [row for row in rows if (row["event_id"], row["compromise_event_id"]) in known])
    # A detection that the stream made under another event is one of this event's too.
    names = ("compromise_event_id", "detection_id")
    links = [{name: row[name] for name in names} for row in rows if row["detection_id"] is not None]
    insert_ignore(connection, detection_compromise_event, links, names)
    save_run(
        connection,
        lookback_run_id,
        now,
        matches=lookback_run.c.matches + len(new),
        not_scored=lookback_run.c.not_scored + (not_scored if new else 0),
        detections=lookback_run.c.detections + len(set(detection_ids) - before),
    )


def follow_window(connection: Connection, compromise_event_id: str) -> int:
    """Have the matches of an event say where they lie against its window as it is now; how many changed.

    To be called when every partition runs under the window: from then on nobody writes matches of an older one.
    """
    start, end = connection.execute(
        select(compromise_event.c.window_start_at, compromise_event.c.window_end_at).where(
            compromise_event.c.compromise_event_id == compromise_event_id
        )
    ).one()
    at = exposure_match.c.occurred_at
    kind = case((at < start, "BEFORE_WINDOW"), (at < end, "IN_WINDOW"), else_="AFTER_WINDOW")
    days = case((at < end, 0), else_=(at - end) // DAY_MS)
    changed: ColumnElement[bool] = (exposure_match.c.kind != kind) | (exposure_match.c.days_since_window != days)
    statement = update(exposure_match).where(exposure_match.c.compromise_event_id == compromise_event_id, changed)
    return connection.execute(statement.values(kind=kind, days_since_window=days)).rowcount


def lookback_detections(connection: Connection, compromise_event_id: str, limit: int) -> list[Row[Any]]:
    """Detections that look-back made on an event, the greatest expected loss first: the list to dispute from."""
    in_event = select(exposure_match.c.detection_id).where(
        exposure_match.c.compromise_event_id == compromise_event_id, exposure_match.c.detection_id.is_not(None)
    )
    names = ("detection_id", "case_id", "card_ref", "occurred_at", "probability", "expected_loss_minor", "transaction")
    statement = (
        select(*(detection.c[name] for name in names))
        .where(detection.c.origin == LOOKBACK, detection.c.detection_id.in_(in_event))
        .order_by(detection.c.expected_loss_minor.desc(), detection.c.detection_id)
        .limit(limit)
    )
    return list(connection.execute(statement))


def _name_detections(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Have matches that the stream stored before the window began earlier name the detection that they became now."""
    named = [
        {"at_event": row["event_id"], "at_compromise": row["compromise_event_id"], "made": row["detection_id"]}
        for row in rows
        if row["detection_id"] is not None
    ]
    if named:
        statement = update(exposure_match).where(
            exposure_match.c.event_id == bindparam("at_event"),
            exposure_match.c.compromise_event_id == bindparam("at_compromise"),
            exposure_match.c.detection_id.is_(None),
        )
        connection.execute(statement.values(detection_id=bindparam("made")), named)


def _known_matches(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> set[tuple[str, str]]:
    found: set[tuple[str, str]] = set()
    for chunk in chunks(sorted({row["event_id"] for row in rows})):
        columns = (exposure_match.c.event_id, exposure_match.c.compromise_event_id)
        statement = select(*columns).where(exposure_match.c.event_id.in_(chunk))
        found.update((event_id, event) for event_id, event in connection.execute(statement))
    return found
