"""The partitions that a worker has: running, on their way, or given away a moment ago.

A rebalance takes all partitions and gives most of them back seconds later. Their state is kept in memory meanwhile, and
used again where the database shows that nobody else has owned the partition in between.
"""

from __future__ import annotations

import contextlib
import time

import structlog
from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaError
from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from fraud.clock import now_ms
from fraud.errors import UnavailableError
from fraud.settings import Settings
from fraud.store.database import write
from fraud.store.position_resets import release_position
from fraud.store.records import PartitionKey
from streams.archive.writer import ArchiveWriter
from streams.checkpointing import Checkpointer
from streams.observer import WorkerObserver
from streams.pipeline import PartitionState, Pipeline
from streams.reference import References
from streams.snapshots import Snapshots
from streams.takeover import TakeOver

log = structlog.get_logger(__name__)

_PARKED_SECONDS = 60.0
_REPLAY_SECONDS_BESIDE_OTHERS = 0.1
_REPLAY_SECONDS_ALONE = 1.0
_RETRY_SECONDS = 1.0

# What goes away by itself: the take-over is begun again. Anything else ends the process and says what to do.
_TRANSIENT = (OperationalError, InterfaceError, KafkaError, UnavailableError)


class Partitions:
    """Gains and loses partitions for the worker's loop. For arguments, see `Worker`."""

    def __init__(
        self,
        settings: Settings,
        engine: Engine,
        consumer: KafkaConsumer,
        topic_id: str,
        owner: str,
        pipeline: Pipeline,
        references: References,
        snapshots: Snapshots,
        archive: ArchiveWriter,
        checkpointer: Checkpointer,
        observer: WorkerObserver,
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._consumer = consumer
        self._topic_id = topic_id
        self._owner = owner
        self._pipeline = pipeline
        self._references = references
        self._snapshots = snapshots
        self._archive = archive
        self._checkpointer = checkpointer
        self._observer = observer
        self.states: dict[TopicPartition, PartitionState] = {}  # of the partitions that are running
        self._coming: dict[TopicPartition, TakeOver] = {}
        self._loaded: dict[TopicPartition, PartitionState] = {}  # of those coming: being replayed
        self._parked: dict[TopicPartition, tuple[PartitionState, float]] = {}

    @property
    def is_taking_over(self) -> bool:
        """A partition is on its way and can go on now."""
        now = time.monotonic()
        return any(item.retry_at <= now for item in self._coming.values())

    def held(self) -> list[PartitionState]:
        """States that a checkpoint may be written of: running ones, and those given away a moment ago."""
        return [*self.states.values(), *(state for state, _ in self._parked.values())]

    def gain(self, partition: TopicPartition) -> None:
        """A partition has been assigned; it stays paused until `advance` has taken it over."""
        self.lose(partition)  # assigned anew without having been revoked: the position decides, not what we have
        self._coming[partition] = self._take_over(partition)
        self._observer.assigned(partition.partition)

    def lose(self, partition: TopicPartition) -> None:
        """A partition has been revoked. Its state is kept for a while: often it comes back at once."""
        self._stop_taking_over(partition)
        state = self.states.pop(partition, None)
        if state is None:
            return
        self._parked[partition] = (state, time.monotonic() + _PARKED_SECONDS)
        self._release(state)
        if self._checkpointer.is_idle:
            self._checkpointer.start(self.held())

    def drop(self, partition: TopicPartition) -> None:
        """A running partition turned out to be somebody else's."""
        state = self.states.pop(partition)
        self._checkpointer.forget(state.key)
        self._observer.revoked(partition.partition)

    def advance(self) -> None:
        """Take the next step with one of the partitions that are coming; forget what was parked for long."""
        now = time.monotonic()
        for partition, (state, until) in list(self._parked.items()):
            if now >= until:
                self._forget(partition, state)
        ready = [partition for partition, item in self._coming.items() if item.retry_at <= now]
        if not ready:
            return
        partition = ready[0]
        try:
            done = self._advance(partition, self._coming[partition])
        except _TRANSIENT as error:
            log.warning("take-over begins again", partition=partition.partition, error=type(error).__name__)
            self._stop_taking_over(partition)
            self._coming[partition] = self._take_over(partition)
            self._coming[partition].retry_at = now + _RETRY_SECONDS
        else:
            if done:
                self._coming.pop(partition)
                self._consumer.resume(partition)
                self._observer.ready(partition.partition)

    def close(self) -> None:
        """Give up what is running, and leave the log."""
        for state in self.states.values():
            self._release(state)
        for item in self._coming.values():
            item.close()

    def _advance(self, partition: TopicPartition, coming: TakeOver) -> bool:
        state = self._loaded.get(partition)
        if state is None:
            position = coming.claim(self._owner)
            self._references.refresh()  # at least as new as what the partition ran under before
            parked = self._parked.pop(partition, None)
            if parked is not None and _is_current(parked[0], position.next_offset, position.owner_epoch):
                state = parked[0]
                state.owner_epoch = position.owner_epoch
                log.info("partition came back", partition=partition.partition, position=state.next_offset)
                self._start(partition, state)
                return True
            if parked is not None:
                self._checkpointer.forget(parked[0].key)
            state, chain = coming.load(self._snapshots, self._archive)
            self._checkpointer.begin(state.key, chain, state.next_offset)
            self._loaded[partition] = state
        seconds = _REPLAY_SECONDS_BESIDE_OTHERS if self.states else _REPLAY_SECONDS_ALONE
        done = coming.replay(state, self._pipeline, self._references, self._archive, seconds)
        self._observer.replaying(partition.partition, coming.left(state))
        if done:
            self._start(partition, self._loaded.pop(partition))
        return done

    def _start(self, partition: TopicPartition, state: PartitionState) -> None:
        self._consumer.seek(partition, state.next_offset)
        self.states[partition] = state

    def _release(self, state: PartitionState) -> None:
        """Say in the position, for operators, that the partition is nobody's."""
        self._observer.revoked(state.key.partition)
        with contextlib.suppress(OperationalError, InterfaceError), write(self._engine) as connection:
            release_position(connection, state.key, state.owner_epoch, now_ms())

    def _take_over(self, partition: TopicPartition) -> TakeOver:
        key = PartitionKey(self._settings.kafka.group_id, self._topic_id, partition.topic, partition.partition)
        return TakeOver(self._settings, self._engine, self._consumer, partition, key)

    def _stop_taking_over(self, partition: TopicPartition) -> None:
        coming = self._coming.pop(partition, None)
        if coming is not None:
            coming.close()
        loaded = self._loaded.pop(partition, None)
        if loaded is not None:
            self._checkpointer.forget(loaded.key)

    def _forget(self, partition: TopicPartition, state: PartitionState) -> None:
        del self._parked[partition]
        self._checkpointer.forget(state.key)


def _is_current(state: PartitionState, next_offset: int, owner_epoch: int) -> bool:
    """Nobody has owned the partition since: it was claimed once, by us just now."""
    return state.next_offset == next_offset and state.owner_epoch + 1 == owner_epoch
