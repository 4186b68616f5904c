"""Snapshots of a partition's state: a base and what has changed since, as objects, registered as checkpoints.

Everything that makes a checkpoint safe is in its order: the objects first, the row after them, so that a registered
checkpoint is always complete; and the row is refused for an older owner, so that a zombie leaves nothing behind.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import Engine

from fraud.errors import ConflictError, MimamoriError, UnavailableError
from fraud.settings import Settings
from fraud.store.database import read, write
from fraud.store.operations import newest_checkpoint, prune_checkpoints, register_checkpoint
from fraud.store.records import PartitionKey
from fraud.store.views import CheckpointView
from models.card_state import STATE_SCHEMA_DIGEST
from models.key_index import Keys
from models.state import CardStates, Records, StateFileError
from models.state_file import packed, unpacked
from streams.dedupe import DedupeWindow
from streams.objects import PART_BYTES, ObjectMissingError, ObjectStore, open_object_store
from streams.pipeline import PartitionState

log = structlog.get_logger(__name__)

EVENT_IDS: Final = ".event-ids"
CARDS: Final = ".cards"
_SMALLEST_BASE: Final = 4 * 1024 * 1024  # bytes; a smaller one does not make its chain long
_PUT_AT_ONCE: Final = 4_096  # records laid over a base at a time: the loop's thread gets its turn in between
# A chain is made one base again when it is this long, or when what has changed is as large as the base.
_LONGEST_CHAIN: Final = 8

EventIds = list[tuple[str, bytes]]
Part = dict[str, Any]


class SnapshotError(MimamoriError):
    """A snapshot cannot be used; the message says which object and what to do."""

    code = "SNAPSHOT"


@dataclass(frozen=True, slots=True)
class FrozenState:
    """What a checkpoint has to write of a partition: copies, taken between two batches.

    Args:
        key: the partition.
        owner_epoch: of its owner at that moment.
        next_offset: the committed offset at that moment.
        card_keys: (n,) keys of the cards that have changed since the last one.
        records: (n,) their records.
        event_ids: the ids that entered the dedupe window since the last one, oldest first.

    """

    key: PartitionKey
    owner_epoch: int
    next_offset: int
    card_keys: Keys
    records: Records
    event_ids: EventIds


@dataclass(slots=True)
class Chain:
    """The objects that make up a partition's last snapshot: bases first, then what changed, in order."""

    parts: list[Part] = field(default_factory=list)

    def of(self, suffix: str) -> list[Part]:
        """The parts of one kind."""
        return [part for part in self.parts if part["path"].endswith(suffix)]


def freeze(state: PartitionState, carried: FrozenState | None = None) -> FrozenState:
    """Take what has changed since the last call from a state; `carried` is what an earlier one could not register."""
    event_ids = state.dedupe.take_new()
    if carried is not None:
        state.cards.touch(state.cards.slots(carried.card_keys))
        event_ids = [*carried.event_ids, *event_ids]
    keys, records = state.cards.take_changed()
    return FrozenState(state.key, state.owner_epoch, state.next_offset, keys, records, event_ids)


