"""The relay: messages of the outbox go to Kafka and to webhooks, each at least once, under an id that stays the same.

Every destination has a thread and a schedule of its own, so one that is slow or gone holds up no other.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import structlog
from kafka import KafkaProducer
from kafka.errors import KafkaError, MessageSizeTooLargeError
from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from fraud.clock import Clock, SystemClock, now_ms
from fraud.errors import UnavailableError
from fraud.settings import KafkaSettings
from fraud.store.database import read, write
from fraud.store.folding import DETECTIONS_TOPIC
from fraud.store.outbox import (
    DeliveryStatus,
    OutboxMessage,
    abandon_deliveries,
    due_messages,
    postpone_delivery,
    remove_settled,
    route_messages,
    settle_delivery,
)
from streams.delivery import DeliveryError, Destination, Fault, message_body, retry_delay_ms
from streams.jobs import JobContext
from streams.kafka import make_producer
from streams.webhooks import make_webhooks

log = structlog.get_logger(__name__)

MESSAGE_ID_HEADER: Final = "message-id"
_BATCH: Final = 100
_IDLE_SECONDS: Final = 0.5
_ACKNOWLEDGED_SECONDS: Final = 30.0
_REMOVED_AT_ONCE: Final = 1_000
_REMOVAL_SECONDS: Final = 60.0
_DAY_MS: Final = 86_400_000


class KafkaDestination:
    """The log itself. `topics` gives the real name of a topic, where the settings call it differently."""

    name = "kafka"

    def __init__(self, settings: KafkaSettings, topics: Mapping[str, str] | None = None) -> None:
        self._settings = settings
        self._topics = topics if topics is not None else {DETECTIONS_TOPIC: settings.detections_topic}
        self._producer: KafkaProducer | None = None

    def deliver(self, messages: Sequence[OutboxMessage]) -> Iterator[tuple[OutboxMessage, DeliveryError | None]]:
        """Send all messages, then wait for each acknowledgement."""
        try:
            if self._producer is None:
                self._producer = make_producer(self._settings)
        except UnavailableError:
            yield messages[0], DeliveryError(Fault.DESTINATION, "NO_BROKER")
            return
        sent = [(message, self._send(self._producer, message)) for message in messages]
        broken = False
        for message, acknowledgement in sent:
            error = acknowledgement if isinstance(acknowledgement, DeliveryError) else None
            if error is None:
                try:
                    acknowledgement.get(timeout=_ACKNOWLEDGED_SECONDS)
                except KafkaError as failure:
                    broken = True
                    error = DeliveryError(Fault.DESTINATION, type(failure).__name__)
            yield message, error
        if broken:
            self.close()  # an idempotent producer that has failed may never work again

    def close(self) -> None:
        """Close the producer; what it still holds is sent again by the next one."""
        if self._producer is not None:
            self._producer.close(timeout=5)
            self._producer = None

    def _send(self, producer: KafkaProducer, message: OutboxMessage) -> Any:
        try:
            return producer.send(
                self._topics.get(message.topic, message.topic),
                key=message.key.encode() if message.key is not None else None,
                value=message_body(message),
                headers=[(MESSAGE_ID_HEADER, message.message_id.encode())],
            )
        except MessageSizeTooLargeError:
            return DeliveryError(Fault.PERMANENT, "TOO_LARGE")
        except KafkaError as failure:
            return DeliveryError(Fault.DESTINATION, type(failure).__name__)


class Relay:
    """Moves messages from the outbox to all destinations.

    Args:
        engine: the database.
        destinations: where every message goes; their names differ.
        clock: the machine's time by default.
        chance: spreads the retries.
        keep_days: for how long messages stay in the database after the last of their destinations was settled.

    """

    def __init__(
        self,
        engine: Engine,
        destinations: Sequence[Destination],
        clock: Clock | None = None,
        chance: random.Random | None = None,
        keep_days: int = 7,
    ) -> None:
        self._engine = engine
        self._keep_ms = keep_days * _DAY_MS
        self._destinations = tuple(destinations)
        self._names = [destination.name for destination in destinations]
        self._clock = clock or SystemClock()
        self._chance = chance or random.Random()  # noqa: S311 - spreads load, guards nothing

    def run(self, stopping: threading.Event) -> None:
        """Deliver until `stopping` is set."""
        with write(self._engine) as connection:
            abandoned = abandon_deliveries(connection, self._names, self._now())
        if abandoned:
            log.warning("deliveries abandoned: their destinations are no longer in the settings", deliveries=abandoned)
        ended = threading.Event()
        threads = [
            threading.Thread(target=self._serve, args=(destination, stopping, ended), name=f"relay-{destination.name}")
            for destination in self._destinations
        ]
        for thread in threads:
            thread.start()
        try:
            next_removal = time.monotonic()
            while not stopping.wait(_IDLE_SECONDS):
                self.route()
                if time.monotonic() >= next_removal and self.remove_old() < _REMOVED_AT_ONCE:
                    next_removal = time.monotonic() + _REMOVAL_SECONDS
        finally:
            ended.set()
            for thread in threads:
                thread.join()

    def route(self) -> int:
        """Make the deliveries of new messages; how many messages."""
        try:
            with write(self._engine) as connection:
                return route_messages(connection, self._names, self._now(), _BATCH)
        except (OperationalError, InterfaceError) as error:
            log.warning("outbox not read; trying again", error=type(error).__name__)
            return 0

    def remove_old(self) -> int:
        """Remove messages that were settled everywhere longer ago than they are kept, 1,000 at once; how many."""
        try:
            with write(self._engine) as connection:
                return remove_settled(connection, self._now() - self._keep_ms, _REMOVED_AT_ONCE)
        except (OperationalError, InterfaceError) as error:
            log.warning("old messages not removed; trying again", error=type(error).__name__)
            return 0

    def deliver_due(self, destination: Destination) -> bool:
        """One round for one destination; False when it takes nothing at the moment."""
        with read(self._engine) as connection:
            messages = due_messages(connection, destination.name, self._now(), _BATCH)
        takes = True
        if messages:
            for message, error in destination.deliver(messages):
                self._record(destination.name, message, error)
                takes = takes and (error is None or error.fault is not Fault.DESTINATION)
        return takes

    def _serve(self, destination: Destination, stopping: threading.Event, ended: threading.Event) -> None:
        failures = 0
        while not (stopping.is_set() or ended.is_set()):
            try:
                takes = self.deliver_due(destination)
            except Exception as error:  # noqa: BLE001 - whatever is wrong with one destination, the others go on
                log.warning("delivery round failed", destination=destination.name, error=type(error).__name__)
                takes = False
            failures = 0 if takes else failures + 1
            pause = retry_delay_ms(failures, self._chance) / 1000 if failures else _IDLE_SECONDS
            _wait(pause, stopping, ended)
        with contextlib.suppress(KafkaError):
            destination.close()

    def _record(self, destination: str, message: OutboxMessage, error: DeliveryError | None) -> None:
        now = self._now()
        with write(self._engine) as connection:
            if error is None:
                settle_delivery(connection, destination, message.outbox_id, now)
            elif error.fault is Fault.PERMANENT:
                status = DeliveryStatus.UNDELIVERABLE
                settle_delivery(connection, destination, message.outbox_id, now, status, error.reason)
            else:
                later = now + retry_delay_ms(message.attempts + 1, self._chance)
                postpone_delivery(connection, destination, message.outbox_id, later, error.reason)
        if error is not None:
            log.warning(
                "not delivered",
                destination=destination,
                message_id=message.message_id,
                reason=error.reason,
                attempts=message.attempts + 1,
            )

    def _now(self) -> int:
        return now_ms(self._clock)


def run_relay(context: JobContext) -> bool:
    """The relay as a job that never ends: to Kafka and to the webhooks of the settings."""
    settings = context.settings
    destinations: list[Destination] = [KafkaDestination(settings.kafka), *make_webhooks(settings.webhooks)]
    Relay(context.engine, destinations, keep_days=settings.relay.keep_days).run(context.stopping)
    return False


def _wait(seconds: float, *events: threading.Event) -> None:
    """Wait, in steps of half a second, until one of the events is set."""
    left = seconds
    while left > 0 and not any(event.is_set() for event in events):
        events[0].wait(min(left, _IDLE_SECONDS))
        left -= _IDLE_SECONDS
