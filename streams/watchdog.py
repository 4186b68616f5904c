"""A watchdog for a loop that cannot time itself out: when it stands still, dump every stack and end the process."""

from __future__ import annotations

import faulthandler
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Self

STUCK_EXIT_CODE = 70


class Watchdog:
    """Call `beat()` each time round the loop. After `limit_seconds` without one: stacks to standard error, exit.

    A supervisor starts the process again; it continues at the stored position. Hanging quietly would be worse: the
    group's other members would believe the partitions to be in good hands.
    """

    def __init__(self, limit_seconds: float, on_stuck: Callable[[], None] | None = None) -> None:
        self._limit = limit_seconds
        self._on_stuck = on_stuck or _dump_and_exit
        self._last = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self.beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def beat(self) -> None:
        """The loop has come round."""
        self._last = time.monotonic()

    def _watch(self) -> None:
        while not self._stopped.wait(min(1.0, self._limit / 4)):
            if time.monotonic() - self._last > self._limit:
                self._on_stuck()
                return


class ProgressWatch:
    """Finds partitions that have records and do not move.

    The client can hold a partition that it never fetches, without any error; the loop then goes round and beats. The
    end of the log has to come from the broker: what the client remembers of it moves only with a fetch.

    Args:
        limit_seconds: for how long a partition may stand still beside records that it could take.

    """

    def __init__(self, limit_seconds: float) -> None:
        self._limit = limit_seconds
        # Partition to its offset, since when it has been there with records to take, and when it was last looked at.
        self._moved: dict[int, tuple[int, float, float]] = {}

    def seen(self, partition: int, next_offset: int, end_offset: int, *, paused: bool, now: float) -> None:
        """Where a partition is, and where its log ends; `now` in seconds of a clock that never goes back.

        `paused`: it is not meant to move now, because it is paused or being replayed. Nobody looked at it for longer
        than the limit: then its time begins anew.
        """
        offset, since, looked = self._moved.get(partition, (None, now, now))
        if offset != next_offset or paused or next_offset >= end_offset or now - looked > self._limit:
            since = now
        self._moved[partition] = (next_offset, since, now)

    def forget(self, partition: int) -> None:
        """The partition is no longer ours."""
        self._moved.pop(partition, None)

    def stalled(self, now: float) -> list[int]:
        """Partitions that have stood still for longer than the limit, in order."""
        return sorted(partition for partition, (_, since, _) in self._moved.items() if now - since > self._limit)


def _dump_and_exit() -> None:
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    os._exit(STUCK_EXIT_CODE)
