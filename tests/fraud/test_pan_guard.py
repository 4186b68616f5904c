"""The PAN guard: finds every spelling of a card number, everywhere, and leaves identifiers alone."""

from __future__ import annotations

import copy
import json
import random
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud.cards import luhn_valid
from fraud.errors import ConfigurationError
from fraud.pan_guard import PanGuard
from fraud.settings import PortfolioSettings
from fraud.transactions import FIELDS, Kind

GUARD = PanGuard(["411111", "352800-352899"], [16])
FULL_WIDTH = str.maketrans("0123456789", "".join(chr(0xFF10 + digit) for digit in range(10)))
# A raw record that looks suspicious makes the guard look at every field.
LOOK_CLOSELY = b'"\\u0031"'


def with_check_digit(body: str) -> str:
    return next(body + digit for digit in "0123456789" if luhn_valid(body + digit))


OURS = with_check_digit("411111000012345")
OURS_JCB = with_check_digit("352850999912345")
OTHER_ISSUER = with_check_digit("555555000012345")
SPELLINGS = (
    OURS,
    f"{OURS[:4]} {OURS[4:8]} {OURS[8:12]} {OURS[12:]}",
    f"{OURS[:4]}-{OURS[4:8]}-{OURS[8:12]}-{OURS[12:]}",
    f"{OURS[:6]} {OURS[6:]}",
    " ".join(OURS),
    OURS.translate(FULL_WIDTH),
    f"{OURS[:4]}\u3000{OURS[4:8]}\u3000{OURS[8:12]}\u3000{OURS[12:]}",
    f"{OURS[:4]}\u30fc{OURS[4:8]}\u2010{OURS[8:12]}\uff0d{OURS[12:]}".translate(FULL_WIDTH),
)


def record(**more: Any) -> dict[str, Any]:
    fields = {
        "event_id": "2f1c9a3e-5b7d-4e21-9a44-0c1d2e3f4a5b",
        "event_type": "authorization",
        "occurred_at": 1_658_200_000_000,
        "card_ref": "v1:" + "4111111111111111" * 4,
        "network_transaction_id": "MDS123456789",
        "acquirer_reference_number": "74" + OURS[:16] + "12345",
        "amount_minor": 12_300,
        "merchant_id": "M0000123",
        "merchant_name": "SHOP 24",
        "approved": True,
        "network_score": 0.12345678901234567,
    }
    return fields | more


def encode(fields: dict[str, Any], *, escaped: bool = False, compact: bool = True) -> bytes:
    separators = (",", ":") if compact else (", ", ": ")
    return json.dumps(fields, ensure_ascii=escaped, separators=separators).encode()


def scan(fields: dict[str, Any], **spelling: bool) -> tuple[list[str], dict[str, Any]]:
    raw = encode(fields, **spelling)
    decoded = json.loads(raw)
    return GUARD.scan_record(raw, decoded), decoded


@pytest.mark.parametrize("escaped", [False, True])
@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("name", ["merchant_id", "event_id", "account_ref", "card_ref", "merchant_name", "memo", "bin"])
def test_every_spelling_is_found_and_blanked_in_every_kind_of_field(name: str, spelling: str, escaped: bool) -> None:
    fields = record(**{name: spelling})
    found, decoded = scan(fields, escaped=escaped)
    assert found == [name]
    assert decoded == fields | {name: None}


def test_escaped_digits_are_found() -> None:
    escapes = "".join(f"\\u{ord(digit):04x}" for digit in OURS)
    raw = encode(record(memo="?")).replace(b'"?"', f'"{escapes}"'.encode())
    decoded = json.loads(raw)
    assert GUARD.scan_record(raw, decoded) == ["memo"]
    assert decoded["memo"] is None


@pytest.mark.parametrize("separator", ["\\u0020", "\\u002d", "\\u00a0", "\\u30fc", "\\uFF0D"])
def test_escaped_separators_are_seen_through(separator: str) -> None:
    raw = encode(record(memo="?")).replace(b'"?"', f'"{OURS[:8]}{separator}{OURS[8:]}"'.encode())
    assert GUARD.scan_record(raw, json.loads(raw)) == ["memo"]


