"""Compromise events: the list, and one event with its facts, its cards and what they have been used for since."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response

from fraud.api.routers.parameters import EventId
from fraud.api.services import ServicesHere
from fraud.console.charts import Chart, Plot, bars_by_day
from fraud.console.exposure_words import element_words, exposure_banner
from fraud.console.formatting import Format
from fraud.console.rendering import render, request_format
from fraud.console.routers.permissions import ExposureReader
from fraud.store.activity import DayActivity, activity_by_day
from fraud.store.database import read
from fraud.store.exposure import event_counts, exposed_cards, get_compromise_event, list_compromise_events
from fraud.store.views import CompromiseEventView

CARDS_SHOWN = 25
_PLOT = Plot(width=860, height=96, left=48)

router = APIRouter(prefix="/events")


@router.get("")
def event_list(request: Request, services: ServicesHere, principal: ExposureReader) -> Response:
    """Show all compromise events with their counts."""
    format_ = request_format(request, services)
    with read(services.engine) as connection:
        events = list_compromise_events(connection)
        counts = {event.compromise_event_id: event_counts(connection, event.compromise_event_id) for event in events}
    return render(
        request,
        "events.html",
        principal,
        format=format_,
        events=events,
        counts=counts,
        elements={event.compromise_event_id: element_words(event.data_elements, format_) for event in events},
    )


@router.get("/{event_id}")
def event_page(
    request: Request,
    services: ServicesHere,
    principal: ExposureReader,
    event_id: EventId,
    after: Annotated[str, Query(max_length=512)] = "",
) -> Response:
    """Show one compromise event."""
    format_ = request_format(request, services)
    with read(services.engine) as connection:
        event = get_compromise_event(connection, event_id)
        counts = event_counts(connection, event_id)
        page = exposed_cards(connection, event_id, after or None, CARDS_SHOWN)
        days = activity_by_day(connection, event_id)
    return render(
        request,
        "event.html",
        principal,
        format=format_,
        event=event,
        words=exposure_banner(event, format_),
        facts=_facts(event, format_),
        counts=counts,
        cards=page.items,
        next_cursor=page.next_cursor,
        after=after,
        days=days,
        matches_chart=_chart(days, "matches", format_),
        detections_chart=_chart(days, "detections", format_),
    )


def _chart(days: list[DayActivity], kind: Literal["matches", "detections"], format_: Format) -> Chart | None:
    counts = [(day.starts_at, getattr(day, kind)) for day in days]
    titled = [(at, count, f"{format_.minute(at)[:10]} · {format_.number(count)}") for at, count in counts]
    return bars_by_day(titled, _PLOT, format_.zone)


@dataclass(frozen=True, slots=True)
class Fact:
    """One dated fact, with the days since the exposure window closed."""

    on: str
    label: str
    days_after: int


def _facts(event: CompromiseEventView, format_: Format) -> list[Fact]:
    closed = date.fromisoformat(event.ends_on)
    facts = []
    for fact in sorted(event.facts, key=lambda fact: str(fact["on"])):
        words = [format_.t.named("fact", fact.get("kind")), str(fact.get("note") or "")]
        days = (date.fromisoformat(fact["on"]) - closed).days
        facts.append(Fact(fact["on"], ": ".join(word for word in words if word), days))
    return facts
