"""A standing job held by a command for as long as it runs, so that no runner of jobs does the same meanwhile."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from fraud.cli.operators import actor
from fraud.clock import now_ms
from fraud.errors import ConflictError
from fraud.store.database import write
from fraud.store.jobs import LeaseLostError, claim_job, ensure_job, give_back_job, renew_lease
from streams.jobs import LEASE_MS, JobKind

_RENEW_SECONDS = LEASE_MS / 3_000


@contextmanager
def held_job(engine: Engine, kind: JobKind, subject: str) -> Iterator[Callable[[Connection], None]]:
    """Hold the job; gives what has to be called in every writing transaction, which raises once the job is lost.

    `ConflictError` when a runner of jobs has it: that one does the same work already.
    """
    lease = f"{actor()[:100]}:{secrets.token_hex(8)}"
    with write(engine) as connection:
        ensure_job(connection, kind, subject, now_ms())
        job = claim_job(connection, [kind], lease, now_ms(), LEASE_MS)
    if job is None:
        message = "a runner of jobs (mimamori jobs run) does this already; see: mimamori jobs list"
        raise ConflictError(message)
    ended = threading.Event()

    def fence(connection: Connection) -> None:
        renew_lease(connection, job.job_id, lease, now_ms(), LEASE_MS)

    def renew() -> None:
        while not ended.wait(_RENEW_SECONDS):
            try:
                with write(engine) as connection:
                    fence(connection)
            except LeaseLostError:
                return
            except (OperationalError, InterfaceError):
                continue  # the work itself meets the same error

    thread = threading.Thread(target=renew, name=f"hold-{kind}")
    thread.start()
    try:
        yield fence
    finally:
        ended.set()
        thread.join()
        try:
            with write(engine) as connection:
                give_back_job(connection, job.job_id, lease, now_ms())
        except (LeaseLostError, OperationalError, InterfaceError):
            pass  # it runs out by itself
