"""The worker: a member of the consumer group that turns transactions into cases.

One loop, one thread of its own. Effects and position go to the database in one transaction, so a restart continues
exactly where the effects end. The Kafka group commit is only a hint for tools that show lag.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Sequence
from typing import Any

import structlog
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError
from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from fraud.clock import now_ms
from fraud.errors import ConfigurationError, MimamoriError
from fraud.settings import Settings
from fraud.store.database import read, write
from fraud.store.effects import commit_effects, list_positions
from fraud.store.records import PartitionEffects
from streams.archive.writer import ArchiveWriter
from streams.assignment import Assignments
from streams.breaker import CircuitBreaker
from streams.checkpointing import Checkpointer
from streams.kafka import make_consumer, topic_id
from streams.observer import WorkerObserver
from streams.partitions import Partitions
from streams.pipeline import Pipeline, Processed
from streams.reference import References
from streams.snapshots import Snapshots
from streams.watchdog import ProgressWatch, Watchdog

log = structlog.get_logger(__name__)

_POLL_MS = 200
_HINT_SECONDS = 5.0
_ENDS_SECONDS = 20.0
_ENDS_TIMEOUT_MS = 1_000
_LAST_CHECKPOINT_SECONDS = 12.0  # of the 25 in which a worker ends


class StalledError(MimamoriError):
    """A partition has records and does not move: the client gives none of it. Another process may."""

    code = "STALLED"


class Worker:
    """One worker process's share of the stream.

    Args:
        settings: the process's settings.
        engine: the database.
        pipeline: the way of a batch.
        references: the current reference set.
        snapshots: where state comes from and goes.
        archive: where transactions go.
        observer: told what happens, for metrics and probes.

    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        pipeline: Pipeline,
        references: References,
        snapshots: Snapshots,
        archive: ArchiveWriter,
        observer: WorkerObserver | None = None,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._pipeline = pipeline
        self._references = references
        self._snapshots = snapshots
        self._archive = archive
        self._observer = observer or WorkerObserver()
        self._owner = f"{socket.gethostname()}:{os.getpid()}"
        self._stopping = False
        self._breaker = CircuitBreaker(settings.stream.circuit_breaker_ratio)
        self._progress = ProgressWatch(settings.stream.stalled_seconds)
        self._next_hint = self._next_ends = 0.0
        self._known_ends: dict[TopicPartition, int] = {}
        self._holding = False  # nothing is taken from the log until a checkpoint is through

    def stop(self) -> None:
        """Ask the loop to end after the batch in hand. Safe to call from a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Consume until `stop()`. Raises whatever makes going on wrong; a supervisor starts the process again."""
        kafka = self._settings.kafka
        identity = topic_id(kafka, kafka.transactions_topic)
        self._refuse_recreated_topic(identity)
        self._checkpointer = Checkpointer(self._settings.stream, self._snapshots, self._archive, self._observer)
        consumer = make_consumer(kafka, self._settings.stream.max_poll_records)
        assignments = Assignments(consumer)
        self._partitions = Partitions(
            self._settings,
            self._engine,
            consumer,
            identity,
            self._owner,
            self._pipeline,
            self._references,
            self._snapshots,
            self._archive,
            self._checkpointer,
            self._observer,
        )
        try:
            consumer.subscribe([kafka.transactions_topic], listener=assignments)
            log.info("worker started", topic=kafka.transactions_topic, group=kafka.group_id, owner=self._owner)
            with Watchdog(kafka.max_poll_interval_ms / 1000) as watchdog:
                while not self._stopping:
                    watchdog.beat()
                    self._observer.beat()
                    self._step(consumer, assignments)
        finally:
            self._close(consumer)
            log.info("worker stopped", owner=self._owner)

    def _step(self, consumer: KafkaConsumer, assignments: Assignments) -> None:
        partitions = self._partitions
        polled = consumer.poll(timeout_ms=0 if partitions.is_taking_over else _POLL_MS)
        self._observer.polled(sum(map(len, polled.values())))
        for what, partition in assignments.take():
            self._progress.forget(partition.partition)
            polled.pop(partition, None)  # read before the seek to the position, from where it is read again
            if what == "gained":
                partitions.gain(partition)
            else:
                partitions.lose(partition)
        partitions.advance()
        self._process(consumer, polled)
        self._checkpointer.step(partitions.held())
        self._hold(consumer)
        self._hint(consumer)

    def _process(self, consumer: KafkaConsumer, polled: dict[TopicPartition, list[Any]]) -> None:
        states = self._partitions.states
        batches = [
            (states[partition], records)
            for partition, records in polled.items()
            if records and partition in states and records[0].offset >= states[partition].next_offset
        ]
        if not batches:
            return
        reference = self._references.current()
        self._observer.reference(reference.reference_set_id)
        now, started = now_ms(), time.monotonic()
        processed = [self._pipeline.process(state, records, reference, now) for state, records in batches]
        effects = [item.effects for item in processed]
        self._breaker.check(effects)
        self._observer.batch(effects, time.monotonic() - started)
        for item in effects:
            self._observer.missing(item.missing)
        started = time.monotonic()
        fenced = self._commit(consumer, effects)
        self._keep(processed, fenced)
        self._observer.committed([item for item in effects if item not in fenced], time.monotonic() - started)

    def _keep(self, processed: Sequence[Processed], fenced: Sequence[PartitionEffects]) -> None:
        """What is committed goes to the archive; a fenced partition has moved on without us and is forgotten."""
        for item in processed:
            key = item.effects.key
            if item.effects in fenced:
                log.warning("partition fenced", partition=key.partition, epoch=item.effects.owner_epoch)
                self._partitions.drop(TopicPartition(key.topic, key.partition))
                self._progress.forget(key.partition)
            else:
                self._checkpointer.add(key, item.archive_rows, item.effects.next_offset - item.effects.expected_offset)

    def _commit(self, consumer: KafkaConsumer, effects: Sequence[PartitionEffects]) -> list[PartitionEffects]:
        """One transaction for the whole micro-batch. While the database is away: hold the batch and stay a member.

        A commit whose answer was lost is tried again like any other: effects that are there already stay as they are.
        """
        delay = 0.1
        paused: set[TopicPartition] = set()
        while True:
            try:
                with write(self._engine) as connection:
                    fenced = commit_effects(connection, effects)
            except (OperationalError, InterfaceError) as error:
                log.warning("commit failed; retrying", error=type(error).__name__, seconds=delay)
                self._observer.database_retry()
                if self._stopping:
                    # Nothing of the batch is in the database, or all of it: the next owner sees which.
                    raise
                paused |= set(consumer.assignment()) - set(consumer.paused())
                consumer.pause(*paused)
                consumer.poll(timeout_ms=int(delay * 1000))
                self._observer.beat()
                delay = min(delay * 2, 5.0)
            else:
                if paused:
                    consumer.resume(*(paused & set(consumer.assignment()) & set(self._partitions.states)))
                return fenced

    def _hold(self, consumer: KafkaConsumer) -> None:
        """Take nothing from the log while too much waits for a checkpoint that cannot be written."""
        full = self._checkpointer.is_full
        running = set(consumer.assignment()) & set(self._partitions.states)
        if full:
            if not self._holding:
                log.warning("too many rows wait for a checkpoint; no records are taken until one is written")
            consumer.pause(*running)
        elif self._holding:
            consumer.resume(*running)
        self._holding = full

    def _hint(self, consumer: KafkaConsumer) -> None:
        """Tell the broker where we are, for lag tools (nothing reads it back), and look whether everything moves."""
        states = self._partitions.states
        if time.monotonic() < self._next_hint or not states:
            return
        self._next_hint = time.monotonic() + _HINT_SECONDS
        now = time.monotonic()
        ends = self._ends(consumer)
        for partition, state in states.items():
            number = partition.partition
            self._observer.state(number, len(state.cards), state.cards.records.nbytes)
            # What a fetch has told, and what the broker says: a partition that is never fetched must be seen too, and
            # the embedded broker understates its ends.
            end = max(ends.get(partition, 0), consumer.highwater(partition) or 0)
            behind = max(0, end - state.next_offset)
            age = (now_ms() - state.logged_at) / 1000 if behind and state.logged_at else 0.0
            self._observer.lag(number, behind, max(0.0, age))
            self._progress.seen(number, state.next_offset, end, paused=self._holding, now=now)
        if stalled := self._progress.stalled(now):
            message = f"partitions {stalled} have records and do not move; the process ends to start anew"
            raise StalledError(message)
        offsets: dict[TopicPartition, Any] = {
            partition: OffsetAndMetadata(state.next_offset, "", -1) for partition, state in states.items()
        }
        consumer.commit_async(offsets)

    def _ends(self, consumer: KafkaConsumer) -> dict[TopicPartition, int]:
        """Where the broker says that the partitions end, asked seldom; nothing while it does not answer."""
        if time.monotonic() >= self._next_ends:
            self._next_ends = time.monotonic() + _ENDS_SECONDS
            with contextlib.suppress(KafkaError):
                self._known_ends = consumer.end_offsets(list(self._partitions.states), timeout_ms=_ENDS_TIMEOUT_MS)
        return self._known_ends

    def _refuse_recreated_topic(self, identity: str) -> None:
        kafka = self._settings.kafka
        with read(self._engine) as connection:
            others = {
                position.key.topic_id
                for position in list_positions(connection)
                if position.key.group_id == kafka.group_id and position.key.topic == kafka.transactions_topic
            }
        if others - {identity}:
            message = (
                f"topic {kafka.transactions_topic} has been made anew: its id is not the one of the stored positions. "
                "Use another kafka.group_id, or remove the old positions on purpose"
            )
            raise ConfigurationError(message)

    def _close(self, consumer: KafkaConsumer) -> None:
        self._checkpointer.close(self._partitions.held(), _LAST_CHECKPOINT_SECONDS)
        self._partitions.close()
        try:
            consumer.close(autocommit=False, timeout_ms=5_000)
        except KafkaError as error:
            log.warning("consumer did not close cleanly", error=type(error).__name__)
