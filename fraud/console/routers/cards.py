"""One card, read only: also an exposed card that was rightly left alone can be looked at."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from fraud.api.services import ServicesHere
from fraud.cards import is_card_ref
from fraud.console.card_view import card_view
from fraud.console.exposure_words import seen_by
from fraud.console.rendering import render, request_format
from fraud.console.routers.permissions import CaseReader
from fraud.errors import NotFoundError
from fraud.store import cases as store
from fraud.store.database import read
from fraud.store.exposure import card_exposures, get_compromise_event

MATCHES_SHOWN = 200

router = APIRouter(prefix="/cards")


@router.get("/{card_ref}")
def card_page(
    request: Request, services: ServicesHere, principal: CaseReader, card_ref: Annotated[str, Path(max_length=80)]
) -> Response:
    """Show a card's exposures, matches, detections and cases."""
    format_ = request_format(request, services)
    if not is_card_ref(card_ref):
        message = "no card has a reference of this form"
        raise NotFoundError(message)
    with read(services.engine) as connection:
        exposures = card_exposures(connection, card_ref)
        matches = store.card_matches(connection, card_ref, MATCHES_SHOWN)
        cases = store.past_cases(connection, card_ref)
        detections = [found for case in cases for found in store.case_detections(connection, case.case_id)]
        found = (get_compromise_event(connection, exposure.compromise_event_id) for exposure in exposures)
        events = [seen_by(principal, event) for event in found]
    if not (exposures or matches or cases):
        message = "nothing is known of this card"
        raise NotFoundError(message)
    known_last4 = [*(item.pan_last4 for item in exposures), *(item.pan_last4 for item in cases)]
    last4 = next(filter(None, known_last4), None)
    return render(
        request,
        "card.html",
        principal,
        format=format_,
        card_ref=card_ref,
        pan_last4=last4,
        card=card_view(detections, matches, events, format_),
        exposures=exposures,
        events={event.compromise_event_id: event for event in events},
        tier=max((exposure.tier for exposure in exposures), default=0),
        matches=len({match.event_id for match in matches}),
        more_matches=len(matches) == MATCHES_SHOWN,
        detections=detections,
        cases=cases,
    )
