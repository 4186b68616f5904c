"""What a person may choose: the language, and whether single keys do anything."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Form
from fastapi.responses import RedirectResponse

from fraud.api.authentication import Principal, optional_user
from fraud.api.services import ServicesHere
from fraud.console.forms import CameFrom, go_to, local_path, same_site
from fraud.console.rendering import LANGUAGE_COOKIE, SHORTCUTS_COOKIE

_A_YEAR = 365 * 86_400  # seconds

router = APIRouter(prefix="/preferences", dependencies=[Depends(same_site)])
Anyone = Annotated[Principal | None, Depends(optional_user)]  # with a session, the CSRF token is needed here too


@router.post("/language")
def choose_language(
    services: ServicesHere, _user: Anyone, language: Annotated[Literal["en", "ja"], Form()], came_from: CameFrom = "/"
) -> RedirectResponse:
    """Remember the language in this browser."""
    return _remember(services, LANGUAGE_COOKIE, language, came_from)


@router.post("/shortcuts")
def choose_shortcuts(
    services: ServicesHere, _user: Anyone, shortcuts: Annotated[Literal["on", "off"], Form()], came_from: CameFrom = "/"
) -> RedirectResponse:
    """Switch the single-key shortcuts on or off in this browser (WCAG 2.1.4)."""
    return _remember(services, SHORTCUTS_COOKIE, shortcuts, came_from)


def _remember(services: ServicesHere, name: str, value: str, address: str) -> RedirectResponse:
    response = go_to(local_path(address))
    secure = services.settings.api.secure_cookies
    response.set_cookie(name, value, max_age=_A_YEAR, path="/", secure=secure, httponly=True, samesite="lax")
    return response
