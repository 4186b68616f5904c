"""A deployment of the stream to test: its topic, its database, its workers, and what comes of them."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from fraud.alert_files import parse_alert_file
from fraud.cli.wiring import make_tokenizer, make_worker, open_store
from fraud.compromise import DataElements, ExposureWindow
from fraud.pan_guard import PanGuard
from fraud.settings import PREFIX, CardSettings, KafkaSettings, PortfolioSettings, Settings, StreamSettings
from fraud.store.database import read, write
from fraud.store.exposure import NewCompromiseEvent, create_compromise_event, import_exposed_cards
from fraud.store.operations import summary
from fraud.store.tables import case, case_event, dead_letter, detection, exposure_match, position, security_incident
from fraud.transactions import Columns
from streams.embedded import die_with_parent
from streams.kafka import create_topics, make_producer
from streams.publishing import publish
from streams.simulator import Simulation

CARD_KEY = "5f" * 32
EVENT = "shop-2022"
NOW = 1_659_000_000_000  # 2022-07-28; the wall clock of what the tests themselves write
PATIENCE = 60.0  # seconds: no test passes or fails by its speed, but none waits for ever


def eventually(holds: Callable[[], bool], what: str, check: Callable[[], None] = lambda: None) -> None:
    """Wait until something holds. `check` raises when waiting has become pointless."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        check()
        assert time.monotonic() < deadline, f"waited {PATIENCE:.0f} s in vain until {what}"
        time.sleep(0.02)


class ThreadedWorker:
    """A worker in a thread of the test's own process."""

    def __init__(self, settings: Settings) -> None:
        self._engine = open_store(settings)
        self._worker = make_worker(settings, self._engine)
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="worker")
        self._thread.start()

    def check(self) -> None:
        """Raise what the worker ended with, if it has ended."""
        if not self._thread.is_alive():
            raise AssertionError("the worker ended by itself") from self.error

    def join(self) -> BaseException | None:
        """Wait until it has ended by itself; what it raised."""
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), "the worker should have ended"
        self._engine.dispose()
        return self.error

    def stop(self) -> None:
        """Ask it to end, and wait; raises what it raised."""
        self._worker.stop()
        error = self.join()
        if error is not None:
            raise AssertionError("the worker ended with an error") from error

    def _run(self) -> None:
        try:
            self._worker.run()
        except BaseException as error:  # noqa: BLE001 - handed to the test's own thread
            self.error = error


