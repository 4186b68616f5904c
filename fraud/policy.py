"""Policy, pure: score, exposure and rules in; detections with their reasons out.

A match is not a detection: ordinary spending on a watched card opens nothing. Exposed and unexposed cards have
separate budgets, so a large compromise event cannot crowd out everything else. Thresholds come from outside, computed
offline for those budgets; nothing adapts here, so the same batch gives the same detections wherever it is cut.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fraud.codes import MCC_GROUPS, country_alpha_2, format_amount
from fraud.transactions import EVENT_TYPE_RULES, EVENT_TYPES, FIELD_BY_NAME, Columns, enum_code, is_linked_clearing

Mask = NDArray[np.bool_]
Vector = NDArray[Any]
CaseKind = Literal["EXPOSED", "ANOMALY"]
QuietPatterns = Mapping[str, Mapping[str, int]]

# Above this share of a batch without a score, the scorer itself is broken: reviewers are not flooded.
SYSTEMATIC_FAILURE_SHARE = 0.01

_SCORED = np.array([EVENT_TYPE_RULES[name].scored for name in EVENT_TYPES])
_ECOMMERCE = enum_code("channel", "ecommerce")
_MOTO = enum_code("channel", "moto")
_CARD_PRESENT = enum_code("channel", "card_present")
_CHALLENGE_PASSED = enum_code("three_ds", "challenge_passed")
_MERCHANT_INITIATED = enum_code("initiator", "merchant")
_THREE_DS = FIELD_BY_NAME["three_ds"].values
_WEAK_THREE_DS = tuple(enum_code("three_ds", name) for name in ("none", "attempted", "frictionless"))
_CHIP = 5  # DE22: read from the chip


@dataclass(frozen=True, slots=True)
class Policy:
    """Thresholds and odds, versioned by `digest`.

    A threshold of None switches its trigger off. The testing rules on watched cards ask for a probability of at least
    `supporting_probability_threshold`: adding a card to a new shop looks like a test too. None asks for nothing, which
    is right where no model has been trained on labels.

    `tier_odds[t]` multiplies the odds of fraud for a card-not-present
    transaction on a card of exposure tier t (0 is unexposed).
    """

    probability_threshold: float | None
    anomaly_threshold: float | None
    exposed_probability_threshold: float | None
    exposed_anomaly_threshold: float | None
    supporting_probability_threshold: float | None = None
    tier_odds: tuple[float, ...] = (1.0, 1.5, 3.0, 6.0, 8.0, 8.0)
    testing_attempts: int = 2
    testing_attempts_unexposed: int = 4
    small_amount_minor: int = 200
    typical_further_loss_minor: int = 50_000
    currency: str = "JPY"

    @property
    def digest(self) -> str:
        """SHA-256 over every value."""
        return hashlib.sha256(repr(sorted(asdict(self).items())).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class ExposureColumns:
    """Exposure of each of n rows: `tier` int8 (0 is unexposed), `days_since_window` int32, ids of the events."""

    tier: NDArray[np.int8]
    days_since_window: NDArray[np.int32]
    compromise_event_ids: NDArray[np.object_]

    @staticmethod
    def none(n: int) -> ExposureColumns:
        """No card is exposed."""
        empty = np.empty(n, dtype=np.object_)
        empty.fill(())
        return ExposureColumns(np.zeros(n, np.int8), np.zeros(n, np.int32), empty)


@dataclass(frozen=True, slots=True)
class ScoredBatch:
    """n transactions with everything that policy may look at.

    Args:
        columns: the transactions.
        features: feature name to an (n,) array; NaN is not evaluable, and then a rule that needs it does not fire.
        probability: (n,) fraud probability in [0, 1]; all NaN where no model has been trained on labels yet.
        anomaly: (n,) anomaly score in [0, 1]; high is anomalous.
        exposure: the rows' exposure.

    """

    columns: Columns
    features: Mapping[str, Vector]
    probability: Vector
    anomaly: Vector
    exposure: ExposureColumns

    def feature(self, name: str) -> Vector:
        """One feature's (n,) column; all NaN where this feature schema does not have it."""
        return self.features[name] if name in self.features else np.full(len(self.columns), np.nan)

    def value(self, name: str, row: int) -> float:
        """One feature of one row."""
        return float(self.features[name][row]) if name in self.features else float("nan")


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason or piece of counter-evidence: a code, and the facts that the words for it are made of."""

    code: str
    facts: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """Plain data for the store."""
        return {"code": self.code, "facts": dict(self.facts)}


@dataclass(frozen=True, slots=True)
class Decision:
    """One row that is worth a person's time. The first reason is the strongest."""

    row: int
    kind: CaseKind
    tier: int
    fraud_probability: float
    expected_loss_minor: int
    priority_reason: str
    reasons: tuple[Reason, ...]
    counter_evidence: tuple[Reason, ...]


