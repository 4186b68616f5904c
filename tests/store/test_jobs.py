"""Leases of jobs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Engine

from fraud.store.database import read, write
from fraud.store.jobs import (
    JobView,
    LeaseLostError,
    claim_job,
    ensure_job,
    finish_job,
    give_back_job,
    list_jobs,
    renew_lease,
    save_progress,
)

NOW = 1_675_000_000_000
LEASE_MS = 30_000


def make(engine: Engine, *subjects: str) -> None:
    with write(engine) as connection:
        for subject in subjects:
            ensure_job(connection, "LOOKBACK", subject, NOW)


def claim(engine: Engine, lease: str, now: int = NOW) -> JobView | None:
    with write(engine) as connection:
        return claim_job(connection, ["LOOKBACK"], lease, now, LEASE_MS)


def held(engine: Engine, lease: str, now: int = NOW) -> JobView:
    job = claim(engine, lease, now)
    assert job is not None
    return job


def only(engine: Engine) -> JobView:
    with read(engine) as connection:
        (job,) = list_jobs(connection)
    return job


def test_a_job_is_made_once_and_claimed_once(engine: Engine) -> None:
    make(engine, "event-1")
    make(engine, "event-1")
    job = held(engine, "a")
    assert (job.status, job.leased_until_at, job.progress) == ("RUNNING", NOW + LEASE_MS, {})
    assert claim(engine, "b", NOW + LEASE_MS - 1) is None


def test_jobs_of_other_kinds_are_left_alone(engine: Engine) -> None:
    make(engine, "event-1")
    with write(engine) as connection:
        assert claim_job(connection, ["RELAY"], "a", NOW, LEASE_MS) is None


def test_of_runners_at_once_each_job_has_one(engine: Engine) -> None:
    make(engine, *(f"event-{number}" for number in range(5)))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda number: claim(engine, f"runner-{number}"), range(8)))
    claimed = [job.subject for job in found if job is not None]
    assert len(claimed) == len(set(claimed))
    while (job := claim(engine, "last")) is not None:
        claimed.append(job.subject)
    assert sorted(claimed) == [f"event-{number}" for number in range(5)]


def test_a_deserted_job_goes_on_from_its_progress_and_its_first_runner_is_locked_out(engine: Engine) -> None:
    make(engine, "event-1")
    first = held(engine, "a")
    with write(engine) as connection:
        save_progress(connection, first.job_id, "a", {"done": 3})
    second = held(engine, "b", NOW + LEASE_MS)
    assert second.progress == {"done": 3}
    for step in (
        lambda connection: save_progress(connection, first.job_id, "a", {"done": 4}),
        lambda connection: renew_lease(connection, first.job_id, "a", NOW, LEASE_MS),
        lambda connection: finish_job(connection, first.job_id, "a", NOW),
        lambda connection: give_back_job(connection, first.job_id, "a", NOW),
    ):
        with pytest.raises(LeaseLostError), write(engine) as connection:
            step(connection)
    assert only(engine).progress == {"done": 3}
    assert only(engine).leased_by == "b"


def test_a_renewed_lease_holds(engine: Engine) -> None:
    make(engine, "event-1")
    job = held(engine, "a")
    with write(engine) as connection:
        renew_lease(connection, job.job_id, "a", NOW + LEASE_MS - 1, LEASE_MS)
    assert claim(engine, "b", NOW + LEASE_MS) is None


def test_a_failed_job_waits_and_counts_until_it_gets_on(engine: Engine) -> None:
    make(engine, "event-1")
    job = held(engine, "a")
    with write(engine) as connection:
        give_back_job(connection, job.job_id, "a", NOW + 500, "ValueError")
    assert claim(engine, "b", NOW + 499) is None
    again = held(engine, "b", NOW + 500)
    assert (again.failures, again.error) == (1, "ValueError")
    with write(engine) as connection:
        save_progress(connection, job.job_id, "b", {"done": 1})
    assert (only(engine).failures, only(engine).error) == (0, None)


def test_what_is_done_stays_done(engine: Engine) -> None:
    make(engine, "event-1")
    job = held(engine, "a")
    with write(engine) as connection:
        finish_job(connection, job.job_id, "a", NOW + 5)
    make(engine, "event-1")
    assert claim(engine, "b", NOW + 10 * LEASE_MS) is None
    assert (only(engine).status, only(engine).finished_at, only(engine).leased_by) == ("DONE", NOW + 5, None)
