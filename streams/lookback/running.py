"""Look-backs on their way: each is asked for by a change of exposures, and ends when no partition owes it anything.

Nothing here has to be done in one go. Where a way through the archive ends is recorded before it begins, each piece is
committed with its findings, and findings are unique; so a stop at any point costs time and changes nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
import polars as pl
import structlog
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError
from numpy.typing import NDArray
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from fraud.cards import card_keys
from fraud.clock import Clock, now_ms
from fraud.errors import MimamoriError
from fraud.lookback import PartitionStatus, RunStatus, coverage, run_status
from fraud.policy import Policy
from fraud.settings import Settings
from fraud.store import lookback as store
from fraud.store.database import read, write
from fraud.store.exposure import exposure_version, get_compromise_event
from fraud.store.jobs import LeaseLostError
from fraud.store.labels import quiet_patterns
from fraud.store.lookback import IMPORT_PARTITION, LookbackPartitionView, LookbackRunView
from fraud.store.statements import chunks
from streams.archive import ArchiveTable
from streams.archive.table import store_errors
from streams.lookback.deciding import FoundRows, Judge
from streams.lookback.scanning import ArchiveSearch, Bounds, Day, Place, archived_offset, import_is_complete
from streams.pipeline import detection_id
from streams.reference import record_reference_set

log = structlog.get_logger(__name__)

_LOOK_SECONDS: Final = 1.0
_AFTER_ERROR_SECONDS: Final = 10.0
_COMMITTED_AT_ONCE: Final = 1_000  # rows; a worker on SQLite waits for so many at most
_REFS_AT_ONCE: Final = 50_000
_ORIGINS: Final = ("LIVE", "RESCORE", store.LOOKBACK)
IMPORT_TOPIC: Final = "import"
_EVERYTHING: Final = 1  # an imported history has no offsets: it is searched whole, or not yet

Fence = Callable[[Connection], None]


def _no_fence(_connection: Connection) -> None:
    """Nobody else can be at it."""


def _say_nothing(_point: str) -> None:
    """Nobody listens."""


@dataclass(slots=True)
class _Way:
    """One way through the archive for one run: what is searched, and how it is judged."""

    run: LookbackRunView
    search: ArchiveSearch
    bounds: Bounds
    judge: Judge
    reference_set_id: int


class Lookbacks:
    """Takes all look-backs on, the oldest first. One such at a time is enough; two do no harm.

    Args:
        engine: the database.
        settings: the process's settings.
        table: the archive.
        load_policy: the policy in force.
        clock: tells the time that findings carry.
        stopping: set when the work has to come to an end.
        fence: called in every writing transaction; raises `LeaseLostError` when somebody else has the job.
        reached: told each named point of the way, for displays and tests.

    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        table: ArchiveTable,
        load_policy: Callable[[], Policy],
        clock: Clock,
        stopping: threading.Event | None = None,
        fence: Fence = _no_fence,
        reached: Callable[[str], None] = _say_nothing,
    ) -> None:
        self._engine = engine
        self._group = settings.kafka.group_id
        self._case_due_ms = settings.policy.case_due_hours * 3_600_000
        self._table = table
        self._load_policy = load_policy
        self._clock = clock
        self._stopping = stopping or threading.Event()
        self._fence = fence
        self._reached = reached
        self._handle: DeltaTable | None = None
        self._not_before: dict[int, float] = {}

    def run(self) -> None:
        """Go on until told to stop."""
        while not self._stopping.is_set():
            self.step()
            self._stopping.wait(_LOOK_SECONDS)

    def step(self) -> list[LookbackRunView]:
        """Take every open run as far as it can go now. Those that are still open; what fails is tried again later."""
        with read(self._engine) as connection:
            runs = store.open_lookbacks(connection)
        for run in runs:
            if self._stopping.is_set():
                break
            if self._not_before.get(run.lookback_run_id, 0.0) > time.monotonic():
                continue
            try:
                self._advance(run, self._open())
            except LeaseLostError:
                raise
            except (MimamoriError, SQLAlchemyError, DeltaError, OSError, pl.exceptions.PolarsError) as error:
                self._note_error(run, error)
        with read(self._engine) as connection:
            return store.open_lookbacks(connection)

    def _note_error(self, run: LookbackRunView, error: Exception) -> None:
        name = type(error).__name__
        log.warning("look-back stopped; trying again later", run=run.lookback_run_id, error=name)
        self._handle = None
        self._not_before[run.lookback_run_id] = time.monotonic() + _AFTER_ERROR_SECONDS
        try:
            with self._writing() as connection:
                store.save_run(connection, run.lookback_run_id, self._now(), error=name[:64])
        except SQLAlchemyError:
            log.warning("the error could not be recorded", run=run.lookback_run_id)

    def _advance(self, run: LookbackRunView, handle: DeltaTable | None) -> None:
        """Search whatever can be searched now, then say what is still owed."""
        while not self._stopping.is_set():
            # First the archive, then the database: what is archived has been committed, so that its activations show.
            with read(self._engine) as connection:
                before = store.lookback_partitions(connection, run.lookback_run_id)
                partitions = self._partitions(connection, run, handle)
            if run.status != RunStatus.WAITING or any(_is_due(item) for item in partitions):
                if not self._go(self._begin(run, partitions, handle)):
                    return
            elif partitions == before:
                return
            if not self._settle(run, handle):
                return
            with read(self._engine) as connection:
                run = store.get_lookback(connection, run.lookback_run_id)

    def _partitions(
        self, connection: Connection, run: LookbackRunView, handle: DeltaTable | None
    ) -> list[LookbackPartitionView]:
        """Every partition of the stream, and every imported history that is known, with what can be reached now."""
        known_before = store.lookback_partitions(connection, run.lookback_run_id)
        before = {(item.topic_id, item.partition): item for item in known_before}
        found = []
        for key, to_offset in store.known_from(connection, self._group, run.exposure_version).items():
            place = (key.topic_id, key.partition)
            known = before.get(place) or _new_partition(place, key.topic)
            found.append(replace(known, to_offset=to_offset, archived_offset=archived_offset(handle, place)))
        for place, known in before.items():
            if place[1] == IMPORT_PARTITION:
                found.append(_looked_at_import(known, handle))
        return sorted(found, key=lambda item: (item.partition == IMPORT_PARTITION, item.topic_id, item.partition))

    def _begin(self, run: LookbackRunView, partitions: list[LookbackPartitionView], handle: DeltaTable | None) -> _Way:
        """Begin a way through the archive, or go on with the one that was begun."""
        now = self._now()
        with read(self._engine) as connection:
            event = get_compromise_event(connection, run.compromise_event_id)
            version = exposure_version(connection)
            keys = _keys(store.exposed_card_refs(connection, run.compromise_event_id, run.exposure_version))
            quiet = quiet_patterns(connection, version)
        search = ArchiveSearch(self._table, handle, keys, event.window_start_at)
        policy = self._load_policy()
        if run.status != RunStatus.SCANNING:
            days = search.days()
            held = {day.day.isoformat(): search.rows_by_place(day) for day in days}
            partitions = _with_days(partitions, held, handle)
            partitions = [replace(item, scanning_to=item.reach.reachable) for item in partitions]
            total = {day: sum(rows.values()) for day, rows in held.items()}
            with self._writing() as connection:
                store.save_partitions(connection, run.lookback_run_id, partitions, now)
                covered = coverage(total, event.window_start_at, event.window_end_at, now)
                store.save_coverage(connection, run.lookback_run_id, covered, now)
                store.save_run(
                    connection,
                    run.lookback_run_id,
                    now,
                    status=RunStatus.SCANNING.value,
                    window_start_at=event.window_start_at,
                    cards=len(keys),
                    rows_total=sum(total.values()),
                    rows_scanned=0,
                    next_day=None,
                    started_at=run.started_at or now,
                )
            log.info("look-back begun", run=run.lookback_run_id, cards=len(keys), rows=sum(total.values()))
            self._reached("begun")
        with self._writing() as connection:
            # Scores are those of the rows' own sets, so what is decided here is decided without a model.
            reference_set_id = record_reference_set(connection, version, None, policy, {"lookback": True}, now)
            run = store.get_lookback(connection, run.lookback_run_id)
        bounds = {
            (item.topic_id, item.partition): (item.scanned_offset, item.scanning_to)
            for item in partitions
            if item.scanning_to is not None and item.scanning_to > item.scanned_offset
        }
        judge = Judge(self._group, policy, quiet, self._case_due_ms)
        return _Way(run, search, bounds, judge, reference_set_id)

    def _go(self, way: _Way) -> bool:
        """Search day by day; False when it was stopped, or asked for anew, on the way."""
        for day in way.search.days():
            if way.run.next_day is not None and day.day.isoformat() < way.run.next_day:
                continue
            if not self._search_day(way, day):
                return False
        with self._writing() as connection:
            if store.get_lookback(connection, way.run.lookback_run_id).status != RunStatus.SCANNING:
                return False
            partitions = [
                replace(item, scanned_offset=item.scanned_offset if item.scanning_to is None else item.scanning_to)
                for item in store.lookback_partitions(connection, way.run.lookback_run_id)
            ]
            partitions = [replace(item, scanning_to=None) for item in partitions]
            store.save_partitions(connection, way.run.lookback_run_id, partitions, self._now())
            # Whatever the partitions still owe: this way is at its end.
            store.save_run(
                connection,
                way.run.lookback_run_id,
                self._now(),
                status=RunStatus.WAITING.value,
                next_day=None,
                error=None,
            )
        self._reached("searched")
        return True

    def _search_day(self, way: _Way, day: Day) -> bool:
        for frame in way.search.find(day, way.bounds):
            for rows in chunks(range(len(frame)), _COMMITTED_AT_ONCE):
                if self._stopping.is_set():
                    return False
                self._store(way, frame[rows[0] : rows[-1] + 1])
        self._reached("day")
        with self._writing() as connection:
            run = store.get_lookback(connection, way.run.lookback_run_id)
            if run.status != RunStatus.SCANNING:
                return False
            store.save_run(
                connection,
                run.lookback_run_id,
                self._now(),
                rows_scanned=run.rows_scanned + day.rows,
                next_day=_day_after(day.day),
            )
        return True

    def _store(self, way: _Way, frame: pl.DataFrame) -> None:
        """Judge some rows and store what comes of them, in one transaction."""
        found = FoundRows.of(frame)
        event_ids = found.rows.columns["event_id"].tolist()
        card_refs = list(dict.fromkeys(found.rows.columns["card_ref"].tolist()))
        sets = np.unique(found.rows.reference_set_ids).tolist()
        now = self._now()
        with self._writing() as connection:
            findings = way.judge.findings(
                found,
                way.run.compromise_event_id,
                store.exposures_of(connection, card_refs),
                _detected(connection, event_ids),
                store.model_digests(connection, sets),
                way.reference_set_id,
                now,
            )
            self._reached("judged")
            store.store_findings(connection, way.run.lookback_run_id, findings.effects, findings.not_scored, now)
        self._reached("stored")

    def _settle(self, run: LookbackRunView, handle: DeltaTable | None) -> bool:
        """Say what is still owed. True when there is more to search at once."""
        with self._writing() as connection:
            now = self._now()
            current = store.get_lookback(connection, run.lookback_run_id)
            if current.status != RunStatus.WAITING:
                return False  # asked for anew
            # In the same transaction as the end: a partition that comes later begins at exposures as new as these.
            partitions = self._partitions(connection, current, handle)
            status = run_status([item.reach.status for item in partitions])
            if current.cards == 0:
                status = RunStatus.DONE
            store.save_partitions(connection, run.lookback_run_id, partitions, now)
            if status is RunStatus.SCANNING:
                return True
            changes: dict[str, Any] = {"status": status.value}
            if status is RunStatus.DONE:
                store.follow_window(connection, run.compromise_event_id)
                changes["finished_at"] = now
            store.save_run(connection, run.lookback_run_id, now, **changes)
        if status is RunStatus.DONE:
            log.info("look-back done", run=run.lookback_run_id, matches=current.matches, detections=current.detections)
        self._reached("settled")
        return False

    def _open(self) -> DeltaTable | None:
        """The archive as it is now; None when there is none yet."""
        with store_errors():
            if self._handle is not None:
                self._handle.update_incremental()
            elif self._table.exists():
                self._handle = self._table.open()
        return self._handle

    def _writing(self) -> AbstractContextManager[Connection]:
        return _fenced(self._engine, self._fence)

    def _now(self) -> int:
        return now_ms(self._clock)