class Snapshots:
    """Writes, registers and loads snapshots.

    Args:
        engine: the database.
        store: where the objects go.
        keep: checkpoints kept a partition.
        dedupe_window: event ids remembered a partition.

    """

    def __init__(self, engine: Engine, store: ObjectStore, keep: int, dedupe_window: int) -> None:
        self._engine = engine
        self._store = store
        self._keep = keep
        self._dedupe_window = dedupe_window

    @classmethod
    def from_settings(cls, settings: Settings, engine: Engine) -> Snapshots:
        """The snapshots where the settings say."""
        store = open_object_store(settings.snapshots_root, settings.snapshots.storage_options)
        return cls(engine, store, settings.stream.checkpoints_kept, settings.stream.dedupe_window)

    def write(self, frozen: FrozenState, chain: Chain, now: int) -> Chain | None:
        """Write what has changed and register it with what `chain` has; the new chain.

        None when somebody else owns the partition by now: then nothing is left behind. May be called again after an
        error: the same names are written anew.
        """
        key = frozen.key
        folder = f"{key.topic_id}/{key.partition:05d}/{frozen.next_offset}-{frozen.owner_epoch}"
        written = [
            self._put(f"{folder}{CARDS}", packed(frozen.card_keys, frozen.records)),
            self._put(f"{folder}{EVENT_IDS}", [msgspec.msgpack.encode(frozen.event_ids)]),
        ]
        parts = [*chain.parts, *written]
        if _is_long(Chain(parts)):
            merged = self._merged(Chain(parts), f"{folder}.base")
            for part in written:
                self._delete(part["path"])
            parts = written = merged
        try:
            with write(self._engine) as connection:
                register_checkpoint(
                    connection, key, frozen.next_offset, frozen.owner_epoch, STATE_SCHEMA_DIGEST, parts, now
                )
                unneeded = prune_checkpoints(connection, key, self._keep)
        except ConflictError:
            for part in written:
                self._delete(part["path"])
            return None
        for path in unneeded:
            self._delete(path)
        return Chain(parts)

    def load(self, key: PartitionKey, owner_epoch: int, at_most: int) -> tuple[PartitionState, Chain]:
        """State at the newest usable checkpoint at or before `at_most`; its `next_offset` is the replay point.

        A damaged snapshot is passed over for an older one: the log between them is read again. When there are
        snapshots and none can be used, `SnapshotError`: the log alone may not reach back far enough.
        """
        fault: SnapshotError | None = None
        while True:
            with read(self._engine) as connection:
                checkpoint = newest_checkpoint(connection, key, at_most)
            if checkpoint is None:
                if fault is not None:
                    raise fault
                state = PartitionState(key, owner_epoch, 0, CardStates(), DedupeWindow(self._dedupe_window))
                return state, Chain()
            try:
                return self._restored(checkpoint, key, owner_epoch)
            except SnapshotError as error:
                log.warning("snapshot passed over", partition=key.partition, offset=checkpoint.next_offset)
                fault, at_most = error, checkpoint.next_offset - 1

    def verify(self, part: Part) -> None:
        """Raise `SnapshotError` unless an object is there and is the one that was registered."""
        digest = hashlib.sha256()
        for piece in self._pieces(part["path"]):
            digest.update(piece)
        if digest.hexdigest() != part["sha256"]:
            raise _damaged(part["path"])

    def _restored(
        self, checkpoint: CheckpointView, key: PartitionKey, owner_epoch: int
    ) -> tuple[PartitionState, Chain]:
        chain = Chain([dict(part) for part in checkpoint.paths])
        dedupe = DedupeWindow(self._dedupe_window)
        dedupe.restore(self._event_ids(chain))
        return PartitionState(key, owner_epoch, checkpoint.next_offset, self._cards(chain), dedupe), chain

    def _cards(self, chain: Chain) -> CardStates:
        cards, first = CardStates(), True
        for part in chain.parts:
            if part["path"].endswith(EVENT_IDS):
                continue
            try:
                if first:
                    cards, digest = CardStates.read(self._pieces(part["path"]), part["path"])
                else:
                    keys, records, digest = unpacked(self._pieces(part["path"]), part["path"])
                    for at in range(0, len(keys), _PUT_AT_ONCE):
                        cards.put(keys[at : at + _PUT_AT_ONCE], records[at : at + _PUT_AT_ONCE])
            except StateFileError as error:
                raise SnapshotError(str(error)) from error
            if digest != part["sha256"]:
                raise _damaged(part["path"])
            first = False
        return cards

    def _event_ids(self, chain: Chain) -> EventIds:
        found: EventIds = []
        for part in chain.of(EVENT_IDS):
            content = b"".join(self._pieces(part["path"]))
            if hashlib.sha256(content).hexdigest() != part["sha256"]:
                raise _damaged(part["path"])
            found.extend(msgspec.msgpack.decode(content, type=list[tuple[str, bytes]]))
        return found[-self._dedupe_window :] if self._dedupe_window else []

    def _merged(self, chain: Chain, name: str) -> list[Part]:
        """One base of a whole chain. It is made from the objects, so the loop's own state is left alone."""
        cards = self._cards(chain)
        return [
            self._put(f"{name}{CARDS}", packed(cards.keys, cards.records)),
            self._put(f"{name}{EVENT_IDS}", [msgspec.msgpack.encode(self._event_ids(chain))]),
        ]

    def _put(self, name: str, pieces: Iterable[bytes | memoryview]) -> Part:
        stored = self._store.put(name, pieces)
        return {"path": name, "sha256": stored.sha256, "size": stored.size}

    def _pieces(self, path: str) -> Iterator[bytes]:
        """An object's bytes; a path from the root is a file beside the store, as older checkpoints have them."""
        try:
            if not path.startswith("/"):
                yield from self._store.get(path)
                return
            with Path(path).open("rb") as file:
                yield from iter(lambda: file.read(PART_BYTES), b"")
        except (OSError, ObjectMissingError) as error:
            message = f"snapshot {path} cannot be read; put it back, or make the state anew: mimamori state rebuild"
            raise SnapshotError(message) from error

    def _delete(self, path: str) -> None:
        """What no checkpoint needs any more may stay behind when it cannot be deleted now."""
        try:
            if path.startswith("/"):
                Path(path).unlink(missing_ok=True)
            else:
                self._store.delete(path)
        except (OSError, UnavailableError) as error:
            log.warning("an old snapshot was not deleted", path=path, error=type(error).__name__)


def save_state(snapshots: Snapshots, state: PartitionState, now: int) -> bool:
    """Register the whole of a state that was made outside the stream; False when a newer owner is recorded."""
    state.cards.touch(state.cards.slots(state.cards.keys))
    return snapshots.write(freeze(state), Chain(), now) is not None


def _is_long(chain: Chain) -> bool:
    sizes: Sequence[int] = [int(part.get("size", 0)) for part in chain.of(CARDS)]
    return len(sizes) > _LONGEST_CHAIN or (len(sizes) > 2 and sum(sizes[1:]) > max(sizes[0], _SMALLEST_BASE))


def _damaged(path: str) -> SnapshotError:
    return SnapshotError(
        f"snapshot {path} is damaged: it is not the one that was registered; put it back, or make the state anew: "
        "mimamori state rebuild"
    )
