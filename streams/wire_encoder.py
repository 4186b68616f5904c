"""The contract's JSON, written: for the simulator, for tests, and wherever known transactions go back on the log."""

from __future__ import annotations

import msgspec

from fraud.codes import MISSING
from fraud.transactions import FIELDS, Columns
from streams.wire_fields import spelled_column


def encode(columns: Columns) -> list[bytes]:
    """One compact JSON object for each of n transactions, holding only what is known of it.

    The decoder reads back the same fields. An event type that was not known is written as `unknown`, so that the
    record stays readable.
    """
    names = [field.name for field in FIELDS if _any_known(columns, field.name)]
    spelled = [spelled_column(field, columns[field.name]) for field in FIELDS if field.name in names]
    write = msgspec.json.Encoder().encode
    return [
        write({name: value for name, value in zip(names, row, strict=True) if value is not None})
        for row in zip(*spelled, strict=True)
    ]


def keys(columns: Columns) -> list[bytes]:
    """The message key of each of n transactions: its card reference."""
    return [reference.encode() for reference in columns["card_ref"].tolist()]


def _any_known(columns: Columns, name: str) -> bool:
    column = columns[name]
    if name == "event_type":
        return True
    if column.dtype.kind == "O":
        return any(value is not None for value in column)
    if column.dtype.kind == "f":
        return bool((column == column).any())  # noqa: PLR0124 - NaN differs from itself
    return bool((column != MISSING).any())
