"""The operators' commands, on a real broker, a real worker's effects, and both databases."""

from __future__ import annotations

import contextlib
import hashlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command_support import as_json, run
from kafka import KafkaProducer, TopicPartition
from sqlalchemy import Engine, insert, select, update

from fraud.cli.jobs import REGISTRY, STANDING
from fraud.cli.wiring import make_worker, open_store
from fraud.errors import ConflictError, InvalidInputError
from fraud.settings import Settings, load_settings
from fraud.store.audit import AuditEntry, list_audit, verify_audit
from fraud.store.database import read, write
from fraud.store.effects import list_positions
from fraud.store.jobs import ensure_job
from fraud.store.position_resets import release_position
from fraud.store.tables import checkpoint, dead_letter, outbox, position
from streams.jobs import JobRunner
from streams.kafka import create_topics, make_consumer, make_producer

PAN = "4532015112830366"
CARD = "v1:" + "ab" * 32
NOW = 1_675_000_000_000
PATIENCE = 60.0


def event(number: int, **changes: Any) -> bytes:
    fields = {"event_id": f"e-{number}", "event_type": "authorization", "occurred_at": NOW + number, "card_ref": CARD}
    return json.dumps({name: value for name, value in (fields | changes).items() if value is not None}).encode()


@dataclass
class House:
    """A deployment with one partition."""

    settings: Settings
    engine: Engine
    producer: KafkaProducer

    def publish(self, *values: bytes, key: bytes = CARD.encode()) -> None:
        topic = self.settings.kafka.transactions_topic
        for value in values:
            self.producer.send(topic, key=key, value=value, partition=0).get(timeout=30)

    def work_until(self, offset: int) -> None:
        """Run a worker until the position is there, then end it cleanly and let go of the partition."""
        worker = make_worker(self.settings, self.engine)
        thread = threading.Thread(target=worker.run)
        thread.start()
        try:
            deadline = time.monotonic() + PATIENCE
            while self.next_offset() < offset:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        finally:
            worker.stop()
            thread.join()

    def next_offset(self) -> int:
        with read(self.engine) as connection:
            return max((item.next_offset for item in list_positions(connection)), default=0)

    def let_go(self) -> None:
        """What a clean stop does."""
        with write(self.engine) as connection:
            for item in list_positions(connection):
                release_position(connection, item.key, item.owner_epoch, NOW)

    def audit(self, action: str) -> list[AuditEntry]:
        with read(self.engine) as connection:
            assert verify_audit(connection).fault is None
            return list_audit(connection, action=action)

    def records(self) -> list[Any]:
        wanted = TopicPartition(self.settings.kafka.transactions_topic, 0)
        with contextlib.closing(make_consumer(self.settings.kafka, 1_000)) as consumer:
            consumer.assign([wanted])
            consumer.seek(wanted, 0)
            found: list[Any] = []
            while batch := consumer.poll(1_000).get(wanted):
                found += batch
        return found


