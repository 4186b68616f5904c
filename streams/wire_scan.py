"""The compiled reader of ordinary records of `card.transactions`.

It reads many records in one call, and of each it either gives exactly what the reference decoder would, or it says that
the record is unusual. It never judges what it does not understand: strange escapes, nesting, a name that comes twice,
a number of many digits, whatever could be a card number, and every record that has to be refused are left to the
reference.

Text is UTF-8 in one array of bytes. Behind each record stands a line break, which no accepted record holds, so nothing
here reads past the end.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.compiling import compiled, compiled_and_cached
from streams import wire_text, wire_values
from streams.wire_text import (
    CLOSING_BRACE,
    COLON,
    COMMA,
    LETTER_V,
    MISSING,
    NINE,
    OPENING_BRACE,
    QUOTATION_MARK,
    ZERO,
    Address,
    Tables,
    byte_at,
    is_same,
    literal_at,
    number_end,
    skip_blanks,
    string_end,
)
from streams.wire_values import (
    BOOLEAN,
    BUCKETS,
    CODES,
    EVENT_TYPE,
    NUMBER,
    PLACE_BITS,
    UNUSUAL,
    bucket_of,
    card_key,
    code_of,
    from_number,
    from_string,
    has_long_run,
    is_key,
    word_text,
)

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

NAMES: Final = 0  # the group of words that are names of fields

# Bits of a record's status. Without the first one it is unusual.
READ: Final = 1
HAS_WIDE: Final = 2  # escapes, or bytes beyond ASCII, whose encoding is still to be checked
HASHED_CARD: Final = 4  # the card's key has been read from its reference

# Room in the tables. A field is a bit of 64, and one more stands for all that are unknown.
_FIELDS, _GROUPS, _WORDS, _WORD_BYTES = 64, 64, 2048, 16_384

# The compiler's cache notices changes of this file only. A field named after the digest of the other sources makes the
# reader's signature, and with it the cache key, new when one of them changes.
_SOURCES: Final = hashlib.sha256(
    b"".join(Path(str(module.__file__)).read_bytes() for module in (wire_text, wire_values))
).hexdigest()[:16]

# The contract as one record, which functions pass on as a pointer.
TABLES: Final = np.dtype(
    [
        ("classes", np.uint8, 256),  # of each byte in a string
        ("roles", np.int64, _FIELDS),  # how a field is read
        ("limits", np.int64, _FIELDS),  # its largest length or number
        ("groups", np.int64, _FIELDS),  # the group of its words; of digits the most characters
        ("required", np.uint8, _FIELDS),  # without a usable value the record is unusual
        ("required_bits", np.uint64),  # a bit a field that must be there
        ("card_ref", np.int64),  # number of that field
        ("account_ref", np.int64),  # number of that field
        ("unknown", np.int64),  # the last field
        ("word_bytes", np.uint8, _WORD_BYTES),  # all known words, one behind the other; names of fields first, in order
        ("word_starts", np.int64, _WORDS + 1),  # where each starts
        ("word_groups", np.int64, _WORDS),  # what it belongs to
        ("word_codes", np.int64, _WORDS),  # what it stands for
        ("buckets", np.int64, BUCKETS),  # number of a word by its hash; -1 where there is none
        ("codes", np.uint8, (_GROUPS, CODES)),  # numbers that stand for themselves in a group
        ("first_digits", np.uint8, 10),  # of card numbers
        ("run_lengths", np.uint8, 20),  # of card numbers
        ("shortest_run", np.int64),  # fewest digits of a card number
        ("max_bytes", np.int64),  # a longer record is unusual
        (f"sources_{_SOURCES}", np.int64),
    ],
    align=True,
)


@compiled_and_cached
def file_words(contract: NDArray[Any], words: int) -> None:
    """Fill the buckets of (1,) of `TABLES`, which holds so many words."""
    tables = contract[0]
    tables.buckets[:] = MISSING
    for word in range(words):
        start, end = tables.word_starts[word], tables.word_starts[word + 1]
        bucket = bucket_of(word_text(tables), start, end - start, tables.word_groups[word])
        while tables.buckets[bucket] != MISSING:
            bucket = (bucket + 1) % BUCKETS
        tables.buckets[bucket] = word


@compiled_and_cached
def scan(
    text: Bytes,
    starts: Integers,
    keys: Bytes,
    key_starts: Integers,
    contract: NDArray[Any],
    values: Integers,
    missing: NDArray[np.uint64],
    status: Bytes,
    card_keys: NDArray[np.uint64],
) -> None:
    """Read n records.

    Args:
        text: their values, a line break behind each.
        starts: (n + 1,) where each starts.
        keys: their keys, a line break behind each; no key is an empty one.
        key_starts: (n + 1,) where each starts.
        contract: (1,) of `TABLES`.
        values: (F, n) for what is found: numbers, codes, or places of text; `MISSING` to begin with.
        missing: (n,) for a bit a field whose value is there and unusable; 0 to begin with.
        status: (n,) for bits; 0 to begin with.
        card_keys: (n,) for the keys of cards that are hashes.

    """
    tables = contract[0]
    text_at, keys_at = np.int64(text.ctypes.data), np.int64(keys.ctypes.data)
    following = np.full(tables.unknown + 1, -1, np.int64)  # the field behind each: producers keep an order
    for row in range(starts.size - 1):
        start, end = starts[row], starts[row + 1] - 1
        if end - start > tables.max_bytes:
            continue
        wide = _read_record(text_at, start, end, row, tables, following, values, missing)
        if wide == UNUSUAL:
            continue
        card, account = values[tables.card_ref, row], values[tables.account_ref, row]
        if not is_key(keys_at, key_starts[row], key_starts[row + 1] - 1, text_at, card, account):
            continue
        status[row] = READ
        if wide:
            status[row] |= HAS_WIDE
        if byte_at(text_at, card >> PLACE_BITS) == LETTER_V:
            status[row] |= HASHED_CARD
            card_keys[row] = card_key(text_at, card)


@compiled
def _read_record(  # noqa: PLR0911 - many ways to be unusual
    text: Address,
    at: int,
    end: int,
    row: int,
    tables: Tables,
    following: Integers,
    values: Integers,
    missing: NDArray[np.uint64],
) -> int:
    """Read one object; 1 when it is wide, 0 when not, or `UNUSUAL`."""
    unknown = tables.unknown
    seen = np.uint64(0)
    unusable = np.uint64(0)
    record_wide = 0
    previous = unknown
    at = skip_blanks(text, at)
    if byte_at(text, at) != OPENING_BRACE:
        return UNUSUAL
    while byte_at(text, at) != CLOSING_BRACE:  # here is the brace in front of the first field, or a comma
        at = skip_blanks(text, at + 1)
        field, at = _read_name(text, at, following[previous], tables)
        if field == UNUSUAL:
            return UNUSUAL
        value, at, wide = _read_value(text, at, field, tables)
        if value == UNUSUAL:
            return UNUSUAL
        record_wide |= wide
        if field != unknown:
            bit = np.uint64(1) << np.uint64(field)
            if seen & bit:
                return UNUSUAL
            seen |= bit
            following[previous] = field
            previous = field
            values[field, row] = value
            if value == MISSING:
                if tables.required[field]:
                    return UNUSUAL
                unusable |= bit
        at = skip_blanks(text, at)
        if byte_at(text, at) not in (COMMA, CLOSING_BRACE):
            return UNUSUAL
    if skip_blanks(text, at + 1) != end or seen & tables.required_bits != tables.required_bits:
        return UNUSUAL
    missing[row] = unusable
    return record_wide


@compiled
def _read_name(text: Address, at: int, guess: int, tables: Tables) -> tuple[int, int]:
    """The field whose name starts here, and where its value starts."""
    if byte_at(text, at) != QUOTATION_MARK:
        return UNUSUAL, at
    at += 1
    field = guess
    size = tables.word_starts[guess + 1] - tables.word_starts[guess] if guess >= 0 else 0
    # The words begin with the fields' names. A guess may reach beyond the record, so its end is looked at last.
    if (
        guess < 0
        or not is_same(word_text(tables), tables.word_starts[guess], text, at, size)
        or byte_at(text, at + size) != QUOTATION_MARK
    ):
        stop, wide = string_end(text, at, tables)
        if stop < 0 or wide:
            return UNUSUAL, at
        size = stop - at
        field = code_of(text, at, size, NAMES, tables)
        if field == MISSING:
            field = tables.unknown
            if size >= tables.shortest_run and has_long_run(text, at, stop, tables):
                return UNUSUAL, at
    at = skip_blanks(text, at + size + 1)
    if byte_at(text, at) != COLON:
        return UNUSUAL, at
    return field, skip_blanks(text, at + 1)


@compiled
def _read_value(text: Address, at: int, field: int, tables: Tables) -> tuple[int, int, int]:  # noqa: PLR0911 - many ways to be unusual
    """What the value that starts here is to a field, where it ends, and whether it is wide."""
    sign = byte_at(text, at)
    if sign == QUOTATION_MARK:
        stop, wide = string_end(text, at + 1, tables)
        if stop < 0:
            return UNUSUAL, at, 0
        size = stop - at - 1
        if size >= tables.shortest_run and has_long_run(text, at + 1, stop, tables):
            return UNUSUAL, at, 0
        return from_string(text, at + 1, size, wide, field, tables), stop + 1, wide
    if ZERO <= sign <= NINE:
        stop, number = number_end(text, at)
        if stop < 0 or (stop - at >= tables.shortest_run and has_long_run(text, at, stop, tables)):
            return UNUSUAL, at, 0
        if tables.roles[field] == NUMBER:
            return (at << PLACE_BITS) | (stop - at), stop, 0
        return from_number(number, field, tables), stop, 0
    size, value = literal_at(text, at)
    if size == 0 or tables.roles[field] == EVENT_TYPE:
        return UNUSUAL, at, 0
    return value if tables.roles[field] == BOOLEAN else MISSING, at + size, 0
