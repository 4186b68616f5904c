"""Errors as RFC 9457 problems. A problem names the field at fault and never repeats a value that came in."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from starlette.exceptions import HTTPException
from starlette.routing import compile_path

from fraud.errors import InvalidInputError, MimamoriError

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_SECONDS = 2  # longer than a write of the worker takes, shorter than a person waits
_ORDINARY_NAME = re.compile(r"[A-Za-z][A-Za-z_-]{0,63}")
_UNNAMED = "?"

log = structlog.get_logger(__name__)


class FieldProblem(BaseModel):
    """One field at fault."""

    field: str = Field(description="Where: `body.fraud_type`, `query.limit`. A name that is not ours is shown as `?`.")
    message: str = Field(description="What is wrong with it. Never the value.")


class Problem(BaseModel):
    """Why a request failed (RFC 9457)."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "urn:mimamori:problem:conflict",
                    "title": "Conflict",
                    "status": 409,
                    "code": "CONFLICT",
                    "detail": "the case has changed since it was read; read it again",
                    "request_id": "8d1f0c6b7a3e4f52",
                    "errors": [],
                }
            ]
        }
    )

    type: str = Field(
        description="A name for this kind of problem: `urn:mimamori:problem:` and the code in lower case."
    )
    title: str = Field(description="The code in words.")
    status: int = Field(description="The HTTP status.")
    code: str = Field(description="A stable code to program against.")
    detail: str = Field(description="What went wrong, for a person.")
    request_id: str = Field(description="Also in the header `X-Request-Id` and in the log.")
    errors: list[FieldProblem] = Field(default=[], description="The fields at fault, where there are any.")


ProblemRenderer = Callable[[Request, Problem], Response | None]


def is_api_path(path: str) -> bool:
    """True for what machines call; everything else is a page."""
    return path.startswith(("/api/", "/healthz/"))


def problem_response(
    request: Request,
    status: int,
    code: str,
    detail: str,
    *,
    errors: Iterable[FieldProblem] = (),
    headers: dict[str, str] | None = None,
) -> Response:
    """The response for a problem. `app.state.render_problem`, where set, may answer for pages outside `/api`."""
    problem = Problem(
        type=f"urn:mimamori:problem:{code.lower().replace('_', '-')}",
        title=code.replace("_", " ").capitalize(),
        status=status,
        code=code,
        detail=detail,
        request_id=getattr(request.state, "request_id", ""),
        errors=list(errors),
    )
    renderer: ProblemRenderer | None = getattr(request.app.state, "render_problem", None)
    response = None
    if renderer is not None and not is_api_path(request.url.path):
        response = renderer(request, problem)
    if response is None:
        response = Response(problem.model_dump_json(), status_code=status, media_type=MEDIA_TYPE)
    response.headers.update(headers or {})
    return response


def internal_problem(request: Request) -> Response:
    """The answer to what we did not foresee: nothing but an id to find it by in the log."""
    return problem_response(
        request, 500, "INTERNAL", "something went wrong on our side; the log has more under this request_id"
    )


def too_large_problem(request: Request) -> Response:
    """The answer to a body that is larger than its route takes."""
    return problem_response(request, 413, "CONTENT_TOO_LARGE", "the body is larger than this route takes")


def unavailable_problem(request: Request) -> Response:
    """The answer while the database is locked, slow or away."""
    return problem_response(
        request,
        503,
        "UNAVAILABLE",
        "the database does not answer now; try again",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def safe_path(segments: Iterable[int | str]) -> str:
    """A field path without anything that the caller may have invented: `body.windows.3.?`."""
    return ".".join(
        segment if isinstance(segment, str) and _ORDINARY_NAME.fullmatch(segment) else _position(segment)
        for segment in segments
    )


def _position(segment: int | str) -> str:
    # Positions are ours to count; anything longer than an index could be a number that the caller sent as a name.
    return str(segment) if isinstance(segment, int) and segment < 1_000_000 else _UNNAMED


def install_problem_handlers(app: FastAPI) -> None:
    """Make every error of `app` a problem."""
    app.add_exception_handler(MimamoriError, _own_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(HTTPException, _http_error)
    for kind in (OperationalError, InterfaceError, PoolTimeoutError):
        app.add_exception_handler(kind, _database_error)


def _own_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, MimamoriError) or error.status == HTTPStatus.INTERNAL_SERVER_ERROR:
        raise error
    errors = []
    if isinstance(error, InvalidInputError) and error.field:
        errors = [FieldProblem(field=error.field, message=str(error))]
    headers = {"WWW-Authenticate": "Bearer"} if error.status == HTTPStatus.UNAUTHORIZED else None
    return problem_response(request, error.status, error.code, str(error), errors=errors, headers=headers)


def _invalid_request(request: Request, error: Exception) -> Response:
    details: Iterable[dict[str, Any]] = error.errors() if isinstance(error, RequestValidationError) else ()
    errors = [FieldProblem(field=safe_path(item["loc"]), message=str(item["msg"])) for item in details]
    return problem_response(request, 422, "INVALID_INPUT", "the request is not valid; see errors", errors=errors)


def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    status = HTTPStatus(error.status_code)
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        return too_large_problem(request)
    # The framework's own detail can quote the request; the phrase of the status cannot.
    headers = dict(error.headers) if error.headers else {}
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = ", ".join(_allowed_methods(request))
    return problem_response(request, int(status), status.name, status.phrase.lower(), headers=headers)


def _allowed_methods(request: Request) -> list[str]:
    # The framework names the methods of the first route that fits the path; others may fit too.
    path = request.url.path
    fitting = [
        route for route in iter_route_contexts(request.app.routes) if compile_path(route.path or "")[0].match(path)
    ]
    return sorted({method for route in fitting for method in route.methods or ()})


def _database_error(request: Request, error: Exception) -> Response:
    # Its text holds the statement with its values: only the kind is logged.
    log.warning("database_unavailable", kind=type(error).__name__, request_id=request.state.request_id)
    return unavailable_problem(request)
