"""Real services for the tests: Apache Kafka, PostgreSQL, an S3 store, and the embedded pair of Tansu and SQLite.

Each starts once for a test session, on the loopback interface, and ends with it. Where one is not to be had its tests
are skipped and say what to install; with REQUIRE_SERVICES=1 they fail.
"""

from __future__ import annotations

import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

sys.path.insert(0, str(Path(__file__).parent / "services"))

from kafka_server import KafkaServer
from postgresql_server import PostgresqlServer
from s3_server import S3Server
from service_process import ServiceError

from fraud.errors import ConfigurationError, UnavailableError
from fraud.settings import KafkaSettings
from fraud.store.database import open_engine, upgrade
from streams.embedded import embedded_broker

PARTITIONS = 3


def missing(reason: str) -> NoReturn:
    """A service is not to be had: skip, or fail where services are required."""
    if os.environ.get("REQUIRE_SERVICES") == "1":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaServer]:
    """Apache Kafka. A test that kills it starts it again."""
    try:
        server = KafkaServer(tmp_path_factory.mktemp("kafka"))
        server.start()
    except ServiceError as error:
        missing(str(error))
    yield server
    server.kill()  # nobody needs its log any more


@pytest.fixture(scope="session")
def tansu(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The bootstrap address of the embedded broker."""
    broker = embedded_broker(tmp_path_factory.mktemp("tansu") / "broker.log")
    try:
        address = broker.__enter__()
    except (ConfigurationError, UnavailableError) as error:
        missing(str(error))
    yield address
    broker.__exit__(None, None, None)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """PostgreSQL, with a migrated database as the template of all others. A test that kills it starts it again."""
    try:
        server = PostgresqlServer()
        server.start()
    except ServiceError as error:
        missing(str(error))
    try:
        template = open_engine(server.make_template())
        upgrade(template)
        template.dispose()
        yield server
    finally:
        server.remove()


@pytest.fixture
def postgresql_url(postgresql: PostgresqlServer) -> Iterator[str]:
    """The URL of a migrated, empty database on PostgreSQL, for this test alone."""
    name = postgresql.create_database()
    yield postgresql.url(name)
    postgresql.drop_database(name)


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """An S3-compatible object store. A test that kills it starts it again."""
    try:
        server = S3Server()
    except ServiceError as error:
        missing(str(error))
    try:
        server.start()
        yield server
    except ServiceError as error:
        missing(str(error))
    finally:
        server.remove()


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database to copy: quicker than migrating for each test."""
    path = tmp_path_factory.mktemp("store") / "migrated.db"
    engine = open_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture
def sqlite_url(tmp_path: Path, migrated_file: Path) -> str:
    """The URL of a migrated, empty database in a file, for this test alone."""
    path = tmp_path / "store.db"
    shutil.copy(migrated_file, path)
    return f"sqlite:///{path}"


@dataclass(frozen=True, slots=True)
class Stack:
    """A broker and a database: topic and group of this test alone (the topic is not made yet), and a fresh database."""

    name: str
    kafka: KafkaSettings
    database_url: str


@pytest.fixture(params=["tansu-sqlite", "kafka-postgresql"])
def stack(request: pytest.FixtureRequest) -> Stack:
    """The embedded pair, and the pair of production."""
    return make_stack(request, request.param)


def make_stack(request: pytest.FixtureRequest, name: str) -> Stack:
    """The stack of that name."""
    if name == "tansu-sqlite":
        bootstrap, url = request.getfixturevalue("tansu"), request.getfixturevalue("sqlite_url")
    else:
        bootstrap, url = request.getfixturevalue("kafka").bootstrap, request.getfixturevalue("postgresql_url")
    own = uuid.uuid4().hex[:12]
    settings = KafkaSettings(
        bootstrap_servers=bootstrap,
        group_id=f"group-{own}",
        transactions_topic=f"card.transactions.{own}",
        detections_topic=f"card.detections.{own}",
        partitions=PARTITIONS,
        session_timeout_ms=6_000,  # the shortest that brokers take
    )
    return Stack(name, settings, url)
