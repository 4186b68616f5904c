"""The features once more, slow and obvious: plain lists of events a card, everything worked out anew from the log.

Written from the definitions in the feature table, without a look at the kernel's data structures.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from fraud.codes import HIGH_RISK_MCC_GROUPS, MCC_GROUPS

HOUR, DAY = 3_600_000, 86_400_000
KEPT_EVENTS = 24
KEPT_DAYS = 30
HALF_LIFE = 60 * DAY
COUNTED = {"authorization", "advice", "financial", "clearing", "account_verification", "token_provision"}
ATTEMPTS = {"account_verification", "token_provision"}
NAN = math.nan


def reference_features(events, *, home_country, timezone, small_amount_minor=200):
    """A list of {feature: number}, one for each event (a plain dictionary) in log order."""
    logs, rows = {}, []
    for event in events:
        log = logs.setdefault(event["card"], [])
        row = features_of(event, log, home_country, timezone)
        rows.append(row)
        linked = event["type"] == "clearing" and event.get("original") is not None
        if event["type"] in COUNTED and not linked:
            log.append(remembered(event, row, small_amount_minor, timezone))
    return rows


def remembered(event, row, small_amount_minor, timezone):
    declined = event.get("approved") is False
    attempt = event["type"] in ATTEMPTS
    amount = None if attempt else event.get("amount")
    small = event["type"] == "account_verification" or (amount is not None and amount <= small_amount_minor)
    return {
        **event,
        "amount": amount,
        "day": local_day(event["at"], timezone),
        "part": local(event["at"], timezone).hour // 3,
        "declined": declined,
        "bought": not attempt and not declined,
        "small": small,
        "merchant_was_new": row["merchant_new"] == 1,
    }


def local(at, timezone):
    return datetime.fromtimestamp(at / 1000, UTC).astimezone(ZoneInfo(timezone))


def local_day(at, timezone):
    return (local(at, timezone).date() - date(1970, 1, 1)).days


def decayed_weights(log, now):
    """What each event of the log still weighs at `now`. A late event counts as of the latest time seen by then."""
    latest, seen = None, []
    for event in log:
        latest = event["at"] if latest is None else max(latest, event["at"])
        seen.append(latest)
    now = now if latest is None else max(now, latest)
    return [0.5 ** ((now - at) / HALF_LIFE) for at in seen]


def least_recently_used(keys, size):
    """The last `size` distinct keys with their counts since they were last forgotten."""
    kept = OrderedDict()
    for key in keys:
        if key not in kept and len(kept) == size:
            kept.popitem(last=False)
        kept[key] = kept.get(key, 0) + 1
        kept.move_to_end(key)
    return kept


def features_of(event, log, home_country, timezone):
    at, attempt = event["at"], event["type"] in ATTEMPTS
    counts_amount = event["type"] in COUNTED - ATTEMPTS
    amount = event.get("amount") if counts_amount else None
    bought = [e for e in log if e["bought"]]
    merchant, mcc_group = event.get("merchant"), event.get("mcc_group")
    country, channel = event.get("country"), event.get("channel")
    now = local(at, timezone)
    day = local_day(at, timezone)

    kept = log[-KEPT_EVENTS:]
    hour_window = [e for e in kept if at - HOUR < e["at"] <= at]
    day_window = [e for e in kept if at - DAY < e["at"] <= at]
    visits = [e for e in day_window if e.get("merchant") is not None]
    before = [e["at"] for e in kept if e["at"] <= at]
    newest = max((e["day"] for e in log), default=0)
    days_30 = [e for e in log if newest - KEPT_DAYS < e["day"] and day - 30 < e["day"] <= day]
    days_7 = [e for e in days_30 if day - 7 < e["day"]]
    row = {
        "amount_24h_log": math.log1p(spent(day_window)),
        "amount_7d_log": math.log1p(spent(days_7)),
        "count_1h": len(hour_window),
        "count_24h": len(day_window),
        "count_7d": len(days_7),
        "count_30d": len(days_30),
        "ecommerce_24h": sum(e.get("channel") == "ecommerce" for e in day_window),
        "window_saturated": len(kept) == KEPT_EVENTS and min(e["at"] for e in kept) > at - DAY,
        "seconds_since_last": (at - max(before)) / 1000 if before else NAN,
        "declines_1h": sum(e["declined"] for e in hour_window),
        "declines_24h": sum(e["declined"] for e in day_window),
        "small_1h": sum(e["small"] for e in hour_window),
        "small_24h": sum(e["small"] for e in day_window),
        "merchants_24h": len({e["merchant"] for e in visits}),
        "new_merchants_24h": len({e["merchant"] for e in visits if e["merchant_was_new"]}),
        "same_merchant_24h": NAN if merchant is None else sum(e["merchant"] == merchant for e in visits),
        "hour_of_day": now.hour,
        "weekday": now.weekday(),
        "history_count": len(log),
        "history_days": NAN,
        "count_to_usual": NAN,
    }
    if log:
        history = max(0.0, (at - min(e["at"] for e in log)) / DAY)
        row["history_days"] = history
        row["count_to_usual"] = (1 + len(day_window)) / (1 + len(days_30) / min(30, 1 + history))
    row |= amount_features(amount, log, bought, days_30, at)
    row |= novelty_features(merchant, mcc_group, country, bought)
    row |= profile_features(log, at, now.hour // 3)
    row |= own_features(event, home_country, attempt)
    row["country_jump"] = country_jump(at, channel, country, log)
    return row


def spent(events):
    return sum(e["amount"] for e in events if e["bought"] and e["amount"] is not None)


def amount_features(amount, log, bought, days_30, at):
    row = {"amount_log": NAN, "amount_to_mean": NAN, "amount_z": NAN, "amount_to_max_30d": NAN}
    if amount is None:
        return row
    row["amount_log"] = math.log1p(amount)
    largest = [e["amount"] for e in days_30 if e["bought"] and e["amount"] is not None]
    if largest:
        row["amount_to_max_30d"] = (1 + amount) / (1 + max(largest))
    weights = decayed_weights(log, at)
    pairs = [
        (weight, math.log1p(e["amount"]))
        for weight, e in zip(weights, log, strict=True)
        if e["bought"] and e["amount"] is not None
    ]
    if pairs:
        total = sum(weight for weight, _ in pairs)
        mean = sum(weight * value for weight, value in pairs) / total
        spread = sum(weight * (value - mean) ** 2 for weight, value in pairs)
        row["amount_to_mean"] = (1 + amount) / math.exp(mean)
        row["amount_z"] = (math.log1p(amount) - mean) / math.sqrt((spread + 1.0) / (total + 1.0))
    return row


def novelty_features(merchant, mcc_group, country, bought):
    row = {"merchant_new": NAN, "merchant_count": NAN, "mcc_group_new": NAN, "country_new": NAN}
    if merchant is not None:
        known = least_recently_used([e["merchant"] for e in bought if e.get("merchant") is not None], 32)
        row["merchant_count"] = known.get(merchant, 0)
        row["merchant_new"] = merchant not in known
    if mcc_group is not None:
        row["mcc_group_new"] = all(e.get("mcc_group") != mcc_group for e in bought)
    if country is not None:
        known = least_recently_used([e["country"] for e in bought if e.get("country") is not None], 8)
        row["country_new"] = country not in known
    return row


def profile_features(log, at, part):
    parts, channels = [0.0] * 8, {}
    for weight, e in zip(decayed_weights(log, at), log, strict=True):
        if e["bought"]:
            parts[e["part"]] += weight
            if e.get("channel") is not None:
                channels[e["channel"]] = channels.get(e["channel"], 0.0) + weight
    return {
        "hour_unusual": 1 - (parts[part] + 1 / 8) / (sum(parts) + 1),
        "ecommerce_share": channels.get("ecommerce", 0.0) / sum(channels.values()) if channels else NAN,
    }


def country_jump(at, channel, country, log):
    present = channel in ("card_present", "atm")
    if channel is None or (present and country is None):
        return NAN
    last = None
    for e in log:
        if (
            e.get("channel") in ("card_present", "atm")
            and e.get("country") is not None
            and (last is None or e["at"] >= last["at"])
        ):
            last = e
    return bool(present and last and last["country"] != country and abs(at - last["at"]) <= 6 * HOUR)


def own_features(event, home_country, attempt):
    channel, country, kind = event.get("channel"), event.get("country"), event.get("transaction_type")
    strength = {"challenge_failed": -1, "rejected": -1, "attempted": 1, "frictionless": 2, "challenge_passed": 3}
    cash = channel == "atm" or kind in ("cash_advance", "withdrawal")

    def known(value, answer):
        return NAN if value is None else answer

    return {
        "is_ecommerce": known(channel, channel == "ecommerce"),
        "is_card_present": known(channel, channel == "card_present"),
        "is_cash": NAN if channel is None and kind is None else cash,
        "foreign": known(country, country != home_country),
        "ip_foreign": known(event.get("ip_country"), event.get("ip_country") != home_country),
        "is_attempt": attempt,
        "token_used": event.get("token") is not None,
        "merchant_initiated": known(event.get("initiator"), event.get("initiator") == "merchant"),
        "stored_credential": known(event.get("stored_credential"), event.get("stored_credential") != "first"),
        "high_risk_goods": known(
            event.get("mcc_group"), MCC_GROUPS[event.get("mcc_group") or 0] in HIGH_RISK_MCC_GROUPS
        ),
        "three_ds_strength": known(event.get("three_ds"), strength.get(event.get("three_ds"), 0)),
        "cvv2_match": known(event.get("cvv2"), event.get("cvv2") == "match"),
        "cvv2_mismatch": known(event.get("cvv2"), event.get("cvv2") == "mismatch"),
        "avs_mismatch": known(event.get("avs"), event.get("avs") == "mismatch"),
        "expiry_mismatch": known(event.get("expiry"), event.get("expiry") == "mismatch"),
        "declined": known(event.get("approved"), event.get("approved") is False),
        "network_score": NAN if event.get("network_score") is None else event["network_score"],
    }