@pytest.mark.parametrize("compact", [True, False])
def test_a_clean_record_is_left_alone(compact: bool) -> None:
    """Other issuers' numbers in identifiers, digits in hashes, times and long references are no finding."""
    fields = record(network_transaction_id=with_check_digit("38520012345678"), merchant_id=OTHER_ISSUER)
    assert scan(fields, compact=compact) == ([], fields)
    assert scan(record(), compact=compact) == ([], record())
    assert GUARD.scan_record(LOOK_CLOSELY, record()) == []


def test_every_field_of_the_contract_is_guarded() -> None:
    for field in FIELDS:
        found, _ = scan({field.name: OURS})
        assert found == [field.name]
        assert scan({field.name: OTHER_ISSUER})[0] == ([field.name] if _is_free_text(field.name) else [])


def _is_free_text(name: str) -> bool:
    kinds = {field.name: field.kind for field in FIELDS}
    return kinds[name] is Kind.TEXT or name == "card_ref"


@pytest.mark.parametrize(
    "value",
    [
        f"M{OURS}",  # an identifier has to be the number, not to hold it
        f"{OURS}-1",
        OURS[:-1],
        OURS[:-1] + str((int(OURS[-1]) + 1) % 10),
        "0000" + OURS,
        with_check_digit("411111000012345" + "67"),
        OTHER_ISSUER,
    ],
)
def test_identifiers_that_only_resemble_one_of_ours(value: str) -> None:
    assert scan(record(merchant_id=value))[0] == []


@pytest.mark.parametrize(
    "text",
    [
        OTHER_ISSUER,
        f"card {OURS}, expiry 12/25",
        f"カード番号{OURS}です",
        f"12 {OURS[:8]}-{OURS[8:]} 3",
        f"d{OURS}",
        f"v1:{OURS}",
        with_check_digit("37828224631000"),
        with_check_digit("3630000000000"),
        with_check_digit("621234567890123456"),
    ],
)
def test_free_text_is_tested_against_all_networks(text: str) -> None:
    assert GUARD.find_in_text(text)
    assert scan(record(merchant_name=text))[0] == ["merchant_name"]
    assert scan(record(memo=text))[0] == ["memo"]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "03-1234-5678",
        "2022-07-19 12:00:00",
        "1658200000000",
        "1" + OURS,
        OURS + "1",
        "v1:" + OURS * 4,
        "a" + OURS + "b" * 15,  # 32 hexadecimal digits
        f"{OURS[:4]}--{OURS[4:]}",
        f"{OURS[:8]}/{OURS[8:]}",
        f"{OURS[:8]}-{OURS[8:12]}-{OURS[12:]}-abcd-ef0123456789",
        "4111 11** **** 1111",
    ],
)
def test_text_without_a_whole_number(text: str) -> None:
    assert not GUARD.find_in_text(text)
    assert GUARD.redact(text) == text


def test_a_digest_or_uuid_without_a_letter_is_not_exempt() -> None:
    assert GUARD.find_in_text(f"{OURS[:8]}-{OURS[8:12]}-{OURS[12:]}-0000-000000000000")


def test_chance_hits_none_of_the_opaque_identifiers() -> None:
    rng = random.Random(20220719)  # noqa: S311 - no secret
    for _ in range(20_000):
        bits = rng.getrandbits(256)
        fields = {
            "event_id": str(uuid.UUID(int=bits >> 128, version=4)),
            "trace": str(uuid.UUID(int=bits & (1 << 128) - 1, version=4)),
            "card_ref": f"v1:{bits:064x}",
            "digest": f"{bits:064x}",
            "occurred_at": 1_658_200_000_000 + (bits & 0xFFFFFFFF),
        }
        assert scan(fields) == ([], fields)


@pytest.mark.parametrize(
    ("number", "found"),
    [
        (int(OURS), True),
        (float(OURS), True),
        (-int(OURS), False),
        (int(OURS) + 1, False),
        (int(OTHER_ISSUER), False),
        (float(OURS) / 10, False),
        (True, False),
        (1e300, False),
        (int(OURS) * 10**30, False),
    ],
)
def test_numbers_count_as_identifiers(number: float, found: bool) -> None:
    for name in ("memo", "merchant_id", "amount_minor", "occurred_at"):
        assert scan({name: number})[0] == ([name] if found else [])


