"""One case on one screen, and what a reviewer does with it."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from http import HTTPStatus
from typing import Annotated, Literal, TypeVar

from fastapi import APIRouter, Form, Query, Request, Response
from sqlalchemy import Connection

from fraud.api.authentication import Principal
from fraud.api.routers.parameters import CaseId
from fraud.api.services import Services, ServicesHere
from fraud.cases import FraudType, Outcome, ReasonCode, Resolution
from fraud.console.case_page import EMPTY, Draft, case_page_response
from fraud.console.forms import go_to
from fraud.console.rendering import render
from fraud.console.routers.permissions import CaseReader, CaseWriter
from fraud.errors import ConflictError, InvalidInputError
from fraud.store import cases as store
from fraud.store.database import read, write

NOTE_LIMIT = 2_000

router = APIRouter(prefix="/cases/{case_id}")
Version = Annotated[int, Form(ge=1)]
Code = Annotated[str, Form(max_length=40)]


@router.get("")
def show(request: Request, services: ServicesHere, principal: CaseReader, case_id: CaseId) -> Response:
    """Show one case."""
    return case_page_response(request, services, principal, case_id)


@router.get("/changed")
def changed(
    request: Request,
    services: ServicesHere,
    principal: CaseReader,
    case_id: CaseId,
    version: Annotated[int, Query(ge=1)],
) -> Response:
    """Say that the case has moved on since the page was made; nothing when it has not."""
    with read(services.engine) as connection:
        case = store.get_case(connection, case_id)
    if case.version == version:
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return render(request, "case_changed.html", principal, case=case)


@router.post("/claim")
def claim(
    request: Request, services: ServicesHere, principal: CaseWriter, case_id: CaseId, version: Version
) -> Response:
    """Claim the case."""

    def step(connection: Connection) -> None:
        store.claim(connection, case_id, principal.username, version, services.now())

    return _change(request, services, principal, case_id, step)


@router.post("/release")
def release(
    request: Request, services: ServicesHere, principal: CaseWriter, case_id: CaseId, version: Version
) -> Response:
    """Give the case back to the queue."""

    def step(connection: Connection) -> None:
        store.release(connection, case_id, principal.username, version, services.now())

    return _change(request, services, principal, case_id, step)


@router.post("/notes")
def add_note(
    request: Request,
    services: ServicesHere,
    principal: CaseWriter,
    case_id: CaseId,
    text: Annotated[str, Form(max_length=NOTE_LIMIT)],
) -> Response:
    """Add a note to the case's history."""

    def step(connection: Connection) -> None:
        if not text.strip():
            message = "a note must not be empty"
            raise InvalidInputError(message, field="text")
        store.add_note(connection, case_id, principal.username, text, services.now())

    return _change(request, services, principal, case_id, step, Draft(note=text))


@router.post("/resolve")
def resolve(
    request: Request,
    services: ServicesHere,
    principal: CaseWriter,
    case_id: CaseId,
    version: Version,
    outcome: Code = "",
    reason_code: Code = "",
    fraud_type: Code = "",
    then: Annotated[Literal["next", "stay"], Form()] = "stay",
) -> Response:
    """Resolve the case; with `then=next`, claim the next one in the same step."""
    following: list[int] = []

    def step(connection: Connection) -> None:
        resolution = _resolution(outcome, reason_code, fraud_type)
        now = services.now()
        quiet_days = services.settings.policy.quiet_days_after_genuine
        store.resolve(connection, case_id, principal.username, version, resolution, now, quiet_days)
        if then == "next":
            case = store.claim_next(connection, principal.username, now)
            following.extend([case.case_id] if case else [])

    draft = Draft(outcome, reason_code, fraud_type)
    response = _change(request, services, principal, case_id, step, draft)
    if response.status_code == HTTPStatus.SEE_OTHER and then == "next":
        return go_to(f"/cases/{following[0]}" if following else "/queue?claimed_none=true")
    return response


def _resolution(outcome: str, reason_code: str, fraud_type: str) -> Resolution:
    return Resolution(
        _member(Outcome, outcome, "outcome"),
        _member(ReasonCode, reason_code, "reason_code"),
        _member(FraudType, fraud_type, "fraud_type") if fraud_type else None,
    )


_Member = TypeVar("_Member", bound=StrEnum)


def _member(kind: type[_Member], value: str, field: str) -> _Member:
    try:
        return kind(value)
    except ValueError:
        message = f"{field} must be one of: {', '.join(kind)}"
        raise InvalidInputError(message, field=field) from None


def _change(
    request: Request,
    services: Services,
    principal: Principal,
    case_id: int,
    step: Callable[[Connection], None],
    draft: Draft = EMPTY,
) -> Response:
    """Make one change and go back to the case; when it is refused, show the case as it is now, and why."""
    try:
        with write(services.engine) as connection:
            step(connection)
    except (ConflictError, InvalidInputError) as error:
        return case_page_response(request, services, principal, case_id, error, draft)
    return go_to(f"/cases/{case_id}")
