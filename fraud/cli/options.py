"""Reading what was typed."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import TypeVar

from fraud.errors import InvalidInputError

MemberT = TypeVar("MemberT", bound=StrEnum)


def member(kind: type[MemberT], text: str, option: str) -> MemberT:
    """A member of an enumeration, in either case; `InvalidInputError` names the option and what there is."""
    try:
        return kind(text.upper())
    except ValueError:
        message = f"{option} must be one of {', '.join(kind)}"
        raise InvalidInputError(message, field=option) from None


def parse_day(text: str, option: str) -> date:
    """A day written as 2022-07-28; `InvalidInputError` names the option otherwise."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        message = "is not a date such as 2022-07-28"
        raise InvalidInputError(message, field=option) from None