@pytest.fixture
def house(stack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    kafka = stack.kafka
    variables = {
        "DATA_DIR": str(tmp_path / "data"),
        "DATABASE_URL": stack.database_url,
        "CLOCK": "stream",
        "PORTFOLIO__BIN_RANGES": '["453201"]',
        "CARDS__KEYS": json.dumps({"1": "5f" * 32}),
        "STREAM__CIRCUIT_BREAKER_RATIO": "1",
        "KAFKA__BOOTSTRAP_SERVERS": kafka.bootstrap_servers,
        "KAFKA__GROUP_ID": kafka.group_id,
        "KAFKA__TRANSACTIONS_TOPIC": kafka.transactions_topic,
        "KAFKA__DETECTIONS_TOPIC": kafka.detections_topic,
        "KAFKA__SESSION_TIMEOUT_MS": "6000",
        "KAFKA__PARTITIONS": "1",
    }
    for name, value in variables.items():
        monkeypatch.setenv(f"MIMAMORI_{name}", value)
    settings = load_settings()
    create_topics(settings.kafka)
    engine = open_store(settings)
    with contextlib.closing(make_producer(settings.kafka)) as producer:
        yield House(settings, engine, producer)
    engine.dispose()


def test_every_record_is_accounted_for_and_a_gap_is_found(house: House) -> None:
    house.publish(event(1), event(2), event(1), b"no json", event(2, mcc="5411"), event(3))
    house.work_until(6)
    report = as_json("reconcile")
    (account,) = report["partitions"]
    assert report["adds_up"]
    assert {name: account[name] for name in ("records", "processed", "duplicates", "quarantined", "dead_lettered")} == {
        "records": 6,
        "processed": 3,
        "duplicates": 1,
        "quarantined": 1,
        "dead_lettered": 1,
    }
    house.publish(event(4))
    assert as_json("reconcile")["partitions"][0]["waiting"] == 1

    with write(house.engine) as connection:
        connection.execute(update(position).values(processed=position.c.processed - 1))
    assert as_json("reconcile", code=1)["partitions"][0]["gap"] == 1
    with write(house.engine) as connection:
        connection.execute(update(position).values(processed=position.c.processed + 1))
        connection.execute(dead_letter.delete().where(dead_letter.c.kind == "DEAD_LETTER"))
    assert "dead letters counted" in as_json("reconcile", code=1)["partitions"][0]["faults"][0]
    assert run("reconcile").exit_code == 1


def test_a_position_is_reset_only_when_nobody_owns_it_and_it_is_recorded(house: House) -> None:
    house.publish(*(event(number) for number in range(4)), b"no json")
    house.work_until(5)
    shown = as_json("positions", "show")
    assert (shown[0]["next_offset"], shown[0]["processed"], shown[0]["partition"]) == (5, 4, 0)
    with write(house.engine) as connection:  # as a worker that was killed leaves it
        connection.execute(update(position).values(owner="host:1"))
    with pytest.raises(ConflictError, match="--force"):
        run("positions", "reset", 0, "--to", 2, "--reason", "a test")
    with pytest.raises(InvalidInputError):
        run("positions", "reset", 0, "--to", 6, "--reason", "a test", "--force")
    assert house.next_offset() == 5
    assert run("positions", "reset", 0, "--to", 2, "--reason", "a test", "--force").exit_code == 0
    (entry,) = house.audit("positions.reset")
    assert (entry.reason, entry.old["next_offset"], entry.new["next_offset"]) == ("a test", 5, 2)
    assert entry.new["forced"] is True

    house.work_until(5)  # it goes on from there, and the account still closes
    (account,) = as_json("reconcile")["partitions"]
    assert (account["first_offset"], account["records"], account["processed"], account["dead_lettered"]) == (2, 3, 2, 1)
    house.let_go()
    assert run("positions", "reset", 0, "--to", 4, "--reason", "again").exit_code == 0
    assert "next offset" in run("positions", "show").output


def test_dead_letters_are_shown_without_what_they_hold_and_replayed(house: House) -> None:
    secret = "a-word-of-the-payload"
    house.publish(event(1, schema_version=99, merchant_name=secret), event(2))
    house.work_until(2)
    (letter,) = as_json("dead-letters", "list")["items"]
    assert (letter["error_class"], letter["offset"]) == ("UNKNOWN_SCHEMA_VERSION", 0)
    assert "UNKNOWN_SCHEMA" in run("dead-letters", "list").output

    assert run("dead-letters", "replay", 0, 0, "--reason", "decoder mended").exit_code == 0
    original, _, again = house.records()
    assert (again.key, again.value, again.partition) == (original.key, original.value, original.partition)
    topic = house.settings.kafka.transactions_topic
    assert list(again.headers) == [("replay-of", f"{topic}/0/0".encode())]
    done, started = house.audit("dead-letters.replay")
    assert (started.result, done.result, done.new["published_offset"]) == ("STARTED", "DONE", 2)
    assert done.reason == "decoder mended"

    shown = as_json("dead-letters", "show", 0, 0)
    assert [item["result"] for item in shown["history"]] == ["DONE", "STARTED"]
    assert shown["replayable"] is True
    for output in (run("dead-letters", "show", 0, 0).output, json.dumps(shown), run("dead-letters", "list").output):
        assert secret not in output
    house.work_until(3)
    assert as_json("reconcile")["adds_up"]


def test_a_record_with_a_card_number_is_never_replayed(house: House) -> None:
    in_text = event(1, schema_version=99, merchant_name=f"paid with {PAN}")
    escaped = "".join(f"\\u003{digit}" for digit in PAN).encode()
    refused = [
        (in_text, CARD.encode()),
        (in_text.replace(PAN.encode(), escaped), CARD.encode()),
        (f"not json, but {PAN[:4]} {PAN[4:8]} {PAN[8:12]} {PAN[12:]}".encode(), CARD.encode()),
        (b"{" + PAN.encode(), CARD.encode()),
        (event(2), PAN.encode()),
        (event(3, card_ref=PAN), PAN.encode()),
    ]
    assert PAN.encode() not in refused[1][0]
    for value, key in refused:
        house.publish(value, key=key)
    house.publish(event(4))
    house.work_until(len(refused) + 1)
    for offset in range(len(refused)):
        with pytest.raises(ConflictError) as error:
            run("dead-letters", "replay", 0, offset, "--reason", "a test")
        assert PAN not in str(error.value)
    assert len(house.records()) == len(refused) + 1
    assert [entry.result for entry in house.audit("dead-letters.replay")] == ["REFUSED"] * len(refused)


def test_what_can_never_be_right_is_not_replayed(house: House) -> None:
    house.publish(event(1), event(1, mcc="5411"))
    house.producer.send(house.settings.kafka.transactions_topic, key=CARD.encode(), partition=0).get(timeout=30)
    house.publish(b"no json")
    house.work_until(4)
    with pytest.raises(ConflictError, match="EVENT_ID_REUSED"):
        run("dead-letters", "replay", 0, 1, "--reason", "a test")
    with pytest.raises(ConflictError, match="NULL_VALUE"):
        run("dead-letters", "replay", 0, 2, "--reason", "a test")
    with write(house.engine) as connection:
        connection.execute(update(dead_letter).where(dead_letter.c.offset == 3).values(payload_digest="0" * 64))
    with pytest.raises(ConflictError, match="not the one that was refused"):
        run("dead-letters", "replay", 0, 3, "--reason", "a test")
    assert len(house.records()) == 4
    assert as_json("dead-letters", "show", 0, 1)["replayable"] is False


def test_checkpoints_are_compared_with_their_digests(house: House, tmp_path: Path) -> None:
    whole, damaged = tmp_path / "whole.npz", tmp_path / "damaged.npz"
    for path in (whole, damaged):
        path.write_bytes(b"state")
    sha256 = hashlib.sha256(b"state").hexdigest()
    row = {"group_id": "g", "topic_id": "t", "partition": 0, "owner_epoch": 1, "state_schema": "s", "created_at": NOW}
    with write(house.engine) as connection:
        for at, path in ((10, damaged), (20, whole)):
            paths = [{"path": str(path), "sha256": sha256}]
            connection.execute(insert(checkpoint), {**row, "next_offset": at, "paths": paths})
    assert [item["next_offset"] for item in as_json("checkpoints", "list")] == [20, 10]
    assert run("checkpoints", "verify", "--all").exit_code == 0
    damaged.write_bytes(b"stale")
    assert run("checkpoints", "verify").exit_code == 0  # the furthest one is whole
    faults = [item["fault"] for item in as_json("checkpoints", "verify", "--all", code=1)]
    assert faults[0] is None
    assert "not the one that was registered" in faults[1]
    whole.unlink()
    assert "cannot be read" in as_json("checkpoints", "verify", code=1)[0]["fault"]


def _relay() -> dict[str, Any]:
    (found,) = (job for job in as_json("jobs", "list")["jobs"] if job["kind"] == "RELAY")
    return found


def test_jobs_are_listed_with_what_the_relay_owes(house: House) -> None:
    assert as_json("jobs", "list") == {"jobs": [], "deliveries": []}
    with write(house.engine) as connection:
        message = {"message_id": "m-1", "topic": "card.detections", "key": CARD, "payload": {}, "created_at": NOW}
        connection.execute(insert(outbox), message)
        for kind, subject in STANDING.items():
            ensure_job(connection, kind, subject, NOW)
    runner = JobRunner(house.engine, house.settings, REGISTRY)
    thread = threading.Thread(target=runner.run)
    thread.start()
    try:
        deadline = time.monotonic() + PATIENCE
        while not _delivered(house.engine):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert _relay()["status"] == "RUNNING"
    finally:
        runner.stop()
        thread.join()
    found = as_json("jobs", "list")
    assert _relay()["status"] == "WAITING"
    assert {job["kind"] for job in found["jobs"]} == set(STANDING)
    assert found["deliveries"] == [{"destination": "kafka", "status": "DELIVERED", "deliveries": 1, "oldest_at": NOW}]
    assert "RELAY" in run("jobs", "list").output


def _delivered(engine: Engine) -> bool:
    with read(engine) as connection:
        return connection.execute(select(outbox.c.delivered_at)).scalar_one() is not None


@pytest.mark.parametrize(
    "command",
    [
        "positions show", "positions reset", "dead-letters list", "dead-letters show", "dead-letters replay",
        "checkpoints list", "checkpoints verify", "jobs list", "jobs run", "reconcile",
    ],
)  # fmt: skip
def test_every_command_has_help_with_an_example(command: str) -> None:
    result = run(*command.split(), "--help")
    assert result.exit_code == 0
    assert f"Example: mimamori {command}" in " ".join(result.output.split())
