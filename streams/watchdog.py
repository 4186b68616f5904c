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


def _dump_and_exit() -> None:
    faulthandler.dump_traceback(file=sys.stderr, all_threads=True)
    os._exit(STUCK_EXIT_CODE)
