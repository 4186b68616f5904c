"""What forms send: guarded like every other input, and answered by sending the browser on."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Annotated

from fastapi import Form, Request
from fastapi.responses import RedirectResponse

from fraud.api.guarding import refuse_in
from fraud.api.services import ServicesHere
from fraud.errors import ForbiddenError

_LOCAL_PATH = re.compile(r"/(?![/\\])[!-~]{0,1000}")
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")

CameFrom = Annotated[str, Form(max_length=1024)]


async def refuse_card_numbers_in_form(request: Request, services: ServicesHere) -> None:
    """A dependency: `InvalidInputError` naming the field when any field of a form holds a card number."""
    if request.headers.get("content-type", "").startswith(_FORMS):
        form = await request.form()
        refuse_in(services.guard, {name: value for name, value in form.multi_items() if isinstance(value, str)}, "form")


def same_site(request: Request) -> None:
    """A dependency: refuses a form that another site's page sent; browsers say so in `Sec-Fetch-Site`.

    For the forms that come without a session, and so without a CSRF token.
    """
    if request.headers.get("Sec-Fetch-Site", "none") not in {"same-origin", "none"}:
        message = "this form was sent from another site"
        raise ForbiddenError(message)


def local_path(address: str) -> str:
    """`address` when it is a path of this site, otherwise the start page: nobody is sent elsewhere."""
    return address if _LOCAL_PATH.fullmatch(address) else "/"


def go_to(address: str) -> RedirectResponse:
    """Send the browser on after a form."""
    return RedirectResponse(address, HTTPStatus.SEE_OTHER)
