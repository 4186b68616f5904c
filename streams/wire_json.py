"""One record's bytes to its fields: the JSON language of the contract, exactly."""

from __future__ import annotations

import json
import math
from typing import Any, Final, NoReturn

import msgspec

from streams.dead_letters import ErrorClass, RefusedError

MAX_DEPTH: Final = 32  # a transaction is flat; nesting deeper than any extension needs only costs stack
_LONGEST_INTEGER: Final = 300  # digits; far beyond every field, and within any limit of Python's own


def parse_record(value: bytes, max_record_bytes: int) -> dict[str, Any]:
    """The fields of one value, or `RefusedError`. Of a name that comes twice the last one counts."""
    if len(value) > max_record_bytes:
        raise RefusedError(ErrorClass.TOO_LARGE)
    if b"\n" in value or b"\r" in value:
        raise RefusedError(ErrorClass.RAW_NEWLINE)
    try:
        try:
            fields = msgspec.json.decode(value)
        except msgspec.DecodeError:
            fields = _parse_leniently(value)
    except (ValueError, RecursionError):
        # The parsers' messages may repeat what they read, so nothing of them is kept.
        raise RefusedError(ErrorClass.NOT_JSON) from None
    if type(fields) is not dict:
        raise RefusedError(ErrorClass.NOT_JSON)
    # Counting brackets is nearly free and settles it for every ordinary record.
    if value.count(b"{") + value.count(b"[") > MAX_DEPTH and _is_deeper_than(fields, MAX_DEPTH):
        raise RefusedError(ErrorClass.NOT_JSON)
    return fields


def parse_string(text: bytes) -> str:
    """A string as `parse_record` reads it: what stands between its quotation marks, without half surrogate pairs."""
    return msgspec.json.decode(b'"%b"' % text, type=str)


def parse_numbers(texts: list[bytes]) -> list[Any]:
    """JSON numbers as `parse_record` reads them; None where one is beyond every use."""
    joined = b"[%b]" % b",".join(texts)
    try:
        numbers: list[Any] = msgspec.json.decode(joined)
    except msgspec.DecodeError:
        numbers = _parse_leniently(joined)
    return numbers


def _parse_leniently(value: bytes) -> Any:
    """Parse JSON that the fast parser refuses although its grammar is right; ValueError where it is not.

    Two things are such. A number beyond the range of a double, or of thousands of digits, becomes null. Half of a
    surrogate pair (a name cut in the middle of a character) becomes a question mark. Neither may hide a transaction.
    """
    parsed = _LENIENT_PARSER.decode(value.decode())
    return msgspec.json.decode(json.dumps(parsed, ensure_ascii=False, allow_nan=False).encode(errors="replace"))


def _integer_or_none(text: str) -> int | None:
    return int(text) if len(text) <= _LONGEST_INTEGER else None


def _finite_or_none(text: str) -> float | None:
    number = float(text)
    return number if math.isfinite(number) else None


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _is_deeper_than(value: Any, depth: int) -> bool:
    level = [value]
    for _ in range(depth):
        level = [
            child
            for item in level
            for child in (item.values() if type(item) is dict else item if type(item) is list else ())
        ]
        if not level:
            return False
    return any(type(item) in (dict, list) for item in level)


_LENIENT_PARSER: Final = json.JSONDecoder(
    parse_int=_integer_or_none, parse_float=_finite_or_none, parse_constant=_refuse_constant
)
