"""What an event manager does to a compromise event. Every change makes its next version and is audited."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Response

from fraud.api.openapi import change_responses
from fraud.api.preconditions import IfMatch, expected_version
from fraud.api.routers.events import Writer, event_answer
from fraud.api.routers.parameters import PREFIX, EventId
from fraud.api.schemas.base import MAX_INTEGER
from fraud.api.schemas.event_changes import (
    AmendmentEffectAnswer,
    AmendmentRequest,
    DisclosureRequest,
    FactRequest,
    StatusEffectAnswer,
    StatusRequest,
    WithdrawalRequest,
)
from fraud.api.schemas.events import AlertRequest, CompromiseEventAnswer, DaysAnswer
from fraud.api.services import ServicesHere
from fraud.compromise import CompromisedEntity, CompromiseStatus, DataElements, SchemeAlert, transition
from fraud.compromise_amendments import Amendment, window_with
from fraud.store import compromise_changes as changes
from fraud.store import compromise_facts as facts
from fraud.store.compromise_records import get_compromise_event
from fraud.store.compromise_views import CompromiseEventView
from fraud.store.database import read, write

router = APIRouter(prefix=f"{PREFIX}/compromise-events/{{compromise_event_id}}", tags=["compromise events"])

FactId = Annotated[int, Path(ge=1, le=MAX_INTEGER)]


@router.post("/facts", summary="Add a dated fact", status_code=201, responses=change_responses(404))
def add_fact(
    services: ServicesHere, user: Writer, compromise_event_id: EventId, fact: FactRequest, response: Response
) -> CompromiseEventAnswer:
    """Add a dated fact, such as that a regulator was told. Facts are only ever added; a mistake is withdrawn."""
    with write(services.engine) as connection:
        event = facts.add_fact(
            connection, compromise_event_id, fact.kind, fact.on, fact.note, services.now(), fact.author, user.username
        )
    return event_answer(event, user, response)


@router.post("/facts/{fact_id}/withdraw", summary="Withdraw a fact", responses=change_responses(404, 409))
def withdraw_fact(
    services: ServicesHere,
    user: Writer,
    compromise_event_id: EventId,
    fact_id: FactId,
    withdrawal: WithdrawalRequest,
    response: Response,
) -> CompromiseEventAnswer:
    """Take back a fact that was a mistake. It stays to be seen with the reason, and counts for nothing."""
    with write(services.engine) as connection:
        event = facts.withdraw_fact(
            connection, compromise_event_id, fact_id, withdrawal.reason, services.now(), user.username
        )
    return event_answer(event, user, response)


@router.post("/alerts", summary="Record a scheme alert", status_code=201, responses=change_responses(404, 409))
def add_scheme_alert(
    services: ServicesHere, user: Writer, compromise_event_id: EventId, alert: AlertRequest, response: Response
) -> CompromiseEventAnswer:
    """Record word from a scheme, an acquirer or others. An event that was only suspected is ALERTED from then on."""
    with write(services.engine) as connection:
        event = facts.add_scheme_alert(
            connection, compromise_event_id, SchemeAlert(**alert.model_dump()), services.now(), user.username
        )
    return event_answer(event, user, response)


@router.post("/status", summary="Take the finding a step further", responses=change_responses(404, 409, 428))
def set_status(
    services: ServicesHere,
    user: Writer,
    compromise_event_id: EventId,
    step: StatusRequest,
    response: Response,
    if_match: IfMatch = None,
) -> CompromiseEventAnswer:
    """Change the status. Closing or refuting an event releases its cards; reopening watches them again."""
    version = expected_version(step.version, if_match)
    with write(services.engine) as connection:
        event = changes.set_status(
            connection, compromise_event_id, step.status, version, services.now(), step.reason, user.username
        )
    return event_answer(event, user, response)


@router.post("/status/preview", summary="What a step would do", responses=change_responses(404, 409))
def preview_status(
    services: ServicesHere, _user: Writer, compromise_event_id: EventId, step: StatusRequest
) -> StatusEffectAnswer:
    """Say what a step would do to cards, without taking it. What is refused here would be refused there."""
    with read(services.engine) as connection:
        event = get_compromise_event(connection, compromise_event_id)
        transition(CompromiseStatus(event.status), step.status, reason=step.reason)
        effect = changes.status_effect(connection, event, step.status)
    return StatusEffectAnswer(status=step.status, released=effect.released, kept_elsewhere=effect.kept_elsewhere)


@router.post("/disclosure", summary="Say what may be told", responses=change_responses(404, 409, 428))
def set_disclosure(
    services: ServicesHere,
    user: Writer,
    compromise_event_id: EventId,
    step: DisclosureRequest,
    response: Response,
    if_match: IfMatch = None,
) -> CompromiseEventAnswer:
    """Change what may be said outside. The shop may be named once the fact PUBLISHED is recorded."""
    version = expected_version(step.version, if_match)
    with write(services.engine) as connection:
        event = changes.set_disclosure(
            connection, compromise_event_id, step.disclosure, version, services.now(), step.reason, user.username
        )
    return event_answer(event, user, response)


@router.post("/amendments", summary="Amend what is known", responses=change_responses(404, 409, 428))
def amend(
    services: ServicesHere,
    user: Writer,
    compromise_event_id: EventId,
    request: AmendmentRequest,
    response: Response,
    if_match: IfMatch = None,
) -> CompromiseEventAnswer:
    """Amend window, data elements, entities, names or vector. What was known before stays, as an earlier version.

    Another window or other data elements reach the workers at once, and start a look-back.
    """
    version = expected_version(request.version, if_match)
    with write(services.engine) as connection:
        amendment = amendment_of(request, get_compromise_event(connection, compromise_event_id))
        event = changes.amend_compromise_event(
            connection, compromise_event_id, amendment, version, services.now(), user.username
        )
    return event_answer(event, user, response)


@router.post("/amendments/preview", summary="What an amendment would change", responses=change_responses(404, 409))
def preview_amendment(
    services: ServicesHere, _user: Writer, compromise_event_id: EventId, request: AmendmentRequest
) -> AmendmentEffectAnswer:
    """Say what an amendment would change, without making it. What is refused here would be refused there."""
    with read(services.engine) as connection:
        amendment = amendment_of(request, get_compromise_event(connection, compromise_event_id))
        effect, watched = changes.preview_amendment(connection, compromise_event_id, amendment)
    return AmendmentEffectAnswer(
        changed=list(effect.changed),
        days_added=[DaysAnswer(first=first, last=last) for first, last in effect.days_added],
        days_removed=[DaysAnswer(first=first, last=last) for first, last in effect.days_removed],
        elements_added=list(effect.elements_added),
        elements_removed=list(effect.elements_removed),
        tier_before=effect.tier_before,
        tier_after=effect.tier_after,
        cards_watched=watched,
        looks_back=effect.changes_matching,
    )


def amendment_of(request: AmendmentRequest, event: CompromiseEventView) -> Amendment:
    """A request as the pure core has it; parts of the window that are not given are those of the event."""
    window = window_with(event.known.window, request.starts_on, request.ends_on, request.zone, request.precision)
    entities = request.entities
    return Amendment(
        reason=request.reason,
        name=request.name,
        code_name=request.code_name,
        window=window,
        elements=None if request.data_elements is None else DataElements.from_names(request.data_elements),
        entities=None if entities is None else tuple(CompromisedEntity(**entity.model_dump()) for entity in entities),
        vector=request.vector,
    )
