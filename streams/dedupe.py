"""Duplicates: a producer may write one event at two offsets. A window of event ids a partition finds them."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from enum import IntEnum
from hashlib import blake2b
from itertools import islice

import numpy as np
from numpy.typing import NDArray


class Verdict(IntEnum):
    """What the window says of a record."""

    FRESH = 0
    DUPLICATE = 1  # the same event, written again: dropped
    CONFLICT = 2  # the same id with other content: quarantined


class DedupeWindow:
    """The last `size` event ids of a partition, with a digest of what each said.

    Beyond the window effects stay unique, since ids of detections derive from the event id; only card state would
    count such an event twice.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._seen: dict[str, bytes] = {}
        self._order: deque[str] = deque()  # the ids of `_seen`, oldest first; to find those in a dictionary is slow
        self._new = 0  # so many of the newest entries are not yet taken

    def __len__(self) -> int:
        return len(self._seen)

    def entries(self) -> list[tuple[str, bytes]]:
        """What the window holds, oldest first: event id and digest of what it said."""
        seen = self._seen
        return [(event_id, seen[event_id]) for event_id in self._order]

    def take_new(self) -> list[tuple[str, bytes]]:
        """The entries that `judge` let in since this was last called, or since `restore`, oldest first.

        What has left the window again is not among them: whoever appends them would drop it too.
        """
        seen = self._seen
        # No entry ever moves, so the new ones are the last ones.
        newest = list(islice(reversed(self._order), self._new))
        self._new = 0
        return [(event_id, seen[event_id]) for event_id in reversed(newest)]

    def restore(self, entries: Sequence[tuple[str, bytes]]) -> None:
        """Put back what `entries` gave; of more than fit, the newest. None of them counts as new."""
        self._seen, self._order, self._new = {}, deque(), 0
        self.append(entries)

    def append(self, entries: Sequence[tuple[str, bytes]]) -> None:
        """Put what `take_new` gave behind the entries that are there; the oldest that no longer fit leave.

        None of them counts as new, so take what is new before.
        """
        again = {event_id for event_id, _ in entries if event_id in self._seen}
        if again:  # it had left the window before it came in again, so its old place is no longer its own
            self._order = deque(event_id for event_id in self._order if event_id not in again)
        self._seen.update(entries)
        self._order.extend(event_id for event_id, _ in entries)
        self._new = 0
        self._evict()

    def judge(self, event_ids: Sequence[str], values: Sequence[bytes]) -> NDArray[np.int8]:
        """Verdicts on n records in log order; the fresh ones enter the window."""
        verdicts = np.zeros(len(event_ids), dtype=np.int8)
        digests = [blake2b(value, digest_size=8).digest() for value in values]
        entering = dict(zip(event_ids, digests, strict=True))
        if len(entering) == len(event_ids) and self._seen.keys().isdisjoint(entering):
            # All ids are new and differ, so whatever leaves the window meanwhile changes no verdict.
            self._seen.update(entering)
            self._order.extend(event_ids)
            self._new += len(event_ids)
            self._evict()
            return verdicts
        seen, order, size = self._seen, self._order, self._size
        for index, (event_id, digest) in enumerate(zip(event_ids, digests, strict=True)):
            known = seen.get(event_id)
            if known is None:
                seen[event_id] = digest
                order.append(event_id)
                self._new += 1
                if len(order) > size:
                    del seen[order.popleft()]
            else:
                verdicts[index] = Verdict.DUPLICATE if known == digest else Verdict.CONFLICT
        self._evict()
        return verdicts

    def _evict(self) -> None:
        seen, order = self._seen, self._order
        for _ in range(len(order) - self._size):
            del seen[order.popleft()]
        self._new = min(self._new, len(order))
