"""The columns of card files: recognised by name, and refused where they hold what must not be stored."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from fraud.errors import InvalidInputError

# A column of codes is judged on this many filled cells. One CVV2 in ten starts with 0, which spreadsheets drop.
_CODE_SAMPLE: Final = 1_000
_CODE_SHARE: Final = 0.8
_CODE = re.compile(r"[0-9]{3,4}")


def refused(message: str, column: int | None = None) -> InvalidInputError:
    """The error for a whole file; `column` is a position from 0."""
    return InvalidInputError(message, field="file" if column is None else f"column {column + 1}")


class Role(StrEnum):
    """What a column holds."""

    CARD_REF = "card_ref"
    CARD_NUMBER = "card_number"
    EXPIRY = "expiry"
    EXPOSED_ON = "exposed_on"
    STATUS = "status"
    PRODUCT = "product"
    REPLACED_BY = "replaced_by"
    REPLACED_BY_NUMBER = "replaced_by_number"
    ALIAS_OF = "alias_of"
    AS_OF = "as_of"
    UPDATER_SUPPRESSED = "updater_suppressed"


ALERT_ROLES: Final = frozenset({Role.CARD_REF, Role.CARD_NUMBER, Role.EXPIRY, Role.EXPOSED_ON})
REFERENCE_ROLES: Final = frozenset(Role) - {Role.EXPOSED_ON}

# Names without case, spaces and punctuation.
_NAMES: Final[dict[Role, str]] = {
    Role.CARD_REF: "cardref cardreference カード参照 カード参照番号",
    Role.CARD_NUMBER: "pan cardnumber cardno cardnum accountnumber accountno primaryaccountnumber creditcardnumber "
    "カード番号 クレジットカード番号 カード会員番号 会員番号",
    Role.EXPIRY: "expiry expirydate exp expdate expiration expirationdate validthru validthrough goodthru "
    "有効期限 カード有効期限",
    Role.EXPOSED_ON: "exposedon exposeddate exposureon exposuredate dateexposed 漏えい日 漏洩日 流出日",
    Role.STATUS: "status cardstatus state 状態 カード状態",
    Role.PRODUCT: "product cardproduct 商品 券種 カード種別",
    Role.REPLACED_BY: "replacedby replacedbycardref newcardref 新カード参照",
    Role.REPLACED_BY_NUMBER: "replacedbynumber newcardnumber newpan 新カード番号",
    Role.ALIAS_OF: "aliasof",
    Role.AS_OF: "asof asofat effectiveat",
    Role.UPDATER_SUPPRESSED: "updatersuppressed",
}
# Columns that often hold three or four digits and no security codes.
_HARMLESS_NAMES: Final = (
    "last4 last4digits lastfour lastfourdigits panlast4 cardlast4 下4桁 カード番号下4桁 "
    "mcc year amount count 金額 利用金額 件数"
)
_HARMLESS: Final = frozenset(_HARMLESS_NAMES.split())
_ROLES: Final = {name: role for role, names in _NAMES.items() for name in names.split()}
_SECRET_WORDS: Final = frozenset({"cid", "csc", "cav", "pin", "track"})
_SECRET_PARTS = re.compile(
    r"cvv|cvc|cvn|cvd|cav2|securitycode|verification(?:value|code|number)|track[123]|trackdata|magstripe|pinblock"
    r"|セキュリティー?コード|カード(?:確認|認証)(?:番号|コード)|暗証番号|磁気"
)
_SHOWN_LENGTH, _SHOWN_DIGITS = 40, 2  # "cvv2" may be shown; a header that could be a value may not


def role_of(name: str, roles: frozenset[Role]) -> Role | None:
    """What a column of this name holds, of what is asked for; None for any other."""
    role = _ROLES.get(compact(name))
    return role if role in roles else None


def is_known(name: str) -> bool:
    """True for the name of a column that some file of ours has: it tells a header from a row."""
    return compact(name) in _ROLES or is_harmless(name)


def is_harmless(name: str) -> bool:
    """True for columns that hold short numbers and no security codes."""
    return compact(name) in _HARMLESS


def is_secret(name: str) -> bool:
    """True for the name of a column of security codes, track data or PINs."""
    words = set(re.split(r"[\W_]+", _folded(name)))
    return bool(words & _SECRET_WORDS) or _SECRET_PARTS.search(compact(name)) is not None


def secret_error(name: str, position: int) -> InvalidInputError:
    """The error for a column that must not come in; its name is shown only where it can be no value."""
    shown = f" ({shown_name(name)})" if shown_name(name) else ""
    return refused(
        f"column {position + 1}{shown} looks like security codes, track data or PINs, which must not be stored; "
        "remove the column and send the file again, or name it as a column to drop",
        position,
    )


def shown_name(name: str) -> str:
    """A column's name for a message; empty where it could be a value."""
    name = name.strip()
    may_be_shown = (
        name.isprintable()
        and len(name) <= _SHOWN_LENGTH
        and sum(unicodedata.category(sign) == "Nd" for sign in name) <= _SHOWN_DIGITS
    )
    return name if may_be_shown else ""


def compact(name: str) -> str:
    """A column's name as names are compared."""
    return re.sub(r"[\W_]", "", _folded(name))


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()


class CodeWatch:
    """Judges unknown columns by what is in them: nearly all three or four digits are security codes."""

    def __init__(self) -> None:
        self._counts: dict[int, list[int]] = {}  # position to filled cells, and how many of them look like codes
        self._open: list[int] = []

    def add(self, position: int) -> None:
        """Watch one more column."""
        self._counts[position] = [0, 0]
        self._open.append(position)

    def look(self, row: Sequence[str]) -> None:
        """Count what looks like codes in a row, as long as the sample is not full."""
        for position in self._open:
            value = cell_text(row, position)
            if value:
                counts = self._counts[position]
                counts[0] += 1
                counts[1] += _CODE.fullmatch(value) is not None
                if counts[0] == _CODE_SAMPLE:
                    self._open = [item for item in self._open if item != position]

    def found(self) -> int | None:
        """The first column of codes, by its position."""
        for position, (filled, codes) in self._counts.items():
            if filled and codes >= _CODE_SHARE * filled:
                return position
        return None


# Spreadsheets are told that a cell is text by ="0123" or '0123.
_TEXT_CELL = re.compile(r'="(.*)"|\'(.*)', re.DOTALL)


def cell_text(row: Sequence[str], position: int | None) -> str:
    """A cell without padding and in plain spelling; empty when the row or the file does not have it."""
    if position is None or position >= len(row):
        return ""
    value = row[position].strip()
    if value[:1] in ("=", "'"):
        text_cell = _TEXT_CELL.fullmatch(value)
        if text_cell:
            value = (text_cell[1] or text_cell[2] or "").strip()
    return value if value.isascii() else unicodedata.normalize("NFKC", value)
