"""One batch of transactions as packed records: exactly what the feature kernel reads of each."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from fraud.transactions import EVENT_TYPE_RULES, EVENT_TYPES, Column, Columns, enum_code, is_linked_clearing
from models.local_time import local_time

EVENT: Final = np.dtype(
    [
        ("occurred_at", "<i8"),
        ("amount", "<f8"),  # minor units of the portfolio's currency; NaN where unknown or where none counts
        ("merchant_key", "<u8"),
        ("network_score", "<f8"),
        ("local_day", "<i4"),
        ("merchant_country", "<i2"),
        ("ip_country", "<i2"),
        ("hour", "i1"),
        ("weekday", "i1"),
        ("counted", "i1"),
        ("attempt", "i1"),
        ("verification", "i1"),
        ("mcc_group", "i1"),
        ("channel", "i1"),
        ("transaction_type", "i1"),
        ("three_ds", "i1"),
        ("cvv2_result", "i1"),
        ("avs_result", "i1"),
        ("expiry_result", "i1"),
        ("initiator", "i1"),
        ("stored_credential", "i1"),
        ("approved", "i1"),
        ("token_used", "i1"),
    ]
)

Events = NDArray[np.void]

_WORKED_OUT: Final = {"amount", "local_day", "hour", "weekday", "counted", "attempt", "verification", "token_used"}
_SAME_NAME: Final = tuple(name for name in EVENT.names or () if name not in _WORKED_OUT)

_VERIFICATION: Final = enum_code("event_type", "account_verification")
_UNKNOWN_TYPE = False  # last entry of each table: code -1, an event type that is not known
_RULES = [EVENT_TYPE_RULES[name] for name in EVENT_TYPES]
_SCORED = np.array([rule.scored for rule in _RULES] + [_UNKNOWN_TYPE])
_COUNTED = np.array([rule.counted for rule in _RULES] + [_UNKNOWN_TYPE])
_AMOUNT_COUNTS = np.array([rule.amount_counts for rule in _RULES] + [_UNKNOWN_TYPE])
_ATTEMPT = np.array([rule.counted and not rule.amount_counts for rule in _RULES] + [_UNKNOWN_TYPE])


def is_scored(columns: Columns) -> NDArray[np.bool_]:
    """(n,) True for the transactions that are scored, and so are trained on."""
    scored: NDArray[np.bool_] = _SCORED[columns["event_type"]] & ~is_linked_clearing(columns)
    return scored


def pack_events(columns: Columns, timezone: str) -> Events:
    """(n,) records of `EVENT`, in the order of the rows."""
    events = np.zeros(len(columns), EVENT)
    event_type = columns["event_type"]
    counted = _COUNTED[event_type] & ~is_linked_clearing(columns)
    for name in _SAME_NAME:
        events[name] = columns[name]
    events["amount"] = np.where(_AMOUNT_COUNTS[event_type], columns["amount"], np.nan)
    events["counted"] = counted
    events["attempt"] = _ATTEMPT[event_type]
    events["verification"] = event_type == _VERIFICATION
    events["token_used"] = _is_given(columns["token_ref"])
    local = local_time(columns["occurred_at"], timezone)
    events["local_day"], events["hour"], events["weekday"] = local
    return events


def _is_given(identifiers: Column) -> NDArray[np.bool_]:
    given: NDArray[np.bool_] = identifiers != None  # noqa: E711 - element by element, on an object column
    return given
