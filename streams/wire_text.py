"""JSON as bytes, for compiled readers: where strings and numbers end, and what short texts are.

A text is passed on as the address where it starts: an array would be counted in and out of each function here, which
would cost more than all the reading. What is read must end with a byte that no record holds, such as a line break.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from numba import types
from numba.extending import intrinsic

from models.compiling import compiled

Address = Any  # where a text starts
Tables = Any  # one record of `wire_scan.TABLES`

MISSING: Final = -1  # there, and nothing that could be used

# Classes of bytes in a string.
PLAIN, QUOTE, WIDE, ESCAPE, ODD = range(5)

SPACE, QUOTATION_MARK, PLUS, COMMA, MINUS, POINT, SLASH, ZERO, NINE, COLON = (*b' "+,-./09:',)
LARGE_E, SMALL_A, SMALL_E, SMALL_F, LETTER_U, LETTER_V, LETTER_X = (*b"Eaefuvx",)
TAB, OPENING_BRACE, CLOSING_BRACE = (*b"\t{}",)

_LONGEST_INTEGER: Final = 18  # digits; all of them fit 64 bits
_LONGEST_NUMBER: Final = 40  # characters


@intrinsic
def _load(context: Any, address: Any, at: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        byte, wide = context.get_value_type(types.uint8), context.get_value_type(types.int64)
        return builder.zext(builder.load(builder.inttoptr(builder.add(*arguments), byte.as_pointer())), wide)

    return types.int64(types.int64, types.int64), generate


# One byte of a text; nothing checks that it is inside.
byte_at: Callable[[Address, int], int] = _load  # type: ignore[assignment]


@compiled
def skip_blanks(text: Address, at: int) -> int:
    """Where something stands that is neither a space nor a tab."""
    while byte_at(text, at) in (SPACE, TAB):
        at += 1
    return at


@compiled
def string_end(text: Address, at: int, tables: Tables) -> tuple[int, int]:
    """Where the string's closing quotation mark is, and 1 if it is wide; -1 when it is unusual."""
    wide = 0
    while True:
        kind = tables.classes[byte_at(text, at)]
        if kind == QUOTE:
            return at, wide
        if kind == PLAIN:
            at += 1
            continue
        wide = 1
        if kind == ESCAPE:
            at = _escape_end(text, at)
        elif kind == WIDE:
            at = -1 if _is_wide_digit(text, at) else at + 1
        else:
            at = -1
        if at < 0:
            return -1, wide


@compiled
def _is_wide_digit(text: Address, at: int) -> bool:
    return byte_at(text, at) == 0xEF and byte_at(text, at + 1) == 0xBC and 0x90 <= byte_at(text, at + 2) <= 0x99


@compiled
def _escape_end(text: Address, at: int) -> int:
    """Where an escape ends; -1 when it is unusual.

    Unusual is what the guard looks at closely, which are digits and whatever has a digit behind it; escapes that could
    be read in two ways, as an escaped backslash can; and half of a surrogate pair.
    """
    sign = byte_at(text, at + 1)
    if sign in (QUOTATION_MARK, SLASH):
        return at + 2
    if sign != LETTER_U:
        return -1
    code = 0
    for digit in range(at + 2, at + 6):
        sign = byte_at(text, digit)
        if ZERO <= sign <= NINE:
            code = code * 16 + sign - ZERO
        elif SMALL_A <= sign | 32 <= SMALL_F:
            code = code * 16 + (sign | 32) - SMALL_A + 10
        else:
            return -1
    if 0x30 <= code <= 0x39 or 0xFF10 <= code <= 0xFF19 or 0xD800 <= code <= 0xDFFF:
        return -1
    return -1 if ZERO <= byte_at(text, at + 6) <= NINE else at + 6


@compiled
def number_end(text: Address, at: int) -> tuple[int, int]:
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


@compiled
def _skip_digits(text: Address, at: int) -> int:
    while ZERO <= byte_at(text, at) <= NINE:
        at += 1
    return at


@compiled
def literal_at(text: Address, at: int) -> tuple[int, int]:
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


@compiled
def digits_at(text: Address, start: int, size: int) -> int:
    """The number that some digits spell, or `MISSING` where not all are digits."""
    number = 0
    for at in range(start, start + size):
        if not ZERO <= byte_at(text, at) <= NINE:
            return MISSING
        number = number * 10 + (byte_at(text, at) - ZERO)
    return number


@compiled
def is_blank(text: Address, start: int, size: int) -> bool:
    """Whether there is nothing but spaces."""
    for at in range(start, start + size):  # noqa: SIM110 - compiled
        if byte_at(text, at) != SPACE:
            return False
    return True


@compiled
def is_same(one: Address, start: int, other: Address, begin: int, size: int) -> bool:
    """Whether `size` bytes are equal. Of `other` nothing is read behind the first one that differs."""
    for at in range(size):  # noqa: SIM110 - compiled
        if byte_at(one, start + at) != byte_at(other, begin + at):
            return False
    return True
