"""Card state made from history, handed to the worker as the snapshot that each partition starts from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from kafka.partitioner.default import murmur2
from numpy.typing import NDArray
from sqlalchemy import Engine

from fraud.errors import ConflictError
from fraud.store.database import read
from fraud.store.effects import read_position
from fraud.store.operations import newest_checkpoint
from fraud.store.records import PartitionKey
from fraud.transactions import Columns
from models.state import CardStates
from streams.dedupe import DedupeWindow
from streams.pipeline import PartitionState
from streams.snapshots import Snapshots, save_state

StatesOf = Callable[[int], CardStates]


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that Kafka's default partitioner gives a key."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


class StreamStart:
    """The place where a topic's partitions begin, and the state that they begin with.

    Args:
        engine: the database.
        snapshots: where the state goes.
        keys: the partitions.
        beginnings: the first offset of each in the log.

    """

    def __init__(
        self, engine: Engine, snapshots: Snapshots, keys: Sequence[PartitionKey], beginnings: Sequence[int]
    ) -> None:
        self._engine = engine
        self._snapshots = snapshots
        self._places = list(zip(keys, beginnings, strict=True))

    def check(self) -> None:
        """Raise `ConflictError`, which says what to do, when a partition has moved on or a worker owns it."""
        for key, beginning in self._places:
            with read(self._engine) as connection:
                position = read_position(connection, key)
            if position is None:
                continue
            if position.next_offset > beginning:
                message = (
                    f"partition {key.partition} has processed records already, so its state cannot begin with history; "
                    "import with --archive-only, stop the workers, and run `mimamori state rebuild`"
                )
                raise ConflictError(message)
            if position.owner is not None:
                message = f"partition {key.partition} belongs to worker {position.owner}; stop it first"
                raise ConflictError(message)

    def is_begun(self) -> bool:
        """True when every partition has state to begin with, or has moved on already."""
        for key, beginning in self._places:
            with read(self._engine) as connection:
                position = read_position(connection, key)
                checkpoint = newest_checkpoint(connection, key, beginning)
            if checkpoint is None and (position is None or position.next_offset <= beginning):
                return False
        return True

    def register(self, states_of: StatesOf, dedupe_window: int, now: int) -> int:
        """Register the state of each partition as its snapshot at its beginning; the profiles of all together.

        `states_of` gives a partition's states by its number.
        """
        profiles = 0
        for key, beginning in self._places:
            with read(self._engine) as connection:
                position = read_position(connection, key)
            epoch = position.owner_epoch if position is not None else 0
            states = states_of(key.partition)
            profiles += len(states)
            state = PartitionState(key, epoch, beginning, states, DedupeWindow(dedupe_window))
            if not save_state(self._snapshots, state, now):
                message = f"partition {key.partition} was taken over by a worker meanwhile; stop it and do this again"
                raise ConflictError(message)
        return profiles


def seed_state(snapshots: Snapshots, keys: list[PartitionKey], columns: Columns, states: CardStates, now: int) -> None:
    """Register `states` (made from `columns`, all before the topic's first record) as every partition's first snapshot.

    Each partition gets the cards whose key it holds, so state stays strictly per partition.
    """
    card_keys, first = np.unique(columns["card_key"], return_index=True)
    owners = np.array(
        [partition_of(str(ref).encode(), len(keys)) for ref in columns["card_ref"][first]], dtype=np.int32
    )
    for key in keys:
        own = states.select(is_in(card_keys[owners == key.partition]))
        save_state(snapshots, PartitionState(key, 0, 0, own, DedupeWindow(0)), now)


def is_in(wanted: NDArray[np.uint64]) -> Callable[[NDArray[np.uint64]], NDArray[np.bool_]]:
    """Chooses the wanted of all keys, for `CardStates.select`."""

    def chosen(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = np.isin(keys, wanted)
        return mask

    return chosen
