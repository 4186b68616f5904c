"""Negative controls: with each of these bugs planted a named oracle must turn red, or the harness proves nothing."""

from __future__ import annotations

from fault_schedule import KAFKA, Run, Schedule
from fault_traffic import CANARIES, Mix, Record
from sqlalchemy import text

from fraud.store.database import write

_POISONED = Mix(poison=0.1)


def _dies_in_the_gap(run: Run, bug: str) -> None:
    """A worker with the bug dies in the gap that the bug opens; one without it goes on."""
    subject = run.subject
    run.publish(0.5)
    member = subject.start(bug=bug)
    subject.wait_for_share(0.2)
    member.expected_end = True
    subject.arm()
    run.publish(0.8)
    subject.wait_for_strike(member)


def position_before_effects(run: Run) -> None:
    """Position committed before processing."""
    _dies_in_the_gap(run, "position before effects")


def letters_after_the_position(run: Run) -> None:
    """Dead letters written after the position has moved."""
    _dies_in_the_gap(run, "dead letters after the position")


def auto_commit(run: Run) -> None:
    """Two workers one after the other, each from where the client's own commit was: behind what is done."""
    subject = run.subject
    run.publish(0.6)
    first = subject.start(bug="auto-commit")
    subject.wait_for_share(0.3)
    subject.kill(first)
    subject.start(bug="auto-commit")
    run.publish(1.0)
    subject.wait(lambda: not any(subject.lags().values()), "every partition has lag 0")


def no_unique_key(run: Run) -> None:
    """An event comes twice, beyond the window of event ids, and nothing keeps its detection from being there twice."""
    subject = run.subject
    with write(subject.engine) as connection:
        found = connection.execute(
            text("SELECT conname FROM pg_constraint WHERE conrelid = 'detection'::regclass AND contype = 'u'")
        )
        for name in found.scalars().all():
            connection.exec_driver_sql(f'ALTER TABLE detection DROP CONSTRAINT "{name}" CASCADE')
    run.traffic.extend(run.traffic[: len(run.traffic) // 2])
    run.publish(1.0)
    subject.start(bug="no unique key")
    subject.wait_until_idle()


def no_compare_and_set(run: Run) -> None:
    """A zombie with a batch in hand wakes up after its successor, and its commit is taken."""
    subject = run.subject
    run.publish(0.6)
    zombie = subject.start("zombie", point="before the transaction", how="stop", armed=True, bug="no compare-and-set")
    subject.wait_for_share(0.2)
    subject.arm()
    subject.wait(zombie.mark.exists, "the zombie sleeps")
    successor = subject.start("successor", bug="no compare-and-set")
    subject.wait_until_idle()
    steps = subject.steps_taken()
    subject.go_on(zombie)
    zombie.expected_end = True
    subject.wait(lambda: zombie.ended or subject.steps_taken() > steps, "the zombie has written")
    subject.idle(1.0)
    subject.kill(zombie)
    subject.stop(successor)
    run.concluded = True


def swallowed_exception(run: Run) -> None:
    """A batch raises, and is left out."""
    subject = run.subject
    run.publish(0.5)
    member = subject.start(bug="swallowed exception")
    subject.wait_for_share(0.2)
    subject.arm()
    run.publish(1.0)
    subject.wait_until_idle()
    run.expect(member.mark.exists(), "no batch was left out: the control proves nothing")


def payload_in_plain_text(run: Run) -> None:
    """A record of rubbish holds a card number, and its dead letter keeps the beginning of it."""
    subject = run.subject
    key = run.traffic[0].key
    run.traffic[50:50] = [Record(key, f"{number} is no JSON".encode()) for number in CANARIES]
    run.publish(1.0)
    subject.start(bug="payload in plain text")
    subject.wait_until_idle()


SCHEDULES = [
    Schedule(0, "position committed before processing", position_before_effects, red=("O3",), smoke=(KAFKA,)),
    Schedule(
        0,
        "dead letters written after the position",
        letters_after_the_position,
        mix=_POISONED,
        red=("O1",),
    ),
    Schedule(0, "auto-commit instead of the position", auto_commit, red=("O1", "O4")),
    Schedule(0, "no unique key", no_unique_key, red=("O2",), stream={"dedupe_window": 100}),
    Schedule(0, "no compare-and-set", no_compare_and_set, red=("O4", "O6")),
    Schedule(0, "swallowed exception", swallowed_exception, red=("O1",), smoke=(KAFKA,)),
    Schedule(0, "payload in plain text", payload_in_plain_text, red=("O8",)),
]