class Deployment:
    """One stack with settings, a topic, and an open database."""

    def __init__(self, kafka: KafkaSettings, database_url: str, folder: Path, **stream: Any) -> None:
        self.settings = Settings(
            data_dir=folder / "data",
            database_url=database_url,  # type: ignore[arg-type]
            clock="stream",
            portfolio=PortfolioSettings(bin_ranges=("453201",)),
            cards=CardSettings(keys={1: CARD_KEY}),  # type: ignore[dict-item]
            kafka=kafka,
            stream=StreamSettings(**stream),
        )
        self.folder = folder
        self.engine = open_store(self.settings)
        self.published = 0
        self._topic = kafka.transactions_topic
        create_topics(kafka)

    def close(self) -> None:
        """Leave the database."""
        self.engine.dispose()

    def publish(self, columns: Columns) -> None:
        """Put transactions on the topic, in their order."""
        with contextlib.closing(make_producer(self.settings.kafka)) as producer:
            self.published += publish(producer, self._topic, columns)

    def publish_raw(self, records: Sequence[tuple[bytes | None, bytes | None]], partition: int | None = None) -> None:
        """Put (key, value) pairs on the topic as they are."""
        with contextlib.closing(make_producer(self.settings.kafka)) as producer:
            sent = [producer.send(self._topic, key=key, value=value, partition=partition) for key, value in records]
            producer.flush()
            for acknowledgement in sent:
                acknowledgement.get(timeout=30)
        self.published += len(records)

    def expose(self, simulation: Simulation, engine: Engine | None = None) -> None:
        """Record the simulation's compromise event and import its alert file."""
        parsed = parse_alert_file(
            simulation.alert_file_csv(),
            tokenizer=make_tokenizer(self.settings),
            guard=PanGuard.from_settings(self.settings.portfolio),
        )
        dates = simulation.parameters.dates
        window = ExposureWindow(dates.window_first, dates.window_last, self.settings.portfolio.timezone)
        elements = DataElements(pan=True, expiry=True, cvv2=True)
        event = NewCompromiseEvent(EVENT, "Shop", "MERCHANT_NOTICE", window, elements)
        with write(engine or self.engine) as connection:
            create_compromise_event(connection, event, NOW)
            import_exposed_cards(connection, EVENT, "alert.csv", parsed, "tester", NOW)

    @contextlib.contextmanager
    def worker(self) -> Iterator[ThreadedWorker]:
        """A worker in a thread, stopped in order at the end."""
        started = ThreadedWorker(self.settings)
        try:
            yield started
        except BaseException:
            with contextlib.suppress(AssertionError):
                started.stop()
            raise
        started.stop()

    @contextlib.contextmanager
    def process(self, name: str = "worker") -> Iterator[subprocess.Popen[bytes]]:
        """A worker process. Killed at the end if the test has not ended it."""
        with self.log_file(name).open("ab") as log:
            started = subprocess.Popen(
                [sys.executable, "-m", "fraud.cli", "worker", "--json-logs"],
                env={**os.environ, **self._environment()},
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - sets one flag, takes no lock
            )
        try:
            yield started
        finally:
            started.kill()
            started.wait()

    def log_file(self, name: str = "worker") -> Path:
        """Where a worker process writes its log."""
        return self.folder / f"{name}.log"

    def counts(self) -> dict[str, Any]:
        """Everything in numbers."""
        with read(self.engine) as connection:
            return summary(connection)

    def done(self) -> int:
        """Records that are accounted for."""
        counts = self.counts()
        return sum(counts[name] for name in ("processed", "dead_letters", "duplicates", "quarantined"))

    def wait_until_done(self, check: Callable[[], None] = lambda: None) -> None:
        """Until every published record is accounted for."""
        eventually(lambda: self.done() >= self.published, f"{self.published} records are accounted for", check)
        assert self.done() == self.published

    def uninterrupted(self, simulation: Simulation | None, url: str) -> dict[str, Any]:
        """What an undisturbed worker makes of the same topic, in a group and a database of its own."""
        settings = self.settings.model_copy(
            update={
                "database_url": type(self.settings.database_url)(url),
                "kafka": self.settings.kafka.model_copy(update={"group_id": f"{self.settings.kafka.group_id}-again"}),
                "stream": self.settings.stream.model_copy(update={"max_poll_records": 2_000}),
                "archive": self.settings.archive.model_copy(update={"root": str(self.folder / "again" / "archive")}),
                "snapshots": self.settings.snapshots.model_copy(
                    update={"root": str(self.folder / "again" / "snapshots")}
                ),
            }
        )
        twin = object.__new__(Deployment)
        twin.settings, twin.engine, twin.published = settings, open_store(settings), self.published
        if simulation is not None:
            twin.expose(simulation)
        with twin.worker() as worker:
            twin.wait_until_done(worker.check)
        result = projection(twin.engine)
        twin.engine.dispose()
        return result

    def _environment(self) -> dict[str, str]:
        kafka, stream = self.settings.kafka, self.settings.stream
        sections = {"KAFKA": kafka.model_dump(exclude_none=True), "STREAM": stream.model_dump(exclude_none=True)}
        variables = {
            f"{PREFIX}{section}__{name.upper()}": str(value)
            for section, values in sections.items()
            for name, value in values.items()
        }
        return variables | {
            f"{PREFIX}DATA_DIR": str(self.settings.data_dir),
            f"{PREFIX}DATABASE_URL": self.settings.database_url.get_secret_value(),
            f"{PREFIX}CLOCK": self.settings.clock,
            f"{PREFIX}PORTFOLIO__BIN_RANGES": json.dumps(self.settings.portfolio.bin_ranges),
            f"{PREFIX}CARDS__KEYS": json.dumps({"1": CARD_KEY}),
        }


# What depends on the run and not on the log: generated ids, owners, the wall clock, and how many commits a case saw.
_IDS = {"case_id", "case_event_id", "group_id", "owner", "owner_epoch", "reference_set_id", "version"}
_TIMES = {"recorded_at", "updated_at", "aware_at", "last_at"}
_OF_THE_RUN = frozenset({*_IDS, *_TIMES})


def projection(engine: Engine) -> dict[str, Any]:
    """Everything that the stream has written, without what depends on the run; equal for equal logs."""
    with read(engine) as connection:

        def rows(table: Any, *key: str) -> dict[tuple[Any, ...], dict[str, Any]]:
            found = [dict(row) for row in connection.execute(select(table)).mappings()]
            keyed = {
                tuple(row[name] for name in key): {k: v for k, v in row.items() if k not in _OF_THE_RUN}
                for row in found
            }
            assert len(keyed) == len(found), f"{table.name}: {key} is not unique"
            return keyed

        cards = {row.case_id: row.card_ref for row in connection.execute(select(case.c.case_id, case.c.card_ref))}
        steps: dict[str, list[Any]] = {}
        for step in connection.execute(select(case_event).order_by(case_event.c.case_event_id)):
            steps.setdefault(cards[step.case_id], []).append((step.kind, step.at, step.actor))
        return {
            "positions": rows(position, "topic_id", "partition"),
            "detections": rows(detection, "event_id", "origin"),
            "cases": rows(case, "card_ref"),
            "case_events": steps,
            "matches": rows(exposure_match, "event_id", "compromise_event_id"),
            "dead_letters": rows(dead_letter, "topic_id", "partition", "offset"),
            "security_incidents": rows(security_incident, "field_path"),
        }


def differences(found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Where two projections differ, one line each; none when they are equal."""
    lines = []
    for table, rows in wanted.items():
        for key in sorted(rows.keys() | found[table].keys()):
            before, after = rows.get(key), found[table].get(key)
            if isinstance(before, dict) and isinstance(after, dict):
                names = [name for name in before if before[name] != after[name]]
                lines += [f"{table} {key} {name}: {after[name]!r} is not {before[name]!r}" for name in names]
            elif before != after:
                lines.append(f"{table} {key}: {after!r} is not {before!r}")
    return lines
