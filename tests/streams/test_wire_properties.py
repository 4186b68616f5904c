"""What holds of the decoder for any input at all."""

from __future__ import annotations

import json
import unicodedata
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud.codes import MISSING, country_alpha_2, currency_codes
from fraud.pan_guard import PanGuard
from fraud.transactions import DTYPES, FIELD_BY_NAME, FIELDS, Columns, Field, Kind
from streams.wire import DecodedBatch, Decoder, RawRecord, encode, keys

NOW = 1_658_880_000_000
DAY = 86_400_000
CARD = "v1:" + "ab" * 32
PAN = "4111111111111111"
GUARD = PanGuard(("411111",), (16,))
DECODER = Decoder(GUARD, b"k" * 16, 65_536, "JPY", DAY, None)
MINIMAL = {"event_id": "neighbour", "event_type": "authorization", "occurred_at": NOW, "card_ref": CARD}
NEIGHBOUR = (CARD.encode(), json.dumps(MINIMAL).encode())

REFERENCES = st.from_regex(r"v[0-9]{1,4}:[0-9a-f]{64}", fullmatch=True) | st.from_regex(
    r"x:[!-/:-~]{1,78}", fullmatch=True
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


def identifiers(limit: int) -> st.SearchStrategy[str]:
    characters = st.characters(exclude_categories=("Cs", "Cc"))
    return st.text(characters, min_size=1, max_size=min(limit, 20)).filter(
        lambda text: not text.isspace() and not GUARD.find_in_text(text)
    )


def column_values(field: Field) -> st.SearchStrategy[Any]:
    """Any value that the field's column can hold, missing included where the field may be missing."""
    if field.name == "card_ref":
        return REFERENCES.filter(lambda text: not GUARD.finds_in_card_ref(text))
    if field.name == "occurred_at":
        return st.integers(0, NOW + DAY)
    if field.name == "schema_version":
        return st.sampled_from((MISSING, 0, 1))
    limit = field.limit or 2**62
    known: st.SearchStrategy[Any]
    match field.kind:
        case Kind.IDENTIFIER | Kind.TEXT:
            known = identifiers(limit)
            return known if field.required else st.none() | known
        case Kind.NUMBER:
            return st.just(np.nan) | st.floats(allow_nan=False, allow_infinity=False)
        case Kind.ENUM:
            known = st.integers(0, len(field.values) - 1)
        case Kind.BOOLEAN:
            known = st.integers(0, 1)
        case Kind.COUNTRY:
            known = st.sampled_from(sorted(country_alpha_2()))
        case Kind.CURRENCY:
            known = st.sampled_from(sorted(currency_codes()))
        case _:
            known = st.integers(0, limit).filter(lambda number: not GUARD.owns(str(number)))
    return st.just(MISSING) | known


@st.composite
def batches(draw: st.DrawFn) -> Columns:
    rows = draw(st.lists(st.fixed_dictionaries({field.name: column_values(field) for field in FIELDS}), max_size=3))
    return Columns(
        {field.name: np.array([row[field.name] for row in rows], dtype=DTYPES[field.kind]) for field in FIELDS},
        len(rows),
    )


def decode(pairs: list[tuple[bytes | None, bytes | None]]) -> DecodedBatch:
    batch = DECODER.decode([RawRecord(at, key, value, NOW) for at, (key, value) in enumerate(pairs)], NOW)
    refused = [letter.offset for letter in batch.dead_letters]
    assert sorted([*batch.offsets.tolist(), *refused]) == list(range(len(pairs)))
    assert len(batch.columns) == len(batch.offsets)
    return batch


def between_neighbours(*pairs: tuple[bytes | None, bytes | None]) -> DecodedBatch:
    batch = decode([NEIGHBOUR, *pairs, NEIGHBOUR])
    for row, offset in ((0, 0), (-1, len(pairs) + 1)):
        assert batch.offsets[row] == offset
        assert batch.columns.row(row) == MINIMAL
    return batch


@given(batches())
@settings(max_examples=60, deadline=None)
def test_what_is_encoded_decodes_to_the_same(columns: Columns) -> None:
    batch = decode(list(zip(keys(columns), encode(columns), strict=True)))
    assert batch.dead_letters == ()
    assert set(batch.missing) <= {"event_type"}
    for field in FIELDS:
        np.testing.assert_array_equal(batch.columns[field.name], columns[field.name], err_msg=field.name)


@given(st.lists(st.tuples(st.none() | st.binary(max_size=20), st.none() | st.binary(max_size=60)), max_size=4))
@settings(max_examples=150, deadline=None)
def test_arbitrary_bytes_are_accounted_for(pairs: list[tuple[bytes | None, bytes | None]]) -> None:
    between_neighbours(*pairs)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_a_damaged_record_is_accounted_for(data: st.DataObject) -> None:
    value = bytearray(NEIGHBOUR[1])
    at = data.draw(st.integers(0, len(value) - 1))
    value[at : at + data.draw(st.integers(0, 8))] = data.draw(st.binary(max_size=4))
    between_neighbours((NEIGHBOUR[0], bytes(value)))


@given(st.dictionaries(st.sampled_from(sorted(FIELD_BY_NAME)) | st.text(), JSON_VALUES, max_size=8))
@settings(max_examples=200, deadline=None)
def test_arbitrary_json_in_any_field_is_accounted_for(fields: dict[str, Any]) -> None:
    between_neighbours((NEIGHBOUR[0], json.dumps(fields).encode()))


@given(st.fixed_dictionaries({field.name: JSON_VALUES for field in FIELDS if not field.required}))
@settings(max_examples=100, deadline=None)
def test_no_optional_value_can_refuse_a_record(fields: dict[str, Any]) -> None:
    # A number may well ask for a newer schema; that is its right.
    fields |= MINIMAL | {"schema_version": 1}
    batch = between_neighbours((NEIGHBOUR[0], json.dumps(fields).encode()))
    assert batch.dead_letters == ()
    assert batch.columns.row(1).items() >= MINIMAL.items()


SPELLINGS: tuple[Any, ...] = (
    PAN,
    int(PAN),
    float(PAN),
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
    "".join(chr(0xFF10 + int(digit)) for digit in PAN),
)
PLACES = st.sampled_from([field.name for field in FIELDS] + ["other", PAN, f"card {PAN}"])


@given(
    PLACES,
    st.sampled_from(SPELLINGS),
    st.sampled_from(("plain", "nested", "listed")),
    st.booleans(),
    st.sampled_from((NEIGHBOUR[0], PAN.encode(), None)),
    st.sampled_from((b"", b"}", b"\n", b" " * 70_000)),
)
@settings(max_examples=300, deadline=None)
def test_a_card_number_is_in_nothing_that_comes_out(
    place: str, spelling: Any, shape: str, escaped: bool, key: bytes | None, damage: bytes
) -> None:
    value: Any = {"plain": spelling, "nested": {"deep": {PAN: spelling}}, "listed": [1, [spelling]]}[shape]
    text = json.dumps(MINIMAL | {place: value})
    if escaped:
        text = text.replace('"4111', r'"\u0034111')
    batch = between_neighbours((key, text.encode() + damage))
    seen = repr(
        (
            [batch.columns[name].tolist() for name in batch.columns],
            batch.dead_letters,
            batch.missing,
            batch.security_findings,
        )
    )
    plain = unicodedata.normalize("NFKC", seen).replace(" ", "").replace("-", "")
    assert PAN not in plain
    # In a record that cannot be read, escapes hide a number from the report; nothing of it is kept either way.
    assert batch.security_findings or damage
