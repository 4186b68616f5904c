"""The contract as arrays, for the compiled reader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fraud.codes import country_numbers, currency_numbers
from fraud.pan_guard import PanShape
from fraud.transactions import FIELDS, Field, Kind
from streams import wire_text, wire_values
from streams.wire_fields import ENTRY_MODE_DIGITS, INT64_MAX
from streams.wire_scan import NAMES, TABLES, file_words

_COUNTRIES, _CURRENCIES = len(FIELDS) + 1, len(FIELDS) + 2  # groups of words; a field's own values are group 1 + field

_ROLES: Final[Mapping[Kind, int]] = {
    Kind.IDENTIFIER: wire_values.STRING,
    Kind.TEXT: wire_values.STRING,
    Kind.ENUM: wire_values.WORD,
    Kind.INTEGER: wire_values.INTEGER,
    Kind.TIMESTAMP: wire_values.INTEGER,
    Kind.BOOLEAN: wire_values.BOOLEAN,
    Kind.COUNTRY: wire_values.WORD,
    Kind.CURRENCY: wire_values.WORD,
    Kind.DIGITS: wire_values.DIGITS,
    Kind.NUMBER: wire_values.NUMBER,
}
_ROLES_OF_FIELDS: Final[Mapping[str, int]] = {
    "event_type": wire_values.EVENT_TYPE,
    "card_ref": wire_values.CARD_REF,
    "schema_version": wire_values.SCHEMA_VERSION,
    "pos_entry_mode": wire_values.ENTRY_MODE,
}


class _Word(NamedTuple):
    text: str
    group: int
    code: int


def contract_tables(shape: PanShape, max_record_bytes: int) -> NDArray[Any]:
    """(1,) of `TABLES` for one guard and one largest size of a record."""
    tables = np.zeros(1, TABLES)
    tables["classes"] = _byte_classes()
    _fill_fields(tables)
    _fill_words(tables)
    tables["codes"][0, _COUNTRIES, list(country_numbers().values())] = True
    tables["codes"][0, _CURRENCIES, list(currency_numbers().values())] = True
    tables["first_digits"] = [digit in shape.first_digits for digit in range(10)]
    tables["run_lengths"] = [length in shape.lengths for length in range(20)]
    tables["shortest_run"] = shape.shortest_run
    tables["max_bytes"] = max_record_bytes
    return tables


def _fill_fields(tables: NDArray[Any]) -> None:
    known = len(FIELDS)
    names = [field.name for field in FIELDS]
    tables["roles"][0, :known] = [_ROLES_OF_FIELDS.get(field.name, _ROLES[field.kind]) for field in FIELDS]
    tables["limits"][0, :known] = [INT64_MAX if field.limit is None else field.limit for field in FIELDS]
    tables["groups"][0, :known] = [_group(number, field) for number, field in enumerate(FIELDS)]
    # An event type that is not known is accepted all the same.
    tables["required"][0, :known] = [field.required and field.name != "event_type" for field in FIELDS]
    tables["required_bits"] = sum(1 << number for number, field in enumerate(FIELDS) if field.required)
    tables["card_ref"], tables["account_ref"] = names.index("card_ref"), names.index("account_ref")
    tables["unknown"] = known
    tables["roles"][0, known] = wire_values.UNKNOWN


def _fill_words(tables: NDArray[Any]) -> None:
    words = list(_words())
    texts = [word.text.encode() for word in words]
    tables["word_bytes"][0, : sum(map(len, texts))] = np.frombuffer(b"".join(texts), np.uint8)
    tables["word_starts"][0, 1 : len(texts) + 1] = np.cumsum([len(text) for text in texts])
    tables["word_groups"][0, : len(texts)] = [word.group for word in words]
    tables["word_codes"][0, : len(texts)] = [word.code for word in words]
    file_words(tables, len(words))


def _words() -> Iterator[_Word]:
    for number, field in enumerate(FIELDS):  # the reader relies on names being first, and in this order
        yield _Word(field.name, NAMES, number)
    for number, field in enumerate(FIELDS):
        for code, value in enumerate(field.values):
            yield _Word(value, 1 + number, code)
    for group, table in ((_COUNTRIES, country_numbers()), (_CURRENCIES, currency_numbers())):
        for spelling, code in table.items():
            yield _Word(spelling, group, code)


def _group(number: int, field: Field) -> int:
    match field.kind:
        case Kind.COUNTRY:
            return _COUNTRIES
        case Kind.CURRENCY:
            return _CURRENCIES
        case Kind.DIGITS if field.name == "pos_entry_mode":
            return ENTRY_MODE_DIGITS[-1]
        case Kind.DIGITS:
            return len(str(field.limit))
        case _:
            return 1 + number


def _byte_classes() -> NDArray[np.uint8]:
    classes = np.full(256, wire_text.ODD, np.uint8)
    classes[0x20:0x7F] = wire_text.PLAIN
    classes[0x80:] = wire_text.WIDE
    classes[ord('"')] = wire_text.QUOTE
    classes[ord("\\")] = wire_text.ESCAPE
    return classes
