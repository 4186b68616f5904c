"""Clients close what they open, also where no broker answers: nothing is left to the garbage collector."""

from __future__ import annotations

import contextlib
import gc
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

MAKERS: tuple[tuple[Any, Callable[[KafkaSettings], Any]], ...] = (
    (KafkaConsumer, partial(make_consumer, max_poll_records=500)),
    (KafkaProducer, make_producer),
    (KafkaAdminClient, make_admin),
)


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fails when the test leaves an open socket or a thread behind."""
    gc.collect()
    before = set(threading.enumerate())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        yield
        eventually(lambda: set(threading.enumerate()) <= before, "its threads have ended")
        gc.collect()
    assert [str(item.message) for item in caught if issubclass(item.category, ResourceWarning)] == []


@pytest.mark.usefixtures("nothing_left")
@pytest.mark.parametrize(("client", "make"), MAKERS, ids=["consumer", "producer", "admin"])
def test_a_client_that_finds_no_broker(
    monkeypatch: pytest.MonkeyPatch, client: Any, make: Callable[[KafkaSettings], Any]
) -> None:
    monkeypatch.setitem(client.DEFAULT_CONFIG, "bootstrap_timeout_ms", 300)
    with pytest.raises(UnavailableError, match=r"kafka\.bootstrap_servers"):
        make(KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port()}"))


@pytest.mark.usefixtures("nothing_left")
def test_a_consumer_whose_broker_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refused: list[str] = []
    with embedded_broker(tmp_path / "broker.log") as address:
        settings = KafkaSettings(bootstrap_servers=address)
        create_topics(settings)
        consumer = make_consumer(settings, 500)
        consumer.assign([TopicPartition(settings.transactions_topic, 0)])
        consumer.seek_to_beginning()
        consumer.poll(timeout_ms=100)
        monkeypatch.setattr("kafka.net.manager.log.error", lambda *words: refused.append(words[0]))
    with contextlib.closing(consumer):

        def has_tried_again() -> bool:
            consumer.poll(timeout_ms=50)
            return refused.count("Connection failed: %s") >= 3

        eventually(has_tried_again, "connections have been refused")
