"""Rows 4, 5, 6, 9 and 10: the broker dies, is out of reach, forgets the group, or no longer has the records."""

from __future__ import annotations

import contextlib
from functools import partial

from fault_proxy import FINE, HALF_OPEN, Weather
from fault_schedule import BOTH, KAFKA, Run, Schedule
from fault_traffic import CLEAN
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from oracles import Readiness

from streams.kafka import create_topics, make_admin

# A member may say that it is ready for as long as its client has not noticed anything.
_NOTICED_SECONDS = 20.0


def broker_dies(run: Run, how: str) -> None:
    """Dies or is shut down in the middle of the work, while the producer goes on, and comes back."""
    subject, kafka = run.subject, run.services.kafka
    run.publish(0.4)
    subject.start()
    subject.wait_for_share(0.2)
    run.publish(0.8, behind=True)
    getattr(kafka, how)()
    subject.note(f"broker: {how}")
    subject.idle(run.rng.uniform(0.5, 4.0))
    kafka.start()
    subject.note("broker: started")
    subject.wait_until_sent()


def broker_dies_twice(run: Run) -> None:
    """Dies, comes back, and dies again before everybody has found back."""
    subject, kafka = run.subject, run.services.kafka
    run.publish(0.4)
    subject.start()
    subject.wait_for_share(0.2)
    for _ in range(2):
        kafka.kill()
        subject.idle(run.rng.uniform(0.2, 1.0))
        kafka.start()
        subject.note("broker: killed and started")
        subject.idle(run.rng.uniform(0.5, 3.0))


def broker_dies_during_commit(run: Run) -> None:
    """The worker's offset commit is on its way when the broker goes."""
    subject, kafka = run.subject, run.services.kafka
    run.publish(0.4)
    member = subject.start(point="before the Kafka commit", how="stop", armed=True)
    subject.wait_for_share(0.2)
    subject.arm()
    run.publish(0.6)
    subject.wait(member.mark.exists, "the worker is about to commit its offsets")
    kafka.kill()
    subject.go_on(member)
    subject.idle(2.0)
    kafka.start()


def _watch(run: Run, *, true: bool | None) -> None:
    """Ask the probes of the worker that runs now."""
    run.subject.check()
    member = run.subject.running[-1]
    said, live = run.subject.probe(member, "ready"), run.subject.probe(member, "live")
    if said is not None:
        run.readiness.append(Readiness(float(len(run.readiness)), said, true))
    run.subject.note(f"ready: {said}, live: {live}")
    run.expect(live is True, f"the liveness probe said {live} while the broker was away")


def broker_out_of_reach(run: Run, weather: Weather, seconds: float, *, noticed: bool) -> None:
    """The network to the broker changes under a working worker: it stays alive, says so, and goes on afterwards."""
    subject, proxy = run.subject, run.services.kafka_proxy
    run.publish(0.4)
    member = subject.start()
    subject.wait_for_share(0.2)
    subject.wait(lambda: subject.probe(member, "ready"), "it is ready")
    with subject.supervised():
        proxy.set(weather)
        subject.note(f"network: {weather}")
        run.publish(0.8)
        subject.idle(seconds)
        for _ in range(3):
            _watch(run, true=False if noticed else None)
            subject.idle(0.5)
        proxy.set(FINE, reset=weather.requests_lost or weather.answers_lost)
        subject.note("network: fine")
        subject.wait(lambda: any(subject.probe(member, "ready") for member in subject.running), "it is ready again")
    run.expect(not subject.restarts, f"the worker ended {subject.restarts} times because the broker was away")


def group_deleted(run: Run) -> None:
    """What the broker knows of the group is gone: the position in the database goes on alone."""
    subject = run.subject
    run.publish(0.5)
    first = subject.start()
    subject.wait_for_share(0.3)
    subject.stop(first)
    with contextlib.closing(make_admin(subject.settings.kafka)) as admin:
        admin.delete_groups([subject.settings.kafka.group_id])
    subject.note("group deleted")


def offsets_wrong(run: Run, *, ahead: bool) -> None:
    """The broker's offsets of the group are wrong: too high, or back at the beginning."""
    subject, kafka = run.subject, run.subject.settings.kafka
    run.publish(0.5)
    first = subject.start()
    subject.wait_for_share(0.3)
    subject.stop(first)
    at = subject.positions()
    options = {"group_id": kafka.group_id, "bootstrap_servers": kafka.bootstrap_servers, "enable_auto_commit": False}
    with contextlib.closing(KafkaConsumer(**options)) as other:
        places = {
            TopicPartition(kafka.transactions_topic, number): OffsetAndMetadata(
                row.next_offset + 50 if ahead else 0, "", -1
            )
            for number, row in at.items()
        }
        other.assign(list(places))
        other.commit(places, timeout_ms=10_000)
    subject.note(f"the broker's offsets are {'ahead' if ahead else 'at the beginning'}")


