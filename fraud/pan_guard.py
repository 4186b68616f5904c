"""The PAN guard: finds card numbers where none may be, so that none is ever stored.

Identifier fields are tested for the issuer's own numbers only, as whole values: Luhn and general ranges alone would hit
one random 16-digit identifier in forty, and a merchant's number must not silence the merchant. Free text, unknown
fields and their names are tested against every large network's ranges. A candidate is always a whole run of digits, or
neighbouring runs joined by single spaces or dashes; a part of a longer plain run is none.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from fraud.cards import HIDDEN, PAN_LENGTHS, is_card_ref, luhn_valid, plain_spelling
from fraud.errors import ConfigurationError
from fraud.settings import PortfolioSettings
from fraud.transactions import FIELD_BY_NAME, Field, Kind

# Issuer number ranges of the large networks (ISO/IEC 7812 prefixes as the networks publish them).
_NETWORK_RANGES = (
    *("4",),  # Visa
    *("51-55", "2221-2720", "50", "56-58", "63", "67"),  # Mastercard and Maestro
    *("34", "37"),  # American Express
    *("3528-3589",),  # JCB
    *("300-305", "3095", "36", "38-39"),  # Diners Club
    *("62",),  # UnionPay
    *("6011", "644-659"),  # Discover
)
_NETWORK_LENGTHS = range(13, 20)
_PREFIX = 11  # ranges are compared on this many digits; every card number has more
_SHORTEST, _LONGEST = PAN_LENGTHS[0], PAN_LENGTHS[-1]
_SMALLEST, _LARGEST = 10 ** (_SHORTEST - 1), 10**_LONGEST - 1
_PATH_LIMIT = 200
_KEY = "{key}"

_CHAIN = re.compile(rf"[0-9](?:[ -]?[0-9]){{{_SHORTEST - 1},}}")
_RUN = re.compile(r"[0-9]+")
# Digests and UUIDs are opaque: digit runs inside them are chance. One without a single letter is not exempt.
_OPAQUE = re.compile(
    r"(?<![0-9A-Za-z])(?:[0-9a-fA-F]{32,}|[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12})(?![0-9A-Za-z])"
)
# A whole value that is one number; tables that read numbers as floats write `.0` behind it.
_WHOLE_VALUE = re.compile(r"([0-9]+(?:[ -][0-9]+)*)(?:\.0+)?")
# An escape of a digit, plain or full-width, or any escape with a digit behind it: it may be a separator.
_ESCAPE = re.compile(rb"\\u(?:003[0-9]|[fF][fF]1[0-9]|[0-9a-fA-F]{4}[0-9])")
_WIDE_DIGIT = re.compile(rb"\xef\xbc[\x90-\x99]")
_SEPARATOR_BYTES = b" -" + bytes(range(0x80, 0x100))  # with every byte that a wide separator can consist of
_DIGIT_MARKS = bytes(ord("0") if chr(byte) in "0123456789" else ord("x") for byte in range(256))
_POINT = ord(".")
_KEY_REFERENCE = re.compile(rb"v[0-9]{1,4}:[0-9a-f]{64}")


def _bounds(item: str) -> tuple[str, str]:
    """The first and the last 11 digits of a prefix (`411111`) or a range of prefixes (`411111-411119`)."""
    low, dash, high = item.partition("-")
    high = high if dash else low
    if not re.fullmatch(r"[0-9]{1,11}-[0-9]{1,11}", f"{low}-{high}") or len(low) != len(high) or low > high:
        message = "portfolio.bin_ranges: a range is a prefix, or two of one length, the lower first, joined by a dash"
        raise ConfigurationError(message)
    return low.ljust(_PREFIX, "0"), high.ljust(_PREFIX, "9")


class _Ranges:
    """Number ranges with lengths: does a digit string lie in one, and is its check digit right."""

    def __init__(self, ranges: Iterable[str], lengths: Iterable[int]) -> None:
        bounds = [_bounds(item) for item in ranges]
        merged: list[tuple[str, str]] = []
        for low, high in sorted(bounds):
            if merged and low <= merged[-1][1]:
                merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
            else:
                merged.append((low, high))
        self._bounds = merged
        self._lows = [low for low, _ in merged]
        self.lengths = frozenset(lengths)

    @property
    def first_digits(self) -> set[str]:
        """The digits that a number in these ranges can begin with."""
        return {digit for digit in "0123456789" if any(low[0] <= digit <= high[0] for low, high in self._bounds)}

    def hold(self, digits: str) -> bool:
        """True when a digit string has a length, a range and a check digit of these."""
        if len(digits) not in self.lengths:
            return False
        prefix = digits[:_PREFIX]
        at = bisect_right(self._lows, prefix) - 1
        return at >= 0 and prefix <= self._bounds[at][1] and luhn_valid(digits)


class PanShape(NamedTuple):
    """Runs of fewer digits, of other lengths or with other first digits are no card numbers."""

    shortest_run: int
    lengths: frozenset[int]
    first_digits: frozenset[int]


class PanGuard:
    """Finds card numbers in records, keys and text.

    `bin_ranges` are the issuer's own (`411111`, or `411111-411119`), `lengths` its card numbers' lengths (12 to 19).
    `ConfigurationError` says what to set when there are none.
    """

    def __init__(self, bin_ranges: Iterable[str], lengths: Iterable[int]) -> None:
        bin_ranges, lengths = tuple(bin_ranges), tuple(lengths)
        if not bin_ranges:
            message = (
                "portfolio.bin_ranges is empty: set the issuer's own number ranges, for example "
                'MIMAMORI_PORTFOLIO__BIN_RANGES=\'["411111", "352800-352899"]\''
            )
            raise ConfigurationError(message)
        if not lengths or not all(length in PAN_LENGTHS for length in lengths):
            message = f"portfolio.pan_lengths: card numbers have {_SHORTEST} to {_LONGEST} digits"
            raise ConfigurationError(message)
        self._own = _Ranges(bin_ranges, lengths)
        self._networks = _Ranges(_NETWORK_RANGES, _NETWORK_LENGTHS)
        self._first_digits = frozenset(self._own.first_digits | self._networks.first_digits)
        self._shortest_run = b"0" * min(*lengths, *_NETWORK_LENGTHS)

    @property
    def shape(self) -> PanShape:
        """What a digit run must have to be a card number of any issuer, for readers that only preselect records."""
        return PanShape(
            len(self._shortest_run), self._own.lengths | self._networks.lengths, frozenset(map(int, self._first_digits))
        )

    @classmethod
    def from_settings(cls, portfolio: PortfolioSettings) -> PanGuard:
        """The guard of the settings; `ConfigurationError` when the issuer's ranges are not set."""
        return cls(portfolio.bin_ranges, portfolio.pan_lengths)

    def owns(self, digits: str) -> bool:
        """True when an ASCII digit string is a card number of this issuer: length, range and check digit."""
        return self._own.hold(digits)

    def find_in_text(self, text: str) -> bool:
        """True when free text holds a card number, of any issuer."""
        return any(self._is_any(digits) for digits, _, _ in _candidates(text, self._first_digits))

    def redact(self, text: str) -> str:
        """`text` with every card number masked to its last four digits."""
        spans: list[list[int]] = []
        for digits, start, end in _candidates(text, self._first_digits):
            if self._is_any(digits):
                if spans and start < spans[-1][1]:
                    spans[-1][1] = max(end, spans[-1][1])
                else:
                    spans.append([start, end])
        for start, end in reversed(spans):
            last4 = "".join(_RUN.findall(plain_spelling(text[start:end])))[-4:]
            text = f"{text[:start]}{HIDDEN}{last4}{text[end:]}"
        return text

    def contains_pan_bytes(self, raw: bytes) -> bool:
        """True when a message key holds a card number of this issuer; a `v` card reference is exempt."""
        return _KEY_REFERENCE.fullmatch(raw) is None and self._own_in_text(raw.decode("utf-8", "replace"))

    def finds_in_card_ref(self, card_ref: str) -> bool:
        """True when what should be a card reference holds a card number.

        The `v` form cannot, the `x` form must not hold one of this issuer, and what has neither form is free text.
        """
        if is_card_ref(card_ref):
            return card_ref.startswith("x:") and self._own_in_text(card_ref)
        return self.find_in_text(card_ref)

    def scan_record(self, raw: bytes, decoded: dict[str, Any]) -> list[str]:
        """Paths of the fields of a record that hold a card number, after setting those values in `decoded` to None.

        `raw` is the record as JSON, `decoded` what it says, unknown fields included. In a path `[]` is any index and
        `{key}` a name that itself holds a card number, which is removed with its value.
        """
        return self._blank(decoded) if self._is_suspicious(raw) else []

    def _is_suspicious(self, raw: bytes) -> bool:
        """False only when no value of a record can be found. Most records end here, so it looks at bytes, not fields.

        Once separators are taken out, is there a run of enough digits that is a card number, or that was joined from
        several? Only what is so joined, escaped, wide, or the fraction of a large number has to be looked at closely.
        """
        if b"\\" in raw and _ESCAPE.search(raw):
            return True
        if raw.isascii():
            compact = raw.replace(b" ", b"").replace(b"-", b"")
        elif _WIDE_DIGIT.search(raw):
            return True
        else:
            compact = raw.translate(None, _SEPARATOR_BYTES)
        marks = compact.translate(_DIGIT_MARKS)
        start = marks.find(self._shortest_run)
        while start >= 0:
            end = marks.find(b"x", start)
            run = compact[start : end if end >= 0 else None]
            if compact.count(run) != raw.count(run):  # joined
                return True
            if self._is_any(run.decode("ascii")):
                return True
            if start and compact[start - 1] == _POINT and compact[end] in b"eE":
                return True
            start = marks.find(self._shortest_run, end) if end >= 0 else -1
        return False

    def _blank(self, decoded: dict[str, Any]) -> list[str]:
        found: list[str] = []
        # A stack, not recursion: how deep a record nests is the sender's choice.
        pending: list[tuple[Any, str]] = [(decoded, "")]
        while pending:
            container, path = pending.pop()
            known = FIELD_BY_NAME if container is decoded else {}
            is_list = isinstance(container, list)
            for key, value in list(enumerate(container) if is_list else container.items()):
                field = known.get(key)
                if field is not None and isinstance(value, str) and len(value) < _SHORTEST:
                    continue  # most fields of a record that is looked at closely
                if field is None and not is_list and self.find_in_text(key):
                    del container[key]
                    found.append(_join(path, _KEY))
                elif isinstance(value, (dict, list)):
                    pending.append((value, _join(path, key)))
                elif self._is_found(value, field):
                    container[key] = None
                    found.append(_join(path, key))
        return found

    def _is_found(self, value: Any, field: Field | None) -> bool:
        """`field` is None for what the contract does not know."""
        if isinstance(value, str):
            if field is None or field.kind is Kind.TEXT:
                return self.find_in_text(value)
            if field.name == "card_ref":
                return self.finds_in_card_ref(value)
            whole = _WHOLE_VALUE.fullmatch(plain_spelling(value).strip())
            return whole is not None and self.owns("".join(_RUN.findall(whole[1])))
        # Numbers are identifiers wherever they stand: no amount and no time is as long as a card number.
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        return isinstance(value, int) and _SMALLEST <= value <= _LARGEST and self.owns(str(value))

    def _own_in_text(self, text: str) -> bool:
        return any(self.owns(digits) for digits, _, _ in _candidates(text, self._first_digits))

    def _is_any(self, digits: str) -> bool:
        return digits[0] in self._first_digits and (self._networks.hold(digits) or self._own.hold(digits))


