"""The exposed cards as the worker holds them: found by 64-bit key, verified by the whole reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fraud.cards import card_keys
from fraud.compromise import days_since_window
from fraud.policy import ExposureColumns
from fraud.store.records import ExposureChange
from fraud.transactions import Columns


@dataclass(frozen=True, slots=True)
class RowMatch:
    """One row of a batch on one exposed card, for one compromise event."""

    row: int
    exposure: ExposureChange
    kind: str
    days_since_window: int


class ExposureIndex:
    """All exposures at one version. `apply` gives the next version; a batch runs under exactly one."""

    def __init__(self, exposures: Mapping[str, tuple[ExposureChange, ...]] | None = None, version: int = 0) -> None:
        self._exposures = dict(exposures or {})
        self.version = version
        self._keys = np.sort(_keys(list(self._exposures)))

    def __len__(self) -> int:
        return len(self._exposures)

    def __contains__(self, card_ref: object) -> bool:
        return card_ref in self._exposures

    def apply(self, changes: Iterable[ExposureChange], version: int) -> ExposureIndex:
        """The index after these changes, in their order."""
        exposures = dict(self._exposures)
        for change in changes:
            others = tuple(
                item
                for item in exposures.get(change.card_ref, ())
                if item.compromise_event_id != change.compromise_event_id
            )
            remaining = others if change.released else (*others, change)
            if remaining:
                exposures[change.card_ref] = remaining
            else:
                exposures.pop(change.card_ref, None)
        return ExposureIndex(exposures, version)

    def match(self, columns: Columns) -> tuple[ExposureColumns, list[RowMatch]]:
        """Exposure of every row, and a match for each row and compromise event.

        A card's tier is its worst. What happened before a window began is a match, and leaves the row unexposed.
        """
        result = ExposureColumns.none(len(columns))
        matches: list[RowMatch] = []
        if not len(self._keys):
            return result, matches
        for row in np.flatnonzero(self._may_hold(columns["card_key"])).tolist():
            found = self._exposures.get(columns["card_ref"][row])
            if found is None:
                continue
            occurred_at = int(columns["occurred_at"][row])
            row_matches = [_match(row, exposure, occurred_at) for exposure in found]
            matches.extend(row_matches)
            exposed = [match for match in row_matches if match.kind != "BEFORE_WINDOW"]
            if exposed:
                result.tier[row] = max(match.exposure.tier for match in exposed)
                result.days_since_window[row] = min(match.days_since_window for match in exposed)
                result.compromise_event_ids[row] = tuple(
                    sorted(match.exposure.compromise_event_id for match in exposed)
                )
        return result, matches

    def _may_hold(self, card_keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
        places = np.minimum(np.searchsorted(self._keys, card_keys), len(self._keys) - 1)
        found: NDArray[np.bool_] = self._keys[places] == card_keys
        return found


def _match(row: int, exposure: ExposureChange, occurred_at: int) -> RowMatch:
    if occurred_at < exposure.window_start_at:
        kind = "BEFORE_WINDOW"
    elif occurred_at < exposure.window_end_at:
        kind = "IN_WINDOW"
    else:
        kind = "AFTER_WINDOW"
    days = int(days_since_window(np.array([occurred_at], dtype=np.int64), exposure.window_end_at)[0])
    return RowMatch(row, exposure, kind, days)


def _keys(card_refs: list[str]) -> NDArray[np.uint64]:
    return card_keys(np.array(card_refs, dtype=np.object_)) if card_refs else np.zeros(0, dtype=np.uint64)
