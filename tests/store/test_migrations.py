"""Migrations give exactly the tables that the code works with, and can be taken back."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, inspect

from fraud.store.database import current_revision, downgrade, head_revision, open_engine, read, upgrade, write
from fraud.store.tables import metadata


@pytest.fixture(params=["sqlite_url", "postgresql_url"])
def url(request: pytest.FixtureRequest) -> str:
    """A new database: these tests change its schema."""
    new: str = request.getfixturevalue(request.param)
    return new


def schema(path: Path) -> set[tuple[str, str]]:
    """Every table and index with its definition; line breaks, quotes and Alembic's own table aside."""
    connection = sqlite3.connect(path)
    found = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    connection.close()
    return {(name, " ".join(sql.replace(chr(34), "").split())) for name, sql in found if name != "alembic_version"}


def differences(engine: Engine) -> list[object]:
    with write(engine) as connection:  # Alembic tries things out
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True, "target_metadata": metadata}
        )
        found: list[object] = compare_metadata(context, metadata)
        return found


def tables(engine: Engine) -> set[str]:
    with read(engine) as connection:
        return set(inspect(connection).get_table_names())


def test_upgrade_gives_the_tables_of_the_code(engine: Engine) -> None:
    assert differences(engine) == []
    assert tables(engine) == {*metadata.tables, "alembic_version"}
    assert current_revision(engine) == head_revision()


def test_upgrade_gives_the_very_definitions_of_the_code(tmp_path: Path, migrated_file: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/made.db")
    with write(engine) as connection:
        metadata.create_all(connection)
    engine.dispose()
    made = schema(tmp_path / "made.db")
    assert len(made) > len(metadata.tables)
    assert schema(migrated_file) == made


def test_a_missing_index_would_be_noticed(engine: Engine) -> None:
    with write(engine) as connection:
        connection.exec_driver_sql("DROP INDEX ix_review_case_queue")
    assert differences(engine) != []


def test_downgrade_leaves_nothing_and_upgrade_works_again(engine: Engine) -> None:
    downgrade(engine, "base")
    assert tables(engine) == {"alembic_version"}
    assert current_revision(engine) is None
    upgrade(engine)
    upgrade(engine)
    assert differences(engine) == []


def test_a_new_database_has_no_revision(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path}/new.db")
    assert current_revision(engine) is None
    engine.dispose()
