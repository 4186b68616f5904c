"""What features and rules need: fields of the feed, and history to look back on. Without it they are *not evaluable*.

A feature that would count over 30 days says nothing when history begins 5 days ago: every card would look new or slow.
So it is NaN until history reaches back as far as the feature looks. This page of tables says what is off, and why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from fraud.transactions import Columns
from models.feature_table import DAY_MS, FEATURES

# Fields without which a feature says nothing. Of names joined by a bar, one is enough. `amount` is the amount in the
# portfolio's currency, wherever it comes from. Features that are not here need nothing beyond the required fields.
FIELDS_NEEDED: Final[Mapping[str, tuple[str, ...]]] = {
    **dict.fromkeys(
        (
            "amount_log",
            "amount_to_mean",
            "amount_z",
            "amount_to_max_30d",
            "amount_24h_log",
            "amount_7d_log",
            "small_1h",
            "small_24h",
        ),
        ("amount",),
    ),
    **dict.fromkeys(("declines_1h", "declines_24h", "declined"), ("approved",)),
    **dict.fromkeys(
        ("merchants_24h", "new_merchants_24h", "merchant_new", "merchant_count", "same_merchant_24h"),
        ("merchant_id",),
    ),
    **dict.fromkeys(("mcc_group_new", "high_risk_goods"), ("mcc",)),
    **dict.fromkeys(("country_new", "foreign"), ("merchant_country",)),
    "country_jump": ("channel", "merchant_country"),
    **dict.fromkeys(("ecommerce_24h", "is_ecommerce", "is_card_present", "ecommerce_share"), ("channel",)),
    "is_cash": ("channel|transaction_type",),
    "token_used": ("token_ref",),
    "merchant_initiated": ("initiator",),
    "stored_credential": ("stored_credential",),
    "three_ds_strength": ("three_ds",),
    **dict.fromkeys(("cvv2_match", "cvv2_mismatch"), ("cvv2_result",)),
    "avs_mismatch": ("avs_result",),
    "expiry_mismatch": ("expiry_result",),
    "network_score": ("network_score",),
    "ip_foreign": ("ip_country",),
}


@dataclass(frozen=True, slots=True)
class RuleNeeds:
    """What one rule or reason of `fraud.policy` rests on: features, and fields that it reads itself."""

    features: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()


RULES_NEED: Final[Mapping[str, RuleNeeds]] = {
    "CARD_TESTING": RuleNeeds(("merchant_new", "small_24h"), ("channel", "amount")),
    "TEST_THEN_SPEND": RuleNeeds(("merchant_new", "small_24h"), ("channel", "amount")),
    "AMOUNT_UNUSUAL": RuleNeeds(("amount_to_mean",)),
    "FOREIGN_ECOMMERCE": RuleNeeds(("foreign",), ("channel",)),
    "NEW_COUNTRY": RuleNeeds(("foreign", "country_new")),
    "NO_CHALLENGE": RuleNeeds((), ("channel", "three_ds")),
    "NEW_MERCHANT": RuleNeeds(("merchant_new",)),
    "MANY_NEW_MERCHANTS": RuleNeeds(("new_merchants_24h",)),
    "HIGH_RISK_GOODS": RuleNeeds(("high_risk_goods",)),
    "VELOCITY": RuleNeeds(("count_1h", "count_24h")),
    "UNUSUAL_HOUR": RuleNeeds(("hour_unusual",)),
    "CHALLENGE_PASSED": RuleNeeds((), ("three_ds",)),
    "KNOWN_MERCHANT": RuleNeeds(("merchant_count",)),
    "CHIP_AT_HOME": RuleNeeds(("foreign",), ("channel", "pos_entry_mode")),
    "LONG_STANDING_RECURRING": RuleNeeds(("merchant_count",), ("initiator",)),
    "USUAL_AMOUNT": RuleNeeds(("amount_to_mean",)),
}


@dataclass(frozen=True, slots=True)
class NotEvaluable:
    """Names of features and of rules that are off, each with what it waits for."""

    features: Mapping[str, str]
    rules: Mapping[str, str]


def not_evaluable(
    present: frozenset[str] | None = None, history_from: int | None = None, now: int | None = None
) -> NotEvaluable:
    """What cannot be evaluated with these fields and this much history.

    Args:
        present: fields that the feed has, and `amount` where there are amounts in the portfolio's currency; None: all.
        history_from: since when history exists, epoch milliseconds UTC; None: for ever.
        now: the time for which this is asked, epoch milliseconds UTC.

    """
    reach = None if history_from is None or now is None else now - history_from
    features: dict[str, str] = {}
    for feature in FEATURES:
        missing = _absent(FIELDS_NEEDED.get(feature.name, ()), present)
        if missing:
            features[feature.name] = f"needs {missing}"
        elif reach is not None and reach < feature.reach_ms:
            features[feature.name] = f"needs {days(feature.reach_ms)} of history, there are {days(max(0, reach))}"
    rules: dict[str, str] = {}
    for rule, needs in RULES_NEED.items():
        missing = _absent(needs.fields, present)
        waiting = [name for name in needs.features if name in features]
        if missing:
            rules[rule] = f"needs {missing}"
        elif waiting:
            rules[rule] = f"{waiting[0]} {features[waiting[0]]}"
    return NotEvaluable(features, rules)


def filled(columns: Columns, name: str) -> int:
    """In how many rows a field is known."""
    column = columns[name]
    if column.dtype.kind == "O":
        return sum(value is not None for value in column.tolist())
    if column.dtype.kind == "f":
        return int((column == column).sum())  # noqa: PLR0124 - NaN differs from itself
    return int((column != -1).sum())


def days(milliseconds: int) -> str:
    """A length of history in words: `6.5 hours`, `30 days`."""
    if milliseconds < DAY_MS:
        return f"{milliseconds / 3_600_000:.3g} hours"
    return f"{milliseconds / DAY_MS:.3g} days"


def _absent(needed: tuple[str, ...], present: frozenset[str] | None) -> str:
    if present is None:
        return ""
    return ", ".join(
        item.replace("|", " or ") for item in needed if not any(name in present for name in item.split("|"))
    )
