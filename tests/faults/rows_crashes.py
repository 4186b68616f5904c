"""Row 1: `kill -9` at every named place of the worker's way, and at random times. Row 2: in an alert file's import."""

from __future__ import annotations

from functools import partial

from fault_schedule import BOTH, KAFKA, Run, Schedule
from sqlalchemy import func, select

from fraud.store.database import read
from fraud.store.tables import exposed_card

# Places that are passed once in seconds: a second passing may never come.
SELDOM = (
    "before the Kafka commit",
    "during the Kafka commit",
    "archive file written, not committed",
    "after the archive's commit",
    "in the middle of a state file",
    "before a checkpoint is registered",
    "after a checkpoint is registered",
)
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
    *SELDOM,
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
    member = subject.start(point=place, passing=1 if place in SELDOM else run.rng.randint(1, 4), armed=True)
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
    for number in range(4):
        run.publish(0.4 + 0.15 * number)
        before = subject.accounted()
        member = subject.start()
        subject.wait_for(before + (subject.published - before) // 5)
        subject.idle(run.rng.uniform(0.0, 0.6))
        subject.kill(member)


def alert_file(run: Run) -> None:
    """A second compromise event is imported while the stream runs; the import dies twice and is then repeated."""
    subject = run.subject
    file = run.services.alert_file()
    run.publish(0.4)
    subject.start()
    subject.wait_for_share(0.3)
    dates = run.services.simulation.parameters.dates
    window = ("--from", dates.window_first.isoformat(), "--to", dates.window_last.isoformat())
    what = ("--name", "Second", *window, "--elements", "pan,expiry", "--source", "ACQUIRER")
    run.expect(subject.command("exposure", "create", "second", *what) == 0, "the event could not be recorded")
    for place in ("in the middle of an alert file", "before an alert file is committed"):
        code = subject.command("exposure", "import", "second", str(file), point=place)
        run.expect(code == -9, f"the import should have died, and ended with code {code}")
        run.expect(_exposed(run) == 0, "an import that died has left cards behind")
    run.publish(0.7, behind=True)
    run.expect(subject.command("exposure", "import", "second", str(file)) == 0, "the import failed")
    once = _exposed(run)
    run.expect(once == len(run.services.simulation.exposed_cards), f"{once} cards are exposed")
    run.expect(subject.command("exposure", "import", "second", str(file)) == 0, "the second import failed")
    run.expect(_exposed(run) == once, "the same file again has changed something")
    subject.wait_until_sent()


def _exposed(run: Run) -> int:
    mine = exposed_card.c.compromise_event_id == "second"
    with read(run.subject.engine) as connection:
        return connection.execute(select(func.count()).where(mine)).scalar_one()


SCHEDULES = [
    *(
        Schedule(
            1,
            f"kill -9: {place}",
            partial(at_work, place=place),
            stacks=BOTH if place in ("after COMMIT", "before COMMIT", "after a checkpoint is registered") else (KAFKA,),
            smoke=BOTH if place == "after COMMIT" else (),
        )
        for place in AT_WORK
    ),
    *(Schedule(1, f"kill -9: {place}", partial(at_the_start, place=place)) for place in AT_THE_START),
    Schedule(1, "kill -9 at random times", random_times, stacks=BOTH, events=4_000),
    Schedule(2, "kill -9 in the middle of an alert file (look-back: not built)", alert_file, stacks=BOTH),
]
