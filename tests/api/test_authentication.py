from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Annotated, Any

import pytest
from fastapi import FastAPI, Form, Response
from fastapi.routing import iter_route_contexts
from sqlalchemy import Engine, update

from fraud.api.app import create_app
from fraud.api.authentication import BACKGROUND_HEADER, CurrentUser, clear_session_cookie, set_session_cookie
from fraud.pan_guard import PanGuard
from fraud.settings import ApiSettings, Settings
from fraud.store.database import write
from fraud.store.people import close_session, create_user, open_session, revoke_api_token
from fraud.store.tables import user

ME = "/api/v1/me"
MINUTE = 60_000


def routes(app: FastAPI) -> Iterator[tuple[str, str]]:
    """Method and address of every route, with something in place of each path parameter."""
    for route in iter_route_contexts(app.routes):
        path = re.sub(r"\{[^}]+\}", "1", str(route.path))
        for method in sorted(route.methods or ()):
            yield method, path


def test_every_route_needs_a_login_except_health(app: FastAPI, client: Any) -> None:
    found = list(routes(app))
    assert len(found) >= 20
    assert ("GET", "/api/v1/openapi.json") in found
    for method, path in found:
        answer = client.request(method, path)
        if path.startswith("/healthz/"):
            assert answer.status_code == 200, path
        else:
            assert answer.status_code == 401, path
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.json()["code"] == "NOT_AUTHENTICATED"


def test_pages_that_load_scripts_from_elsewhere_are_not_there(client: Any) -> None:
    for path in ("/docs", "/redoc", "/openapi.json", "/docs/oauth2-redirect", "/metrics"):
        assert client.get(path).status_code == 404


