"""Exposed cards of a compromise event: the list, and imports of files."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from fraud.alert_files import parse_alert_file
from fraud.api.authentication import Principal
from fraud.api.openapi import change_responses, problem_responses
from fraud.api.permissions import requires
from fraud.api.routers.parameters import PREFIX, Cursor, EventId, Limit
from fraud.api.schemas.base import Page
from fraud.api.schemas.exposure import ExposedCardAnswer, ImportAnswer, MalformedRowAnswer
from fraud.api.services import Services, ServicesHere
from fraud.errors import ConfigurationError, InvalidInputError
from fraud.store import exposure as store
from fraud.store.database import read, write

# About 900,000 card references. Larger files go through the command line, which reads from disk.
IMPORT_BYTES = 64 << 20
IMPORT_PATH = re.compile(rf"{PREFIX}/compromise-events/[^/]+/exposed-cards")
_CSV = re.compile(r"\s*text/csv\s*(;.*)?", re.IGNORECASE)
_ROWS_SHOWN = 100

router = APIRouter(prefix=f"{PREFIX}/compromise-events", tags=["compromise events"])

Reader = Annotated[Principal, Depends(requires("exposure:read"))]
Writer = Annotated[Principal, Depends(requires("exposure:write"))]


@router.get("/{compromise_event_id}/exposed-cards", summary="Its exposed cards", responses=problem_responses(404))
def list_exposed_cards(
    services: ServicesHere, _user: Reader, compromise_event_id: EventId, cursor: Cursor = None, limit: Limit = 50
) -> Page[ExposedCardAnswer]:
    """List the exposed cards of a compromise event by card reference."""
    with read(services.engine) as connection:
        store.get_compromise_event(connection, compromise_event_id)
        page = store.exposed_cards(connection, compromise_event_id, cursor, limit)
    return Page[ExposedCardAnswer].model_validate(page)


@router.post(
    "/{compromise_event_id}/exposed-cards",
    summary="Import exposed cards",
    responses=change_responses(404, 409, 415),
    openapi_extra={
        "requestBody": {
            "required": True,
            "description": (
                f"CSV with a header, at most {IMPORT_BYTES >> 20} MiB, in UTF-8 or Shift_JIS. Columns: `card_ref`, and "
                "where known `expiry` and `exposed_on`."
            ),
            "content": {
                "text/csv": {
                    "schema": {"type": "string"},
                    "example": f"card_ref,expiry\nv1:{'0123456789abcdef' * 4},2025-03\n",
                }
            },
        }
    },
)
async def import_exposed_cards(
    request: Request,
    services: ServicesHere,
    user: Writer,
    compromise_event_id: EventId,
    file_name: Annotated[
        str, Query(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f/\\]+$", description="For the record.")
    ] = "upload.csv",
) -> ImportAnswer:
    """Expose the cards of a file of card references. The same file again changes nothing.

    Files with card numbers are not taken here: they stay inside the card-data environment, where the command line
    `mimamori exposure import` turns them into references.
    """
    if not _CSV.fullmatch(request.headers.get("content-type", "")) or "content-encoding" in request.headers:
        raise HTTPException(415)
    data = b"".join([chunk async for chunk in request.stream()])
    return await run_in_threadpool(_import, services, user.username, compromise_event_id, file_name, data)


def _import(services: Services, username: str, compromise_event_id: str, file_name: str, data: bytes) -> ImportAnswer:
    with read(services.engine) as connection:  # before the work of reading a file for an event that is not there
        store.get_compromise_event(connection, compromise_event_id)
    try:
        parsed = parse_alert_file(data, tokenizer=None, guard=services.guard)
    except ConfigurationError:
        message = (
            "the file has a column of card numbers, which this API does not take; "
            "import it with `mimamori exposure import` inside the card-data environment"
        )
        raise InvalidInputError(message, field="file") from None
    with write(services.engine) as connection:
        report = store.import_exposed_cards(
            connection, compromise_event_id, file_name, parsed, username, services.now()
        )
    return ImportAnswer(
        rows=report.rows,
        accepted=report.accepted,
        duplicate=report.duplicate,
        malformed=report.malformed,
        unknown=report.unknown,
        already_exposed=report.already_exposed,
        sha256=report.sha256,
        no_op=report.no_op,
        malformed_rows=[
            MalformedRowAnswer(line=line, reason=reason) for line, reason in parsed.malformed[:_ROWS_SHOWN]
        ],
    )
