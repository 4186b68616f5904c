"""The layers around the application, over a small one that can misbehave in every way."""

from __future__ import annotations

import asyncio
import logging
import re
import warnings
from collections.abc import AsyncIterator
from typing import Annotated, Any

import pytest
from fastapi import Body, FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from fraud.api.middleware import REQUEST_BYTES, BodyLimit, Boundary
from fraud.api.problems import Problem, install_problem_handlers
from fraud.errors import ConfigurationError, ConflictError, ForbiddenError, NotFoundError, UnavailableError

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

PAN = "4111111111111111"
FAILURES: dict[str, tuple[Exception, int]] = {
    "conflict": (ConflictError("it has moved on"), 409),
    "missing": (NotFoundError("there is no such case"), 404),
    "forbidden": (ForbiddenError("not you"), 403),
    "away": (UnavailableError("the broker is away"), 503),
    "settings": (ConfigurationError("cards.keys is not set"), 500),
    "bug": (ValueError(f"cannot read {PAN}"), 500),
    "locked": (OperationalError(f"the statement {PAN}", {"x": PAN}, Exception(PAN)), 503),
    "closed": (InterfaceError("SELECT", {}, Exception(PAN)), 503),
    "busy": (PoolTimeoutError("QueuePool limit"), 503),
}


def make_app(*, secure: bool = False) -> FastAPI:
    app = FastAPI(redirect_slashes=False)
    install_problem_handlers(app)
    app.add_middleware(BodyLimit, larger=[(re.compile("/large/[^/]+"), 2 * REQUEST_BYTES)])
    app.add_middleware(Boundary, secure=secure)

    @app.get("/fail/{name}")
    def fail(name: str) -> None:
        raise FAILURES[name][0]

    @app.post("/size")
    @app.post("/large/{name}")
    async def size(request: Request) -> int:
        return len(await request.body())

    @app.post("/json")
    def takes_json(body: Annotated[dict[str, int], Body()]) -> int:
        return len(body)

    @app.get("/half")
    def half() -> StreamingResponse:
        async def parts() -> AsyncIterator[bytes]:
            yield b"first"
            raise ValueError(PAN)

        return StreamingResponse(parts())

    @app.get("/static/style.css")
    def style() -> Response:
        return Response("body {}", headers={"Cache-Control": "max-age=60"})

    return app


@pytest.fixture
def client() -> Any:
    with TestClient(make_app()) as opened:
        yield opened


