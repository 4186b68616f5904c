"""From an alert budget to a threshold, offline.

The question is how high the cards' highest scores of a day were. The reference is made once, at training, on
transactions that the model has not seen. It keeps the whole distribution in little space, so that any budget can be
turned into a threshold later without the data.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraud.errors import InvalidInputError

# The highest values are all kept; beyond them the number of card-days above a kept value grows by 1 % a step, so that
# a budget is met to 1 % or, at ties, undercut. A million card-days take some 1,700 pairs.
_KEPT_WHOLE: Final = 1_000
_STEP: Final = 1.01


@dataclass(frozen=True, slots=True)
class ScoreReference:
    """The distribution of each card's highest score of a day.

    Attributes:
        cards: cards seen in the period.
        days: local days of the period.
        values: distinct scores, falling.
        counts: for each value, the card-days whose highest score was at least that; rising.
    """

    cards: int
    days: int
    values: tuple[float, ...]
    counts: tuple[int, ...]

    @property
    def card_days(self) -> int:
        """Cards times days, with or without a transaction: what a budget per card and day refers to."""
        return self.cards * self.days

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"cards": self.cards, "days": self.days, "values": list(self.values), "counts": list(self.counts)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ScoreReference:
        """What `to_json` gave."""
        return cls(int(data["cards"]), int(data["days"]), tuple(data["values"]), tuple(data["counts"]))


def threshold_for_rate(scores: ScoreReference, alerts_per_card_day: float) -> float:
    """The lowest threshold that would have kept the budget: alert where score >= threshold.

    Args:
        scores: the reference of the score that the threshold is for.
        alerts_per_card_day: alerts a day for one card; 20 a day for 100,000 cards are 0.0002. A card alerts at most
            once a day.

    Returns:
        A float32 number. Just above the highest score seen where the budget allows not even one alert in the whole
        period, or where more tie at the top than it allows. 0, the lowest score, where it allows all card-days.

    Raises:
        InvalidInputError: the budget is not a number, or negative; or the reference is empty.
    """
    if not alerts_per_card_day >= 0:
        message = "an alert budget is a number that is not negative"
        raise InvalidInputError(message, field="alerts_per_card_day")
    if not scores.values:
        message = "the model has no reference for this score, so no threshold can be computed"
        raise InvalidInputError(message, field="scores")
    allowed = alerts_per_card_day * scores.card_days * (1 + 1e-9)  # a whole number must survive the multiplication
    if allowed >= scores.card_days:
        return 0.0
    within = int(np.searchsorted(scores.counts, allowed, side="right"))
    if within == 0:
        return float(np.nextafter(np.float32(scores.values[0]), np.float32(np.inf)))
    return scores.values[within - 1]


def threshold_for_alerts_per_day(scores: ScoreReference, alerts_per_day: float, cards: int) -> float:
    """The threshold for a budget of a whole portfolio of `cards` cards; see `threshold_for_rate`."""
    return threshold_for_rate(scores, alerts_per_day / max(cards, 1))


def score_reference(
    scores: NDArray[np.float32], card_keys: NDArray[np.uint64], local_days: NDArray[np.int64], *, cards: int, days: int
) -> ScoreReference:
    """The reference of (n,) scores of transactions; `cards` and `days` are those of the whole period."""
    if not scores.size:
        return ScoreReference(cards, days, (), ())
    highest = np.sort(highest_of_card_day(scores, card_keys, local_days).scores)[::-1]
    values, first = np.unique(-highest, return_index=True)
    counts = np.append(first[1:], highest.size)
    kept = _thinned(counts)
    return ScoreReference(cards, days, tuple((-values[kept]).tolist()), tuple(counts[kept].tolist()))


@dataclass(frozen=True, slots=True)
class CardDays:
    """(m,) each: a card, a local day on which it was used, and its highest score of that day."""

    card_keys: NDArray[np.uint64]
    local_days: NDArray[np.int64]
    scores: NDArray[np.float32]


def highest_of_card_day(
    scores: NDArray[np.float32], card_keys: NDArray[np.uint64], local_days: NDArray[np.int64]
) -> CardDays:
    """Each card's highest score of each day, ordered by day, then by card."""
    order = np.lexsort((scores, card_keys, local_days))
    keys, days = card_keys[order], local_days[order]
    last = np.append((keys[1:] != keys[:-1]) | (days[1:] != days[:-1]), [True] * (order.size > 0))
    return CardDays(keys[last], days[last], scores[order][last])


def _thinned(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Places of the counts to keep: all up to `_KEPT_WHOLE`, then in steps of `_STEP`, and the last."""
    kept, limit = [], 0.0
    for place, count in enumerate(counts.tolist()):
        if count <= _KEPT_WHOLE or count >= limit or place == counts.size - 1:
            kept.append(place)
            limit = count * _STEP
    return np.array(kept, dtype=np.int64)
