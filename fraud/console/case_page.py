"""One case as a page: everything that a decision needs on one screen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from http import HTTPStatus

from fastapi import Request, Response

from fraud.api.authentication import Principal
from fraud.api.services import Services
from fraud.cases import OUTCOMES_WITH_FRAUD_TYPE, FraudType, Outcome, ReasonCode
from fraud.console.card_view import card_view
from fraud.console.exposure_words import seen_by
from fraud.console.formatting import Format
from fraud.console.rendering import render, request_format
from fraud.console.words import case_sentences
from fraud.errors import ConflictError, InvalidInputError
from fraud.store import cases as store
from fraud.store.database import read
from fraud.store.exposure import get_compromise_event
from fraud.store.views import CaseEventView

MATCHES_SHOWN = 200


@dataclass(frozen=True, slots=True)
class Draft:
    """What the reviewer had filled in when the form came back."""

    outcome: str = ""
    reason_code: str = ""
    fraud_type: str = ""
    note: str = ""


EMPTY = Draft()


def case_page_response(
    request: Request,
    services: Services,
    principal: Principal,
    case_id: int,
    error: ConflictError | InvalidInputError | None = None,
    draft: Draft = EMPTY,
) -> Response:
    """The page of a case as it is now; with what was refused and what had been filled in, after a form was."""
    format_ = request_format(request, services)
    with read(services.engine) as connection:
        case = store.get_case(connection, case_id)
        detections = store.case_detections(connection, case_id)
        history = store.case_events(connection, case_id)
        matches = store.card_matches(connection, case.card_ref, MATCHES_SHOWN)
        past = store.past_cases(connection, case.card_ref)
        events = [seen_by(principal, get_compromise_event(connection, name)) for name in case.compromise_event_ids]
    card = card_view(detections, matches, events, format_)
    return render(
        request,
        "case.html",
        principal,
        status=error.status if error else HTTPStatus.OK,
        format=format_,
        case=case,
        card=card,
        reasons=case_sentences(detections, "reasons", format_),
        counter_evidence=case_sentences(detections, "counter_evidence", format_),
        history=_history(history, format_),
        past=[item for item in past if item.case_id != case_id],
        problem=_problem_words(error, format_) if error else None,
        draft=draft,
        outcomes=list(Outcome),
        reason_codes=list(ReasonCode),
        fraud_types=list(FraudType),
        outcomes_with_fraud_type=sorted(OUTCOMES_WITH_FRAUD_TYPE),
    )


def _problem_words(error: ConflictError | InvalidInputError, format_: Format) -> str:
    if isinstance(error, ConflictError):
        return format_.t("problem.conflict")
    return format_.t.messages.get(f"problem.{error.field}", str(error))


@dataclass(frozen=True, slots=True)
class HistoryItem:
    """One line of the case's history; `count` detections that came one after the other are one line."""

    at: int
    actor: str
    kind: str
    detail: str
    text: str
    count: int = 1


def _history(events: Iterable[CaseEventView], format_: Format) -> list[HistoryItem]:
    items: list[HistoryItem] = []
    for event in events:
        item = _history_item(event, format_)
        if items and item.kind == items[-1].kind == "DETECTION_ADDED":
            item = replace(item, count=items.pop().count + 1)
        items.append(item)
    return items


def _history_item(item: CaseEventView, format_: Format) -> HistoryItem:
    data = item.data
    groups = {"outcome": "outcome", "reason_code": "reason_code", "fraud_type": "fraud_type"}
    details = [format_.t.named(group, data[name]) for name, group in groups.items() if data.get(name)]
    return HistoryItem(item.at, item.actor, item.kind, " · ".join(details), str(data.get("text", "")))
