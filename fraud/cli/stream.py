"""`mimamori topics` and `mimamori worker`: the stream."""

from __future__ import annotations

import contextlib
import fcntl
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from sqlalchemy import make_url

from fraud.cli.wiring import make_worker, open_store
from fraud.errors import ConfigurationError
from fraud.logs import configure_logging
from fraud.settings import Settings, load_settings
from streams.embedded import embedded_broker
from streams.health import Health, monitoring_server
from streams.kafka import create_topics
from streams.metrics import Metrics
from streams.observer import MetricsObserver

# Longer than a worker ever does nothing within a transaction, shorter than anybody wants to wait for a frozen one.
_IDLE_SECONDS = 10

topics_app = typer.Typer(help="Topics.", no_args_is_help=True)


@topics_app.command("create", epilog="Example: MIMAMORI_KAFKA__PARTITIONS=12 mimamori topics create")
def create() -> None:
    """Create the topics that Mimamori uses. Existing ones are left as they are."""
    for topic, created in create_topics(load_settings().kafka).items():
        typer.echo(f"{topic}: {'created' if created else 'exists already'}")


def worker(
    json_logs: Annotated[bool | None, typer.Option(help="JSON lines; by default when not on a terminal.")] = None,
) -> None:
    """Consume card transactions: match, score, decide, and record cases. Ends cleanly on SIGTERM and Ctrl-C.

    A restart continues at the stored position. On PostgreSQL run up to one a partition; on SQLite exactly one.
    """
    configure_logging(json_lines=json_logs)
    settings = load_settings()
    engine = open_store(settings, migrate=True, idle_seconds=_IDLE_SECONDS)
    observer = MetricsObserver(Metrics())
    with only_worker(settings), monitoring_server(settings.monitoring, Health(observer, engine)):
        running = make_worker(settings, engine, observer)

        def stop(_signal: int, _frame: FrameType | None) -> None:
            running.stop()

        signal.signal(signal.SIGTERM, stop)
        signal.signal(signal.SIGINT, stop)
        running.run()


def broker(
    port: Annotated[int, typer.Option(help="Port on this machine.", min=1, max=65_535)] = 9092,
) -> None:
    """Run the embedded Kafka-protocol broker, for trying things out. What it holds is gone when it ends (Ctrl-C)."""
    log_file = load_settings().data_dir / "broker.log"
    with contextlib.suppress(KeyboardInterrupt), embedded_broker(log_file, port) as address:
        typer.echo(f"broker at {address}; memory only, ends with Ctrl-C")
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        signal.pause()


@contextmanager
def only_worker(settings: Settings) -> Iterator[None]:
    """On SQLite, hold the lock that lets exactly one worker process run; on PostgreSQL, nothing."""
    url = make_url(settings.database_url.get_secret_value())
    if url.get_backend_name() != "sqlite" or not url.database:
        yield
        return
    lock_file = Path(f"{url.database}.worker-lock")
    with lock_file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = (
                "another worker already runs on this SQLite file, and SQLite takes exactly one. "
                "Stop it first, or set MIMAMORI_DATABASE_URL to a PostgreSQL database to run several"
            )
            raise ConfigurationError(message) from error
        yield
