"""Detections and exposure matches."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from fraud.api.authentication import Principal
from fraud.api.openapi import problem_responses
from fraud.api.permissions import requires
from fraud.api.routers.parameters import PREFIX, CardRef, Cursor, DetectionId, InEvent, Limit
from fraud.api.schemas.base import Page
from fraud.api.schemas.detections import DetectionAnswer, ExposureMatchAnswer
from fraud.api.services import ServicesHere
from fraud.errors import InvalidInputError
from fraud.store import detections as store
from fraud.store.database import read

router = APIRouter(prefix=PREFIX, tags=["detections"])

CaseReader = Annotated[Principal, Depends(requires("cases:read"))]
ExposureReader = Annotated[Principal, Depends(requires("exposure:read"))]


@router.get("/detections/{detection_id}", summary="One detection", responses=problem_responses(404))
def get_detection(services: ServicesHere, _user: CaseReader, detection_id: DetectionId) -> DetectionAnswer:
    """Show one detection with everything that explains it."""
    with read(services.engine) as connection:
        return DetectionAnswer.model_validate(store.get_detection(connection, detection_id))


@router.get("/exposure-matches", summary="Transactions of exposed cards", responses=problem_responses())
def list_exposure_matches(
    services: ServicesHere,
    _user: ExposureReader,
    card_ref: CardRef = None,
    compromise_event_id: InEvent = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[ExposureMatchAnswer]:
    """List the matches of a card, of a compromise event, or of a card in an event, latest transaction first."""
    if card_ref is None and compromise_event_id is None:
        message = "name a card_ref or a compromise_event_id"
        raise InvalidInputError(message, field="query.card_ref")
    with read(services.engine) as connection:
        page = store.exposure_matches(connection, card_ref, compromise_event_id, cursor, limit)
    return Page[ExposureMatchAnswer].model_validate(page)
