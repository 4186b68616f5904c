"""An empty database for each test, on SQLite and on PostgreSQL."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from postgresql_server import PostgresqlServer
from sqlalchemy import Engine, func, select, text

from fraud.store.database import open_engine, read, write
from fraud.store.tables import metadata

sys.path.insert(0, str(Path(__file__).parent))  # the helper modules of this folder


@pytest.fixture(scope="session")
def emptied_postgresql(postgresql: PostgresqlServer) -> Iterator[Callable[[], str]]:
    """One database, emptied each time that it is asked for: ten times quicker than a new one."""
    name = postgresql.create_database()
    engine = open_engine(postgresql.url(name))
    tables = metadata.sorted_tables
    with read(engine) as connection:
        at_first = {table: [dict(row) for row in connection.execute(select(table)).mappings()] for table in tables}

    def empty() -> str:
        with write(engine) as connection:
            connection.execute(
                select(func.pg_terminate_backend(text("pid")))
                .select_from(text("pg_stat_activity"))
                .where(text("datname = current_database() AND pid <> pg_backend_pid()"))
            )
            filled = [table.name for table in tables if connection.execute(select(1).select_from(table).limit(1)).all()]
            if filled:
                connection.execute(text(f"TRUNCATE {', '.join(filled)} RESTART IDENTITY CASCADE"))
            for table, rows in at_first.items():
                if rows:
                    connection.execute(table.insert(), rows)
        return postgresql.url(name)

    yield empty
    engine.dispose()
    postgresql.drop_database(name)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """The URL of a migrated, empty database."""
    if request.param == "sqlite":
        file: str = request.getfixturevalue("sqlite_url")
        return file
    emptied: Callable[[], str] = request.getfixturevalue("emptied_postgresql")
    return emptied()


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """The database, open."""
    opened = open_engine(url)
    yield opened
    opened.dispose()
