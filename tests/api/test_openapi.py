from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from fastapi.openapi.models import OpenAPI

URL = "/api/v1/openapi.json"


@pytest.fixture
def document(reviewer: Any) -> dict[str, Any]:
    found: dict[str, Any] = reviewer.get(URL).json()
    return found


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def inside(node: Any) -> Iterator[dict[str, Any]]:
    """Every object of a JSON document."""
    if isinstance(node, dict):
        yield node
    for value in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from inside(value)


def test_it_is_a_valid_document_whose_references_lead_somewhere(document: dict[str, Any]) -> None:
    OpenAPI.model_validate(document)
    assert document["openapi"].startswith("3.1")
    schemas = document["components"]["schemas"]
    used = {node["$ref"] for node in inside(document) if isinstance(node.get("$ref"), str)}
    assert {f"#/components/schemas/{name}" for name in schemas} == used
    assert not {"HTTPValidationError", "ValidationError"} & set(schemas)


def test_every_operation_is_described(document: dict[str, Any]) -> None:
    found = list(operations(document))
    assert len({operation["operationId"] for _, _, operation in found}) == len(found)
    for method, path, operation in found:
        assert operation["summary"], (method, path)
        assert operation["description"].endswith("."), (method, path)
        assert operation["tags"], (method, path)
        assert any(status.startswith("2") for status in operation["responses"])


def test_every_operation_names_its_errors_as_problems(document: dict[str, Any]) -> None:
    for method, path, operation in operations(document):
        failures = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
        for answer in failures.values():
            assert list(answer["content"]) == ["application/problem+json"]
        if path.startswith("/healthz/"):
            assert operation["security"] == []
            continue
        assert {"401", "403", "422", "503"} <= set(failures), (method, path)
        if "requestBody" in operation:
            assert {"400", "413"} <= set(failures), (method, path)
        if any(parameter["in"] == "path" for parameter in operation.get("parameters", [])):
            assert "404" in failures, (method, path)
        if any(parameter["name"].lower() == "if-match" for parameter in operation.get("parameters", [])):
            assert {"409", "428"} <= set(failures), (method, path)


def test_both_ways_to_sign_in_are_described(document: dict[str, Any]) -> None:
    assert document["security"] == [{"token": []}, {"session": []}]
    schemes = document["components"]["securitySchemes"]
    assert (schemes["token"]["scheme"], schemes["session"]["name"]) == ("bearer", "mimamori")


def test_requests_take_no_unknown_fields_and_have_examples(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    bodies = {name: schema for name, schema in schemas.items() if name.endswith("Request")}
    assert len(bodies) >= 6
    for name, schema in bodies.items():
        assert schema["additionalProperties"] is False, name
        assert schema.get("examples") or name == "EntityRequest", name


def test_times_and_amounts_are_integers(document: dict[str, Any]) -> None:
    checked = 0
    for node in inside(document["components"]["schemas"]):
        properties = node.get("properties", {})
        for name, schema in properties.items() if isinstance(properties, dict) else ():
            if name.endswith(("_at", "_minor")) and name != "extra":
                kinds = {part.get("type") for part in schema.get("anyOf", [schema])}
                assert kinds <= {"integer", "null"}, name
                checked += 1
    assert checked > 20


def test_examples_are_accepted(
    reviewer: Any,
    event_manager: Any,
    seed: Callable[..., None],
    detection: Callable[..., Any],
    document: dict[str, Any],
) -> None:
    seed(detection(1))
    schemas = document["components"]["schemas"]
    created = event_manager.post("/api/v1/compromise-events", json=schemas["CompromiseEventRequest"]["examples"][0])
    assert created.status_code == 201, created.text
    values = dict.fromkeys(("case_id", "import_id", "review_id", "fact_id"), 1)
    values["compromise_event_id"] = created.json()["compromise_event_id"]
    tried = 0
    for method, path, operation in operations(document):
        content = operation.get("requestBody", {}).get("content", {})
        of_exposure = ("compromise-events", "card-references", "exposure-reviews")
        client = event_manager if any(part in path for part in of_exposure) else reviewer
        if "text/csv" in content:
            headers = {"Content-Type": "text/csv"}
            answer = client.post(path.format(**values), content=content["text/csv"]["example"], headers=headers)
            assert answer.status_code in {200, 201}, answer.text
            assert answer.json()["rows"] == 1, answer.text
        elif "application/json" in content:
            schema = content["application/json"]["schema"]
            reference = schema.get("$ref") or schema["anyOf"][0]["$ref"]
            for example in schemas[reference.rpartition("/")[2]]["examples"]:
                answer = client.request(method, path.format(**values), json=example)
                assert answer.status_code in {200, 201, 409}, (path, answer.text)
                tried += 1
    assert tried >= 8
