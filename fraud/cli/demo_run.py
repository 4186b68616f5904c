"""The demonstration's run: prepare history, model and exposure; stream the days after; count."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections import Counter
from collections.abc import Mapping
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from fraud.alert_files import parse_alert_file
from fraud.cli.demo_event import COMPROMISE_EVENT_ID, demo_event
from fraud.cli.demo_story import close_story, open_story, tell_day
from fraud.cli.processes import check_alive, child
from fraud.cli.training import publish_model, train_with_progress, warm_workers
from fraud.cli.wiring import make_tokenizer, open_store
from fraud.compromise import ExposureWindow
from fraud.pan_guard import PanGuard
from fraud.reports import Counters, scorecard, sentences
from fraud.settings import Settings
from fraud.store.database import read, write
from fraud.store.exposure import create_compromise_event, import_exposed_cards
from fraud.store.operations import summary
from fraud.store.story import detected_event_ids, story_cases, stream_progress
from models.training import TrainingSettings
from streams.kafka import make_producer
from streams.publishing import publish
from streams.simulator import Simulation, SimulationParameters, simulate
from streams.simulator.parameters import DAY_MS

_LABEL_MATURITY_DAYS = 10  # by then most frauds of the story have been reported
_VALIDATION_DAYS = 20
_SLICES_A_DAY = 8  # so that a watched day flows instead of jumping


class DemoRun:
    """One play of the story."""

    def __init__(
        self,
        settings: Settings,
        environment: Mapping[str, str],
        parameters: SimulationParameters,
        folder: Path,
        console: Console,
    ) -> None:
        self._settings = settings
        self._environment = environment
        self._parameters = parameters
        self._worker_log = folder / "logs" / "worker.log"
        self._console = console
        self._engine = open_store(settings)
        self._simulation: Simulation | None = None
        self._started = time.monotonic()

    @property
    def simulation(self) -> Simulation:
        """The simulated portfolio; there once `prepare` has run."""
        if self._simulation is None:
            message = "prepare() has not run"
            raise RuntimeError(message)
        return self._simulation

    def prepare(self) -> None:
        """Simulate, train on the past, give the worker the cards' state, record the event and import its cards."""
        self._say(f"Simulating {self._parameters.cards:,} cards over {self._parameters.days} days ...")
        self._simulation = simulation = simulate(self._parameters, make_tokenizer(self._settings))
        history = simulation.history
        self._say(f"Training on {len(history):,} transactions of the past; nothing from after the alert is used ...")
        past = slice(0, simulation.live_from)
        cut = self._parameters.monitoring_starts_at
        trained, states = train_with_progress(
            self._settings,
            history,
            known_labels(simulation.fraud[past], simulation.label_known_at[past], history["occurred_at"], cut),
            TrainingSettings(
                validation_from_at=cut - (_LABEL_MATURITY_DAYS + _VALIDATION_DAYS) * DAY_MS,
                iterations=150,
                negatives_per_positive=300,
                refit=True,
                seed=self._parameters.seed,
            ),
            simulation.label_known_at[past],
        )
        publish_model(self._settings, trained, "demo")
        warm_workers(self._settings, self._engine, history, states)
        self._import_exposed_cards()
        open_story(self._engine, simulation)

    def play(self, pace: float) -> None:
        """Publish the days after the alert at `pace` seconds a day, and wait until all of it is processed."""
        simulation = self.simulation
        days = simulation.live_days()
        frauds: Counter[str] = Counter()
        published = 0
        topic = self._settings.kafka.transactions_topic
        with (
            child(["worker"], self._environment, self._worker_log) as worker,
            contextlib.closing(make_producer(self._settings.kafka)) as producer,
            self._progress() as bar,
        ):
            task = bar.add_task("", total=len(days))
            for number, today in enumerate(days, start=1):
                started = time.monotonic()
                rows = simulation.rows_of_day(today)
                slices = _SLICES_A_DAY if pace else 1
                edges = np.linspace(rows.start, rows.stop, slices + 1).astype(int)
                for part, (start, stop) in enumerate(pairwise(edges.tolist()), start=1):
                    slice_of_day = simulation.between(start, stop)
                    published += publish(producer, topic, slice_of_day, logged_when_they_occurred=True)
                    time.sleep(max(0.0, started + pace * part / slices - time.monotonic()))
                frauds.update(simulation.columns["card_ref"][rows][simulation.fraud[rows] == 1].tolist())
                check_alive(worker, "the worker", self._worker_log)
                if pace:  # a story to watch: nothing is published that the worker cannot keep up with
                    self._wait_for(published, worker, bar, task)
                progress = self._tell(today, number, frauds)
                bar.update(task, completed=number, description=_line(today, progress))
            self._wait_for(published, worker, bar, task)
            self._tell(days[-1], len(days), frauds)

    def scorecard(self) -> dict[str, Any]:
        """What the run came to, counted against the simulation's ground truth."""
        with read(self._engine) as connection:
            counts = summary(connection)
            cases = [(item.card_ref, item.opened_at) for item in story_cases(connection)]
            detected = detected_event_ids(connection)
        counters = Counters(
            counts["processed"],
            counts["dead_letters"],
            counts["duplicates"],
            round(time.monotonic() - self._started, 1),
        )
        result = scorecard(self.simulation.ground_truth(), cases, detected, counters)
        close_story(self._engine, result, self.sentences(result))
        return result

    def sentences(self, result: Mapping[str, Any]) -> list[str]:
        """The scorecard in words."""
        return sentences(result, self._settings.portfolio.currency)

    def _import_exposed_cards(self) -> None:
        dates = self._parameters.dates
        now = self._parameters.monitoring_starts_at
        window = ExposureWindow(dates.window_first, dates.window_last, self._settings.portfolio.timezone)
        content = self.simulation.alert_file_csv()
        parsed = parse_alert_file(
            content,
            tokenizer=make_tokenizer(self._settings),
            guard=PanGuard.from_settings(self._settings.portfolio),
        )
        with write(self._engine) as connection:
            create_compromise_event(connection, demo_event(window, now), now, "demo")
            report = import_exposed_cards(connection, COMPROMISE_EVENT_ID, "scheme-alert.csv", parsed, "demo", now)
        self._say(
            f"Scheme alert imported: {report.rows:,} rows, {report.accepted:,} cards watched, "
            f"{report.duplicate} duplicate, {report.malformed} malformed, {report.unknown} of other issuers"
        )

    def _tell(self, today: date, day: int, frauds: Mapping[str, int]) -> dict[str, int]:
        with read(self._engine) as connection:
            progress = stream_progress(connection)
        tell_day(
            self._engine,
            self.simulation,
            today,
            {"day": day, "days": self._parameters.story_days, **progress},
            frauds,
        )
        return progress

    def _wait_for(self, published: int, worker: subprocess.Popen[bytes], bar: Progress, task: TaskID) -> None:
        while True:
            with read(self._engine) as connection:
                progress = stream_progress(connection)
            if progress["transactions"] >= published:
                return
            check_alive(worker, "the worker", self._worker_log)
            bar.update(task, description=f"working through the rest: {published - progress['transactions']:,}")
            time.sleep(0.2)

    def _progress(self) -> Progress:
        return Progress(
            TextColumn("{task.description:60}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TextColumn("days"),
            TimeElapsedColumn(),
            console=self._console,
        )

    def _say(self, text: str) -> None:
        self._console.print(text)


def known_labels(
    fraud: NDArray[np.int8], known_at: NDArray[np.int64], occurred_at: NDArray[np.int64], cut: int
) -> NDArray[np.int8]:
    """Labels as they stood at `cut`, without hindsight.

    What nobody had reported by then counts as genuine, as it would have. The last days are unknown (-1): most of
    their frauds have not been reported yet, so nothing there can be called genuine.
    """
    labels: NDArray[np.int8] = np.where((fraud == 1) & (known_at <= cut), 1, 0).astype(np.int8)
    labels[occurred_at > cut - _LABEL_MATURITY_DAYS * DAY_MS] = -1
    return labels


def _line(today: date, progress: Mapping[str, int]) -> str:
    return (
        f"{today:%Y-%m-%d}  {progress['transactions']:,} transactions, "
        f"{progress['detections']} detections, {progress['cases']} cases"
    )
