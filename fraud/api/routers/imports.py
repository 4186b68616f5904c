"""Imports of exposed cards: a dry run with lists to download, then publishing; and one card by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import StreamingResponse

from fraud.alert_files import FileMapping
from fraud.api.authentication import Principal
from fraud.api.openapi import change_responses, problem_responses
from fraud.api.permissions import may, requires
from fraud.api.routers.parameters import PREFIX, Cursor, EventId, InEvent, Limit
from fraud.api.schemas.base import MAX_INTEGER, Page
from fraud.api.schemas.imports import ByHandRequest, ExposureImportAnswer, ImportRowAnswer
from fraud.api.services import Services, ServicesHere
from fraud.api.uploads import (
    MEDIA_TYPES,
    UPLOAD_BYTES,
    FileName,
    begin_upload,
    open_upload,
    receive,
    stage_upload,
    upload_mapping,
)
from fraud.errors import InvalidInputError
from fraud.store.compromise_records import get_compromise_event
from fraud.store.database import read, write
from fraud.store.import_findings import Finding, all_import_rows, import_rows
from fraud.store.import_publishing import discard_import, expose_by_hand, publish_import
from fraud.store.import_staging import ImportView, get_import, list_imports, remove_rows

router = APIRouter(prefix=PREFIX, tags=["imports"])

Reader = Annotated[Principal, Depends(requires("exposure:read"))]
Writer = Annotated[Principal, Depends(requires("exposure:write"))]
ImportId = Annotated[int, Path(ge=1, le=MAX_INTEGER)]
OfFinding = Annotated[Finding | None, Query(description="Only the rows of this finding.")]

EXAMPLE_REF = f"v1:{'0123456789abcdef' * 4}"


def upload_body(what: str, example: str) -> dict[str, object]:
    """The description of a route that takes a file as its body."""
    content: dict[str, object] = {kind: {"schema": {"type": "string"}} for kind in MEDIA_TYPES}
    content["text/csv"] = {"schema": {"type": "string"}, "example": example}
    description = (
        f"{what}, at most {UPLOAD_BYTES >> 20} MiB, as the body itself: no form, and not compressed. JSON and files of "
        "fixed width come as `application/octet-stream`, with `file_format`."
    )
    return {"requestBody": {"required": True, "description": description, "content": content}}


@router.post(
    "/compromise-events/{compromise_event_id}/imports",
    summary="Dry run of an exposed-card file",
    status_code=201,
    responses=change_responses(404, 409, 415),
    openapi_extra=upload_body("A file of card references", f"card_ref,expiry\n{EXAMPLE_REF},2025-03\n"),
)
async def check_file(
    request: Request,
    services: ServicesHere,
    user: Writer,
    compromise_event_id: EventId,
    mapping: Annotated[FileMapping, Depends(upload_mapping)],
    response: Response,
    file_name: FileName = "upload",
) -> ExposureImportAnswer:
    """Read a file and say what publishing it would do. Nothing is watched yet, and the same file again is a no-op.

    A file with card numbers is taken only where `api.card_number_files` says so: each becomes a reference in memory.
    A column of security codes refuses the file, unless it is named in `drop_column`: then it is discarded unread.
    """
    with_event = await run_in_threadpool(_event_exists, services, compromise_event_id)
    data = await receive(request)

    def work() -> ImportView:
        file = open_upload(services, data, mapping)
        staged = begin_upload(services, with_event, user.username, file_name, file)
        return stage_upload(services, staged, file)

    done = await run_in_threadpool(work)
    response.headers["Location"] = f"{PREFIX}/imports/{done.import_id}"
    return import_answer(user, done)


@router.post(
    "/compromise-events/{compromise_event_id}/exposed-cards/by-hand",
    summary="Expose one card by hand",
    status_code=201,
    responses=change_responses(404, 409),
)
def by_hand(
    services: ServicesHere, user: Writer, compromise_event_id: EventId, card: ByHandRequest
) -> ExposureImportAnswer:
    """Watch one card for an event, because a person says so; the reason is kept."""
    if services.guard.finds_in_card_ref(card.card_ref):
        message = "card_ref must be a card reference"
        raise InvalidInputError(message, field="body.card_ref")
    with write(services.engine) as connection:
        done = expose_by_hand(
            connection,
            compromise_event_id,
            card.card_ref,
            reason=card.reason,
            exposed_by=user.username,
            now=services.now(),
        )
    return import_answer(user, done)


@router.get("/imports", summary="Imports, the latest first", responses=problem_responses())
def list_all(services: ServicesHere, user: Reader, compromise_event_id: InEvent = None) -> list[ExposureImportAnswer]:
    """List the latest hundred imports."""
    with read(services.engine) as connection:
        found = list_imports(connection, compromise_event_id)
    return [import_answer(user, item) for item in found]


@router.get("/imports/{import_id}", summary="One import", responses=problem_responses(404))
def get_one(services: ServicesHere, user: Reader, import_id: ImportId) -> ExposureImportAnswer:
    """Show an import: its findings, and how far it has been read."""
    with read(services.engine) as connection:
        return import_answer(user, get_import(connection, import_id))


@router.get("/imports/{import_id}/rows", summary="Rows of an import", responses=problem_responses(404))
def get_rows(
    services: ServicesHere,
    _user: Reader,
    import_id: ImportId,
    finding: OfFinding = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[ImportRowAnswer]:
    """List the rows of a finding, in the order of the file. No card number is among them."""
    with read(services.engine) as connection:
        get_import(connection, import_id)
        page = import_rows(connection, import_id, finding, cursor, limit)
    return Page[ImportRowAnswer].model_validate(page)


@router.get(
    "/imports/{import_id}/rows.csv",
    summary="Rows of an import as a list to download",
    response_class=Response,
    responses={200: {"content": {"text/csv": {"schema": {"type": "string"}}}}, **problem_responses(404)},
)
def download_rows(services: ServicesHere, _user: Reader, import_id: ImportId, finding: OfFinding = None) -> Response:
    """Download the rows of a finding as CSV: line, findings, reason, card reference, last four digits, expiry."""
    with read(services.engine) as connection:
        get_import(connection, import_id)
    return csv_of_rows(services, import_id, finding)


@router.post("/imports/{import_id}/publish", summary="Watch its cards", responses=problem_responses(404, 409))
def publish(services: ServicesHere, user: Writer, import_id: ImportId) -> ExposureImportAnswer:
    """Watch the cards of a dry run, all or none, and look back over their past. A second time changes nothing."""
    with write(services.engine) as connection:
        return import_answer(user, publish_import(connection, import_id, user.username, services.now()))


@router.post("/imports/{import_id}/discard", summary="Give up a dry run", responses=problem_responses(404, 409))
def discard(services: ServicesHere, user: Writer, import_id: ImportId) -> ExposureImportAnswer:
    """Give up a dry run; its rows are removed."""
    with write(services.engine) as connection:
        done = discard_import(connection, import_id, user.username, services.now())
    remove_rows(services.engine, import_id)
    return import_answer(user, done)


def import_answer(user: Principal, view: ImportView) -> ExposureImportAnswer:
    """An import as the caller may see it: a file's name may name the shop, before others are to know it."""
    answer = ExposureImportAnswer.model_validate(view)
    return answer if may(user, "exposure:write") else answer.model_copy(update={"name": ""})


def csv_of_rows(services: Services, import_id: int, finding: Finding | None) -> StreamingResponse:
    """A list to download, written as it is fetched. All values are of forms that no spreadsheet takes for a formula."""

    def lines() -> Iterator[str]:
        yield "line,findings,reason,card_ref,pan_last4,expiry\r\n"
        with read(services.engine) as connection:
            for row in all_import_rows(connection, import_id, finding):
                cells = (row.reason, _quoted(row.card_ref), row.pan_last4, row.expiry)
                yield f"{row.line},{' '.join(row.findings)},{','.join(cell or '' for cell in cells)}\r\n"

    name = f"import-{import_id}-{finding.value.lower() if finding else 'all'}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(lines(), media_type="text/csv; charset=utf-8", headers=headers)


def _quoted(reference: str | None) -> str | None:
    # The issuer's own ids may hold commas and quotes.
    return f'"{reference.replace(chr(34), chr(34) * 2)}"' if reference and reference.startswith("x:") else reference


def _event_exists(services: Services, compromise_event_id: str) -> str:
    with read(services.engine) as connection:  # before the work of reading a file for an event that is not there
        return get_compromise_event(connection, compromise_event_id).compromise_event_id
