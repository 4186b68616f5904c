"""Jobs as rows that one runner at a time holds on a lease. Who lost the lease can neither save nor finish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, or_, select, update

from fraud.errors import ConflictError
from fraud.store.statements import insert_ignore
from fraud.store.tables import job


class JobStatus(StrEnum):
    """Where a job stands. One that failed is WAITING again, with `failures` and `run_after_at`."""

    WAITING = "WAITING"
    RUNNING = "RUNNING"
    DONE = "DONE"


class LeaseLostError(ConflictError):
    """Somebody else has the job now: stop, and write nothing more for it."""

    code = "LEASE_LOST"


@dataclass(frozen=True, slots=True)
class JobView:
    """A job. `leased_by` is unique for each claim; `failures` are those in a row, `error` the last one's class."""

    job_id: int
    kind: str
    subject: str
    status: str
    progress: dict[str, Any]
    leased_by: str | None
    leased_until_at: int | None
    created_at: int
    finished_at: int | None
    run_after_at: int
    failures: int
    error: str | None


def ensure_job(connection: Connection, kind: str, subject: str, now: int) -> None:
    """Make a job, unless there is one of this kind and subject already."""
    row = {
        "kind": kind,
        "subject": subject,
        "status": JobStatus.WAITING.value,
        "progress": {},
        "created_at": now,
        "run_after_at": now,
    }
    insert_ignore(connection, job, [row], ["kind", "subject"])


def claim_job(connection: Connection, kinds: Sequence[str], lease: str, now: int, lease_ms: int) -> JobView | None:
    """Lease the oldest job of these kinds that waits or whose lease has run out; None when there is none.

    `lease` names this claim and no other. Times are the runners' own: their clocks must agree far better than a lease.
    """
    waiting = and_(job.c.status == JobStatus.WAITING.value, job.c.run_after_at <= now)
    deserted = and_(job.c.status == JobStatus.RUNNING.value, job.c.leased_until_at <= now)
    statement = (
        select(job.c.job_id)
        .where(job.c.kind.in_(kinds), or_(waiting, deserted))
        .order_by(job.c.run_after_at, job.c.job_id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    job_id = connection.execute(statement).scalar_one_or_none()
    if job_id is None:
        return None
    changes = {"status": JobStatus.RUNNING.value, "leased_by": lease, "leased_until_at": now + lease_ms}
    connection.execute(update(job).where(job.c.job_id == job_id).values(**changes))
    return JobView(**connection.execute(select(job).where(job.c.job_id == job_id)).mappings().one())


def renew_lease(connection: Connection, job_id: int, lease: str, now: int, lease_ms: int) -> None:
    """Keep a job for longer; `LeaseLostError` when somebody else has it."""
    _change(connection, job_id, lease, leased_until_at=now + lease_ms)


def save_progress(connection: Connection, job_id: int, lease: str, progress: Mapping[str, Any]) -> None:
    """Store how far a job is, in the transaction of the work itself; `LeaseLostError` when somebody else has it.

    A job that gets on has not failed: `failures` begins anew.
    """
    _change(connection, job_id, lease, progress=dict(progress), failures=0, error=None)


def finish_job(connection: Connection, job_id: int, lease: str, now: int) -> None:
    """The job is done, for ever; `LeaseLostError` when somebody else has it."""
    changes = {"status": JobStatus.DONE.value, "finished_at": now, "failures": 0, "error": None}
    _change(connection, job_id, lease, leased_by=None, leased_until_at=None, **changes)


def give_back_job(connection: Connection, job_id: int, lease: str, run_after_at: int, error: str | None = None) -> None:
    """Let the job wait until `run_after_at` for any runner, after `error` or for a clean stop."""
    changes: dict[str, Any] = {"status": JobStatus.WAITING.value, "run_after_at": run_after_at}
    if error is not None:
        changes |= {"failures": job.c.failures + 1, "error": error[:64]}
    _change(connection, job_id, lease, leased_by=None, leased_until_at=None, **changes)


def list_jobs(connection: Connection) -> list[JobView]:
    """All jobs, by kind and subject."""
    return [JobView(**row) for row in connection.execute(select(job).order_by(job.c.kind, job.c.subject)).mappings()]


def _change(connection: Connection, job_id: int, lease: str, **changes: Any) -> None:
    held: ColumnElement[bool] = and_(
        job.c.job_id == job_id, job.c.leased_by == lease, job.c.status == JobStatus.RUNNING.value
    )
    if connection.execute(update(job).where(held).values(**changes)).rowcount != 1:
        message = f"job {job_id} has another runner now"
        raise LeaseLostError(message)
