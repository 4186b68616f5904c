"""Time as the product sees it: the machine's clock, or the stream's own for demonstrations and replays."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Says what time it is."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """The current time, aware, in UTC."""
        return datetime.now(UTC)


class StreamClock:
    """The time that the stream has reached: the latest event time processed so far.

    `reached` returns epoch milliseconds, or None before the first event; then the machine's clock answers.
    """

    def __init__(self, reached: Callable[[], int | None]) -> None:
        self._reached = reached

    def now(self) -> datetime:
        """The latest event time processed, aware, in UTC."""
        reached = self._reached()
        return datetime.now(UTC) if reached is None else datetime.fromtimestamp(reached / 1000, UTC)


def now_ms(clock: Clock | None = None) -> int:
    """What a clock says, in epoch milliseconds UTC; the machine's clock by default."""
    return int((clock or SystemClock()).now().timestamp() * 1000)
