"""Rows 23 and 24: no space for the worker's files, few file descriptors, and a processor that others use."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

from fault_schedule import BOTH, KAFKA, Run, Schedule
from fault_traffic import ORDINARY

from streams.embedded import die_with_parent

_FILE_BYTES = 24 * 1024  # a snapshot or an archive file is larger


def no_space(run: Run) -> None:
    """The worker can write no snapshot and no archive file: it goes on as long as it may, and a restart finds all."""
    subject = run.subject
    run.publish(0.5)
    first = subject.start(limits={"RLIMIT_FSIZE": _FILE_BYTES})
    subject.wait_for_share(0.3)
    subject.idle(3.0)
    run.expect(subject.said(first, "checkpoint not written"), "the worker does not say that it can write no checkpoint")
    run.publish(0.8)
    subject.wait_for_share(0.4)
    subject.stop(first)


def few_descriptors(run: Run) -> None:
    """Sixty-four file descriptors are enough."""
    subject = run.subject
    run.publish(0.5)
    subject.start(limits={"RLIMIT_NOFILE": 64})
    subject.wait_for_share(0.3)
    run.publish(1.0)
    subject.wait_until_idle()


@contextlib.contextmanager
def burners(number: int) -> Iterator[None]:
    """Processes that do nothing but use the processor."""
    started = [
        subprocess.Popen([sys.executable, "-c", "while True: pass"], preexec_fn=die_with_parent)  # noqa: PLW1509
        for _ in range(number)
    ]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def starved(run: Run) -> None:
    """Six other processes want the same two cores: slower, and nothing else."""
    subject = run.subject
    run.publish(0.4)
    subject.start()
    subject.wait_for_share(0.2)
    with burners(6):
        run.publish(0.9)
        subject.idle(8.0)
        run.expect(subject.probe(subject.running[0], "live") is not False, "the liveness probe failed")
        subject.wait_for_share(0.9, 180)


SCHEDULES = [
    Schedule(23, "no space for snapshots and archive", no_space, stacks=(KAFKA,)),
    Schedule(24, "few file descriptors", few_descriptors, stacks=BOTH, mix=ORDINARY),
    Schedule(24, "six processes on the same cores", starved),
]
