"""Where a partition's state starts from: its newest usable snapshot, or nothing and the beginning of the log."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import msgspec
import structlog
from sqlalchemy import Engine

from fraud.errors import ConflictError, MimamoriError
from fraud.store.database import read, write
from fraud.store.operations import newest_checkpoint, prune_checkpoints, register_checkpoint
from fraud.store.records import PartitionKey
from fraud.store.views import CheckpointView
from models.card_state import STATE_SCHEMA_DIGEST
from models.files import replacing
from models.state import CardStates, StateFileError
from streams.dedupe import DedupeWindow
from streams.pipeline import PartitionState

log = structlog.get_logger(__name__)

_CARDS: Final = ".cards.npz"
_EVENT_IDS: Final = ".event-ids.msgpack"


class SnapshotError(MimamoriError):
    """A snapshot cannot be used; the message says which file and what to do."""

    code = "SNAPSHOT"


def save_partition(engine: Engine, folder: Path, state: PartitionState, now: int, keep: int) -> bool:
    """Write a snapshot of a partition at its committed offset and register it; only the newest `keep` stay.

    The files come first, the row after them, so that a registered checkpoint is always complete. False when somebody
    else owns the partition by now: then nothing is left behind.
    """
    key, folder = state.key, folder.resolve()  # registered paths must not depend on where a process was started
    stem = f"{key.topic_id}-{key.partition:05d}-{state.next_offset}-{state.owner_epoch}"
    folder.mkdir(parents=True, exist_ok=True)
    cards, event_ids = folder / f"{stem}{_CARDS}", folder / f"{stem}{_EVENT_IDS}"
    state.cards.save(cards)
    with replacing(event_ids) as file:
        file.write(msgspec.msgpack.encode(state.dedupe.entries()))
    paths = [{"path": str(path), "sha256": file_digest(path)} for path in (cards, event_ids)]
    try:
        with write(engine) as connection:
            register_checkpoint(connection, key, state.next_offset, state.owner_epoch, STATE_SCHEMA_DIGEST, paths, now)
            unneeded = prune_checkpoints(connection, key, keep)
        registered = True
    except ConflictError:
        unneeded = [str(cards), str(event_ids)]
        registered = False
    for path in unneeded:
        Path(path).unlink(missing_ok=True)
    return registered


def load_partition(
    engine: Engine, key: PartitionKey, owner_epoch: int, position: int, dedupe_window: int
) -> PartitionState:
    """State at the newest usable checkpoint at or before `position`; its `next_offset` is the replay point.

    A damaged snapshot is passed over for an older one: the log between them is read again. When there are snapshots
    and none can be used, `SnapshotError`: the log alone may not reach back far enough.
    """
    fault: SnapshotError | None = None
    at_most = position
    while True:
        with read(engine) as connection:
            checkpoint = newest_checkpoint(connection, key, at_most)
        if checkpoint is None:
            if fault is not None:
                raise fault
            return PartitionState(key, owner_epoch, 0, CardStates(), DedupeWindow(dedupe_window))
        try:
            return _restored(checkpoint, key, owner_epoch, dedupe_window)
        except SnapshotError as error:
            log.warning("snapshot passed over", partition=key.partition, offset=checkpoint.next_offset)
            fault, at_most = error, checkpoint.next_offset - 1


def _restored(checkpoint: CheckpointView, key: PartitionKey, owner_epoch: int, dedupe_window: int) -> PartitionState:
    cards, dedupe = CardStates(), DedupeWindow(dedupe_window)
    for part in checkpoint.paths:
        path = Path(part["path"])
        verify_file(path, part["sha256"])
        if path.name.endswith(_EVENT_IDS):
            dedupe.restore(msgspec.msgpack.decode(path.read_bytes(), type=list[tuple[str, bytes]]))
            continue
        try:
            cards = CardStates.load(path)
        except StateFileError as error:
            raise SnapshotError(str(error)) from error
    return PartitionState(key, owner_epoch, checkpoint.next_offset, cards, dedupe)


def verify_file(path: Path, sha256: str) -> None:
    """Raise `SnapshotError` unless the file is there and is the one that was registered."""
    try:
        digest = file_digest(path)
    except OSError as error:
        message = f"snapshot {path} cannot be read; put it back, or remove its checkpoint to read the log again"
        raise SnapshotError(message) from error
    if digest != sha256:
        message = f"snapshot {path} is not the one that was registered; put it back, or remove its checkpoint"
        raise SnapshotError(message)


def file_digest(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