@pytest.mark.parametrize("name", FAILURES)
def test_every_failure_is_a_problem_and_tells_nothing_it_should_not(
    client: Any, name: str, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    answer = client.get(f"/fail/{name}")
    assert answer.status_code == FAILURES[name][1]
    assert answer.headers["content-type"] == "application/problem+json"
    problem = Problem.model_validate(answer.json())
    assert problem.status == answer.status_code
    assert problem.request_id == answer.headers["x-request-id"]
    assert answer.headers["cache-control"] == "no-store"
    logged = caplog.text + "".join(capsys.readouterr())
    assert problem.request_id in logged
    assert PAN not in answer.text + logged
    assert "cards.keys" not in answer.text
    assert ("retry-after" in answer.headers) == (name in {"locked", "closed", "busy"})


def test_an_answer_that_breaks_off_does_not_carry_the_error(
    client: Any, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RuntimeError, match="broke off") as caught:
        client.get("/half")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
    assert PAN not in caplog.text + "".join(capsys.readouterr())


def test_what_the_framework_refuses_is_a_problem_too(client: Any) -> None:
    for method, path, status in [
        ("GET", f"/nowhere/{PAN}", 404),
        ("DELETE", "/size", 405),
        ("GET", "/fail/bug/", 404),
        ("BREW", "/size", 405),
    ]:
        answer = client.request(method, path, params={"card": PAN})
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert PAN not in answer.text
        assert PAN not in str(answer.headers)
    assert client.delete("/size").headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (f'{{"{PAN}": ', "body.21"),
        (f'{{"{PAN}": "x"}}', "body.?"),
        (f'{{"amount": "{PAN}x"}}', "body.amount"),
        (f'"{PAN}"', "body"),
    ],
)
def test_a_body_that_is_not_valid_is_not_repeated(client: Any, body: str, field: str) -> None:
    answer = client.post("/json", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert [item["field"] for item in answer.json()["errors"]] == [field]
    assert PAN not in answer.text


@pytest.mark.parametrize("body", [b"\xff\xfe{}", b"[" * 100_000, b'{"a": ' + b"9" * 5_000 + b"}"])
def test_a_body_that_cannot_be_read_is_a_problem(client: Any, body: bytes) -> None:
    answer = client.post("/json", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in {400, 422}
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_caller_who_leaves_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    sent: list[Any] = []
    arriving = [{"type": "http.request", "body": b"x", "more_body": True}, {"type": "http.disconnect"}]

    async def receive() -> Any:
        return arriving.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/size",
        "raw_path": b"/size",
        "query_string": b"",
        "headers": [],
        "scheme": "http",
        "server": ("test", 80),
        "client": ("test", 1),
        "root_path": "",
        "http_version": "1.1",
    }
    asyncio.run(make_app()(scope, receive, send))
    assert sent == []
    logged = capsys.readouterr().out
    assert "client_left" in logged
    assert "unexpected_error" not in logged


class TestBodyLimit:
    def test_counts_what_is_declared(self, client: Any) -> None:
        assert client.post("/size", content=b"x" * REQUEST_BYTES).json() == REQUEST_BYTES
        assert client.post("/size", content=b"x" * (REQUEST_BYTES + 1)).status_code == 413

    def test_counts_what_arrives(self, client: Any) -> None:
        answer = client.post("/size", content=(b"x" * 100_000 for _ in range(12)))
        assert answer.status_code == 413
        assert answer.json()["code"] == "CONTENT_TOO_LARGE"

    def test_applies_to_json_that_arrives_in_parts(self, client: Any) -> None:
        parts = (b" " * 100_000 for _ in range(12))
        answer = client.post("/json", content=parts, headers={"Content-Type": "application/json"})
        assert answer.status_code == 413

    def test_believes_no_strange_length(self, client: Any) -> None:
        for length in ("9" * 5_000, "-1", "1e3", "\u0661"):
            answer = client.post("/size", content=b"x", headers={"Content-Length": length.encode()})
            assert answer.status_code == 413

    def test_is_larger_where_said_and_only_there(self, client: Any) -> None:
        assert client.post("/large/file", content=b"x" * 2 * REQUEST_BYTES).status_code == 200
        assert client.post("/large/file", content=b"x" * (2 * REQUEST_BYTES + 1)).status_code == 413
        assert client.post("/large/file/other", content=b"x" * 2 * REQUEST_BYTES).status_code == 413


class TestHeaders:
    @pytest.mark.parametrize("path", ["/fail/bug", "/fail/missing", "/nowhere", "/static/style.css"])
    def test_every_answer_has_them(self, client: Any, path: str) -> None:
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        for part in ("default-src 'self'", "frame-ancestors 'none'", "base-uri 'none'", "form-action 'self'"):
            assert part in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "strict-transport-security" not in headers

    def test_static_files_may_be_kept_by_browsers_and_nothing_else(self, client: Any) -> None:
        assert client.get("/static/style.css").headers["cache-control"] == "max-age=60"
        assert client.get("/nowhere").headers["cache-control"] == "no-store"

    def test_https_is_demanded_where_cookies_are_secure(self) -> None:
        with TestClient(make_app(secure=True)) as client:
            assert client.get("/nowhere").headers["strict-transport-security"].startswith("max-age=")

    def test_every_request_has_its_own_id_and_takes_none_from_outside(self, client: Any) -> None:
        answers = [client.get("/nowhere", headers={"X-Request-Id": PAN}) for _ in range(3)]
        assert len({answer.headers["x-request-id"] for answer in answers}) == 3
        assert all(answer.headers["x-request-id"] != PAN for answer in answers)


def test_a_page_outside_the_api_may_be_rendered_by_others() -> None:
    app = make_app()

    def page(request: Request, problem: Problem) -> Response | None:
        assert request.url.path
        return Response(f"<p>{problem.code}</p>", problem.status, media_type="text/html")

    app.state.render_problem = page
    with TestClient(app) as client:
        assert client.get("/fail/conflict").text == "<p>CONFLICT</p>"
        answer = client.get("/fail/bug")
        assert (answer.status_code, answer.text) == (500, "<p>INTERNAL</p>")
        assert client.get("/api/nowhere").json()["code"] == "NOT_FOUND"
