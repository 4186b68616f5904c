"""Dead letters: records that cannot be processed, described without repeating anything that they hold.

The payload is never kept. A malformed record is exactly the one whose card number sits in the wrong field.
"""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Self

# In the issuer's own form only what JSON writes without an escape.
_CARD_REF_IN_TEXT = re.compile(rb'"card_ref"\s*:\s*"(v\d{1,4}:[0-9a-f]{64}|x:[!#-\[\]-~]{1,78})"')

REDACTED = "[redacted]"
MAX_SEGMENT_LENGTH = 64
MAX_PATH_LENGTH = 200
# The shortest card number has 12 digits (ISO/IEC 7812-1 allows 8 to 19; no network issues fewer than 12).
FEWEST_CARD_DIGITS = 12


class ErrorClass(StrEnum):
    """Why a record cannot be processed. `replayable` says whether publishing it again can ever be right."""

    meaning: str
    replayable: bool

    def __new__(cls, value: str, meaning: str, replayable: bool = True) -> Self:
        """A member with its meaning; most may be published again."""
        member = str.__new__(cls, value)
        member._value_ = value
        member.meaning = meaning
        member.replayable = replayable
        return member

    NOT_JSON = "NOT_JSON", "the value is not one JSON object in UTF-8 of acceptable depth"
    NULL_VALUE = "NULL_VALUE", "the record has no value; this topic has no deletions", False
    RAW_NEWLINE = "RAW_NEWLINE", "a raw line break in the value: line-oriented readers of the log would see two records"
    TOO_LARGE = "TOO_LARGE", "the value is longer than the largest accepted record"
    UNKNOWN_SCHEMA_VERSION = "UNKNOWN_SCHEMA_VERSION", "`schema_version` is newer than this decoder; parked until it is"
    MISSING_FIELD = "MISSING_FIELD", "a required field is absent, null or blank"
    INVALID_FIELD = "INVALID_FIELD", "a required field has the wrong JSON type, length or format"
    KEY_MISMATCH = (
        "KEY_MISMATCH",
        "the message key is neither `card_ref` nor `account_ref`: order per card would be lost",
    )
    PAN_IN_KEY = "PAN_IN_KEY", "the message key holds a card number", False
    PAN_IN_CARD_REF = "PAN_IN_CARD_REF", "`card_ref` holds a card number", False


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One record that was refused.

    Args:
        offset: its offset in its partition.
        error_class: why.
        field_path: the field at fault, where one is.
        payload_digest: hexadecimal HMAC-SHA-256 of the value, to recognise the same payload again.
        payload_bytes: length of the value.
        card_ref: the card, where it can be read and holds no card number: its exposure is still matched.

    """

    offset: int
    error_class: ErrorClass
    field_path: str | None
    payload_digest: str
    payload_bytes: int
    card_ref: str | None


class RefusedError(Exception):
    """One record cannot be processed; the decoder makes a dead letter of it."""

    def __init__(self, error_class: ErrorClass, field_path: str | None = None) -> None:
        super().__init__(error_class)
        self.error_class = error_class
        self.field_path = field_path


def payload_digest(key: bytes, payload: bytes | None) -> str:
    """Hexadecimal HMAC-SHA-256 of a payload; no payload counts as an empty one."""
    return hmac.digest(key, payload or b"", "sha256").hex()


def card_ref_in_text(payload: bytes) -> str | None:
    """The first card reference in a payload that does not parse. It may still hold a card number."""
    found = _CARD_REF_IN_TEXT.search(payload)
    return found.group(1).decode() if found else None


def safe_path(path: str) -> str:
    """A field path that may be stored: names come from the producer, and a name can itself be a card number."""
    segments = [REDACTED if _unsafe(segment) else segment for segment in path.split(".")]
    joined = ".".join(segments)
    if _digits(joined) >= FEWEST_CARD_DIGITS or len(joined) > MAX_PATH_LENGTH:
        return REDACTED
    return joined


def _unsafe(segment: str) -> bool:
    return len(segment) > MAX_SEGMENT_LENGTH or not segment.isprintable() or _digits(segment) >= FEWEST_CARD_DIGITS


def _digits(text: str) -> int:
    """Digits of any script, wherever they stand: separators do not hide a number."""
    return sum(character.isdigit() for character in text)
