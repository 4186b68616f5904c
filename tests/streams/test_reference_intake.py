"""Changes of cards from the topic: each once, in any order, whatever is between them, and on after a crash."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, select

from fraud.alert_files import ParsedAlertFile, ParsedCard
from fraud.card_references import CardReferenceChange, CardStatus
from fraud.cards import luhn_valid
from fraud.compromise import DataElements, ExposureWindow
from fraud.pan_guard import PanGuard
from fraud.settings import CardSettings, PortfolioSettings, Settings
from fraud.store.card_lineages import lineages
from fraud.store.database import open_engine, read, write
from fraud.store.exposure import NewCompromiseEvent, create_compromise_event, import_exposed_cards
from fraud.store.jobs import ensure_job, list_jobs
from fraud.store.tables import dead_letter, exposed_card
from fraud.store.tables_cards import card_reference
from streams.jobs import JobKind, JobRunner
from streams.kafka import create_topics, make_producer
from streams.reference_intake import run_reference_intake
from streams.reference_messages import MessageError, read_message

NOW = 1_675_000_000_000
PATIENCE = 60.0
GUARD = PanGuard(["411111"], [16])
PAN = "4111111111111111"


def ref(number: int) -> str:
    return f"v1:{number:064x}"


def message(change: str = "update", card: int = 1, **fields: Any) -> dict[str, Any]:
    return {"change_id": "c-1", "change": change, "card_ref": ref(card), "effective_at": NOW, **fields}


def changes(value: object) -> list[CardReferenceChange]:
    return read_message(json.dumps(value).encode(), GUARD)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (message(status="RESTRICTED"), [CardReferenceChange(ref(1), NOW, status=CardStatus.RESTRICTED)]),
        (message("closure"), [CardReferenceChange(ref(1), NOW, status=CardStatus.CLOSED)]),
        (message("renewal", expiry="2029-01"), [CardReferenceChange(ref(1), NOW, expiry="2029-01")]),
        (message("alias", new_card_ref="x:1"), [CardReferenceChange("x:1", NOW, alias_of=ref(1))]),
        (
            message("reissue", new_card_ref=ref(2), updater_suppressed=True, unknown="x"),
            [CardReferenceChange(ref(1), NOW, replaced_by=ref(2), updater_suppressed=True)],
        ),
        (
            message("renewal", new_card_ref=ref(2), expiry="2029-01"),
            [CardReferenceChange(ref(1), NOW, replaced_by=ref(2)), CardReferenceChange(ref(2), NOW, expiry="2029-01")],
        ),
    ],
)
def test_a_message_is_a_change(value: object, expected: list[CardReferenceChange]) -> None:
    assert changes(value) == expected


@pytest.mark.parametrize(
    ("value", "error_class", "field"),
    [
        ([], "INVALID_FIELD", None),
        ({}, "INVALID_FIELD", None),
        (message(change="eaten"), "INVALID_FIELD", "change"),
        (message(card_ref=PAN), "CARD_NUMBER", "card_ref"),
        (message("alias", new_card_ref=f"x:{PAN}"), "CARD_NUMBER", "new_card_ref"),
        (message(card_ref="nothing"), "INVALID_FIELD", "card_ref"),
        (message(effective_at="now"), "INVALID_FIELD", "effective_at"),
        (message(effective_at=-1), "INVALID_FIELD", "effective_at"),
        (message(effective_at=10**18), "INVALID_FIELD", "effective_at"),
        (message(expiry="12/25"), "INVALID_FIELD", "expiry"),
        (message(status="ASLEEP"), "INVALID_FIELD", "status"),
        (message(product="a\nb"), "INVALID_FIELD", "product"),
        (message("reissue"), "MISSING_FIELD", "new_card_ref"),
        (message("reissue", new_card_ref=ref(1)), "INVALID_FIELD", "new_card_ref"),
    ],
)
def test_what_is_none_names_a_field_and_no_value(value: object, error_class: str, field: str | None) -> None:
    with pytest.raises(MessageError) as caught:
        changes(value)
    assert (caught.value.error_class, caught.value.field_path) == (error_class, field)
    assert PAN not in repr(vars(caught.value))


@pytest.mark.parametrize(("value", "error_class"), [(None, "MISSING_VALUE"), (b"", "NOT_JSON"), (b"\xff{", "NOT_JSON")])
def test_bytes_that_are_no_message(value: bytes | None, error_class: str) -> None:
    with pytest.raises(MessageError) as caught:
        read_message(value, GUARD)
    assert caught.value.error_class == error_class


@dataclass(frozen=True)
class Setup:
    settings: Settings
    engine: Engine

    def topic(self) -> str:
        return self.settings.kafka.card_references_topic

    def create(self) -> None:
        create_topics(self.settings.kafka, {self.topic(): 3})

    def publish(self, *values: object) -> None:
        producer = make_producer(self.settings.kafka)
        for value in values:
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            key = value["card_ref"].encode() if isinstance(value, dict) and "card_ref" in value else b"k"
            producer.send(self.topic(), key=key, value=data)
        producer.flush()
        producer.close()

    def rows(self, table: Any) -> list[Any]:
        with read(self.engine) as connection:
            return list(connection.execute(select(table)))

    def progress(self) -> dict[str, Any]:
        with read(self.engine) as connection:
            (job,) = list_jobs(connection)
        return job.progress

    def taken(self) -> int:
        return sum(self.progress().get("totals", {}).values())

    @contextmanager
    def running(self) -> Iterator[None]:
        with write(self.engine) as connection:
            ensure_job(connection, JobKind.CARD_REFERENCES, "topic", NOW)
        runner = JobRunner(self.engine, self.settings, {JobKind.CARD_REFERENCES: run_reference_intake})
        thread = threading.Thread(target=runner.run)
        thread.start()
        try:
            yield
        finally:
            runner.stop()
            thread.join()


def eventually(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.fixture
def setup(stack: Any) -> Iterator[Setup]:
    kafka = stack.kafka.model_copy(update={"card_references_topic": f"{stack.kafka.transactions_topic}.references"})
    settings = Settings(
        database_url=SecretStr(stack.database_url),
        kafka=kafka,
        portfolio=PortfolioSettings(bin_ranges=("411111",)),
        cards=CardSettings(keys={1: SecretStr("5a" * 32)}),
    )
    engine = open_engine(stack.database_url)
    yield Setup(settings, engine)
    engine.dispose()


def expose(engine: Engine, *numbers: int) -> None:
    window = ExposureWindow(date(2022, 7, 19), date(2022, 7, 26), "Asia/Tokyo")
    cards = [ParsedCard(ref(number)) for number in numbers]
    with write(engine) as connection:
        create_compromise_event(
            connection, NewCompromiseEvent("shop", "Shop", "ACQUIRER", window, DataElements(cvv2=True)), NOW
        )
        import_exposed_cards(connection, "shop", "a", ParsedAlertFile("a" * 64, 1, cards, [], 0, 0), "ken", NOW)


def test_changes_are_taken_up_each_once_and_exposures_follow(setup: Setup) -> None:
    assert luhn_valid(PAN)
    setup.create()
    expose(setup.engine, 1)
    good = [
        message(status="ACTIVE", expiry="2025-01", effective_at=NOW - 5),
        message("reissue", new_card_ref=ref(2)),
        message("reissue", card=2, new_card_ref=ref(3), effective_at=NOW + 1),
        message("closure", card=7),
    ]
    bad = [b"no json", message(card_ref=f"x:{PAN}"), message(card=8, status="ASLEEP")]
    setup.publish(good[0], bad[0], good[1], bad[1], bad[2])
    with setup.running():
        eventually(lambda: setup.taken() == 5)
    with setup.running():  # another runner goes on where this one has got to
        setup.publish(*good[2:], good[1])
        eventually(lambda: setup.taken() == 8)
    assert setup.progress()["totals"] == {"changed": 4, "same": 1, "stale": 0, "refused": 0, "unreadable": 3}
    with read(setup.engine) as connection:
        assert lineages(connection) == {ref(2): ref(1), ref(3): ref(1)}
    found = {row.card_ref: (row.tier, row.provenance) for row in setup.rows(exposed_card)}
    assert found == {ref(1): (3, "ALERT_FILE"), ref(2): (1, "LINEAGE"), ref(3): (1, "LINEAGE")}
    status = {row.card_ref: row.status for row in setup.rows(card_reference)}
    assert status == {ref(1): "SUPERSEDED", ref(2): "SUPERSEDED", ref(7): "CLOSED"}
    letters = {(row.error_class, row.field_path) for row in setup.rows(dead_letter)}
    assert letters == {("NOT_JSON", None), ("CARD_NUMBER", "card_ref"), ("INVALID_FIELD", "status")}
    assert PAN not in repr(setup.rows(dead_letter))


def test_a_topic_that_is_not_there_is_waited_for(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.reference_intake._TOPIC_SECONDS", 0.1)
    with setup.running():
        eventually(lambda: bool(list(_jobs(setup.engine, "RUNNING"))))
        setup.create()
        setup.publish(message("closure"))
        eventually(lambda: setup.taken() == 1)
    assert [row.card_ref for row in setup.rows(card_reference)] == [ref(1)]


def test_a_crash_in_the_middle_repeats_and_changes_nothing_twice(setup: Setup, monkeypatch: pytest.MonkeyPatch) -> None:
    setup.create()
    expose(setup.engine, 1)
    setup.publish(message("reissue", new_card_ref=ref(2)), message("closure", card=5))
    died = threading.Event()

    def dies(*_arguments: object, **_named: object) -> None:
        died.set()
        raise OSError

    with monkeypatch.context() as patch:
        patch.setattr("streams.reference_intake.store_refused_messages", dies)
        with setup.running():
            assert died.wait(PATIENCE)
    assert setup.rows(card_reference) == []
    assert len(setup.rows(exposed_card)) == 1
    assert setup.progress() == {}
    with write(setup.engine) as connection:
        connection.exec_driver_sql("UPDATE job SET run_after_at = 0")
    with setup.running():
        eventually(lambda: setup.taken() == 2)
    assert len(setup.rows(exposed_card)) == 2


def _jobs(engine: Engine, status: str) -> Iterator[str]:
    with read(engine) as connection:
        yield from (job.kind for job in list_jobs(connection) if job.status == status)
