"""Features: the one definition that training, back-tests and the stream share.

`compute_features` runs a batch of transactions, in log order, through the per-card states. Its numbers do not depend on
how the log is cut into batches or how cards are spread over partitions.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraud import codes, transactions
from fraud.transactions import Columns
from models import card_state, events, feature_kernel, feature_table, state_kernel
from models.compiling import compiled, compiled_and_cached
from models.events import Events, pack_events
from models.feature_kernel import Event, Row, State, decay, read_features
from models.feature_table import FEATURE_NAMES, FEATURE_ROW, FEATURE_SCHEMA_DIGEST, FEATURES, Feature
from models.state import CardStates, Records
from models.state_kernel import update_state

__all__ = [
    "FEATURES",
    "FEATURE_NAMES",
    "FEATURE_SCHEMA_DIGEST",
    "Feature",
    "Features",
    "as_columns",
    "compute_features",
    "feature_digest",
    "warm_up",
]

Features = NDArray[np.float32]

_REACHES_MS: Final = np.array([feature.reach_ms for feature in FEATURES], np.int64)

# About 2 units of a currency with decimals, 200 yen: what a thief tries a number with.
SMALL_AMOUNT_MINOR: Final = 200


def compute_features(
    columns: Columns,
    states: CardStates,
    *,
    home_country: int,
    timezone: str,
    small_amount_minor: int = SMALL_AMOUNT_MINOR,
    history_from: int | None = None,
) -> Features:
    """Features of n transactions in log order; `states` is moved past them.

    Args:
        columns: the transactions; event types that are not counted get features and leave the state alone.
        states: what is known of the cards before the first row; changed in place.
        home_country: ISO 3166 number of the portfolio's country.
        timezone: IANA name of the portfolio's time zone, for hours and days.
        small_amount_minor: largest amount that counts as small, minor units of the portfolio's currency.
        history_from: since when there is history of all cards, epoch milliseconds UTC; a feature that looks further
            back is not evaluable. None: history reaches back as far as any feature looks.

    Returns:
        (n, F) float32, C-contiguous, one column a `FEATURES` entry; NaN where a feature cannot be evaluated.
    """
    settings = np.zeros(1, _SETTINGS)
    settings["home_country"], settings["small_amount"] = home_country, small_amount_minor
    packed = pack_events(columns, timezone)
    slots = states.slots(columns["card_key"])
    states.touch(slots)
    rows = np.empty(len(columns), FEATURE_ROW)
    _run(states.records, slots, packed, rows, settings)
    features = rows.view(np.float32).reshape(len(columns), len(FEATURE_NAMES))
    if history_from is not None:
        _hide_short_history(features, columns["occurred_at"] - history_from)
    return features


def _hide_short_history(features: Features, reach: NDArray[np.int64]) -> None:
    """NaN in (n, F) features that look further back than (n,) `reach`, milliseconds from history's start."""
    short = np.flatnonzero(reach < _REACHES_MS.max())
    if short.size:
        hidden = (reach[short, np.newaxis] < _REACHES_MS) & (_REACHES_MS > 0)
        features[short] = np.where(hidden, np.float32(np.nan), features[short])


def as_columns(features: Features) -> dict[str, NDArray[np.float32]]:
    """Feature name to its (n,) column, a view into (n, F) features."""
    return dict(zip(FEATURE_NAMES, features.T, strict=True))


def feature_digest(features: Features) -> NDArray[np.uint64]:
    """(n,) digests of (n, F) served vectors: 64-bit FNV-1a over each row's little-endian 32-bit words."""
    digests = np.empty(len(features), np.uint64)
    _digest_rows(np.require(features, np.float32, ["C", "W"]).view(np.uint32), digests)
    return digests


def warm_up() -> None:
    """Compile the feature kernel, or fetch it from the compiler's cache, before the first real batch."""
    columns = Columns({"occurred_at": np.zeros(1, np.int64)}, 1)
    feature_digest(compute_features(columns, CardStates(), home_country=0, timezone="UTC"))


def _sources_digest(*modules: ModuleType) -> str:
    digest = hashlib.sha256()
    for module in modules:
        digest.update(Path(str(module.__file__)).read_bytes())
    return digest.hexdigest()[:16]


# The compiler's cache notices changes of this file only. A field named after the digest of every other source makes
# the kernel's signature, and with it the cache key, new when any of them changes.
_SOURCES: Final = _sources_digest(codes, transactions, card_state, events, feature_kernel, feature_table, state_kernel)
_SETTINGS: Final = np.dtype([("home_country", "<i8"), ("small_amount", "<f8"), (f"sources_{_SOURCES}", "<i8")])


@compiled
def step(state: State, event: Event, home_country: int, small_amount: float, row: Row) -> None:
    """One event through one card's state: the unit that any stream engine with per-key state can call.

    Args:
        state: one record of `CARD_STATE`; moved past the event if its type counts.
        event: one record of `EVENT`.
        home_country: ISO 3166 number.
        small_amount: minor units of the portfolio's currency.
        row: one record of `FEATURE_ROW`; every field is filled.
    """
    left = decay(state, event)
    read_features(state, event, left, home_country, row)
    if event.counted == 1:
        update_state(state, event, left, small_amount, row)


@compiled_and_cached
def _run(records: Records, slots: NDArray[np.int64], packed: Events, rows: NDArray[np.void], settings: Any) -> None:
    home_country, small_amount = settings[0].home_country, settings[0].small_amount
    for index in range(slots.size):
        step(records[slots[index]], packed[index], home_country, small_amount, rows[index])


@compiled_and_cached
def _digest_rows(words: NDArray[np.uint32], digests: NDArray[np.uint64]) -> None:
    for row in range(words.shape[0]):
        digest = np.uint64(0xCBF29CE484222325)
        for column in range(words.shape[1]):
            digest = (digest ^ np.uint64(words[row, column])) * np.uint64(0x100000001B3)
        digests[row] = digest
