"""The services that schedules run on: Apache Kafka with a second listener behind a proxy, PostgreSQL, Tansu, SQLite."""

from __future__ import annotations

import contextlib
import shutil
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from fault_launcher import Launcher
from fault_proxy import Proxy
from kafka_server import KafkaServer
from postgresql_server import PostgresqlServer
from sqlalchemy import make_url
from worker_support import CARD_KEY

from fraud.cards import CardTokenizer
from fraud.cli.training import publish_model
from fraud.codes import country_numbers
from fraud.settings import CardSettings, KafkaSettings, PortfolioSettings, Settings
from fraud.store.database import open_engine, upgrade
from models.training import TrainingSettings, train
from streams.embedded import embedded_broker, free_port
from streams.simulator import Simulation, SimulationParameters, simulate

KAFKA, TANSU = "kafka-postgresql", "tansu-sqlite"
SESSION_TIMEOUT_MS = 6_000  # the shortest that brokers take


class ProxiedKafka(KafkaServer):
    """Apache Kafka with one more listener, which tells its clients the address of a proxy in front of it."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._inner_port, self.proxy_port = free_port(), free_port()
        text = self._properties.read_text(encoding="utf-8")
        for line, more in (
            ("listeners=", f",PROXIED://127.0.0.1:{self._inner_port}"),
            ("advertised.listeners=", f",PROXIED://127.0.0.1:{self.proxy_port}"),
            ("listener.security.protocol.map=", ",PROXIED:PLAINTEXT"),
        ):
            old = next(found for found in text.splitlines() if found.startswith(line))
            text = text.replace(f"\n{old}\n", f"\n{old}{more}\n")
        self._properties.write_text(f"{text}inter.broker.listener.name=PLAINTEXT\n", encoding="utf-8")

    def make_proxy(self) -> Proxy:
        """The proxy that the second listener tells of."""
        return Proxy(self._inner_port, self.proxy_port)


@dataclass
class Services:
    """What a run of schedules shares. Broker and database are started at first use."""

    folder: Path
    seed: int
    _stack: contextlib.ExitStack

    @cached_property
    def launcher(self) -> Launcher:
        """Starts the workers."""
        return self._stack.enter_context(Launcher())

    @cached_property
    def kafka(self) -> ProxiedKafka:
        """The broker. Who kills it starts it again."""
        folder = self.folder / "kafka"
        folder.mkdir()
        server = ProxiedKafka(folder)
        server.start()
        self._stack.callback(server.kill)
        return server

    @cached_property
    def kafka_proxy(self) -> Proxy:
        """The proxy before the broker."""
        return self._stack.enter_context(self.kafka.make_proxy())

    @cached_property
    def postgresql(self) -> PostgresqlServer:
        """The database server. Who kills it starts it again."""
        server = PostgresqlServer()
        server.start()
        self._stack.callback(server.remove)
        template = open_engine(server.make_template())
        upgrade(template)
        template.dispose()
        return server

    @cached_property
    def tansu(self) -> str:
        """The embedded broker's address."""
        return self._stack.enter_context(embedded_broker(self.folder / "tansu.log"))

    @cached_property
    def migrated_file(self) -> Path:
        """A migrated SQLite database to copy."""
        path = self.folder / "migrated.db"
        engine = open_engine(f"sqlite:///{path}")
        upgrade(engine)
        engine.dispose()
        return path

    @cached_property
    def simulation(self) -> Simulation:
        """A small portfolio of which a third is exposed, and abused often enough for detections within days."""
        parameters = SimulationParameters(
            seed=self.seed,
            cards=1_200,
            history_days=10,
            story_days=20,
            exposed_records=400,
            abuse_share=0.5,
            testing_share=1.0,
        )
        return simulate(parameters, CardTokenizer.from_settings(CardSettings(keys={1: CARD_KEY})))  # type: ignore[dict-item]

    @cached_property
    def models_dir(self) -> Path:
        """A registry with one champion, trained on the simulation's history."""
        history, portfolio = self.simulation.history, PortfolioSettings()
        trained = train(
            history,
            home_country=country_numbers()[portfolio.home_country],
            timezone=portfolio.timezone,
            settings=TrainingSettings(seed=self.seed),
        )
        settings = Settings(data_dir=self.folder / "models-of-the-run")
        publish_model(settings, trained, "faults")
        return settings.models_dir

    def alert_file(self) -> Path:
        """The simulation's list of exposed cards, with their numbers, outside every schedule's own folder."""
        path = self.folder / "alert.csv"
        path.write_bytes(self.simulation.alert_file_csv())
        return path

    def new_database(self, stack: str, folder: Path) -> str:
        """The URL of a migrated, empty database."""
        if stack == KAFKA:
            return self.postgresql.url(self.postgresql.create_database())
        path = folder / "store.db"
        shutil.copy(self.migrated_file, path)
        return f"sqlite:///{path}"

    def drop_database(self, url: str) -> None:
        """Remove a database again, and whoever is still connected to it."""
        name = make_url(url).database
        if name is not None and not url.startswith("sqlite"):
            self.postgresql.drop_database(name)

    def kafka_settings(self, stack: str, partitions: int) -> KafkaSettings:
        """Topic and group of one schedule alone; the topic is not made yet."""
        own = uuid.uuid4().hex[:12]
        return KafkaSettings(
            bootstrap_servers=self.kafka.bootstrap if stack == KAFKA else self.tansu,
            group_id=f"group-{own}",
            transactions_topic=f"card.transactions.{own}",
            detections_topic=f"card.detections.{own}",
            partitions=partitions,
            session_timeout_ms=SESSION_TIMEOUT_MS,
        )

    def heal(self) -> None:
        """Fine weather, and every server up."""
        if "kafka_proxy" in self.__dict__:
            self.kafka_proxy.set()
        for name in ("kafka", "postgresql"):
            if name in self.__dict__ and not getattr(self, name).is_running:
                getattr(self, name).start()


@contextlib.contextmanager
def services(folder: Path, seed: int) -> Iterator[Services]:
    """The services of one run, ended with it."""
    with contextlib.ExitStack() as stack:
        yield Services(folder, seed, stack)
