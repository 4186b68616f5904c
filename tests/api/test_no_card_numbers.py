"""Card numbers are sent in every place that a request has, and looked for in every place that an answer leaves."""

from __future__ import annotations

import base64
import copy
import logging
from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import Engine

from fraud.compromise import DataElements, ExposureWindow
from fraud.store.database import write
from fraud.store.exposure import NewCompromiseEvent, create_compromise_event

# Numbers for tests, of several networks; the first is in the issuer's own range.
PANS = ("4111111111111111", "5555555555554444", "378282246310005", "3530111333300000")
# All ways to write one are tried on the guard's own tests; here it matters that no place is left out.
SPELLINGS = (PANS[0], PANS[3], "4111 1111 1111 1111")
PATH_VALUES = {
    "case_id": "1",
    "compromise_event_id": "shop",
    "detection_id": "1",
    "import_id": "1",
    "card_ref": "x:1",
    "review_id": "1",
    "fact_id": "1",
}


def traces(pan: str) -> list[bytes]:
    """How a number may show up: plain, spaced, in hexadecimal, in base64."""
    groups = " ".join(pan[start : start + 4] for start in range(0, 16, 4))
    return [
        pan.encode(),
        groups.encode(),
        quote(groups).encode(),
        groups.replace(" ", "-").encode(),
        pan.encode().hex().encode(),
        base64.b64encode(pan.encode()).rstrip(b"="),
    ]


def leaves(body: Any) -> Iterator[tuple[int | str, ...]]:
    """Paths of everything in a JSON body that is not itself a container."""
    if isinstance(body, dict | list):
        items = body.items() if isinstance(body, dict) else enumerate(body)
        for key, value in items:
            yield from ((key, *rest) for rest in leaves(value))
    else:
        yield ()


def with_value(body: Any, path: tuple[int | str, ...], value: Any) -> Any:
    changed = copy.deepcopy(body)
    at = changed
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return changed


@pytest.fixture
def operations(
    reviewer: Any, engine: Engine, seed: Callable[..., None], detection: Callable[..., Any], clock: Any
) -> list[dict[str, Any]]:
    """Every operation of the document: method, path, parameters, example body."""
    window = ExposureWindow(date(2022, 7, 19), date(2022, 7, 26), "Asia/Tokyo")
    event = NewCompromiseEvent("shop", "Shop", "ACQUIRER", window, DataElements(expiry=True))
    with write(engine) as connection:
        create_compromise_event(connection, event, clock.at)
    seed(detection(1))
    document = reviewer.get("/api/v1/openapi.json").json()
    schemas = document["components"]["schemas"]
    found = []
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {}).get("application/json")
            body = None
            if content:
                reference = content["schema"].get("$ref") or content["schema"]["anyOf"][0]["$ref"]
                body = schemas[reference.rpartition("/")[2]]["examples"][0]
            found.append(
                {
                    "method": method.upper(),
                    "path": path,
                    "parameters": operation.get("parameters", []),
                    "body": body,
                }
            )
    assert sum(item["body"] is not None for item in found) >= 7
    return found


def requests_with(operation: dict[str, Any], text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Requests that carry `text` somewhere: where, and the arguments of the request."""
    path, body = operation["path"], operation["body"]
    filled = path.format(**PATH_VALUES)
    plain = {"method": operation["method"], "url": filled, "json": body}
    for parameter in operation["parameters"]:
        name = parameter["name"]
        if parameter["in"] == "path":
            values = {**PATH_VALUES, name: quote(text)}
            yield "path", {**plain, "url": path.format(**values)}
        elif parameter["in"] == "query":
            yield "query", {**plain, "params": {name: text}}
        elif parameter["in"] == "header":
            yield "header", {**plain, "headers": {name: text.encode()}}
    yield "query", {**plain, "params": {"unknown": text}}
    yield "query", {**plain, "params": {text: "x"}}
    for header in ("User-Agent", "X-Request-Id", "Referer", "If-Match", "Accept", "Cookie", "X-Unknown"):
        yield "header", {**plain, "headers": {header: text.encode()}}
    if body is not None:
        for leaf in leaves(body):
            yield "body", {**plain, "json": with_value(body, leaf, text)}
        yield "body", {**plain, "json": {**body, "unknown": text}}
        yield "body", {**plain, "json": {**body, text: 1}}
        yield "body", {**plain, "json": [text]}
        yield "body", {**plain, "json": text}
        if text.isdecimal() and text.isascii():
            yield "body", {**plain, "json": {**body, "version": int(text)}}


@pytest.mark.parametrize("text", SPELLINGS)
def test_a_card_number_is_refused_everywhere_and_shows_up_nowhere(
    text: str,
    operations: list[dict[str, Any]],
    reviewer: Any,
    event_manager: Any,
    engine: Engine,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # the client's own log names what it was told to send
    left: list[bytes] = []
    sent = 0
    for operation in operations:
        of_exposure = ("compromise-events", "card-references", "exposure-reviews", "imports")
        client = event_manager if any(part in operation["path"] for part in of_exposure) else reviewer
        needs_login = not operation["path"].startswith("/healthz/")
        for where, request in requests_with(operation, text):
            answer = client.request(**request)
            sent += 1
            left += [answer.content, str(dict(answer.headers)).encode()]
            if needs_login and where != "header":
                assert answer.status_code == 422, (operation["method"], operation["path"], where, answer.text)
            assert answer.status_code < 500
    assert sent > 200
    left += [caplog.text.encode(), "".join(capsys.readouterr()).encode()]
    engine.dispose()
    left += [path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()]
    assert len(left[-1]) > 1_000
    everything = b"\n".join(left)
    for pan in PANS:
        for trace in traces(pan):
            assert trace not in everything
    assert text.encode() not in everything


def test_a_refusal_names_the_field(reviewer: Any, seed: Callable[..., None], detection: Callable[..., Any]) -> None:
    seed(detection(1))
    answer = reviewer.post("/api/v1/cases/1/notes", json={"text": f"the card is {PANS[1]}"})
    assert answer.status_code == 422
    assert [item["field"] for item in answer.json()["errors"]] == ["body.text"]
    assert "card number" in answer.json()["detail"]
    answer = reviewer.get(f"/api/v1/cases/{PANS[0]}")
    assert [item["field"] for item in answer.json()["errors"]] == ["path.case_id"]


def test_numbers_that_are_no_card_numbers_may_stand_in_text(
    reviewer: Any, seed: Callable[..., None], detection: Callable[..., Any], card_ref: Callable[[int], str]
) -> None:
    seed(detection(1))
    text = f"Called 03-1234-5678 at 2023-01-29 10:15, {card_ref(1)}, ends in 1111, reference 4111111111111112"
    assert reviewer.post("/api/v1/cases/1/notes", json={"text": text}).status_code == 201