def test_a_method_that_is_not_there_is_told_which_are(client: Any) -> None:
    for path, allowed in {
        "/api/v1/compromise-events": "GET, POST",
        "/api/v1/compromise-events/shop/exposed-cards": "GET, POST",
        "/api/v1/cases/1/claim": "POST",
        "/healthz/live": "GET",
    }.items():
        answer = client.delete(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


class TestTokens:
    def test_a_token_says_who_calls(self, sign_in: Callable[..., Any]) -> None:
        body = sign_in("auditor", "aoi").get(ME).json()
        assert (body["username"], body["display_name"], body["role"]) == ("aoi", "Aoi", "auditor")
        assert "cases:read" in body["permissions"]
        assert "cases:write" not in body["permissions"]

    @pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic aGFuYTpwYXNz", "Bearer mmr_x", "mmr_x", "\xff"])
    def test_what_is_no_token_is_nobody(self, client: Any, header: str) -> None:
        answer = client.get(ME, headers={"Authorization": header.encode("latin-1")})
        assert answer.status_code == 401

    def test_a_revoked_token_is_nobody(self, sign_in: Callable[..., Any], engine: Engine, clock: Any) -> None:
        client = sign_in("auditor", "aoi")
        with write(engine) as connection:
            revoke_api_token(connection, "aoi", "test", clock.at)
        assert client.get(ME).status_code == 401

    def test_the_token_of_a_disabled_user_is_nobody(self, sign_in: Callable[..., Any], engine: Engine) -> None:
        client = sign_in("auditor", "aoi")
        with write(engine) as connection:
            connection.execute(update(user).values(disabled=True))
        assert client.get(ME).status_code == 401

    def test_a_token_needs_no_csrf_token(self, reviewer: Any) -> None:
        assert reviewer.post("/api/v1/cases/claim-next").status_code == 204


@pytest.fixture
def in_session(app: FastAPI, client: Any, engine: Engine, clock: Any) -> Any:
    """A client with the console's session cookie; its CSRF token is `in_session.csrf`."""

    @app.post("/test/form")
    def takes_a_form(_user: CurrentUser, text: Annotated[str, Form()]) -> str:
        return text

    app.state.services = replace(app.state.services, people_clock=clock)
    with write(engine) as connection:
        create_user(connection, "hana", "Hana", "correct horse battery", "reviewer", clock.at)
        cookie, client.csrf = open_session(connection, "hana", clock.at, 15)
    client.cookies.set("mimamori", cookie)
    return client


class TestSessions:
    def test_a_cookie_is_enough_to_look(self, in_session: Any) -> None:
        assert in_session.get(ME).json()["username"] == "hana"

    @pytest.mark.parametrize("header", [{}, {"X-CSRF-Token": ""}, {"X-CSRF-Token": "wrong"}, {"X-CSRF-Token": "\xff"}])
    def test_a_change_needs_the_csrf_token(self, in_session: Any, header: dict[str, str]) -> None:
        headers = {name: value.encode("latin-1") for name, value in header.items()}
        answer = in_session.post("/api/v1/cases/claim-next", headers=headers)
        assert answer.status_code == 403
        assert in_session.csrf not in answer.text

    def test_the_csrf_token_comes_in_a_header(self, in_session: Any) -> None:
        answer = in_session.post("/api/v1/cases/claim-next", headers={"X-CSRF-Token": in_session.csrf})
        assert answer.status_code == 204

    def test_the_csrf_token_comes_in_a_form(self, in_session: Any) -> None:
        answer = in_session.post("/test/form", data={"text": "hello", "csrf_token": in_session.csrf})
        assert (answer.status_code, answer.json()) == (200, "hello")
        assert in_session.post("/test/form", data={"text": "hello"}).status_code == 403

    def test_the_csrf_token_of_another_session_does_not_do(self, in_session: Any, engine: Engine, clock: Any) -> None:
        with write(engine) as connection:
            _, other = open_session(connection, "hana", clock.at, 15)
        assert in_session.post("/api/v1/cases/claim-next", headers={"X-CSRF-Token": other}).status_code == 403

    def test_a_session_ends_when_nobody_is_there(self, in_session: Any, clock: Any) -> None:
        clock.at += 15 * MINUTE
        assert in_session.get(ME).status_code == 401

    def test_being_there_keeps_a_session_alive(self, in_session: Any, clock: Any) -> None:
        for _ in range(4):
            clock.at += 10 * MINUTE
            assert in_session.get(ME).status_code == 200

    def test_a_page_that_refreshes_itself_does_not(self, in_session: Any, clock: Any) -> None:
        background = {BACKGROUND_HEADER: "1"}
        clock.at += 10 * MINUTE
        assert in_session.get(ME, headers=background).status_code == 200
        clock.at += 10 * MINUTE
        assert in_session.get(ME, headers=background).status_code == 401

    def test_a_closed_session_is_nobody(self, in_session: Any, engine: Engine) -> None:
        with write(engine) as connection:
            close_session(connection, in_session.cookies["mimamori"])
        assert in_session.get(ME).status_code == 401

    def test_a_bad_token_is_not_made_good_by_a_cookie(self, in_session: Any) -> None:
        assert in_session.get(ME, headers={"Authorization": "Bearer mmr_wrong"}).status_code == 401

    def test_looking_holds_no_writer_up(self, in_session: Any, engine: Engine) -> None:
        done = threading.Event()
        with write(engine):  # nobody else can write as long as this lasts
            thread = threading.Thread(target=lambda: in_session.get(ME).status_code == 200 and done.set())
            thread.start()
            thread.join(10)
            assert done.is_set()


@pytest.mark.parametrize(("secure", "name"), [(True, "__Host-mimamori"), (False, "mimamori")])
def test_the_cookie_is_closed_to_scripts_and_to_other_sites(*, secure: bool, name: str) -> None:
    settings = ApiSettings(secure_cookies=secure)
    for response in (Response(), Response()):
        set_session_cookie(response, settings, "value")
        cookie = response.headers["set-cookie"].lower()
        assert cookie.startswith(f"{name.lower()}=value;")
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "path=/" in cookie
        assert "domain" not in cookie
        assert ("secure" in cookie) == secure
    cleared = Response()
    clear_session_cookie(cleared, settings)
    assert "max-age=0" in cleared.headers["set-cookie"].lower()


def test_a_cookie_without_the_prefix_is_not_read_where_cookies_are_secure(
    settings: Settings, engine: Engine, clock: Any, in_session: Any
) -> None:
    secure = settings.model_copy(update={"api": ApiSettings(secure_cookies=True)})
    app = create_app(secure, engine, clock, PanGuard.from_settings(settings.portfolio))
    app.state.services = replace(app.state.services, people_clock=clock)
    with type(in_session)(app, base_url="https://testserver") as client:
        cookie = in_session.cookies["mimamori"]
        assert client.get(ME, headers={"Cookie": f"mimamori={cookie}"}).status_code == 401
        assert client.get(ME, headers={"Cookie": f"__Host-mimamori={cookie}"}).status_code == 200
