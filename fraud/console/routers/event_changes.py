"""Forms of compromise events. What cannot be taken back is first shown with what would follow, then confirmed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Request, Response
from sqlalchemy import Connection

from fraud.api.authentication import Principal
from fraud.api.routers.parameters import EventId
from fraud.api.services import Services, ServicesHere
from fraud.compromise_facts import FactKind
from fraud.console.event_changes import Change, amendment_change, disclosure_change, status_change
from fraud.console.event_form_page import amend_page_response
from fraud.console.event_forms import FormData, known_fields, read_alert
from fraud.console.event_page import event_page_response
from fraud.console.forms import go_to
from fraud.console.rendering import render, request_format
from fraud.console.routers.permissions import ExposureWriter
from fraud.errors import ConflictError, InvalidInputError
from fraud.store import compromise_facts as facts
from fraud.store.compromise_records import get_compromise_event
from fraud.store.database import read, write

router = APIRouter(prefix="/events/{event_id}")

CONFIRM = "confirm"


async def sent_form(request: Request) -> FormData:
    """A dependency: the fields that were sent; files are none."""
    form = await request.form()
    return FormData(tuple((name, value) for name, value in form.multi_items() if isinstance(value, str)))


SentForm = Annotated[FormData, Depends(sent_form)]


@router.post("/status")
def set_status(
    request: Request, services: ServicesHere, principal: ExposureWriter, event_id: EventId, form: SentForm
) -> Response:
    """Take the finding a step further."""
    return _confirmed(request, services, principal, event_id, form, lambda: status_change(event_id, form))


@router.post("/disclosure")
def set_disclosure(
    request: Request, services: ServicesHere, principal: ExposureWriter, event_id: EventId, form: SentForm
) -> Response:
    """Say what may be told from now on."""
    return _confirmed(request, services, principal, event_id, form, lambda: disclosure_change(event_id, form))


@router.get("/amend")
def amend_page(request: Request, services: ServicesHere, principal: ExposureWriter, event_id: EventId) -> Response:
    """Show what is known, to be amended."""
    with read(services.engine) as connection:
        event = get_compromise_event(connection, event_id)
    return amend_page_response(request, services, principal, event, known_fields(event.known))


@router.post("/amend")
def amend(
    request: Request, services: ServicesHere, principal: ExposureWriter, event_id: EventId, form: SentForm
) -> Response:
    """Amend what is known."""
    with read(services.engine) as connection:
        event = get_compromise_event(connection, event_id)
    try:
        return _confirm_or_do(
            request, services, principal, event_id, form, amendment_change(event_id, form, event.known)
        )
    except (ConflictError, InvalidInputError) as error:
        return amend_page_response(request, services, principal, event, form, error)


@router.post("/facts")
def add_fact(
    request: Request, services: ServicesHere, principal: ExposureWriter, event_id: EventId, form: SentForm
) -> Response:
    """Add a dated fact."""

    def step(connection: Connection) -> None:
        kind, on, author = form.one_of(FactKind, "kind"), form.day("on"), form.text("author") or None
        facts.add_fact(connection, event_id, kind, on, form.note(), services.now(), author, principal.username)

    return _done(request, services, principal, event_id, form, step)


@router.post("/facts/{fact_id}/withdraw")
def withdraw_fact(
    request: Request, services: ServicesHere, principal: ExposureWriter, event_id: EventId, fact_id: int, form: SentForm
) -> Response:
    """Take back a fact that was a mistake."""

    def step(connection: Connection) -> None:
        reason = form.needed("reason", 2_000)
        facts.withdraw_fact(connection, event_id, fact_id, reason, services.now(), principal.username)

    return _done(request, services, principal, event_id, form, step)


@router.post("/alerts")
def add_alert(
    request: Request, services: ServicesHere, principal: ExposureWriter, event_id: EventId, form: SentForm
) -> Response:
    """Record a scheme alert."""

    def step(connection: Connection) -> None:
        zone = ZoneInfo(get_compromise_event(connection, event_id).zone)
        facts.add_scheme_alert(connection, event_id, read_alert(form, zone), services.now(), principal.username)

    return _done(request, services, principal, event_id, form, step)


def _done(
    request: Request,
    services: Services,
    principal: Principal,
    event_id: str,
    form: FormData,
    step: Callable[[Connection], None],
) -> Response:
    """Do it and go back to the event; when it is refused, show the event as it is now, and why."""
    try:
        with write(services.engine) as connection:
            step(connection)
    except (ConflictError, InvalidInputError) as error:
        return event_page_response(request, services, principal, event_id, error=error, draft=form)
    return go_to(f"/events/{event_id}")


def _confirmed(
    request: Request,
    services: Services,
    principal: Principal,
    event_id: str,
    form: FormData,
    make: Callable[[], Change],
) -> Response:
    try:
        return _confirm_or_do(request, services, principal, event_id, form, make())
    except (ConflictError, InvalidInputError) as error:
        return event_page_response(request, services, principal, event_id, error=error, draft=form)


def _confirm_or_do(
    request: Request, services: Services, principal: Principal, event_id: str, form: FormData, change: Change
) -> Response:
    """Make a change that was confirmed; otherwise show what would follow and ask."""
    if form.text("then") == CONFIRM:
        with write(services.engine) as connection:
            change.perform(connection, services.now(), principal.username)
        return go_to(f"/events/{event_id}")
    format_ = request_format(request, services)
    with read(services.engine) as connection:
        event = get_compromise_event(connection, event_id)
        lines = change.consequences(connection, event, format_)
    return render(
        request,
        "event_confirm.html",
        principal,
        format=format_,
        event=event,
        lines=lines,
        reason=form.text("reason", 2_000),
        action=request.url.path,
        hidden=form.hidden(),
    )
