"""Row 28: SIGTERM in every phase, twice, and with the broker or the database away. It ends within 25 s."""

from __future__ import annotations

import signal
from functools import partial

from fault_proxy import HALF_OPEN
from fault_schedule import BOTH, KAFKA, Run, Schedule
from fault_subject import Member

# Places where the signal arrives exactly there: the process is stopped, gets SIGTERM, and goes on.
AT_WORK = (
    "after poll",
    "before the transaction",
    "before COMMIT",
    "after COMMIT",
    "before the Kafka commit",
    "before a checkpoint is registered",
)
AT_THE_START = (
    "before the model is loaded",
    "in the listener, gained",
    "claimed, before the seek",
    "in the silent replay",
)


def _stop_at_its_point(run: Run, member: Member, signals: int = 1) -> None:
    subject = run.subject
    subject.wait(member.mark.exists, f"{member.name} is where the signal shall reach it")
    member.process.send_signal(signal.SIGTERM)
    subject.go_on(member)
    took = subject.stop(member, signals=signals)
    run.facts["longest_stop_seconds"] = round(max(took, run.facts.get("longest_stop_seconds", 0.0)), 1)


def in_each_phase(run: Run, places: tuple[str, ...], signals: int) -> None:
    """One worker after the other ends at another place, each in order and in time."""
    subject = run.subject
    starting = places == AT_THE_START
    for number, place in enumerate(places):
        run.publish(0.2 + 0.6 * (number + 1) / len(places))
        if starting:  # so that there is something to replay
            before = subject.accounted()
            working = subject.start("working", environment={"MIMAMORI_STREAM__CHECKPOINT_SECONDS": "600"})
            subject.wait_for(before + 20)
            subject.kill(working)
        _stop_at_its_point(run, subject.start(point=place, how="stop"), signals)


def with_the_broker_away(run: Run) -> None:
    """SIGTERM while the broker is dead."""
    subject, kafka = run.subject, run.services.kafka
    run.publish(0.6)
    member = subject.start()
    subject.wait_for_share(0.2)
    kafka.kill()
    subject.idle(1.0)
    run.facts["longest_stop_seconds"] = round(subject.stop(member, codes=(0, 1)), 1)
    kafka.start()


def with_the_database_away(run: Run, how: str) -> None:
    """SIGTERM while the database is dead or its answers are lost: it may end with an error, and ends in time."""
    subject, database = run.subject, run.services.postgresql
    run.publish(0.6)
    member = subject.start()
    subject.wait_for_share(0.2)
    if how == "dead":
        database.kill()
    else:
        assert subject.database_proxy is not None
        subject.database_proxy.set(HALF_OPEN)
    run.publish(0.8)
    subject.idle(2.0)
    run.facts["longest_stop_seconds"] = round(subject.stop(member, codes=(0, 1)), 1)
    if how == "dead":
        database.start()
    else:
        assert subject.database_proxy is not None
        subject.database_proxy.set(reset=True)


SCHEDULES = [
    Schedule(
        28, "SIGTERM in each phase of the work", partial(in_each_phase, places=AT_WORK, signals=1), stacks=(KAFKA,)
    ),
    Schedule(28, "SIGTERM in each phase of the start", partial(in_each_phase, places=AT_THE_START, signals=1)),
    Schedule(28, "SIGTERM three times in each phase", partial(in_each_phase, places=AT_WORK, signals=2), stacks=BOTH),
    Schedule(28, "SIGTERM with the broker dead", with_the_broker_away),
    Schedule(28, "SIGTERM with the database dead", partial(with_the_database_away, how="dead")),
    Schedule(28, "SIGTERM with the database deaf", partial(with_the_database_away, how="deaf"), proxied=("database",)),
]
