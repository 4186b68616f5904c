"""Look-back, pure: how far a search may go, what it has covered, and which past transactions are worth a dispute.

The stream judges a transaction under the exposures of its moment. What was logged before a card was known to be
exposed is searched afterwards, in the archive, and the two halves meet at an offset: look-back takes what lies before
the first batch that knew the card, the stream has the rest.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from fraud.policy import Decision, Policy, QuietPatterns, Reason, ScoredBatch, decide
from fraud.transactions import EVENT_TYPE_RULES, EVENT_TYPES, Columns, is_linked_clearing

DAY_MS = 86_400_000
# What the policy may look at in the archive: scores and the transaction's own fields. These need the card's history.
NOT_EVALUABLE = ("CARD_TESTING", "TEST_THEN_SPEND")

_MISSING_DAYS_NAMED = 400
_POSTED = np.array([EVENT_TYPE_RULES[name].loss_when_approved for name in EVENT_TYPES])


class RunStatus(StrEnum):
    """Where a look-back stands. WAITING has searched all that there is, and is owed more."""

    REQUESTED = "REQUESTED"
    SCANNING = "SCANNING"
    WAITING = "WAITING"
    DONE = "DONE"


class PartitionStatus(StrEnum):
    """Where a look-back stands in one partition."""

    WAITING_FOR_WORKER = "WAITING_FOR_WORKER"  # no batch has run under these exposures yet
    WAITING_FOR_ARCHIVE = "WAITING_FOR_ARCHIVE"  # rows that were processed before are not archived yet
    SCANNING = "SCANNING"
    DONE = "DONE"


@dataclass(frozen=True, slots=True)
class PartitionReach:
    """What is known of one partition. Offsets are exclusive ends; None where there is none yet.

    Args:
        to_offset: the first offset that a worker processed knowing these exposures.
        archived_offset: everything below it is in the archive.
        scanned_offset: everything below it has been searched.

    """

    to_offset: int | None
    archived_offset: int | None
    scanned_offset: int

    @property
    def reachable(self) -> int:
        """How far the archive can be searched now. Nothing from `to_offset` on: that is the stream's."""
        archived = self.archived_offset or 0
        return max(self.scanned_offset, archived if self.to_offset is None else min(archived, self.to_offset))

    @property
    def status(self) -> PartitionStatus:
        """Where the search of this partition stands."""
        if self.reachable > self.scanned_offset:
            return PartitionStatus.SCANNING
        if self.to_offset is None:
            return PartitionStatus.WAITING_FOR_WORKER
        if self.scanned_offset < self.to_offset:
            return PartitionStatus.WAITING_FOR_ARCHIVE
        return PartitionStatus.DONE


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which days of a search the archive holds. Days are UTC, written YYYY-MM-DD.

    Args:
        from_day: the day on which the exposure window starts.
        to_day: the last day that was searched.
        days: number of days from one to the other, both included.
        days_held: of them, those of which the archive has rows.
        window_days: days of the exposure window itself, as far as they are over.
        window_days_held: of them, those of which the archive has rows.
        missing_days: the first 400 days without a row.

    """

    from_day: str
    to_day: str
    days: int
    days_held: int
    window_days: int
    window_days_held: int
    missing_days: tuple[str, ...]


def utc_day(at: int) -> date:
    """The UTC day of epoch milliseconds."""
    return datetime.fromtimestamp(at / 1000, UTC).date()


def coverage(held: Mapping[str, int], window_start_at: int, window_end_at: int, until_at: int) -> Coverage:
    """What a search from the window's start to `until_at` (epoch milliseconds) could cover.

    `held` maps days to the number of archived rows, over all partitions.
    """
    first, last = utc_day(window_start_at), utc_day(max(until_at, window_start_at))
    in_window = _days(first, min(last, utc_day(window_end_at - 1)))
    days = _days(first, last)
    missing = [day for day in days if not held.get(day)]
    return Coverage(
        from_day=first.isoformat(),
        to_day=last.isoformat(),
        days=len(days),
        days_held=len(days) - len(missing),
        window_days=len(in_window),
        window_days_held=sum(1 for day in in_window if held.get(day)),
        missing_days=tuple(missing[:_MISSING_DAYS_NAMED]),
    )


def _days(first: date, last: date) -> list[str]:
    return [(first + timedelta(days=n)).isoformat() for n in range((last - first).days + 1)]


def posted(columns: Columns) -> NDArray[np.bool_]:
    """(n,) True where money may have moved: a purchase or charge that was not declined.

    A clearing that names its authorization is judged as that authorization.
    """
    event_type = columns["event_type"]
    mask: NDArray[np.bool_] = (event_type >= 0) & _POSTED[event_type] & (columns["approved"] != 0)
    return mask & ~is_linked_clearing(columns)


def is_scored(batch: ScoredBatch) -> NDArray[np.bool_]:
    """(n,) True where the archive has a score. Without any, nothing can be said of a row."""
    mask: NDArray[np.bool_] = np.isfinite(batch.probability) | np.isfinite(batch.anomaly)
    return mask


def decide_afterwards(batch: ScoredBatch, policy: Policy, quiet: QuietPatterns | None = None) -> list[Decision]:
    """Which of n archived transactions on exposed cards are worth a dispute, in row order.

    The policy's thresholds for watched cards on the scores of their own time, for what has been posted. `batch` has no
    features (they are not archived), so rules that need the card's history cannot fire; every decision names them.
    """
    scored = is_scored(batch)
    # A score that is missing was said when it happened: here it is no finding, but nothing that can be judged.
    judged = replace(batch, features={}, anomaly=np.where(scored, np.nan_to_num(batch.anomaly), 0.0))
    wanted = posted(batch.columns) & scored & (batch.exposure.tier > 0)
    named = Reason("LOOK_BACK", {"not_evaluable": list(NOT_EVALUABLE)})
    return [
        replace(decision, reasons=(*decision.reasons, named))
        for decision in decide(judged, policy, quiet)
        if wanted[decision.row]
    ]


def run_status(partitions: Sequence[PartitionStatus]) -> RunStatus:
    """Where a run stands, from its partitions. Without any partition there is nothing to search."""
    if PartitionStatus.SCANNING in partitions:
        return RunStatus.SCANNING
    done = all(status is PartitionStatus.DONE for status in partitions)
    return RunStatus.DONE if done else RunStatus.WAITING
