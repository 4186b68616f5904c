"""Signing in and out."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, Form, Query, Request, Response

from fraud.api.authentication import (
    CurrentUser,
    Principal,
    clear_session_cookie,
    optional_user,
    session_cookie,
    set_session_cookie,
)
from fraud.api.services import ServicesHere
from fraud.console.forms import CameFrom, go_to, local_path, same_site
from fraud.console.rendering import render
from fraud.store.database import write
from fraud.store.people import close_session, open_session, verify_password

router = APIRouter()


@router.get("/login")
def login_page(
    request: Request,
    principal: Annotated[Principal | None, Depends(optional_user)],
    came_from: Annotated[str, Query(max_length=1024)] = "/",
    expired: bool = False,
) -> Response:
    """Show the form; whoever is signed in already goes on."""
    if principal is not None:
        return go_to(local_path(came_from))
    return render(request, "login.html", came_from=local_path(came_from), expired=expired, failed=False, username="")


@router.post("/login", dependencies=[Depends(same_site)])
def login(
    request: Request,
    services: ServicesHere,
    username: Annotated[str, Form(max_length=64)],
    password: Annotated[str, Form(max_length=1024)],
    came_from: CameFrom = "/",
) -> Response:
    """Sign in. Every refusal looks the same: wrong password, unknown name, locked or disabled."""
    now = services.people_now()
    with write(services.engine) as connection:
        user = verify_password(connection, username, password, now)
        if user is not None:
            cookie, _csrf_token = open_session(connection, user.username, now, services.settings.api.session_minutes)
    if user is None:
        return render(
            request,
            "login.html",
            status=HTTPStatus.UNAUTHORIZED,
            came_from=local_path(came_from),
            expired=False,
            failed=True,
            username=username,
        )
    response = go_to(local_path(came_from))
    set_session_cookie(response, services.settings.api, cookie)
    return response


@router.post("/logout")
def logout(request: Request, services: ServicesHere, _user: CurrentUser) -> Response:
    """Sign out: the session ends here and in the browser."""
    cookie = session_cookie(request, services.settings.api)
    if cookie:
        with write(services.engine) as connection:
            close_session(connection, cookie)
    response = go_to("/login")
    clear_session_cookie(response, services.settings.api)
    return response


@router.get("/session")
def session(_user: CurrentUser) -> Response:
    """Stay signed in: asking is being there."""
    return Response(status_code=HTTPStatus.NO_CONTENT)
