"""Transactions: who waits for whom, and what a reader may do."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError, IntegrityError, StatementError
from store_samples import NOW, rows

from fraud.errors import ConfigurationError
from fraud.store.database import open_engine, read, upgrade, write
from fraud.store.operations import set_story, story
from fraud.store.tables import api_token, demo_story


def add_one(engine: Engine) -> None:
    """Read a number and write it back increased by one: lost updates show."""
    with write(engine) as connection:
        count = story(connection).get("count", 0)
        set_story(connection, "count", count + 1)


def test_concurrent_writers_queue_and_lose_nothing(tmp_path: Path, migrated_file: Path) -> None:
    path = tmp_path / "store.db"
    path.write_bytes(migrated_file.read_bytes())
    engines = [open_engine(f"sqlite:///{path}") for _ in range(2)]  # as two processes would
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(add_one, engines[number % 2]) for number in range(200)]:
            done.result()
    assert rows(engines[0], demo_story) == [{"key": "count", "value": 200}]
    for engine in engines:
        engine.dispose()


def test_reader_keeps_its_view_and_holds_up_no_writer(engine: Engine) -> None:
    add_one(engine)
    with read(engine) as reader:
        assert story(reader) == {"count": 1}
        add_one(engine)
        assert story(reader) == {"count": 1}
    with read(engine) as reader:
        assert story(reader) == {"count": 2}


def test_readers_read_while_a_writer_writes(engine: Engine) -> None:
    with write(engine) as writer:
        set_story(writer, "count", 1)
        with read(engine) as reader:
            assert story(reader) == {}


def test_reading_refuses_to_write_and_the_connection_writes_again_afterwards(engine: Engine) -> None:
    with pytest.raises(DBAPIError), read(engine) as connection:
        set_story(connection, "count", 1)
    add_one(engine)
    with read(engine) as connection:
        assert story(connection) == {"count": 1}


def test_an_exception_takes_everything_back(engine: Engine) -> None:
    def write_and_fail() -> None:
        with write(engine) as connection:
            set_story(connection, "count", 1)
            raise LookupError

    with pytest.raises(LookupError):
        write_and_fail()
    assert rows(engine, demo_story) == []


def test_foreign_keys_hold(engine: Engine) -> None:
    row = {"token_digest": "d", "name": "n", "username": "nobody", "created_at": NOW}
    with pytest.raises(IntegrityError), write(engine) as connection:
        connection.execute(api_token.insert(), row)


def test_errors_show_no_values(engine: Engine) -> None:
    row = {"token_digest": "canary-4b1f", "name": "n", "username": "nobody", "created_at": NOW}
    with pytest.raises(IntegrityError) as caught, write(engine) as connection:
        connection.execute(api_token.insert(), row)
    assert "canary-4b1f" not in str(caught.value)


def test_numbers_that_json_does_not_have_are_refused_on_every_database(engine: Engine) -> None:
    with pytest.raises((StatementError, ValueError)), write(engine) as connection:
        set_story(connection, "count", float("nan"))


def test_hostile_text_survives_a_round_trip(engine: Engine) -> None:
    value = {"name": "a\x00b\ud800c\u202e<script>", "店": "名"}
    with write(engine) as connection:
        set_story(connection, "text", value)
    with read(engine) as connection:
        assert story(connection) == {"text": value}


def test_folder_is_made_and_the_file_is_in_write_ahead_mode(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "store.db"
    engine = open_engine(f"sqlite:///{path}")
    with read(engine) as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 1
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
    engine.dispose()
    assert path.is_file()


def test_processes_that_start_at_once_make_one_database(tmp_path: Path) -> None:
    start = threading.Barrier(6)

    def open_and_upgrade() -> None:
        engine = open_engine(f"sqlite:///{tmp_path}/fresh.db")
        start.wait()
        upgrade(engine)
        add_one(engine)
        engine.dispose()

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(open_and_upgrade) for _ in range(6)]:
            done.result()
    engine = open_engine(f"sqlite:///{tmp_path}/fresh.db")
    assert rows(engine, demo_story) == [{"key": "count", "value": 6}]
    engine.dispose()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://root:hunter2@host/x", "no url", ""])
def test_unusable_urls_are_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        open_engine(url)
    assert "hunter2" not in str(caught.value)


def test_the_password_of_a_server_is_never_shown() -> None:
    engine = open_engine("postgresql://mimamori:hunter2@127.0.0.1:1/none")
    assert engine.dialect.driver == "psycopg"
    assert "hunter2" not in repr(engine)
    with pytest.raises(DBAPIError) as caught, read(engine):
        pass
    assert "hunter2" not in str(caught.value)