def decide(batch: ScoredBatch, policy: Policy, quiet: QuietPatterns | None = None) -> list[Decision]:
    """Turn n scored rows into detections, in row order.

    `quiet` maps a card reference to trigger codes, and those to the event time (epoch milliseconds) before which they
    open nothing on that card, since its holder has confirmed the same pattern.
    """
    triggers = _triggers(batch, policy)
    hit = np.zeros(len(batch.columns), dtype=bool)
    for mask in triggers.values():
        hit |= mask
    decisions = []
    for row in np.flatnonzero(hit).tolist():
        codes = [code for code, mask in triggers.items() if mask[row]]
        if quiet and _is_quiet(batch, row, codes, quiet):
            continue
        decisions.append(_decision(batch, row, codes, policy))
    return decisions


def _is_quiet(batch: ScoredBatch, row: int, codes: list[str], quiet: QuietPatterns) -> bool:
    """Every trigger is one that the holder has confirmed, and the event is from before the quiet ends."""
    until_at = quiet.get(batch.columns["card_ref"][row], {})
    occurred_at = int(batch.columns["occurred_at"][row])
    return all(occurred_at < until_at.get(code, 0) for code in codes)


def _triggers(batch: ScoredBatch, policy: Policy) -> dict[str, Mask]:
    """Trigger code to the rows on which it fires, strongest first."""
    columns, exposure = batch.columns, batch.exposure
    n = len(columns)
    event_type = columns["event_type"]
    scored = (event_type >= 0) & _SCORED[event_type] & ~is_linked_clearing(columns)
    not_present = (columns["channel"] == _ECOMMERCE) | (columns["channel"] == _MOTO)
    exposed = exposure.tier > 0
    watched = exposed & scored & not_present & ~_exonerated(batch)
    new_merchant = batch.feature("merchant_new") >= 1
    small_before = np.nan_to_num(batch.feature("small_24h"))
    small_now = _small(columns, policy)
    attempts = small_before + small_now
    testing = small_now & not_present & scored & new_merchant
    supported = np.ones(n, dtype=bool)
    if policy.supporting_probability_threshold is not None:
        supported = batch.probability >= policy.supporting_probability_threshold
    triggers: dict[str, Mask] = {
        "CARD_TESTING": (testing & watched & supported & (attempts >= policy.testing_attempts))
        | (testing & (attempts >= policy.testing_attempts_unexposed)),
        "TEST_THEN_SPEND": watched & supported & new_merchant & ~small_now & (small_before >= 1),
        "MODEL_SCORE_HIGH": (scored & _over(batch.probability, policy.probability_threshold))
        | (watched & _over(batch.probability, policy.exposed_probability_threshold)),
        "ANOMALY_HIGH": (scored & ~exposed & _over(batch.anomaly, policy.anomaly_threshold))
        | (watched & _over(batch.anomaly, policy.exposed_anomaly_threshold)),
    }
    failed = scored & ~np.isfinite(batch.anomaly)
    if n and failed.sum() <= max(1, SYSTEMATIC_FAILURE_SHARE * n):
        triggers["SCORING_FAILED"] = failed
    return triggers


def _exonerated(batch: ScoredBatch) -> Mask:
    """Card-not-present rows that even a watched card explains: a passed challenge, or a charge it has long known.

    A matching CVV2 is not among them: in tier E3 the thief has it too. Neither is a frictionless 3-D Secure result.
    """
    columns = batch.columns
    known = batch.feature("merchant_count") >= 1
    recurring = (columns["initiator"] == _MERCHANT_INITIATED) & known
    mask: Mask = (columns["three_ds"] == _CHALLENGE_PASSED) | recurring
    return mask


def _small(columns: Columns, policy: Policy) -> Mask:
    """Rows that are themselves a small or zero attempt: what a thief tries a number with."""
    verification = columns["event_type"] == EVENT_TYPES.index("account_verification")
    mask: Mask = verification | (columns["amount"] <= policy.small_amount_minor)
    return mask


def _over(scores: Vector, threshold: float | None) -> Mask:
    mask: Mask = np.zeros(len(scores), dtype=bool) if threshold is None else scores >= threshold
    return mask