def topic_made_anew(run: Run) -> None:
    """Deleted and made again under the same name: the worker refuses, and says why."""
    subject, kafka = run.subject, run.subject.settings.kafka
    run.publish(1.0)
    first = subject.start()
    subject.wait_until_idle()
    subject.stop(first)
    before = {number: row.next_offset for number, row in subject.positions().items()}
    with contextlib.closing(make_admin(kafka)) as admin:
        admin.delete_topics([kafka.transactions_topic])
    create_topics(kafka)
    subject.note("topic deleted and made again")
    second = subject.start()
    second.expected_end = True
    subject.wait(lambda: second.ended, "the worker refuses")
    run.expect(second.process.returncode == 2, f"it ended with code {second.process.returncode}")
    run.expect(subject.said(second, "has been made anew"), "it does not say that the topic was made anew")
    after = {number: row.next_offset for number, row in subject.positions().items()}
    run.expect(before == after, "the positions have moved")
    run.concluded = True


def records_deleted(run: Run) -> None:
    """Records between the position and now are gone: stop and say so; on by a recorded reset alone."""
    subject, kafka = run.subject, run.subject.settings.kafka
    run.publish(0.5)
    first = subject.start()
    subject.wait_for_share(0.3)
    subject.stop(first)
    run.publish(0.8)
    at = {number: row.next_offset for number, row in subject.positions().items()}
    lags = subject.lags()
    number = max(lags, key=lambda item: lags[item])
    to = at[number] + max(1, lags[number] // 2)
    with contextlib.closing(make_admin(kafka)) as admin:
        admin.delete_records({TopicPartition(kafka.transactions_topic, number): to})
    subject.deleted = {place for place in subject.sent.acknowledged if place[0] == number and place[1] < to}
    subject.note(f"partition {number}: records before {to} deleted, the position is {at[number]}")
    second = subject.start()
    second.expected_end = True
    subject.wait(lambda: second.ended, "the worker stops")
    run.expect(second.process.returncode not in (0, None), "it ended as if all were well")
    run.expect(subject.said(second, "mimamori positions reset"), "it does not say what to do")
    run.expect(subject.positions()[number].next_offset == at[number], "the position has moved by itself")
    run.expect(
        subject.command("positions", "reset", str(number), "--to", str(to), "--reason", "a test") != 0,
        "a reset without --force took a partition whose owner had not let go",
    )
    code = subject.command("positions", "reset", str(number), "--to", str(to), "--reason", "a test", "--force")
    run.expect(code == 0, f"the reset ended with code {code}")
    run.facts["gap"] = to - at[number]


def _both_ways(name: str, weather: Weather, *, noticed: bool = True) -> Schedule:
    return Schedule(
        5,
        f"broker {name}",
        partial(broker_out_of_reach, weather=weather, seconds=_NOTICED_SECONDS, noticed=noticed),
        proxied=("kafka",),
    )


SCHEDULES = [
    Schedule(4, "broker kill -9", partial(broker_dies, how="kill"), smoke=(KAFKA,)),
    Schedule(4, "broker restarted in order", partial(broker_dies, how="stop")),
    Schedule(4, "broker kill -9 twice", broker_dies_twice),
    Schedule(4, "broker killed during the offset commit", broker_dies_during_commit),
    _both_ways("refuses connections", Weather(refused=True)),
    _both_ways("half open", HALF_OPEN),
    _both_ways("takes requests, its answers are lost", Weather(answers_lost=True)),
    _both_ways("slow", Weather(delay_seconds=0.25), noticed=False),
    Schedule(6, "consumer group deleted", group_deleted),
    Schedule(
        6,
        "the group's offsets are ahead",
        partial(offsets_wrong, ahead=True),
        oracles=("O1", "O2", "O3", "O5", "O6", "O7", "O8", "O10"),
    ),
    Schedule(6, "the group's offsets are at the beginning", partial(offsets_wrong, ahead=False), stacks=BOTH),
    Schedule(9, "topic deleted and made again", topic_made_anew, mix=CLEAN, compare=False, oracles=("O2", "O7", "O8")),
    Schedule(
        10,
        "records deleted beyond the position",
        records_deleted,
        resets=True,
        compare=False,
        oracles=("O2", "O5", "O7", "O8", "O10"),
    ),
]
