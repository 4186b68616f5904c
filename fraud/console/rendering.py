"""Pages: the templates, and what every one of them knows."""

from __future__ import annotations

import hashlib
from functools import cache
from http import HTTPStatus
from importlib.resources import files
from typing import Any
from zoneinfo import ZoneInfo

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from fraud.api.authentication import BACKGROUND_HEADER, Principal
from fraud.api.permissions import may
from fraud.api.services import Services, get_services
from fraud.console.formatting import Format, masked_card, short_reference
from fraud.console.language import LANGUAGES, Translator, choose_language, translator
from fraud.console.words import reason_label, reason_words

LANGUAGE_COOKIE = "mimamori_language"
SHORTCUTS_COOKIE = "mimamori_shortcuts"


@cache
def environment() -> Environment:
    """The templates: every value escaped, and a name that does not exist is an error."""
    made = Environment(
        loader=PackageLoader("fraud.console", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals.update(
        asset=asset, masked_card=masked_card, short_reference=short_reference, languages=LANGUAGES, may=may
    )
    return made


@cache
def asset(name: str) -> str:
    """The address of a static file, with its digest, so that a new version is fetched and an old one is kept."""
    content = files("fraud.console").joinpath("static", *name.split("/")).read_bytes()
    return f"/static/{name}?v={hashlib.sha256(content).hexdigest()[:12]}"


def request_translator(request: Request) -> Translator:
    """The language of this request."""
    chosen = choose_language(request.cookies.get(LANGUAGE_COOKIE), request.headers.get("accept-language"))
    return translator(chosen)


def request_format(request: Request, services: Services) -> Format:
    """The formats of this request: its language, the portfolio's zone, the services' time."""
    zone = ZoneInfo(services.settings.portfolio.timezone)
    return Format(request_translator(request), zone, services.now())


def render(
    request: Request,
    template: str,
    principal: Principal | None = None,
    *,
    status: int = 200,
    **context: Any,
) -> HTMLResponse:
    """One page. `context` is what it shows; language, formats, the person and the place are always there."""
    services = get_services(request)
    format_ = context.pop("format", None) or request_format(request, services)
    query = f"?{request.url.query}" if request.url.query else ""
    # Whatever was refused may stand in the address, a card number too: an error page does not repeat it.
    address = f"{request.url.path}{query}" if status < HTTPStatus.BAD_REQUEST else "/"
    page = environment().get_template(template)
    text = page.render(
        t=format_.t,
        fmt=format_,
        language=format_.t.language,
        principal=principal,
        path=request.url.path,
        address=address,
        shortcuts=request.cookies.get(SHORTCUTS_COOKIE) != "off",
        simulated=services.settings.clock == "stream",
        session_minutes=services.settings.api.session_minutes,
        background_header=BACKGROUND_HEADER,
        currency=services.settings.portfolio.currency,
        reason_words=lambda reason: reason_words(reason, format_),
        reason_label=lambda code: reason_label(code, format_),
        **context,
    )
    return HTMLResponse(text, status_code=status)
