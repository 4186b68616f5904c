"""The worker: a member of the consumer group that turns transactions into cases.

One loop, one thread of its own. Effects and position go to the database in one transaction, so a restart continues
exactly where the effects end. The Kafka group commit is only a hint for tools that show lag.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

import structlog
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.errors import KafkaError
from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from fraud.clock import SystemClock
from fraud.errors import ConfigurationError, MimamoriError
from fraud.settings import Settings
from fraud.store.database import read, write
from fraud.store.effects import claim_position, commit_effects, list_positions
from fraud.store.operations import dead_letter_offsets
from fraud.store.position_resets import release_position
from fraud.store.records import PartitionEffects, PartitionKey
from streams.assignment import Assignments
from streams.kafka import make_consumer, topic_id
from streams.observer import WorkerObserver
from streams.pipeline import PartitionState, Pipeline
from streams.reference import References
from streams.snapshots import load_partition, save_partition
from streams.watchdog import Watchdog

log = structlog.get_logger(__name__)

_POLL_MS = 200
_HINT_SECONDS = 5.0
_BREAKER_WINDOW = 1_000
_REPLAY_POLL_RECORDS = 10_000


class CircuitBreakerError(MimamoriError):
    """So many records cannot be processed that the fault is upstream: stop and page, do not drain the topic."""

    code = "CIRCUIT_BREAKER"


class Worker:
    """One worker process's share of the stream.

    Args:
        settings: the process's settings.
        engine: the database.
        pipeline: the way of a batch.
        references: the current reference set.
        observer: told what happens, for metrics and probes.

    """

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        pipeline: Pipeline,
        references: References,
        observer: WorkerObserver | None = None,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._pipeline = pipeline
        self._references = references
        self._observer = observer or WorkerObserver()
        self._owner = f"{socket.gethostname()}:{os.getpid()}"
        self._clock = SystemClock()
        self._stopping = False
        self._states: dict[TopicPartition, PartitionState] = {}
        self._recent_refusals: deque[bool] = deque(maxlen=_BREAKER_WINDOW)
        self._next_hint = 0.0
        self._checkpointed: dict[TopicPartition, tuple[float, int]] = {}  # when, and at which offset

    def stop(self) -> None:
        """Ask the loop to end after the batch in hand. Safe to call from a signal handler."""
        self._stopping = True

    def run(self) -> None:
        """Consume until `stop()`. Raises whatever makes going on wrong; a supervisor starts the process again."""
        kafka = self._settings.kafka
        identity = topic_id(kafka, kafka.transactions_topic)
        self._refuse_recreated_topic(identity)
        consumer = make_consumer(kafka, self._settings.stream.max_poll_records)
        assignments = Assignments(consumer)
        try:
            consumer.subscribe([kafka.transactions_topic], listener=assignments)
            log.info("worker started", topic=kafka.transactions_topic, group=kafka.group_id, owner=self._owner)
            with Watchdog(kafka.max_poll_interval_ms / 1000) as watchdog:
                while not self._stopping:
                    watchdog.beat()
                    self._observer.beat()
                    self._step(consumer, assignments, identity)
        finally:
            self._close(consumer)
            log.info("worker stopped", owner=self._owner)

    def _step(self, consumer: KafkaConsumer, assignments: Assignments, identity: str) -> None:
        polled = consumer.poll(timeout_ms=_POLL_MS)
        self._observer.polled(sum(map(len, polled.values())))
        for what, partition in assignments.take():
            self._give_up(partition)
            polled.pop(partition, None)  # read before the seek to the position, from where it is read again
            if what == "gained":
                self._observer.assigned(partition.partition)
                self._states[partition] = self._take_over(consumer, partition, identity)
                consumer.resume(partition)
                self._observer.ready(partition.partition)
        reference = self._references.current()
        self._observer.reference(reference.reference_set_id)
        now, started = self._now(), time.monotonic()
        effects = [
            self._pipeline.process(self._states[partition], records, reference, now)
            for partition, records in polled.items()
            if records and partition in self._states and records[0].offset >= self._states[partition].next_offset
        ]
        if effects:
            self._check_breaker(effects)
            self._observer.batch(effects, time.monotonic() - started)
            for item in effects:
                self._observer.missing(item.missing)
            started = time.monotonic()
            fenced = self._commit(consumer, effects)
            self._drop(fenced)
            self._observer.committed([item for item in effects if item not in fenced], time.monotonic() - started)
        self._checkpoint_due()
        self._hint(consumer)

    def _take_over(self, consumer: KafkaConsumer, partition: TopicPartition, identity: str) -> PartitionState:
        """Claim a partition, load its state, and move it silently to the stored position."""
        kafka = self._settings.kafka
        key = PartitionKey(kafka.group_id, identity, partition.topic, partition.partition)
        beginning = consumer.beginning_offsets([partition])[partition]
        with write(self._engine) as connection:
            position = claim_position(connection, key, self._owner, self._now(), beginning)
        if position.next_offset < beginning:
            message = (
                f"partition {partition.partition}: the log begins at {beginning}, after the stored position "
                f"{position.next_offset}; records are lost, and going on needs a decision"
            )
            raise ConfigurationError(message)
        dedupe_window = self._settings.stream.dedupe_window
        state = load_partition(self._engine, key, position.owner_epoch, position.next_offset, dedupe_window)
        with read(self._engine) as connection:
            skip = dead_letter_offsets(connection, key, state.next_offset, position.next_offset)
        state.next_offset = max(state.next_offset, beginning)
        started = time.monotonic()
        replayed = self._replay(consumer, partition, state, position.next_offset, frozenset(skip))
        consumer.seek(partition, position.next_offset)
        state.next_offset = position.next_offset
        self._checkpointed[partition] = (time.monotonic(), position.next_offset)
        log.info(
            "partition taken over",
            partition=partition.partition,
            position=position.next_offset,
            epoch=position.owner_epoch,
            replayed=replayed,
            cards=len(state.cards),
            seconds=round(time.monotonic() - started, 2),
        )
        return state

    def _replay(
        self,
        consumer: KafkaConsumer,
        partition: TopicPartition,
        state: PartitionState,
        position: int,
        skip: frozenset[int],
    ) -> int:
        """Read from the replay point to the position again, for state only: no effect is repeated.

        It uses a consumer of its own, without a group, so that the group's poll interval is not its limit.
        """
        replayed = 0
        if state.next_offset >= position:
            return replayed
        with contextlib.closing(make_consumer(self._settings.kafka, _REPLAY_POLL_RECORDS)) as reader:
            reader.assign([partition])
            reader.seek(partition, state.next_offset)
            while state.next_offset < position and not self._stopping:
                records = [
                    record
                    for record in reader.poll(timeout_ms=_POLL_MS).get(partition, [])
                    if state.next_offset <= record.offset < position
                ]
                if records:
                    self._pipeline.replay(state, records, skip, self._now())
                    replayed += len(records)
                elif reader.position(partition) >= position:
                    break
        return replayed

    def _commit(self, consumer: KafkaConsumer, effects: Sequence[PartitionEffects]) -> list[PartitionEffects]:
        """One transaction for the whole micro-batch. While the database is away: hold the batch and stay a member."""
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
                    # Nothing of the batch is in the database; the next owner computes it again from the log.
                    raise
                paused = set(consumer.assignment())
                consumer.pause(*paused)
                consumer.poll(timeout_ms=int(delay * 1000))
                delay = min(delay * 2, 5.0)
            else:
                if paused:
                    consumer.resume(*(paused & consumer.assignment()))
                return fenced

    def _drop(self, fenced: Sequence[PartitionEffects]) -> None:
        """Another worker owns these partitions now: forget their state, it has moved on without us."""
        for effects in fenced:
            log.warning("partition fenced", partition=effects.key.partition, epoch=effects.owner_epoch)
            self._states.pop(TopicPartition(effects.key.topic, effects.key.partition), None)
            self._observer.revoked(effects.key.partition)

    def _give_up(self, partition: TopicPartition) -> None:
        """Forget a partition that is no longer ours, and say so in its position, for operators."""
        state = self._states.pop(partition, None)
        if state is not None:
            self._observer.revoked(partition.partition)
            self._checkpoint(partition, state)
            with contextlib.suppress(OperationalError, InterfaceError), write(self._engine) as connection:
                release_position(connection, state.key, state.owner_epoch, self._now())

    def _checkpoint_due(self) -> None:
        """Write at most one snapshot a round, of a partition that has moved since its last one."""
        for partition, state in self._states.items():
            last, offset = self._checkpointed[partition]
            waited = time.monotonic() - last >= self._settings.stream.checkpoint_seconds
            if state.next_offset > offset and waited:
                self._checkpoint(partition, state)
                return

    def _checkpoint(self, partition: TopicPartition, state: PartitionState) -> None:
        """A snapshot only shortens the next start: when it cannot be written now, the stream goes on without."""
        keep = self._settings.stream.checkpoints_kept
        folder = self._settings.snapshots_dir
        if self._checkpointed.get(partition, (0.0, -1))[1] == state.next_offset:
            return
        try:
            registered = save_partition(self._engine, folder, state, self._now(), keep)
        except (OSError, OperationalError, InterfaceError) as error:
            log.warning("snapshot not written", partition=partition.partition, error=type(error).__name__)
            registered = False
        self._checkpointed[partition] = (time.monotonic(), state.next_offset)
        if registered:
            self._observer.checkpointed(partition.partition)

    def _check_breaker(self, effects: Sequence[PartitionEffects]) -> None:
        for item in effects:
            counters = item.counters
            self._recent_refusals.extend([True] * counters.dead_lettered)
            self._recent_refusals.extend([False] * (counters.processed + counters.duplicates))
        refused = sum(self._recent_refusals)
        limit = self._settings.stream.circuit_breaker_ratio * _BREAKER_WINDOW
        if len(self._recent_refusals) == _BREAKER_WINDOW and refused >= limit:
            message = (
                f"{refused} of the last {_BREAKER_WINDOW} records cannot be processed; stopped before the batch was "
                "recorded. Look at the producer; raise stream.circuit_breaker_ratio only to let them through"
            )
            raise CircuitBreakerError(message)

    def _hint(self, consumer: KafkaConsumer) -> None:
        """Tell the broker where we are, for lag tools. Nothing reads it back."""
        if time.monotonic() < self._next_hint or not self._states:
            return
        self._next_hint = time.monotonic() + _HINT_SECONDS
        self._tell_lag(consumer)
        offsets: dict[TopicPartition, Any] = {
            partition: OffsetAndMetadata(state.next_offset, "", -1) for partition, state in self._states.items()
        }
        consumer.commit_async(offsets)

    def _tell_lag(self, consumer: KafkaConsumer) -> None:
        """Lag by the broker's last answer (no request); the time is that since the last record that was processed."""
        for partition, state in self._states.items():
            number = partition.partition
            self._observer.state(number, len(state.cards), state.cards.records.nbytes)
            end = consumer.highwater(partition)
            if end is not None:
                behind = max(0, end - state.next_offset)
                age = (self._now() - state.logged_at) / 1000 if behind and state.logged_at else 0.0
                self._observer.lag(number, behind, max(0.0, age))

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
        for partition in list(self._states):
            self._give_up(partition)
        try:
            consumer.close(autocommit=False, timeout_ms=5_000)
        except KafkaError as error:
            log.warning("consumer did not close cleanly", error=type(error).__name__)

    def _now(self) -> int:
        return int(self._clock.now().timestamp() * 1000)
