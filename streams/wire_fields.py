"""How each field of the contract is read from a decoded JSON value, and how it is spelled when written.

A value that cannot be used becomes *missing*, never an error: only the required fields can refuse a record, and the
decoder looks at those itself.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np

from fraud.codes import MISSING, country_alpha_2, country_numbers, currency_codes, currency_numbers
from fraud.transactions import DTYPES, FIELDS, Column, Field, Kind

Reader = Callable[[Any], Any]

INT64_MAX: Final = 2**63 - 1
# DE22 is three digits in ISO 8583:1987 and four with one network; only the first two are the entry mode.
ENTRY_MODE_DIGITS: Final = range(2, 5)
UNKNOWN_EVENT_TYPE: Final = "unknown"

_ABSENT: Final = object()
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# Kinds whose column holds None where a value is missing; numpy turns it into NaN for numbers.
_NONE_KINDS = frozenset({Kind.IDENTIFIER, Kind.TEXT, Kind.NUMBER})


def read_column(field: Field, records: Sequence[Mapping[str, Any]]) -> tuple[Column, int]:
    """One field of n records.

    Returns the (n,) column, and how many values were there but unusable: null, blank, unknown, out of range, of the
    wrong JSON type.
    """
    name = field.name
    values = [record.get(name, _ABSENT) for record in records]
    column = list(map(READERS[name], values))
    missing = column.count(None if field.kind in _NONE_KINDS else MISSING)
    return np.array(column, dtype=DTYPES[field.kind]), missing - values.count(_ABSENT) if missing else 0


def absent_column(field: Field, n: int) -> Column:
    """The (n,) column of a field that no record has."""
    return np.array([None if field.kind in _NONE_KINDS else MISSING] * n, dtype=DTYPES[field.kind])


def spelled_column(field: Field, column: Column) -> list[Any]:
    """The (n,) column as the JSON values that `read_column` reads back; None is missing."""
    values: list[Any] = column.tolist()
    if field.kind in (Kind.IDENTIFIER, Kind.TEXT):
        return values
    if field.kind is Kind.NUMBER:
        return [value if value == value else None for value in values]  # noqa: PLR0124 - NaN differs from itself
    if field.kind in (Kind.INTEGER, Kind.TIMESTAMP):
        return [None if value == MISSING else value for value in values]
    spelling: Any = _SPELLINGS[field.name]
    return [spelling[value] for value in values]


def _limit(field: Field) -> int:
    return INT64_MAX if field.limit is None else field.limit


def _identifier_reader(limit: int) -> Reader:
    def read(value: Any) -> str | None:
        if type(value) is not str or not 0 < len(value) <= limit or value.isspace():
            return None
        # The first test is fast and right for nearly all; the second is the rule, the same in every Unicode version.
        return value if value.isprintable() or not _CONTROL.search(value) else None

    return read


def _text_reader(limit: int) -> Reader:
    def read(value: Any) -> str | None:
        if type(value) is not str or len(value) > limit:
            return None
        if not value.isprintable():
            value = _CONTROL.sub(" ", value)
        return value if value and not value.isspace() else None

    return read


def _table_reader(table: Mapping[Any, int], *types: type) -> Reader:
    """Look a value up; its exact type is checked first, since True, 1 and 1.0 are one key to a dictionary."""
    return lambda value: table.get(value, MISSING) if type(value) in types else MISSING


def _integer_reader(limit: int) -> Reader:
    return lambda value: value if type(value) is int and 0 <= value <= limit else MISSING


def _digits_reader(limit: int) -> Reader:
    size = len(str(limit))

    def read(value: Any) -> int:
        if type(value) is str:
            return int(value) if len(value) <= size and _all_digits(value) else MISSING
        return value if type(value) is int and 0 <= value <= limit else MISSING

    return read


def _read_entry_mode(value: Any) -> int:
    """First two digits of DE22. A number is not read: 51 may be "51" or "051", which are different entry modes."""
    if type(value) is str and len(value) in ENTRY_MODE_DIGITS and _all_digits(value):
        return int(value[:2])
    return MISSING


def _all_digits(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _read_boolean(value: Any) -> int:
    if value is True:
        return 1
    return 0 if value is False else MISSING


def _read_number(value: Any) -> float | None:
    if type(value) is not float and type(value) is not int:
        return None
    try:
        return float(value)
    except OverflowError:  # an integer beyond the range of a double
        return None


def _with_numbers(spellings: Mapping[str, int]) -> dict[str | int, int]:
    table: dict[str | int, int] = {number: number for number in spellings.values()}
    table.update(spellings)
    return table


def _digits_spelling(field: Field) -> tuple[str | None, ...]:
    size = len(str(_limit(field)))
    return (*(f"{number:0{size}d}" for number in range(10**size)), None)


# Column code to JSON value. A code of `MISSING` (-1) is a sequence's last item; a required field is always written.
_SPELLED_KINDS: Final[Mapping[Kind, Callable[[Field], Mapping[int, Any] | Sequence[Any]]]] = {
    Kind.ENUM: lambda field: (*field.values, UNKNOWN_EVENT_TYPE if field.required else None),
    Kind.BOOLEAN: lambda _: (False, True, None),
    Kind.DIGITS: _digits_spelling,
    Kind.COUNTRY: lambda _: {**country_alpha_2(), MISSING: None},
    Kind.CURRENCY: lambda _: {**currency_codes(), MISSING: None},
}

_READER_KINDS: Final[Mapping[Kind, Callable[[Field], Reader]]] = {
    Kind.IDENTIFIER: lambda field: _identifier_reader(_limit(field)),
    Kind.TEXT: lambda field: _text_reader(_limit(field)),
    Kind.ENUM: lambda field: _table_reader({value: code for code, value in enumerate(field.values)}, str),
    Kind.INTEGER: lambda field: _integer_reader(_limit(field)),
    Kind.TIMESTAMP: lambda field: _integer_reader(_limit(field)),
    Kind.BOOLEAN: lambda _: _read_boolean,
    Kind.COUNTRY: lambda _: _table_reader(_with_numbers(country_numbers()), str, int),
    Kind.CURRENCY: lambda _: _table_reader(_with_numbers(currency_numbers()), str, int),
    Kind.DIGITS: lambda field: _read_entry_mode if field.name == "pos_entry_mode" else _digits_reader(_limit(field)),
    Kind.NUMBER: lambda _: _read_number,
}
# Field name to its reader: a JSON value in, what the column holds out; None or `MISSING` where it cannot be used.
READERS: Final[Mapping[str, Reader]] = {field.name: _READER_KINDS[field.kind](field) for field in FIELDS}
_SPELLINGS: Final = {field.name: _SPELLED_KINDS[field.kind](field) for field in FIELDS if field.kind in _SPELLED_KINDS}
