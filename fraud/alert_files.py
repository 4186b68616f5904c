"""Exposed-card files as they arrive from networks, acquirers and shops: read in memory, nothing kept but references.

A file is CSV with a header, in UTF-8 or Shift_JIS. Card numbers become references while a row is read. A file with
something that looks like security codes, track data or PINs is refused whole, and so is one that cannot be read to its
end: a result is either complete or it is an error. No error, reason or result holds a value from the file.
"""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from enum import StrEnum
from typing import BinaryIO

from fraud.alert_columns import Layout, cell_text, refused
from fraud.cards import BIN_DIGITS, CardTokenizer, PanProblem, is_card_ref, read_pan
from fraud.errors import ConfigurationError
from fraud.pan_guard import PanGuard

MAX_FILE_BYTES = 256 << 20
MAX_ROWS = 2_000_000  # about 300 bytes of memory each
_CHUNK = 1 << 20


class RowProblem(StrEnum):
    """Why a row is not taken; what is wrong with a card number itself is a `PanProblem`."""

    COLUMN_COUNT = "COLUMN_COUNT"  # more cells than the header has
    REFERENCE = "REFERENCE"  # no card reference, or one with a card number in it
    EXPIRY = "EXPIRY"
    EXPOSED_ON = "EXPOSED_ON"
    NOT_OURS = "NOT_OURS"  # outside the issuer's number ranges


@dataclass(frozen=True, slots=True)
class ParsedCard:
    """One exposed card of a file. `expiry` is `YYYY-MM` as the file gives it; `bin` is the first six digits."""

    card_ref: str
    pan_last4: str | None = None
    bin: str | None = None
    expiry: str | None = None
    exposed_on: date | None = None


@dataclass(frozen=True, slots=True)
class ParsedAlertFile:
    """What a file holds: rows = cards + malformed + duplicates + unknown.

    `sha256` is of the bytes as they came, `malformed` has line numbers (the header's is 1) and reasons, `duplicates`
    name a card again (the first row counts), `unknown` are numbers outside the issuer's ranges.
    """

    sha256: str
    rows: int
    cards: list[ParsedCard] = field(repr=False)
    malformed: list[tuple[int, str]] = field(repr=False)
    duplicates: int
    unknown: int


@dataclass(frozen=True, slots=True)
class LineError:
    """A line that gives no card reference."""

    line: int
    reason: str


def tokenize_lines(lines: Iterable[str], tokenizer: CardTokenizer, guard: PanGuard) -> Iterator[str | LineError]:
    """A card reference for each line that holds one of the issuer's card numbers, a `LineError` for any other."""
    for number, line in enumerate(lines, start=1):
        digits, problem = read_pan(line)
        if problem or not guard.owns(digits):
            yield LineError(number, problem or RowProblem.NOT_OURS)
        else:
            yield tokenizer.reference(digits)


def parse_alert_file(source: bytes | BinaryIO, *, tokenizer: CardTokenizer | None, guard: PanGuard) -> ParsedAlertFile:
    """Read an exposed-card file.

    `tokenizer` may be None where all files carry references; `ConfigurationError` when one with numbers comes then.
    `InvalidInputError` when the file as a whole cannot be taken; its `field` names the file or a column by position.
    """
    data = _whole(source)
    text = io.TextIOWrapper(io.BytesIO(data), encoding=_encoding(data), newline="")
    before = 0
    header = ""
    for header in text:
        before += 1
        if header.strip():
            break
    layout = Layout(header)
    if layout.number is not None and tokenizer is None:
        message = "the file holds card numbers and no key for card references is set: set cards.keys"
        raise ConfigurationError(message)
    reader = _Reader(layout, tokenizer, guard)
    for line, row in _rows(text, layout.delimiter, before):
        reader.take(line, row)
    layout.refuse_codes()
    return ParsedAlertFile(
        sha256=hashlib.sha256(data).hexdigest(),
        rows=reader.rows,
        cards=reader.cards,
        malformed=reader.malformed,
        duplicates=reader.duplicates,
        unknown=reader.unknown,
    )


def _whole(source: bytes | BinaryIO) -> bytes:
    chunks: list[bytes] = [source] if isinstance(source, bytes) else []
    size = sum(map(len, chunks))
    while not isinstance(source, bytes) and size <= MAX_FILE_BYTES and (chunk := source.read(_CHUNK)):
        chunks.append(chunk)
        size += len(chunk)
    if size > MAX_FILE_BYTES:
        raise refused(f"the file is larger than {MAX_FILE_BYTES >> 20} MiB; split it")
    return b"".join(chunks)


def _encoding(data: bytes) -> str:
    if b"\0" in data:
        raise refused("the file is no text in UTF-8 or Shift_JIS; export it as CSV")
    for encoding in ("utf-8-sig", "cp932"):
        if _decodes(data, encoding):
            return encoding
    raise refused("the file is no text in UTF-8 or Shift_JIS; export it as CSV")


