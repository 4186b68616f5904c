"""The worker on real brokers and databases: what is published is accounted for, matched, and becomes cases."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

from worker_support import EVENT, Deployment, ThreadedWorker, differences, eventually, projection

from fraud.errors import ConfigurationError
from fraud.transactions import Columns
from streams.breaker import CircuitBreakerError
from streams.dead_letters import ErrorClass
from streams.kafka import make_admin, topic_id
from streams.simulator import Simulation
from streams.wire import encode, keys

Deploy = Callable[..., Deployment]
Record = tuple[bytes | None, bytes | None]

PAN = "453201" + "0" * 9 + "8"  # of the portfolio's range, with a right check digit


def records_of(columns: Columns) -> list[Record]:
    return list(zip(keys(columns), encode(columns), strict=True))


def bad_records(good: Record, max_bytes: int) -> dict[ErrorClass, Record]:
    """A record of each class that cannot be processed, made from a good one."""
    key, value = good
    assert key is not None
    assert value is not None
    fields = json.loads(value)

    def changed(**changes: Any) -> bytes:
        return json.dumps(fields | {"event_id": "bad"} | changes).encode()

    return {
        ErrorClass.NOT_JSON: (key, value[:-1]),
        ErrorClass.NULL_VALUE: (key, None),
        ErrorClass.RAW_NEWLINE: (key, changed().replace(b", ", b",\n", 1)),
        ErrorClass.TOO_LARGE: (key, changed(note="x" * max_bytes)),
        ErrorClass.UNKNOWN_SCHEMA_VERSION: (key, changed(schema_version=2)),
        ErrorClass.MISSING_FIELD: (key, changed(occurred_at=None)),
        ErrorClass.INVALID_FIELD: (key, changed(occurred_at="yesterday")),
        ErrorClass.KEY_MISMATCH: (b"another", changed()),
        ErrorClass.PAN_IN_KEY: (PAN.encode(), changed()),
        ErrorClass.PAN_IN_CARD_REF: (key, changed(card_ref=PAN)),
    }


def test_transactions_become_detections_and_cases(stack: Any, deploy: Deploy, simulation: Simulation) -> None:
    deployment = deploy(stack)
    deployment.expose(simulation)
    with deployment.worker() as worker:
        deployment.publish(simulation.live)
        deployment.wait_until_done(worker.check)
    counts = deployment.counts()
    assert counts["processed"] == len(simulation.live)
    seen = projection(deployment.engine)
    exposed = set(simulation.exposed_cards.tolist())
    live = simulation.live
    on_exposed = {
        event_id
        for event_id, card in zip(live["event_id"].tolist(), live["card_ref"].tolist(), strict=True)
        if card in exposed
    }
    assert {event_id for event_id, _ in seen["matches"]} == on_exposed
    assert {compromise for _, compromise in seen["matches"]} == {EVENT}
    assert counts["matched"] == len(on_exposed)
    detections = [found for found in seen["detections"].values() if found["kind"] == "EXPOSED"]
    assert detections
    assert {found["event_id"] for found in detections} <= on_exposed
    fraud = set(live["event_id"][simulation.fraud[simulation.live_from :] == 1].tolist())
    assert {found["event_id"] for found in detections} & fraud
    assert counts["detections"] == len(seen["detections"])
    assert {card for (card,) in seen["cases"]} == {found["card_ref"] for found in seen["detections"].values()}
    assert sum(found["detections"] for found in seen["cases"].values()) == len(seen["detections"])


def test_bad_records_become_dead_letters_and_their_neighbours_go_on(
    stack: Any, deploy: Deploy, simulation: Simulation
) -> None:
    deployment = deploy(stack)
    deployment.expose(simulation)
    exposed = set(simulation.exposed_cards.tolist())
    live = records_of(simulation.live)
    good = next(record for record in live if record[0] is not None and record[0].decode() in exposed)
    bad = bad_records(good, deployment.settings.stream.max_record_bytes)
    assert set(bad) == set(ErrorClass)
    neighbours = iter([record for record in live if record != good][: len(bad) + 1])
    mixed = [next(neighbours)]
    for record in bad.values():
        mixed += [record, next(neighbours)]
    with deployment.worker() as worker:
        deployment.publish_raw(mixed, partition=0)
        deployment.wait_until_done(worker.check)
    counts = deployment.counts()
    assert counts["processed"] == len(bad) + 1
    assert counts["dead_letters_by_class"] == {str(error_class): 1 for error_class in ErrorClass}
    letters = projection(deployment.engine)["dead_letters"].values()
    marked = {letter["error_class"] for letter in letters if letter["on_exposed_card"]}
    assert marked == {letter["error_class"] for letter in letters if letter["card_ref"] is not None}
    assert marked >= {"NOT_JSON", "UNKNOWN_SCHEMA_VERSION", "MISSING_FIELD", "INVALID_FIELD", "KEY_MISMATCH"}
    assert not marked & {"NULL_VALUE", "PAN_IN_CARD_REF"}


def test_duplicates_are_dropped_and_a_reused_id_is_quarantined(
    stack: Any, deploy: Deploy, simulation: Simulation
) -> None:
    deployment = deploy(stack)
    first, second, third = records_of(simulation.live)[:3]
    assert first[1] is not None
    reused = (first[0], json.dumps(json.loads(first[1]) | {"amount_minor": 1}).encode())
    with deployment.worker() as worker:
        deployment.publish_raw([first, second, first], partition=0)
        deployment.wait_until_done(worker.check)
        deployment.publish_raw([second, reused, third], partition=0)
        deployment.wait_until_done(worker.check)
    counts = deployment.counts()
    assert (counts["processed"], counts["duplicates"], counts["quarantined"]) == (3, 2, 1)
    assert counts["dead_letters_by_class"] == {"EVENT_ID_REUSED": 1}


def test_a_card_that_is_exposed_meanwhile_is_matched_from_then_on(
    stack: Any, deploy: Deploy, simulation: Simulation
) -> None:
    deployment = deploy(stack)
    middle = (simulation.live_from + len(simulation)) // 2
    with deployment.worker() as worker:
        deployment.publish(simulation.between(simulation.live_from, middle))
        deployment.wait_until_done(worker.check)
        assert deployment.counts()["matched"] == 0
        deployment.expose(simulation)
        # Idle workers look once a second too; only a batch shows that this one has.
        eventually(lambda: _sees_exposure(deployment, simulation), "the worker knows the exposed cards", worker.check)
        before = deployment.counts()["matched"]
        later = simulation.between(middle, len(simulation))
        deployment.publish(later)
        deployment.wait_until_done(worker.check)
    exposed = set(simulation.exposed_cards.tolist())
    wanted = sum(card in exposed for card in later["card_ref"].tolist())
    assert wanted > 0
    assert deployment.counts()["matched"] - before == wanted


def _sees_exposure(deployment: Deployment, simulation: Simulation) -> bool:
    """Publish one more event of an exposed card and see whether it is matched."""
    fields = {
        "event_id": f"probe-{deployment.published}",
        "event_type": "authorization",
        "occurred_at": simulation.parameters.monitoring_starts_at,
        "card_ref": str(simulation.exposed_cards[0]),
    }
    deployment.publish_raw([(fields["card_ref"].encode(), json.dumps(fields).encode())])
    deployment.wait_until_done()
    return bool(deployment.counts()["matched"])


def test_a_restart_continues_where_the_worker_stopped(
    stack: Any, deploy: Deploy, simulation: Simulation, tmp_path_factory: Any, migrated_file: Any
) -> None:
    deployment = deploy(stack)
    deployment.expose(simulation)
    middle = (simulation.live_from + len(simulation)) // 2
    for columns in (
        simulation.between(simulation.live_from, middle),
        simulation.between(middle, len(simulation)),
    ):
        with deployment.worker() as worker:
            deployment.publish(columns)
            deployment.wait_until_done(worker.check)
    other = tmp_path_factory.mktemp("again") / "store.db"
    other.write_bytes(migrated_file.read_bytes())
    assert differences(projection(deployment.engine), deployment.uninterrupted(simulation, f"sqlite:///{other}")) == []


def test_a_topic_made_anew_is_refused(stack: Any, deploy: Deploy, simulation: Simulation) -> None:
    deployment = deploy(stack)
    kafka = deployment.settings.kafka
    with deployment.worker() as worker:
        deployment.publish(simulation.between(0, 50))
        deployment.wait_until_done(worker.check)
    before = topic_id(kafka, kafka.transactions_topic)
    with contextlib.closing(make_admin(kafka)) as admin:
        admin.delete_topics([kafka.transactions_topic])
        eventually(lambda: _made_anew(deployment, before), "the topic is there again")
    error = ThreadedWorker(deployment.settings).join()
    assert isinstance(error, ConfigurationError)
    assert "made anew" in str(error)
    assert deployment.done() == 50


def _made_anew(deployment: Deployment, before: str) -> bool:
    from streams.kafka import create_topics

    kafka = deployment.settings.kafka
    create_topics(kafka)
    try:
        return topic_id(kafka, kafka.transactions_topic) != before
    except ConfigurationError:  # deleting takes its time
        return False


def test_a_flood_of_bad_records_stops_the_worker(stack: Any, deploy: Deploy, simulation: Simulation) -> None:
    deployment = deploy(stack, max_poll_records=500)
    good = records_of(simulation.live)[:500]
    deployment.publish_raw([*good, *[(good[0][0], b"{}")] * 3_000], partition=0)
    error = ThreadedWorker(deployment.settings).join()
    assert isinstance(error, CircuitBreakerError)
    # It stopped before the batch that crossed the line was recorded, and long before the topic was drained.
    counts = deployment.counts()
    assert counts["processed"] == 500
    assert 0 <= counts["dead_letters"] < 1_000
    again = ThreadedWorker(deployment.settings).join()
    assert isinstance(again, CircuitBreakerError)
