"""Reviews: what is watched for an event is extended or released by a person, with exceptions; never by a timer."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Form, Path, Query, Request, Response

from fraud.api.authentication import Principal
from fraud.api.schemas.base import MAX_INTEGER
from fraud.api.services import Services, ServicesHere
from fraud.console.exposure_words import seen_by
from fraud.console.forms import go_to
from fraud.console.rendering import render, request_format
from fraud.console.routers.permissions import ExposureReader, ExposureWriter
from fraud.errors import ConflictError, InvalidInputError, MimamoriError
from fraud.store.compromise_records import get_compromise_event, list_compromise_events
from fraud.store.database import read, write
from fraud.store.exposure import event_counts
from fraud.store.exposure_reviews import (
    MAX_REVIEW_DAYS,
    REVIEW_DAYS,
    ReviewDecision,
    decide_review,
    get_review,
    list_reviews,
    review_exceptions,
)

EXCEPTIONS_SHOWN = 100
REASON_LIMIT = 2_000

router = APIRouter(prefix="/reviews")
ReviewId = Annotated[int, Path(ge=1, le=MAX_INTEGER)]


@router.get("")
def review_list(request: Request, services: ServicesHere, principal: ExposureReader) -> Response:
    """Show what is to be reviewed, the first due first, and what has been decided."""
    with read(services.engine) as connection:
        reviews = list_reviews(connection)
        decided = list_reviews(connection, decided=True)[:25]
        names = {item.compromise_event_id: seen_by(principal, item).name for item in list_compromise_events(connection)}
    return render(
        request,
        "reviews.html",
        principal,
        format=request_format(request, services),
        reviews=reviews,
        decided=decided,
        names=names,
    )


@router.get("/{review_id}")
def review_page(
    request: Request,
    services: ServicesHere,
    principal: ExposureReader,
    review_id: ReviewId,
    after: Annotated[str, Query(max_length=512)] = "",
) -> Response:
    """Show one review with the cards that want a look of their own."""
    return _page(request, services, principal, review_id, after)


@router.post("/{review_id}")
def decide(
    request: Request,
    services: ServicesHere,
    principal: ExposureWriter,
    review_id: ReviewId,
    decision: Annotated[str, Form(max_length=16)] = "",
    reason: Annotated[str, Form(max_length=REASON_LIMIT)] = "",
    days: Annotated[str, Form(max_length=4)] = str(REVIEW_DAYS),
    exceptions: Annotated[list[str], Form(max_length=10_000)] = [],  # noqa: B006 - FastAPI makes a new one
) -> Response:
    """Extend or release; the chosen cards get the other."""
    try:
        chosen = _decision(decision)
        with write(services.engine) as connection:
            decide_review(
                connection,
                review_id,
                chosen,
                decided_by=principal.username,
                reason=reason,
                now=services.now(),
                exceptions=exceptions,
                days=int(days) if days.isdecimal() else 0,  # which is refused
            )
    except (ConflictError, InvalidInputError) as error:
        return _page(request, services, principal, review_id, "", error)
    return go_to("/reviews")


def _decision(text: str) -> ReviewDecision:
    if text not in list(ReviewDecision):
        message = "choose what becomes of the cards"
        raise InvalidInputError(message, field="decision")
    return ReviewDecision(text)


def _page(
    request: Request,
    services: Services,
    principal: Principal,
    review_id: int,
    after: str,
    error: MimamoriError | None = None,
) -> Response:
    with read(services.engine) as connection:
        review = get_review(connection, review_id)
        event = get_compromise_event(connection, review.compromise_event_id)
        counts = event_counts(connection, review.compromise_event_id)
        page = review_exceptions(connection, review.compromise_event_id, after or None, EXCEPTIONS_SHOWN)
    return render(
        request,
        "review.html",
        principal,
        status=error.status if error else HTTPStatus.OK,
        format=request_format(request, services),
        review=review,
        event=seen_by(principal, event),
        watched=counts["exposed_cards"],
        exceptions=page.items if review.decision is None else [],
        next_cursor=page.next_cursor,
        after=after,
        review_days=REVIEW_DAYS,
        most_days=MAX_REVIEW_DAYS,
        problem=str(error) if error else None,
    )
