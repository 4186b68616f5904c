"""The state of many cards: dense records, and the index that finds a card's record."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.card_state import CARD_STATE, STATE_VERSION
from models.files import replacing
from models.key_index import KeyIndex, Keys, Slots
from models.state_file import StateFileError, packed, unpacked_with_room

__all__ = ["CardStates", "Records", "StateFileError"]

Records = NDArray[np.void]

_SMALLEST = 1_024  # records of a new store
_READ_BYTES = 4 * 1024 * 1024


class CardStates:
    """Card states, strictly one record a card, in the order in which cards were first seen.

    A slot stays valid for the life of the object. `records` does not: ask for it again after `slots(..., create=True)`,
    which may move the records to a larger array.
    """

    def __init__(self) -> None:
        self._index = KeyIndex()
        self._records: Records = np.zeros(_SMALLEST, CARD_STATE)
        self._keys: Keys = np.zeros(_SMALLEST, np.uint64)
        self._changed = np.zeros(_SMALLEST, np.bool_)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def records(self) -> Records:
        """(len,) records of `CARD_STATE`, writable, one a slot."""
        return self._records[: len(self)]

    @property
    def keys(self) -> Keys:
        """(len,) card keys, one a slot; a new array."""
        return self._keys[: len(self)].copy()

    def slots(self, card_keys: Keys, create: bool = True) -> Slots:
        """(n,) slots of (n,) card keys. A card without state gets an empty record, or -1 where `create` is false."""
        before = len(self)
        slots = self._index.slots(card_keys, create=create)
        if len(self) > before:
            self._reserve(len(self))
            new = slots >= before
            self._keys[slots[new]] = card_keys[new]
            self._records["version"][before : len(self)] = STATE_VERSION
        return slots

    def touch(self, slots: Slots) -> None:
        """Mark records as changed, for the next `take_changed`."""
        self._changed[slots] = True

    @property
    def changed(self) -> int:
        """Records marked as changed since the last `take_changed`."""
        return int(np.count_nonzero(self._changed[: len(self)]))

    def take_changed(self) -> tuple[Keys, Records]:
        """Keys and a copy of the records that were marked since the last call; nothing is marked afterwards."""
        slots = np.flatnonzero(self._changed[: len(self)])
        self._changed[slots] = False
        return self._keys[slots], self._records[slots]

    def put(self, card_keys: Keys, records: Records) -> None:
        """Set the records of some cards, each there once; they are not marked as changed."""
        first = len(self)
        slots = self.slots(card_keys)
        if len(slots) and slots[0] == first and slots[-1] == first + len(slots) - 1:
            self._records[first : first + len(slots)] = records  # all new: one copy without an index
        else:
            self._records[slots] = records

    def copy(self) -> CardStates:
        """An independent copy."""
        return _restored(self.keys, self.records)

    def select(self, wanted: Callable[[Keys], NDArray[np.bool_]]) -> CardStates:
        """A copy of the cards for which `wanted`, given all (len,) keys, is true; for example one partition's."""
        keys = self.keys
        mask = wanted(keys)
        return _restored(keys[mask], self.records[mask])

    def save(self, path: Path) -> None:
        """Write everything to one file, which appears whole or not at all."""
        with replacing(path) as file:
            for piece in packed(self.keys, self.records):
                file.write(piece)

    @classmethod
    def load(cls, path: Path) -> CardStates:
        """Read what `save` wrote.

        Raises:
            StateFileError: the file is missing, damaged, or of another state layout; the message says which.
        """
        try:
            with path.open("rb") as file:
                return cls.read(iter(lambda: file.read(_READ_BYTES), b""), path.name)[0]
        except OSError as error:
            message = f"state file {path.name} cannot be read: {type(error).__name__}"
            raise StateFileError(message) from error

    @classmethod
    def read(cls, pieces: Iterable[bytes], name: str) -> tuple[CardStates, str]:
        """States from a file's bytes, and its SHA-256 in hexadecimal; read straight to where they stay.

        Raises:
            StateFileError: as `load`.
        """
        states = cls()
        states._keys, states._records, count, digest = unpacked_with_room(pieces, name, _room)
        states._changed = np.zeros(states._keys.size, np.bool_)
        if count and not np.array_equal(states._index.slots(states._keys[:count], create=True), np.arange(count)):
            message = f"state file {name} is damaged: a card is there twice"
            raise StateFileError(message)
        return states, digest

    def _reserve(self, size: int) -> None:
        if size <= self._records.size:
            return
        room = _room(size)
        self._records = _enlarged(self._records, room)
        self._keys = _enlarged(self._keys, room)
        self._changed = _enlarged(self._changed, room)


def _room(size: int) -> int:
    """Places to reserve for so many cards."""
    return max(_SMALLEST, 1 << max(0, size - 1).bit_length())


def _enlarged(array: NDArray[Any], room: int) -> NDArray[Any]:
    larger = np.zeros(room, array.dtype)
    larger[: array.size] = array
    return larger


def _restored(keys: Keys, records: Records) -> CardStates:
    states = CardStates()
    states.put(keys, records)
    return states
