"""Clients close what they open, also where no broker answers: nothing is left to the garbage collector."""

from __future__ import annotations

import contextlib
import gc
import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import KafkaAdminClient
from worker_support import eventually

from fraud.errors import UnavailableError
from fraud.settings import KafkaSettings
from streams.embedded import embedded_broker, free_port
from streams.kafka import create_topics, make_admin, make_consumer, make_producer

pytestmark = pytest.mark.usefixtures("silent")

MAKERS: tuple[tuple[Any, Callable[[KafkaSettings], Any]], ...] = (
    (KafkaConsumer, partial(make_consumer, max_poll_records=500)),
    (KafkaProducer, make_producer),
    (KafkaAdminClient, make_admin),
)


@pytest.fixture
def silent() -> Iterator[None]:
    """No log: its captured records would hold errors, and those their sockets, until after the test."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


def left_behind(run: Callable[[], None]) -> list[str]:
    """The sockets that a run has not closed; waits until its threads have ended."""
    before = set(threading.enumerate())
    gc.collect()  # what others have left
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        run()
        eventually(lambda: set(threading.enumerate()) <= before, "its threads have ended")
        gc.collect()
    return [str(item.message) for item in caught if issubclass(item.category, ResourceWarning)]


@pytest.mark.parametrize(("client", "make"), MAKERS, ids=["consumer", "producer", "admin"])
def test_a_client_that_finds_no_broker(
    monkeypatch: pytest.MonkeyPatch, client: Any, make: Callable[[KafkaSettings], Any]
) -> None:
    def run() -> None:
        with pytest.raises(UnavailableError, match=r"kafka\.bootstrap_servers"):
            make(KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}"))

    monkeypatch.setitem(client.DEFAULT_CONFIG, "bootstrap_timeout_ms", 300)
    assert left_behind(run) == []


def test_a_consumer_whose_broker_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[str] = []

    def poll_until_refused(consumer: KafkaConsumer) -> bool:
        consumer.poll(timeout_ms=50)
        return refused.count("Connection failed: %s") >= 3

    def run() -> None:
        with contextlib.ExitStack() as broker:
            settings = KafkaSettings(bootstrap_servers=broker.enter_context(embedded_broker(tmp_path / "broker.log")))
            create_topics(settings)
            with contextlib.closing(make_consumer(settings, 500)) as consumer:
                consumer.assign([TopicPartition(settings.transactions_topic, 0)])
                consumer.seek_to_beginning()
                consumer.poll(timeout_ms=100)
                broker.close()
                eventually(partial(poll_until_refused, consumer), "connections have been refused")

    monkeypatch.setattr("kafka.net.manager.log.error", lambda *words: refused.append(words[0]))
    assert left_behind(run) == []
