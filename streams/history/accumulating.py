"""History in log order through the feature kernel: the state of every profile, and the partition it will be needed in.

Profiles are kept over all partitions together, since a reissued card's new key may belong to another partition than
its old one. At the end each partition gets the profiles of every card or account whose key it holds. The stream then
finds a reissued card's profile under the card's own key, and needs no lineage itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraud.errors import ConflictError
from fraud.transactions import Columns
from models.features import Features, compute_features
from models.key_index import KeyIndex
from models.profiles import Lineage, ProfileBy, account_key, profile_keys, with_profiles
from models.state import CardStates
from streams.archive.rows import from_frame
from streams.history.mapping import KeyField
from streams.seeding import partition_of

CHUNK_ROWS: Final = 50_000
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)  # an odd number: no two profiles become one


@dataclass(frozen=True, slots=True)
class ProfileSettings:
    """What decides whose profile a row belongs to and how its features come out; the same in history and stream."""

    home_country: int
    timezone: str
    partitions: int
    message_key: KeyField = "card_ref"
    profile_by: ProfileBy = "card"
    lineage: Lineage | None = None


class HistoryState:
    """States of all profiles after the rows so far, in log order."""

    def __init__(self, settings: ProfileSettings) -> None:
        self.settings = settings
        self.states = CardStates()
        self._index = KeyIndex()
        self._partitions: NDArray[np.int32] = np.zeros(1_024, np.int32)
        self._keys: NDArray[np.uint64] = np.zeros(1_024, np.uint64)
        self._profiles: NDArray[np.uint64] = np.zeros(1_024, np.uint64)

    def apply(
        self, columns: Columns, history_from: int | None = None, partitions: NDArray[np.int32] | None = None
    ) -> tuple[Features, NDArray[np.int32]]:
        """Move states past n rows; their (n, F) features and the (n,) partitions of their keys.

        `partitions` are those that were worked out before, where the rows come from the archive.
        """
        own = self.settings
        features = compute_features(
            with_profiles(columns, own.profile_by, own.lineage),
            self.states,
            home_country=own.home_country,
            timezone=own.timezone,
            history_from=history_from,
        )
        return features, self._place(columns, partitions)

    def partition(self, number: int) -> CardStates:
        """A copy of what one partition needs, under the keys by which the stream will look: cards, or accounts.

        Each card of a line of reissues gets a copy of the line's profile, a card without an event of its own too.
        """
        known = len(self._index)
        here = self._partitions[:known] == number
        keys, profiles = self._keys[:known][here], self._profiles[:known][here]
        lineage = self.settings.lineage
        if lineage is not None and self.settings.profile_by == "card":
            with_line = (lineage.hashes < 0) & np.isin(lineage.first, profiles)
            coming = with_line | ((lineage.hashes >= 0) & (lineage.hashes % self.settings.partitions == number))
            keys = np.concatenate([keys, lineage.keys[coming]])
            profiles = np.concatenate([profiles, lineage.first[coming]])
        keys, first = np.unique(keys, return_index=True)
        slots = self.states.slots(profiles[first], create=False)
        found = slots >= 0
        states = CardStates()
        states.put(keys[found], self.states.records[slots[found]])
        return states

    def _place(self, columns: Columns, given: NDArray[np.int32] | None) -> NDArray[np.int32]:
        """(n,) partitions; a message key's is worked out once for each key of the state that it is seen with."""
        own = self.settings
        if given is not None and len(given) and given.max() >= own.partitions:
            message = "the history was imported for more partitions than the topic has"
            raise ConflictError(message)
        texts, message_keys = self._message_keys(columns)
        if given is not None:  # the partition stands for the message key, whatever that was
            message_keys = given.astype(np.uint64)
        profiles = profile_keys(columns, own.profile_by, own.lineage)
        keys = columns["card_key"] if own.profile_by == "card" else profiles
        before = len(self._index)
        slots = self._index.slots(message_keys ^ (keys * _GOLDEN), create=True)
        known = len(self._index)
        if known > self._partitions.size:
            self._partitions = np.resize(self._partitions, 2 * known)
            self._keys = np.resize(self._keys, 2 * known)
            self._profiles = np.resize(self._profiles, 2 * known)
        fresh = np.flatnonzero(slots >= before)
        new, first = np.unique(slots[fresh], return_index=True)
        rows = fresh[first]
        if given is not None:
            self._partitions[new] = given[rows]
        else:
            self._partitions[new] = [partition_of(texts[row].encode(), own.partitions) for row in rows.tolist()]
        self._keys[new], self._profiles[new] = keys[rows], profiles[rows]
        return self._partitions[slots]

    def _message_keys(self, columns: Columns) -> tuple[list[str], NDArray[np.uint64]]:
        cards: list[str] = columns["card_ref"].tolist()
        if self.settings.message_key == "card_ref":
            return cards, columns["card_key"]
        accounts = columns["account_ref"].tolist()
        texts = [card if account is None else account for card, account in zip(cards, accounts, strict=True)]
        keys = [
            card if account is None else account_key(account)
            for card, account in zip(columns["card_key"].tolist(), accounts, strict=True)
        ]
        return texts, np.array(keys, np.uint64)


def chunks(frame: pl.DataFrame) -> Iterator[tuple[pl.DataFrame, Columns]]:
    """An archive frame in pieces of rows, each with its transactions."""
    for start in range(0, len(frame), CHUNK_ROWS):
        part = frame.slice(start, CHUNK_ROWS)
        yield part, from_frame(part).columns


def offsets_of(partitions: NDArray[np.int32], counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """(n,) offsets of rows in log order, where each partition has `counts` rows before them."""
    order = np.argsort(partitions, kind="stable")
    ordered = partitions[order]
    starts = np.searchsorted(ordered, ordered)
    offsets = np.empty(len(partitions), np.int64)
    offsets[order] = counts[ordered] + np.arange(len(partitions)) - starts
    return offsets


def settings_content(settings: ProfileSettings) -> dict[str, Any]:
    """What of the settings makes an import another one, as plain data."""
    return {
        "home_country": settings.home_country,
        "timezone": settings.timezone,
        "partitions": settings.partitions,
        "message_key": settings.message_key,
        "profile_by": settings.profile_by,
    }
