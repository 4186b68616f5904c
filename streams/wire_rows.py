"""Ordinary records of `card.transactions` to columns: the compiled reader's findings as numbers and strings."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from fraud.cards import card_keys
from fraud.transactions import DTYPES, FIELD_BY_NAME, FIELDS, Column, Field, Kind
from streams.wire_fields import READERS, absent_column
from streams.wire_gather import gather
from streams.wire_json import parse_numbers, parse_string
from streams.wire_scan import HAS_WIDE, HASHED_CARD, READ, Bytes, Integers, scan
from streams.wire_text import MISSING
from streams.wire_values import LENGTH_MASK, PLACE_BITS, WIDE_BIT

_STRINGS: Final = frozenset({Kind.IDENTIFIER, Kind.TEXT})


@dataclass(frozen=True, slots=True)
class BatchRows:
    """What is known of n records so far.

    Args:
        read: (n,) which records have been read.
        columns: (n,) columns of the fields that any of them has, and `card_key`. Those not yet read have nothing.
        missing: field name to the number of values that were there but unusable.

    """

    read: NDArray[np.bool_]
    columns: dict[str, Column]
    missing: Counter[str]

    def put(self, rows: list[int], columns: Mapping[str, Column], missing: Mapping[str, int]) -> None:
        """Fill in what other records hold: m rows, (m,) columns."""
        for name, column in columns.items():
            if name not in self.columns:
                self.columns[name] = absent_column(FIELD_BY_NAME[name], len(self.read))
            self.columns[name][rows] = column
        self.missing.update(missing)
        self.read[rows] = True

    def read_columns(self) -> dict[str, Column]:
        """The columns without the records that nobody could read."""
        if self.read.all():
            return self.columns
        rows = np.flatnonzero(self.read)
        return {name: column[rows] for name, column in self.columns.items()}


def read_ordinary(values: Sequence[bytes | None], keys: Sequence[bytes | None], contract: NDArray[Any]) -> BatchRows:
    """What the compiled reader can read of n records, given their values, their keys, and the `contract_tables`."""
    n = len(values)
    joined, starts = _join(values)
    joined_keys, key_starts = _join(keys)
    text = np.frombuffer(joined, np.uint8)
    found = np.full((len(FIELDS), n), MISSING)
    unusable = np.zeros(n, np.uint64)
    status = np.zeros(n, np.uint8)
    card_key = np.zeros(n, np.uint64)
    key_text = np.frombuffer(joined_keys, np.uint8)
    scan(text, starts, key_text, key_starts, contract, found, unusable, status, card_key)
    for row in np.flatnonzero(status & HAS_WIDE).tolist():
        if not _is_utf_8(joined[starts[row] : starts[row + 1]]):
            status[row] = 0
    read = (status & READ).astype(np.bool_)
    if not read.all():
        found[:, ~read], unusable[~read], card_key[~read] = MISSING, 0, 0
    missing = _unusable(unusable)
    present = np.flatnonzero(found.max(axis=1, initial=MISSING) != MISSING).tolist()
    columns = _string_columns(
        joined, text, found, [number for number in present if FIELDS[number].kind in _STRINGS], missing
    )
    for number in present:
        field = FIELDS[number]
        if field.kind is Kind.NUMBER:
            columns[field.name] = _number_column(joined, found[number], field, missing)
        elif field.kind not in _STRINGS:
            columns[field.name] = found[number].astype(DTYPES[field.kind])
    own = np.flatnonzero(read & (status & HASHED_CARD == 0))
    if len(own):
        card_key[own] = card_keys(columns["card_ref"][own])
    columns["card_key"] = card_key
    return BatchRows(read, columns, missing)


def _string_columns(
    joined: bytes, text: Bytes, found: Integers, numbers: list[int], missing: Counter[str]
) -> dict[str, Column]:
    """(n,) columns of str or None of the numbered fields. Strings that turn out to be unusable count as missing."""
    k, n = len(numbers), found.shape[1]
    places = found[numbers]
    starts = places >> PLACE_BITS
    sizes = np.where(places < 0, -1, places & LENGTH_MASK)
    packed = np.empty(len(text), np.uint8)
    first, which = np.empty(k * n, np.int64), np.empty((k, n), np.int64)
    buckets = np.empty(1 << (2 * n).bit_length(), np.int32)
    used = gather(text, starts, sizes, buckets, packed, first, which)
    # One character a byte; what is wide is read again below. The last string is empty and becomes None,
    # which answers the number -1.
    split = packed[:used].tobytes().decode("latin-1").split("\n")
    strings = np.fromiter(split, np.object_, len(split))
    strings[-1] = None
    lost: dict[int, list[int]] = {}
    wide = np.flatnonzero(places.ravel()[first[: len(split) - 1]] & WIDE_BIT)
    for number, place in zip(wide.tolist(), first[wide].tolist(), strict=True):
        field, row = divmod(place, n)
        string = parse_string(joined[starts[field, row] : starts[field, row] + sizes[field, row]])
        strings[number] = READERS[FIELDS[numbers[field]].name](string)
        if strings[number] is None:
            lost.setdefault(field, []).append(number)
    for field, unusable in lost.items():
        missing[FIELDS[numbers[field]].name] += int(np.isin(which[field], unusable).sum())
    return {FIELDS[number].name: strings.take(which[field]) for field, number in enumerate(numbers)}


def _number_column(joined: bytes, places: Integers, field: Field, missing: Counter[str]) -> Column:
    """The (n,) column of float64. Numbers that turn out to be unusable count as missing."""
    rows = np.flatnonzero(places != MISSING)
    starts = places[rows] >> PLACE_BITS
    ends = starts + (places[rows] & LENGTH_MASK)
    texts = [joined[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    numbers = list(map(READERS[field.name], parse_numbers(texts)))
    if None in numbers:
        missing[field.name] += numbers.count(None)
    column = np.full(len(places), np.nan)
    column[rows] = np.array(numbers, np.float64)
    return column


def _join(parts: Sequence[bytes | None]) -> tuple[bytes, Integers]:
    """The parts with a line break behind each, and (n + 1,) where each starts; None is an empty one."""
    present = [part or b"" for part in parts]
    starts = np.zeros(len(present) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, present), np.int64, len(present)) + 1, out=starts[1:])
    present.append(b"")
    return b"\n".join(present), starts


def _unusable(bits: NDArray[np.uint64]) -> Counter[str]:
    """Field name to the number of rows that have its bit, for fields that any row has."""
    any_row = int(np.bitwise_or.reduce(bits, initial=np.uint64(0)))
    return Counter(
        {
            field.name: int(np.count_nonzero(bits & np.uint64(1 << number)))
            for number, field in enumerate(FIELDS)
            if any_row >> number & 1
        }
    )


def _is_utf_8(text: bytes) -> bool:
    try:
        text.decode()
    except UnicodeDecodeError:
        return False
    return True
