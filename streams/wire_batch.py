"""What goes into the decoder of `card.transactions` and what comes out of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fraud.transactions import Columns
from streams.dead_letters import DeadLetter


class RawRecord(NamedTuple):
    """One record as the log has it. The Kafka client's own record class has the same attributes and will do."""

    offset: int
    key: bytes | None
    value: bytes | None
    timestamp: int


@dataclass(frozen=True, slots=True)
class DecodedBatch:
    """What came of n records: rows and dead letters, n together.

    Args:
        columns: the good rows, in log order.
        offsets: (rows,) their offsets, int64.
        logged_at: (rows,) their records' timestamps as the log has them, int64; negative where it has none.
        dead_letters: the refused records, in log order.
        missing: field name to the number of values that were there but unusable.
        security_findings: field path to the number of records with a card number there; it has been blanked.

    """

    columns: Columns
    offsets: NDArray[np.int64]
    logged_at: NDArray[np.int64]
    dead_letters: tuple[DeadLetter, ...]
    missing: dict[str, int]
    security_findings: dict[str, int]


def check_count(batch: DecodedBatch, records: int) -> DecodedBatch:
    """The batch, after making sure that every record is a row or a dead letter."""
    rows = len(batch.columns)
    if rows + len(batch.dead_letters) != records or not len(batch.offsets) == len(batch.logged_at) == rows:
        message = "the decoder lost count of its records"
        raise RuntimeError(message)
    return batch
