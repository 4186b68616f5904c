"""State made from the archive: imported history first, then the topic's own rows, in log order.

For when snapshots are lost or of another layout of the state, or history was imported after the stream had begun. The
result is registered as a checkpoint at the offset up to which the archive is complete; the worker reads the rest from
the topic when it takes the partition over.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from kafka import TopicPartition
from numpy.typing import NDArray
from sqlalchemy import Engine

from fraud.errors import ConflictError, NotFoundError, UnavailableError
from fraud.settings import KafkaSettings
from fraud.store.database import read, write
from fraud.store.effects import read_position
from fraud.store.operations import newest_checkpoint, prune_checkpoints
from fraud.store.records import PartitionKey, Position
from models.card_state import CARD_STATE
from models.features import compute_features
from models.profiles import with_profiles
from models.state import CardStates, Records
from streams.archive import ArchiveReader, ArchiveTable
from streams.dedupe import DedupeWindow
from streams.history.accumulating import HistoryState, ProfileSettings
from streams.history.importing import replay_imports
from streams.kafka import make_consumer
from streams.lag import end_offsets
from streams.pipeline import PartitionState
from streams.snapshots import Snapshots, save_state

Progress = Callable[[str, int], None]
Payloads = Callable[[PartitionKey, int, int], Iterator[tuple[int, bytes]]]

_POLL_MS = 500
_POLL_RECORDS = 10_000
_SILENT_SECONDS = 30.0  # without a record and without moving on, the broker counts as away
_ANY = 2**62  # further than every offset
# The window compares what payloads said. One that the log no longer has counts as empty, which no record is, so that
# the same event once more is quarantined: it changes nothing, and is seen.
_UNKNOWN = b""


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """One partition: state at `offset`, made of `rows` rows of the topic beside the imported ones.

    `differing` is the number of cards that are not as the newest snapshot has them; None where none was compared.
    """

    partition: int
    offset: int
    rows: int
    cards: int
    registered: bool = False
    differing: int | None = None


class StateRebuild:
    """Rebuilds the state of partitions.

    Args:
        engine: the database.
        table: the archive.
        snapshots: where the state goes.
        settings: as the stream has them.
        dedupe_window: event ids remembered a partition.
        payloads: gives the log's payloads of a partition from one offset to before another, as far as it still has
            them.
        progress: told what is being done, and the rows done.

    """

    def __init__(
        self,
        engine: Engine,
        table: ArchiveTable,
        snapshots: Snapshots,
        settings: ProfileSettings,
        dedupe_window: int,
        payloads: Payloads,
        progress: Progress,
    ) -> None:
        self._engine = engine
        self._table = table
        self._reader = ArchiveReader(table)
        self._snapshots = snapshots
        self._settings = settings
        self._dedupe_window = dedupe_window
        self._payloads = payloads
        self._progress = progress
        self._imported: HistoryState | None = None

    def rebuild(self, key: PartitionKey, beginning: int, now: int, *, force: bool = False) -> Rebuilt:
        """Make a partition's state and register it as its newest checkpoint.

        Args:
            key: the partition.
            beginning: its first offset in the log, where the state begins when the archive has no rows of the topic.
            now: the machine's time.
            force: even though a worker is recorded as the owner, or newer checkpoints have to be forgotten.

        Raises:
            ConflictError: a worker owns the partition, or the archive ends before the newest checkpoint.
            NotFoundError: there is nothing to make state from.

        """
        position = self._position(key)
        if position is not None and position.owner is not None and not force:
            message = (
                f"partition {key.partition} belongs to worker {position.owner}; stop it first. If it was killed and "
                "cannot come back, use --force"
            )
            raise ConflictError(message)
        offset = self._offset(key, position, beginning)
        with read(self._engine) as connection:
            newest = newest_checkpoint(connection, key, _ANY)
        beyond = newest is not None and newest.next_offset > offset
        if beyond and not force:
            message = (
                f"partition {key.partition}: the archive ends at {offset}, before the newest checkpoint; --force "
                "forgets the checkpoints, and the log has to reach back to there"
            )
            raise ConflictError(message)
        epoch = position.owner_epoch if position is not None else 0
        state, rows = self.state(key, offset, epoch)
        cards = len(state.cards)
        if beyond:
            with write(self._engine) as connection:
                prune_checkpoints(connection, key, 0)
        if not save_state(self._snapshots, state, now):
            message = f"partition {key.partition} was taken over by a worker meanwhile; stop it and do this again"
            raise ConflictError(message)
        return Rebuilt(key.partition, offset, rows, cards, registered=True)

    def verify(self, key: PartitionKey) -> Rebuilt:
        """Make a partition's state at its newest checkpoint and compare the two; nothing is written.

        Raises:
            NotFoundError: there is no checkpoint that the archive reaches.
            SnapshotError: the checkpoint cannot be read.

        """
        position = self._position(key)
        archived = self._reader.archived_offset(key.topic_id, key.partition)
        with read(self._engine) as connection:
            checkpoint = newest_checkpoint(connection, key, _ANY if archived is None else archived)
        if checkpoint is None:
            message = f"partition {key.partition} has no checkpoint that the archive reaches"
            raise NotFoundError(message)
        epoch = position.owner_epoch if position is not None else 0
        state, rows = self.state(key, checkpoint.next_offset, epoch)
        saved, _ = self._snapshots.load(key, epoch, checkpoint.next_offset)
        if saved.next_offset != checkpoint.next_offset:
            message = f"partition {key.partition}: the newest checkpoint is damaged"
            raise NotFoundError(message)
        differing = differing_cards(state.cards, saved.cards)
        return Rebuilt(key.partition, checkpoint.next_offset, rows, len(state.cards), differing=differing)

    def state(self, key: PartitionKey, offset: int, epoch: int) -> tuple[PartitionState, int]:
        """A partition's state before `offset`, and how many of the topic's rows it was made of."""
        if self._imported is None:
            self._imported = replay_imports(self._table, self._settings, self._progress)
        cards = self._imported.partition(key.partition)
        seen: deque[tuple[int, str]] = deque(maxlen=self._dedupe_window)
        rows = 0
        own = self._settings
        for part in self._reader.rows_in_log_order(key.topic_id, key.partition, 0, offset):
            columns = with_profiles(part.columns, own.profile_by)
            compute_features(columns, cards, home_country=own.home_country, timezone=own.timezone)
            seen.extend(zip(part.offsets.tolist(), part.columns["event_id"].tolist(), strict=True))
            rows += len(part)
            self._progress(f"partition {key.partition}", len(part))
        return PartitionState(key, epoch, offset, cards, self._window(key, list(seen), offset)), rows

    def _window(self, key: PartitionKey, seen: list[tuple[int, str]], offset: int) -> DedupeWindow:
        """The last event ids; what their records said comes from the log, as far as it reaches back."""
        window = DedupeWindow(self._dedupe_window)
        if not seen:
            return window
        wanted = dict(seen)
        found = {at: value for at, value in self._payloads(key, seen[0][0], offset) if at in wanted}
        window.judge([event_id for _, event_id in seen], [found.get(at, _UNKNOWN) for at, _ in seen])
        return window

    def _position(self, key: PartitionKey) -> Position | None:
        with read(self._engine) as connection:
            return read_position(connection, key)

    def _offset(self, key: PartitionKey, position: Position | None, beginning: int) -> int:
        archived = self._reader.archived_offset(key.topic_id, key.partition)
        if archived is None:
            if position is not None and position.next_offset > beginning:
                message = f"partition {key.partition} has processed records, and the archive has none of them"
                raise NotFoundError(message)
            return beginning
        return archived if position is None else min(archived, position.next_offset)


def differing_cards(one: CardStates, other: CardStates) -> int:
    """Cards that are in one only, or whose records are not the same bytes."""
    slots = other.slots(one.keys, create=False)
    both = slots >= 0
    same = (_as_bytes(one.records[both]) == _as_bytes(other.records[slots[both]])).all(axis=1).sum()
    return len(one) + len(other) - int(both.sum()) - int(same)


def _as_bytes(records: Records) -> NDArray[np.uint8]:
    return np.ascontiguousarray(records).view(np.uint8).reshape(len(records), CARD_STATE.itemsize)


def log_payloads(settings: KafkaSettings) -> Payloads:
    """Payloads read from the broker, without a group; from where the log begins, if that is later."""

    def payloads(key: PartitionKey, start: int, stop: int) -> Iterator[tuple[int, bytes]]:
        wanted = TopicPartition(key.topic, key.partition)
        with contextlib.closing(make_consumer(settings, _POLL_RECORDS)) as consumer:
            consumer.assign([wanted])
            at = max(start, consumer.beginning_offsets([wanted])[wanted])
            stop = min(stop, end_offsets(consumer, [wanted])[wanted])
            if at < stop:
                consumer.seek(wanted, at)
            moved = time.monotonic()
            while at < stop:
                for record in consumer.poll(timeout_ms=_POLL_MS).get(wanted, []):
                    if record.offset < stop:
                        yield record.offset, record.value or b""
                if consumer.position(wanted) != at:
                    moved, at = time.monotonic(), consumer.position(wanted)
                elif time.monotonic() - moved > _SILENT_SECONDS:
                    message = f"partition {key.partition}: the broker gives no record from offset {at} on"
                    raise UnavailableError(message)

    return payloads
