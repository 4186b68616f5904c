"""How the console gets into the application: its pages, its static files, and errors as pages."""

from __future__ import annotations

from http import HTTPStatus
from importlib.resources import as_file, files
from urllib.parse import urlencode, urlsplit
from zoneinfo import ZoneInfo

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from fastapi.staticfiles import StaticFiles

from fraud.api.authentication import session_cookie
from fraud.api.guarding import refuse_card_numbers
from fraud.api.problems import Problem
from fraud.api.services import get_services
from fraud.console.formatting import Format
from fraud.console.forms import refuse_card_numbers_in_form
from fraud.console.rendering import render, request_translator
from fraud.console.routers import (
    cards,
    case,
    event_changes,
    events,
    imports,
    new_event,
    operations,
    preferences,
    queue,
    reviews,
    session,
    story,
)


def install_console(app: FastAPI) -> None:
    """Add the console to an application that `fraud.api.app.create_app` made."""
    with as_file(files("fraud.console").joinpath("static")) as folder:
        app.mount("/static", StaticFiles(directory=folder), name="static")
    guards = [Depends(refuse_card_numbers), Depends(refuse_card_numbers_in_form)]
    # A password may look like anything: the sign-in form alone is not searched for card numbers.
    app.include_router(session.router, include_in_schema=False, dependencies=guards[:1])
    # An upload is no form: whoever searched it as one would put it on the disk first.
    app.include_router(imports.upload_router, include_in_schema=False, dependencies=guards[:1])
    for module in (
        story,
        queue,
        case,
        events,
        event_changes,
        new_event,
        imports,
        reviews,
        cards,
        operations,
        preferences,
    ):
        app.include_router(module.router, include_in_schema=False, dependencies=guards)
    app.state.render_problem = render_problem


def render_problem(request: Request, problem: Problem) -> Response | None:
    """The page for a problem; somebody who is not signed in is sent to the sign-in page."""
    if problem.status == HTTPStatus.UNAUTHORIZED:
        return _to_sign_in(request)
    # The services' clock may have to ask a database that does not answer: an error page shows no time.
    zone = ZoneInfo(get_services(request).settings.portfolio.timezone)
    details = [f"{item.field}: {item.message}" for item in problem.errors] or [problem.detail]
    return render(
        request,
        "error.html",
        format=Format(request_translator(request), zone, now=0),
        status=problem.status,
        code=problem.code,
        details=details,
        request_id=problem.request_id,
    )


def _to_sign_in(request: Request) -> Response:
    refreshing = "HX-Request" in request.headers
    # What refreshes itself is a part of a page; the person is to come back to the page.
    current = urlsplit((refreshing and request.headers.get("HX-Current-URL")) or str(request.url))
    comes_back = refreshing or request.method == "GET"
    query = {"came_from": current.path + (f"?{current.query}" if current.query else "")} if comes_back else {}
    if session_cookie(request, get_services(request).settings.api):
        query["expired"] = "1"
    address = f"/login?{urlencode(query)}"
    if refreshing:
        return Response(status_code=HTTPStatus.UNAUTHORIZED, headers={"HX-Redirect": address})
    return RedirectResponse(address, HTTPStatus.SEE_OTHER)
