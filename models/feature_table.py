"""The features: one table of what each means. The kernel, the documents and every model's schema check read it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Final

import numpy as np

from models.card_state import STATE_SCHEMA_DIGEST

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 86_400_000
HALF_LIFE_MS: Final = 60 * DAY_MS  # the long-run profile forgets half in 60 days
JUMP_MS: Final = 6 * HOUR_MS
# A card's spread of log amounts starts as if one purchase with this variance had been seen (a factor of e either way).
PRIOR_VARIANCE: Final = 1.0
# The usual hours start as if one event had been spread evenly over the day.
PRIOR_HOURS: Final = 1.0
# With less history than this, "new to the card" and "unlike the card" would say more about the history.
HABIT_MS: Final = 30 * DAY_MS

# How far back a window looks. A feature is not evaluable for events before history reaches back so far. What is not
# here looks at the event itself, or says by itself that there was nothing before.
_REACH_MS: Final = {
    "1 hour": HOUR_MS,
    "6 hours": JUMP_MS,
    "24 hours": DAY_MS,
    "7 local days": 7 * DAY_MS,
    "30 local days": 30 * DAY_MS,
    "long run": HABIT_MS,
    "remembered merchants": HABIT_MS,
    "remembered countries": HABIT_MS,
    "all": HABIT_MS,
}


@dataclass(frozen=True, slots=True)
class Feature:
    """One feature. Raise `revision` when its numbers change: models trained on the old ones are then refused."""

    name: str
    family: str
    meaning: str
    unit: str
    window: str = "this event"
    missing: str = "never"
    revision: int = 1
    rests_on: str | None = None  # a longer window than its own

    @property
    def reach_ms(self) -> int:
        """How much history it needs to say anything of a card, milliseconds; 0 is none."""
        own = _REACH_MS.get(self.window, 0)
        return own if self.rests_on is None else own + _REACH_MS[self.rests_on]


_NO_HISTORY = "no counted event before"
_NO_AMOUNT = "amount unknown, or an event without one"
_NO_PURCHASE = f"{_NO_AMOUNT}; no purchase before"

FEATURES: Final[tuple[Feature, ...]] = (
    Feature("amount_log", "amount", "log(1 + amount)", "log minor units", missing=_NO_AMOUNT),
    Feature(
        "amount_to_mean",
        "amount",
        "(1 + amount) over the geometric mean of (1 + amount) of the card's purchases",
        "ratio",
        "long run",
        _NO_PURCHASE,
    ),
    Feature(
        "amount_z",
        "amount",
        "log(1 + amount) less the card's mean, in standard deviations, with one prior purchase of variance 1",
        "standard deviations",
        "long run",
        _NO_PURCHASE,
    ),
    Feature(
        "amount_to_max_30d",
        "amount",
        "(1 + amount) over (1 + the largest amount of a purchase)",
        "ratio",
        "30 local days",
        f"{_NO_AMOUNT}; no purchase in the window",
    ),
    Feature("amount_24h_log", "amount", "log(1 + sum of the purchases' amounts)", "log minor units", "24 hours"),
    Feature("amount_7d_log", "amount", "log(1 + sum of the purchases' amounts)", "log minor units", "7 local days"),
    Feature("count_1h", "pace", "events", "events", "1 hour"),
    Feature("count_24h", "pace", "events", "events", "24 hours"),
    Feature("count_7d", "pace", "events", "events", "7 local days"),
    Feature("count_30d", "pace", "events", "events", "30 local days"),
    Feature(
        "count_to_usual",
        "pace",
        "(1 + count_24h) over (1 + count_30d a day, over as many of the 30 days as the card has history)",
        "ratio",
        "30 local days",
        _NO_HISTORY,
    ),
    Feature("ecommerce_24h", "pace", "e-commerce events", "events", "24 hours"),
    Feature(
        "window_saturated", "pace", "1: every kept event is younger than 24 hours, so counts are lower bounds", "0 or 1"
    ),
    Feature(
        "seconds_since_last",
        "pace",
        "since the latest kept event that is not after this one",
        "seconds",
        "recent events",
        "no such event",
    ),
    Feature("declines_1h", "testing", "declined events", "events", "1 hour"),
    Feature("declines_24h", "testing", "declined events", "events", "24 hours"),
    Feature("small_1h", "testing", "account verifications, and amounts within the small limit", "events", "1 hour"),
    Feature("small_24h", "testing", "account verifications, and amounts within the small limit", "events", "24 hours"),
    Feature("merchants_24h", "novelty", "distinct merchants", "merchants", "24 hours"),
    Feature(
        "new_merchants_24h",
        "novelty",
        "distinct merchants that were new then",
        "merchants",
        "24 hours",
        rests_on="remembered merchants",
    ),
    Feature(
        "merchant_new",
        "novelty",
        "1: the merchant is not among the card's 32 most recently used",
        "0 or 1",
        "remembered merchants",
        "merchant unknown",
    ),
    Feature(
        "merchant_count",
        "novelty",
        "purchases at this merchant since it is remembered",
        "events",
        "remembered merchants",
        "merchant unknown",
    ),
    Feature("same_merchant_24h", "novelty", "events at this merchant", "events", "24 hours", "merchant unknown"),
    Feature("mcc_group_new", "novelty", "1: no purchase in this MCC group before", "0 or 1", "all", "MCC unknown"),
    Feature(
        "country_new",
        "novelty",
        "1: the merchant's country is not among the card's 8 most recently used",
        "0 or 1",
        "remembered countries",
        "country unknown",
    ),
    Feature(
        "foreign", "novelty", "1: the merchant is not in the portfolio's country", "0 or 1", missing="country unknown"
    ),
    Feature(
        "country_jump",
        "novelty",
        "1: the card is present in another country than at its last presence, at most 6 hours apart",
        "0 or 1",
        "6 hours",
        "channel unknown; card present and country unknown",
    ),
    Feature("hour_of_day", "time", "local hour", "0 to 23"),
    Feature("weekday", "time", "local weekday", "0 (Monday) to 6"),
    Feature(
        "hour_unusual",
        "time",
        "1 less the share of the card's purchases in this 3-hour part of the day, with one spread evenly to begin with",
        "0 to 1",
        "long run",
    ),
    Feature("is_ecommerce", "channel", "1: e-commerce", "0 or 1", missing="channel unknown"),
    Feature("is_card_present", "channel", "1: the card was read at a merchant", "0 or 1", missing="channel unknown"),
    Feature(
        "is_cash",
        "channel",
        "1: cash machine, cash advance or withdrawal",
        "0 or 1",
        missing="channel and transaction type unknown",
    ),
    Feature(
        "ecommerce_share",
        "channel",
        "share of e-commerce in the card's purchases of known channel",
        "0 to 1",
        "long run",
        "no purchase of known channel before",
    ),
    Feature("is_attempt", "channel", "1: account verification or token provisioning, without an amount", "0 or 1"),
    Feature("token_used", "channel", "1: a wallet token stands for the card", "0 or 1"),
    Feature("merchant_initiated", "channel", "1: the merchant started it", "0 or 1", missing="initiator unknown"),
    Feature(
        "stored_credential",
        "channel",
        "1: a stored card is used again; 0: it is stored for the first time",
        "0 or 1",
        missing="nothing said of a stored card",
    ),
    Feature(
        "high_risk_goods", "channel", "1: MCC group often bought with stolen cards", "0 or 1", missing="MCC unknown"
    ),
    Feature(
        "three_ds_strength",
        "authentication",
        "-1 challenge failed or rejected; 0 none or unavailable; 1 attempted; 2 frictionless; 3 challenge passed",
        "-1 to 3",
        missing="3-D Secure result unknown",
    ),
    Feature("cvv2_match", "authentication", "1: security code right", "0 or 1", missing="result unknown"),
    Feature("cvv2_mismatch", "authentication", "1: security code wrong", "0 or 1", missing="result unknown"),
    Feature("avs_mismatch", "authentication", "1: address wrong", "0 or 1", missing="result unknown"),
    Feature("expiry_mismatch", "authentication", "1: expiry date wrong", "0 or 1", missing="result unknown"),
    Feature("declined", "authentication", "1: declined", "0 or 1", missing="approval unknown"),
    Feature("network_score", "network", "the network's own risk score, as sent", "score", missing="not sent"),
    Feature("ip_foreign", "network", "1: network address outside the portfolio's country", "0 or 1", missing="unknown"),
    Feature("history_days", "history", "since the card's first event", "days", "all", _NO_HISTORY),
    Feature("history_count", "history", "events", "events", "all"),
)

FEATURE_NAMES: Final[tuple[str, ...]] = tuple(feature.name for feature in FEATURES)

# One served vector as named numbers; the same bytes as a row of an (n, F) float32 array.
FEATURE_ROW: Final = np.dtype([(name, "<f4") for name in FEATURE_NAMES])

_CONSTANTS: Final = (HALF_LIFE_MS, JUMP_MS, PRIOR_VARIANCE, PRIOR_HOURS)

# Names, order, revisions and constants, not the wording: a mended sentence refuses no model.
FEATURE_SCHEMA_DIGEST: Final = hashlib.sha256(
    json.dumps([[(f.name, f.revision) for f in FEATURES], STATE_SCHEMA_DIGEST, _CONSTANTS]).encode()
).hexdigest()
