"""The columns of an exposed-card file: recognised by name, and refused where they hold what must not be stored."""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Sequence
from enum import Enum

from fraud.errors import InvalidInputError

_DELIMITERS = ",;\t"

# A column of codes is judged on this many filled cells. One CVV2 in ten starts with 0, which spreadsheets drop.
_CODE_SAMPLE = 1_000
_CODE_SHARE = 0.8
_CODE = re.compile(r"[0-9]{3,4}")


def refused(message: str, column: int | None = None) -> InvalidInputError:
    """The error for a whole file; `column` is a position from 0."""
    return InvalidInputError(message, field="file" if column is None else f"column {column + 1}")


class _Role(Enum):
    """What a column holds."""

    REFERENCE = "card references"
    NUMBER = "card numbers"
    EXPIRY = "expiry dates"
    EXPOSED_ON = "exposure dates"
    IGNORED = "known columns without use here"
    UNKNOWN = "unknown columns"


# Names without case, spaces and punctuation.
_NAMES: dict[_Role, str] = {
    _Role.REFERENCE: "cardref cardreference カード参照 カード参照番号",
    _Role.NUMBER: "pan cardnumber cardno cardnum accountnumber accountno primaryaccountnumber creditcardnumber "
    "カード番号 クレジットカード番号 カード会員番号 会員番号",
    _Role.EXPIRY: "expiry expirydate exp expdate expiration expirationdate validthru validthrough goodthru "
    "有効期限 カード有効期限",
    _Role.EXPOSED_ON: "exposedon exposeddate exposureon exposuredate dateexposed 漏えい日 漏洩日 流出日",
    # Columns that often hold three or four digits and no security codes.
    _Role.IGNORED: "last4 last4digits lastfour lastfourdigits panlast4 cardlast4 下4桁 カード番号下4桁 "
    "mcc year amount count 金額 利用金額 件数",
}
_ROLES = {name: role for role, names in _NAMES.items() for name in names.split()}
_SECRET_WORDS = frozenset({"cid", "csc", "cav", "pin", "track"})
_SECRET_PARTS = re.compile(
    r"cvv|cvc|cvn|cvd|cav2|securitycode|verification(?:value|code|number)|track[123]|trackdata|magstripe|pinblock"
    r"|セキュリティー?コード|カード(?:確認|認証)(?:番号|コード)|暗証番号|磁気"
)
_SHOWN_LENGTH, _SHOWN_DIGITS = 40, 2  # "cvv2" may be shown; a header that could be a value may not


class Layout:
    """The header: which column holds what, by position. Refuses columns that must not exist."""

    def __init__(self, header: str) -> None:
        found = {delimiter: _cells(header, delimiter) for delimiter in _DELIMITERS}
        self.delimiter = max(found, key=lambda key: (sum(map(_is_known, found[key])), len(found[key])))
        self.names = found[self.delimiter]
        roles = [_ROLES.get(_compact(name), _Role.UNKNOWN) for name in self.names]
        for position, name in enumerate(self.names):
            if _is_secret(name):
                raise self._secret(position)
        for role in (_Role.REFERENCE, _Role.NUMBER, _Role.EXPIRY, _Role.EXPOSED_ON):
            if roles.count(role) > 1:
                raise refused(f"more than one column holds {role.value}; leave one")
        if _Role.REFERENCE not in roles and _Role.NUMBER not in roles:
            raise refused("the first line must name the columns, and one of them card_ref or card_number")
        self.reference = _position(roles, _Role.REFERENCE)
        self.number = _position(roles, _Role.NUMBER)
        self.expiry = _position(roles, _Role.EXPIRY)
        self.exposed_on = _position(roles, _Role.EXPOSED_ON)
        # Of each unknown column: how many filled cells were seen, and how many of them look like security codes.
        self._seen = {position: [0, 0] for position, role in enumerate(roles) if role is _Role.UNKNOWN}

    def watch(self, row: Sequence[str]) -> None:
        """Count what looks like security codes in the unknown columns of a row."""
        for position, counts in self._seen.items():
            value = cell_text(row, position)
            if value and counts[0] < _CODE_SAMPLE:
                counts[0] += 1
                counts[1] += _CODE.fullmatch(value) is not None

    def refuse_codes(self) -> None:
        """Refuse the file when nearly all of an unknown column's values look like security codes."""
        for position, (filled, codes) in self._seen.items():
            if filled and codes >= _CODE_SHARE * filled:
                raise self._secret(position)

    def _secret(self, position: int) -> InvalidInputError:
        name = self.names[position].strip()
        may_be_shown = (
            name.isprintable()
            and len(name) <= _SHOWN_LENGTH
            and sum(unicodedata.category(sign) == "Nd" for sign in name) <= _SHOWN_DIGITS
        )
        shown = f" ({name})" if name and may_be_shown else ""
        return refused(
            f"column {position + 1}{shown} looks like security codes, track data or PINs, which must not be stored; "
            "remove the column and send the file again",
            position,
        )


def _cells(header: str, delimiter: str) -> list[str]:
    try:
        return next(csv.reader([header], delimiter=delimiter, strict=True), [])
    except csv.Error:
        return []


def _position(roles: list[_Role], role: _Role) -> int | None:
    return roles.index(role) if role in roles else None


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


def _compact(name: str) -> str:
    return re.sub(r"[\W_]", "", _folded(name))


def _is_known(name: str) -> bool:
    return _compact(name) in _ROLES


def _is_secret(name: str) -> bool:
    words = set(re.split(r"[\W_]+", _folded(name)))
    return bool(words & _SECRET_WORDS) or _SECRET_PARTS.search(_compact(name)) is not None


# Spreadsheets are told that a cell is text by ="0123" or '0123.
_TEXT_CELL = re.compile(r'="(.*)"|\'(.*)', re.DOTALL)


def cell_text(row: Sequence[str], position: int | None) -> str:
    """A cell without padding and in plain spelling; empty when the row or the file does not have it."""
    if position is None or position >= len(row):
        return ""
    value = row[position].strip()
    text_cell = _TEXT_CELL.fullmatch(value)
    if text_cell:
        value = (text_cell[1] or text_cell[2] or "").strip()
    return value if value.isascii() else unicodedata.normalize("NFKC", value)
