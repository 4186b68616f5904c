"""Policy: a match is not a detection, watched cards have a lower bar, and results do not depend on batching."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud.policy import Decision, ExposureColumns, Policy, ScoredBatch, decide
from fraud.transactions import EVENT_TYPES, Columns, enum_code

POLICY = Policy(
    probability_threshold=0.8,
    anomaly_threshold=0.99,
    exposed_probability_threshold=0.2,
    exposed_anomaly_threshold=None,
)


def batch(rows: list[dict[str, Any]]) -> ScoredBatch:
    """Rows of plain words as a scored batch; what a row does not say is ordinary."""
    n = len(rows)

    def column(name: str, default: Any) -> np.ndarray:
        return np.array([row.get(name, default) for row in rows])

    columns = Columns(
        {
            "event_id": np.array([f"e{i}" for i in range(n)], dtype=np.object_),
            "card_ref": np.array([row.get("card_ref", f"card{i}") for i, row in enumerate(rows)], dtype=np.object_),
            "event_type": column("event_type", 0),
            "occurred_at": np.arange(n, dtype=np.int64),
            "channel": np.array([enum_code("channel", row.get("channel", "ecommerce")) for row in rows]),
            "three_ds": np.array([enum_code("three_ds", row.get("three_ds", "none")) for row in rows]),
            "initiator": np.array([enum_code("initiator", row.get("initiator", "cardholder")) for row in rows]),
            "amount": column("amount", 5_000.0),
        },
        n,
    )
    features = {
        name: column(name, default)
        for name, default in {
            "merchant_new": 0.0,
            "merchant_count": 3.0,
            "small_24h": 0.0,
            "amount_to_mean": 1.0,
        }.items()
    }
    exposure = ExposureColumns.none(n)
    exposure.tier[:] = column("tier", 0)
    return ScoredBatch(columns, features, column("probability", 0.01), column("anomaly", 0.5), exposure)


def codes(decisions: list[Decision]) -> list[str]:
    return [reason.code for reason in decisions[0].reasons] if decisions else []


def test_ordinary_spending_on_a_watched_card_opens_nothing() -> None:
    assert decide(batch([{"tier": 3}]), POLICY) == []


def test_a_watched_card_has_a_lower_bar_than_another() -> None:
    middling = {"probability": 0.4, "merchant_new": 1.0, "merchant_count": 0.0}
    assert decide(batch([middling]), POLICY) == []
    assert codes(decide(batch([{**middling, "tier": 3}]), POLICY))[:2] == ["MODEL_SCORE_HIGH", "EXPOSED_CARD"]


def test_the_lower_bar_is_for_card_not_present_only() -> None:
    row = {"probability": 0.4, "tier": 3, "channel": "card_present"}
    assert decide(batch([row]), POLICY) == []


@pytest.mark.parametrize("excuse", [{"three_ds": "challenge_passed"}, {"initiator": "merchant", "merchant_count": 5.0}])
def test_a_passed_challenge_or_a_known_recurring_charge_explains_a_middling_score(excuse: dict[str, Any]) -> None:
    assert decide(batch([{"probability": 0.4, "tier": 3, **excuse}]), POLICY) == []


def test_a_new_merchant_initiated_series_is_no_excuse() -> None:
    row = {"probability": 0.4, "tier": 3, "initiator": "merchant", "merchant_count": 0.0}
    assert decide(batch([row]), POLICY)


def test_frictionless_and_a_cvv2_match_exonerate_nobody() -> None:
    assert decide(batch([{"probability": 0.4, "tier": 3, "three_ds": "frictionless"}]), POLICY)


def test_the_second_small_try_at_a_new_merchant_is_card_testing_on_a_watched_card() -> None:
    first = {"tier": 3, "amount": 100.0, "merchant_new": 1.0, "merchant_count": 0.0}
    assert decide(batch([first]), POLICY) == []
    assert codes(decide(batch([{**first, "small_24h": 1.0}]), POLICY))[0] == "CARD_TESTING"
    assert decide(batch([{**first, "small_24h": 1.0, "tier": 0}]), POLICY) == []
    assert codes(decide(batch([{**first, "small_24h": 3.0, "tier": 0}]), POLICY))[0] == "CARD_TESTING"


def test_an_account_verification_is_a_small_try() -> None:
    row = {
        "tier": 3,
        "amount": np.nan,
        "event_type": EVENT_TYPES.index("account_verification"),
        "merchant_new": 1.0,
        "small_24h": 1.0,
    }
    assert codes(decide(batch([row]), POLICY))[0] == "CARD_TESTING"


def test_spending_at_a_new_merchant_after_a_small_try() -> None:
    row = {"tier": 3, "small_24h": 1.0, "merchant_new": 1.0, "merchant_count": 0.0}
    assert codes(decide(batch([row]), POLICY))[0] == "TEST_THEN_SPEND"
    assert decide(batch([{**row, "merchant_new": 0.0}]), POLICY) == []


def test_a_missing_feature_is_not_evaluable_and_fires_nothing() -> None:
    whole = batch([{"tier": 3, "small_24h": 5.0, "merchant_new": np.nan}])
    assert decide(whole, POLICY) == []
    without = ScoredBatch(whole.columns, {}, whole.probability, whole.anomaly, whole.exposure)
    assert decide(without, POLICY) == []


def test_reversals_and_context_are_never_detections() -> None:
    for name in ("reversal", "refund", "authentication", "account_change"):
        row = {"probability": 0.99, "anomaly": 1.0, "tier": 3, "event_type": EVENT_TYPES.index(name)}
        assert decide(batch([row]), POLICY) == []
    assert decide(batch([{"probability": 0.99, "tier": 3, "event_type": -1}]), POLICY) == []


def test_without_a_trained_model_the_anomaly_alone_decides() -> None:
    row = {"probability": np.nan, "anomaly": 0.995}
    assert codes(decide(batch([row]), POLICY))[0] == "ANOMALY_HIGH"


def test_a_single_failed_score_goes_to_review_and_a_broken_scorer_does_not_flood() -> None:
    rows = [{} for _ in range(500)]
    rows[7] = {"anomaly": np.nan, "probability": np.nan}
    assert codes(decide(batch(rows), POLICY))[0] == "SCORING_FAILED"
    broken = [{"anomaly": np.nan, "probability": np.nan} for _ in range(500)]
    assert decide(batch(broken), POLICY) == []


def test_a_confirmed_pattern_stays_quiet_and_another_one_does_not() -> None:
    row = {"probability": 0.9, "card_ref": "holder-confirmed"}
    occurred_at = int(batch([row]).columns["occurred_at"][0])
    quiet = {"holder-confirmed": {"MODEL_SCORE_HIGH": occurred_at + 1}}
    assert decide(batch([row]), POLICY, quiet) == []
    assert decide(batch([row]), POLICY, {"holder-confirmed": {"MODEL_SCORE_HIGH": occurred_at}})
    assert decide(batch([{**row, "small_24h": 3.0, "amount": 1.0, "merchant_new": 1.0}]), POLICY, quiet)


def test_priority_is_expected_loss_with_its_sum_written_beside_it() -> None:
    [decision] = decide(batch([{"probability": 0.9, "amount": 48_000.0}]), POLICY)
    assert decision.expected_loss_minor == round(0.9 * (48_000 + POLICY.typical_further_loss_minor))
    assert decision.priority_reason.startswith("90% of ¥98,000 at risk (¥48,000 now")


def test_exposure_multiplies_the_odds() -> None:
    [decision] = decide(batch([{"probability": 0.5, "tier": 3}]), POLICY)
    assert decision.fraud_probability == pytest.approx(6 / 7)


def test_the_digest_names_the_policy() -> None:
    other = Policy(0.8, 0.99, 0.2, None, testing_attempts=3)
    assert POLICY.digest == Policy(0.8, 0.99, 0.2, None).digest
    assert POLICY.digest != other.digest


ROW = st.fixed_dictionaries(
    {
        "probability": st.sampled_from([0.01, 0.3, 0.9]),
        "anomaly": st.sampled_from([0.2, 0.999]),
        "tier": st.sampled_from([0, 1, 3]),
        "channel": st.sampled_from(["ecommerce", "card_present"]),
        "small_24h": st.sampled_from([0.0, 2.0, 4.0]),
        "merchant_new": st.sampled_from([0.0, 1.0, np.nan]),
        "amount": st.sampled_from([0.0, 150.0, 20_000.0, np.nan]),
    }
)


@given(st.lists(ROW, min_size=1, max_size=40), st.integers(1, 40))
def test_the_same_rows_give_the_same_detections_however_the_batch_is_cut(rows: list[dict[str, Any]], size: int) -> None:
    whole = [(d.row, d.reasons, d.expected_loss_minor) for d in decide(batch(rows), POLICY)]
    cut = [
        (start + d.row, d.reasons, d.expected_loss_minor)
        for start in range(0, len(rows), size)
        for d in decide(batch(rows[start : start + size]), POLICY)
    ]
    assert whole == cut


def test_a_rule_can_ask_for_some_support_by_the_score() -> None:
    careful = replace(POLICY, supporting_probability_threshold=0.05)
    row = {"tier": 3, "small_24h": 1.0, "merchant_new": 1.0, "merchant_count": 0.0}
    assert decide(batch([{**row, "probability": 0.04}]), careful) == []
    assert codes(decide(batch([{**row, "probability": 0.06}]), careful))[0] == "TEST_THEN_SPEND"
