"""Card state made from history, handed to the worker as the snapshot that each partition starts from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from kafka.partitioner.default import murmur2
from numpy.typing import NDArray
from sqlalchemy import Engine

from fraud.store.database import write
from fraud.store.operations import register_checkpoint
from fraud.store.records import PartitionKey
from fraud.transactions import Columns
from models.card_state import STATE_SCHEMA_DIGEST
from models.state import CardStates
from streams.snapshots import file_digest


def partition_of(key: bytes, partitions: int) -> int:
    """The partition that Kafka's default partitioner gives a key."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


def seed_state(
    engine: Engine, snapshots_dir: Path, keys: list[PartitionKey], columns: Columns, states: CardStates, now: int
) -> None:
    """Register `states` (made from `columns`, all before the topic's first record) as every partition's first snapshot.

    Each partition gets the cards whose key it holds, so state stays strictly per partition.
    """
    card_keys, first = np.unique(columns["card_key"], return_index=True)
    owners = np.array(
        [partition_of(str(ref).encode(), len(keys)) for ref in columns["card_ref"][first]], dtype=np.int32
    )
    snapshots_dir = snapshots_dir.resolve()
    snapshots_dir.mkdir(parents=True, exist_ok=True)
    for key in keys:
        wanted = card_keys[owners == key.partition]
        path = snapshots_dir / f"{key.topic_id}-{key.partition:05d}-0-seed.npz"
        states.select(_is_in(wanted)).save(path)
        paths = [{"path": str(path), "sha256": file_digest(path)}]
        with write(engine) as connection:
            register_checkpoint(connection, key, 0, 0, STATE_SCHEMA_DIGEST, paths, now)


def _is_in(wanted: NDArray[np.uint64]):  # type: ignore[no-untyped-def]
    def chosen(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = np.isin(keys, wanted)
        return mask

    return chosen
