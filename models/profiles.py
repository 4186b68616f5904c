"""Whose profile a transaction belongs to: its card's, through reissues, or its account's.

A profile is one record of card state, found by a 64-bit key. By account, that key is the account's, in history and
stream alike, and a reissue changes nothing. By card, history is gathered under the first card of a line of reissues, so
that a mass reissue makes no card look new; each card of the line then goes on with a copy under its own key.
"""

from __future__ import annotations

import hashlib
import io
from functools import lru_cache
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from fraud.errors import InvalidInputError
from fraud.transactions import Columns
from models.files import replacing

ProfileBy = Literal["card", "account"]
Keys = NDArray[np.uint64]
Hashes = NDArray[np.int64]

_CACHE: Final = 1 << 18
_NO_KEYS: Final[Keys] = np.zeros(0, np.uint64)
_NO_HASHES: Final[Hashes] = np.zeros(0, np.int64)


class Lineage:
    """Which card came before which.

    Args:
        keys: (n,) keys of the cards that replaced another.
        roots: (n,) the first card of each one's line.
        hashes: (n,) the partitioner's hash of each card as a message key, at least 0: where its events will come; -1
            where the key is the account, so that they come where those of the line's other cards do.

    """

    def __init__(self, keys: Keys = _NO_KEYS, roots: Keys = _NO_KEYS, hashes: Hashes = _NO_HASHES) -> None:
        order = np.argsort(keys)
        self.keys: Keys = np.ascontiguousarray(keys[order])
        self.first: Keys = np.ascontiguousarray(roots[order])
        self.hashes: Hashes = np.ascontiguousarray(hashes[order])

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def from_pairs(cls, old: Keys, new: Keys, hashes: Hashes) -> Lineage:
        """From (n,) keys of old cards and of the cards that replaced them; lines may be of any length.

        Raises:
            InvalidInputError: a card would replace two others, or itself in the end; the message names no card.

        """
        new_cards, old_cards = new.tolist(), old.tolist()
        before = dict(zip(new_cards, old_cards, strict=True))
        hash_of = dict(zip(new_cards, hashes.tolist(), strict=True))
        if any(before[card] != previous for card, previous in zip(new_cards, old_cards, strict=True)):
            message = "a card has two predecessors: a reissue replaces one card"
            raise InvalidInputError(message, field="lineage")
        roots: dict[int, int] = {}
        for card in before:
            line, at = [], card
            while at in before and at not in roots:
                line.append(at)
                at = before[at]
                if len(line) > len(before):
                    message = "a card comes after itself in its line of reissues"
                    raise InvalidInputError(message, field="lineage")
            roots.update(dict.fromkeys(line, roots.get(at, at)))
        return cls(
            np.fromiter(roots, np.uint64, len(roots)),
            np.fromiter(roots.values(), np.uint64, len(roots)),
            np.fromiter((hash_of[card] for card in roots), np.int64, len(roots)),
        )

    def joined(self, other: Lineage) -> Lineage:
        """Both together; what `other` says of a card counts."""
        kept = ~np.isin(self.keys, other.keys)
        return Lineage.from_pairs(
            np.concatenate([self.first[kept], other.first]),
            np.concatenate([self.keys[kept], other.keys]),
            np.concatenate([self.hashes[kept], other.hashes]),
        )

    def roots(self, keys: Keys) -> Keys:
        """(n,) keys of the first card of each card's line; a card that replaced none is its own."""
        if not len(self.keys):
            return keys
        places = np.minimum(np.searchsorted(self.keys, keys), len(self.keys) - 1)
        return np.where(self.keys[places] == keys, self.first[places], keys)

    def save(self, path: Path) -> None:
        """Write it to a file, which appears whole or not at all."""
        buffer = io.BytesIO()
        np.savez(buffer, keys=self.keys, roots=self.first, hashes=self.hashes)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as file:
            file.write(buffer.getvalue())

    @classmethod
    def load(cls, path: Path) -> Lineage:
        """What `save` wrote; empty where there is no file."""
        if not path.exists():
            return cls()
        with np.load(path, allow_pickle=False) as arrays:
            return cls(arrays["keys"], arrays["roots"], arrays["hashes"])


def profile_keys(columns: Columns, by: ProfileBy = "card", lineage: Lineage | None = None) -> Keys:
    """(n,) keys of the profiles that n transactions belong to.

    Args:
        columns: the transactions.
        by: `account` takes `account_ref`, and the card where a transaction has none; `card` the card.
        lineage: reissues; None knows of none.

    """
    cards: Keys = columns["card_key"]
    keys = cards if lineage is None else lineage.roots(cards)
    if by == "card":
        return keys
    accounts = columns["account_ref"].tolist()
    found = [None if ref is None else account_key(ref) for ref in accounts]
    return np.fromiter(
        (card if key is None else key for key, card in zip(found, keys.tolist(), strict=True)), np.uint64, len(columns)
    )


def with_profiles(columns: Columns, by: ProfileBy = "card", lineage: Lineage | None = None) -> Columns:
    """The transactions with the profile's key as their `card_key`: what `compute_features` is given.

    No array is copied. Whoever looks a card's state up afterwards uses this `card_key`; exposure and archive keep the
    card's own.
    """
    if by == "card" and (lineage is None or not len(lineage)):
        return columns
    return Columns(
        {name: columns[name] for name in columns} | {"card_key": profile_keys(columns, by, lineage)}, len(columns)
    )


@lru_cache(maxsize=_CACHE)
def account_key(account_ref: str) -> int:
    """The 64-bit key of an account; it cannot be that of a card reference by more than chance."""
    return int.from_bytes(hashlib.blake2b(account_ref.encode(), digest_size=8, person=b"account").digest(), "big")
