"""The state of the stream: positions, dead letters, and everything in numbers."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from fraud.api.authentication import Principal
from fraud.api.openapi import problem_responses
from fraud.api.permissions import requires
from fraud.api.routers.parameters import PREFIX, Cursor, Limit
from fraud.api.schemas.base import Page
from fraud.api.schemas.operations import DeadLetterAnswer, PositionAnswer, SummaryAnswer
from fraud.api.services import ServicesHere
from fraud.store import effects, operations
from fraud.store.database import read

router = APIRouter(prefix=PREFIX, tags=["operations"])

Operator = Annotated[Principal, Depends(requires("operations:read"))]
ReportReader = Annotated[Principal, Depends(requires("reports:read"))]


@router.get("/positions", summary="How far each partition has got", responses=problem_responses())
def list_positions(services: ServicesHere, _user: Operator) -> list[PositionAnswer]:
    """List every partition's position with its counters."""
    with read(services.engine) as connection:
        positions = effects.list_positions(connection)
    return [
        PositionAnswer(
            group_id=item.key.group_id,
            topic=item.key.topic,
            topic_id=item.key.topic_id,
            partition=item.key.partition,
            **{name: getattr(item, name) for name in PositionAnswer.model_fields if hasattr(item, name)},
        )
        for item in positions
    ]


@router.get("/dead-letters", summary="Records that could not be processed", responses=problem_responses())
def list_dead_letters(
    services: ServicesHere, _user: Operator, cursor: Cursor = None, limit: Limit = 50
) -> Page[DeadLetterAnswer]:
    """List dead letters and quarantined records: where they lie and why, never what they hold."""
    with read(services.engine) as connection:
        page = operations.list_dead_letters(connection, cursor, limit)
    return Page[DeadLetterAnswer].model_validate(page)


@router.get("/report/summary", summary="Everything in numbers", responses=problem_responses())
def summary(services: ServicesHere, _user: ReportReader) -> SummaryAnswer:
    """Show what was processed, matched, detected and decided, in numbers."""
    with read(services.engine) as connection:
        numbers = operations.summary(connection)
    return SummaryAnswer(as_of_at=services.now(), numbers=numbers)
