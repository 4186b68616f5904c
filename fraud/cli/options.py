"""Reading what was typed."""

from __future__ import annotations

from datetime import date

from fraud.errors import InvalidInputError


def parse_day(text: str, option: str) -> date:
    """A day written as 2022-07-28; `InvalidInputError` names the option otherwise."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        message = "is not a date such as 2022-07-28"
        raise InvalidInputError(message, field=option) from None
