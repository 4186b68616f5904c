"""The compiled reader of ordinary records of `card.transactions`.

It reads many records in one call, and of each it either gives exactly what the reference decoder would, or it says that
the record is unusual. It never judges what it does not understand: escapes, nesting, a name that comes twice, a number
of many digits, whatever could be a card number, and every record that has to be refused are left to the reference.

Text is UTF-8 in one array of bytes. Behind each record stands a line break, which no accepted record holds, so nothing
here reads past the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from models.compiling import compiled_and_cached

Bytes = NDArray[np.uint8]
Integers = NDArray[np.int64]

# What a value turned out to be, where it is no value.
MISSING: Final = -1
UNUSUAL: Final = -2

# How a field is read. The last stands for all fields that the contract does not know.
(STRING, WORD, EVENT_TYPE, CARD_REF, INTEGER, SCHEMA_VERSION, BOOLEAN, DIGITS, ENTRY_MODE, NUMBER, UNKNOWN) = range(11)
NAMES: Final = 0  # the group of words that are names of fields

# Classes of bytes in a string.
PLAIN, QUOTE, WIDE, ODD = range(4)

# Bits of a record's status. Without the first one it is unusual.
READ: Final = 1
HAS_WIDE: Final = 2  # bytes beyond ASCII, whose encoding is still to be checked
HASHED_CARD: Final = 4  # the card's key has been read from its reference

# A string or number is kept as its place: where it starts, whether it goes beyond ASCII, how many bytes.
LENGTH_BITS: Final = 12
WIDE_BIT: Final = 1 << LENGTH_BITS
LENGTH_MASK: Final = WIDE_BIT - 1
PLACE_BITS: Final = LENGTH_BITS + 1

SPACE, QUOTATION_MARK, PLUS, COMMA, MINUS, POINT, ZERO, NINE, COLON = (*b' "+,-.09:',)
LARGE_E, SMALL_A, SMALL_E, SMALL_F, LETTER_V, LETTER_X, OPENING_BRACE, CLOSING_BRACE = (*b"Eaefvx{}",)

_LONGEST_INTEGER: Final = 18  # digits; all of them fit 64 bits
_LONGEST_NUMBER: Final = 40  # characters
_HASH_DIGITS: Final = 64

# Room in the tables. A field is a bit of 64, and one more stands for all that are unknown.
_FIELDS, _GROUPS, _WORDS, _WORD_BYTES, BUCKETS = 64, 64, 2048, 16_384, 4096
_CODES: Final = 1000  # ISO 3166 and ISO 4217 have three digits

# The contract as one record, and text as an address: an array would be counted in and out of each function here, which
# would cost more than all the reading.
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
        ("codes", np.uint8, (_GROUPS, _CODES)),  # numbers that stand for themselves in a group
        ("first_digits", np.uint8, 10),  # of card numbers
        ("run_lengths", np.uint8, 20),  # of card numbers
        ("shortest_run", np.int64),  # fewest digits of a card number
        ("max_bytes", np.int64),  # a longer record is unusual
    ],
    align=True,
)
Tables = Any  # one record of `TABLES`
Address = Any  # where a text starts


@intrinsic
def _load(context: Any, address: Any, at: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, wide = context.get_value_type(types.uint8), context.get_value_type(types.int64)
        return builder.zext(builder.load(builder.inttoptr(builder.add(*arguments), byte.as_pointer())), wide)

    return types.int64(types.int64, types.int64), generate


# One byte of a text; nothing checks that it is inside.
byte_at: Callable[[Address, int], int] = _load  # type: ignore[assignment]


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
        if not _is_key(keys_at, key_starts[row], key_starts[row + 1] - 1, text_at, card, account):
            continue
        status[row] = READ
        if wide:
            status[row] |= HAS_WIDE
        if byte_at(text_at, card >> PLACE_BITS) == LETTER_V:
            status[row] |= HASHED_CARD
            card_keys[row] = _card_key(text_at, card)


@compiled_and_cached
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
    """Read one object; 1 when it goes beyond ASCII, 0 when not, or `UNUSUAL`."""
    unknown = tables.unknown
    seen = np.uint64(0)
    unusable = np.uint64(0)
    record_wide = 0
    previous = unknown
    at = _skip_blanks(text, at)
    if byte_at(text, at) != OPENING_BRACE:
        return UNUSUAL
    while byte_at(text, at) != CLOSING_BRACE:  # here is the brace in front of the first field, or a comma
        at = _skip_blanks(text, at + 1)
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
        at = _skip_blanks(text, at)
        if byte_at(text, at) not in (COMMA, CLOSING_BRACE):
            return UNUSUAL
    if _skip_blanks(text, at + 1) != end or seen & tables.required_bits != tables.required_bits:
        return UNUSUAL
    missing[row] = unusable
    return record_wide


@compiled_and_cached
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
        or not _is_same(_words(tables), tables.word_starts[guess], text, at, size)
        or byte_at(text, at + size) != QUOTATION_MARK
    ):
        stop, wide = _string_end(text, at, tables)
        if stop < 0 or wide:
            return UNUSUAL, at
        size = stop - at
        field = _code(text, at, size, NAMES, tables)
        if field == MISSING:
            field = tables.unknown
            if size >= tables.shortest_run and _has_long_run(text, at, stop, tables):
                return UNUSUAL, at
    at = _skip_blanks(text, at + size + 1)
    if byte_at(text, at) != COLON:
        return UNUSUAL, at
    return field, _skip_blanks(text, at + 1)


@compiled_and_cached
def _read_value(text: Address, at: int, field: int, tables: Tables) -> tuple[int, int, int]:  # noqa: PLR0911 - many ways to be unusual
    """What the value that starts here is to a field, where it ends, and whether it goes beyond ASCII."""
    sign = byte_at(text, at)
    if sign == QUOTATION_MARK:
        stop, wide = _string_end(text, at + 1, tables)
        if stop < 0:
            return UNUSUAL, at, 0
        size = stop - at - 1
        if size >= tables.shortest_run and _has_long_run(text, at + 1, stop, tables):
            return UNUSUAL, at, 0
        return _from_string(text, at + 1, size, wide, field, tables), stop + 1, wide
    if ZERO <= sign <= NINE:
        stop, number = _number_end(text, at)
        if stop < 0 or (stop - at >= tables.shortest_run and _has_long_run(text, at, stop, tables)):
            return UNUSUAL, at, 0
        if tables.roles[field] == NUMBER:
            return (at << PLACE_BITS) | (stop - at), stop, 0
        return _from_number(number, field, tables), stop, 0
    size, value = _literal(text, at)
    if size == 0 or tables.roles[field] == EVENT_TYPE:
        return UNUSUAL, at, 0
    return value if tables.roles[field] == BOOLEAN else MISSING, at + size, 0


@compiled_and_cached
def _from_string(text: Address, start: int, size: int, wide: int, field: int, tables: Tables) -> int:  # noqa: PLR0911 - one a role
    role, limit = tables.roles[field], tables.limits[field]
    if role == STRING:
        # A character has at most four bytes; exact lengths and blanks beyond ASCII are not judged here.
        if wide and tables.required[field]:
            return UNUSUAL
        if size > (4 * limit if wide else limit) or (not wide and _is_blank(text, start, size)):
            return MISSING
        return (start << PLACE_BITS) | (wide << LENGTH_BITS) | size
    if role == EVENT_TYPE and (wide or _is_blank(text, start, size)):
        return UNUSUAL
    if role in (WORD, EVENT_TYPE):
        return _code(text, start, size, tables.groups[field], tables)
    if role == CARD_REF:
        return (start << PLACE_BITS) | size if not wide and _is_card_ref(text, start, size) else UNUSUAL
    if role == DIGITS and 0 < size <= tables.groups[field]:
        return _digits(text, start, size)
    if role == ENTRY_MODE and 2 <= size <= tables.groups[field]:
        return _digits(text, start, 2) if _digits(text, start, size) >= 0 else MISSING
    return MISSING


@compiled_and_cached
def _from_number(number: int, field: int, tables: Tables) -> int:
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
        return number if number < _CODES and tables.codes[group, number] else MISSING
    return MISSING


@compiled_and_cached
def _string_end(text: Address, at: int, tables: Tables) -> tuple[int, int]:
    """Where the string's closing quotation mark is, and 1 if it goes beyond ASCII; -1 when it is unusual."""
    wide = 0
    while True:
        kind = tables.classes[byte_at(text, at)]
        if kind == QUOTE:
            return at, wide
        if kind == ODD:
            return -1, wide
        if kind == WIDE:
            wide = 1
            # A full-width digit: nothing is judged here that may be spelled with them.
            if byte_at(text, at) == 0xEF and byte_at(text, at + 1) == 0xBC and 0x90 <= byte_at(text, at + 2) <= 0x99:
                return -1, wide
        at += 1


