"""The watchdog bites when the loop stands still, and only then."""

from __future__ import annotations

import threading

from streams.watchdog import Watchdog


def test_a_loop_that_stands_still_is_ended() -> None:
    bitten = threading.Event()
    with Watchdog(0.05, bitten.set):
        assert bitten.wait(timeout=30)


def test_a_loop_that_goes_round_is_left_alone() -> None:
    bitten = threading.Event()
    with Watchdog(60, bitten.set) as watchdog:
        for _ in range(5):
            watchdog.beat()
    assert not bitten.is_set()
