"""The import page: a file is read, what it would do is shown, and a person has its cards watched or gives it up."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated

import structlog
from fastapi import APIRouter, Form, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from sqlalchemy import Connection
from starlette.background import BackgroundTask

from fraud.alert_files import Encoding, ExpiryForm, FileFormat, FileMapping
from fraud.api.authentication import Principal
from fraud.api.routers.imports import csv_of_rows
from fraud.api.routers.parameters import EventId
from fraud.api.schemas.base import MAX_INTEGER
from fraud.api.services import Services, ServicesHere
from fraud.api.uploads import FileName, begin_upload, open_upload, receive, stage_upload, upload_mapping
from fraud.console.exposure_words import is_insider, seen_by
from fraud.console.forms import go_to
from fraud.console.rendering import render, request_format
from fraud.console.routers.permissions import ExposureReader, ExposureWriter
from fraud.errors import ConflictError, InvalidInputError, MimamoriError
from fraud.store.compromise_records import get_compromise_event, list_compromise_events
from fraud.store.database import read, write
from fraud.store.import_findings import EXCLUSIVE, Finding, rows_kept
from fraud.store.import_publishing import discard_import, expose_by_hand, publish_import
from fraud.store.import_staging import ImportView, get_import, list_imports, remove_rows

REASON_LIMIT = 2_000

log = structlog.get_logger(__name__)

router = APIRouter(prefix="/imports")
# Uploads are no forms, so they pass by what searches forms for card numbers: that would put the file on the disk.
upload_router = APIRouter(prefix="/imports")

ImportId = Annotated[int, Path(ge=1, le=MAX_INTEGER)]


@router.get("")
def import_list(
    request: Request,
    services: ServicesHere,
    principal: ExposureReader,
    event: Annotated[str, Query(max_length=40)] = "",
) -> Response:
    """Show the latest imports, and the form for a new one."""
    return _list_page(request, services, principal, event)


@upload_router.post("/upload/{event_id}")
async def upload(
    request: Request,
    services: ServicesHere,
    principal: ExposureWriter,
    event_id: EventId,
    file_name: FileName = "upload",
) -> Response:
    """Take a file in; it is read after the answer, which says where that can be watched."""
    data = await receive(request)

    def begin(mapping: FileMapping) -> tuple[ImportView, BackgroundTask]:
        file = open_upload(services, data, mapping)
        staged = begin_upload(services, event_id, principal.username, file_name, file)
        return staged, BackgroundTask(_finish, staged, lambda: stage_upload(services, staged, file))

    try:
        staged, reading = await run_in_threadpool(lambda: begin(_mapping(request)))
    except MimamoriError as error:
        return JSONResponse({"problem": str(error)}, error.status)
    answer = {"address": f"/imports/{staged.import_id}"}
    return JSONResponse(answer, HTTPStatus.ACCEPTED, background=reading)


@router.post("/by-hand/{event_id}")
def by_hand(
    request: Request,
    services: ServicesHere,
    principal: ExposureWriter,
    event_id: EventId,
    card_ref: Annotated[str, Form(max_length=80)] = "",
    reason: Annotated[str, Form(max_length=REASON_LIMIT)] = "",
) -> Response:
    """Watch one card, by hand and with a reason."""

    def step(connection: Connection) -> ImportView:
        return expose_by_hand(
            connection,
            event_id,
            card_ref.strip(),
            reason=reason,
            exposed_by=principal.username,
            now=services.now(),
        )

    try:
        with write(services.engine) as connection:
            done = step(connection)
    except (ConflictError, InvalidInputError) as error:
        return _list_page(request, services, principal, event_id, error, {"card_ref": card_ref, "reason": reason})
    return go_to(f"/imports/{done.import_id}")


@router.get("/{import_id}")
def import_page(request: Request, services: ServicesHere, principal: ExposureReader, import_id: ImportId) -> Response:
    """Show one import."""
    return _import_page(request, services, principal, import_id)


@router.get("/{import_id}/progress")
def progress(request: Request, services: ServicesHere, principal: ExposureReader, import_id: ImportId) -> Response:
    """How far the file has been read; when that is done, the page is to be shown anew."""
    with read(services.engine) as connection:
        found = get_import(connection, import_id)
    if found.status != "STAGING":
        return Response(status_code=HTTPStatus.NO_CONTENT, headers={"HX-Refresh": "true"})
    return render(request, "import_progress.html", principal, found=found)


@router.post("/{import_id}/publish")
def publish(request: Request, services: ServicesHere, principal: ExposureWriter, import_id: ImportId) -> Response:
    """Watch the cards of a dry run."""

    def step(connection: Connection) -> None:
        publish_import(connection, import_id, principal.username, services.now())

    return _change(request, services, principal, import_id, step)


@router.post("/{import_id}/discard")
def discard(request: Request, services: ServicesHere, principal: ExposureWriter, import_id: ImportId) -> Response:
    """Give up a dry run."""

    def step(connection: Connection) -> None:
        discard_import(connection, import_id, principal.username, services.now())

    response = _change(request, services, principal, import_id, step)
    if response.status_code == HTTPStatus.SEE_OTHER:
        remove_rows(services.engine, import_id)
    return response


@router.get("/{import_id}/rows.csv")
def rows(
    services: ServicesHere, _principal: ExposureReader, import_id: ImportId, finding: Finding | None = None
) -> Response:
    """Download what was found, row by row."""
    with read(services.engine) as connection:
        get_import(connection, import_id)
    return csv_of_rows(services, import_id, finding)


def _mapping(request: Request) -> FileMapping:
    """How the file is to be read, from the address; whatever is wrong with it is told on the page that sent it."""
    query = request.query_params
    return upload_mapping(
        file_format=query.get("file_format", "csv"),
        encoding=query.get("encoding", "auto"),
        columns=query.get("columns", ""),
        drop_column=query.get("drop_column", "").split(","),
        expiry_form=query.get("expiry_form", "auto"),
        header=query.get("no_header") != "yes",
    )


def _finish(staged: ImportView, stage: Callable[[], ImportView]) -> None:
    try:
        stage()
    except MimamoriError as error:  # it stands on the import, for its page
        log.info("import refused", import_id=staged.import_id, code=error.code)
    except Exception as error:  # noqa: BLE001 - its text may hold what the file held
        log.error("import broke off", import_id=staged.import_id, kind=type(error).__name__)  # noqa: TRY400


def _change(
    request: Request,
    services: Services,
    principal: Principal,
    import_id: int,
    step: Callable[[Connection], None],
) -> Response:
    try:
        with write(services.engine) as connection:
            step(connection)
    except (ConflictError, InvalidInputError) as error:
        return _import_page(request, services, principal, import_id, error)
    return go_to(f"/imports/{import_id}")


def _list_page(
    request: Request,
    services: Services,
    principal: Principal,
    event_id: str,
    error: MimamoriError | None = None,
    draft: dict[str, str] | None = None,
) -> Response:
    with read(services.engine) as connection:
        events = [seen_by(principal, item) for item in list_compromise_events(connection)]
        found = list_imports(connection, event_id or None)
    return render(
        request,
        "imports.html",
        principal,
        status=error.status if error else HTTPStatus.OK,
        format=request_format(request, services),
        imports=found,
        names={item.compromise_event_id: item.name for item in events},
        open_events=[item for item in events if item.is_open],
        chosen=event_id,
        insider=is_insider(principal),
        formats=list(FileFormat),
        encodings=list(Encoding),
        expiry_forms=list(ExpiryForm),
        takes_numbers=services.settings.api.card_number_files,
        problem=str(error) if error else None,
        draft=draft or {},
    )


def _import_page(
    request: Request, services: Services, principal: Principal, import_id: int, error: MimamoriError | None = None
) -> Response:
    with read(services.engine) as connection:
        found = get_import(connection, import_id)
        event = seen_by(principal, get_compromise_event(connection, found.compromise_event_id))
        kept = rows_kept(connection, import_id)
    marks = [item for item in Finding if item not in EXCLUSIVE and found.findings.get(item)]
    return render(
        request,
        "import.html",
        principal,
        status=error.status if error else HTTPStatus.OK,
        format=request_format(request, services),
        found=found,
        event=event,
        kept=kept,
        insider=is_insider(principal),
        exclusive=EXCLUSIVE,
        marks=marks,
        cards=sum(found.findings.get(name, 0) for name in ("MATCHED", "UNMATCHED", "ALREADY_EXPOSED")),
        problem=str(error) if error else found.problem,
    )
