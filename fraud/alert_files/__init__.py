"""Exposed-card files as they arrive from networks, acquirers and shops: read in memory, nothing kept but references.

A file is CSV, TSV, JSON or of fixed width, in UTF-8 or Shift_JIS. Card numbers become references while a row is read. A
file with something that looks like security codes, track data or PINs is refused whole, and so is one that cannot be
read to its end: a result is either complete or it is an error. No error, reason or result holds a value from the file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date
from typing import BinaryIO

from fraud.alert_files.mapping import DEFAULT_MAPPING, Encoding, ExpiryForm, FileFormat, FileMapping, make_mapping
from fraud.alert_files.reading import AlertFile, AlertRow, RowProblem
from fraud.alert_files.text import MAX_FILE_BYTES
from fraud.cards import CardTokenizer, read_pan
from fraud.pan_guard import PanGuard

__all__ = [
    "DEFAULT_MAPPING",
    "MAX_FILE_BYTES",
    "MAX_ROWS",
    "AlertFile",
    "AlertRow",
    "Encoding",
    "ExpiryForm",
    "FileFormat",
    "FileMapping",
    "LineError",
    "ParsedAlertFile",
    "ParsedCard",
    "RowProblem",
    "make_mapping",
    "parse_alert_file",
    "tokenize_lines",
]

MAX_ROWS = 2_000_000  # held in memory at once, about 300 bytes each


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


def parse_alert_file(
    source: bytes | BinaryIO,
    mapping: FileMapping = DEFAULT_MAPPING,
    *,
    tokenizer: CardTokenizer | None,
    guard: PanGuard,
) -> ParsedAlertFile:
    """Read an exposed-card file whole, into memory.

    `tokenizer` may be None where all files carry references; `ConfigurationError` when one with numbers comes then.
    `InvalidInputError` when the file as a whole cannot be taken; its `field` names the file or a column by position.
    """
    file = AlertFile(source, mapping, tokenizer=tokenizer, guard=guard, max_bytes=MAX_FILE_BYTES, max_rows=MAX_ROWS)
    cards: list[ParsedCard] = []
    malformed: list[tuple[int, str]] = []
    rows = duplicates = unknown = 0
    for row in file.rows():
        rows += 1
        if row.problem is None and row.card_ref is not None:
            cards.append(ParsedCard(row.card_ref, row.pan_last4, row.bin, row.expiry, row.exposed_on))
        elif row.problem == RowProblem.DUPLICATE:
            duplicates += 1
        elif row.problem == RowProblem.NOT_OURS:
            unknown += 1
        else:
            malformed.append((row.line, str(row.problem)))
    return ParsedAlertFile(file.sha256, rows, cards, malformed, duplicates, unknown)
