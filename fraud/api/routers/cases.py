"""Cases: the queue, one case with everything about it, and what reviewers do."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from fraud.api.authentication import Principal
from fraud.api.openapi import change_responses, problem_responses
from fraud.api.permissions import requires
from fraud.api.preconditions import IfMatch, expected_version, set_etag
from fraud.api.routers.parameters import ID_PATTERN, PREFIX, CardRef, CaseId, Cursor, InEvent, Limit
from fraud.api.schemas.base import Milliseconds, Page
from fraud.api.schemas.cases import (
    CaseAnswer,
    CaseDetailAnswer,
    CaseEventAnswer,
    ChangeRequest,
    NoteRequest,
    OrderName,
    ResolveRequest,
    SortName,
)
from fraud.api.schemas.detections import CaseKindName, DetectionAnswer, ExposureMatchAnswer
from fraud.api.services import ServicesHere
from fraud.cases import CaseStatus, Resolution
from fraud.store import cases as store
from fraud.store.cases import CaseFilter
from fraud.store.database import read, write
from fraud.store.views import CaseView

MATCHES_SHOWN = 200  # the card's latest; the rest is in the list of exposure matches

router = APIRouter(prefix=f"{PREFIX}/cases", tags=["cases"])

Reader = Annotated[Principal, Depends(requires("cases:read"))]
Writer = Annotated[Principal, Depends(requires("cases:write"))]


def _answer(case: CaseView, response: Response) -> CaseAnswer:
    set_etag(response, case.version)
    return CaseAnswer.model_validate(case)


@router.get("", summary="The queue", responses=problem_responses())
def list_cases(
    services: ServicesHere,
    _user: Reader,
    status: Annotated[list[CaseStatus] | None, Query(description="One or more; all when left out.")] = None,
    kind: CaseKindName | None = None,
    tier_at_least: Annotated[int | None, Query(ge=0, le=5)] = None,
    compromise_event_id: InEvent = None,
    claimed_by: Annotated[str | None, Query(max_length=64, pattern=ID_PATTERN, description="A username.")] = None,
    card_ref: CardRef = None,
    opened_from: Annotated[Milliseconds | None, Query(description="Opened at this time or later.")] = None,
    opened_to: Annotated[Milliseconds | None, Query(description="Opened before this time.")] = None,
    sort: SortName = "priority",
    order: OrderName = "desc",
    cursor: Cursor = None,
    limit: Limit = 50,
) -> Page[CaseAnswer]:
    """List cases, most expected loss first unless another order is asked for."""
    chosen = CaseFilter(
        status=tuple(status) if status else None,
        kind=kind,
        tier_at_least=tier_at_least,
        compromise_event_id=compromise_event_id,
        claimed_by=claimed_by,
        card_ref=card_ref,
        opened_from=opened_from,
        opened_to=opened_to,
    )
    with read(services.engine) as connection:
        page = store.list_cases(connection, chosen, sort, order == "desc", cursor, limit)
    return Page[CaseAnswer].model_validate(page)


@router.post(
    "/claim-next",
    summary="Claim the most urgent case",
    responses={**problem_responses(), 204: {"description": "There is no case to claim."}},
    response_model=CaseAnswer,
)
def claim_next(services: ServicesHere, user: Writer, response: Response) -> CaseAnswer | Response:
    """Claim the new case with the highest priority, for the caller."""
    with write(services.engine) as connection:
        case = store.claim_next(connection, user.username, services.now())
    return Response(status_code=204) if case is None else _answer(case, response)


@router.get("/{case_id}", summary="One case with everything about it", responses=problem_responses(404))
def get_case(services: ServicesHere, _user: Reader, case_id: CaseId, response: Response) -> CaseDetailAnswer:
    """Show one case: its detections with their reasons, its history, the card's matches and its earlier cases."""
    with read(services.engine) as connection:
        case = store.get_case(connection, case_id)
        detections = store.case_detections(connection, case_id)
        events = store.case_events(connection, case_id)
        matches = store.card_matches(connection, case.card_ref, MATCHES_SHOWN)
        past = store.past_cases(connection, case.card_ref)
    return CaseDetailAnswer(
        case=_answer(case, response),
        detections=[DetectionAnswer.model_validate(item) for item in detections],
        events=[CaseEventAnswer.model_validate(item) for item in events],
        matches=[ExposureMatchAnswer.model_validate(item) for item in matches],
        past_cases=[CaseAnswer.model_validate(item) for item in past if item.case_id != case_id],
    )


@router.post("/{case_id}/claim", summary="Claim a case", responses=change_responses(404, 409, 428))
def claim(
    services: ServicesHere,
    user: Writer,
    case_id: CaseId,
    response: Response,
    change: ChangeRequest | None = None,
    if_match: IfMatch = None,
) -> CaseAnswer:
    """Claim a new case for the caller. Of several who claim one version, one wins and the others get a conflict."""
    version = expected_version(change.version if change else None, if_match)
    with write(services.engine) as connection:
        case = store.claim(connection, case_id, user.username, version, services.now())
    return _answer(case, response)


@router.post("/{case_id}/release", summary="Give a case back", responses=change_responses(404, 409, 428))
def release(
    services: ServicesHere,
    user: Writer,
    case_id: CaseId,
    response: Response,
    change: ChangeRequest | None = None,
    if_match: IfMatch = None,
) -> CaseAnswer:
    """Give a case that the caller has claimed back to the queue."""
    version = expected_version(change.version if change else None, if_match)
    with write(services.engine) as connection:
        case = store.release(connection, case_id, user.username, version, services.now())
    return _answer(case, response)


@router.post("/{case_id}/notes", summary="Add a note", status_code=201, responses=change_responses(404))
def add_note(services: ServicesHere, user: Writer, case_id: CaseId, note: NoteRequest) -> CaseEventAnswer:
    """Add a note to the case's history."""
    with write(services.engine) as connection:
        store.add_note(connection, case_id, user.username, note.text, services.now())
        events = store.case_events(connection, case_id)
    return CaseEventAnswer.model_validate(events[-1])


@router.post("/{case_id}/resolve", summary="Resolve a case", responses=change_responses(404, 409, 428))
def resolve(
    services: ServicesHere,
    user: Writer,
    case_id: CaseId,
    decision: ResolveRequest,
    response: Response,
    if_match: IfMatch = None,
) -> CaseAnswer:
    """Resolve a case that the caller has claimed. The outcome becomes a label of each of its detections."""
    version = expected_version(decision.version, if_match)
    resolution = Resolution(decision.outcome, decision.reason_code, decision.fraud_type)
    quiet_days = services.settings.policy.quiet_days_after_genuine
    with write(services.engine) as connection:
        case = store.resolve(connection, case_id, user.username, version, resolution, services.now(), quiet_days)
    return _answer(case, response)
