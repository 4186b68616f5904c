"""The reference decoder, rule by rule."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from fraud.cards import card_key, merchant_keys
from fraud.codes import MCC_GROUPS, MISSING
from fraud.errors import ConfigurationError
from fraud.pan_guard import PanGuard
from fraud.transactions import FIELDS, Columns, Kind, enum_code
from streams.dead_letters import REDACTED, ErrorClass, payload_digest
from streams.wire import UNREADABLE, DecodedBatch, Decoder, RawRecord, encode, keys

NOW = 1_658_880_000_000
DAY = 86_400_000
CARD = "v1:" + "ab" * 32
PAN = "4111111111111111"
DIGEST_KEY = b"k" * 16
MAX_BYTES = 4_096
GUARD = PanGuard(("411111",), (16,))

TYPICAL: dict[str, Any] = {
    "event_id": "e-1",
    "event_type": "authorization",
    "occurred_at": NOW,
    "card_ref": CARD,
    "account_ref": "account-1",
    "transaction_type": "purchase",
    "amount_minor": 1200,
    "currency": "JPY",
    "acquirer_id": "acquirer-1",
    "merchant_id": "merchant-1",
    "merchant_name": "見守り商店",
    "mcc": "5411",
    "merchant_country": "JP",
    "pos_entry_mode": "051",
    "channel": "card_present",
    "eci": "05",
    "approved": True,
    "network_score": 12.5,
}
MINIMAL = {name: TYPICAL[name] for name in ("event_id", "event_type", "occurred_at", "card_ref")}


def decoder(**changes: Any) -> Decoder:
    arguments = {"max_record_bytes": MAX_BYTES, "portfolio_currency": "JPY", "max_future_ms": DAY, "max_past_ms": None}
    return Decoder(GUARD, DIGEST_KEY, **(arguments | changes))


def decode_values(*values: bytes | None, key: bytes | None = CARD.encode(), **changes: Any) -> DecodedBatch:
    """The values between two good neighbours, which must come through whatever stands between them."""
    neighbours = [json.dumps(MINIMAL | {"event_id": name}).encode() for name in ("first", "last")]
    records = [RawRecord(0, CARD.encode(), neighbours[0], NOW)]
    records += [RawRecord(10 + index, key, value, NOW) for index, value in enumerate(values)]
    records += [RawRecord(99, CARD.encode(), neighbours[1], NOW)]
    batch = decoder(**changes).decode(records, NOW)
    assert batch.offsets.tolist()[0] == 0
    assert batch.offsets.tolist()[-1] == 99
    assert batch.columns["event_id"].tolist()[0] == "first"
    assert batch.columns["event_id"].tolist()[-1] == "last"
    assert len(batch.columns) + len(batch.dead_letters) == len(records)
    return batch


def decode_one(fields: dict[str, Any], **changes: Any) -> tuple[Columns, DecodedBatch]:
    """The columns of one record that must be good, and the whole batch."""
    batch = decode_values(json.dumps(fields).encode(), **changes)
    assert batch.dead_letters == ()
    return batch.columns.take([1]), batch


def refusal(value: bytes | None, **changes: Any) -> tuple[ErrorClass, str | None]:
    """Error class and field path of one record that must be refused."""
    (letter,) = decode_values(value, **changes).dead_letters
    assert letter.offset == 10
    return letter.error_class, letter.field_path


def test_a_typical_record_becomes_columns() -> None:
    columns, batch = decode_one(TYPICAL)
    assert columns.row(0) == TYPICAL | {"pos_entry_mode": "05"}
    assert columns["card_key"][0] == card_key(CARD)
    assert columns["merchant_key"][0] == merchant_keys(*np.array([["acquirer-1"], ["merchant-1"]], dtype=object))[0]
    assert columns["amount"][0] == 1200
    assert MCC_GROUPS[columns["mcc_group"][0]] == "grocery"
    assert not columns["clamped"][0]
    assert batch.missing == {}
    assert batch.security_findings == {}


def test_a_minimal_record_is_good_and_absence_is_not_counted() -> None:
    columns, batch = decode_one(MINIMAL)
    assert columns.row(0) == MINIMAL
    assert np.isnan(columns["amount"][0])
    assert columns["mcc_group"][0] == MISSING
    assert columns["merchant_key"][0] == 0
    assert batch.missing == {}


def test_no_records_are_an_empty_batch() -> None:
    batch = decoder().decode([], NOW)
    assert len(batch.columns) == 0
    assert batch.offsets.dtype == np.int64
    assert batch.dead_letters == ()


@pytest.mark.filterwarnings("ignore:.* is deprecated. Use files:DeprecationWarning")  # the client's import
def test_the_kafka_clients_records_will_do() -> None:
    from kafka.consumer.fetcher import ConsumerRecord

    known = {"offset": 7, "key": CARD.encode(), "value": json.dumps(MINIMAL).encode(), "timestamp": NOW}
    record = ConsumerRecord(**(dict.fromkeys(ConsumerRecord._fields) | known))
    assert decoder().decode([record], NOW).offsets.tolist() == [7]


@pytest.mark.parametrize(
    ("name", "value", "error"),
    [
        *((name, None, ErrorClass.MISSING_FIELD) for name in MINIMAL),
        *((name, " \u3000", ErrorClass.MISSING_FIELD) for name in MINIMAL),
        *((name, value, ErrorClass.INVALID_FIELD) for name in MINIMAL for value in (True, 1.5, [], {"a": 1})),
        ("event_id", 17, ErrorClass.INVALID_FIELD),
        ("event_id", "e" * 65, ErrorClass.INVALID_FIELD),
        ("event_id", "e\u0000", ErrorClass.INVALID_FIELD),
        ("event_type", 1, ErrorClass.INVALID_FIELD),
        ("occurred_at", -1, ErrorClass.INVALID_FIELD),
        ("occurred_at", 2**63, ErrorClass.INVALID_FIELD),
        ("occurred_at", 10**400, ErrorClass.INVALID_FIELD),
        ("occurred_at", float(NOW), ErrorClass.INVALID_FIELD),
        ("occurred_at", str(NOW), ErrorClass.INVALID_FIELD),
        ("card_ref", "ab" * 32, ErrorClass.INVALID_FIELD),
        ("card_ref", "v1:" + "AB" * 32, ErrorClass.INVALID_FIELD),
        ("card_ref", CARD + "\u0000", ErrorClass.INVALID_FIELD),
        ("card_ref", "x:" + "a" * 79, ErrorClass.INVALID_FIELD),
    ],
)
def test_an_unusable_required_field_refuses_the_record(name: str, value: Any, error: ErrorClass) -> None:
    assert refusal(json.dumps(TYPICAL | {name: value}).encode()) == (error, name)


@pytest.mark.parametrize("name", list(MINIMAL))
def test_an_absent_required_field_refuses_the_record(name: str) -> None:
    fields = {key: value for key, value in TYPICAL.items() if key != name}
    assert refusal(json.dumps(fields).encode()) == (ErrorClass.MISSING_FIELD, name)


def test_an_unknown_event_type_is_matched_but_not_known() -> None:
    columns, batch = decode_one(MINIMAL | {"event_type": "balance_inquiry"})
    assert columns["event_type"][0] == MISSING
    assert batch.missing == {"event_type": 1}


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        *(("merchant_country", spelling, 392) for spelling in ("JP", "JPN", "392", 392)),
        *(("ip_country", spelling, 36) for spelling in ("AU", "AUS", "036", 36)),
        *(("currency", spelling, 392) for spelling in ("JPY", "392", 392)),
        *(("billing_currency", spelling, 36) for spelling in ("AUD", "036", 36)),
        *(("mcc", spelling, 742) for spelling in ("0742", "742", 742)),
        *(("eci", spelling, 5) for spelling in ("05", "5", 5)),
        *(("pos_entry_mode", spelling, 5) for spelling in ("05", "051", "0510")),
        ("mcc", 0, 0),
        ("approved", False, 0),
        ("liability_shift", True, 1),
        ("amount_minor", 0, 0),
        ("amount_minor", 10**15, 10**15),
        ("token_provisioned_at", 2**63 - 1, 2**63 - 1),
        ("network_score", 3, 3.0),
        ("network_score", -0.5, -0.5),
        ("three_ds", "frictionless", enum_code("three_ds", "frictionless")),
        ("merchant_name", "Shop\tTokyo\u0000", "Shop Tokyo "),
        ("merchant_id", " padded ", " padded "),
        ("schema_version", 1, 1),
    ],
)
def test_every_accepted_spelling_is_read(name: str, value: Any, expected: Any) -> None:
    columns, batch = decode_one(MINIMAL | {name: value})
    assert columns[name][0] == expected
    assert batch.missing == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *((field.name, value) for field in FIELDS if not field.required for value in (None, "", " ", [], {}, [1])),
        *((field.name, True) for field in FIELDS if not field.required and field.kind is not Kind.BOOLEAN),
        *((name, value) for name in ("merchant_country", "currency") for value in ("jp", "XQX", "000", 1, 392.0, -392)),
        *(("approved", value) for value in (0, 1, 1.0, "true", "Y")),
        *(("mcc", value) for value in ("54110", "54 1", "-541", "\uff15", "5411.0", 10_000, -1, 5411.0)),
        *(("pos_entry_mode", value) for value in ("5", "05101", 51, "0A1", "\u00b21")),
        *(("amount_minor", value) for value in (-1, 10**15 + 1, 12.0, "12", 2**63, 10**30)),
        *(("channel", value) for value in ("Ecommerce", "web", 1, 0)),
        *(("network_score", value) for value in ("12", 10**309)),
        *(("merchant_id", value) for value in ("m" * 65, 17, "m\u0000")),
        ("merchant_name", "n" * 257),
        ("schema_version", -1),
        ("schema_version", "2"),
    ],
)
def test_an_unusable_optional_value_counts_as_missing(name: str, value: Any) -> None:
    columns, batch = decode_one(MINIMAL | {name: value})
    assert columns.row(0) == MINIMAL
    assert batch.missing == {name: 1}


def test_missing_counts_records_that_have_the_field() -> None:
    batch = decode_values(
        *(json.dumps(MINIMAL | more).encode() for more in ({"mcc": None}, {}, {"mcc": 1}, {"mcc": []}))
    )
    assert batch.missing == {"mcc": 2}


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"null",
        b"17",
        b'"text"',
        b"[{}]",
        b"{",
        b"{}{}",
        b"{'event_id': 1}",
        b'{"network_score": NaN}',
        b'{"network_score": -Infinity}',
        b'{"merchant_name": "\xff"}',
        b'{"merchant_name": "\xed\xa0\x80"}',
        b'\xef\xbb\xbf{"event_id": "e"}',
        b'{"event_id": "a\x00b"}',
        b'{"a": 01}',
        b'{"a": 1,}',
        b"[" * 4_000,
        b'{"a":' + b"[" * 1_500 + b"]" * 1_500 + b"}",
    ],
)
def test_what_is_no_json_object_is_refused(value: bytes) -> None:
    assert refusal(value) == (ErrorClass.NOT_JSON, None)


def test_nesting_is_bounded_and_brackets_in_text_are_not_nesting() -> None:
    def nested(depth: int) -> bytes:
        brackets_in_text = json.dumps(MINIMAL | {"merchant_name": "[" * 40}).encode()
        return brackets_in_text[:-1] + b',"more":' + b"[" * depth + b"1" + b"]" * depth + b"}"

    assert decode_values(nested(31)).dead_letters == ()
    assert refusal(nested(32)) == (ErrorClass.NOT_JSON, None)
    assert decode_one(MINIMAL | {"merchant_name": "[" * 200})[1].missing == {}


@pytest.mark.parametrize("line_break", [b"\n", b"\r"])
def test_a_raw_line_break_is_refused_and_an_escaped_one_is_not(line_break: bytes) -> None:
    good = json.dumps(MINIMAL).encode()
    assert refusal(good[:1] + line_break + good[1:]) == (ErrorClass.RAW_NEWLINE, None)
    assert decode_values(good[:-1] + b',"merchant_name":"a\\nb"}').dead_letters == ()


def test_the_largest_record_is_accepted_and_one_byte_more_is_not() -> None:
    good = json.dumps(MINIMAL).encode()
    assert decode_values(good.ljust(MAX_BYTES)).dead_letters == ()
    assert refusal(good.ljust(MAX_BYTES + 1)) == (ErrorClass.TOO_LARGE, None)


def test_a_null_value_is_refused() -> None:
    assert refusal(None) == (ErrorClass.NULL_VALUE, None)


@pytest.mark.parametrize("version", [2, 2.0, 10**15, 2**64])
def test_a_newer_schema_is_parked_before_anything_else_is_judged(version: float) -> None:
    assert refusal(json.dumps({"schema_version": version}).encode()) == (
        ErrorClass.UNKNOWN_SCHEMA_VERSION,
        "schema_version",
    )


@pytest.mark.parametrize("key", [None, b"", b"other", CARD[:-1].encode(), b"\xff"])
def test_a_key_that_is_neither_card_nor_account_is_refused(key: bytes | None) -> None:
    assert refusal(json.dumps(TYPICAL).encode(), key=key) == (ErrorClass.KEY_MISMATCH, None)
    assert refusal(json.dumps(TYPICAL | {"account_ref": ""}).encode(), key=key) == (ErrorClass.KEY_MISMATCH, None)


def test_the_account_may_be_the_key() -> None:
    assert decode_values(json.dumps(TYPICAL).encode(), key=b"account-1").dead_letters == ()


def test_of_a_name_that_comes_twice_the_last_one_counts() -> None:
    value = json.dumps(MINIMAL).encode()[:-1] + b',"mcc":"5411","mcc":"5812"}'
    assert decode_values(value).columns["mcc"].tolist() == [MISSING, 5812, MISSING]


@pytest.mark.parametrize("number", ["1e999", "-1e999", "1" * 400, "1" * 400 + ".5", "1" * 5_000])
def test_a_number_beyond_a_double_is_missing_and_hides_nothing(number: str) -> None:
    value = json.dumps(MINIMAL).encode()[:-1] + f',"network_score":{number}}}'.encode()
    batch = decode_values(value, max_record_bytes=10_000)
    assert batch.dead_letters == ()
    assert batch.missing == {"network_score": 1}


def test_half_a_character_in_a_name_hides_nothing() -> None:
    value = json.dumps(MINIMAL).encode()[:-1] + rb',"merchant_name":"\u30b7\ud83d","\udc00":1}'
    assert decode_values(value).columns["merchant_name"].tolist() == [None, "シ?", None]


@pytest.mark.parametrize(
    ("occurred_at", "expected", "clamped"),
    [
        (NOW + DAY, NOW + DAY, False),
        (NOW + DAY + 1, NOW, True),
        (2**63 - 1, NOW, True),
        (NOW - 7 * DAY, NOW - 7 * DAY, False),
        (NOW - 7 * DAY - 1, NOW - 7 * DAY, True),
        (0, NOW - 7 * DAY, True),
    ],
)
def test_event_times_out_of_range_are_clamped_and_flagged(occurred_at: int, expected: int, clamped: bool) -> None:
    columns, batch = decode_one(MINIMAL | {"occurred_at": occurred_at}, max_past_ms=7 * DAY)
    assert columns["occurred_at"][0] == expected
    assert columns["clamped"][0] == clamped
    assert batch.missing == {}


def test_without_a_bound_the_past_is_taken_as_it_is() -> None:
    columns, _ = decode_one(MINIMAL | {"occurred_at": 0})
    assert columns["occurred_at"][0] == 0
    assert not columns["clamped"][0]


@pytest.mark.parametrize(
    ("billing", "billing_currency", "amount", "currency", "expected"),
    [
        (1500, "JPY", 10, "USD", 1500),
        (1500, "JPY", 1200, "JPY", 1500),
        (None, "JPY", 1200, "JPY", 1200),
        (None, None, 1200, "JPY", 1200),
        (1500, None, 1200, "JPY", 1200),
        (0, "JPY", 1200, "JPY", 0),
        (10, "USD", 1200, "JPY", None),
        (None, "USD", 1200, "JPY", None),
        (None, "JPY", 10, "USD", None),
        (None, None, 1200, None, None),
        (None, "JPY", None, "JPY", None),
        (-5, "JPY", -5, "JPY", None),
    ],
)
def test_the_amount_is_in_the_portfolios_currency_or_missing(
    billing: int | None, billing_currency: str | None, amount: int | None, currency: str | None, expected: int | None
) -> None:
    money = {"billing_amount_minor": billing, "billing_currency": billing_currency}
    columns, _ = decode_one(MINIMAL | money | {"amount_minor": amount, "currency": currency})
    found = columns["amount"][0]
    assert np.isnan(found) if expected is None else found == expected


@pytest.mark.parametrize("card_ref", [PAN, f"x:{PAN}", f"card {PAN}", int(PAN), {"pan": PAN}, [PAN]])
def test_a_card_number_in_card_ref_refuses_the_record_for_good(card_ref: Any) -> None:
    batch = decode_values(json.dumps(TYPICAL | {"card_ref": card_ref}).encode())
    (letter,) = batch.dead_letters
    assert (letter.error_class, letter.field_path) == (ErrorClass.PAN_IN_CARD_REF, "card_ref")
    assert not letter.error_class.replayable
    assert letter.card_ref is None
    assert sum(batch.security_findings.values()) == 1


def test_a_card_number_in_the_key_refuses_the_record_and_still_names_the_card() -> None:
    batch = decode_values(json.dumps(TYPICAL).encode(), key=PAN.encode())
    (letter,) = batch.dead_letters
    assert letter.error_class is ErrorClass.PAN_IN_KEY
    assert letter.card_ref == CARD
    assert batch.security_findings == {"(key)": 1}


def test_a_card_number_elsewhere_is_blanked_counted_and_goes_on() -> None:
    wrong = {
        "merchant_name": f"paid with {PAN}",
        "merchant_id": PAN,
        "extra": {"deep": [PAN]},
        "amount_minor": int(PAN),
    }
    columns, batch = decode_one(MINIMAL | wrong)
    assert columns.row(0) == MINIMAL
    assert batch.security_findings == {"merchant_name": 1, "merchant_id": 1, "amount_minor": 1, "extra.deep[]": 1}


def test_a_finding_is_reported_without_a_name_that_may_itself_be_a_number() -> None:
    _, batch = decode_one(MINIMAL | {"12345678901234": PAN, "n" * 65: PAN})
    assert batch.security_findings == {REDACTED: 2}


def test_required_fields_with_a_card_number_go_on_under_stand_ins() -> None:
    wrong = MINIMAL | {"event_id": PAN, "event_type": PAN, "occurred_at": int(PAN)}
    first, _ = decode_one(wrong)
    again, batch = decode_one(wrong | {"occurred_at": NOW})
    assert first["event_id"][0] == again["event_id"][0]
    assert PAN not in first["event_id"][0]
    assert first["event_type"][0] == MISSING
    assert first["occurred_at"][0] == NOW
    assert first["clamped"][0]
    assert batch.security_findings == {"event_id": 1, "event_type": 1}


def test_a_card_number_in_an_unreadable_record_is_reported() -> None:
    batch = decode_values(b'{"pan": "' + PAN.encode())
    assert batch.security_findings == {UNREADABLE: 1}
    assert batch.dead_letters[0].error_class is ErrorClass.NOT_JSON


@pytest.mark.parametrize(
    ("value", "card_ref"),
    [
        (json.dumps(MINIMAL | {"event_id": None}), CARD),
        (json.dumps(MINIMAL | {"event_id": None, "card_ref": "x:card-1"}), "x:card-1"),
        (json.dumps(MINIMAL)[:-1], CARD),
        (json.dumps(MINIMAL, indent=1), CARD),
        (json.dumps(MINIMAL).ljust(MAX_BYTES + 1), CARD),
        (json.dumps({"card_ref": "x:card-1"})[:-1], "x:card-1"),
        (json.dumps({"card_ref": f"x:{PAN}"})[:-1], None),
        (json.dumps({"card_ref": PAN})[:-1], None),
        (" " * MAX_BYTES + json.dumps(MINIMAL), None),
    ],
)
def test_a_refused_record_still_names_its_card_where_that_can_be_read(value: str, card_ref: str | None) -> None:
    (letter,) = decode_values(value.encode()).dead_letters
    assert letter.card_ref == card_ref
    assert letter.payload_digest == payload_digest(DIGEST_KEY, value.encode())
    assert letter.payload_bytes == len(value)


def test_the_decoder_refuses_settings_that_cannot_work() -> None:
    with pytest.raises(ConfigurationError):
        decoder(portfolio_currency="YEN")
    with pytest.raises(ConfigurationError):
        Decoder(GUARD, b"short", MAX_BYTES, "JPY", DAY, None)


def test_encoding_writes_what_is_known_and_nothing_else() -> None:
    columns, _ = decode_one(TYPICAL)
    assert [json.loads(value) for value in encode(columns)] == [TYPICAL | {"pos_entry_mode": "05"}]
    assert keys(columns) == [CARD.encode()]
    assert b" " not in encode(columns)[0]


def test_encoding_an_unknown_event_type_keeps_the_record_readable() -> None:
    columns, _ = decode_one(MINIMAL | {"event_type": "balance_inquiry"})
    (value,) = encode(columns)
    assert decode_values(value).columns["event_type"].tolist()[1] == MISSING


def test_reading_a_record_again_later_clamps_it_the_same() -> None:
    value = json.dumps(MINIMAL | {"occurred_at": NOW + 30 * DAY}).encode()
    record = RawRecord(0, CARD.encode(), value, NOW)
    first, again = (decoder().decode([record], now).columns["occurred_at"][0] for now in (NOW, NOW + 60 * DAY))
    assert first == again == NOW
    without_timestamp = record._replace(timestamp=-1)
    assert decoder().decode([without_timestamp], NOW + 1).columns["occurred_at"][0] == NOW + 1
