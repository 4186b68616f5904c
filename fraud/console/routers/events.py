"""Compromise events: the list, and one event with its dates, versions, cards and what they have been used for since."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from fraud.api.routers.parameters import EventId
from fraud.api.services import ServicesHere
from fraud.console.event_page import event_page_response
from fraud.console.exposure_words import element_words, seen_by
from fraud.console.rendering import render, request_format
from fraud.console.routers.permissions import ExposureReader
from fraud.store.database import read
from fraud.store.exposure import event_counts, list_compromise_events

router = APIRouter(prefix="/events")


@router.get("")
def event_list(request: Request, services: ServicesHere, principal: ExposureReader) -> Response:
    """Show all compromise events with their counts."""
    format_ = request_format(request, services)
    with read(services.engine) as connection:
        events = list_compromise_events(connection)
        counts = {event.compromise_event_id: event_counts(connection, event.compromise_event_id) for event in events}
    return render(
        request,
        "events.html",
        principal,
        format=format_,
        events=[seen_by(principal, event) for event in events],
        counts=counts,
        elements={event.compromise_event_id: element_words(event.data_elements, format_) for event in events},
    )


@router.get("/{event_id}")
def event_page(
    request: Request,
    services: ServicesHere,
    principal: ExposureReader,
    event_id: EventId,
    after: Annotated[str, Query(max_length=512)] = "",
) -> Response:
    """Show one compromise event."""
    return event_page_response(request, services, principal, event_id, after)
