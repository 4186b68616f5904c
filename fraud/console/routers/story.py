"""The start page: a demonstration's story where there is one, otherwise the way to one's work."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request, Response

from fraud.api.authentication import Principal, current_user
from fraud.api.permissions import may
from fraud.api.services import ServicesHere
from fraud.console.forms import go_to
from fraud.console.rendering import render, request_format
from fraud.console.story_chart import days_between, story_chart
from fraud.store.database import read
from fraud.store.operations import story

# What a story that has just begun does not have yet.
_NOT_YET: dict[str, Any] = {
    "title": "",
    "progress": {},
    "cards": [],
    "scorecard_sentences": [],
    "compromise_event_id": None,
}

router = APIRouter()
User = Annotated[Principal, Depends(current_user)]


@router.get("/")
def start_page(request: Request, services: ServicesHere, principal: User) -> Response:
    """Show the story, or go to the page that this person works on."""
    with read(services.engine) as connection:
        told: dict[str, Any] = story(connection)
    if told.get("dates") and told.get("window"):
        return _story_page(request, services, principal, told)
    if may(principal, "cases:read"):
        return go_to("/queue")
    return go_to("/operations")


def _story_page(request: Request, services: ServicesHere, principal: Principal, told: dict[str, Any]) -> Response:
    format_ = request_format(request, services)
    window = told["window"]
    dates = sorted(told["dates"], key=lambda item: str(item["on"]))
    today = str(told.get("today") or window["ends_on"])
    first_word = next((item for item in dates if item.get("kind") == "told"), dates[0])
    published = next((item for item in dates if item.get("kind") == "published"), dates[-1])
    chart = story_chart(dates, window, today, format_.zone)
    return render(
        request,
        "story.html",
        principal,
        format=format_,
        story={**_NOT_YET, **told},
        chart=chart,
        today=today,
        starts=format_.day_in_words(date.fromisoformat(window["starts_on"])),
        ends=format_.day_in_words(date.fromisoformat(window["ends_on"])),
        told_on=format_.day_in_words(date.fromisoformat(first_word["on"])),
        days_to_word=days_between(window["starts_on"], first_word["on"]),
        published_on=format_.day_in_words(date.fromisoformat(published["on"])),
        days_to_publication=days_between(first_word["on"], published["on"]),
    )
