"""Traffic of a large portfolio: a simulated one, many times over, each time on other cards.

The simulator draws some thousand cards with their history, and what they do afterwards. A bench needs a million cards.
So every simulated card stands for many cards: all have its state, and each does what it does, under its own reference
and event ids and a few minutes earlier or later. The records are in order of time, but for these minutes.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraud.cards import card_keys
from fraud.transactions import Columns
from models.card_state import STATE_VERSION
from models.state import CardStates
from streams.simulator import Simulation, SimulationParameters
from streams.simulator.parameters import DAY_MS

SIMULATED_CARDS = 20_000
HISTORY_DAYS = 60

_LONGEST_STORY_DAYS = 60
_LARGEST_SHIFT_MS = 600_000
_ROWS_AT_ONCE = 10_000
_PER_CARD = ("account_ref", "issuer_card_id", "token_ref")  # each card has its own


@dataclass(frozen=True, slots=True)
class TrafficSize:
    """How much: `records` to send, `cards` with state, `exposed_share` of the traffic on exposed cards, `seed`."""

    records: int
    cards: int
    exposed_share: float
    seed: int

    @property
    def copies(self) -> int:
        """Cards that each simulated card stands for."""
        return math.ceil(self.cards / SIMULATED_CARDS)

    @property
    def simulated_cards(self) -> int:
        """Cards that are drawn."""
        return math.ceil(self.cards / self.copies)

    def parameters(self) -> SimulationParameters:
        """A simulation whose live days have enough events, or the most days that it can have."""
        a_day = self.simulated_cards * self.copies * SimulationParameters().transactions_per_card_day
        days = math.ceil(self.records / a_day * 1.1) + 1
        return SimulationParameters(
            seed=self.seed,
            cards=self.simulated_cards,
            history_days=HISTORY_DAYS,
            story_days=min(days, _LONGEST_STORY_DAYS),
            exposed_records=round(self.exposed_share * self.simulated_cards),
        )


class Traffic:
    """The records of one bench, and the cards they are on.

    Args:
        simulation: made from `size.parameters()`.
        size: how much of it.

    """

    def __init__(self, simulation: Simulation, size: TrafficSize) -> None:
        self.size = size
        self.simulation = simulation
        self._simulated_refs = simulation.portfolio.card_ref
        self._place = {ref: place for place, ref in enumerate(self._simulated_refs.tolist())}
        self.card_refs = made_up_references("state", size.seed, len(self._simulated_refs) * size.copies)
        self.exposed_cards = self._chosen_exposed()
        self._shifts = np.random.default_rng(size.seed).integers(0, _LARGEST_SHIFT_MS, size.copies)

    def __len__(self) -> int:
        return self.size.records

    def _chosen_exposed(self) -> NDArray[Any]:
        """So many of the simulation's exposed cards that their share of the traffic is the one asked for.

        Cards that pay on the web pay more often than others, so a share of the cards is a larger one of the traffic.
        """
        live = self.simulation.live
        used = min(len(live), math.ceil(self.size.records / self.size.copies))
        refs, counts = np.unique(live["card_ref"][:used].astype(str), return_counts=True)
        events = dict(zip(refs.tolist(), counts.tolist(), strict=True))
        chosen = np.random.default_rng(self.size.seed).permutation(self.simulation.exposed_cards)
        so_far = np.cumsum([events.get(ref, 0) for ref in chosen.tolist()])
        return chosen[: int(np.searchsorted(so_far, self.size.exposed_share * used)) + 1]

    def exposed_refs(self) -> NDArray[Any]:
        """References of the exposed cards in the traffic: all that stand for an exposed simulated card."""
        places = np.array([self._place[ref] for ref in self.exposed_cards.tolist()], dtype=np.int64)
        return self._of_copies(places)

    def states(self, simulated: CardStates) -> CardStates:
        """The state of every card, from that of the simulated ones at the start of the live days."""
        keys = card_keys(self._simulated_refs)
        found = simulated.slots(keys, create=False)
        records = simulated.records[np.maximum(found, 0)].copy()
        empty = np.zeros(1, records.dtype)
        empty["version"] = STATE_VERSION
        records[found < 0] = empty[0]
        states = CardStates()
        slots = states.slots(card_keys(self.card_refs))
        states.records[slots] = np.tile(records, self.size.copies)
        return states

    def blocks(self) -> Iterator[Columns]:
        """All records, block by block."""
        left = self.size.records
        live = self.simulation.live
        rows_a_block = max(1, _ROWS_AT_ONCE // self.size.copies)
        cycle = 0
        while left:  # more than once only where even the longest simulation is too short
            for start in range(0, len(live), rows_a_block):
                block = self._block(live.take(range(start, min(start + rows_a_block, len(live)))), cycle)
                yield block if len(block) <= left else block.take(range(left))
                left -= min(left, len(block))
                if not left:
                    return
            cycle += 1

    def _block(self, rows: Columns, cycle: int) -> Columns:
        copies = self.size.copies
        columns = {name: np.tile(rows[name], copies) for name in rows}
        copy = np.repeat(np.arange(copies), len(rows))
        place = np.array([self._place[ref] for ref in rows["card_ref"].tolist()], dtype=np.int64)
        columns["card_ref"] = self._of_copies(place)
        columns["card_key"] = card_keys(columns["card_ref"])
        columns["occurred_at"] = (
            columns["occurred_at"] + self._shifts[copy] + cycle * self.simulation.parameters.story_days * DAY_MS
        )
        for name in _PER_CARD:
            columns[name] = _suffixed(columns[name], copy, "-")
        for name in ("event_id", "original_event_id"):
            columns[name] = _suffixed(columns[name], copy, f".{cycle}-")
        return Columns(columns, len(copy)).take(np.argsort(columns["occurred_at"], kind="stable"))

    def _of_copies(self, places: NDArray[np.int64]) -> NDArray[Any]:
        """References of all copies of simulated cards, copy after copy."""
        starts = np.arange(self.size.copies) * len(self._simulated_refs)
        chosen: NDArray[Any] = self.card_refs[(starts[:, None] + places).ravel()]
        return chosen


def made_up_references(kind: str, seed: int, n: int) -> NDArray[Any]:
    """References of n cards that nobody has: digests of their number instead of a card's."""
    start = f"mimamori bench {kind} {seed} ".encode()
    digests = (hashlib.sha256(start + str(number).encode()).hexdigest() for number in range(n))
    return np.array([f"v1:{digest}" for digest in digests], dtype=np.object_)


def _suffixed(texts: NDArray[Any], copy: NDArray[np.int64], mark: str) -> NDArray[Any]:
    pairs = zip(texts.tolist(), copy.tolist(), strict=True)
    return np.array([None if text is None else f"{text}{mark}{number}" for text, number in pairs], dtype=np.object_)
