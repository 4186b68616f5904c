"""No card number comes in: path, query and JSON body of every API request pass the PAN guard before anything else."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from typing import Any

from fastapi import Request

from fraud.api.problems import safe_path
from fraud.api.services import ServicesHere
from fraud.errors import InvalidInputError
from fraud.pan_guard import PanGuard

MESSAGE = "a card number may not be sent here; use a card reference, or the last four digits"
Path = tuple[int | str, ...]
_JSON = re.compile(r"\s*application/(?:[\w.-]+\+)?json\b", re.IGNORECASE)


async def refuse_card_numbers(request: Request, services: ServicesHere) -> None:
    """A dependency: `InvalidInputError` naming the field when any text of the request holds a card number."""
    guard = services.guard
    refuse_in(guard, dict(request.path_params), "path")
    for name, value in request.query_params.multi_items():
        refuse_in(guard, {name: value}, "query")
    if _JSON.match(request.headers.get("content-type", "")):
        with contextlib.suppress(ValueError, RecursionError):  # an endpoint that reads a body refuses these by itself
            refuse_in(guard, await request.json(), "body")


def refuse_in(guard: PanGuard, value: Any, name: str) -> None:
    """`InvalidInputError` when any text, number or name inside `value` (plain JSON data) holds a card number."""
    for path, text in _texts(value, name):
        if guard.find_in_text(text):
            raise InvalidInputError(MESSAGE, field=safe_path(path))


def _texts(value: Any, name: str) -> Iterator[tuple[Path, str]]:
    # A stack, not recursion: how deep a body nests is the sender's choice.
    pending: list[tuple[Path, Any]] = [((name,), value)]
    while pending:
        path, item = pending.pop()
        if isinstance(item, dict):
            pending.extend(((*path, key), inner) for key, inner in item.items())
            yield from (((*path, key), key) for key in item)
        elif isinstance(item, list):
            pending.extend(((*path, index), inner) for index, inner in enumerate(item))
        elif isinstance(item, str):
            yield path, item
        elif isinstance(item, (int, float)):
            yield path, f"{item:.0f}" if isinstance(item, float) else str(item)