@compiled_and_cached
def _number_end(text: Address, at: int) -> tuple[int, int]:
    """Where the number ends, and what it is if it is an integer, else `MISSING`; -1 when it is unusual."""
    start = at
    number = 0
    while ZERO <= byte_at(text, at) <= NINE:
        if at - start >= _LONGEST_INTEGER:
            return -1, 0
        number = number * 10 + (byte_at(text, at) - ZERO)
        at += 1
    if byte_at(text, start) == ZERO and at - start > 1:
        return -1, 0
    if byte_at(text, at) == POINT:
        number = MISSING
        before = at + 1
        at = _skip_digits(text, before)
        if at == before:
            return -1, 0
    if byte_at(text, at) in (SMALL_E, LARGE_E):
        number = MISSING
        at += 1
        if byte_at(text, at) in (PLUS, MINUS):
            at += 1
        before = at
        at = _skip_digits(text, at)
        if at == before:
            return -1, 0
    return at if at - start <= _LONGEST_NUMBER else -1, number


@compiled_and_cached
def _skip_digits(text: Address, at: int) -> int:
    while ZERO <= byte_at(text, at) <= NINE:
        at += 1
    return at


@compiled_and_cached
def _literal(text: Address, at: int) -> tuple[int, int]:
    """The length of `true`, `false` or `null`, and its value as a boolean; length 0 when it is none of them."""
    if (
        byte_at(text, at) == 116
        and byte_at(text, at + 1) == 114
        and byte_at(text, at + 2) == 117
        and byte_at(text, at + 3) == 101
    ):
        return 4, 1
    if (
        byte_at(text, at) == 110
        and byte_at(text, at + 1) == 117
        and byte_at(text, at + 2) == 108
        and byte_at(text, at + 3) == 108
    ):
        return 4, MISSING
    if (
        byte_at(text, at) == 102
        and byte_at(text, at + 1) == 97
        and byte_at(text, at + 2) == 108
        and byte_at(text, at + 3) == 115
        and byte_at(text, at + 4) == 101
    ):
        return 5, 0
    return 0, MISSING


