"""The runner of jobs: work that is neither stream nor request. One runner a job, on a lease; progress outlives it."""

from __future__ import annotations

import os
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from fraud.clock import Clock, SystemClock, now_ms
from fraud.settings import Settings
from fraud.store.database import write
from fraud.store.jobs import (
    JobView,
    LeaseLostError,
    claim_job,
    finish_job,
    give_back_job,
    renew_lease,
    save_progress,
)

log = structlog.get_logger(__name__)

LEASE_MS: Final = 30_000
_LOOK_SECONDS: Final = 1.0
_RENEWALS_A_LEASE: Final = 3
_LONGEST_PAUSE_MS: Final = 600_000


class JobKind(StrEnum):
    """What jobs there are."""

    RELAY = "RELAY"
    CARD_REFERENCES = "CARD_REFERENCES"
    LOOKBACK = "LOOKBACK"
    WATCHLIST = "WATCHLIST"


@dataclass(frozen=True, slots=True)
class JobContext:
    """What a job's function has to work with.

    Args:
        engine: the database.
        settings: the process's settings.
        subject: what this job is about.
        progress: what an earlier run saved last; {} at first.
        stopping: set when the function has to come to an end: the process stops, or the lease is lost.

    """

    engine: Engine
    settings: Settings
    subject: str
    progress: Mapping[str, Any]
    stopping: threading.Event
    _job: JobView
    _lease: str

    def save(self, connection: Connection, progress: Mapping[str, Any]) -> None:
        """Store progress in the transaction of the work that it tells of.

        `LeaseLostError` when another runner has the job: then that work must not be committed either.
        """
        save_progress(connection, self._job.job_id, self._lease, progress)


# True: done, for ever. False: there is more to do, now or when the process starts again.
JobFunction = Callable[[JobContext], bool]


@dataclass(slots=True)
class _Running:
    job: JobView
    lease: str
    thread: threading.Thread
    stopping: threading.Event = field(default_factory=threading.Event)


class JobRunner:
    """Claims jobs and runs each in a thread, at most one of a kind and subject anywhere.

    Args:
        engine: the database.
        settings: given to the jobs.
        registry: kind to function; jobs of other kinds are left to other runners.
        clock: the machine's time by default.
        lease_ms: after this time without renewal, in milliseconds, another runner may take over.
        slots: jobs at once.

    """

    def __init__(
        self,
        engine: Engine,
        settings: Settings,
        registry: Mapping[JobKind, JobFunction],
        clock: Clock | None = None,
        lease_ms: int = LEASE_MS,
        slots: int = 4,
    ) -> None:
        self._engine = engine
        self._settings = settings
        self._registry = registry
        self._clock = clock or SystemClock()
        self._lease_ms = lease_ms
        self._slots = slots
        self._name = f"{socket.gethostname()[:80]}:{os.getpid()}"
        self._stopping = threading.Event()
        self._running: dict[int, _Running] = {}
        self._renewed_at = 0

    def stop(self) -> None:
        """Ask all jobs to come to an end. Safe to call from a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Run jobs until `stop()`, then wait for those that run."""
        log.info("job runner started", runner=self._name, kinds=[str(kind) for kind in self._registry])
        while not self._stopping.is_set():
            self.look()
            self._stopping.wait(min(_LOOK_SECONDS, self._lease_ms / 1000 / _RENEWALS_A_LEASE))
        for running in self._running.values():
            running.stopping.set()
        for running in self._running.values():
            while running.thread.is_alive():
                self._renew()
                running.thread.join(_LOOK_SECONDS)
        log.info("job runner stopped", runner=self._name)

    def look(self) -> None:
        """Once round: forget what has ended, renew leases, claim what waits."""
        self._running = {key: running for key, running in self._running.items() if running.thread.is_alive()}
        self._renew()
        while len(self._running) < self._slots and (job := self._claim()):
            self._start(*job)

    def _claim(self) -> tuple[JobView, str] | None:
        lease = f"{self._name}:{secrets.token_hex(8)}"
        try:
            with write(self._engine) as connection:
                job = claim_job(connection, [str(kind) for kind in self._registry], lease, self._now(), self._lease_ms)
        except (OperationalError, InterfaceError) as error:
            log.warning("no jobs claimed; trying again", error=type(error).__name__)
            return None
        return None if job is None else (job, lease)

    def _start(self, job: JobView, lease: str) -> None:
        if job.job_id in self._running:  # our own renewals came too late
            self._running[job.job_id].stopping.set()
        running = _Running(job, lease, threading.Thread(target=lambda: self._work(running), name=f"job-{job.job_id}"))
        self._running[job.job_id] = running
        running.thread.start()

    def _work(self, running: _Running) -> None:
        job = running.job
        context = JobContext(
            self._engine, self._settings, job.subject, job.progress, running.stopping, job, running.lease
        )
        log.info("job taken", kind=job.kind, subject=job.subject, resumed=bool(job.progress))
        error: str | None = None
        done = False
        try:
            done = self._registry[JobKind(job.kind)](context)
        except LeaseLostError:
            log.warning("job lost to another runner", kind=job.kind, subject=job.subject)
            return
        except Exception as failure:  # noqa: BLE001 - a job that fails must not end the others; it is tried again
            error = type(failure).__name__
            log.warning(
                "job failed; trying again later",
                kind=job.kind,
                subject=job.subject,
                error=error,
                failures=job.failures + 1,
            )
        try:
            with write(self._engine) as connection:
                if done:
                    finish_job(connection, job.job_id, running.lease, self._now())
                else:
                    pause = min(_LONGEST_PAUSE_MS, 1_000 << min(job.failures, 20)) if error else 0
                    give_back_job(connection, job.job_id, running.lease, self._now() + pause, error)
        except (LeaseLostError, OperationalError, InterfaceError) as failure:
            # The lease runs out by itself, and whoever comes next goes on from the saved progress.
            log.warning("job not given back", kind=job.kind, subject=job.subject, error=type(failure).__name__)

    def _renew(self) -> None:
        now = self._now()
        if now - self._renewed_at < self._lease_ms / _RENEWALS_A_LEASE:
            return
        for running in list(self._running.values()):
            if not running.thread.is_alive():
                continue
            try:
                with write(self._engine) as connection:
                    renew_lease(connection, running.job.job_id, running.lease, now, self._lease_ms)
            except LeaseLostError:
                running.stopping.set()
            except (OperationalError, InterfaceError) as error:
                # Saving progress fails too, for as long as another runner may have taken over.
                log.warning("lease not renewed", kind=running.job.kind, error=type(error).__name__)
                return
        self._renewed_at = now

    def _now(self) -> int:
        return now_ms(self._clock)
