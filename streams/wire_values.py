"""What a string or a number is to a field of the contract, compiled, for ordinary values only."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from models.compiling import compiled
from streams.wire_text import (
    COLON,
    LARGE_E,
    LETTER_V,
    LETTER_X,
    MINUS,
    MISSING,
    NINE,
    POINT,
    QUOTATION_MARK,
    SMALL_A,
    SMALL_E,
    SMALL_F,
    SPACE,
    ZERO,
    Address,
    Tables,
    byte_at,
    digits_at,
    is_blank,
    is_same,
)

UNUSUAL: Final = -2  # not judged here

# How a field is read. The last stands for all fields that the contract does not know.
(STRING, WORD, EVENT_TYPE, CARD_REF, INTEGER, SCHEMA_VERSION, BOOLEAN, DIGITS, ENTRY_MODE, NUMBER, UNKNOWN) = range(11)

# A string or number is kept as its place: where it starts, whether it is wide (not plain ASCII), how many bytes.
LENGTH_BITS: Final = 12
WIDE_BIT: Final = 1 << LENGTH_BITS
LENGTH_MASK: Final = WIDE_BIT - 1
PLACE_BITS: Final = LENGTH_BITS + 1

BUCKETS: Final = 4096
CODES: Final = 1000  # ISO 3166 and ISO 4217 have three digits
_HASH_DIGITS: Final = 64


@compiled
def from_string(  # noqa: PLR0911 - one a role
    text: Address, start: int, size: int, wide: int, field: int, tables: Tables
) -> int:
    """What a string is to a field: a number, a code, a place, `MISSING` or `UNUSUAL`."""
    role, limit = tables.roles[field], tables.limits[field]
    if wide and (tables.required[field] or role not in (STRING, UNKNOWN)):
        return UNUSUAL
    if role == STRING:
        # A wide character has at most six bytes; exact lengths of such strings and blanks are not judged here.
        if size > (6 * limit if wide else limit) or (not wide and is_blank(text, start, size)):
            return MISSING
        return (start << PLACE_BITS) | (wide << LENGTH_BITS) | size
    if role == EVENT_TYPE and is_blank(text, start, size):
        return UNUSUAL
    if role in (WORD, EVENT_TYPE):
        return code_of(text, start, size, tables.groups[field], tables)
    if role == CARD_REF:
        return (start << PLACE_BITS) | size if _is_card_ref(text, start, size) else UNUSUAL
    if role == DIGITS and 0 < size <= tables.groups[field]:
        return digits_at(text, start, size)
    if role == ENTRY_MODE and 2 <= size <= tables.groups[field]:
        return digits_at(text, start, 2) if digits_at(text, start, size) >= 0 else MISSING
    return MISSING


@compiled
def from_number(number: int, field: int, tables: Tables) -> int:
    """What a number is to a field; `MISSING` for the number is one that is no integer."""
    role = tables.roles[field]
    if role == EVENT_TYPE or (role == SCHEMA_VERSION and not 0 <= number <= 1):
        return UNUSUAL
    if number < 0:
        return MISSING
    if role in (INTEGER, SCHEMA_VERSION, DIGITS):
        return number if number <= tables.limits[field] else MISSING
    if role == WORD:
        group = tables.groups[field]
        return number if number < CODES and tables.codes[group, number] else MISSING
    return MISSING


@compiled
def code_of(text: Address, start: int, size: int, group: int, tables: Tables) -> int:
    """What a text stands for in a group of words, or `MISSING`."""
    bucket = bucket_of(text, start, size, group)
    while tables.buckets[bucket] >= 0:
        word = tables.buckets[bucket]
        begin = tables.word_starts[word]
        if (
            tables.word_groups[word] == group
            and tables.word_starts[word + 1] - begin == size
            and is_same(word_text(tables), begin, text, start, size)
        ):
            code: int = tables.word_codes[word]
            return code
        bucket = (bucket + 1) % BUCKETS
    return MISSING


@compiled
def word_text(tables: Tables) -> Address:
    """The text that holds all known words."""
    return np.int64(tables.word_bytes.ctypes.data)


@compiled
def bucket_of(text: Address, start: int, size: int, group: int) -> int:
    """Where the search for a word begins. Its length and three bytes tell nearly all words apart."""
    mixed = group * 64 + size
    if size > 0:
        mixed = mixed * 31 + byte_at(text, start)
        mixed = mixed * 31 + byte_at(text, start + size // 2)
        mixed = mixed * 31 + byte_at(text, start + size - 1)
    return (mixed ^ (mixed >> 9)) % BUCKETS


@compiled
def has_long_run(text: Address, start: int, stop: int, tables: Tables) -> bool:
    """Whether the card number guard would have to look closely at a name, string or number.

    A run goes on over spaces, dashes and whatever is beyond ASCII. One that was so joined is always suspicious.
    """
    run = 0
    last = start  # the run's last digit
    joined = False
    after_point = False
    for at in range(start, stop + 1):
        sign = byte_at(text, at) if at < stop else QUOTATION_MARK  # whatever stands behind, the run ends
        if ZERO <= sign <= NINE:
            joined |= run > 0 and last != at - 1
            run += 1
            last = at
        elif sign not in (SPACE, MINUS) and sign < 0x80:
            if run >= tables.shortest_run and (
                joined
                or (after_point and sign in (SMALL_E, LARGE_E))
                or _may_be_card(text, last + 1 - run, run, tables)
            ):
                return True
            run = 0
            joined = False
            after_point = sign == POINT
    return False


@compiled
def _may_be_card(text: Address, start: int, size: int, tables: Tables) -> bool:
    """Whether digits have the length, the first digit and the check digit of a card number."""
    if size >= 20 or not tables.run_lengths[size]:
        return False
    if not tables.first_digits[byte_at(text, start) - ZERO]:
        return False
    total = 0
    for back in range(size):
        digit = byte_at(text, start + size - 1 - back) - ZERO
        if back & 1:
            digit = digit * 2 - (9 if digit > 4 else 0)
        total += digit
    return total % 10 == 0


@compiled
def _is_card_ref(text: Address, start: int, size: int) -> bool:  # noqa: PLR0911 - two forms
    """`v{1 to 4 digits}:{64 small hexadecimal digits}` or `x:{1 to 78 printable characters but the space}`."""
    if byte_at(text, start) == LETTER_X:
        if not 3 <= size <= 80 or byte_at(text, start + 1) != COLON:
            return False
        for at in range(start + 2, start + size):  # noqa: SIM110 - compiled
            if byte_at(text, at) == SPACE:
                return False
        return True
    colon = size - _HASH_DIGITS - 1
    if byte_at(text, start) != LETTER_V or not 2 <= colon <= 5 or byte_at(text, start + colon) != COLON:
        return False
    for at in range(start + 1, start + colon):
        if not ZERO <= byte_at(text, at) <= NINE:
            return False
    for at in range(start + colon + 1, start + size):
        if not (ZERO <= byte_at(text, at) <= NINE or SMALL_A <= byte_at(text, at) <= SMALL_F):
            return False
    return True


@compiled
def card_key(text: Address, place: int) -> Any:
    """The first 64 bits of a reference that is a hash."""
    key = np.uint64(0)
    start = (place >> PLACE_BITS) + (place & LENGTH_MASK) - _HASH_DIGITS
    for at in range(start, start + 16):
        digit = np.uint64(byte_at(text, at)) - np.uint64(ZERO if byte_at(text, at) <= NINE else SMALL_A - 10)
        key = (key << np.uint64(4)) | digit
    return key


@compiled
def is_key(keys: Address, start: int, end: int, text: Address, card: int, account: int) -> bool:
    """Whether a message key is the card, or the account where that is plain ASCII. Neither looks like a card number."""
    size = end - start
    if size == card & LENGTH_MASK and is_same(keys, start, text, card >> PLACE_BITS, size):
        return True
    if account < 0 or account & WIDE_BIT or size != account & LENGTH_MASK:
        return False
    return is_same(keys, start, text, account >> PLACE_BITS, size)
