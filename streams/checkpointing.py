"""Checkpoints, written by a thread of their own: the archive first, then each snapshot, then its row.

The loop only takes copies of what has changed. One checkpoint is written at a time. When it cannot be (a full disk, a
store or a database that is away) it is tried again until it can; what is processed meanwhile waits in memory, and the
worker stops taking records where too much waits.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import structlog
from sqlalchemy.exc import SQLAlchemyError

from fraud.clock import now_ms
from fraud.errors import MimamoriError
from fraud.settings import StreamSettings
from fraud.store.records import PartitionKey
from streams.archive.rows import ArchiveRows
from streams.archive.writer import ArchiveWriter, Segment
from streams.observer import WorkerObserver
from streams.pipeline import PartitionState
from streams.snapshots import Chain, FrozenState, Snapshots, freeze

log = structlog.get_logger(__name__)

_FIRST_RETRY_SECONDS = 1.0
_LONGEST_RETRY_SECONDS = 30.0
_NICE = 10


@dataclass(slots=True)
class _Job:
    """One checkpoint of some partitions; what is done already is not done again when it is tried again."""

    frozen: list[FrozenState]
    before: dict[PartitionKey, Chain]  # what each of them continues
    segment: Segment
    archived: bool = False
    chains: dict[PartitionKey, Chain] = field(default_factory=dict)
    refused: list[FrozenState] = field(default_factory=list)


class Checkpointer:
    """Writes checkpoints of the partitions that a worker owns.

    Args:
        settings: when a checkpoint is due, and how many rows may wait.
        snapshots: where state goes.
        archive: where transactions go.
        observer: told of what was written.

    """

    def __init__(
        self, settings: StreamSettings, snapshots: Snapshots, archive: ArchiveWriter, observer: WorkerObserver
    ) -> None:
        self._settings = settings
        self._snapshots = snapshots
        self._archive = archive
        self._observer = observer
        self._chains: dict[PartitionKey, Chain] = {}
        self._carried: dict[PartitionKey, FrozenState] = {}
        self._offsets: dict[PartitionKey, int] = {}  # of the last checkpoint
        self._records = 0  # since the last one
        self._last = time.monotonic()
        self._pool = ThreadPoolExecutor(1, "checkpoint")
        self._abandoned = threading.Event()
        self._running: Future[_Job] | None = None

    def begin(self, key: PartitionKey, chain: Chain, offset: int) -> None:
        """A partition begins, from a snapshot at that offset."""
        self._chains[key] = chain
        self._offsets[key] = offset
        self._carried.pop(key, None)

    def add(self, key: PartitionKey, rows: ArchiveRows, records: int) -> None:
        """Rows whose effects are committed."""
        self._archive.add(key.topic_id, key.partition, rows)
        self._records += records

    def forget(self, key: PartitionKey) -> None:
        """A partition has gone to somebody else: whoever owns it archives what is not archived yet."""
        self._archive.discard(key.topic_id, key.partition)
        for known in (self._chains, self._carried, self._offsets):
            known.pop(key, None)

    @property
    def is_full(self) -> bool:
        """So many rows wait that no more may be added before a checkpoint is through."""
        return self._archive.buffered_rows > self._settings.waiting_rows

    @property
    def is_idle(self) -> bool:
        """No checkpoint is being written."""
        return self._running is None

    def step(self, states: Iterable[PartitionState]) -> None:
        """Once a round of the loop: take note of a checkpoint that is through, start one when it is due."""
        if self._running is not None:
            if self._running.done():
                self._finish(self._running.result())
            return
        waited = time.monotonic() - self._last
        if self._records >= self._settings.checkpoint_records or waited >= self._settings.checkpoint_seconds:
            self.start(states)

    def start(self, states: Iterable[PartitionState]) -> None:
        """Start a checkpoint of the states that have moved; not while another one is being written."""
        moved = [state for state in states if self._offsets.get(state.key) != state.next_offset]
        self._last, self._records = time.monotonic(), 0
        if moved:
            frozen = [freeze(state, self._carried.pop(state.key, None)) for state in moved]
            before = {item.key: self._chains[item.key] for item in frozen}
            ends = {(item.key.topic_id, item.key.partition): item.next_offset for item in frozen}
            self._running = self._pool.submit(self._write, _Job(frozen, before, self._archive.prepare(ends)))

    def close(self, states: Iterable[PartitionState], seconds: float) -> None:
        """A last checkpoint, within that time; what is not written by then is read from the log again."""
        deadline = time.monotonic() + seconds
        if self._await(deadline):
            self.start(states)
            self._await(deadline)
        self._abandoned.set()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _await(self, deadline: float) -> bool:
        if self._running is None:
            return True
        try:
            job = self._running.result(max(0.0, deadline - time.monotonic()))
        except TimeoutError:
            log.warning("the last checkpoint was not written in time; the next start reads more of the log")
            return False
        self._finish(job)
        return True

    def _finish(self, job: _Job) -> None:
        self._running = None
        for item in job.frozen:
            if item.key in self._chains and item.key in job.chains:
                self._chains[item.key] = job.chains[item.key]
                self._offsets[item.key] = item.next_offset
                self._observer.checkpointed(item.key.partition)
        for item in job.refused:
            # Claimed again meanwhile, perhaps by this very worker: then the next snapshot has to hold it too.
            if item.key in self._chains:
                self._carried[item.key] = item

    def _write(self, job: _Job) -> _Job:
        """On the thread: try until it is through, or the worker ends."""
        with contextlib.suppress(OSError):  # Linux gives a thread a priority of its own: records go first
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
        delay = _FIRST_RETRY_SECONDS
        while True:
            try:
                self._attempt(job)
            except (MimamoriError, SQLAlchemyError, OSError) as error:
                log.warning("checkpoint not written; trying again", error=type(error).__name__, seconds=delay)
                self._observer.checkpoint_failed("snapshot" if job.archived else "archive")
                if self._abandoned.wait(delay):
                    return job
                delay = min(delay * 2, _LONGEST_RETRY_SECONDS)
            else:
                return job

    def _attempt(self, job: _Job) -> None:
        if not job.archived:
            started = time.monotonic()
            written = self._archive.write(job.segment)
            self._observer.archived(sum(item.rows for item in written.values()), time.monotonic() - started)
            job.archived = True
        refused = {item.key for item in job.refused}
        for item in job.frozen:
            if item.key in job.chains or item.key in refused:
                continue
            now = now_ms()
            chain = self._snapshots.write(item, job.before[item.key], now)
            if chain is None:
                log.warning("snapshot refused: the partition has another owner", partition=item.key.partition)
                job.refused.append(item)
            else:
                job.chains[item.key] = chain
