"""Rows 16 to 22 and 25: what producers send, and what is done with what cannot be used."""

from __future__ import annotations

from functools import partial

from fault_schedule import BOTH, KAFKA, TANSU, Run, Schedule
from fault_traffic import CLEAN, OUT_OF_ORDER, POISON, Mix, Record, poison_records
from sqlalchemy import select, text

from fraud.settings import PREFIX
from fraud.store.database import read, write
from fraud.store.tables import dead_letter, detection

# Poison that is nothing but a dead letter, whatever the settings.
_HOPELESS = ("cut off", "empty", "not an object", "no time", "no card", "a time in words", "another key")


def _letters(run: Run) -> list[tuple[int, int, str]]:
    with read(run.subject.engine) as connection:
        rows = connection.execute(select(dead_letter.c.partition, dead_letter.c.offset, dead_letter.c.error_class))
        return sorted((row.partition, row.offset, row.error_class) for row in rows)


def every_poison(run: Run) -> None:
    """Each kind of unusable record, many times, between good ones; the worker dies in the middle of it once."""
    subject = run.subject
    good = [record for record in run.traffic if record.value is not None and b'"event_id":"s' in record.value]
    for number in range(15):
        at = run.rng.randrange(len(run.traffic))
        run.traffic[at:at] = poison_records(run.rng.choice(good), f"poison{number}", run.schedule.partitions)
    run.publish(0.6)
    first = subject.start()
    subject.wait_for_share(0.3)
    subject.kill(first)
    run.facts["kinds"] = len(POISON)


