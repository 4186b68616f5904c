"""Card states as bytes: one header, the keys, the records, and a digest over all of it.

The same layout serves whole stores and deltas (only the records that changed). It is written and read in pieces, so
that a store of any size goes to a file or an object store without a second copy in memory.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraud.errors import MimamoriError
from models.card_state import CARD_STATE, STATE_SCHEMA_DIGEST

Piece = bytes | memoryview

_FORMAT: Final = 2
_HEADER_BYTES: Final = 256
_DIGEST_BYTES: Final = 32
_PIECE_RECORDS: Final = 2_048  # about 3 MB: long enough to be quick, short enough to leave others the processor


class StateFileError(MimamoriError):
    """A file of card states is damaged, or was written for another layout of the state."""

    code = "STATE_FILE"


def packed(keys: NDArray[np.uint64], records: NDArray[np.void]) -> Iterator[Piece]:
    """The pieces of a file of (n,) keys and their (n,) records."""
    return packed_stream(len(keys), keys, (records[at : at + _PIECE_RECORDS] for at in _starts(len(records))))


def packed_stream(count: int, keys: NDArray[np.uint64], blocks: Iterable[NDArray[np.void]]) -> Iterator[Piece]:
    """As `packed`, with the `count` records coming block by block, in the order of their keys."""
    header = json.dumps({"format": _FORMAT, "state_schema": STATE_SCHEMA_DIGEST, "cards": count}).encode()
    digest = hashlib.sha256()
    pieces: Iterator[Piece] = _pieces(header.ljust(_HEADER_BYTES), keys, blocks)
    for piece in pieces:
        digest.update(piece)
        yield piece
    yield digest.digest()


def unpacked(pieces: Iterable[bytes], name: str) -> tuple[NDArray[np.uint64], NDArray[np.void], str]:
    """As `unpacked_with_room`, with arrays of just the cards' size."""
    keys, records, _, digest = unpacked_with_room(pieces, name, int)
    return keys, records, digest


def unpacked_with_room(
    pieces: Iterable[bytes], name: str, room: Callable[[int], int]
) -> tuple[NDArray[np.uint64], NDArray[np.void], int, str]:
    """Keys, records, the number of cards, and the file's SHA-256 in hexadecimal, of what `packed` gave, cut anyhow.

    Args:
        pieces: the file's bytes in order.
        name: of the file, for messages.
        room: gives the size of the arrays for a number of cards; what is beyond the cards stays zero.

    Raises:
        StateFileError: the bytes are damaged, too few or too many, or of another state layout.
    """
    source = _Source(pieces, name)
    count = _count(source.take(_HEADER_BYTES), name)
    try:
        keys, records = np.zeros(room(count), np.uint64), np.zeros(room(count), CARD_STATE)
    except (MemoryError, ValueError) as error:
        raise _damaged(name) from error
    source.fill(keys[:count])
    source.fill(records[:count])
    expected = source.digest.digest()
    if source.take(_DIGEST_BYTES) != expected or not source.at_end():
        raise _damaged(name)
    return keys, records, count, source.digest.hexdigest()


class _Source:
    """Bytes that come in pieces, taken in other pieces; a digest runs along."""

    def __init__(self, pieces: Iterable[bytes], name: str) -> None:
        self._pieces = iter(pieces)
        self._rest = memoryview(b"")
        self._name = name
        self.digest = hashlib.sha256()

    def take(self, size: int) -> bytes:
        target = bytearray(size)
        self._fill(memoryview(target))
        return bytes(target)

    def fill(self, array: NDArray[Any]) -> None:
        if array.size:
            self._fill(array.view(np.uint8).data)

    def at_end(self) -> bool:
        return not len(self._rest) and not any(self._pieces)

    def _fill(self, target: memoryview) -> None:
        filled = 0
        while filled < len(target):
            if not len(self._rest):
                piece = next(self._pieces, None)
                if piece is None:
                    raise _damaged(self._name)
                self._rest = memoryview(piece)
            part = self._rest[: len(target) - filled]
            target[filled : filled + len(part)] = part
            self.digest.update(part)
            self._rest = self._rest[len(part) :]
            filled += len(part)


def _pieces(header: bytes, keys: NDArray[np.uint64], blocks: Iterable[NDArray[np.void]]) -> Iterator[Piece]:
    yield header
    if keys.size:
        yield np.ascontiguousarray(keys).view(np.uint8).data
    for block in blocks:
        if block.size:
            yield np.ascontiguousarray(block).view(np.uint8).data


def _starts(count: int) -> range:
    return range(0, count, _PIECE_RECORDS)


def _count(header: bytes, name: str) -> int:
    try:
        found = json.loads(header)
        known = found["format"], found["state_schema"]
        count = int(found["cards"])
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(name) from error
    if known != (_FORMAT, STATE_SCHEMA_DIGEST):
        message = (
            f"state file {name} was written for another layout of the card state; "
            "rebuild the state from the archive: mimamori state rebuild"
        )
        raise StateFileError(message)
    if not 0 <= count < 1 << 40:
        raise _damaged(name)
    return count


def _damaged(name: str) -> StateFileError:
    return StateFileError(f"state file {name} is damaged: its content does not have the recorded SHA-256")
