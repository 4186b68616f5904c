"""Cards by reference: status, line of reissues and exposures; reference data; and reviews of what is watched."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.concurrency import run_in_threadpool

from fraud.alert_columns import REFERENCE_ROLES
from fraud.alert_files import make_mapping
from fraud.alert_files.references import ReferenceFile
from fraud.api.authentication import Principal
from fraud.api.openapi import change_responses, problem_responses
from fraud.api.permissions import requires
from fraud.api.routers.imports import EXAMPLE_REF, upload_body
from fraud.api.routers.parameters import ID_PATTERN, PREFIX, Cursor, Limit
from fraud.api.schemas.base import MAX_INTEGER, Page
from fraud.api.schemas.imports import (
    CardAnswer,
    CardExposureAnswer,
    LineageCardAnswer,
    ReferenceLoadAnswer,
    ReviewAnswer,
    ReviewDecisionRequest,
    ReviewExceptionAnswer,
)
from fraud.api.services import ServicesHere
from fraud.api.uploads import (
    UPLOAD_BYTES,
    Columns,
    Encoding,
    FileName,
    Format,
    numbers_refused,
    receive,
    tokenizer_for_uploads,
)
from fraud.card_references import CardStatus, shown_status
from fraud.compromise import ExposedCardStatus
from fraud.errors import ConfigurationError, NotFoundError
from fraud.store.card_lineages import lineage_of, lineage_root
from fraud.store.card_references import card_reference_of
from fraud.store.database import read, write
from fraud.store.exposure import card_exposures
from fraud.store.exposure_reviews import decide_review, get_review, list_reviews, review_exceptions
from fraud.store.reference_loads import LoadReport, load_references

router = APIRouter(prefix=PREFIX, tags=["cards"])

Reader = Annotated[Principal, Depends(requires("exposure:read"))]
Writer = Annotated[Principal, Depends(requires("exposure:write"))]
CardRefPath = Annotated[str, Path(max_length=80, pattern=ID_PATTERN, description="A card reference.")]
ReviewId = Annotated[int, Path(ge=1, le=MAX_INTEGER)]


@router.get("/cards/{card_ref}", summary="One card", responses=problem_responses(404))
def get_card(services: ServicesHere, _user: Reader, card_ref: CardRefPath) -> CardAnswer:
    """Show a card: its own status, its line of reissues, and all compromise events that it is in, or was."""
    with read(services.engine) as connection:
        known = card_reference_of(connection, card_ref)
        line = lineage_of(connection, card_ref)
        root = lineage_root(connection, card_ref)
        exposures = card_exposures(connection, card_ref)
    if known is None and not exposures and len(line) == 1:
        message = "nothing is known of this card"
        raise NotFoundError(message)
    active = [item for item in exposures if item.status == ExposedCardStatus.ACTIVE]
    status = CardStatus(known.status) if known else None
    return CardAnswer(
        card_ref=card_ref,
        status=shown_status(status, watched=bool(active)),
        tier=max((item.tier for item in active), default=0),
        reference_status=status,
        expiry=known.expiry if known else None,
        product=known.product if known else None,
        replaced_by=known.replaced_by if known else None,
        as_of_at=known.as_of_at if known else None,
        card_lineage=root,
        line=[LineageCardAnswer(card_ref=ref, generation=generation) for ref, generation in line],
        exposures=[CardExposureAnswer.model_validate(item) for item in exposures],
    )


@router.post(
    "/card-references",
    summary="Take up card reference data",
    responses=change_responses(409, 415),
    openapi_extra=upload_body(
        "Status, expiry, product and replacement of cards, by card reference",
        f"card_ref,status,expiry\n{EXAMPLE_REF},ACTIVE,2025-03\n",
    ),
)
async def load(
    request: Request,
    services: ServicesHere,
    user: Writer,
    file_name: FileName = "upload",
    file_format: Format = "csv",
    encoding: Encoding = "auto",
    columns: Columns = "",
    complete: Annotated[
        bool, Query(description="The file names every card: an exposed card that it does not is unmatched.")
    ] = False,
) -> ReferenceLoadAnswer:
    """Take up what the issuer's card system says of its cards; exposures follow a card to the one that came after it.

    Each part of the file is taken up by itself; sending it again is always safe, and older data change nothing.
    """
    mapping = make_mapping(file_format=file_format, encoding=encoding, columns=columns, roles=REFERENCE_ROLES)
    data = await receive(request)
    as_of_at = services.now()

    def opened() -> ReferenceFile:
        tokenizer = tokenizer_for_uploads(services)
        return ReferenceFile(
            data, mapping, as_of_at=as_of_at, tokenizer=tokenizer, guard=services.guard, max_bytes=UPLOAD_BYTES
        )

    def work() -> LoadReport:
        try:
            return load_references(
                services.engine,
                opened,
                name=file_name,
                complete=complete,
                loaded_by=user.username,
                now=services.now,
                progress=lambda _read, _lines: None,
            )
        except ConfigurationError:
            raise numbers_refused() from None

    done = await run_in_threadpool(work)
    return ReferenceLoadAnswer(
        sha256=done.sha256,
        rows=done.report.rows + done.malformed,
        changed=done.report.changed,
        same=done.report.same,
        stale=done.report.stale,
        refused=done.report.refused,
        malformed=done.malformed,
        malformed_rows=list(done.malformed_rows),
        compromise_event_ids=list(done.report.followed_events),
    )


@router.get("/exposure-reviews", summary="Reviews of what is watched", responses=problem_responses())
def reviews(
    services: ServicesHere,
    _user: Reader,
    due: Annotated[bool, Query(description="Only those whose time has come.")] = False,
    decided: Annotated[bool, Query(description="Those that have been decided instead.")] = False,
) -> list[ReviewAnswer]:
    """List what is to be reviewed, one task a compromise event. Nothing ends by itself when its time has come."""
    with read(services.engine) as connection:
        found = list_reviews(connection, services.now() if due else None, decided=decided)
    return [ReviewAnswer.model_validate(item) for item in found]


@router.get("/exposure-reviews/{review_id}/exceptions", summary="Cards of their own", responses=problem_responses(404))
def exceptions(
    services: ServicesHere, _user: Reader, review_id: ReviewId, cursor: Cursor = None, limit: Limit = 50
) -> Page[ReviewExceptionAnswer]:
    """List the watched cards for which one decision for all may not fit, and why."""
    with read(services.engine) as connection:
        event_id = get_review(connection, review_id).compromise_event_id
        page = review_exceptions(connection, event_id, cursor, limit)
    return Page[ReviewExceptionAnswer].model_validate(page)


@router.post(
    "/exposure-reviews/{review_id}/decision", summary="Extend or release", responses=change_responses(404, 409)
)
def decide(services: ServicesHere, user: Writer, review_id: ReviewId, decision: ReviewDecisionRequest) -> ReviewAnswer:
    """Extend watching, or release the event's cards; exceptions get the other. It is decided once."""
    with write(services.engine) as connection:
        done = decide_review(
            connection,
            review_id,
            decision.decision,
            decided_by=user.username,
            reason=decision.reason,
            now=services.now(),
            exceptions=decision.exceptions,
            days=decision.days,
        )
    return ReviewAnswer.model_validate(done)
