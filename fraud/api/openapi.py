"""The OpenAPI document: problems instead of the framework's own error shape, and both ways to sign in."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import iter_route_contexts

from fraud.api.authentication import CSRF_HEADER, cookie_name
from fraud.api.problems import MEDIA_TYPE, Problem, is_api_path
from fraud.settings import ApiSettings

DESCRIPTION = """\
Cases, detections, compromise events and the state of the stream.

Times are integers, epoch milliseconds UTC, and their names end in `_at`. Amounts are integers in minor units, and their
names end in `_minor`. Errors are `application/problem+json` (RFC 9457). No card number goes in or out: cards are known
by `card_ref`.
"""

_DESCRIPTIONS = {
    400: "The request cannot be read.",
    401: "Nobody known is calling.",
    403: "The caller may not do this.",
    404: "There is no such thing.",
    409: "It has changed since it was read, or the step is not allowed from its state.",
    413: "The body is too large.",
    415: "The body has a media type that this route does not take.",
    422: "Something in the request is not valid; `errors` names the fields.",
    428: "The version that the caller looked at is needed, as `If-Match` or in the body.",
    503: "The database or another part does not answer now; try again.",
}
_ALWAYS = (401, 403, 422, 503)

Responses = dict[int | str, dict[str, Any]]


def problem_responses(*statuses: int) -> Responses:
    """The `responses=` of an endpoint that can fail with these, besides those that every endpoint can fail with."""
    return {status: _problem_response(status) for status in sorted({*_ALWAYS, *statuses})}


def change_responses(*statuses: int) -> Responses:
    """The `responses=` of an endpoint that reads a body."""
    return problem_responses(400, 413, *statuses)


def public_problem_responses(*statuses: int) -> Responses:
    """The `responses=` of an endpoint that needs no login."""
    return {status: _problem_response(status) for status in statuses}


def _problem_response(status: int) -> dict[str, Any]:
    return {
        "description": _DESCRIPTIONS[status],
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }


def openapi_document(app: FastAPI, settings: ApiSettings) -> dict[str, Any]:
    """The document for everything under `/api` and `/healthz`; the console's pages are left out."""
    routes = [route for route in iter_route_contexts(app.routes) if is_api_path(route.path or "")]
    document = get_openapi(title="Mimamori", version=app.version, description=DESCRIPTION, routes=routes)
    components = document.setdefault("components", {})
    schemas = components.setdefault("schemas", {})
    problem = Problem.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"))
    schemas["Problem"] = problem
    components["securitySchemes"] = {
        "token": {"type": "http", "scheme": "bearer", "description": "An API token, `mmr_...`."},
        "session": {
            "type": "apiKey",
            "in": "cookie",
            "name": cookie_name(settings),
            "description": f"The console's session. Changes also need the header `{CSRF_HEADER}`.",
        },
    }
    document["security"] = [{"token": []}, {"session": []}]
    return document
