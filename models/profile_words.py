"""One card's profile in words: what the stream remembers of it, for operators."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

import numpy as np

from fraud.codes import MCC_GROUPS, country_alpha_2, format_amount
from fraud.transactions import FIELD_BY_NAME
from models.card_state import DAY_BUCKETS, HOURS_A_BUCKET, MERCHANTS

_CHANNELS: Final = FIELD_BY_NAME["channel"].values
_SHOWN: Final = 0.15  # a part of the day, or a channel, with a smaller share is not worth naming


def profile_facts(record: np.void) -> dict[str, Any]:
    """A record of `CARD_STATE` as plain data: numbers as they are kept, codes spelled."""
    days = int(record["newest_day"])
    amount = None if record["amount_weight"] <= 0 else math.expm1(float(record["amount_mean"]))
    return {
        "events": int(record["history_count"]),
        "first_seen_at": int(record["first_seen_at"]) or None,
        "last_at": int(record["last_at"]) or None,
        "usual_amount_minor": None if amount is None else round(amount),
        "events_30_days": int(record["day_counts"].sum()) if record["history_count"] else 0,
        "spent_30_days_minor": round(float(record["day_amounts"].sum())) if record["history_count"] else 0,
        "newest_local_day": datetime.fromtimestamp(days * 86_400, UTC).date().isoformat() if days else None,
        "merchants": int(np.count_nonzero(record["merchants"])),
        "countries": [country_alpha_2().get(number, "?") for number in record["countries"].tolist() if number],
        "mcc_groups": [name for group, name in enumerate(MCC_GROUPS) if int(record["mcc_groups"]) >> group & 1],
        "channel_shares": _shares(record["channel_weights"], _CHANNELS),
        "hour_shares": _shares(
            record["hour_weights"],
            [f"{at:02d}-{at + HOURS_A_BUCKET:02d} h" for at in range(0, 24, HOURS_A_BUCKET)],
        ),
    }


def profile_words(record: np.void, currency: str, timezone: str) -> list[str]:
    """The same in sentences, one line each."""
    facts = profile_facts(record)
    if not facts["events"]:
        return ["Nothing is known of it: it has had no event that counts."]
    zone = ZoneInfo(timezone)
    spent = format_amount(facts["spent_30_days_minor"], currency)
    lines = [
        f"{facts['events']:,} events from {_day(facts['first_seen_at'], zone)} to {_day(facts['last_at'], zone)}.",
        f"{DAY_BUCKETS} days to {facts['newest_local_day']}: {facts['events_30_days']:,} events, {spent} spent.",
    ]
    if facts["usual_amount_minor"] is None:
        lines.append("No purchase of a known amount yet.")
    else:
        lines.append(f"An ordinary purchase is about {format_amount(facts['usual_amount_minor'], currency)}.")
    more = "or more " if facts["merchants"] == MERCHANTS else ""
    lines.append(f"It is known at {facts['merchants']} {more}merchants, and in {_list(facts['countries'])}.")
    lines.append(f"It buys: {_list(facts['mcc_groups'])}.")
    lines.append(f"Mostly by {_mostly(facts['channel_shares'])}, at {_mostly(facts['hour_shares'])} local time.")
    return lines


def _shares(weights: Any, names: Any) -> dict[str, float]:
    total = float(weights.sum())
    if total <= 0:
        return {}
    return {name: round(float(weight) / total, 3) for name, weight in zip(names, weights, strict=True) if weight > 0}


def _mostly(shares: dict[str, float]) -> str:
    named = sorted(((share, name) for name, share in shares.items() if share >= _SHOWN), reverse=True)
    return _list([f"{name} ({share:.0%})" for share, name in named])


def _list(items: list[str]) -> str:
    return ", ".join(items) or "nothing known"


def _day(at: int | None, zone: ZoneInfo) -> str:
    return "?" if at is None else datetime.fromtimestamp(at / 1_000, zone).date().isoformat()
