"""What the relay needs of a destination, and how a delivery can fail."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence
from enum import Enum
from typing import Final, Protocol

from fraud.store.outbox import OutboxMessage

FIRST_DELAY_MS: Final = 1_000
LONGEST_DELAY_MS: Final = 3_600_000


class Fault(Enum):
    """What a failed attempt says of the next ones."""

    DESTINATION = "no message gets through now"
    MESSAGE = "this message does not get through now, others may"
    PERMANENT = "this message will never get through"


class DeliveryError(Exception):
    """An attempt failed. `reason` is a short class, never what the other side said."""

    def __init__(self, fault: Fault, reason: str) -> None:
        super().__init__(reason)
        self.fault = fault
        self.reason = reason


class Destination(Protocol):
    """Somewhere that messages go."""

    @property
    def name(self) -> str:
        """Its name in the database and in logs."""
        ...

    def deliver(self, messages: Sequence[OutboxMessage]) -> Iterator[tuple[OutboxMessage, DeliveryError | None]]:
        """Attempt messages; each that was attempted comes back, with the error or None once it is acknowledged."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...


def message_body(message: OutboxMessage) -> bytes:
    """A message's payload as JSON."""
    return json.dumps(message.payload, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def retry_delay_ms(failures: int, chance: random.Random) -> int:
    """Milliseconds until the next attempt after `failures` (1 or more) in a row: doubling, then half of it by chance.

    The chance keeps relays that failed together from coming back together.
    """
    longest = min(LONGEST_DELAY_MS, FIRST_DELAY_MS << min(failures - 1, 32))
    return chance.randint(longest // 2, longest)
