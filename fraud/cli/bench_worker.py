"""A process of a bench: the whole worker, watched from outside by stage. `python -m` starts it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from types import FrameType
from typing import Any

from fraud.cli.wiring import make_worker, open_store
from fraud.logs import configure_logging
from fraud.settings import load_settings
from fraud.store.records import PartitionEffects
from streams.bench.children import read_task, tell
from streams.bench.machine import pin_to_core
from streams.bench.stages import StageClock, StageTime, spent
from streams.observer import WorkerObserver

_TELL_SECONDS = 0.5


class BenchObserver(WorkerObserver):
    """Counts what is committed and looks at the clocks when the last partition is ready and when all is done.

    Args:
        partitions: how many the worker will own.
        records: how many are to be committed; None has no end but a signal.
        crash_at: after how many the process kills itself, as `kill -9` would; None does not.
        clock: the stages' times.
        keep_commits: keep the moment of every commit, for latencies.

    """

    def __init__(
        self,
        partitions: int,
        records: int | None,
        clock: StageClock,
        *,
        crash_at: int | None = None,
        keep_commits: bool = False,
    ) -> None:
        self._partitions = partitions
        self._wanted = records
        self._crash_at = crash_at
        self._clock = clock
        self._keep_commits = keep_commits
        self._ready = 0
        self._next_tell = 0.0
        self._start: dict[str, Any] = {}
        self._first: dict[str, float] = {}
        self._at_assigned: dict[str, StageTime] = {}
        self.worker: Any = None
        self.cards: dict[int, int] = {}
        self.committed_records = self.detections = self.matches = 0
        self.archive_commits = self.archived_rows = 0
        self._checkpoints: Counter[int] = Counter()
        self.commits: list[tuple[int, int, int, float]] = []  # partition, from, to, wall clock in seconds
        self.rounds: list[tuple[int, float, float]] = []  # records, seconds to compute, seconds to commit
        self._computing = 0.0

    def assigned(self, partition: int) -> None:
        """The first assignment starts the clock of a restart."""
        if "assigned" not in self._first:
            self._first["assigned"] = time.perf_counter()
            self._at_assigned = self._clock.times()

    def ready(self, partition: int) -> None:
        """Measuring begins when the last partition is ready."""
        self._first.setdefault("first_ready", time.perf_counter())
        self._ready += 1
        if self._ready == self._partitions:
            self._first.setdefault("all_ready", time.perf_counter())
            self._start = self._look()
            tell(ready=self._since_assigned(), loading=_plain(spent(self._at_assigned, self._start["stages"])))

    def state(self, partition: int, cards: int, size: int) -> None:
        """Cards in memory."""
        self.cards[partition] = cards

    def checkpointed(self, partition: int) -> None:
        """One more checkpoint of one partition."""
        self._checkpoints[partition] += 1

    def archived(self, rows: int, seconds: float) -> None:
        """One more commit of the archive."""
        self.archive_commits += 1
        self.archived_rows += rows

    @property
    def checkpoints(self) -> int:
        """Checkpoints of all partitions, as far as every partition has had them."""
        return min((self._checkpoints[number] for number in range(self._partitions)), default=0)

    def batch(self, effects: Sequence[PartitionEffects], seconds: float) -> None:
        """How long the effects took."""
        self._computing = seconds

    def committed(self, effects: Sequence[PartitionEffects], seconds: float) -> None:
        """Count; stop the worker when all is done."""
        at = time.time()
        if self._keep_commits:
            records = sum(item.next_offset - item.expected_offset for item in effects)
            self.rounds.append((records, self._computing, seconds))
        for item in effects:
            self.committed_records += item.next_offset - item.expected_offset
            self.detections += item.counters.detected
            self.matches += item.counters.matched
            if self._keep_commits:
                self.commits.append((item.key.partition, item.expected_offset, item.next_offset, at))
        if self._crash_at is not None and self.committed_records >= self._crash_at:
            tell(crashing=self.committed_records)
            os.kill(os.getpid(), signal.SIGKILL)
        if "first_committed" not in self._first:
            self._first["first_committed"] = time.perf_counter()
            tell(first_committed=self._since_assigned())
        if self._wanted is not None and self.committed_records >= self._wanted:
            tell(result=self.result())
            self._wanted = None
            self.worker.stop()
        elif time.monotonic() >= self._next_tell:
            self._next_tell = time.monotonic() + _TELL_SECONDS
            tell(progress=self.committed_records)

    def result(self) -> dict[str, Any]:
        """What was measured since the last partition was ready."""
        start, end = self._start or self._look(), self._look()

        def cpu_before(name: str) -> float:
            return start["threads"][name].cpu if name in start["threads"] else 0.0

        return {
            "records": end["records"] - start["records"],
            "cpu_seconds": end["cpu"] - start["cpu"],
            "wall_seconds": end["wall"] - start["wall"],
            "detections": end["detections"] - start["detections"],
            "matches": end["matches"] - start["matches"],
            "checkpoints": end["checkpoints"] - start["checkpoints"],
            "archive_commits": end["archive_commits"] - start["archive_commits"],
            "stages": _plain(spent(start["stages"], end["stages"])),
            "threads": {name: time.cpu - cpu_before(name) for name, time in end["threads"].items()},
            "library_threads": sum(
                time.cpu - cpu_before(name) for name, time in end["threads"].items() if not time.runs_stages
            ),
            "not_found": self._clock.not_found,
        }

    def _look(self) -> dict[str, Any]:
        return {
            "records": self.committed_records,
            "checkpoints": self.checkpoints,
            "archive_commits": self.archive_commits,
            "detections": self.detections,
            "matches": self.matches,
            "wall": time.perf_counter(),
            "cpu": time.process_time(),
            "stages": self._clock.times(),
            "threads": self._clock.thread_seconds(),
        }

    def _since_assigned(self) -> dict[str, float]:
        assigned = self._first.get("assigned", 0.0)
        return {name: at - assigned for name, at in self._first.items() if name != "assigned"}


def main() -> None:
    """Work until so many records are committed, or until SIGTERM; tell `ready`, `first_committed`, and `result`."""
    task = read_task()
    configure_logging(json_lines=True)
    if task.get("core") is not None:
        pin_to_core(task["core"])
    settings = load_settings(**task["settings"])
    clock = StageClock(followed="checkpoint")
    clock.wrap_all()
    triggers = _watch_triggers()
    observer = BenchObserver(
        settings.kafka.partitions,
        task.get("records"),
        clock,
        crash_at=task.get("crash_at"),
        keep_commits=task.get("keep_commits", False),
    )
    engine = open_store(settings)
    observer.worker = worker = make_worker(settings, engine, observer)

    def stop(_signal: int, _frame: FrameType | None) -> None:
        worker.stop()

    signal.signal(signal.SIGTERM, stop)
    started = time.process_time()
    worker.run()
    engine.dispose()
    tell(
        ended={
            "cpu_seconds": time.process_time() - started,
            "records": observer.committed_records,
            "checkpoints": observer.checkpoints,
            "archive_commits": observer.archive_commits,
            "archived_rows": observer.archived_rows,
            "cards": sum(observer.cards.values()),
            "triggers": sorted(triggers),
            "threads": threading.active_count(),
        },
        commits=observer.commits,
        rounds=observer.rounds,
        checkpoint_spans=clock.spans,
        stages=_plain(clock.times()),
    )


def _watch_triggers() -> set[str]:
    """Codes of the triggers and rules that policy evaluates, filled in as it does."""
    seen: set[str] = set()
    with contextlib.suppress(ImportError, AttributeError):
        from fraud import policy

        evaluate = policy._triggers

        def watched(*arguments: Any, **named: Any) -> Any:
            found = evaluate(*arguments, **named)
            seen.update(found)
            return found

        policy._triggers = watched
    return seen


def _plain(times: Mapping[str, StageTime]) -> dict[str, dict[str, float]]:
    return {
        name: {"cpu_seconds": time.cpu, "wall_seconds": time.wall, "calls": time.calls}
        for name, time in times.items()
        if time.calls
    }


if __name__ == "__main__":
    main()
