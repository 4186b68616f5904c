"""Compromise events: recording one, and what is known of them now and was known before."""

from __future__ import annotations

import secrets
from typing import Annotated

from fastapi import APIRouter, Depends, Response

from fraud.api.authentication import Principal
from fraud.api.openapi import change_responses, problem_responses
from fraud.api.permissions import may, requires
from fraud.api.preconditions import set_etag
from fraud.api.routers.parameters import PREFIX, EventId
from fraud.api.schemas.events import (
    CompromiseEventAnswer,
    CompromiseEventDetailAnswer,
    CompromiseEventRequest,
    VersionAnswer,
)
from fraud.api.services import ServicesHere
from fraud.compromise import (
    CompromisedEntity,
    CompromiseStatus,
    DataElements,
    ExposureWindow,
    SchemeAlert,
    next_statuses,
)
from fraud.compromise_disclosure import refuse_telling_id
from fraud.store import compromise_records as records
from fraud.store.compromise_events import NewCompromiseEvent
from fraud.store.compromise_events import create_compromise_event as record_event
from fraud.store.compromise_views import CompromiseEventView, as_seen, version_as_seen
from fraud.store.database import read, write
from fraud.store.exposure import event_counts

router = APIRouter(prefix=f"{PREFIX}/compromise-events", tags=["compromise events"])

Reader = Annotated[Principal, Depends(requires("exposure:read"))]
Writer = Annotated[Principal, Depends(requires("exposure:write"))]


def is_insider(principal: Principal) -> bool:
    """True for those who see names before publication: whoever manages events."""
    return may(principal, "exposure:write")


def event_answer(event: CompromiseEventView, principal: Principal, response: Response) -> CompromiseEventAnswer:
    """An event as this caller may see it, with its version as the tag."""
    set_etag(response, event.version)
    return CompromiseEventAnswer.model_validate(as_seen(event, insider=is_insider(principal)))


@router.get("", summary="All compromise events", responses=problem_responses())
def list_compromise_events(services: ServicesHere, user: Reader) -> list[CompromiseEventAnswer]:
    """List compromise events, the latest exposure window first."""
    with read(services.engine) as connection:
        events = records.list_compromise_events(connection)
    seen = (as_seen(event, insider=is_insider(user)) for event in events)
    return [CompromiseEventAnswer.model_validate(event) for event in seen]


@router.post("", summary="Record a compromise event", status_code=201, responses=change_responses(409))
def create_compromise_event(
    services: ServicesHere, user: Writer, request: CompromiseEventRequest, response: Response
) -> CompromiseEventAnswer:
    """Record a compromise event as SUSPECTED, or ALERTED where a scheme alert comes with it.

    Cards that are imported for it are watched from then on. Until publication only event managers see its names.
    """
    if request.compromise_event_id is not None:
        names = [request.name, *(entity.name for entity in request.entities)]
        refuse_telling_id(request.compromise_event_id, names)
    event = NewCompromiseEvent(
        compromise_event_id=request.compromise_event_id or f"CE-{secrets.token_hex(8)}",
        name=request.name,
        source=request.source,
        window=ExposureWindow(request.starts_on, request.ends_on, request.zone, request.precision),
        data_elements=DataElements.from_names(request.data_elements),
        entities=tuple(CompromisedEntity(**entity.model_dump()) for entity in request.entities),
        vector=request.vector,
        suspected_at=request.suspected_at,
        code_name=request.code_name,
        alerts=tuple(SchemeAlert(**alert.model_dump()) for alert in request.alerts),
    )
    with write(services.engine) as connection:
        created = record_event(connection, event, services.now(), user.username)
    response.headers["Location"] = f"{router.prefix}/{created.compromise_event_id}"
    return event_answer(created, user, response)


@router.get("/{compromise_event_id}", summary="One compromise event", responses=problem_responses(404))
def get_compromise_event(
    services: ServicesHere, user: Reader, compromise_event_id: EventId, response: Response
) -> CompromiseEventDetailAnswer:
    """Show one compromise event with its numbers, where it may go from here, and events with the same supplier."""
    with read(services.engine) as connection:
        event = records.get_compromise_event(connection, compromise_event_id)
        counts = event_counts(connection, compromise_event_id)
        related = records.related_events(connection, event, insider=is_insider(user))
    return CompromiseEventDetailAnswer(
        compromise_event=event_answer(event, user, response),
        counts=counts,
        next_statuses=list(next_statuses(CompromiseStatus(event.status))),
        related=[other.compromise_event_id for other in related],
    )


@router.get("/{compromise_event_id}/versions", summary="Every version of it", responses=problem_responses(404))
def list_versions(services: ServicesHere, user: Reader, compromise_event_id: EventId) -> list[VersionAnswer]:
    """Show how the event was known at each version, the first one first: windows, data elements, entities, status."""
    with read(services.engine) as connection:
        event = records.get_compromise_event(connection, compromise_event_id)
        versions = records.compromise_versions(connection, compromise_event_id)
    seen = (version_as_seen(version, event, insider=is_insider(user)) for version in versions)
    return [VersionAnswer.model_validate(version) for version in seen]
