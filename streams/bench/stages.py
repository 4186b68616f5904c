"""Time by stage: calls of a worker's parts, timed from outside, in the measuring process alone.

A stage's time is its own: what it spends inside another stage's call counts there. Parts are found by name when the
measuring begins. One that is gone is named in the report, and its time then shows as not attributed.
"""

from __future__ import annotations

import functools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Final

# Stage and places of its parts, `module:function` or `module:Class.method`; a function where its caller looks it up.
PARTS: Final[Mapping[str, Sequence[str]]] = {
    "poll": ("kafka:KafkaConsumer.poll",),
    "decode": ("streams.wire:Decoder.decode",),
    "dedupe": ("streams.pipeline:Pipeline._fresh",),
    "match": ("streams.exposure_index:ExposureIndex.match",),
    "features": ("streams.pipeline:compute_features",),
    "score": ("models.scoring:Scorer.score",),
    "policy": ("streams.pipeline:decide",),
    "effects": ("streams.pipeline:Pipeline.process",),
    "commit": ("streams.worker:Worker._commit",),
    "archive rows": ("streams.pipeline:_archive_rows", "streams.archive.writer:ArchiveWriter.add"),
    "archive": ("streams.archive.writer:ArchiveWriter.prepare", "streams.archive.writer:ArchiveWriter.write"),
    "copies for snapshots": ("streams.checkpointing:freeze",),
    "snapshots": ("streams.snapshots:Snapshots.write",),
    "checkpoint": ("streams.checkpointing:Checkpointer.start", "streams.checkpointing:Checkpointer._write"),
    "reference": ("streams.reference:References.current",),
    "lag": ("streams.worker:Worker._hint",),
    "claim": ("streams.takeover:TakeOver.claim",),
    "load": ("streams.takeover:TakeOver.load",),
    "replay": ("streams.takeover:TakeOver.replay",),
}


@dataclass(slots=True)
class StageTime:
    """Processor and wall seconds of a stage's own, and its calls."""

    cpu: float = 0.0
    wall: float = 0.0
    calls: int = 0


@dataclass(slots=True)
class ThreadTime:
    """Processor seconds of a thread, or of several of one name; whether stages run in it."""

    cpu: float = 0.0
    runs_stages: bool = False


@dataclass(slots=True)
class _Frame:
    """A call under way: what it has spent inside other stages."""

    cpu_inside: float = 0.0
    wall_inside: float = 0.0


@dataclass
class StageClock:
    """Times the calls of parts.

    `not_found` are the stages of which no part is where it was. `spans` are the begin and end of every call of the
    stage `followed`, seconds since 1970.
    """

    followed: str | None = None
    not_found: list[str] = field(default_factory=list)
    spans: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._times: dict[str, StageTime] = defaultdict(StageTime)
        self._local = threading.local()
        self._threads: set[int] = set()

    def wrap_all(self, parts: Mapping[str, Sequence[str]] = PARTS) -> None:
        """Time every part that is there."""
        for stage, places in parts.items():
            if not sum(self.wrap(stage, place) for place in places):
                self.not_found.append(stage)

    def wrap(self, stage: str, place: str) -> bool:
        """Time one part; False when it is not there."""
        try:
            holder, name, part = find(place)
        except (ImportError, AttributeError):
            return False
        setattr(holder, name, self._timed(stage, part))
        return True

    def times(self) -> dict[str, StageTime]:
        """Every stage's time so far, a copy. A call under way is not in it yet."""
        with self._lock:
            return {name: StageTime(time.cpu, time.wall, time.calls) for name, time in self._times.items()}

    def thread_seconds(self) -> dict[str, ThreadTime]:
        """Processor time of the living threads of this process by name, those of libraries too."""
        python = {thread.native_id: thread.name for thread in threading.enumerate()}
        found: dict[str, ThreadTime] = {}
        for folder in Path("/proc/self/task").iterdir():
            thread = int(folder.name)
            try:
                cpu = int((folder / "schedstat").read_text(encoding="ascii").split()[0]) / 1e9
                name = python.get(thread) or (folder / "comm").read_text(encoding="utf-8").strip()
            except OSError:  # it has ended
                continue
            one = found.setdefault(name.rstrip("0123456789_-."), ThreadTime())
            one.cpu += cpu
            one.runs_stages |= thread in self._threads
        return found

    def _timed(self, stage: str, part: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(part)
        def timed(*arguments: Any, **named: Any) -> Any:
            frames = self._frames()
            frame = _Frame()
            frames.append(frame)
            wall, cpu = time.perf_counter(), time.thread_time()
            try:
                return part(*arguments, **named)
            finally:
                cpu, wall = time.thread_time() - cpu, time.perf_counter() - wall
                frames.pop()
                if frames:
                    frames[-1].cpu_inside += cpu
                    frames[-1].wall_inside += wall
                with self._lock:
                    if stage == self.followed:
                        self.spans.append((time.time() - wall, time.time()))
                    total = self._times[stage]
                    total.cpu += cpu - frame.cpu_inside
                    total.wall += wall - frame.wall_inside
                    total.calls += 1

        return timed

    def _frames(self) -> list[_Frame]:
        frames: list[_Frame] | None = getattr(self._local, "frames", None)
        if frames is None:
            frames = self._local.frames = []
            self._threads.add(threading.get_native_id())
        return frames


def find(place: str) -> tuple[Any, str, Callable[..., Any]]:
    """A part's module or class, its name there, and itself; `ImportError` or `AttributeError` when it is not there."""
    module_name, _, path = place.partition(":")
    *outer, name = path.split(".")
    holder = functools.reduce(getattr, outer, import_module(module_name))
    return holder, name, getattr(holder, name)


def spent(before: dict[str, StageTime], after: dict[str, StageTime]) -> dict[str, StageTime]:
    """What each stage took between two looks at the times, the largest processor time first."""
    nothing = StageTime()
    found = {
        name: StageTime(
            time.cpu - before.get(name, nothing).cpu,
            time.wall - before.get(name, nothing).wall,
            time.calls - before.get(name, nothing).calls,
        )
        for name, time in after.items()
    }
    return dict(sorted(found.items(), key=lambda item: -item[1].cpu))
