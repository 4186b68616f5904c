"""Recording a compromise event: the form, what would follow, and the record."""

from __future__ import annotations

import secrets

from fastapi import APIRouter, Request, Response

from fraud.api.services import ServicesHere
from fraud.compromise import AlertSource
from fraud.compromise_amendments import KnownExposure
from fraud.compromise_disclosure import refuse_telling_id
from fraud.console.event_form_page import new_page_response
from fraud.console.event_forms import (
    FormData,
    first_moment,
    form_data,
    read_elements,
    read_entities,
    read_window,
)
from fraud.console.exposure_words import element_words
from fraud.console.formatting import Format
from fraud.console.forms import go_to
from fraud.console.rendering import render, request_format
from fraud.console.routers.event_changes import CONFIRM, SentForm
from fraud.console.routers.permissions import ExposureWriter
from fraud.errors import ConflictError, InvalidInputError
from fraud.store.compromise_events import NewCompromiseEvent, create_compromise_event, known_columns
from fraud.store.database import write

router = APIRouter(prefix="/new-event")


@router.get("")
def new_event_page(request: Request, services: ServicesHere, principal: ExposureWriter) -> Response:
    """Show the form."""
    format_ = request_format(request, services)
    today = format_.local(format_.now).date().isoformat()
    empty = {"zone": format_.zone.key, "precision": "DAY", "suspected_on": today}
    return new_page_response(request, services, principal, form_data(empty))


@router.post("")
def record(request: Request, services: ServicesHere, principal: ExposureWriter, form: SentForm) -> Response:
    """Show what would be recorded; once confirmed, record it."""
    format_ = request_format(request, services)
    try:
        event = _read(form, format_)
        if form.text("then") == CONFIRM:
            with write(services.engine) as connection:
                create_compromise_event(connection, event, services.now(), principal.username)
            return go_to(f"/events/{event.compromise_event_id}")
    except (ConflictError, InvalidInputError) as error:
        return new_page_response(request, services, principal, form, error)
    hidden = [(name, value) for name, value in form.hidden() if name != "compromise_event_id"]
    return render(
        request,
        "event_confirm.html",
        principal,
        format=format_,
        event=None,
        lines=_consequences(event, format_),
        reason="",
        action=request.url.path,
        hidden=[*hidden, ("compromise_event_id", event.compromise_event_id)],
    )


def _read(form: FormData, format_: Format) -> NewCompromiseEvent:
    name, entities = form.needed("name"), read_entities(form)
    event_id = form.text("compromise_event_id", 40) or f"CE-{secrets.token_hex(8)}"
    refuse_telling_id(event_id, [name, *(entity.name for entity in entities)])
    source = form.one_of(AlertSource, "source")
    window = read_window(form)
    suspected_at = first_moment(form.day("suspected_on"), format_.zone)
    code_name = form.text("code_name", 80) or None
    if code_name:  # so that what gives the name away is refused before it is confirmed
        known_columns(KnownExposure(name, code_name, window, read_elements(form), entities))
    return NewCompromiseEvent(
        compromise_event_id=event_id,
        name=name,
        source=source,
        window=window,
        data_elements=read_elements(form),
        entities=entities,
        vector=form.text("vector") or None,
        suspected_at=suspected_at,
        code_name=code_name,
    )


def _consequences(event: NewCompromiseEvent, format_: Format) -> list[str]:
    t = format_.t
    days = (event.window.ends_on - event.window.starts_on).days + 1
    window = f"{event.window.starts_on} \u2013 {event.window.ends_on}"
    return [
        t.count("confirm.new.window", days, window=window, zone=event.window.zone),
        t("confirm.new.elements", elements=element_words(event.data_elements.names(), format_)),
        t("confirm.new.tier", tier=event.data_elements.tier()),
        t("confirm.new.watching"),
        t("confirm.new.restricted"),
    ]
