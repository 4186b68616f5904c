"""Signing in and out, sessions that end, and requests that nobody made."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from console_seed import AUDITOR, OPERATOR, PASSWORD, REVIEWER, Seeded
from fastapi import FastAPI
from sqlalchemy.exc import OperationalError

Visit = Callable[..., Any]


class PeoplesClock:
    """The time by which sessions end, as the test sets it."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC)

    def now(self) -> datetime:
        return self.time


def test_whoever_is_not_signed_in_signs_in_and_comes_back(visit: Visit) -> None:
    browser = visit(None)
    browser.open("/queue?tab=new")
    assert browser.address == "/login?came_from=%2Fqueue%3Ftab%3Dnew"
    assert "You were signed out" not in browser.page
    browser.send("/login", username=REVIEWER, password=PASSWORD, came_from="/queue?tab=new")
    assert browser.address == "/queue?tab=new"


def test_every_refusal_looks_the_same(visit: Visit) -> None:
    browser = visit(None)
    pages = set()
    for username, password in ((REVIEWER, "wrong wrong wrong"), ("nobody", PASSWORD), ("", ""), (REVIEWER, "x" * 1024)):
        page = browser.send("/login", username=username, password=password)
        assert browser.status == 401 if username else 422
        if username:
            pages.add(page.replace(f'value="{username}"', ""))
        assert password not in page or not password
    assert len(pages) == 1


def test_nobody_is_sent_to_another_site(visit: Visit) -> None:
    for address in ("https://example.org/", "//example.org", "/\\example.org", "javascript:alert(1)", "/ok\r\nX: y"):
        browser = visit(None)
        browser.send("/login", username=REVIEWER, password=PASSWORD, came_from=address)
        assert browser.address == "/queue"  # the start page sends on to the queue


def test_signing_in_from_another_sites_form_is_refused(visit: Visit) -> None:
    browser = visit(None)
    browser.client.headers["Sec-Fetch-Site"] = "cross-site"
    browser.send("/login", username=REVIEWER, password=PASSWORD)
    assert browser.status == 403


def test_signing_out_ends_the_session_on_the_server(visit: Visit) -> None:
    browser = visit(REVIEWER)
    cookies = dict(browser.client.cookies)
    browser.open("/queue")
    browser.send("/logout")
    assert browser.address == "/login"
    browser.client.cookies.update(cookies)
    browser.open("/queue")
    assert browser.address.startswith("/login")


def test_a_session_ends_after_15_minutes_and_says_so(app: FastAPI, visit: Visit) -> None:
    clock = PeoplesClock()
    app.state.services = replace(app.state.services, people_clock=clock)
    browser = visit(REVIEWER)
    for _ in range(3):
        clock.time += timedelta(minutes=14)
        browser.open("/queue")
        assert browser.address == "/queue"
    clock.time += timedelta(minutes=16)
    browser.open("/queue")
    assert browser.address == "/login?came_from=%2Fqueue&expired=1"
    assert "You were signed out" in browser.page


def test_a_page_that_refreshes_itself_keeps_nobody_signed_in(app: FastAPI, visit: Visit) -> None:
    clock = PeoplesClock()
    app.state.services = replace(app.state.services, people_clock=clock)
    browser = visit(REVIEWER)
    refresh = {"HX-Request": "true", "HX-Current-URL": "http://testserver/queue?tab=new", "X-Mimamori-Background": "1"}
    clock.time += timedelta(minutes=10)
    assert browser.client.get("/queue", headers=refresh).status_code == 200
    clock.time += timedelta(minutes=10)
    answer = browser.client.get("/queue", headers=refresh)
    assert answer.status_code == 401
    assert answer.headers["HX-Redirect"] == "/login?came_from=%2Fqueue%3Ftab%3Dnew&expired=1"


def test_staying_signed_in_is_one_request(app: FastAPI, visit: Visit) -> None:
    clock = PeoplesClock()
    app.state.services = replace(app.state.services, people_clock=clock)
    browser = visit(REVIEWER)
    for _ in range(3):
        clock.time += timedelta(minutes=14)
        assert browser.client.get("/session").status_code == 204


def test_every_writing_form_needs_its_token(visit: Visit, seeded: Seeded) -> None:
    browser = visit(REVIEWER)
    case_id = seeded.cases[seeded.caught]
    for address in (
        "/logout",
        "/queue/claim-next",
        f"/cases/{case_id}/claim",
        f"/cases/{case_id}/release",
        f"/cases/{case_id}/resolve",
        f"/cases/{case_id}/notes",
        "/preferences/language",
        "/preferences/shortcuts",
    ):
        browser.open("/queue")
        browser.send(address, csrf=False, version="1", text="a note", language="ja", shortcuts="off")
        assert browser.status == 403, address
    browser.open(f"/cases/{case_id}")
    assert "Claim the case to decide it." in browser.page


def test_every_form_on_every_page_carries_the_token(visit: Visit, seeded: Seeded) -> None:
    browser = visit(REVIEWER)
    for address in ("/queue", f"/cases/{seeded.cases[seeded.caught]}", "/events", f"/cards/{seeded.innocent}"):
        forms = browser.open(address).split('<form method="post"')[1:]
        assert forms
        assert all('name="csrf_token"' in form.split("</form>")[0] for form in forms)


def test_pages_keep_to_what_a_role_may_do(visit: Visit, seeded: Seeded) -> None:
    case = f"/cases/{seeded.cases[seeded.caught]}"
    seen = {
        who: {
            address: browser.client.get(address).status_code for address in ("/queue", case, "/events", "/operations")
        }
        for who in (REVIEWER, OPERATOR, AUDITOR)
        for browser in [visit(who)]
    }
    assert seen == {
        REVIEWER: {"/queue": 200, case: 200, "/events": 200, "/operations": 403},
        OPERATOR: {"/queue": 403, case: 403, "/events": 403, "/operations": 200},
        AUDITOR: {"/queue": 200, case: 200, "/events": 200, "/operations": 200},
    }
    auditor = visit(AUDITOR)
    assert "Claim next" not in auditor.open("/queue")
    assert "your role does not decide cases" in auditor.open(case)
    auditor.send(f"{case}/claim", version="3")
    assert auditor.status == 403
    assert visit(OPERATOR).open("/").count("Operations") >= 1


class ClockWithoutDatabase:
    """A replay's clock reads the database; here the database is away."""

    def now(self) -> datetime:
        raise OperationalError("select", {}, Exception("away"))


def test_without_the_database_there_is_still_a_page_that_says_so(app: FastAPI, visit: Visit) -> None:
    browser = visit(REVIEWER)
    app.state.services = replace(app.state.services, clock=ClockWithoutDatabase())
    page = browser.open("/queue")
    assert browser.status == 503
    assert "<h1>Not available now</h1>" in page
