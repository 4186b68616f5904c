"""Rows 3, 7 and 8: members that sleep, come and go, and partitions that are added."""

from __future__ import annotations

import contextlib

from fault_schedule import BOTH, KAFKA, Run, Schedule
from fault_services import SESSION_TIMEOUT_MS
from fault_traffic import CLEAN
from kafka.admin import NewPartitions

from streams.kafka import make_admin

_OVERSLEPT = SESSION_TIMEOUT_MS / 1000 + 1.5


def zombie(run: Run) -> None:
    """Stopped between computing a batch and committing it; its successor does the rest; then it wakes up."""
    subject = run.subject
    run.publish(0.6)
    sleeper = subject.start(
        "zombie", point="before the transaction", passing=run.rng.randint(1, 3), how="stop", armed=True
    )
    subject.wait_for_share(0.2)
    subject.arm()
    subject.wait(sleeper.mark.exists, "the zombie sleeps")
    subject.note("the zombie sleeps, with a batch in hand")
    successor = subject.start("successor")
    subject.wait_until_idle()
    before = {number: row.owner_epoch for number, row in subject.positions().items()}
    subject.go_on(sleeper)
    # It notices that it is out of the group and joins again, or it ends and its supervisor would start it again.
    subject.wait(
        lambda: sleeper.ended or all(row.owner_epoch > before[at] for at, row in subject.positions().items()),
        "the zombie is a member again, or has ended",
        check=False,
    )
    if sleeper.ended:
        subject.note(f"the zombie ended with code {sleeper.process.returncode}")
        sleeper.expected_end = True
    run.publish(1.0)
    subject.wait_until_idle()
    subject.stop(successor)


def overslept(run: Run) -> None:
    """Nobody takes over: it wakes up after its session has ended and goes on in the middle of its records."""
    subject = run.subject
    run.publish(0.6)
    sleeper = subject.start()
    subject.wait_for_share(0.2)
    subject.pause(sleeper)
    subject.idle(_OVERSLEPT)
    subject.go_on(sleeper)
    run.publish(0.8)
    with subject.supervised():
        subject.wait_until_idle()


def slept_briefly(run: Run) -> None:
    """Shorter than the session: nobody notices."""
    subject = run.subject
    run.publish(0.6)
    sleeper = subject.start()
    subject.wait_for_share(0.2)
    for _ in range(3):
        subject.pause(sleeper)
        subject.idle(run.rng.uniform(0.5, 2.5))
        subject.go_on(sleeper)
        subject.idle(0.3)


def storm(run: Run) -> None:
    """Three members, six partitions; one of them leaves or dies and another joins every 2 to 5 seconds."""
    subject = run.subject
    run.publish(0.3)
    members = [subject.start(f"member{number}") for number in range(3)]
    subject.wait_for_share(0.2)
    rounds = 6
    for number in range(rounds):
        chosen = run.rng.randrange(3)
        if run.rng.random() < 0.5:
            subject.kill(members[chosen])
        else:
            subject.stop(members[chosen])
        run.publish(0.3 + 0.7 * (number + 1) / rounds, behind=True)
        subject.idle(run.rng.uniform(2.0, 5.0))
        members[chosen] = subject.start(f"member{chosen}")
    subject.wait_until_sent()
    subject.wait_until_idle()
    owners = {row.owner for row in subject.positions().values()}
    run.facts["owners"] = len(owners)


def joins_and_leaves(run: Run) -> None:
    """A second and a third member join a working one and leave again, in order."""
    subject = run.subject
    run.publish(0.4)
    subject.start("first")
    subject.wait_for_share(0.2)
    others = []
    for number in range(2):
        joined = subject.start(f"other{number}")
        others.append(joined)
        run.publish(0.4 + 0.2 * (number + 1))
        subject.wait(lambda joined=joined: subject.owns(joined), "the new one owns a partition")
    for member in others:
        subject.stop(member)
    run.publish(1.0)


def grows(run: Run) -> None:
    """Two partitions become four under a working worker: the new ones are read from their beginning."""
    subject = run.subject
    run.publish(0.4)
    subject.start(environment={"FAULT_METADATA_AGE_MS": "2000"})
    subject.wait_for_share(0.3)
    admin = make_admin(subject.settings.kafka)
    with contextlib.closing(admin):
        admin.create_partitions({subject.settings.kafka.transactions_topic: NewPartitions(4)})
    subject.note("two partitions have become four")
    run.publish(1.0)
    subject.wait_until_idle(150)
    fresh = {number: row for number, row in subject.positions().items() if number >= 2}
    run.expect(len(fresh) == 2, "the new partitions have no positions")
    # From its own beginning: whatever was there before a worker looked has been processed too.
    run.expect(all(row.next_offset for row in fresh.values()), "nothing of the new partitions was processed")


SCHEDULES = [
    Schedule(3, "a zombie with a batch in hand wakes up after its successor", zombie, smoke=(KAFKA,)),
    Schedule(3, "SIGSTOP beyond the session, nobody takes over", overslept),
    Schedule(3, "SIGSTOP within the session, three times", slept_briefly, stacks=BOTH),
    Schedule(7, "members leave, die and join every 2 to 5 s", storm, events=6_000, partitions=6),
    Schedule(7, "two more members join and leave", joins_and_leaves, events=6_000, partitions=6),
    # A card's events may be on two partitions now, and which of the two is processed first is nobody's promise: the
    # case's own order is not compared.
    Schedule(
        8,
        "two partitions become four",
        grows,
        partitions=2,
        mix=CLEAN,
        leave_out=("cases", "histories"),
    ),
]
