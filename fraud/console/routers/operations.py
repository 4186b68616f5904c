"""The operator's page: how far each partition has got, whether the counts balance, and what could not be processed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from fraud.api.services import ServicesHere
from fraud.console.rendering import render
from fraud.console.routers.permissions import OperationsReader
from fraud.store.database import read
from fraud.store.effects import list_positions
from fraud.store.operations import list_dead_letters, summary

DEAD_LETTERS_SHOWN = 50

router = APIRouter(prefix="/operations")


@router.get("")
def operations_page(
    request: Request,
    services: ServicesHere,
    principal: OperationsReader,
    after: Annotated[str, Query(max_length=512)] = "",
) -> Response:
    """Show positions and dead letters."""
    with read(services.engine) as connection:
        numbers = summary(connection)
        positions = list_positions(connection)
        page = list_dead_letters(connection, after or None, DEAD_LETTERS_SHOWN)
    return render(
        request,
        "operations.html",
        principal,
        numbers=numbers,
        positions=positions,
        dead_letters=page.items,
        next_cursor=page.next_cursor,
        after=after,
    )