def _decision(batch: ScoredBatch, row: int, codes: list[str], policy: Policy) -> Decision:
    tier = int(batch.exposure.tier[row])
    # Without a label-trained model the anomaly rank stands in, scaled so that even the highest stays a suspicion.
    probability = float(batch.probability[row])
    base = probability if np.isfinite(probability) else 0.2 * float(np.nan_to_num(batch.anomaly[row]))
    fraud_probability = _posterior(base, policy.tier_odds[tier])
    known_amount = batch.columns["amount"][row]
    amount = 0 if np.isnan(known_amount) else int(known_amount)
    at_risk = amount + policy.typical_further_loss_minor
    reasons = [_trigger_reason(batch, row, code) for code in codes]
    if tier:
        days = int(batch.exposure.days_since_window[row])
        reasons.append(Reason("EXPOSED_CARD", {"tier": tier, "days_since_window": days}))
    reasons.extend(_supporting_reasons(batch, row))
    return Decision(
        row=row,
        kind="EXPOSED" if tier else "ANOMALY",
        tier=tier,
        fraud_probability=fraud_probability,
        expected_loss_minor=round(fraud_probability * at_risk),
        priority_reason=(
            f"{fraud_probability:.0%} of {format_amount(at_risk, policy.currency)} at risk "
            f"({format_amount(amount, policy.currency)} now, "
            f"{format_amount(policy.typical_further_loss_minor, policy.currency)} a stolen number usually costs after)"
        ),
        reasons=tuple(reasons),
        counter_evidence=tuple(_counter_evidence(batch, row)),
    )


def _posterior(probability: float, odds_factor: float) -> float:
    """Bayes with a likelihood ratio: multiply the odds."""
    odds = probability / max(1 - probability, 1e-9) * odds_factor
    return odds / (1 + odds)


def _trigger_reason(batch: ScoredBatch, row: int, code: str) -> Reason:
    if code == "MODEL_SCORE_HIGH":
        return Reason(code, {"probability": round(float(batch.probability[row]), 4)})
    if code == "ANOMALY_HIGH":
        return Reason(code, {"anomaly": round(float(batch.anomaly[row]), 4)})
    if code in {"CARD_TESTING", "TEST_THEN_SPEND"}:
        return Reason(code, _facts(batch, row, "small_24h", "declines_24h", "amount_to_mean"))
    return Reason(code, {})


def _facts(batch: ScoredBatch, row: int, *names: str) -> dict[str, float]:
    values = {name: batch.value(name, row) for name in names}
    return {name: round(value, 2) for name, value in values.items() if np.isfinite(value)}


def _supporting_reasons(batch: ScoredBatch, row: int) -> list[Reason]:
    """What else speaks for fraud, in the order a reviewer would say it."""
    columns = batch.columns
    not_present = columns["channel"][row] in (_ECOMMERCE, _MOTO)
    foreign = batch.value("foreign", row) == 1
    country = {"country": country_alpha_2().get(int(columns["merchant_country"][row]), "")}
    three_ds = int(columns["three_ds"][row])
    group = MCC_GROUPS[max(int(columns["mcc_group"][row]), 0)]
    found = [
        (batch.value("amount_to_mean", row) >= 4, Reason("AMOUNT_UNUSUAL", _facts(batch, row, "amount_to_mean"))),
        (foreign and not_present, Reason("FOREIGN_ECOMMERCE", country)),
        (foreign and batch.value("country_new", row) == 1, Reason("NEW_COUNTRY", country)),
        (
            not_present and three_ds in _WEAK_THREE_DS,
            Reason("NO_CHALLENGE", {"three_ds": _THREE_DS[three_ds] if three_ds >= 0 else "none"}),
        ),
        (batch.value("merchant_new", row) == 1, Reason("NEW_MERCHANT", {})),
        (
            batch.value("new_merchants_24h", row) >= 3,
            Reason("MANY_NEW_MERCHANTS", _facts(batch, row, "new_merchants_24h")),
        ),
        (batch.value("high_risk_goods", row) == 1, Reason("HIGH_RISK_GOODS", {"mcc_group": group})),
        (batch.value("count_1h", row) >= 3, Reason("VELOCITY", _facts(batch, row, "count_1h", "count_24h"))),
        (batch.value("hour_unusual", row) >= 0.95, Reason("UNUSUAL_HOUR", _facts(batch, row, "hour_of_day"))),
    ]
    return [reason for holds, reason in found if holds]


def _counter_evidence(batch: ScoredBatch, row: int) -> list[Reason]:
    """What speaks against fraud; shown beside the reasons, always."""
    columns = batch.columns
    known = batch.value("merchant_count", row) >= 1
    chip = columns["channel"][row] == _CARD_PRESENT and columns["pos_entry_mode"][row] == _CHIP
    found = [
        (columns["three_ds"][row] == _CHALLENGE_PASSED, Reason("CHALLENGE_PASSED", {})),
        (known, Reason("KNOWN_MERCHANT", _facts(batch, row, "merchant_count"))),
        (chip and batch.value("foreign", row) == 0, Reason("CHIP_AT_HOME", {})),
        (columns["initiator"][row] == _MERCHANT_INITIATED and known, Reason("LONG_STANDING_RECURRING", {})),
        (batch.value("amount_to_mean", row) <= 1.5, Reason("USUAL_AMOUNT", _facts(batch, row, "amount_to_mean"))),
    ]
    return [reason for holds, reason in found if holds]
