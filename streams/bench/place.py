"""Where a bench works: a topic, a group, a folder and a database of its own, all gone afterwards."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import structlog
from kafka.admin import NewTopic
from kafka.errors import KafkaError
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from fraud.clock import now_ms
from fraud.compromise import DataElements, ExposureWindow
from fraud.errors import ConfigurationError
from fraud.settings import Settings, load_settings
from fraud.store.compromise_events import NewCompromiseEvent, create_compromise_event, list_compromise_events
from fraud.store.database import current_revision, downgrade, open_engine, read, upgrade, write
from fraud.store.effects import list_positions
from fraud.store.records import PartitionKey
from streams.bench.machine import cpu_seconds, server_process
from streams.bench.sizes import Broker, Database
from streams.embedded import embedded_broker
from streams.kafka import make_admin, topic_id

log = structlog.get_logger(__name__)

NAME: Final = "mimamori-bench"  # of the compromise event that marks a database as a bench's, and of all groups
WINDOW: Final = (date(2022, 7, 19), date(2022, 7, 26))  # the simulator's own


@dataclass(frozen=True, slots=True)
class Place:
    """Everything that a bench's processes share. `overrides` make the same settings in another process."""

    settings: Settings
    overrides: Mapping[str, Any]
    engine: Engine
    folder: Path
    servers: Mapping[str, int]  # "broker" and "database" to the process on this machine; what is elsewhere is missing

    def partition_keys(self) -> list[PartitionKey]:
        """The partitions of the transactions topic."""
        kafka = self.settings.kafka
        identity = topic_id(kafka, kafka.transactions_topic)
        topic = kafka.transactions_topic
        return [PartitionKey(kafka.group_id, identity, topic, number) for number in range(kafka.partitions)]

    def server_seconds(self) -> dict[str, float]:
        """Processor seconds of each server so far."""
        return {name: cpu_seconds(pid) for name, pid in self.servers.items()}


@contextmanager
def bench_place(
    folder: Path, broker: Broker, database: Database, *, partitions: int = 4, stream: Mapping[str, Any] | None = None
) -> Iterator[Place]:
    """Make a place under `folder`, and remove what was in it at the end.

    Args:
        folder: a folder of this run's own is made in it.
        broker: `tansu` is started here; `kafka` is the one at `kafka.bootstrap_servers`.
        database: `sqlite` is a file in the folder; `postgresql` is the one at `database_url`, which must be empty.
        partitions: of the topic.
        stream: settings of the worker that differ from their defaults.

    Raises:
        ConfigurationError: the database holds anything that is not a bench's.

    """
    run = secrets.token_hex(4)
    own = folder.resolve() / f"run-{run}"
    own.mkdir(parents=True)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, own, ignore_errors=True)
        bootstrap = stack.enter_context(embedded_broker(own / "broker.log")) if broker == "tansu" else None
        overrides = _overrides(own, run, bootstrap, database, partitions, stream or {})
        settings = load_settings(**overrides)
        engine = open_engine(settings.database_url.get_secret_value())
        stack.callback(engine.dispose)
        if database == "postgresql":
            _refuse_a_used_database(engine)
            stack.callback(_empty, engine)
        upgrade(engine)
        _mark(engine, settings)
        _make_topic(settings)
        stack.callback(_remove_topic, settings)
        yield Place(settings, overrides, engine, own, _servers(settings, database))


def _overrides(
    folder: Path, run: str, bootstrap: str | None, database: Database, partitions: int, stream: Mapping[str, Any]
) -> dict[str, Any]:
    given = load_settings()
    url = f"sqlite:///{folder / 'bench.db'}"
    if database == "postgresql":
        url = given.database_url.get_secret_value()
        if not url.startswith("postgresql:"):
            message = "--database postgresql needs database_url (MIMAMORI_DATABASE_URL) to be one of PostgreSQL"
            raise ConfigurationError(message)
    return {
        "data_dir": str(folder),
        "database_url": url,
        "clock": "system",
        "portfolio": {"bin_ranges": ["453201"], "currency": "JPY", "home_country": "JP", "timezone": "Asia/Tokyo"},
        "cards": {"keys": {"1": secrets.token_hex(32)}, "active_key": 1},
        "kafka": {
            "bootstrap_servers": bootstrap or given.kafka.bootstrap_servers,
            "group_id": f"{NAME}-{run}",
            "transactions_topic": f"{NAME}-{run}.transactions",
            "detections_topic": f"{NAME}-{run}.detections",
            "partitions": partitions,
            "session_timeout_ms": 6_000,
        },
        "stream": dict(stream),
        "archive": {"root": str(folder / "archive")},
        "webhooks": {"endpoints": [], "allowed_hosts": []},
        "monitoring": {"port": None},
    }


def _refuse_a_used_database(engine: Engine) -> None:
    """A bench empties its database at the end, so it takes only an empty one, or what a bench left behind."""
    if current_revision(engine) is None:
        return
    with read(engine) as connection:
        events = [event.compromise_event_id for event in list_compromise_events(connection)]
        groups = {position.key.group_id for position in list_positions(connection)}
    if events != [NAME] or any(not group.startswith(NAME) for group in groups):
        message = (
            "the database at database_url is in use: it holds tables that no bench made, and a bench removes "
            "everything at its end. Make an empty database for it (createdb mimamori_bench) and name that one in "
            "MIMAMORI_DATABASE_URL"
        )
        raise ConfigurationError(message)
    downgrade(engine, "base")


def _empty(engine: Engine) -> None:
    """At the end; what went wrong before must not be hidden by what goes wrong here."""
    try:
        downgrade(engine, "base")
    except SQLAlchemyError as error:
        log.warning("the bench's database could not be emptied; drop it", error=type(error).__name__)


def _mark(engine: Engine, settings: Settings) -> None:
    """The one compromise event; that it is there alone marks the database as a bench's."""
    event = NewCompromiseEvent(
        compromise_event_id=NAME,
        name="Bench",
        source="MERCHANT_NOTICE",
        window=ExposureWindow(*WINDOW, settings.portfolio.timezone),
        data_elements=DataElements(pan=True, expiry=True, cvv2=True),
        vector=None,
    )
    with write(engine) as connection:
        create_compromise_event(connection, event, now_ms())


def _make_topic(settings: Settings) -> None:
    kafka = settings.kafka
    # Records carry the time at which the broker appended them, which is what latency is measured from.
    configuration = {"message.timestamp.type": "LogAppendTime"}
    admin = make_admin(kafka)
    try:
        admin.create_topics(
            [
                NewTopic(
                    kafka.transactions_topic, kafka.partitions, kafka.replication_factor, topic_configs=configuration
                )
            ]
        )
    finally:
        admin.close()


def _remove_topic(settings: Settings) -> None:
    """Where it cannot be removed its name says what it was for."""
    with contextlib.suppress(KafkaError):
        admin = make_admin(settings.kafka)
        try:
            admin.delete_topics([settings.kafka.transactions_topic])
        finally:
            admin.close()


def _servers(settings: Settings, database: Database) -> dict[str, int]:
    found = {"broker": server_process(_port(settings.kafka.bootstrap_servers.split(",")[0], 9092))}
    if database == "postgresql":
        found["database"] = server_process(_port(settings.database_url.get_secret_value(), 5432))
    return {name: pid for name, pid in found.items() if pid is not None}


def _port(address: str, default: int) -> int:
    return urlsplit(address if "://" in address else f"//{address}").port or default
