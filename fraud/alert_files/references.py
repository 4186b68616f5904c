"""Files of card reference data from the issuer's card system: what became of each card, and which came after which."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import BinaryIO, Final, NamedTuple

from fraud.alert_columns import REFERENCE_ROLES, Role, cell_text, refused
from fraud.alert_files.cells import read_date, read_expiry, read_milliseconds
from fraud.alert_files.mapping import DEFAULT_MAPPING, FileMapping
from fraud.alert_files.records import open_records
from fraud.alert_files.text import MAX_FILE_BYTES, find_encoding, read_whole
from fraud.card_references import CardReferenceChange, CardStatus
from fraud.cards import CardTokenizer, is_card_ref, read_pan
from fraud.errors import ConfigurationError, InvalidInputError
from fraud.pan_guard import PanGuard

_NUMBERS: Final = (Role.CARD_NUMBER, Role.REPLACED_BY_NUMBER)
_TRUE: Final = frozenset({"true", "yes", "y", "1"})
_FALSE: Final = frozenset({"false", "no", "n", "0"})
_STATUSES: Final = {
    **{status.value: status for status in CardStatus},
    "OPEN": CardStatus.ACTIVE,
    "BLOCKED": CardStatus.RESTRICTED,
    "REPLACED": CardStatus.SUPERSEDED,
}


class ReferenceProblem(StrEnum):
    """Why a row is not taken; what is wrong with a card number itself is a `PanProblem`."""

    REFERENCE = "REFERENCE"
    NOT_OURS = "NOT_OURS"
    STATUS = "STATUS"
    EXPIRY = "EXPIRY"
    AS_OF = "AS_OF"
    UPDATER_SUPPRESSED = "UPDATER_SUPPRESSED"
    VALUE = "VALUE"  # a card that replaces itself, a product that is no name


class ReferenceRow(NamedTuple):
    """One row: what became known of a card, or what is wrong."""

    line: int
    change: CardReferenceChange | None
    problem: str | None


class ReferenceFile:
    """An opened file of reference data. `as_of_at`, epoch milliseconds, is the time of rows without one."""

    def __init__(
        self,
        source: bytes | BinaryIO,
        mapping: FileMapping = DEFAULT_MAPPING,
        *,
        as_of_at: int,
        tokenizer: CardTokenizer | None,
        guard: PanGuard,
        max_bytes: int = MAX_FILE_BYTES,
    ) -> None:
        data = read_whole(source, max_bytes)
        self.sha256 = hashlib.sha256(data).hexdigest()
        self.lines = data.count(b"\n") + 1
        self._layout, self._records = open_records(
            data, find_encoding(data, mapping.encoding), mapping, REFERENCE_ROLES
        )
        if not set(self._layout.positions) - {Role.CARD_REF, Role.CARD_NUMBER, Role.AS_OF}:
            raise refused("the file says nothing of its cards: no column is called status, expiry or replaced_by")
        self._as_of_at, self._tokenizer, self._guard, self._form = as_of_at, tokenizer, guard, mapping.expiry_form
        if tokenizer is None and self.has_numbers:
            message = "the file holds card numbers and no key for card references is set: set cards.keys"
            raise ConfigurationError(message)

    @property
    def has_numbers(self) -> bool:
        """True when the file has a column of card numbers."""
        return any(role in self._layout.positions for role in _NUMBERS)

    def rows(self) -> Iterator[ReferenceRow]:
        """Every row that is not blank, in order; `InvalidInputError` for the file as a whole, also at its end."""
        for line, cells in self._records:
            self._layout.watch(cells)
            try:
                yield ReferenceRow(line, self._change(cells), None)
            except _RowError as error:
                yield ReferenceRow(line, None, error.problem)
        self._layout.refuse_codes()

    def _change(self, cells: list[str]) -> CardReferenceChange:
        texts = {role: cell_text(cells, position) for role, position in self._layout.positions.items()}
        text = texts.get
        status = text(Role.STATUS, "").upper().replace(" ", "_").replace("-", "_")
        if status and status not in _STATUSES:
            raise _RowError(ReferenceProblem.STATUS)
        expiry = read_expiry(text(Role.EXPIRY, ""), self._form)
        if expiry is None:
            raise _RowError(ReferenceProblem.EXPIRY)
        card_ref = self._card(text(Role.CARD_REF, ""), text(Role.CARD_NUMBER, ""), needed=True)
        replaced_by = self._card(text(Role.REPLACED_BY, ""), text(Role.REPLACED_BY_NUMBER, ""), needed=False)
        try:
            return CardReferenceChange(
                card_ref=card_ref or "",
                as_of_at=self._time(text(Role.AS_OF, "")),
                status=_STATUSES[status] if status else None,
                expiry=expiry or None,
                product=text(Role.PRODUCT) or None,
                replaced_by=replaced_by,
                alias_of=self._card(text(Role.ALIAS_OF, ""), "", needed=False),
                updater_suppressed=_flag(text(Role.UPDATER_SUPPRESSED, "")),
            )
        except InvalidInputError:
            raise _RowError(ReferenceProblem.VALUE) from None

    def _card(self, reference: str, number: str, *, needed: bool) -> str | None:
        if reference:
            if not is_card_ref(reference) or self._guard.finds_in_card_ref(reference):
                raise _RowError(ReferenceProblem.REFERENCE)
            return reference
        if not number and not needed:
            return None
        digits, problem = read_pan(number)
        if problem is not None or self._tokenizer is None:
            raise _RowError(str(problem or ReferenceProblem.REFERENCE))
        if not self._guard.owns(digits):
            raise _RowError(ReferenceProblem.NOT_OURS)
        return self._tokenizer.checked_references(digits)[0]

    def _time(self, text: str) -> int:
        if not text:
            return self._as_of_at
        milliseconds = read_milliseconds(text)
        if milliseconds is not None:
            return milliseconds
        try:
            day = read_date(text)
        except ValueError:
            raise _RowError(ReferenceProblem.AS_OF) from None
        return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000) if day else self._as_of_at


class _RowError(Exception):
    """A row is not taken. It carries no value."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem


def _flag(text: str) -> bool | None:
    if not text:
        return None
    if text.lower() not in _TRUE | _FALSE:
        raise _RowError(ReferenceProblem.UPDATER_SUPPRESSED)
    return text.lower() in _TRUE
