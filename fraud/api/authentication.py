"""Who is calling: a machine with a bearer token, or a person with the console's session cookie."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request, Response

from fraud.api.problems import is_api_path
from fraud.api.services import Services, ServicesHere
from fraud.errors import ForbiddenError, MimamoriError
from fraud.settings import ApiSettings
from fraud.store.database import read, write
from fraud.store.people import MINUTE_MS, session_user, token_user

CSRF_HEADER = "X-CSRF-Token"
CSRF_FIELD = "csrf_token"
# A page that refreshes itself says so; its requests keep no session alive.
BACKGROUND_HEADER = "X-Mimamori-Background"
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_RENEWED_AFTER_MS = MINUTE_MS // 2  # a page with many parts asks often; one write in a while is enough
_FORM = "application/x-www-form-urlencoded"


class NotAuthenticatedError(MimamoriError):
    """Nobody known is calling."""

    status = 401
    code = "NOT_AUTHENTICATED"


@dataclass(frozen=True, slots=True)
class Principal:
    """The user on whose behalf a request runs. `csrf_token` is there for a session and None for a token."""

    username: str
    display_name: str
    role: str
    csrf_token: str | None = None


def cookie_name(settings: ApiSettings) -> str:
    """The session cookie's name; browsers hold `__Host-` names to https, this host and the whole path."""
    return "__Host-mimamori" if settings.secure_cookies else "mimamori"


def set_session_cookie(response: Response, settings: ApiSettings, value: str) -> None:
    """Hand the browser its session. The cookie ends with the browser; the session's own end is kept in the store."""
    response.set_cookie(
        cookie_name(settings), value, path="/", secure=settings.secure_cookies, httponly=True, samesite="strict"
    )


def clear_session_cookie(response: Response, settings: ApiSettings) -> None:
    """Make the browser forget its session."""
    response.delete_cookie(
        cookie_name(settings), path="/", secure=settings.secure_cookies, httponly=True, samesite="strict"
    )


def session_cookie(request: Request, settings: ApiSettings) -> str | None:
    """The session cookie that the request carries."""
    return request.cookies.get(cookie_name(settings))


async def presented_csrf_token(request: Request) -> str | None:
    """The CSRF token that the request carries: in the header, or in the form of a page.

    This runs before anybody is known, so it reads no body of the API, and no file of any form.
    """
    header = request.headers.get(CSRF_HEADER)
    is_page_form = request.headers.get("content-type", "").startswith(_FORM) and not is_api_path(request.url.path)
    if header is not None or not is_page_form:
        return header
    field = (await request.form()).get(CSRF_FIELD)
    return field if isinstance(field, str) else None


def optional_user(
    request: Request, services: ServicesHere, csrf_token: Annotated[str | None, Depends(presented_csrf_token)]
) -> Principal | None:
    """Who is calling, or None. A bearer token that is not valid is an error, and so is a change without CSRF token."""
    authorization = request.headers.get("authorization")
    if authorization is not None:
        return _token_principal(authorization, services)
    cookie = session_cookie(request, services.settings.api)
    principal = _session_principal(request, cookie, services) if cookie else None
    if principal and request.method not in SAFE_METHODS:
        expected = principal.csrf_token or ""
        if not csrf_token or not hmac.compare_digest(csrf_token.encode(), expected.encode()):
            message = f"the CSRF token is missing or wrong; send it in the header {CSRF_HEADER}"
            raise ForbiddenError(message)
    return principal


async def current_user(principal: Annotated[Principal | None, Depends(optional_user)]) -> Principal:
    """Who is calling; `NotAuthenticatedError` when nobody is."""
    if principal is None:
        message = "sign in, or send an API token as `Authorization: Bearer mmr_...`"
        raise NotAuthenticatedError(message)
    return principal


CurrentUser = Annotated[Principal, Depends(current_user)]


def _token_principal(authorization: str, services: Services) -> Principal:
    scheme, _, token = authorization.partition(" ")
    user = None
    if scheme.lower() == "bearer" and token:
        with read(services.engine) as connection:
            user = token_user(connection, token.strip())
    if user is None:
        message = "the API token is not valid"
        raise NotAuthenticatedError(message)
    return Principal(user.username, user.display_name, user.role)


def _session_principal(request: Request, cookie: str, services: Services) -> Principal | None:
    now, minutes = services.people_now(), services.settings.api.session_minutes
    with read(services.engine) as connection:
        found = session_user(connection, cookie, now, None)
    if found is None:
        return None
    is_fresh = found.expires_at > now + minutes * MINUTE_MS - _RENEWED_AFTER_MS
    if not is_fresh and BACKGROUND_HEADER not in request.headers:
        with write(services.engine) as connection:
            session_user(connection, cookie, now, minutes)
    return Principal(found.username, found.display_name, found.role, found.csrf_token)
