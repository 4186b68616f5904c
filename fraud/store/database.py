"""The database: opening it, reading and writing in transactions, and bringing its schema to a revision."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import URL, Connection, Engine, create_engine, event, func, inspect, make_url, select, text
from sqlalchemy.exc import ArgumentError

from fraud.errors import ConfigurationError

if TYPE_CHECKING:
    from alembic.config import Config

_MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATION_LOCK = 0x6D696D61  # any number that is ours: PostgreSQL's advisory lock of an upgrade
_BUSY_SECONDS = 30  # how long a writer of SQLite queues
_READ_ONLY = "mimamori_read_only"
_READ_OPTIONS: Final[Mapping[str, Mapping[str, Any]]] = {
    "sqlite": {_READ_ONLY: True},
    # One snapshot for all statements of a transaction, as SQLite gives it anyway.
    "postgresql": {"postgresql_readonly": True, "isolation_level": "REPEATABLE READ"},
}
# Hostile text stays harmless as escapes; NaN is refused here because PostgreSQL would refuse it.
_TO_JSON = partial(json.dumps, allow_nan=False, separators=(",", ":"))


# A connection that has become one-sided is noticed within half a minute, and not after the system's two hours.
_POSTGRESQL: dict[str, Any] = {
    "connect_timeout": 10,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
_IDLE = "-c idle_in_transaction_session_timeout={}s"


def open_engine(url: str, idle_seconds: int | None = None) -> Engine:
    """Open the database at `url`: `sqlite:///path/to/file.db` (its folder is made) or `postgresql://...`.

    With `idle_seconds` PostgreSQL ends a transaction that does nothing for so long: a process that is frozen in the
    middle of one must not keep its rows locked for ever.

    `ConfigurationError` when the URL names neither. Statements are never logged or shown with their values.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        message = "database_url cannot be read; for example sqlite:///folder/mimamori.db"
        raise ConfigurationError(message) from None
    # As many connections as FastAPI has threads.
    common: dict[str, Any] = {"hide_parameters": True, "json_serializer": _TO_JSON, "pool_size": 8, "max_overflow": 32}
    if parsed.get_backend_name() == "sqlite":
        return _open_sqlite(parsed, common)
    if parsed.get_backend_name() == "postgresql":
        return create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            connect_args=_POSTGRESQL | ({} if idle_seconds is None else {"options": _IDLE.format(idle_seconds)}),
            **common,
        )
    message = "database_url must begin with sqlite:/// or postgresql://"
    raise ConfigurationError(message)


def _open_sqlite(url: URL, common: Mapping[str, Any]) -> Engine:
    if not url.database or url.database == ":memory:":
        message = "database_url must name a file: several processes share the database"
        raise ConfigurationError(message)
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS}, **common)

    @event.listens_for(engine, "connect")
    def connected(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # sqlite3 begins no transaction of its own accord; `begun` does
        cursor = connection.cursor()
        for setting in ("journal_mode = WAL", "synchronous = NORMAL", "foreign_keys = ON"):
            cursor.execute(f"PRAGMA {setting}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begun(connection: Connection) -> None:
        read_only = bool(connection.get_execution_options().get(_READ_ONLY))
        connection.exec_driver_sql(f"PRAGMA query_only = {read_only:d}")
        # Who means to write takes its place in the queue at once: a reader that turns writer late cannot wait.
        connection.exec_driver_sql("BEGIN" if read_only else "BEGIN IMMEDIATE")

    return engine


@contextmanager
def read(engine: Engine) -> Iterator[Connection]:
    """Read in a transaction with one view of the data. Writing in it is an error; it holds up no writer."""
    options = _READ_OPTIONS[engine.dialect.name]
    with engine.connect().execution_options(**options) as connection, connection.begin():
        yield connection


@contextmanager
def write(engine: Engine) -> Iterator[Connection]:
    """Write in a transaction: committed at the end, rolled back by an exception. Trying again is the caller's part."""
    with engine.begin() as connection:
        yield connection


def upgrade(engine: Engine) -> None:
    """Bring the schema to the newest revision. Of several processes that try at once, one does it."""
    from alembic import command

    if current_revision(engine) == head_revision():
        return
    with _migrating(engine) as config:
        command.upgrade(config, "head")


def downgrade(engine: Engine, revision: str) -> None:
    """Take the schema back to `revision`; `base` leaves nothing."""
    from alembic import command

    with _migrating(engine) as config:
        command.downgrade(config, revision)


def current_revision(engine: Engine) -> str | None:
    """The revision of the schema; None for a database that has none."""
    with read(engine) as connection:
        if not inspect(connection).has_table("alembic_version"):
            return None
        found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return found


def head_revision() -> str:
    """The revision that this version of the product works with."""
    from alembic.script import ScriptDirectory

    head = ScriptDirectory.from_config(_config()).get_current_head()
    if head is None:
        message = f"no migrations in {_MIGRATIONS}"
        raise ConfigurationError(message)
    return head


@contextmanager
def _migrating(engine: Engine) -> Iterator[Config]:
    with write(engine) as connection:
        if connection.dialect.name == "postgresql":  # SQLite has one writer as it is
            connection.execute(select(func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
        config = _config()
        config.attributes["connection"] = connection
        yield config


def _config() -> Config:
    # Alembic is slow to import, and most commands never migrate.
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    return config
