"""The runner of jobs: one runner a job, and a job that outlives its runner."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine

from fraud.settings import Settings
from fraud.store.database import open_engine, read, write
from fraud.store.jobs import JobView, LeaseLostError, ensure_job, list_jobs
from streams.jobs import LEASE_MS, JobContext, JobFunction, JobKind, JobRunner

NOW = 1_675_000_000_000
PATIENCE = 30.0


class MovedClock:
    def __init__(self) -> None:
        self.time = datetime.fromtimestamp(NOW / 1000, UTC)

    def now(self) -> datetime:
        return self.time

    def move(self, milliseconds: int) -> None:
        self.time += timedelta(milliseconds=milliseconds)


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    opened = open_engine(request.getfixturevalue(f"{request.param}_url"))
    yield opened
    opened.dispose()


def make(engine: Engine, *subjects: str) -> None:
    with write(engine) as connection:
        for subject in subjects:
            ensure_job(connection, JobKind.RELAY, subject, NOW)


def only(engine: Engine) -> JobView:
    with read(engine) as connection:
        (job,) = list_jobs(connection)
    return job


def runner(engine: Engine, function: JobFunction, clock: MovedClock, **changes: int) -> JobRunner:
    return JobRunner(engine, Settings(), {JobKind.RELAY: function}, clock, **changes)


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@contextmanager
def running(*runners: JobRunner) -> Iterator[None]:
    threads = [threading.Thread(target=item.run) for item in runners]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for item in runners:
            item.stop()
        for thread in threads:
            thread.join()


def test_of_two_runners_one_wins(engine: Engine) -> None:
    clock = MovedClock()
    make(engine, "outbox")
    inside: list[str] = []

    def function(name: str) -> JobFunction:
        def work(context: JobContext) -> bool:
            inside.append(name)
            context.stopping.wait(PATIENCE)
            return False

        return work

    with running(runner(engine, function("a"), clock), runner(engine, function("b"), clock)):
        eventually(lambda: bool(inside))
        assert only(engine).status == "RUNNING"
        first = only(engine).leased_by
        for _ in range(6):  # renewed in time: it stays
            clock.move(LEASE_MS // 3)
            expected = int(clock.now().timestamp() * 1000) + LEASE_MS
            eventually(lambda wanted=expected: only(engine).leased_until_at == wanted)  # type: ignore[misc]
        assert only(engine).leased_by == first
        assert len(inside) == 1
    # A clean stop gives it back at once.
    assert (only(engine).status, only(engine).leased_by) == ("WAITING", None)


def test_a_runner_that_dies_loses_its_lease_and_another_goes_on_from_its_progress(engine: Engine) -> None:
    clock = MovedClock()
    make(engine, "outbox")
    saved, dead, refused = threading.Event(), threading.Event(), threading.Event()

    def dies(context: JobContext) -> bool:
        with write(context.engine) as connection:
            context.save(connection, {"next": 4})
        saved.set()
        dead.wait(PATIENCE)  # no sign of life: nobody renews its lease, since its runner never looks again
        try:
            with write(context.engine) as connection:
                context.save(connection, {"next": 5})
        except LeaseLostError:
            refused.set()
            raise
        return True

    resumed: list[object] = []

    def finishes(context: JobContext) -> bool:
        resumed.append(context.progress)
        with write(context.engine) as connection:
            context.save(connection, {"next": 9})
        return True

    runner(engine, dies, clock).look()
    assert saved.wait(PATIENCE)
    with running(runner(engine, finishes, clock)):
        assert resumed == []
        clock.move(LEASE_MS)
        eventually(lambda: only(engine).status == "DONE")
    assert resumed == [{"next": 4}]
    dead.set()
    assert refused.wait(PATIENCE)
    assert (only(engine).status, only(engine).progress) == ("DONE", {"next": 9})


def test_a_runner_that_finds_its_lease_gone_stops_its_job(engine: Engine) -> None:
    clock = MovedClock()
    make(engine, "outbox")
    stopped = threading.Event()

    def waits(context: JobContext) -> bool:
        assert context.stopping.wait(PATIENCE)
        stopped.set()
        return False

    frozen = runner(engine, waits, clock)
    frozen.look()
    clock.move(LEASE_MS)
    with running(runner(engine, lambda context: bool(context.stopping.wait(PATIENCE)) and False, clock)):
        eventually(lambda: only(engine).leased_until_at == int(clock.now().timestamp() * 1000) + LEASE_MS)
        frozen.look()
        assert stopped.wait(PATIENCE)


def test_a_job_that_fails_is_tried_again_later_and_later(engine: Engine) -> None:
    clock = MovedClock()
    make(engine, "outbox")
    tries: list[int] = []

    def fails_twice(context: JobContext) -> bool:
        tries.append(int(clock.now().timestamp() * 1000) - NOW)
        if len(tries) < 3:
            raise ValueError
        return True

    with running(runner(engine, fails_twice, clock, lease_ms=90)):
        eventually(lambda: only(engine).failures == 1)
        assert only(engine).error == "ValueError"
        clock.move(1_000)
        eventually(lambda: only(engine).failures == 2)
        assert only(engine).run_after_at == NOW + 1_000 + 2_000
        clock.move(2_000)
        eventually(lambda: only(engine).status == "DONE")
    assert tries == [0, 1_000, 3_000]
    assert only(engine).failures == 0


def test_no_more_jobs_at_once_than_slots(engine: Engine) -> None:
    clock = MovedClock()
    make(engine, "1", "2", "3")
    inside = threading.Semaphore(0)
    go_on = threading.Event()

    def work(context: JobContext) -> bool:
        inside.release()
        go_on.wait(PATIENCE)
        return True

    item = runner(engine, work, clock, slots=2)
    item.look()
    item.look()
    with read(engine) as connection:
        assert [job.status for job in list_jobs(connection)].count("RUNNING") == 2
    with running(item):
        go_on.set()
        for _ in range(3):
            assert inside.acquire(timeout=PATIENCE)
        eventually(lambda: _statuses(engine) == {"DONE"})


def _statuses(engine: Engine) -> set[str]:
    with read(engine) as connection:
        return {job.status for job in list_jobs(connection)}
