"""Duplicates: a producer may write one event at two offsets. A window of event ids a partition finds them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from enum import IntEnum
from hashlib import blake2b

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
        self._seen: OrderedDict[str, bytes] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def entries(self) -> list[tuple[str, bytes]]:
        """What the window holds, oldest first: event id and digest of what it said."""
        return list(self._seen.items())

    def restore(self, entries: Sequence[tuple[str, bytes]]) -> None:
        """Put back what `entries` gave; of more than fit, the newest."""
        self._seen = OrderedDict(entries[-self._size :] if self._size else ())

    def judge(self, event_ids: Sequence[str], values: Sequence[bytes]) -> NDArray[np.int8]:
        """Verdicts on n records in log order; the fresh ones enter the window."""
        verdicts = np.zeros(len(event_ids), dtype=np.int8)
        for index, (event_id, value) in enumerate(zip(event_ids, values, strict=True)):
            digest = blake2b(value, digest_size=8).digest()
            known = self._seen.get(event_id)
            if known is None:
                self._seen[event_id] = digest
                if len(self._seen) > self._size:
                    self._seen.popitem(last=False)
            else:
                verdicts[index] = Verdict.DUPLICATE if known == digest else Verdict.CONFLICT
        return verdicts
