"""Pages of long lists. A cursor is the sort key of the last row shown, so rows that come in meanwhile shift nothing."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import Column, ColumnElement, Connection, Select, false, literal, or_

from fraud.errors import InvalidInputError

ItemT = TypeVar("ItemT")
Key = tuple[int | str, ...]

MAX_LIMIT = 200
_MAX_INTEGER = 2**63
_CHECK_BYTES = 6  # finds cursors that were cut or mistyped; it is no secret and guards nothing


@dataclass(frozen=True, slots=True)
class Page(Generic[ItemT]):
    """Part of a list. `next_cursor` leads to the next page; `total` is None where it is not counted."""

    items: list[ItemT]
    next_cursor: str | None
    total: int | None = None


def encode_cursor(order: str, key: Key) -> str:
    """A cursor, URL-safe, for going on after `key` in the list order named `order`."""
    data = json.dumps([order, *key], separators=(",", ":")).encode()
    check = hashlib.blake2b(data, digest_size=_CHECK_BYTES).digest()
    return base64.urlsafe_b64encode(check + data).rstrip(b"=").decode()


def decode_cursor(cursor: str, order: str, types: Sequence[type]) -> Key:
    """The key in a cursor; `InvalidInputError` on `cursor` unless it is one that `encode_cursor` made for `order`."""
    try:
        data = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        found = json.loads(data[_CHECK_BYTES:])
        key = tuple(found[1:])
        valid = (
            found[0] == order
            and [type(part) for part in key] == list(types)
            and all(map(_storable, key))
            and encode_cursor(order, key) == cursor
        )
    except (binascii.Error, ValueError, TypeError, LookupError, RecursionError):
        valid = False
    if not valid:
        message = "the cursor is not one that this list gave out, in this order"
        raise InvalidInputError(message, field="cursor")
    return key


def _storable(part: int | str) -> bool:
    return part.isprintable() if isinstance(part, str) else -_MAX_INTEGER <= part < _MAX_INTEGER


def fetch_page(
    connection: Connection,
    statement: Select[Any],
    columns: Sequence[Column[Any]],
    make: Callable[[Any], ItemT],
    *,
    order: str,
    descending: bool,
    after: str | None,
    limit: int,
    total: int | None = None,
) -> Page[ItemT]:
    """One page of `statement`, ordered by `columns`, which together name a row and are all in the result.

    `InvalidInputError` on `cursor` or `limit` (1 to 200).
    """
    if not 1 <= limit <= MAX_LIMIT:
        message = f"limit must be 1 to {MAX_LIMIT}"
        raise InvalidInputError(message, field="limit")
    if after is not None:
        key = decode_cursor(after, order, [column.type.python_type for column in columns])
        statement = statement.where(_beyond(columns, key, descending))
    ordered = statement.order_by(*(column.desc() if descending else column for column in columns))
    rows = connection.execute(ordered.limit(limit + 1)).mappings().all()
    shown = rows[:limit]
    more = len(rows) > limit
    cursor = encode_cursor(order, tuple(shown[-1][column] for column in columns)) if more else None
    return Page([make(row) for row in shown], cursor, total)


def _beyond(columns: Sequence[Column[Any]], key: Key, descending: bool) -> ColumnElement[bool]:
    """True for rows that come after `key`: the first column in which they differ decides."""
    condition: ColumnElement[bool] = false()
    for column, value in reversed(list(zip(columns, key, strict=True))):
        bound = literal(value, column.type)
        further = column < bound if descending else column > bound
        condition = or_(further, (column == bound) & condition)
    return condition
