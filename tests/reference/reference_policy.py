"""Policy in plain if-statements: one transaction, its features, scores and exposure in; a detection or None out.

A score that cannot be computed (SCORING_FAILED) is a fault, which the reference does not have.
"""

from __future__ import annotations

import math

from reference_scores import single

from fraud.codes import MCC_GROUPS, format_amount

# A clearing that names its authorization is decided on too, although it is not counted and no model learns from it.
SCORED = {"authorization", "advice", "financial", "clearing", "account_verification", "token_provision"}
CHIP = "05"


def triggers(row, policy):
    """The codes that fire on a row, strongest first."""
    known, feature, tier = row["transaction"], row["features"], row["tier"]
    linked = known.get("event_type") == "clearing" and known.get("original_event_id") is not None
    scored = known.get("event_type") in SCORED and not linked
    not_present = known.get("channel") in ("ecommerce", "moto")
    explained = known.get("three_ds") == "challenge_passed" or (
        known.get("initiator") == "merchant" and feature["merchant_count"] >= 1
    )
    watched = tier > 0 and scored and not_present and not explained
    small_now = known.get("event_type") == "account_verification" or (
        row["amount"] is not None and row["amount"] <= policy.small_amount_minor
    )
    small_before = feature["small_24h"]
    attempts = small_before + (1 if small_now else 0)
    new_merchant = feature["merchant_new"] >= 1  # False where the merchant is unknown
    testing = small_now and not_present and scored and new_merchant
    supported = policy.supporting_probability_threshold is None or over(
        row["probability"], policy.supporting_probability_threshold
    )
    codes = []
    if testing and (
        (watched and supported and attempts >= policy.testing_attempts) or attempts >= policy.testing_attempts_unexposed
    ):
        codes.append("CARD_TESTING")
    if watched and supported and new_merchant and not small_now and small_before >= 1:
        codes.append("TEST_THEN_SPEND")
    if (scored and over(row["probability"], policy.probability_threshold)) or (
        watched and over(row["probability"], policy.exposed_probability_threshold)
    ):
        codes.append("MODEL_SCORE_HIGH")
    if (scored and tier == 0 and over(row["anomaly"], policy.anomaly_threshold)) or (
        watched and over(row["anomaly"], policy.exposed_anomaly_threshold)
    ):
        codes.append("ANOMALY_HIGH")
    return codes


def over(score, threshold):
    """Scores are float32, and are compared with the float32 next to the threshold."""
    return score is not None and threshold is not None and score >= single(threshold)


def detection_of(row, policy, quiet):
    """What policy says of a row: kind, loss, priority and reasons; None when it is not worth a person's time."""
    codes = triggers(row, policy)
    known = row["transaction"]
    if all(known["occurred_at"] < quiet.get((known["card_ref"], code), 0) for code in codes):
        return None  # nothing fires, or only what the holder has confirmed
    tier = row["tier"]
    # Without a learnt probability a fifth of the anomaly stands in for it.
    base = row["probability"] if row["probability"] is not None else 0.2 * row["anomaly"]
    odds = base / max(1 - base, 1e-9) * policy.tier_odds[tier]
    probability = odds / (1 + odds)
    amount = 0 if row["amount"] is None else int(row["amount"])
    at_risk = amount + policy.typical_further_loss_minor
    reasons = [trigger_reason(row, code) for code in codes]
    if tier:
        reasons.append(reason("EXPOSED_CARD", tier=tier, days_since_window=row["days_since_window"]))
    return {
        "kind": "EXPOSED" if tier else "ANOMALY",
        "tier": tier,
        "expected_loss_minor": round(probability * at_risk),
        "priority_reason": (
            f"{probability:.0%} of {format_amount(at_risk, policy.currency)} at risk "
            f"({format_amount(amount, policy.currency)} now, "
            f"{format_amount(policy.typical_further_loss_minor, policy.currency)} a stolen number usually costs after)"
        ),
        "reasons": reasons + supporting_reasons(row),
        "counter_evidence": counter_evidence(row),
    }


def reason(code, **facts):
    return {"code": code, "facts": facts}


def facts(row, *names):
    return {name: round(row["features"][name], 2) for name in names if math.isfinite(row["features"][name])}


def trigger_reason(row, code):
    if code == "MODEL_SCORE_HIGH":
        return reason(code, probability=round(row["probability"], 4))
    if code == "ANOMALY_HIGH":
        return reason(code, anomaly=round(row["anomaly"], 4))
    return reason(code, **facts(row, "small_24h", "declines_24h", "amount_to_mean"))


def supporting_reasons(row):
    known, feature, found = row["transaction"], row["features"], []
    not_present = known.get("channel") in ("ecommerce", "moto")
    foreign = feature["foreign"] == 1
    if feature["amount_to_mean"] >= 4:
        found.append(reason("AMOUNT_UNUSUAL", **facts(row, "amount_to_mean")))
    if foreign and not_present:
        found.append(reason("FOREIGN_ECOMMERCE", country=known["merchant_country"]))
    if foreign and feature["country_new"] == 1:
        found.append(reason("NEW_COUNTRY", country=known["merchant_country"]))
    if not_present and known.get("three_ds") in ("none", "attempted", "frictionless"):
        found.append(reason("NO_CHALLENGE", three_ds=known["three_ds"]))
    if feature["merchant_new"] == 1:
        found.append(reason("NEW_MERCHANT"))
    if feature["new_merchants_24h"] >= 3:
        found.append(reason("MANY_NEW_MERCHANTS", **facts(row, "new_merchants_24h")))
    if feature["high_risk_goods"] == 1:
        found.append(reason("HIGH_RISK_GOODS", mcc_group=MCC_GROUPS[row["mcc_group"]]))
    if feature["count_1h"] >= 3:
        found.append(reason("VELOCITY", **facts(row, "count_1h", "count_24h")))
    if feature["hour_unusual"] >= 0.95:
        found.append(reason("UNUSUAL_HOUR", **facts(row, "hour_of_day")))
    return found


def counter_evidence(row):
    known, feature, found = row["transaction"], row["features"], []
    known_merchant = feature["merchant_count"] >= 1
    if known.get("three_ds") == "challenge_passed":
        found.append(reason("CHALLENGE_PASSED"))
    if known_merchant:
        found.append(reason("KNOWN_MERCHANT", **facts(row, "merchant_count")))
    if known.get("channel") == "card_present" and known.get("pos_entry_mode") == CHIP and feature["foreign"] == 0:
        found.append(reason("CHIP_AT_HOME"))
    if known.get("initiator") == "merchant" and known_merchant:
        found.append(reason("LONG_STANDING_RECURRING"))
    if feature["amount_to_mean"] <= 1.5:
        found.append(reason("USUAL_AMOUNT", **facts(row, "amount_to_mean")))
    return found
