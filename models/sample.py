"""What training and evaluation look at: scored transactions with their features and what became of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraud.errors import InvalidInputError
from fraud.transactions import Columns, enum_code
from models.events import is_scored
from models.features import Features, compute_features
from models.local_time import local_time
from models.state import CardStates

Labels = NDArray[np.int8]
Mask = NDArray[np.bool_]
Times = NDArray[np.int64]

UNKNOWN: Final = -1  # a label that is not known
CARD_NOT_PRESENT: Final = (enum_code("channel", "ecommerce"), enum_code("channel", "moto"))

_CHUNK: Final = 65_536  # rows between two reports of progress


@dataclass(frozen=True, slots=True, eq=False)
class Sample:
    """n transactions, in log order.

    Attributes:
        features: (n, F) float32.
        labels: (n,) 1 fraud, 0 genuine, `UNKNOWN`.
        known_at: (n,) when the label became known, epoch milliseconds UTC.
        occurred_at: (n,) epoch milliseconds UTC.
        local_days: (n,) days since 1970-01-01 in the portfolio's time zone.
        card_keys: (n,).
        card_not_present: (n,) True for e-commerce, mail and telephone orders.
    """

    features: Features
    labels: Labels
    known_at: Times
    occurred_at: Times
    local_days: Times
    card_keys: NDArray[np.uint64]
    card_not_present: Mask

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: NDArray[Any]) -> Sample:
        """The rows of a mask or of indices."""
        return Sample(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


def make_sample(
    columns: Columns,
    labels: Labels | None,
    known_at: Times | None,
    states: CardStates,
    feature_settings: dict[str, Any],
    report: Callable[[float], None],
) -> Sample:
    """Run n transactions through the feature kernel and keep the scored ones.

    Args:
        columns: the transactions, in log order.
        labels: (n,) or None: all unknown.
        known_at: (n,) or None: every label was known at the transaction's own time.
        states: moved past the last transaction.
        feature_settings: keyword arguments of `compute_features`.
        report: told the share done, 0 to 1.

    Raises:
        InvalidInputError: labels or times do not have one entry a transaction, or a label is not -1, 0 or 1.
    """
    occurred_at = columns["occurred_at"]
    labels = np.full(len(columns), UNKNOWN, np.int8) if labels is None else np.asarray(labels, np.int8)
    known_at = occurred_at if known_at is None else np.asarray(known_at, np.int64)
    if labels.shape != (len(columns),) or known_at.shape != labels.shape or not np.isin(labels, (UNKNOWN, 0, 1)).all():
        message = "labels are one of -1, 0 and 1 for each transaction, and the times when they became known likewise"
        raise InvalidInputError(message, field="labels")
    chunks = []
    for start in range(0, len(columns), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(columns)))
        chunks.append(compute_features(columns.take(rows), states, **feature_settings))
        report((start + len(rows)) / len(columns))
    whole = Sample(
        features=np.concatenate(chunks) if chunks else compute_features(columns, states, **feature_settings),
        labels=labels,
        known_at=known_at,
        occurred_at=occurred_at,
        local_days=local_time(occurred_at, feature_settings["timezone"]).day,
        card_keys=columns["card_key"],
        card_not_present=np.isin(columns["channel"], CARD_NOT_PRESENT),
    )
    return whole.take(is_scored(columns))
