"""Shared parts of requests and responses."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints

ItemT = TypeVar("ItemT")

MAX_INTEGER = 2**63 - 1  # what the database's integers hold
_LAST_MILLISECOND = 253_402_300_799_999  # the end of the year 9999
# Line breaks and tabs may stand in text; other control characters have no business there, and PostgreSQL refuses NUL.
_NO_CONTROL_CHARACTERS = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f]*$"


def _written_out(value: Any) -> Any:
    # Left to itself, the parser takes numbers for times since 1970 and times of day for dates.
    if not isinstance(value, str) or len(value) != len("YYYY-MM-DD"):
        message = "a date is written YYYY-MM-DD"
        raise ValueError(message)
    return value


Day = Annotated[date, BeforeValidator(_written_out)]
Milliseconds = Annotated[
    int, Field(ge=0, le=_LAST_MILLISECOND, description="Epoch milliseconds UTC.", examples=[1_658_966_400_000])
]
Version = Annotated[
    int, Field(ge=1, le=MAX_INTEGER, description="The version that was read; every change adds one.", examples=[3])
]
# In a body, numbers are numbers: neither "3" nor true.
GivenVersion = Annotated[Version, Field(strict=True)]
GivenMilliseconds = Annotated[Milliseconds, Field(strict=True)]
Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$"),
]
LongText = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4000, pattern=_NO_CONTROL_CHARACTERS)
]


class Request(BaseModel):
    """A request body: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Answer(BaseModel):
    """A response body, read from the store's views; what a view has more is left out."""

    model_config = ConfigDict(from_attributes=True)


class Page(Answer, Generic[ItemT]):
    """One page of a list."""

    items: list[ItemT]
    next_cursor: str | None = Field(
        default=None, description="Send it as `cursor` for the next page; null on the last.", examples=["eyJhIjoxfQ"]
    )
    total: int | None = Field(default=None, description="How many there are in all, where that is counted.")


class ReasonAnswer(Answer):
    """One reason, or one piece of counter-evidence."""

    code: str = Field(examples=["TESTING_THEN_SPEND"])
    facts: dict[str, Any] = Field(description="The facts that the words for it are made of.")
