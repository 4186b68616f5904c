"""The circuit breaker: a flood of records that cannot be processed stops the worker, and nothing drains away."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from fraud.errors import MimamoriError
from fraud.store.records import PartitionEffects

_WINDOW = 1_000


class CircuitBreakerError(MimamoriError):
    """So many records cannot be processed that the fault is upstream: stop and page, do not drain the topic."""

    code = "CIRCUIT_BREAKER"


class CircuitBreaker:
    """Watches the share of refused records among the last 1,000.

    Args:
        ratio: the share at which it opens.

    """

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._recent: deque[tuple[int, int]] = deque()  # refused and accepted, a batch each
        self._refused = self._accepted = 0

    def check(self, effects: Sequence[PartitionEffects]) -> None:
        """Count a batch that is not committed yet; `CircuitBreakerError` when too much of the last 1,000 is refused."""
        refused = sum(item.counters.dead_lettered for item in effects)
        accepted = sum(item.counters.processed + item.counters.duplicates for item in effects)
        self._recent.append((refused, accepted))
        self._refused += refused
        self._accepted += accepted
        while self._refused + self._accepted - sum(self._recent[0]) >= _WINDOW:
            old_refused, old_accepted = self._recent.popleft()
            self._refused -= old_refused
            self._accepted -= old_accepted
        seen = self._refused + self._accepted
        if seen >= _WINDOW and self._refused >= self._ratio * seen:
            message = (
                f"{self._refused} of the last {seen} records cannot be processed; stopped before the batch was "
                "recorded. Look at the producer; raise stream.circuit_breaker_ratio only to let them through"
            )
            raise CircuitBreakerError(message)
