"""Rows of an exposed-card file: card numbers become references while a row is read, and nothing else is kept."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import date
from enum import StrEnum
from typing import BinaryIO, Final, NamedTuple

from fraud.alert_columns import ALERT_ROLES, Role, cell_text, refused
from fraud.alert_files.cells import read_date, read_expiry
from fraud.alert_files.layout import Layout
from fraud.alert_files.mapping import DEFAULT_MAPPING, ExpiryForm, FileMapping
from fraud.alert_files.records import Record, open_records
from fraud.alert_files.text import MAX_FILE_BYTES, find_encoding, read_whole
from fraud.cards import BIN_DIGITS, CardTokenizer, PanProblem, is_card_ref, read_pan
from fraud.errors import ConfigurationError
from fraud.pan_guard import PanGuard

MAX_ROWS: Final = 2_000_000
# Below this many rows a file is not judged as a whole: its rows are named one by one.
_JUDGED_ROWS: Final = 50
_NEARLY_ALL: Final = 0.9
_MOSTLY: Final = 0.5
_ROUNDED_SHARE: Final = 0.8
_SPREADSHEET_DIGITS: Final = 15  # that a spreadsheet keeps of a number
_MOST_EXPIRIES: Final = 10_000  # remembered; hostile files have more


class RowProblem(StrEnum):
    """Why a row is not taken; what is wrong with a card number itself is a `PanProblem`."""

    COLUMN_COUNT = "COLUMN_COUNT"  # more cells than the header has
    REFERENCE = "REFERENCE"  # no card reference, or one with a card number in it
    EXPIRY = "EXPIRY"
    EXPOSED_ON = "EXPOSED_ON"
    NOT_OURS = "NOT_OURS"  # outside the issuer's number ranges
    DUPLICATE = "DUPLICATE"  # names a card again; the first row counts


class AlertRow(NamedTuple):
    """One row: a card, or what is wrong. `expiry` is `YYYY-MM`; `aliases` are the card under older keys."""

    line: int
    problem: str | None
    card_ref: str | None = None
    pan_last4: str | None = None
    bin: str | None = None
    expiry: str | None = None
    exposed_on: date | None = None
    aliases: tuple[str, ...] = ()


class AlertFile:
    """An opened file: its digest, and its rows, which can be gone through once.

    Whether the file as a whole can be taken is known only when the rows have come to their end without an error.
    """

    def __init__(
        self,
        source: bytes | BinaryIO,
        mapping: FileMapping = DEFAULT_MAPPING,
        *,
        tokenizer: CardTokenizer | None,
        guard: PanGuard,
        max_bytes: int = MAX_FILE_BYTES,
        max_rows: int = MAX_ROWS,
    ) -> None:
        data = read_whole(source, max_bytes)
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.lines = data.count(b"\n") + 1  # about as many as rows: for progress
        self._max_rows = max_rows
        self._layout, self._records = open_records(data, find_encoding(data, mapping.encoding), mapping, ALERT_ROLES)
        if Role.CARD_NUMBER in self._layout.positions and tokenizer is None:
            message = "the file holds card numbers and no key for card references is set: set cards.keys"
            raise ConfigurationError(message)
        self._reader = _Reader(self._layout, mapping.expiry_form, tokenizer, guard)

    @property
    def has_numbers(self) -> bool:
        """True when the file has a column of card numbers."""
        return Role.CARD_NUMBER in self._layout.positions

    def rows(self) -> Iterator[AlertRow]:
        """Every row that is not blank, in order; `InvalidInputError` for the file as a whole, also at its end."""
        layout, read = self._layout, self._reader.read
        rows = 0
        for record in self._records:
            rows += 1
            if rows > self._max_rows:
                raise refused(f"the file has more than {self._max_rows:,} rows; split it")
            layout.watch(record[1])
            yield read(record)
        layout.refuse_codes()
        self._reader.judge(rows)


class _Reader:
    """Takes records apart. Counts what tells of a file that was read wrongly, or written wrongly, as a whole."""

    def __init__(self, layout: Layout, form: ExpiryForm, tokenizer: CardTokenizer | None, guard: PanGuard) -> None:
        self._layout = layout
        self._positions = layout.positions  # grows where JSON objects bring names that none had before
        self._form, self._tokenizer, self._guard = form, tokenizer, guard
        self._known: set[int | str] = set()
        self._expiries: dict[str, str | None] = {"": ""}
        self._shared: dict[str, str] = {}  # one object for equal short strings: a third of the memory
        self._no_number = self._no_expiry = self._with_expiry = 0
        self._rounded = self._zeros = self._long = 0

    def read(self, record: Record) -> AlertRow:
        """One record as a row."""
        line, cells = record
        position = self._positions.get
        width = len(self._layout.names)
        if len(cells) > width and any(cell.strip() for cell in cells[width:]):
            return AlertRow(line, RowProblem.COLUMN_COUNT)
        reference, digits, problem = self._identity(cells)
        if problem is not None:
            return AlertRow(line, problem)
        expiry = self._read_expiry(cell_text(cells, position(Role.EXPIRY)))
        if expiry is None:
            return AlertRow(line, RowProblem.EXPIRY)
        try:
            exposed_on = read_date(cell_text(cells, position(Role.EXPOSED_ON)))
        except ValueError:
            return AlertRow(line, RowProblem.EXPOSED_ON)
        aliases: tuple[str, ...] = ()
        if digits and self._tokenizer is not None:
            reference, *older = self._tokenizer.checked_references(digits)
            aliases = tuple(older)
        # A reference's last 128 bits are as good as all of it, and take a fifth of the memory.
        key = int(reference[-32:], 16) if reference.startswith("v") else reference
        if key in self._known:
            return AlertRow(line, RowProblem.DUPLICATE, reference)
        self._known.add(key)
        last4, start = self._share(digits[-4:]), self._share(digits[:BIN_DIGITS])
        return AlertRow(line, None, reference, last4, start, expiry or None, exposed_on, aliases)

    def judge(self, rows: int) -> None:
        """Refuse a file that was read or written wrongly as a whole: named for what it is."""
        name = self._layout.shown
        if self._rounded and self._long > 1 and self._zeros >= _ROUNDED_SHARE * self._long:
            raise refused(
                f"{name(Role.CARD_NUMBER)}: the card numbers were rounded by a spreadsheet, their last digits are "
                "zeros; export the column as text from where the numbers come from"
            )
        if rows < _JUDGED_ROWS:
            return
        if Role.CARD_NUMBER in self._positions and self._no_number >= _NEARLY_ALL * rows:
            raise refused(
                f"{name(Role.CARD_NUMBER)} holds no card numbers in {self._no_number:,} of {rows:,} rows; "
                "name the right column",
                self._positions[Role.CARD_NUMBER],
            )
        if self._no_expiry > _MOSTLY * self._with_expiry:
            raise refused(
                f"{name(Role.EXPIRY)} names no month in {self._no_expiry:,} of {self._with_expiry:,} rows; "
                "if they are written year first, say expiry_form YYMM",
                self._positions[Role.EXPIRY],
            )

    def _identity(self, cells: list[str]) -> tuple[str, str, str | None]:
        """The card reference or, where the row gives none, the number; or empty texts and what is wrong."""
        reference = cell_text(cells, self._positions.get(Role.CARD_REF))
        if not reference:
            return "", *self._digits(cells, self._positions.get(Role.CARD_NUMBER))
        if not is_card_ref(reference) or self._guard.finds_in_card_ref(reference):
            return "", "", RowProblem.REFERENCE
        return reference, "", None

    def _digits(self, cells: list[str], position: int | None) -> tuple[str, str | None]:
        if position is None:
            return "", PanProblem.EMPTY
        cell = cells[position] if position < len(cells) else ""
        if not (cell.isascii() and cell.isdigit() and self._guard.owns(cell)):  # most cells are just a number
            cell, problem = read_pan(cell_text(cells, position))
            if problem is not None:
                self._no_number += 1
                if problem is PanProblem.ROUNDED:
                    self._rounded += 1
                    self._zeros += 1
                    self._long += 1
                return "", problem
            if not self._guard.owns(cell):
                return "", RowProblem.NOT_OURS
        if len(cell) > _SPREADSHEET_DIGITS:
            self._long += 1
            self._zeros += cell.endswith("0") and not cell[_SPREADSHEET_DIGITS:].strip("0")
        return cell, None

    def _read_expiry(self, text: str) -> str | None:
        if text not in self._expiries:
            if len(self._expiries) > _MOST_EXPIRIES:
                self._expiries = {"": ""}
            found = read_expiry(text, self._form)
            self._expiries[text] = self._share(found) if found else found
        expiry = self._expiries[text]
        self._with_expiry += text != ""
        self._no_expiry += expiry is None
        return expiry

    def _share(self, text: str) -> str | None:
        return self._shared.setdefault(text, text) if text else None