def flood(run: Run) -> None:
    """Nothing but poison: the worker stops and stays stopped until somebody decides; nothing is drained."""
    subject = run.subject
    run.publish(0.5)
    member = subject.start()
    subject.wait_until_idle()
    before = len(_letters(run))
    good = next(record for record in run.traffic if record.value is not None and b'"event_id":"s' in record.value)
    rubbish = [
        record
        for number in range(3_000 // len(POISON))
        for name, record in zip(POISON, poison_records(good, f"flood{number}", run.schedule.partitions), strict=True)
        if name in _HOPELESS
    ] * 4
    subject.send(rubbish)
    member.expected_end = True
    subject.wait(lambda: member.ended, "the circuit breaker stops the worker")
    run.expect(member.process.returncode not in (0, None), "the worker ended as if all were well")
    run.expect(subject.said(member, "cannot be processed"), "the worker does not say why it stopped")
    again = subject.start()
    again.expected_end = True
    subject.wait(lambda: again.ended, "it stops again")
    drained = len(_letters(run)) - before
    run.facts["drained"] = drained
    run.expect(drained < len(rubbish) * 0.75, f"{drained} of {len(rubbish)} bad records went to dead letters")
    # The decision: let them through.
    subject.start(environment={f"{PREFIX}STREAM__CIRCUIT_BREAKER_RATIO": "1.0"})
    run.publish(1.0)


# On PostgreSQL a full disk is an error of its own class, and a refusal is another one.
_REFUSE = {
    "full": "RAISE EXCEPTION 'planted: no space left' USING ERRCODE = '53100'",
    "refused": "RAISE EXCEPTION 'planted: refused'",
}


def letters_refused(run: Run, how: str) -> None:
    """The dead letters' table takes nothing: no position moves past a record that cannot be stored."""
    subject = run.subject
    run.publish(0.4)
    member = subject.start()
    subject.wait_for_share(0.3)
    subject.wait_until_idle()
    before = _letters(run)
    with write(subject.engine) as connection:
        for statement in (
            f"CREATE FUNCTION fault_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {_REFUSE[how]}; END $$",
            "CREATE TRIGGER fault_refuse BEFORE INSERT ON dead_letter FOR EACH ROW EXECUTE FUNCTION fault_refuse()",
        ):
            connection.exec_driver_sql(statement)
    subject.note("dead letters are refused from now on")
    run.publish(1.0)
    with subject.supervised():
        subject.idle(8.0)
        run.expect(_letters(run) == before, "a dead letter was stored after all")
        _nothing_moved_past_a_refusal(run)
        with write(subject.engine) as connection:
            connection.execute(text("DROP TRIGGER fault_refuse ON dead_letter"))
        subject.note("dead letters are taken again")
        subject.wait_until_idle()
    if how == "full":
        run.expect(not member.ended, "the worker ended because a disk was full for a while")


def _nothing_moved_past_a_refusal(run: Run) -> None:
    """The counters, which are moved with the position, know of no dead letter that is not there."""
    rows = len(_letters(run))
    counted = sum(row.dead_lettered + row.quarantined for row in run.subject.positions().values())
    run.expect(counted == rows, f"{counted} dead letters are counted and {rows} are there")


def replayed_twice(run: Run) -> None:
    """Dead letters are published again, each twice, between live records: they come out as they did, once each."""
    subject = run.subject
    run.publish(0.5)
    subject.start()
    subject.wait_until_idle()
    chosen = [item for item in _letters(run) if item[2] in ("MISSING_FIELD", "INVALID_FIELD", "UNKNOWN_SCHEMA_VERSION")]
    chosen = run.rng.sample(chosen, min(3, len(chosen)))
    run.expect(chosen, "there is nothing to replay")
    run.publish(0.8, behind=True)
    _replay(run, chosen * 2)
    subject.wait_until_sent()
    subject.wait_until_idle()
    run.facts["replayed"] = 2 * len(chosen)


def replayed_after_the_fix(run: Run) -> None:
    """Records were too large, the limit is raised, they are replayed twice: processed once, and a duplicate once."""
    subject = run.subject
    small = {f"{PREFIX}STREAM__MAX_RECORD_BYTES": "2048"}
    large = [
        record._replace(value=record.value[:-1] + b',"note":"' + b"x" * 3_000 + b'"}')
        for record in run.rng.sample(run.traffic, 8)
        if record.value is not None
    ]
    run.traffic[100:100] = large
    run.traffic = [record for record in run.traffic if record in large or not _same_event(record, large)]
    run.publish(0.5)
    first = subject.start(environment=small)
    subject.wait_until_idle()
    subject.stop(first)
    chosen = [item for item in _letters(run) if item[2] == "TOO_LARGE"]
    run.expect(len(chosen) == len(large), f"{len(chosen)} of {len(large)} records were too large")
    chosen = chosen[:3]
    before = {number: (row.processed, row.duplicates) for number, row in subject.positions().items()}
    subject.start()
    run.facts["replayed"] = 2 * len(chosen)
    _replay(run, chosen * 2)
    subject.wait_until_idle()
    after = {number: (row.processed, row.duplicates) for number, row in subject.positions().items()}
    gained = [sum(after[number][item] - before[number][item] for number in after) for item in (0, 1)]
    run.expect(gained == [len(chosen), len(chosen)], f"processed and duplicates have grown by {gained}")


def _same_event(record: Record, others: list[Record]) -> bool:
    return any(record.value is not None and record.value[:30] == other.value[:30] for other in others if other.value)


def _replay(run: Run, chosen: list[tuple[int, int, str]]) -> None:
    for partition, offset, _ in chosen:
        code = run.subject.command("dead-letters", "replay", str(partition), str(offset), "--reason", "a test")
        run.expect(code == 0, f"the replay of {partition}/{offset} ended with code {code}")
        run.subject.published_by_others += 1


def killed_in_between(run: Run) -> None:
    """Whatever is in the traffic: the worker is killed twice while it works through it."""
    subject = run.subject
    run.publish(0.6)
    for share in (0.25, 0.5):
        member = subject.start()
        subject.wait_for_share(share)
        subject.kill(member)


def duplicates_beyond_the_window(run: Run) -> None:
    """The window of event ids is small and the duplicates are far apart: effects are there once all the same."""
    subject = run.subject
    far = [
        record for record in run.traffic[: len(run.traffic) // 4] if record.value is not None and run.rng.random() < 0.3
    ]
    run.traffic.extend(far)
    killed_in_between(run)
    run.publish(1.0)
    subject.start()
    subject.wait_until_idle()
    with read(subject.engine) as connection:
        events = [row.event_id for row in connection.execute(select(detection.c.event_id))]
    run.expect(len(events) == len(set(events)), "a detection is there twice")


def other_builds(run: Run) -> None:
    """Producers of newer and older builds send side by side; what is of an unknown major version is parked."""
    killed_in_between(run)
    run.publish(1.0)
    subject = run.subject
    subject.start()
    subject.wait_until_idle()
    parked = sum(1 for item in _letters(run) if item[2] == "UNKNOWN_SCHEMA_VERSION")
    run.facts["parked"] = parked
    run.expect(parked, "no record of an unknown major version was parked")


SCHEDULES = [
    Schedule(16, "poison of every kind", every_poison, stacks=BOTH, smoke=(TANSU,)),
    Schedule(17, "nothing but poison", flood, mix=CLEAN, events=1_500),
    Schedule(18, "dead letters cannot be stored: disk full", partial(letters_refused, how="full"), smoke=(KAFKA,)),
    Schedule(18, "dead letters cannot be stored: refused", partial(letters_refused, how="refused")),
    Schedule(19, "dead letters replayed twice between live records", replayed_twice),
    Schedule(19, "dead letters replayed twice after the fix", replayed_after_the_fix, mix=CLEAN, compare=False),
    Schedule(
        20,
        "a third of the records twice, ids reused",
        killed_in_between,
        stacks=BOTH,
        mix=Mix(duplicate=0.3, reused_id=0.05),
    ),
    Schedule(
        20,
        "duplicates beyond the window",
        duplicates_beyond_the_window,
        stream={"dedupe_window": 200},
    ),
    # Detections of one commit are folded into their case by event time, those of several commits in log order.
    Schedule(
        21,
        "late by hours and days, corrections before what they correct",
        killed_in_between,
        events=5_000,
        mix=OUT_OF_ORDER,
        leave_out=("cases", "histories"),
    ),
    Schedule(
        22,
        "stamps of the future and the past",
        killed_in_between,
        mix=Mix(wrong_clock=0.1),
        leave_out=("cases", "histories"),
    ),
    Schedule(25, "new, removed and unknown fields and versions", other_builds, mix=Mix(schema_change=0.1)),
]
