"""Where a partition's state starts from: its newest registered snapshot, or nothing and the beginning of the log."""

from __future__ import annotations

import hashlib
from pathlib import Path

from fraud.errors import MimamoriError
from fraud.store.records import PartitionKey
from fraud.store.views import CheckpointView
from models.state import CardStates
from streams.dedupe import DedupeWindow
from streams.pipeline import PartitionState


class SnapshotError(MimamoriError):
    """A snapshot cannot be used; the message says which file and what to do."""

    code = "SNAPSHOT"


def load_partition(
    checkpoint: CheckpointView | None, key: PartitionKey, owner_epoch: int, dedupe_window: int
) -> PartitionState:
    """State at a registered checkpoint, or of cards never seen without one; `next_offset` is the replay point."""
    cards = CardStates()
    for part in checkpoint.paths if checkpoint else ():
        path = Path(part["path"])
        verify_file(path, part["sha256"])
        cards = CardStates.load(path)
    replay_from = checkpoint.next_offset if checkpoint else 0
    return PartitionState(key, owner_epoch, replay_from, cards, DedupeWindow(dedupe_window))


def verify_file(path: Path, sha256: str) -> None:
    """Raise `SnapshotError` unless the file is there and is the one that was registered."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        message = f"snapshot {path} cannot be read; rebuild the state from the log: remove its checkpoint"
        raise SnapshotError(message) from error
    if digest != sha256:
        message = f"snapshot {path} is not the one that was registered; rebuild the state from the log"
        raise SnapshotError(message)