@compiled_and_cached
def _has_long_run(text: Address, start: int, stop: int, tables: Tables) -> bool:
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


@compiled_and_cached
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


@compiled_and_cached
def _code(text: Address, start: int, size: int, group: int, tables: Tables) -> int:
    """What a text stands for in a group of words, or `MISSING`."""
    bucket = _bucket(text, start, size, group)
    while tables.buckets[bucket] >= 0:
        word = tables.buckets[bucket]
        begin = tables.word_starts[word]
        if (
            tables.word_groups[word] == group
            and tables.word_starts[word + 1] - begin == size
            and _is_same(_words(tables), begin, text, start, size)
        ):
            code: int = tables.word_codes[word]
            return code
        bucket = (bucket + 1) % BUCKETS
    return MISSING


@compiled_and_cached
def _words(tables: Tables) -> Address:
    return np.int64(tables.word_bytes.ctypes.data)


@compiled_and_cached
def bucket_of(word: Bytes, group: int) -> int:
    """Where the search for a word begins."""
    return _bucket(np.int64(word.ctypes.data), 0, word.size, group)


@compiled_and_cached
def _bucket(text: Address, start: int, size: int, group: int) -> int:
    """From the length and three bytes, which tells nearly all words apart."""
    mixed = group * 64 + size
    if size > 0:
        mixed = mixed * 31 + byte_at(text, start)
        mixed = mixed * 31 + byte_at(text, start + size // 2)
        mixed = mixed * 31 + byte_at(text, start + size - 1)
    return (mixed ^ (mixed >> 9)) % BUCKETS


@compiled_and_cached
def _is_same(one: Address, start: int, other: Address, begin: int, size: int) -> bool:
    """Whether `size` bytes are equal. Of `other` nothing is read behind the first one that differs."""
    for at in range(size):  # noqa: SIM110 - compiled
        if byte_at(one, start + at) != byte_at(other, begin + at):
            return False
    return True


@compiled_and_cached
def _is_blank(text: Address, start: int, size: int) -> bool:
    for at in range(start, start + size):  # noqa: SIM110 - compiled
        if byte_at(text, at) != SPACE:
            return False
    return True


@compiled_and_cached
def _digits(text: Address, start: int, size: int) -> int:
    number = 0
    for at in range(start, start + size):
        if not ZERO <= byte_at(text, at) <= NINE:
            return MISSING
        number = number * 10 + (byte_at(text, at) - ZERO)
    return number


@compiled_and_cached
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


@compiled_and_cached
def _card_key(text: Address, place: int) -> Any:
    """The first 64 bits of a reference that is a hash."""
    key = np.uint64(0)
    start = (place >> PLACE_BITS) + (place & LENGTH_MASK) - _HASH_DIGITS
    for at in range(start, start + 16):
        digit = np.uint64(byte_at(text, at)) - np.uint64(ZERO if byte_at(text, at) <= NINE else SMALL_A - 10)
        key = (key << np.uint64(4)) | digit
    return key


@compiled_and_cached
def _is_key(keys: Address, start: int, end: int, text: Address, card: int, account: int) -> bool:
    """Whether a message key is the card, or the account as far as that is ASCII. Neither looks like a card number."""
    size = end - start
    if size == card & LENGTH_MASK and _is_same(keys, start, text, card >> PLACE_BITS, size):
        return True
    if account < 0 or account & WIDE_BIT or size != account & LENGTH_MASK:
        return False
    return _is_same(keys, start, text, account >> PLACE_BITS, size)


@compiled_and_cached
def _skip_blanks(text: Address, at: int) -> int:
    while byte_at(text, at) == SPACE or byte_at(text, at) == 9:
        at += 1
    return at
