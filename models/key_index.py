"""A hash index from 64-bit keys to dense slots: open addressing with linear probing, compiled.

Slots are handed out in the order in which keys are first seen: 0, 1, 2, ... Every key is allowed, 0 too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.compiling import compiled_and_cached

Keys = NDArray[np.uint64]
Slots = NDArray[np.int64]

_EMPTY = -1
_SMALLEST = 1_024  # places of a new table; a power of two, as every size of a table
# At more than this share of places in use, runs of linear probing grow long (Knuth, TAOCP 3, section 6.4).
_FULLEST = 0.6


@compiled_and_cached
def _place(key: np.uint64, table_keys: Keys, table_slots: Slots) -> Any:
    """Index of the key's place in the table, or of the empty place where it belongs."""
    mask = np.uint64(table_keys.size - 1)
    # Finaliser of splitmix64 (Steele, Lea, Flood 2014): keys that differ in few bits land far apart.
    mixed = (key ^ (key >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    place = (mixed ^ (mixed >> np.uint64(31))) & mask
    while table_slots[place] != _EMPTY and table_keys[place] != key:
        place = (place + np.uint64(1)) & mask
    return place


@compiled_and_cached
def _look_up(
    keys: Keys, start: int, create: bool, limit: int, used: int, table_keys: Keys, table_slots: Slots, out: Slots
) -> tuple[int, int]:
    """Fill `out` from row `start`; stop before the key that would be one more than `limit`. Return (row, used)."""
    for row in range(start, keys.size):
        place = _place(keys[row], table_keys, table_slots)
        if create and table_slots[place] == _EMPTY:
            if used >= limit:
                return row, used
            table_keys[place] = keys[row]
            table_slots[place] = used
            used += 1
        out[row] = table_slots[place]
    return keys.size, used


class KeyIndex:
    """Key to slot; grows by doubling, which changes no slot."""

    def __init__(self) -> None:
        self._used = 0
        self._make_table(_SMALLEST)

    def __len__(self) -> int:
        return self._used

    def slots(self, keys: Keys, *, create: bool) -> Slots:
        """(n,) slots of (n,) keys; a new key gets the next slot, or -1 where `create` is false."""
        keys = np.require(keys, np.uint64, ["C", "W"])  # one compiled version: writable, contiguous
        out = np.empty(keys.size, np.int64)
        row = 0
        while True:
            row, self._used = _look_up(
                keys, row, create, self._limit, self._used, self._table_keys, self._table_slots, out
            )
            if row == keys.size:
                return out
            self._grow()

    def keys(self) -> Keys:
        """(len,) every key, at its slot."""
        taken = self._table_slots != _EMPTY
        keys = np.empty(self._used, np.uint64)
        keys[self._table_slots[taken]] = self._table_keys[taken]
        return keys

    def _make_table(self, size: int) -> None:
        self._table_keys = np.zeros(size, np.uint64)
        self._table_slots = np.full(size, _EMPTY, np.int64)
        self._limit = int(size * _FULLEST)

    def _grow(self) -> None:
        keys, self._used = self.keys(), 0
        self._make_table(self._table_keys.size * 2)
        self.slots(keys, create=True)
