"""Which column of a file holds what, by position."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from typing import Final

from fraud.alert_columns import (
    CodeWatch,
    Role,
    compact,
    is_harmless,
    is_known,
    is_secret,
    refused,
    role_of,
    secret_error,
    shown_name,
)
from fraud.alert_files.mapping import FileMapping, place
from fraud.errors import InvalidInputError

_DELIMITERS: Final = ",;\t"
_WORDS: Final = {
    Role.CARD_REF: "card references",
    Role.CARD_NUMBER: "card numbers",
    Role.EXPIRY: "expiry dates",
    Role.EXPOSED_ON: "exposure dates",
}


def split_header(header: str, delimiters: str = _DELIMITERS) -> tuple[str, list[str]]:
    """The delimiter of a file and the cells of its first line."""
    found = {delimiter: _cells(header, delimiter) for delimiter in delimiters}
    delimiter = max(found, key=lambda key: (sum(map(is_known, found[key])), len(found[key])))
    return delimiter, found[delimiter]


def _cells(header: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([header], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []


class Layout:
    """The columns of one file. Refuses those that must not exist, unless they are to be dropped.

    `names` are empty texts where the file has no header; columns may then only be named by their place.
    """

    def __init__(self, names: Sequence[str], mapping: FileMapping, roles: frozenset[Role]) -> None:
        self.names: list[str] = []
        self.positions: dict[Role, int] = {}
        self.dropped: set[int] = set()
        self._mapping, self._roles = mapping, roles
        self._watch = CodeWatch()
        self._named = {role: self._wanted(name, names, "columns") for role, name in mapping.columns.items()}
        self._drop = {self._wanted(name, names, "drop_columns") for name in mapping.drop_columns}
        for name in names:
            self.add(name)
        self.check()

    def add(self, name: str) -> int:
        """One more column, and its position."""
        position = len(self.names)
        self.names.append(name)
        if position in self._drop:
            self.dropped.add(position)
            return position
        named = next((role for role, wanted in self._named.items() if wanted == position), None)
        role = named or role_of(name, self._roles)
        if named is None and role in self._named:
            role = None  # another column was named for it
        if is_secret(name):
            raise secret_error(name, position)
        if role is None:
            if not is_harmless(name):
                self._watch.add(position)
        elif role in self.positions:
            raise refused(f"more than one column holds {_WORDS.get(role, role.value)}; leave one, or name it")
        else:
            self.positions[role] = position
        return position

    def check(self) -> None:
        """Refuse a file that names no cards."""
        if Role.CARD_REF not in self.positions and Role.CARD_NUMBER not in self.positions:
            raise refused("the first line must name the columns, and one of them card_ref or card_number")

    def watch(self, row: list[str]) -> None:
        """Throw away what is to be dropped, and count what looks like security codes in unknown columns."""
        for position in self.dropped:
            if position < len(row):
                row[position] = ""
        self._watch.look(row)

    def refuse_codes(self) -> None:
        """Refuse the file when nearly all of an unknown column's values look like security codes."""
        position = self._watch.found()
        if position is not None:
            raise secret_error(self.names[position], position)

    def shown(self, role: Role) -> str:
        """`column 2 (name)`, for a message."""
        position = self.positions[role]
        name = shown_name(self.names[position])
        return f"column {position + 1} ({name})" if name else f"column {position + 1}"

    def _wanted(self, name: str, names: Sequence[str], option: str) -> int:
        position = place(name)
        if position is None:
            found = [index for index, given in enumerate(names) if compact(given) == compact(name)]
            position = found[0] if found and compact(name) else len(names)
        if position >= len(names):
            what = f" ({shown_name(name)})" if shown_name(name) else ""
            message = f"{option}: the file has no such column{what}"
            raise InvalidInputError(message, field=option)
        return position
