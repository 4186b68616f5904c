"""A partition that has come: claimed, its state loaded, and moved silently to the stored position.

It goes on in short steps, so that the partitions that are already running are not kept waiting and the group's poll
interval is never the limit, however long the replay is.
"""

from __future__ import annotations

import contextlib
import time
from bisect import bisect_right
from itertools import groupby

import structlog
from kafka import KafkaConsumer, TopicPartition
from sqlalchemy import Engine

from fraud.clock import now_ms
from fraud.errors import ConfigurationError
from fraud.settings import Settings
from fraud.store.database import read, write
from fraud.store.effects import activations, claim_position
from fraud.store.operations import dead_letter_offsets
from fraud.store.records import PartitionKey, Position
from streams.archive.writer import ArchiveWriter
from streams.kafka import make_consumer
from streams.pipeline import PartitionState, Pipeline
from streams.reference import References
from streams.snapshots import Chain, Snapshots
from streams.wire import RawRecord

log = structlog.get_logger(__name__)

_POLL_MS = 100
_REPLAY_POLL_RECORDS = 10_000


class TakeOver:
    """One partition on its way from its assignment to its first new record.

    Args:
        settings: the process's settings.
        engine: the database.
        consumer: the group's consumer, to ask where the log begins.
        partition: the partition.
        key: its name in the database.

    """

    def __init__(
        self, settings: Settings, engine: Engine, consumer: KafkaConsumer, partition: TopicPartition, key: PartitionKey
    ) -> None:
        self._settings = settings
        self._engine = engine
        self._consumer = consumer
        self._partition = partition
        self._key = key
        self._started = time.monotonic()
        self._replayed = 0
        self._reader: KafkaConsumer | None = None
        self.retry_at = 0.0  # of a clock that never goes back; not before then after an error

    def claim(self, owner: str) -> Position:
        """Become the partition's owner in the database."""
        beginning = self._consumer.beginning_offsets([self._partition])[self._partition]
        now = now_ms()
        with write(self._engine) as connection:
            position = claim_position(connection, self._key, owner, now, beginning)
        if position.next_offset < beginning:
            message = (
                f"partition {self._partition.partition}: the log begins at {beginning}, after the stored position "
                f"{position.next_offset}; records are lost, and going on needs a decision: mimamori positions reset"
            )
            raise ConfigurationError(message)
        self._position, self._beginning = position, beginning
        return position

    def load(self, snapshots: Snapshots, archive: ArchiveWriter) -> tuple[PartitionState, Chain]:
        """Load the newest snapshot that neither the position nor the archive is behind; replay begins there."""
        key, position = self._key, self._position
        archived = archive.archived_offset(key.topic_id, key.partition)
        at_most = position.next_offset if archived is None else min(position.next_offset, archived)
        state, chain = snapshots.load(key, position.owner_epoch, at_most)
        with read(self._engine) as connection:
            self._skip = frozenset(dead_letter_offsets(connection, key, state.next_offset, position.next_offset))
            self._sets = activations(connection, key, state.next_offset, position.next_offset)
        if not chain.parts:
            # Without a snapshot, state begins where processing began.
            first = self._sets[0][0] if self._sets else position.next_offset
            state.next_offset = max(state.next_offset, min(first, position.next_offset))
        if state.next_offset < self._beginning:
            self._check_gap(state.next_offset, archived)
            state.next_offset = self._beginning
        self._archived = archive.begin(key.topic_id, key.partition, state.next_offset)
        return state, chain

    def replay(
        self, state: PartitionState, pipeline: Pipeline, references: References, archive: ArchiveWriter, seconds: float
    ) -> bool:
        """Move state on for about that time; True when it has reached the position.

        It reads with a consumer of its own, without joining the group.
        """
        until = time.monotonic() + seconds
        end = self._position.next_offset
        while state.next_offset < end and time.monotonic() < until:
            reader = self._open(state.next_offset)
            polled = reader.poll(timeout_ms=_POLL_MS).get(self._partition, [])
            records = [record for record in polled if state.next_offset <= record.offset < end]
            for number, group in groupby(records, key=self._reference_set_of):
                part = list(group)
                reference = None if number is None else references.recorded(number)
                now = now_ms()
                rows = pipeline.replay(state, part, self._skip, reference, now)
                if rows is not None:
                    archive.add(self._key.topic_id, self._key.partition, rows)
            self._replayed += len(records)
            if not records and reader.position(self._partition) >= end:
                state.next_offset = end  # what was left are no records: markers of the log's own
        if state.next_offset < end:
            return False
        state.next_offset = end
        self.close()
        log.info(
            "partition taken over",
            partition=self._partition.partition,
            position=end,
            epoch=self._position.owner_epoch,
            replayed=self._replayed,
            cards=len(state.cards),
            seconds=round(time.monotonic() - self._started, 2),
        )
        return True

    @property
    def position(self) -> Position:
        """What was claimed."""
        return self._position

    def left(self, state: PartitionState) -> int:
        """Offsets that are still to be replayed."""
        return max(0, self._position.next_offset - state.next_offset)

    def close(self) -> None:
        """Leave the log."""
        if self._reader is not None:
            with contextlib.suppress(Exception):  # it has no group and no offsets: nothing depends on how it ends
                self._reader.close(autocommit=False, timeout_ms=1_000)
            self._reader = None

    def _open(self, offset: int) -> KafkaConsumer:
        if self._reader is None:
            self._reader = make_consumer(self._settings.kafka, _REPLAY_POLL_RECORDS)
            self._reader.assign([self._partition])
            self._reader.seek(self._partition, offset)
        return self._reader

    def _reference_set_of(self, record: RawRecord) -> int | None:
        """The set that a record ran under; None where its row is in the archive already."""
        if record.offset < self._archived or not self._sets:
            return None
        place = bisect_right(self._sets, record.offset, key=lambda item: item[0])
        return self._sets[max(0, place - 1)][1]

    def _check_gap(self, replay_point: int, archived: int | None) -> None:
        """The log no longer has the records from the replay point to where it begins."""
        number = self._partition.partition
        if archived is not None and archived > replay_point:
            message = (
                f"partition {number}: the newest snapshot is of offset {replay_point} and the log begins at "
                f"{self._beginning}; the archive has what is between. Rebuild the state: mimamori state rebuild"
            )
            raise ConfigurationError(message)
        if self._sets:
            log.warning(
                "the log no longer has records that state is made of",
                partition=number,
                from_offset=replay_point,
                to_offset=self._beginning,
            )