def test_floats_in_exponent_notation_are_seen() -> None:
    raw = f'{{"memo": {OURS[0]}.{OURS[1:]}E15}}'.encode()
    assert GUARD.scan_record(raw, json.loads(raw)) == ["memo"]


def test_a_number_that_a_table_wrote_as_a_float_is_found() -> None:
    assert scan(record(merchant_id=f"{OURS}.0"))[0] == ["merchant_id"]


def test_nested_values_and_keys_are_found_and_paths_hold_no_number() -> None:
    inner = {"note": [f"see {OURS}", "fine"], f"card {OURS}": {"a": 1}, "cards": [[int(OURS)]], "ok": "1"}
    fields = record(extra=inner, merchant_name={"jp": OURS_JCB}) | {OURS_JCB: "x"}
    found, decoded = scan(fields)
    assert sorted(found) == sorted(["extra.note[]", "extra.{key}", "extra.cards[][]", "merchant_name.jp", "{key}"])
    assert decoded == record(extra={"note": [None, "fine"], "cards": [[None]], "ok": "1"}, merchant_name={"jp": None})


def test_depth_and_names_are_the_senders_choice() -> None:
    deep: Any = OURS
    for _ in range(5_000):
        deep = [deep]
    fields = {"a\nb" + "c" * 1_000: deep}
    (path,) = GUARD.scan_record(LOOK_CLOSELY, fields)
    assert len(path) <= 200
    assert path.startswith("a?bccc")
    node: Any = fields
    while node is not None:
        (node,) = node.values() if isinstance(node, dict) else node


@pytest.mark.parametrize(
    ("card_ref", "found"),
    [
        ("v1:" + OURS * 4, False),
        ("x:" + OURS, True),
        (f"x:cust-{OURS[:8]}-{OURS[8:]}", True),
        ("x:" + OTHER_ISSUER, False),  # another network's range says nothing about the issuer's own ids
        ("x:1" + OURS, False),
        (OTHER_ISSUER, True),
        ("v1:" + OURS, True),
    ],
)
def test_card_refs(card_ref: str, found: bool) -> None:
    assert GUARD.finds_in_card_ref(card_ref) is found
    assert scan(record(card_ref=card_ref))[0] == (["card_ref"] if found else [])


@pytest.mark.parametrize(
    ("key", "found"),
    [
        (b"v1:" + OURS.encode() * 4, False),
        (OURS.encode(), True),
        (b'"' + OURS.encode() + b'"', True),
        (b"x:" + OURS.encode(), True),
        (OURS.translate(FULL_WIDTH).encode(), True),
        (b"\xff\xfe " + OURS.encode(), True),
        (b"acct-1234567890123456", False),
        (b"", False),
    ],
)
def test_message_keys(key: bytes, found: bool) -> None:
    assert GUARD.contains_pan_bytes(key) is found


digits = st.text("0123456789", min_size=1, max_size=20)
pieces = st.one_of(
    st.sampled_from(
        [
            *SPELLINGS,
            OURS_JCB,
            OTHER_ISSUER,
            OURS[:4],
            OURS[4:8],
            OURS[8:12],
            OURS[12:],
            "カード",
            "12".translate(FULL_WIDTH),
        ]
    ),
    digits,
    st.sampled_from(["", " ", "-", "\u3000", "\u30fc", "\u2212", "x", "é", '"', "\\", "\n", ".", "e1", "E15"]),
)
neighbours = st.sampled_from(["", "12 ", "9-", " 7", "-0", "カ", "1\u30fc", "\u30fc3", "0", "x"])
numbers_in_text = st.builds("{}{}{}".format, neighbours, st.sampled_from([*SPELLINGS, OTHER_ISSUER]), neighbours)
texts = st.one_of(st.lists(pieces, max_size=6).map("".join), numbers_in_text)
values = st.one_of(texts, st.integers(0, 10**19 - 1), st.just(int(OURS)), st.just(float(OURS)), st.booleans())
names = st.one_of(
    st.sampled_from(["event_id", "merchant_id", "merchant_name", "card_ref", "amount_minor", "memo"]), texts
)
records = st.dictionaries(
    names, st.one_of(values, st.lists(values, max_size=3), st.dictionaries(texts, values, max_size=2))
)


