"""The watchdog bites when the loop stands still, and only then."""

from __future__ import annotations

import threading

import pytest

from streams.watchdog import ProgressWatch, Watchdog


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


class TestProgress:
    """A watch with a limit of 60 s, looked at every 10 s."""

    @pytest.fixture
    def watch(self) -> ProgressWatch:
        return ProgressWatch(60)

    @staticmethod
    def look(watch: ProgressWatch, *offsets: int, end: int = 100, paused: bool = False, start: float = 0) -> float:
        """Partition 3 at these offsets, one look each; the time of the last one."""
        now = start
        for number, offset in enumerate(offsets):
            now = start + 10 * number
            watch.seen(3, offset, end, paused=paused, now=now)
        return now

    def test_a_partition_with_records_that_does_not_move_is_found_after_the_limit(self, watch: ProgressWatch) -> None:
        now = self.look(watch, *[40] * 7)
        assert now == 60
        assert watch.stalled(now) == []
        assert watch.stalled(now + 0.1) == [3]

    def test_one_record_now_and_then_is_movement(self, watch: ProgressWatch) -> None:
        now = self.look(watch, *[40] * 6, *[41] * 6, *[42] * 6)
        assert watch.stalled(now) == []

    def test_at_the_end_of_the_log_there_is_nothing_to_take(self, watch: ProgressWatch) -> None:
        now = self.look(watch, *[100] * 30)
        assert watch.stalled(now) == []
        # The time begins with the first record that waits, not with the last one that was taken.
        now = self.look(watch, *[100] * 6, end=101, start=now + 10)
        assert watch.stalled(now) == []
        assert watch.stalled(now + 20) == [3]

    def test_a_paused_or_replaying_partition_is_left_alone_and_then_has_its_whole_time(
        self, watch: ProgressWatch
    ) -> None:
        now = self.look(watch, *[40] * 30, paused=True)
        assert watch.stalled(now) == []
        now = self.look(watch, *[40] * 6, start=now + 10)
        assert watch.stalled(now) == []
        assert watch.stalled(now + 20) == [3]

    def test_going_back_is_movement_too(self, watch: ProgressWatch) -> None:
        now = self.look(watch, *[40] * 6, *[10] * 6)
        assert watch.stalled(now) == []

    def test_partitions_are_told_apart(self, watch: ProgressWatch) -> None:
        for number in range(8):
            watch.seen(1, 40, 100, paused=False, now=10 * number)
            watch.seen(2, 40 + number, 100, paused=False, now=10 * number)
            watch.seen(0, 5, 100, paused=False, now=10 * number)
        assert watch.stalled(70) == [0, 1]

    def test_a_partition_that_was_away_starts_anew(self, watch: ProgressWatch) -> None:
        self.look(watch, *[40] * 6)
        watch.forget(3)
        assert watch.stalled(1_000) == []
        now = self.look(watch, *[40] * 6, start=55)
        assert watch.stalled(now) == []
        watch.forget(7)  # never seen

    def test_a_long_time_without_a_look_is_no_standing_still(self, watch: ProgressWatch) -> None:
        """The loop was in a commit for minutes, or the partition had another owner."""
        self.look(watch, 40, 40)
        watch.seen(3, 40, 100, paused=False, now=500)
        assert watch.stalled(500) == []
        assert watch.stalled(561) == [3]
