from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud.errors import InvalidInputError
from models.thresholds import (
    ScoreReference,
    highest_of_card_day,
    score_reference,
    threshold_for_alerts_per_day,
    threshold_for_rate,
)


def keys(values):
    return np.array(values, dtype=np.uint64)


def reference(scores, cards=None, days=1):
    """One score for each card, all on one day."""
    scores = np.array(scores, np.float32)
    return score_reference(
        scores, keys(range(len(scores))), np.zeros(len(scores), np.int64), cards=cards or len(scores), days=days
    )


def test_highest_score_of_each_card_and_day():
    scores = np.array([0.1, 0.9, 0.2, 0.5, 0.4], np.float32)
    highest = highest_of_card_day(scores, keys([1, 1, 1, 2, 1]), np.array([5, 5, 6, 5, 6]))
    assert list(zip(highest.local_days.tolist(), highest.card_keys.tolist(), highest.scores.tolist(), strict=True)) == [
        (5, 1, np.float32(0.9)),
        (5, 2, np.float32(0.5)),
        (6, 1, np.float32(0.4)),
    ]


def test_a_budget_takes_exactly_the_highest_cards():
    scores = reference(np.arange(100) / 100)
    assert threshold_for_rate(scores, 0.05) == np.float32(0.95)
    assert threshold_for_rate(scores, 0.01) == np.float32(0.99)
    assert threshold_for_rate(scores, 1.0) == 0.0
    assert threshold_for_rate(scores, 50.0) == 0.0


def test_cards_without_transactions_count_in_the_budget():
    scores = reference(np.arange(100) / 100, cards=1_000, days=1)
    assert threshold_for_rate(scores, 0.005) == np.float32(0.95)
    assert threshold_for_rate(scores, 0.5) == 0.0


def test_a_budget_below_one_alert_is_above_everything_seen():
    scores = reference([0.2, 0.7])
    assert threshold_for_rate(scores, 0.0) > np.float32(0.7)
    assert threshold_for_rate(scores, 0.4) == pytest.approx(0.7, abs=1e-6)


def test_ties_never_exceed_the_budget():
    scores = reference([0.9] + [0.5] * 8 + [0.1])
    assert threshold_for_rate(scores, 0.5) == np.float32(0.9)
    assert threshold_for_rate(scores, 0.9) == 0.5
    tied = reference([0.5] * 10)
    assert threshold_for_rate(tied, 0.5) > 0.5


def test_portfolio_budget():
    scores = reference(np.arange(1_000) / 1_000, cards=1_000, days=1)
    assert threshold_for_alerts_per_day(scores, 20, 1_000) == np.float32(0.98)
    assert threshold_for_alerts_per_day(scores, 20, 2_000) == np.float32(0.99)


@pytest.mark.parametrize("budget", [-1.0, float("nan")])
def test_an_impossible_budget_is_refused(budget):
    with pytest.raises(InvalidInputError, match="budget"):
        threshold_for_rate(reference([0.5]), budget)


def test_an_empty_reference_is_refused():
    empty = score_reference(np.empty(0, np.float32), keys([]), np.empty(0, np.int64), cards=5, days=1)
    with pytest.raises(InvalidInputError, match="no reference"):
        threshold_for_rate(empty, 0.1)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(1, 30_000),
    st.sampled_from([0, 1, 3]),
    st.floats(0, 1),
    st.sampled_from([1, 2, 10]),
)
def test_the_budget_is_kept_and_used(seed, n, decimals, share, portfolio):
    """Counted on the scores themselves: never over the budget, and under it by ties or by 1 % only."""
    random = np.random.default_rng(seed)
    raw = random.random(n).astype(np.float32)
    scores = np.round(raw, decimals) if decimals else raw
    kept = ScoreReference.from_json(json.loads(json.dumps(reference(scores, cards=portfolio * n).to_json())))
    assert len(kept.values) <= 1_000 + 1_000 * np.log(max(n, 2)) / np.log(10)
    rate = share / portfolio
    threshold = np.float32(threshold_for_rate(kept, rate))
    allowed = rate * portfolio * n * (1 + 1e-9)
    alerts = int((scores >= threshold).sum())
    assert alerts <= allowed
    lower = scores[scores < threshold]
    if lower.size:
        with_next = int((scores >= lower.max()).sum())
        assert with_next > allowed or alerts >= 0.98 * allowed - 1