def _join(path: str, key: str | int) -> str:
    """A path for people and counters: bounded, printable whatever the sender called its fields, and free of indices."""
    if isinstance(key, int):
        return f"{path}[]"[:_PATH_LIMIT]
    name = "".join(sign if sign.isprintable() else "?" for sign in key[:_PATH_LIMIT])
    return (f"{path}.{name}" if path else name)[:_PATH_LIMIT]


def _hide_opaque(match: re.Match[str]) -> str:
    token = match[0]
    return token if set(token) <= set("0123456789-") else "x" * len(token)


def _candidates(text: str, first_digits: frozenset[str]) -> Iterator[tuple[str, int, int]]:
    """Runs of neighbouring digit groups with a card number's length and first digit: digits, start, end in `text`."""
    plain = plain_spelling(text)
    if _CHAIN.search(plain) is None:
        return
    plain = _OPAQUE.sub(_hide_opaque, plain)
    for chain in _CHAIN.finditer(plain):
        runs = [run.span() for run in _RUN.finditer(plain, *chain.span())]
        for first, (start, _) in enumerate(runs):
            if plain[start] not in first_digits:
                continue
            digits = ""
            for low, high in runs[first:]:
                digits += plain[low:high]
                if len(digits) > _LONGEST:
                    break
                if len(digits) >= _SHORTEST:
                    yield digits, start, high
