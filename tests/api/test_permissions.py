from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, get_args

import pytest

from fraud.api.permissions import ROLE_PERMISSIONS, Permission, permissions_of
from fraud.store.people import ROLES

CASES, EVENTS = "/api/v1/cases", "/api/v1/compromise-events"

# What a role is refused is what it may not do; everything else gets past the door, to whatever waits there.
ENDPOINTS: dict[tuple[str, str], Permission] = {
    ("GET", CASES): "cases:read",
    ("GET", f"{CASES}/1"): "cases:read",
    ("POST", f"{CASES}/claim-next"): "cases:write",
    ("POST", f"{CASES}/1/claim"): "cases:write",
    ("POST", f"{CASES}/1/release"): "cases:write",
    ("POST", f"{CASES}/1/notes"): "cases:write",
    ("POST", f"{CASES}/1/resolve"): "cases:write",
    ("GET", "/api/v1/detections/1"): "cases:read",
    ("GET", "/api/v1/exposure-matches"): "exposure:read",
    ("GET", EVENTS): "exposure:read",
    ("POST", EVENTS): "exposure:write",
    ("GET", f"{EVENTS}/1"): "exposure:read",
    ("GET", f"{EVENTS}/1/versions"): "exposure:read",
    ("POST", f"{EVENTS}/1/facts"): "exposure:write",
    ("POST", f"{EVENTS}/1/facts/1/withdraw"): "exposure:write",
    ("POST", f"{EVENTS}/1/alerts"): "exposure:write",
    ("POST", f"{EVENTS}/1/status"): "exposure:write",
    ("POST", f"{EVENTS}/1/status/preview"): "exposure:write",
    ("POST", f"{EVENTS}/1/disclosure"): "exposure:write",
    ("POST", f"{EVENTS}/1/amendments"): "exposure:write",
    ("POST", f"{EVENTS}/1/amendments/preview"): "exposure:write",
    ("GET", f"{EVENTS}/1/exposed-cards"): "exposure:read",
    ("POST", f"{EVENTS}/1/exposed-cards"): "exposure:write",
    ("POST", f"{EVENTS}/1/exposed-cards/by-hand"): "exposure:write",
    ("POST", f"{EVENTS}/1/imports"): "exposure:write",
    ("GET", "/api/v1/imports"): "exposure:read",
    ("GET", "/api/v1/imports/1"): "exposure:read",
    ("GET", "/api/v1/imports/1/rows"): "exposure:read",
    ("GET", "/api/v1/imports/1/rows.csv"): "exposure:read",
    ("POST", "/api/v1/imports/1/publish"): "exposure:write",
    ("POST", "/api/v1/imports/1/discard"): "exposure:write",
    ("GET", "/api/v1/cards/1"): "exposure:read",
    ("POST", "/api/v1/card-references"): "exposure:write",
    ("GET", "/api/v1/exposure-reviews"): "exposure:read",
    ("GET", "/api/v1/exposure-reviews/1/exceptions"): "exposure:read",
    ("POST", "/api/v1/exposure-reviews/1/decision"): "exposure:write",
    ("GET", "/api/v1/dead-letters"): "operations:read",
    ("GET", "/api/v1/positions"): "operations:read",
    ("GET", "/api/v1/report/summary"): "reports:read",
}
EXPECTED: dict[str, set[Permission]] = {
    "reviewer": {"cases:read", "cases:write", "exposure:read", "reports:read"},
    "event_manager": {"cases:read", "exposure:read", "exposure:write", "reports:read"},
    "operator": {"operations:read", "reports:read"},
    "data_scientist": {"cases:read", "exposure:read", "reports:read"},
    "auditor": {"cases:read", "exposure:read", "operations:read", "reports:read"},
    "administrator": {"cases:read", "exposure:read", "operations:read", "reports:read"},
}


@pytest.mark.parametrize("role", EXPECTED)
def test_each_role_gets_exactly_as_far_as_the_matrix_says(sign_in: Callable[..., Any], role: str) -> None:
    client = sign_in(role)
    for (method, path), permission in ENDPOINTS.items():
        answer = client.request(method, path)
        refused = answer.status_code == 403
        assert refused == (permission not in EXPECTED[role]), (method, path, answer.status_code)
        if refused:
            assert answer.json()["code"] == "FORBIDDEN"
        else:
            assert answer.status_code < 500


def test_every_endpoint_is_in_the_matrix(reviewer: Any) -> None:
    document = reviewer.get("/api/v1/openapi.json").json()
    documented = {
        (
            method.upper(),
            re.sub(r"\{[a-z_]+\}", "1", path),
        )
        for path, operations in document["paths"].items()
        for method in operations
        if path.startswith("/api/")
    }
    assert documented == {*ENDPOINTS, ("GET", "/api/v1/me")}


def test_the_roles_are_those_of_the_store() -> None:
    assert set(ROLE_PERMISSIONS) == set(ROLES) == set(EXPECTED)
    assert set(get_args(Permission)) == set().union(*ROLE_PERMISSIONS.values())


def test_a_role_that_nobody_knows_may_do_nothing() -> None:
    assert permissions_of("superuser") == frozenset()
