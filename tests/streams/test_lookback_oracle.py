"""Oracle O12: whatever the order of alerts, amendments, transactions and crashes, the stream and look-back together
find exactly what a join of all transactions with all exposures finds. Nothing is missing, and nothing is there twice.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from lookback_support import DAY, START, Crash, HandStream
from sqlalchemy import Engine

from fraud.store.database import open_engine

CARDS = 8
POINTS = ("begun", "judged", "stored", "day", "searched", "settled")


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    opened = open_engine(sqlite_url)
    yield opened
    opened.dispose()


class Schedule:
    """Random steps. The same seed takes the same ones."""

    def __init__(self, stream: HandStream, seed: int) -> None:
        self.stream = stream
        self.chance = random.Random(seed)  # noqa: S311 - repeatable, guards nothing
        self.events: list[str] = []
        self.crashes = 0

    def run(self, steps: int) -> None:
        choices: list[tuple[Callable[[], None], int]] = [
            (self.send, 10),
            (self.checkpoint, 3),
            (self.look, 3),
            (self.alert, 2),
            (self.expose, 2),
            (self.amend, 2),
            (self.search, 4),
            (self.search_and_crash, 4),
            (self.crash_worker, 1),
        ]
        self.send()
        for step in self.chance.choices([item[0] for item in choices], [item[1] for item in choices], k=steps):
            step()
        self.stream.finish()

    def send(self) -> None:
        """A partition that nobody has seen before may come at any time."""
        number = self.chance.randrange(3)
        batch = [
            (card, START + self.chance.randrange(-12 * DAY, 20 * DAY))
            for card in self.chance.choices(range(number, CARDS, 3), k=self.chance.randint(1, 6))
        ]
        self.stream.send(number, batch)

    def checkpoint(self) -> None:
        self.stream.checkpoint(self.chance.choice(list(self.stream.partitions)))

    def look(self) -> None:
        self.stream.look(self.chance.choice(list(self.stream.partitions)))

    def alert(self) -> None:
        event = f"event-{len(self.events)}"
        self.events.append(event)
        self.stream.alert(event, self.window(), self.cards())

    def expose(self) -> None:
        if self.events:
            self.stream.expose(self.chance.choice(self.events), self.cards())

    def amend(self) -> None:
        if self.events:
            self.stream.amend(self.chance.choice(self.events), self.window())

    def window(self) -> tuple[int, int]:
        first = self.chance.randint(8, 22)
        return first, first + self.chance.randint(0, 7)

    def cards(self) -> list[int]:
        return self.chance.sample(range(CARDS), self.chance.randint(1, 4))

    def search(self) -> None:
        self.stream.lookbacks().step()

    def search_and_crash(self) -> None:
        point, passes = self.chance.choice(POINTS), self.chance.randint(0, 2)

        def reached(name: str) -> None:
            nonlocal passes
            passes -= name == point
            if passes < 0:
                self.crashes += 1
                raise Crash

        with contextlib.suppress(Crash):
            self.stream.lookbacks(reached).step()

    def crash_worker(self) -> None:
        self.stream.crash()


@pytest.mark.parametrize("seed", range(12))
def test_stream_and_lookback_are_the_join(engine: Engine, tmp_path: Path, seed: int) -> None:
    stream = HandStream(engine, tmp_path)
    Schedule(stream, seed).run(40)
    assert stream.matches() == stream.joined()
    detections = Counter(stream.detected())
    # What was detected under a window that was corrected later stays a detection.
    assert {event for event, _, _ in stream.joined()} <= set(detections) <= stream.ever_in_window()
    assert set(detections.values()) <= {1}


def test_the_schedules_crash_and_find(engine: Engine, tmp_path: Path) -> None:
    """The oracle above would be empty words if nothing ever crashed, or nothing were left to look-back."""
    stream = HandStream(engine, tmp_path)
    schedule = Schedule(stream, 7)
    schedule.run(120)
    assert schedule.crashes > 3
    assert len(stream.joined()) > 50
