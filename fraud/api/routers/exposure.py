"""Compromise events: what is known, what was told to whom, and which cards are exposed."""

from __future__ import annotations

import re
import secrets
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from fraud.alert_files import parse_alert_file
from fraud.api.authentication import Principal
from fraud.api.openapi import change_responses, problem_responses
from fraud.api.permissions import requires
from fraud.api.preconditions import IfMatch, expected_version, set_etag
from fraud.api.routers.parameters import PREFIX, Cursor, EventId, Limit
from fraud.api.schemas.base import Page
from fraud.api.schemas.exposure import (
    CompromiseEventAnswer,
    CompromiseEventDetailAnswer,
    CompromiseEventRequest,
    ExposedCardAnswer,
    FactRequest,
    ImportAnswer,
    MalformedRowAnswer,
    StatusRequest,
)
from fraud.api.services import Services, ServicesHere
from fraud.compromise import CompromisedEntity, DataElements, ExposureWindow
from fraud.errors import ConfigurationError, InvalidInputError
from fraud.store import exposure as store
from fraud.store.database import read, write
from fraud.store.exposure import NewCompromiseEvent
from fraud.store.views import CompromiseEventView

# About 900,000 card references. Larger files go through the command line, which reads from disk.
IMPORT_BYTES = 64 << 20
IMPORT_PATH = re.compile(rf"{PREFIX}/compromise-events/[^/]+/exposed-cards")
_CSV = re.compile(r"\s*text/csv\s*(;.*)?", re.IGNORECASE)
_ROWS_SHOWN = 100

router = APIRouter(prefix=f"{PREFIX}/compromise-events", tags=["compromise events"])

Reader = Annotated[Principal, Depends(requires("exposure:read"))]
Writer = Annotated[Principal, Depends(requires("exposure:write"))]


def _answer(event: CompromiseEventView, response: Response) -> CompromiseEventAnswer:
    set_etag(response, event.version)
    return CompromiseEventAnswer.model_validate(event)


@router.get("", summary="All compromise events", responses=problem_responses())
def list_compromise_events(services: ServicesHere, _user: Reader) -> list[CompromiseEventAnswer]:
    """List compromise events, the latest exposure window first."""
    with read(services.engine) as connection:
        events = store.list_compromise_events(connection)
    return [CompromiseEventAnswer.model_validate(event) for event in events]


@router.post("", summary="Record a compromise event", status_code=201, responses=change_responses(409))
def create_compromise_event(
    services: ServicesHere, _user: Writer, request: CompromiseEventRequest, response: Response
) -> CompromiseEventAnswer:
    """Record a compromise event as SUSPECTED. Cards that are imported for it are watched from then on."""
    event = NewCompromiseEvent(
        compromise_event_id=request.compromise_event_id or f"CE-{secrets.token_hex(8)}",
        name=request.name,
        source=request.source,
        window=ExposureWindow(request.starts_on, request.ends_on, request.zone),
        data_elements=DataElements.from_names(request.data_elements),
        entities=tuple(CompromisedEntity(**entity.model_dump()) for entity in request.entities),
        external_id=request.external_id,
        vector=request.vector,
        suspected_at=request.suspected_at,
    )
    with write(services.engine) as connection:
        created = store.create_compromise_event(connection, event, services.now())
    response.headers["Location"] = f"{router.prefix}/{created.compromise_event_id}"
    return _answer(created, response)


@router.get("/{compromise_event_id}", summary="One compromise event", responses=problem_responses(404))
def get_compromise_event(
    services: ServicesHere, _user: Reader, compromise_event_id: EventId, response: Response
) -> CompromiseEventDetailAnswer:
    """Show one compromise event with its numbers."""
    with read(services.engine) as connection:
        event = store.get_compromise_event(connection, compromise_event_id)
        counts = store.event_counts(connection, compromise_event_id)
    return CompromiseEventDetailAnswer(compromise_event=_answer(event, response), counts=counts)


@router.post(
    "/{compromise_event_id}/facts", summary="Add a dated fact", status_code=201, responses=change_responses(404)
)
def add_fact(
    services: ServicesHere, _user: Writer, compromise_event_id: EventId, fact: FactRequest, response: Response
) -> CompromiseEventAnswer:
    """Add a dated fact, such as that a regulator was told. Facts are only ever added."""
    with write(services.engine) as connection:
        event = store.add_fact(connection, compromise_event_id, fact.kind, fact.on, fact.note, services.now())
    return _answer(event, response)


@router.post(
    "/{compromise_event_id}/status",
    summary="Take the finding a step further",
    responses=change_responses(404, 409, 428),
)
def set_status(
    services: ServicesHere,
    _user: Writer,
    compromise_event_id: EventId,
    step: StatusRequest,
    response: Response,
    if_match: IfMatch = None,
) -> CompromiseEventAnswer:
    """Change the status. Closing or refuting an event releases its cards; reopening watches them again."""
    version = expected_version(step.version, if_match)
    with write(services.engine) as connection:
        event = store.set_status(connection, compromise_event_id, step.status, version, services.now(), step.reason)
    return _answer(event, response)


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
