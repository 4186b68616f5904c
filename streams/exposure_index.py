"""The exposed cards as the worker holds them: found by 64-bit key, verified by the whole reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fraud.cards import card_keys
from fraud.compromise import days_since_window
from fraud.policy import ExposureColumns
from fraud.store.records import ExposureChange
from fraud.transactions import Columns
from models.key_index import KeyIndex

Exposures = tuple[ExposureChange, ...]

# Changes are laid over the exposures that are there until they are so many; then all is made one again.
_SMALLEST_MERGE: Final = 20_000
_MERGE_SHARE: Final = 0.1


@dataclass(frozen=True, slots=True)
class RowMatch:
    """One row of a batch on one exposed card, for one compromise event."""

    row: int
    exposure: ExposureChange
    kind: str
    days_since_window: int


class _Layer:
    """Exposures by card reference, and their keys. An empty entry says that a card is not exposed any more."""

    def __init__(self, exposures: Mapping[str, Exposures]) -> None:
        self.exposures = exposures
        self._keys = KeyIndex()
        if exposures:
            self._keys.slots(card_keys(np.array(list(exposures), dtype=np.object_)), create=True)

    def may_hold(self, keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = self._keys.slots(keys, create=False) >= 0
        return found


class ExposureIndex:
    """All exposures at one version. `apply` gives the next version; a batch runs under exactly one."""

    def __init__(self, exposures: Mapping[str, Exposures] | None = None, version: int = 0) -> None:
        self.version = version
        self._base = _Layer(dict(exposures or {}))
        self._changed = _Layer({})
        self._count = len(self._base.exposures)

    def __len__(self) -> int:
        return self._count

    def __contains__(self, card_ref: object) -> bool:
        return isinstance(card_ref, str) and bool(self._exposures_of(card_ref))

    def apply(self, changes: Iterable[ExposureChange], version: int) -> ExposureIndex:
        """The index after these changes, in their order. A few changes to many exposures cost little."""
        changed = dict(self._changed.exposures)
        count = self._count
        for change in changes:
            card_ref, before = change.card_ref, changed.get(change.card_ref)
            if before is None:
                before = self._base.exposures.get(card_ref, ())
            others = tuple(item for item in before if item.compromise_event_id != change.compromise_event_id)
            changed[card_ref] = others if change.released else (*others, change)
            count += bool(changed[card_ref]) - bool(before)
        if len(changed) > max(_SMALLEST_MERGE, _MERGE_SHARE * len(self._base.exposures)):
            merged = {**self._base.exposures, **changed}
            return ExposureIndex({card_ref: found for card_ref, found in merged.items() if found}, version)
        index = object.__new__(ExposureIndex)
        index.version, index._count = version, count
        index._base = self._base
        index._changed = _Layer(changed) if changed != self._changed.exposures else self._changed
        return index

    def match(self, columns: Columns) -> tuple[ExposureColumns, list[RowMatch]]:
        """Exposure of every row, and a match for each row and compromise event.

        A card's tier is its worst. What happened before a window began is a match, and leaves the row unexposed.
        """
        result = ExposureColumns.none(len(columns))
        matches: list[RowMatch] = []
        keys = columns["card_key"]
        rows = np.flatnonzero(self._base.may_hold(keys) | self._changed.may_hold(keys))
        pairs = [
            (row, exposure)
            for row, card_ref in zip(rows.tolist(), columns["card_ref"][rows], strict=True)
            for exposure in self._exposures_of(card_ref)
        ]
        if not pairs:
            return result, matches
        occurred_at = columns["occurred_at"][[row for row, _ in pairs]]
        days = days_since_window(occurred_at, [exposure.window_end_at for _, exposure in pairs])
        matches = [
            RowMatch(row, exposure, _kind(exposure, at), since)
            for (row, exposure), at, since in zip(pairs, occurred_at.tolist(), days.tolist(), strict=True)
        ]
        for row, group in groupby(matches, key=attrgetter("row")):
            exposed = [match for match in group if match.kind != "BEFORE_WINDOW"]
            if exposed:
                result.tier[row] = max(match.exposure.tier for match in exposed)
                result.days_since_window[row] = min(match.days_since_window for match in exposed)
                result.compromise_event_ids[row] = tuple(
                    sorted(match.exposure.compromise_event_id for match in exposed)
                )
        return result, matches

    def _exposures_of(self, card_ref: str) -> Exposures:
        found = self._changed.exposures.get(card_ref)
        return self._base.exposures.get(card_ref, ()) if found is None else found


def _kind(exposure: ExposureChange, occurred_at: int) -> str:
    if occurred_at < exposure.window_start_at:
        return "BEFORE_WINDOW"
    return "IN_WINDOW" if occurred_at < exposure.window_end_at else "AFTER_WINDOW"
