"""What surrounds every request: an id, security headers, a size limit, and an end to every error."""

from __future__ import annotations

import re
import secrets
import time
import traceback
from collections.abc import Sequence

import structlog
from fastapi import HTTPException, Request
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fraud.api.problems import internal_problem, too_large_problem

REQUEST_BYTES = 1 << 20
_LENGTH_DIGITS = 15  # more digits than any body has bytes

_CONTENT_SECURITY_POLICY = (
    "default-src 'self'; script-src 'self'; style-src 'self'; img-src 'self' data:; frame-ancestors 'none'; "
    "base-uri 'none'; form-action 'self'"
)
_HEADERS = {
    "Content-Security-Policy": _CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
_ONE_YEAR = 31_536_000  # seconds; what browsers' preload lists ask for at least
_STATIC = "/static/"

log = structlog.get_logger(__name__)


class Boundary:
    """The outermost layer: request id, security headers, one log line, and a plain 500 for what nobody caught.

    The log gets the route's template and the exception's type and place, never a path, a query or an exception's text:
    a card number may stand in any of them.
    """

    def __init__(self, app: ASGIApp, *, secure: bool) -> None:
        self.app = app
        self._headers = dict(_HEADERS)
        if secure:
            self._headers["Strict-Transport-Security"] = f"max-age={_ONE_YEAR}; includeSubDomains"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        request_id = secrets.token_hex(8)
        scope.setdefault("state", {})["request_id"] = request_id
        started = time.monotonic()
        status: int | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers.update(self._headers)
                headers["X-Request-Id"] = request_id
                if not scope["path"].startswith(_STATIC):
                    headers["Cache-Control"] = "no-store"
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except ClientDisconnect:
            log.info("client_left", request_id=request_id)
        except Exception as error:  # noqa: BLE001 - nothing may leave here with its text
            log.error(  # noqa: TRY400 - the traceback would show that text
                "unexpected_error", request_id=request_id, kind=type(error).__name__, at=_places(error)
            )
            if status is not None:
                # Half an answer is out: break the connection off, without the error's own text on the way.
                message = "the response broke off"
                raise RuntimeError(message) from None
            await internal_problem(Request(scope, receive))(scope, receive, send_with_headers)
        finally:
            log.info(
                "request",
                request_id=request_id,
                method=scope["method"] if scope["method"] in _METHODS else "OTHER",
                route=_route(scope),
                status=status,
                milliseconds=round((time.monotonic() - started) * 1000, 1),
            )


_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _route(scope: Scope) -> str | None:
    return getattr(scope.get("route"), "path", None)


def _places(error: BaseException) -> list[str]:
    return [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)[-8:]]


class BodyLimit:
    """Refuses a body larger than `REQUEST_BYTES`, or than the limit of the first pattern that fits the path."""

    def __init__(self, app: ASGIApp, *, larger: Sequence[tuple[re.Pattern[str], int]] = ()) -> None:
        self.app = app
        self._larger = larger

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        limit = next((size for path, size in self._larger if path.fullmatch(scope["path"])), REQUEST_BYTES)
        declared = Headers(scope=scope).get("content-length", "0")
        received = 0

        async def receive_within_limit() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > limit:
                    raise HTTPException(413)
            return message

        # The declared length comes first, so that nobody is asked for what will be refused.
        if not declared.isdecimal() or len(declared) > _LENGTH_DIGITS or int(declared) > limit:
            await too_large_problem(Request(scope, receive))(scope, receive, send)
            return
        await self.app(scope, receive_within_limit, send)