def _decodes(data: bytes, encoding: str) -> bool:
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for start in range(0, len(data), _CHUNK):
            decoder.decode(data[start : start + _CHUNK])
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:  # it carries the data, so it must not travel further
        return False
    return True


def _rows(text: Iterable[str], delimiter: str, before: int) -> Iterator[tuple[int, list[str]]]:
    """Rows that are not blank, each with the number of its first line."""
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    line = before
    try:
        for row in reader:
            first, line = line + 1, before + reader.line_num
            if any(cell.strip() for cell in row):
                yield first, row
    except csv.Error:
        raise refused(f"the file is no CSV from line {line + 1} on") from None


class _Reader:
    """Takes rows and keeps cards and counts."""

    def __init__(self, layout: Layout, tokenizer: CardTokenizer | None, guard: PanGuard) -> None:
        self.rows = 0
        self.cards: list[ParsedCard] = []
        self.malformed: list[tuple[int, str]] = []
        self.duplicates = 0
        self.unknown = 0
        self._layout, self._tokenizer, self._guard = layout, tokenizer, guard
        self._known: set[str] = set()
        self._shared: dict[str, str] = {}  # one object for equal short strings: a third of the memory

    def take(self, line: int, row: list[str]) -> None:
        """One row; `line` is its first line in the file."""
        self.rows += 1
        if self.rows > MAX_ROWS:
            raise refused(f"the file has more than {MAX_ROWS:,} rows; split it")
        self._layout.watch(row)
        card = self._card(row)
        if card is RowProblem.NOT_OURS:
            self.unknown += 1
        elif not isinstance(card, ParsedCard):
            self.malformed.append((line, str(card)))
        elif card.card_ref in self._known:
            self.duplicates += 1
        else:
            self._known.add(card.card_ref)
            self.cards.append(card)

    def _card(self, row: list[str]) -> ParsedCard | StrEnum:
        layout = self._layout
        if any(cell.strip() for cell in row[len(layout.names) :]):
            return RowProblem.COLUMN_COUNT
        reference, digits, problem = self._identity(row)
        if problem:
            return problem
        expiry = _read_expiry(cell_text(row, layout.expiry))
        if expiry is None:
            return RowProblem.EXPIRY
        exposed_on = _read_date(cell_text(row, layout.exposed_on))
        if isinstance(exposed_on, RowProblem):
            return exposed_on
        return ParsedCard(
            card_ref=reference,
            pan_last4=self._share(digits[-4:]),
            bin=self._share(digits[:BIN_DIGITS]),
            expiry=self._share(expiry),
            exposed_on=exposed_on,
        )

    def _identity(self, row: list[str]) -> tuple[str, str, StrEnum | None]:
        """The card reference and, where the file gives it, the number; or empty strings and what is wrong."""
        reference = cell_text(row, self._layout.reference)
        if reference:
            refuse = not is_card_ref(reference) or self._guard.finds_in_card_ref(reference)
            return ("", "", RowProblem.REFERENCE) if refuse else (reference, "", None)
        digits, problem = read_pan(cell_text(row, self._layout.number))
        if problem or self._tokenizer is None:  # without a tokenizer there is no column of numbers
            return "", "", problem or PanProblem.EMPTY
        if not self._guard.owns(digits):
            return "", "", RowProblem.NOT_OURS
        return self._tokenizer.reference(digits), digits, None

    def _share(self, text: str) -> str | None:
        return self._shared.setdefault(text, text) if text else None


_EXPIRY = re.compile(
    r"(?P<month>[0-9]{1,2})/(?P<year>(?:20)?[0-9]{2})|(?P<month2>[0-9]{2})(?P<year2>[0-9]{2})"
    r"|(?P<year3>20[0-9]{2})[-/](?P<month3>[0-9]{1,2})"
)
_DATE = re.compile(r"([0-9]{4})[-/]([0-9]{1,2})[-/]([0-9]{1,2})|([0-9]{4})([0-9]{2})([0-9]{2})")


def _read_expiry(text: str) -> str | None:
    """`YYYY-MM` for MM/YY, MMYY, MM/YYYY, YYYY-MM and YYYY/MM; empty for nothing; None when it is no month."""
    if not text:
        return ""
    match = _EXPIRY.fullmatch(text)
    if match is None:
        return None
    month = int(match["month"] or match["month2"] or match["month3"])
    year = match["year"] or match["year2"] or match["year3"]
    return f"20{year[-2:]}-{month:02d}" if 1 <= month <= 12 else None


def _read_date(text: str) -> date | RowProblem | None:
    """The date of YYYY-MM-DD, YYYY/MM/DD or YYYYMMDD; None for nothing."""
    if not text:
        return None
    match = _DATE.fullmatch(text)
    if match is None:
        return RowProblem.EXPOSED_ON
    try:
        return date(*(int(part) for part in match.groups() if part is not None))
    except ValueError:
        return RowProblem.EXPOSED_ON