@contextmanager
def _fenced(engine: Engine, fence: Fence) -> Iterator[Connection]:
    with write(engine) as connection:
        fence(connection)
        yield connection


def _is_due(item: LookbackPartitionView) -> bool:
    return item.reach.status is PartitionStatus.SCANNING


def _new_partition(place: Place, topic: str) -> LookbackPartitionView:
    return LookbackPartitionView(*place, topic, PartitionStatus.SCANNING.value, None, None, 0, None, {}, 0)


def _looked_at_import(item: LookbackPartitionView, handle: DeltaTable | None) -> LookbackPartitionView:
    """An imported history: there is nobody to wait for but the import itself."""
    complete = import_is_complete(handle, item.topic_id)
    return replace(item, to_offset=_EVERYTHING, archived_offset=_EVERYTHING if complete else 0)


def _with_days(
    partitions: list[LookbackPartitionView], held: Mapping[str, Mapping[Place, int]], handle: DeltaTable | None
) -> list[LookbackPartitionView]:
    """The partitions with the rows of each day; imported histories that the archive holds are among them."""
    days: dict[Place, dict[str, int]] = {}
    for day, rows in held.items():
        for place, count in rows.items():
            days.setdefault(place, {})[day] = count
    known = {(item.topic_id, item.partition) for item in partitions}
    imports = [
        _looked_at_import(_new_partition(place, IMPORT_TOPIC), handle)
        for place in sorted(days)
        if place[1] == IMPORT_PARTITION and place not in known
    ]
    return [replace(item, days=days.get((item.topic_id, item.partition), {})) for item in [*partitions, *imports]]


def _keys(card_refs: Iterator[str]) -> NDArray[np.uint64]:
    """64-bit keys: of a million cards eight megabytes, where their references would be two hundred."""
    parts = [card_keys(np.array(chunk, dtype=np.object_)) for chunk in chunks(card_refs, _REFS_AT_ONCE)]
    return np.concatenate(parts) if parts else np.zeros(0, np.uint64)


def _detected(connection: Connection, event_ids: list[str]) -> dict[str, str]:
    """Event to a detection that there is already, whoever made it; the stream's own before others."""
    ids = {event_id: [detection_id(event_id, origin) for origin in _ORIGINS] for event_id in event_ids}
    existing = store.existing_detections(connection, [item for made in ids.values() for item in made])
    found = {event_id: next((item for item in made if item in existing), None) for event_id, made in ids.items()}
    return {event_id: item for event_id, item in found.items() if item is not None}


def _day_after(day: date) -> str:
    return (day + timedelta(days=1)).isoformat()
