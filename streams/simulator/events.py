"""Events while they are being drawn: narrow numbers in one structured array, and draws that several modules share."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraud.codes import MISSING
from fraud.transactions import enum_code

Events = NDArray[Any]  # of `EVENT`, shape (n,)
Integers = NDArray[np.int64]
Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


class FraudKind(IntEnum):
    """What an event truly is. Never an input of a model."""

    NONE = 0
    TESTING = 1  # of an exposed card
    PURCHASE = 2  # with an exposed card
    BACKGROUND_TESTING = 3
    BACKGROUND_PURCHASE = 4  # card not present, from another source than the shop
    LOST_OR_STOLEN = 5  # card present


# Why an authorization was declined: (ISO 8583 field 39, plain words). Index 0 is "approved".
DECISIONS: tuple[tuple[str, str | None], ...] = (
    ("00", None),
    ("51", "insufficient_funds"),
    ("54", "expired_or_wrong_expiry"),
    ("82", "cvv2_mismatch"),
    ("05", "do_not_honour"),
    ("59", "suspected_fraud"),
)
APPROVED, NO_FUNDS, WRONG_EXPIRY, WRONG_CVV2, DO_NOT_HONOUR, SUSPECTED_FRAUD = range(6)

EVENT = np.dtype(
    [
        ("at", np.int64),  # epoch milliseconds UTC
        ("known_at", np.int64),  # when a fraud became known, MISSING for genuine events
        ("yen", np.int64),  # billing amount
        ("original", np.int64),  # row of the event that this one corrects, MISSING
        ("card", np.int32),
        ("merchant", np.int32),
        ("event_type", np.int8),  # this and the following: codes of `fraud.transactions`
        ("transaction_type", np.int8),
        ("channel", np.int8),
        ("entry_mode", np.int16),
        ("three_ds", np.int8),
        ("cvv2", np.int8),
        ("expiry", np.int8),
        ("initiator", np.int8),
        ("stored", np.int8),
        ("token", np.bool_),  # paid with the card's wallet token
        ("decision", np.int8),  # index into DECISIONS
        ("kind", np.int8),  # FraudKind
    ]
)

AUTHORIZATION = enum_code("event_type", "authorization")
PURCHASE = enum_code("transaction_type", "purchase")
CARD_PRESENT = enum_code("channel", "card_present")
ECOMMERCE = enum_code("channel", "ecommerce")
CARDHOLDER = enum_code("initiator", "cardholder")
MERCHANT = enum_code("initiator", "merchant")
MATCH = enum_code("cvv2_result", "match")
MISMATCH = enum_code("cvv2_result", "mismatch")
NOT_PROVIDED = enum_code("cvv2_result", "not_provided")

# First two digits of field 22.
TYPED, CHIP, CONTACTLESS, ON_FILE = 1, 5, 7, 10


def new_events(n: int) -> Events:
    """Make n approved, genuine purchase authorizations by the cardholder; what is not set yet is missing."""
    events = np.zeros(n, EVENT)
    for name in ("known_at", "original", "merchant", "entry_mode", "three_ds", "cvv2", "expiry", "stored"):
        events[name] = MISSING
    events["event_type"] = AUTHORIZATION
    events["transaction_type"] = PURCHASE
    events["initiator"] = CARDHOLDER
    return events


def draw_from_rows(rng: np.random.Generator, weights: Floats, rows: Integers) -> Integers:
    """For each of `rows`, a column of `weights` (m, k) drawn in proportion to that row. Shape (n,).

    One search for all of them: row r's cumulative shares are moved to (r, r + 1].
    """
    cumulative = np.cumsum(weights, axis=1)
    cumulative /= cumulative[:, -1:]
    flat = (cumulative + np.arange(len(weights))[:, None]).ravel()
    k = weights.shape[1]
    found = np.searchsorted(flat, rows + rng.random(len(rows)), side="right")
    columns: Integers = np.minimum(found - rows * k, k - 1)  # a sum may round up to the next row
    return columns


def zipf_ranks(rng: np.random.Generator, sizes: Integers) -> Integers:
    """A rank in [0, size) for each size, with probability nearly proportional to 1 / (rank + 1) (Zipf's law)."""
    return np.minimum(((sizes + 1.0) ** rng.random(len(sizes))).astype(np.int64) - 1, sizes - 1)


def log_normal(rng: np.random.Generator, median: float | Floats, sigma: float | Floats, n: int) -> Floats:
    """Draws (n,) of a log-normal variable, given its median."""
    return np.asarray(median * np.exp(sigma * rng.standard_normal(n)))
