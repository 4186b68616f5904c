"""The state of many cards: dense records, and the index that finds a card's record."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraud.errors import MimamoriError
from models.card_state import CARD_STATE, STATE_SCHEMA_DIGEST, STATE_VERSION
from models.files import replacing
from models.key_index import KeyIndex, Keys, Slots

Records = NDArray[np.void]

_SMALLEST = 1_024  # records of a new store
_FILE_FORMAT = 1


class StateFileError(MimamoriError):
    """A file of card states is damaged, or was written for another layout of the state."""

    code = "STATE_FILE"


class CardStates:
    """Card states, strictly one record a card, in the order in which cards were first seen.

    A slot stays valid for the life of the object. `records` does not: ask for it again after `slots(..., create=True)`,
    which may move the records to a larger array.
    """

    def __init__(self) -> None:
        self._index = KeyIndex()
        self._records: Records = np.zeros(_SMALLEST, CARD_STATE)

    def __len__(self) -> int:
        return len(self._index)

    @property
    def records(self) -> Records:
        """(len,) records of `CARD_STATE`, writable, one a slot."""
        return self._records[: len(self)]

    @property
    def keys(self) -> Keys:
        """(len,) card keys, one a slot; a new array."""
        return self._index.keys()

    def slots(self, card_keys: Keys, create: bool = True) -> Slots:
        """(n,) slots of (n,) card keys. A card without state gets an empty record, or -1 where `create` is false."""
        before = len(self)
        slots = self._index.slots(card_keys, create=create)
        if len(self) > self._records.size:
            larger = np.zeros(1 << (len(self) - 1).bit_length(), CARD_STATE)
            larger[:before] = self._records[:before]
            self._records = larger
        self._records["version"][before : len(self)] = STATE_VERSION
        return slots

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
        keys, records = self.keys, self.records
        header = {"format": _FILE_FORMAT, "state_schema": STATE_SCHEMA_DIGEST, "sha256": _digest(keys, records)}
        with replacing(path) as file:
            np.savez(file, header=np.frombuffer(json.dumps(header).encode(), np.uint8), keys=keys, records=records)

    @classmethod
    def load(cls, path: Path) -> CardStates:
        """Read what `save` wrote.

        Raises:
            StateFileError: the file is missing, damaged, or of another state layout; the message says which.
        """
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                header: Any = json.loads(arrays["header"].tobytes())
                _check_schema(header)
                keys, records = arrays["keys"], arrays["records"]
        except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
            message = f"state file {path.name} cannot be read: {type(error).__name__}"
            raise StateFileError(message) from error
        if records.dtype != CARD_STATE or keys.dtype != np.uint64 or keys.shape != records.shape or keys.ndim != 1:
            message = f"state file {path.name} holds arrays of another shape"
            raise StateFileError(message)
        if _digest(keys, records) != header.get("sha256"):
            message = f"state file {path.name} is damaged: its content does not have the recorded SHA-256"
            raise StateFileError(message)
        return _restored(keys, records)


def _restored(keys: Keys, records: Records) -> CardStates:
    states = CardStates()
    slots = states.slots(keys)
    states.records[slots] = records
    return states


def _digest(keys: Keys, records: Records) -> str:
    digest = hashlib.sha256(keys.tobytes())
    digest.update(np.ascontiguousarray(records).view(np.uint8).data)
    return digest.hexdigest()


def _check_schema(header: Any) -> None:
    if (
        not isinstance(header, dict)
        or header.get("format") != _FILE_FORMAT
        or header.get("state_schema") != STATE_SCHEMA_DIGEST
    ):
        message = "the state file was written for another layout of the card state; rebuild the state from the archive"
        raise StateFileError(message)
