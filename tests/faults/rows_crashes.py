"""Row 1: `kill -9` at every named place of the worker's way, and at random times. Row 2: in an alert file's import."""

from __future__ import annotations

from functools import partial

from fault_schedule import BOTH, KAFKA, TANSU, Run, Schedule

# Places that a running worker passes, and those that only a starting one does.
AT_WORK = (
    "after poll",
    "after decoding",
    "before the transaction",
    "position moved, effects not written",
    "before the dead-letter rows",
    "after the dead-letter rows",
    "before COMMIT",
    "after COMMIT",
    "before the Kafka commit",
    "during the Kafka commit",
    "in the middle of a state file",
    "before a checkpoint is registered",
    "after a checkpoint is registered",
)
AT_THE_START = (
    "before the model is loaded",
    "after the model is loaded",
    "in the listener, gained",
    "claimed, before the seek",
    "in the silent replay",
)


def at_work(run: Run, place: str) -> None:
    """Dies at the place, after a fifth of the work; another one goes on."""
    subject = run.subject
    run.publish(0.5)
    member = subject.start(point=place, passing=run.rng.randint(1, 4), armed=True)
    subject.wait_for_share(0.2)
    subject.arm()
    run.publish(0.8)
    subject.wait_for_strike(member)


def at_the_start(run: Run, place: str) -> None:
    """A first one is killed in the middle, a second one dies at the place while it starts; a third one goes on."""
    subject = run.subject
    run.publish(0.5)
    member = subject.start()
    subject.wait_for_share(0.3)
    subject.kill(member)
    passing = run.rng.randint(1, 2) if place in ("claimed, before the seek", "in the silent replay") else 1
    subject.wait_for_strike(subject.start(point=place, passing=passing))


def random_times(run: Run) -> None:
    """Killed again and again, at times that the seed draws, each after progress."""
    subject = run.subject
    run.publish(0.4)
    for number in range(4):
        before = subject.accounted()
        member = subject.start()
        subject.wait_for(before + run.total // 12)
        run.publish(0.4 + 0.12 * (number + 1))
        subject.idle(run.rng.uniform(0.0, 0.6))
        subject.kill(member)


SCHEDULES = [
    *(
        Schedule(
            1,
            f"kill -9: {place}",
            partial(at_work, place=place),
            stacks=BOTH if place in ("after COMMIT", "before COMMIT", "after a checkpoint is registered") else (KAFKA,),
            smoke={"after COMMIT": (KAFKA, TANSU), "position moved, effects not written": (KAFKA,)}.get(place, ()),
        )
        for place in AT_WORK
    ),
    *(Schedule(1, f"kill -9: {place}", partial(at_the_start, place=place)) for place in AT_THE_START),
    Schedule(1, "kill -9 at random times", random_times, stacks=BOTH, events=4_000, smoke=(TANSU,)),
]