@given(records, st.booleans(), st.booleans())
def test_the_quick_look_misses_nothing(fields: dict[str, Any], escaped: bool, compact: bool) -> None:
    raw = encode(fields, escaped=escaped, compact=compact)
    quick, close = json.loads(raw), json.loads(raw)
    assert GUARD.scan_record(raw, quick) == GUARD.scan_record(LOOK_CLOSELY, close)
    assert quick == close


@given(records)
def test_what_was_blanked_is_clean(fields: dict[str, Any]) -> None:
    GUARD.scan_record(LOOK_CLOSELY, fields)
    once = copy.deepcopy(fields)
    assert GUARD.scan_record(LOOK_CLOSELY, fields) == []
    assert fields == once


@given(texts, st.sampled_from(SPELLINGS), texts)
def test_redact_leaves_no_number(before: str, spelling: str, after: str) -> None:
    text = f"{before}, {spelling}; {after}"
    assert GUARD.find_in_text(text)
    redacted = GUARD.redact(text)
    assert f", {spelling};" not in redacted
    assert f"••••{OURS[-4:]}" in redacted


def test_redact_masks_overlapping_numbers_as_one() -> None:
    twice = f"a {OURS[:8]}-{OURS[8:]} {OTHER_ISSUER}; 1658200000000"
    assert GUARD.redact(twice) == f"a ••••{OURS[-4:]} ••••{OTHER_ISSUER[-4:]}; 1658200000000"


def test_ranges_are_a_required_setting() -> None:
    with pytest.raises(ConfigurationError, match=r"portfolio\.bin_ranges"):
        PanGuard.from_settings(PortfolioSettings())


def test_settings() -> None:
    guard = PanGuard.from_settings(PortfolioSettings(bin_ranges=("900000-900099",), pan_lengths=(14, 19)))
    ours = with_check_digit("9000501234567")
    assert guard.owns(ours)
    assert guard.owns(with_check_digit("900099" + "9" * 12))
    assert not guard.owns(with_check_digit("9001001234567"))
    assert not guard.owns(with_check_digit("90005012345678"))
    assert guard.find_in_text(ours)
    assert guard.scan_record(encode({"merchant_id": ours}), {"merchant_id": ours}) == ["merchant_id"]


@pytest.mark.parametrize("ranges", [["4111a1"], ["411119-411111"], ["4111-411119"], ["411111-"], ["1" * 12], [""]])
def test_ranges_that_are_none(ranges: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="bin_ranges"):
        PanGuard(ranges, [16])


@pytest.mark.parametrize("lengths", [[], [11], [16, 20]])
def test_lengths_that_are_none(lengths: list[int]) -> None:
    with pytest.raises(ConfigurationError, match="pan_lengths"):
        PanGuard(["411111"], lengths)


def test_overlapping_ranges_hold_what_each_holds() -> None:
    guard = PanGuard(["41", "411111-411119", "4105", "42"], [16])
    assert guard.owns(with_check_digit("419999999999999"))
    assert guard.owns(with_check_digit("410500000000000"))
    assert guard.owns(with_check_digit("429999999999999"))
    assert not guard.owns(with_check_digit("430000000000000"))


@pytest.mark.parametrize("lengths", [[12], [16], [19]])
def test_whatever_is_a_card_number_has_the_shape(lengths: list[int]) -> None:
    guard = PanGuard(["900000-900099"], lengths)
    ours = with_check_digit("900050" + "1" * (lengths[0] - 7))
    assert guard.owns(ours)
    for number in (ours, OURS, OTHER_ISSUER, with_check_digit("3630000000000")):
        assert guard.find_in_text(number)
        assert len(number) >= guard.shape.shortest_run
        assert len(number) in guard.shape.lengths
        assert int(number[0]) in guard.shape.first_digits
