"""The page of one compromise event, as it is now; with what was refused, after a form was."""

from __future__ import annotations

from http import HTTPStatus
from typing import Literal
from zoneinfo import ZoneInfo

from fastapi import Request, Response

from fraud.api.authentication import Principal
from fraud.api.services import Services
from fraud.compromise import AlertSource, CompromiseStatus, next_statuses
from fraud.compromise_disclosure import Disclosure
from fraud.compromise_facts import FactKind
from fraud.compromise_window import local_day
from fraud.console.charts import Chart, Plot, bars_by_day
from fraud.console.event_forms import FormData
from fraud.console.event_view import event_history
from fraud.console.exposure_words import exposure_banner, is_insider, seen_by
from fraud.console.formatting import Format
from fraud.console.rendering import render, request_format
from fraud.errors import ConflictError, InvalidInputError
from fraud.store.activity import DayActivity, activity_by_day
from fraud.store.compromise_records import compromise_versions, related_events
from fraud.store.compromise_views import CompromiseEventView, version_as_seen
from fraud.store.database import read
from fraud.store.exposure import event_counts, exposed_cards, get_compromise_event

CARDS_SHOWN = 25
_PLOT = Plot(width=860, height=96, left=48)


def event_page_response(
    request: Request,
    services: Services,
    principal: Principal,
    event_id: str,
    after: str = "",
    error: ConflictError | InvalidInputError | None = None,
    draft: FormData = FormData(),
) -> Response:
    """The page of an event; `draft` is what had been filled in when a form came back."""
    format_ = request_format(request, services)
    insider = is_insider(principal)
    with read(services.engine) as connection:
        whole = get_compromise_event(connection, event_id)
        counts = event_counts(connection, event_id)
        page = exposed_cards(connection, event_id, after or None, CARDS_SHOWN)
        days = activity_by_day(connection, event_id)
        versions = compromise_versions(connection, event_id)
        related = related_events(connection, whole, insider=insider)
    event = seen_by(principal, whole)
    return render(
        request,
        "event.html",
        principal,
        status=error.status if error else HTTPStatus.OK,
        format=format_,
        event=event,
        words=exposure_banner(event, format_),
        history=event_history(event, [version_as_seen(item, whole, insider=insider) for item in versions], format_),
        counts=counts,
        cards=page.items,
        next_cursor=page.next_cursor,
        after=after,
        days=days,
        matches_chart=_chart(days, "matches", format_),
        detections_chart=_chart(days, "detections", format_),
        related=related,
        problem=problem_words(error, format_) if error else None,
        draft_fields=dict(reversed(draft.items)),
        **_choices(whole, format_),
    )


def problem_words(error: ConflictError | InvalidInputError, format_: Format) -> str:
    """What was refused, in the reader's language where there are words for it."""
    if isinstance(error, ConflictError):
        return format_.t("problem.event_conflict", detail=str(error))
    return format_.t.messages.get(f"problem.event.{error.field}", str(error))


def _choices(event: CompromiseEventView, format_: Format) -> dict[str, object]:
    published = any(fact.kind == FactKind.PUBLISHED for fact in event.standing_facts)
    disclosures = [item for item in Disclosure if item != event.disclosure and (published or not item.may_name_entity)]
    return {
        "next_statuses": next_statuses(CompromiseStatus(event.status)),
        "next_disclosures": disclosures,
        "published": published,
        "fact_kinds": list(FactKind),
        "alert_sources": list(AlertSource),
        "today": local_day(format_.now, event.zone).isoformat(),
        "event_zone": ZoneInfo(event.zone).key,
    }


def _chart(days: list[DayActivity], kind: Literal["matches", "detections"], format_: Format) -> Chart | None:
    counts = [(day.starts_at, getattr(day, kind)) for day in days]
    titled = [(at, count, f"{format_.minute(at)[:10]} · {format_.number(count)}") for at, count in counts]
    return bars_by_day(titled, _PLOT, format_.zone)
