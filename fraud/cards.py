"""Card numbers become references here, and leave no other trace.

A card reference is `v{key}:{hex}`, the HMAC-SHA-256 of the whole card number under a numbered key, or `x:{id}`, the
issuer's own opaque id. Everything inside the product knows cards by reference, and hot paths by its first 64 bits.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from itertools import starmap
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraud.errors import ConfigurationError, InvalidInputError
from fraud.settings import CardSettings

# ISO/IEC 7812-1: a card number has at most 19 digits; the networks issue none below 12.
PAN_LENGTHS = range(12, 20)
HIDDEN = "••••"
BIN_DIGITS = 6  # of a longer BIN we keep and show six: with the last four, eight would leave only four digits hidden
_HEX = 64  # SHA-256 in hexadecimal
_SPREADSHEET_DIGITS = 15  # that a spreadsheet keeps of a number
_MERCHANT_CACHE = 1 << 18  # about 60 MB when full

_SPACES = "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u3000"
_DASHES = (
    "\u2010\u2011\u2012\u2013\u2014\u2015\u2212\u30fc\uff0d\uff70"  # the last three are what Japanese keyboards give
)
_PLAIN_SPELLING = (
    {0xFF10 + digit: str(digit) for digit in range(10)}
    | dict.fromkeys(map(ord, _SPACES), " ")
    | dict.fromkeys(map(ord, _DASHES), "-")
)
_MASK_SIGNS = "*•●○·xX#\u00d7\uff0a"  # the last two: the multiplication sign and the full-width asterisk
_MASKED = re.compile(rf"[0-9{_MASK_SIGNS}]*[{_MASK_SIGNS}][0-9{_MASK_SIGNS}]*")
_SCIENTIFIC = re.compile(r"[0-9]+(?:[.,][0-9]+)?[eE][+-]?[0-9]+")
_CARD_REF = re.compile(r"v[0-9]{1,4}:[0-9a-f]{64}|x:[!-~]{1,78}")
# "0".."9" to the digit sum of its double, again as ASCII.
_DOUBLED = bytes.maketrans(b"0123456789", b"0246813579")


class PanProblem(StrEnum):
    """Why a text is no card number."""

    EMPTY = "EMPTY"
    SCIENTIFIC = "SCIENTIFIC"  # a spreadsheet shows it so; the digits are lost
    ROUNDED = "ROUNDED"  # a spreadsheet keeps 15 digits and writes zeros for the rest
    MASKED = "MASKED"  # not unique, so it names no card
    NOT_DIGITS = "NOT_DIGITS"
    WRONG_LENGTH = "WRONG_LENGTH"
    CHECK_DIGIT = "CHECK_DIGIT"


_ADVICE: Mapping[PanProblem, str] = {
    PanProblem.EMPTY: "a card number is needed",
    PanProblem.SCIENTIFIC: "the card number is in scientific notation, its digits are lost; export the column as text",
    PanProblem.ROUNDED: "the card number was rounded by a spreadsheet, its last digits are lost; export it as text",
    PanProblem.MASKED: "the card number is masked; a masked number names no single card",
    PanProblem.NOT_DIGITS: "a card number has digits only, with spaces or dashes between them",
    PanProblem.WRONG_LENGTH: "a card number has 12 to 19 digits",
    PanProblem.CHECK_DIGIT: "the card number's check digit is wrong",
}


def plain_spelling(text: str) -> str:
    """`text` with full-width digits, wide spaces and typographic dashes in ASCII; the length stays the same."""
    return text if text.isascii() else text.translate(_PLAIN_SPELLING)


def luhn_valid(digits: str) -> bool:
    """True when an ASCII digit string ends in its check digit (ISO/IEC 7812-1, annex B)."""
    if not (digits.isascii() and digits.isdigit()):
        return False
    backwards = digits.encode("ascii")[::-1]
    total = sum(backwards[::2]) + sum(backwards[1::2].translate(_DOUBLED)) - len(backwards) * ord("0")
    return total % 10 == 0


def read_pan(text: str) -> tuple[str, PanProblem | None]:
    """The digits of a card number as people write it and None, or an empty string and what is wrong."""
    compact = plain_spelling(text).strip()
    if _SCIENTIFIC.fullmatch(compact):
        return "", PanProblem.SCIENTIFIC
    compact = compact.replace(" ", "").replace("-", "")
    problem = _pan_problem(compact)
    return ("", problem) if problem else (compact, None)


def _pan_problem(compact: str) -> PanProblem | None:
    problem = None
    if not compact:
        problem = PanProblem.EMPTY
    elif _MASKED.fullmatch(compact):
        problem = PanProblem.MASKED
    elif not (compact.isascii() and compact.isdigit()):
        problem = PanProblem.NOT_DIGITS
    elif len(compact) not in PAN_LENGTHS:
        problem = PanProblem.WRONG_LENGTH
    elif not luhn_valid(compact):
        rounded = len(compact) > _SPREADSHEET_DIGITS and not compact[_SPREADSHEET_DIGITS:].strip("0")
        problem = PanProblem.ROUNDED if rounded else PanProblem.CHECK_DIGIT
    return problem


class CardTokenizer:
    """Makes card references under numbered keys: new ones under the active key, look-ups under all of them.

    `keys` maps key versions (1 to 9999) to keys of at least 128 bits.
    """

    __slots__ = ("_active", "_keys")

    def __init__(self, keys: Mapping[int, bytes], active_key: int) -> None:
        if active_key not in keys:
            message = (
                "no key for card references: set cards.keys and cards.active_key, for example "
                'MIMAMORI_CARDS__KEYS=\'{"1": "<at least 32 hexadecimal digits>"}\' and MIMAMORI_CARDS__ACTIVE_KEY=1'
            )
            raise ConfigurationError(message)
        if not all(0 < version < 10_000 for version in keys):
            message = "cards.keys: a key version is a number from 1 to 9999"
            raise ConfigurationError(message)
        older = sorted((version for version in keys if version != active_key), reverse=True)
        self._active = active_key
        self._keys = {version: keys[version] for version in (active_key, *older)}

    def __repr__(self) -> str:
        return f"CardTokenizer(active_key={self._active}, versions={list(self._keys)})"

    @classmethod
    def from_settings(cls, cards: CardSettings) -> CardTokenizer:
        """The tokenizer of the settings; `ConfigurationError` says what to set when there is no key."""
        keys = {version: bytes.fromhex(key.get_secret_value()) for version, key in cards.keys.items()}
        return cls(keys, cards.active_key)

    def reference(self, pan: str) -> str:
        """The card reference of a card number under the active key; `InvalidInputError` on `pan` when it is none."""
        return self._under(self._active, _checked(pan))

    def references(self, pan: str) -> tuple[str, ...]:
        """The card references under every known key, the active one first: for look-ups while keys rotate."""
        return self.checked_references(_checked(pan))

    def checked_references(self, digits: str) -> tuple[str, ...]:
        """The same for digits that `read_pan` or the PAN guard has accepted: where there are a million of them."""
        return tuple(self._under(version, digits) for version in self._keys)

    def _under(self, version: int, digits: str) -> str:
        return f"v{version}:{hmac.digest(self._keys[version], digits.encode('ascii'), 'sha256').hex()}"


def _checked(pan: str) -> str:
    digits, problem = read_pan(pan)
    if problem:
        raise InvalidInputError(_ADVICE[problem], field="pan")
    return digits


def is_card_ref(text: str) -> bool:
    """True for `v{key}:{64 hex}` and `x:{1 to 78 printable ASCII characters}`, exactly."""
    return _CARD_REF.fullmatch(text) is not None


def card_keys(refs: NDArray[Any]) -> NDArray[np.uint64]:
    """The first 64 bits of each card reference: `(n,)` object array of str to `(n,)` uint64.

    For `v` references these are the first 16 hexadecimal digits, for `x` references an 8-byte BLAKE2b of the text.
    The references must have passed `is_card_ref`; what is plainly none raises `InvalidInputError`.
    """
    try:
        # The hash is always the last 64 characters, so the key version's width does not matter.
        prefixes = [ref[-_HEX : 16 - _HEX] if ref[0] == "v" else _digest(ref.encode()).hex() for ref in refs.tolist()]
        data = bytes.fromhex("".join(prefixes))
    except (TypeError, ValueError, IndexError):
        data = b""
    if len(data) != 8 * len(refs):
        message = "card_ref has the wrong form"
        raise InvalidInputError(message, field="card_ref")
    return np.frombuffer(data, dtype=">u8").astype(np.uint64)


def card_key(card_ref: str) -> int:
    """The first 64 bits of one card reference; `InvalidInputError` on `card_ref` when it has the wrong form."""
    if not is_card_ref(card_ref):
        message = "card_ref has the wrong form"
        raise InvalidInputError(message, field="card_ref")
    return int(card_keys(np.array([card_ref], dtype=np.object_))[0])


def merchant_keys(acquirer_ids: NDArray[Any], merchant_ids: NDArray[Any]) -> NDArray[np.uint64]:
    """A 64-bit key of each (acquirer, merchant) pair: two `(n,)` object arrays of str | None to `(n,)` uint64.

    0 means that the merchant is missing. The keys are part of stored state: their definition must not change.
    """
    keys = starmap(_merchant_key, zip(acquirer_ids.tolist(), merchant_ids.tolist(), strict=True))
    return np.fromiter(keys, dtype=np.uint64, count=len(merchant_ids))


@lru_cache(maxsize=_MERCHANT_CACHE)
def _merchant_key(acquirer_id: str | None, merchant_id: str | None) -> int:
    if not merchant_id:
        return 0
    acquirer = (acquirer_id or "").encode()
    # The acquirer's length comes first, so that ("a", "bc") and ("ab", "c") stay different.
    digest = _digest(b"%d:%s:%s" % (len(acquirer), acquirer, merchant_id.encode()))
    return int.from_bytes(digest, "big") or 1


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=8).digest()


def mask(pan: str) -> str:
    """A card number for people: at most the last four digits. What is no card number shows nothing."""
    digits = re.sub(r"[^0-9]", "", plain_spelling(pan))
    return HIDDEN + digits[-4:] if len(digits) in PAN_LENGTHS else HIDDEN


def display(bin_digits: str | None, last4: str | None) -> str:
    """A card for people, from what is stored of its number: `411111••••1111`; missing parts are left out."""
    shown_bin = re.sub(r"[^0-9]", "", bin_digits or "")[:BIN_DIGITS]
    shown_last4 = re.sub(r"[^0-9]", "", last4 or "")[-4:]
    return f"{shown_bin}{HIDDEN}{shown_last4}"
