"""A fresh database for each test: SQLite in a file, and PostgreSQL where a server is named.

`TEST_POSTGRESQL_URL` is the URL of an empty database that the tests may fill and empty as they like.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from fraud.store.database import downgrade, open_engine, upgrade

sys.path.insert(0, str(Path(__file__).parent))  # the helper modules of this folder

POSTGRESQL = os.environ.get("TEST_POSTGRESQL_URL")


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite database to copy: quicker than migrating for each test."""
    path = tmp_path_factory.mktemp("store") / "migrated.db"
    engine = open_engine(f"sqlite:///{path}")
    upgrade(engine)
    engine.dispose()
    return path


@pytest.fixture(params=["sqlite", *(["postgresql"] if POSTGRESQL else [])])
def url(request: pytest.FixtureRequest, tmp_path: Path, migrated_file: Path) -> str:
    """The URL of a migrated, empty database."""
    if request.param == "sqlite":
        path = tmp_path / "store.db"
        shutil.copy(migrated_file, path)
        return f"sqlite:///{path}"
    assert POSTGRESQL is not None
    engine = open_engine(POSTGRESQL)
    downgrade(engine, "base")
    upgrade(engine)
    engine.dispose()
    return POSTGRESQL


@pytest.fixture
def engine(url: str) -> Iterator[Engine]:
    """The database, open."""
    opened = open_engine(url)
    yield opened
    opened.dispose()
