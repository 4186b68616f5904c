"""How a file is to be read, where it does not say so itself: format, encoding, columns, form of the expiry."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, TypeVar

from fraud.alert_columns import ALERT_ROLES, Role
from fraud.errors import InvalidInputError

MAX_COLUMNS_TEXT: Final = 2_000
_PLACE = re.compile(r"#([1-9][0-9]{0,3})")
_RANGE = re.compile(r"([1-9][0-9]{0,4})-([1-9][0-9]{0,4})")


class FileFormat(StrEnum):
    """What a file is. TSV is CSV with tabs; JSON is an array of objects, or one object a line."""

    CSV = "csv"
    TSV = "tsv"
    JSON = "json"
    FIXED = "fixed"


class ExpiryForm(StrEnum):
    """How expiry months are written. AUTO takes MM/YY, MMYY, MM/YYYY, MMYYYY, YYYY-MM, YYYY/MM and YYYYMM."""

    AUTO = "auto"
    YYMM = "YYMM"  # as in ISO 8583, data element 14


class Encoding(StrEnum):
    """Encodings that files come in. CP932 is Shift_JIS with the signs that Windows adds to it."""

    AUTO = "auto"
    UTF_8 = "utf-8"
    CP932 = "cp932"


@dataclass(frozen=True, slots=True)
class FileMapping:
    """How to read one file; what is left out is found from the file.

    `columns`: role to a column's name, to its place (`#3` is the third), to a path in JSON (`card.number`), or in
    files of fixed width to its bytes (`1-16`, both included). `drop_columns`: columns that are discarded unread.
    """

    format: FileFormat = FileFormat.CSV
    encoding: Encoding = Encoding.AUTO
    columns: Mapping[Role, str] = field(default_factory=lambda: MappingProxyType({}))
    drop_columns: tuple[str, ...] = ()
    expiry_form: ExpiryForm = ExpiryForm.AUTO
    header: bool = True

    def byte_ranges(self) -> dict[Role, tuple[int, int]]:
        """Role to start and end (from 0, end exclusive) in files of fixed width; `InvalidInputError` on `columns`."""
        ranges = {}
        for role, text in self.columns.items():
            match = _RANGE.fullmatch(text)
            if match is None or int(match[1]) > int(match[2]):
                message = f"columns: {role.value} of a file of fixed width is a range of bytes such as 1-16"
                raise InvalidInputError(message, field="columns")
            ranges[role] = (int(match[1]) - 1, int(match[2]))
        return ranges


DEFAULT_MAPPING: Final = FileMapping()


def place(name: str) -> int | None:
    """The place, from 0, that `#3` names; None for a name."""
    match = _PLACE.fullmatch(name)
    return int(match[1]) - 1 if match else None


def parse_columns(text: str, roles: frozenset[Role] = ALERT_ROLES) -> dict[Role, str]:
    """`card_number=PAN NO, expiry=#2` as a mapping; `InvalidInputError` on `columns` when it is none."""
    columns: dict[Role, str] = {}
    if len(text) > MAX_COLUMNS_TEXT:
        message = f"columns has at most {MAX_COLUMNS_TEXT} characters"
        raise InvalidInputError(message, field="columns")
    for item in filter(None, (part.strip() for part in re.split(r"[,\n]", text))):
        name, equals, column = item.partition("=")
        if name.strip() not in roles or not equals or not column.strip():
            known = ", ".join(sorted(roles))
            message = f"columns is a list such as card_number=PAN NO,expiry=#2; what a column may hold: {known}"
            raise InvalidInputError(message, field="columns")
        if Role(name.strip()) in columns:
            message = f"columns: {Role(name.strip()).value} is named twice"
            raise InvalidInputError(message, field="columns")
        columns[Role(name.strip())] = column.strip()
    return columns


def make_mapping(
    *,
    file_format: str = FileFormat.CSV,
    encoding: str = Encoding.AUTO,
    columns: str = "",
    drop_columns: Sequence[str] = (),
    expiry_form: str = ExpiryForm.AUTO,
    header: bool = True,
    roles: frozenset[Role] = ALERT_ROLES,
) -> FileMapping:
    """A mapping from what a person writes; `InvalidInputError` names the option at fault."""
    found = FileMapping(
        _option(FileFormat, file_format, "format"),
        _option(Encoding, {"shift_jis": "cp932", "sjis": "cp932"}.get(encoding.lower(), encoding), "encoding"),
        MappingProxyType(parse_columns(columns, roles)),
        tuple(name.strip() for name in drop_columns if name.strip()),
        _option(ExpiryForm, expiry_form, "expiry_form"),
        header,
    )
    if found.format is FileFormat.FIXED:
        if not found.columns:
            message = "a file of fixed width needs columns, for example card_number=1-16,expiry=17-20"
            raise InvalidInputError(message, field="columns")
        found.byte_ranges()
    return found


_Option = TypeVar("_Option", bound=StrEnum)


def _option(kind: type[_Option], value: str, name: str) -> _Option:
    try:
        return kind(value)
    except ValueError:
        message = f"{name} must be one of: {', '.join(kind)}"
        raise InvalidInputError(message, field=name) from None
