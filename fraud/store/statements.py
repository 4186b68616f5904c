"""Statements that SQLite and PostgreSQL both have and that SQLAlchemy spells by dialect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, Connection, Table, TextClause
from sqlalchemy.dialects import postgresql, sqlite

ItemT = TypeVar("ItemT")
Rows = Sequence[Mapping[str, Any]]

IN_CHUNK = 500  # values in one IN list


def chunks(items: Iterable[ItemT], size: int = IN_CHUNK) -> Iterator[list[ItemT]]:
    """The items in lists of at most `size`."""
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def storable_text(text: str, length: int | None) -> str:
    """Text that every database takes, cut to `length`: without NUL and lone surrogates."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()[:length]


def insert_ignore(
    connection: Connection,
    table: Table,
    rows: Rows,
    index_elements: Sequence[str],
    index_where: TextClause | None = None,
) -> None:
    """Insert the rows that are not there yet, by the unique columns `index_elements` (of a partial index)."""
    if rows:
        statement = _insert(connection, table).on_conflict_do_nothing(
            index_elements=index_elements, index_where=index_where
        )
        connection.execute(statement, list(rows))


def insert_or_update(
    connection: Connection,
    table: Table,
    rows: Rows,
    index_elements: Sequence[str],
    update: Sequence[str],
    add: Sequence[str] = (),
) -> None:
    """Insert rows; where one is there, replace its columns `update` and add to its columns `add`."""
    if not rows:
        return
    statement = _insert(connection, table)
    changes: dict[str, ColumnElement[Any]] = {name: statement.excluded[name] for name in update}
    changes |= {name: table.c[name] + statement.excluded[name] for name in add}
    connection.execute(statement.on_conflict_do_update(index_elements=index_elements, set_=changes), list(rows))


def _insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
