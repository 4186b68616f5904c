"""How good scores are on transactions that the model has not seen, and how they are spread there."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from models.sample import Sample
from models.thresholds import ScoreReference, highest_of_card_day, score_reference

Scores = NDArray[np.float32]

CARDS_A_DAY: Final = 100


def evaluate(sample: Sample, scores: Scores) -> dict[str, Any]:
    """Metrics of the (n,) scores of a sample, over the rows whose label is known, as plain data.

    `auc` is the area under the ROC curve, `average_precision` that under precision and recall, and
    `card_precision_100` is `card_precision`. Each is None where there is nothing to measure.
    """
    known = (sample.labels >= 0) & ~np.isnan(scores)
    sample, scores = sample.take(known), scores[known]
    positives = int(sample.labels.sum())
    measurable = 0 < positives < len(sample)
    return {
        "rows": len(sample),
        "positives": positives,
        "auc": float(roc_auc_score(sample.labels, scores)) if measurable else None,
        "average_precision": float(average_precision_score(sample.labels, scores)) if measurable else None,
        "card_precision_100": card_precision(sample, scores) if measurable else None,
    }


def card_precision(sample: Sample, scores: Scores, cards_a_day: int = CARDS_A_DAY) -> float:
    """Mean over days of the share of truly defrauded cards among the day's highest-scored ones.

    A card that was found on an earlier day is not looked at again (Le Borgne, Siblini, Lebichot, Bontempi 2022,
    "card precision top-k").
    """
    highest = highest_of_card_day(scores, sample.card_keys, sample.local_days)
    labels = sample.labels.astype(np.float32)
    defrauded = highest_of_card_day(labels, sample.card_keys, sample.local_days).scores > 0  # same cards and days
    found = np.empty(0, np.uint64)
    precisions = []
    for day in np.unique(highest.local_days):
        candidates = np.flatnonzero((highest.local_days == day) & ~np.isin(highest.card_keys, found))
        top = candidates[np.argsort(-highest.scores[candidates], kind="stable")[:cards_a_day]]
        hits = top[defrauded[top]]
        found = np.append(found, highest.card_keys[hits])
        precisions.append(hits.size / cards_a_day)
    return float(np.mean(precisions))


def score_references(sample: Sample, scores: Scores, *, cards: int) -> dict[str, ScoreReference]:
    """The references of a sample's (n,) scores: of "all" transactions, and of the "card_not_present" ones."""
    days = int(np.ptp(sample.local_days)) + 1
    scopes = {"all": np.ones(len(sample), np.bool_), "card_not_present": sample.card_not_present}
    return {
        scope: score_reference(scores[mask], sample.card_keys[mask], sample.local_days[mask], cards=cards, days=days)
        for scope, mask in scopes.items()
    }
