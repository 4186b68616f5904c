"""Random transactions: as plain dictionaries for the reference, and the same ones as columns for the kernel."""

from __future__ import annotations

import numpy as np

from fraud.codes import MCC_GROUPS, MISSING
from fraud.transactions import EVENT_TYPES, FIELD_BY_NAME, Columns, enum_code

START = 1_656_633_600_000  # 2022-07-01 00:00 UTC
HOME = 392
ENUMS = {
    "channel": "channel",
    "transaction_type": "transaction_type",
    "three_ds": "three_ds",
    "cvv2": "cvv2_result",
    "avs": "avs_result",
    "expiry": "expiry_result",
    "initiator": "initiator",
    "stored_credential": "stored_credential",
}
COUNTRIES = (392, 392, 392, 392, 840, 702, 250, 276, 36, 124, 380, 410, 764)


def random_events(
    seed, n, *, cards=3, merchants=50, mean_gap_ms=1_800_000, late_share=0.05, late_ms=7_200_000, missing=0.15
):
    """A list of n plain events in log order; a field that is missing is absent."""
    random = np.random.default_rng(seed)
    events, at = [], START
    for number in range(n):
        # Some events share a time, and some lie exactly on a window's border.
        at += int(random.choice([int(random.exponential(mean_gap_ms)), 0, 3_600_000], p=[0.8, 0.1, 0.1]))
        late = int(random.integers(0, late_ms)) if random.random() < late_share else 0
        event = {
            "number": number,
            "card": int(random.integers(0, cards)),
            "type": str(random.choice(EVENT_TYPES, p=[0.6, 0.03, 0.03, 0.04, 0.08, 0.04, 0.1, 0.04, 0.02, 0.02])),
            "at": at - late,
            "amount": float(random.choice([0, 100, 200, 201, int(random.integers(1, 200_000))])),
            "merchant": int(random.integers(1, merchants + 1)) * 0x9E3779B97F4A7C15 % 2**64,
            "mcc_group": int(random.integers(0, len(MCC_GROUPS))),
            "country": int(random.choice(COUNTRIES)),
            "ip_country": int(random.choice(COUNTRIES)),
            "network_score": float(random.integers(0, 1000)) / 8,
            "approved": bool(random.random() < 0.8),
            "token": "token" if random.random() < 0.5 else None,
            "original": f"e-{number - 1}" if random.random() < 0.3 else None,
        }
        for name, field in ENUMS.items():
            event[name] = str(random.choice(FIELD_BY_NAME[field].values))
        absent = [name for name in event if name not in ("number", "card", "type", "at") and random.random() < missing]
        events.append({name: value for name, value in event.items() if name not in absent})
    return events


def as_transactions(events):
    """The same events as `Columns`, in the order given."""

    def column(name, dtype, missing):
        return np.array([event.get(name, missing) for event in events], dtype=dtype)

    def names(name):
        return np.array([event.get(name) for event in events], dtype=np.object_)

    columns = {
        field: np.array([enum_code(field, event[name]) if name in event else MISSING for event in events], np.int8)
        for name, field in ENUMS.items()
    }
    return Columns(
        columns
        | {
            "event_id": np.array([f"e-{event['number']}" for event in events], np.object_),
            "event_type": np.array([EVENT_TYPES.index(event["type"]) for event in events], np.int8),
            "occurred_at": column("at", np.int64, MISSING),
            "card_ref": np.array([f"x:{event['card']}" for event in events], np.object_),
            "card_key": column("card", np.uint64, 0),
            "amount": column("amount", np.float64, np.nan),
            "amount_minor": np.nan_to_num(column("amount", np.float64, MISSING), nan=MISSING).astype(np.int64),
            "merchant_key": column("merchant", np.uint64, 0),
            "mcc_group": column("mcc_group", np.int8, MISSING),
            "merchant_country": column("country", np.int16, MISSING),
            "ip_country": column("ip_country", np.int16, MISSING),
            "network_score": column("network_score", np.float64, np.nan),
            "approved": np.array(
                [int(event["approved"]) if "approved" in event else MISSING for event in events], np.int8
            ),
            "token_ref": names("token"),
            "original_event_id": names("original"),
        },
        len(events),
    )
