"""The checked-in schemas and tables are current, and the schema says what the decoder does."""

from __future__ import annotations

import json
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator, meta

from fraud.cases import FraudType, Outcome
from fraud.pan_guard import PanGuard
from fraud.transactions import FIELD_BY_NAME, FIELDS, Field, Kind
from streams.schema_files import SCHEMA_FOLDER, generated_files
from streams.schema_topics import TOPICS
from streams.wire import Decoder, RawRecord

NOW = 1_658_880_000_000
CARD = "v1:" + "ab" * 32
MINIMAL: dict[str, Any] = {"event_id": "e", "event_type": "authorization", "occurred_at": NOW, "card_ref": CARD}
DECODER = Decoder(PanGuard(("411111",), (16,)), b"k" * 16, 65_536, "JPY", 86_400_000, None)
CODE_KINDS = {Kind.COUNTRY, Kind.CURRENCY}

# Values of every JSON type and around every limit. A whole number written with a fraction is left out: to JSON Schema
# 1.0 is an integer, to the contract it is not.
VALUES: tuple[Any, ...] = (
    *(True, False, [], ["a"], {}, {"a": 1}, 1.5, -1, 0, 1, 5, 99, 100, 392, 999, 1000, 5411, 9999, 10_000),
    *(
        10**15,
        10**15 + 1,
        2**63 - 1,
        2**63,
        NOW,
        "",
        " ",
        "a",
        "a b",
        "a\u0000",
        "\u0007",
        "店名",
        "0",
        "5",
        "05",
        "051",
    ),
    *("0510", "05101", "5411", "0A1", "JP", "JPN", "JPY", "392", "jp", "x:1", "x:" + "a" * 79, CARD, CARD + "0"),
    *("ab" * 32, "v1:" + "AB" * 32, *("n" * length for length in (4, 5, 8, 9, 32, 33, 64, 65, 80, 81, 256, 257))),
    *(value for field in FIELDS for value in field.values),
)


def read(name: str) -> dict[str, Any]:
    schema: dict[str, Any] = json.loads((SCHEMA_FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return schema


def is_used(field: Field, value: Any) -> bool:
    record = json.dumps(MINIMAL | {field.name: value}).encode()
    key = value.encode() if field.name == "card_ref" and isinstance(value, str) else CARD.encode()
    batch = DECODER.decode([RawRecord(0, key, record, NOW)], NOW)
    return not batch.dead_letters and (field.name not in batch.missing or field.name == "event_type")


def test_every_checked_in_file_is_current() -> None:
    files = generated_files()
    for path, text in files.items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name}: run python -m streams.schema_files"
    assert {path.name for path in files if path.parent == SCHEMA_FOLDER} == {
        path.name for path in SCHEMA_FOLDER.iterdir()
    }


@pytest.mark.parametrize("name", ["card.transactions", *(topic.name for topic in TOPICS)])
def test_every_schema_is_valid_and_named(name: str) -> None:
    schema = read(name)
    meta.validate(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema["$id"] == f"urn:mimamori:schema:{name}:1"
    assert set(schema["required"]) <= set(schema["properties"])
    assert all(entry["description"] for entry in schema["properties"].values())


def test_every_field_of_the_contract_is_in_the_schema() -> None:
    assert list(read("card.transactions")["properties"]) == list(FIELD_BY_NAME)


@pytest.mark.parametrize("name", list(FIELD_BY_NAME))
def test_the_schema_allows_what_the_decoder_uses(name: str) -> None:
    field = FIELD_BY_NAME[name]
    validator = Draft202012Validator(read("card.transactions"))
    for value in VALUES:
        allowed, used = validator.is_valid(MINIMAL | {name: value}), is_used(field, value)
        if name == "schema_version":
            used = used or value in (5, 99, 100, 392, 999, 1000, 5411, 9999, 10_000)  # parked, and well-formed
        # A code's pattern is wider than its table: a country that does not exist still looks like one.
        assert allowed or not used if field.kind in CODE_KINDS else allowed == used, value


def test_the_schema_allows_null_where_a_field_may_be_missing() -> None:
    validator = Draft202012Validator(read("card.transactions"))
    for field in FIELDS:
        assert validator.is_valid(MINIMAL | {field.name: None}) is not field.required


def test_a_required_field_may_not_be_absent_and_an_unknown_one_may_be_there() -> None:
    validator = Draft202012Validator(read("card.transactions"))
    assert validator.is_valid(MINIMAL | {"something_new": 1})
    for name in MINIMAL:
        assert not validator.is_valid({key: value for key, value in MINIMAL.items() if key != name})


def test_a_label_must_name_its_transaction() -> None:
    validator = Draft202012Validator(read("card.labels"))
    label = {
        "label_id": "l-1",
        "outcome": Outcome.CONFIRMED_FRAUD,
        "fraud_type": FraudType.CARD_NOT_PRESENT,
        "basis": "chargeback",
        "reported_at": NOW,
    }
    purchase = {"card_ref": CARD, "merchant_id": "m", "transaction_date": "2022-07-20", "amount_minor": 1200}
    assert not validator.is_valid(label)
    assert validator.is_valid(label | {"event_id": "e"})
    assert validator.is_valid(label | purchase)
    assert not validator.is_valid(label | purchase | {"card_ref": "4111111111111111"})
    assert not validator.is_valid(label | {"event_id": "e", "outcome": "MAYBE"})


def test_the_watchlist_releases_a_card_by_a_null_value() -> None:
    assert Draft202012Validator(read("card.watchlist")).is_valid(None)
    assert not Draft202012Validator(read("card.detections")).is_valid(None)
