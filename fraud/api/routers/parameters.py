"""The version's prefix, and parameters that several endpoints share."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path, Query

from fraud.api.schemas.base import MAX_INTEGER

PREFIX = "/api/v1"
MAX_PAGE = 200

# No spaces and no control characters: PostgreSQL refuses NUL in text, and no id of ours has any of them.
ID_PATTERN = r"^[!-~]+$"

Cursor = Annotated[
    str | None,
    Query(
        max_length=512,
        pattern=ID_PATTERN,
        description="`next_cursor` of the page before; leave out for the first page.",
    ),
]
Limit = Annotated[int, Query(ge=1, le=MAX_PAGE, description="Items a page.")]
CaseId = Annotated[int, Path(ge=1, le=MAX_INTEGER)]
DetectionId = Annotated[str, Path(max_length=64, pattern=ID_PATTERN)]
EventId = Annotated[str, Path(max_length=40, pattern=ID_PATTERN, description="A compromise event.")]
InEvent = Annotated[
    str | None, Query(max_length=40, pattern=ID_PATTERN, description="Only what belongs to this compromise event.")
]
CardRef = Annotated[
    str | None,
    Query(
        max_length=80,
        pattern=ID_PATTERN,
        description="Only this card: `v{key}:{64 hex}` or `x:{issuer's own id}`, never a card number.",
    ),
]
