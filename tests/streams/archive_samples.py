"""Rows for the archive's tests."""

from __future__ import annotations

from typing import Any

import numpy as np

from fraud.cards import card_keys, merchant_keys
from fraud.codes import MISSING
from fraud.transactions import Columns
from streams.archive import ArchiveRows

TOPIC = "0b9f5a5e-6f6c-4f0e-9d53-2f1c1d4a7e11"
DAY = 86_400_000
NOW = 1_760_000_000_000  # 2025-10-09


def make_columns(n: int, *, first: int = 0, occurred_at: Any = NOW, cards: int = 7) -> Columns:
    """n transactions on a few cards, ids from `first` on."""
    numbers = np.arange(first, first + n)
    refs = np.array(
        [f"v1:{(number % cards) * 0x1F2E3D4C5B6A7988 % 2**64:016x}{'ab' * 24}" for number in numbers.tolist()], object
    )
    merchants = np.array([f"M{number % 5}" for number in numbers.tolist()], object)
    acquirers = np.full(n, "A1", object)
    return Columns(
        {
            "event_id": np.array([f"e{number}" for number in numbers.tolist()], object),
            "event_type": np.zeros(n, np.int8),
            "occurred_at": np.broadcast_to(np.asarray(occurred_at, np.int64), (n,)).copy(),
            "card_ref": refs,
            "card_key": card_keys(refs) if n else np.zeros(0, np.uint64),
            "acquirer_id": acquirers,
            "merchant_id": merchants,
            "merchant_key": merchant_keys(acquirers, merchants),
            "amount_minor": numbers * 10,
            "amount": numbers * 10.0,
            "channel": np.where(numbers % 3 == 0, MISSING, numbers % 3).astype(np.int8),
        },
        n,
    )


def make_rows(n: int, *, first: int = 0, columns: Columns | None = None, logged_at: Any = NOW) -> ArchiveRows:
    """The same as rows of a partition, at the offsets from `first` on."""
    offsets = np.arange(first, first + n)
    return ArchiveRows(
        columns=columns if columns is not None else make_columns(n, first=first),
        offsets=offsets,
        logged_at=np.broadcast_to(np.asarray(logged_at, np.int64), (n,)).copy(),
        probability=(offsets % 100 / 100).astype(np.float32),
        anomaly=np.where(offsets % 2, np.nan, 0.5).astype(np.float32),
        tiers=(offsets % 6).astype(np.int8),
        digests=(offsets.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)),
        reference_set_ids=np.full(n, 3),
    )
