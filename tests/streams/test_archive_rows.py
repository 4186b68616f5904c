"""What goes into the archive comes out of it, whatever it is; and hostile times make no partitions."""

from __future__ import annotations

import tempfile
from dataclasses import fields
from datetime import date
from typing import Any

import numpy as np
import polars as pl
import pytest
from archive_samples import DAY, NOW, TOPIC, make_columns, make_rows
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud.cards import card_keys, merchant_keys
from fraud.codes import MCC_GROUPS, MISSING, country_alpha_2, currency_codes
from fraud.transactions import DTYPES, FIELDS, Columns, Field, Kind
from streams.archive import ARCHIVE_COLUMNS, ArchiveReader, ArchiveRows, ArchiveWriter, key_bits, keys_from_bits
from streams.archive.rows import card_ref_text, to_frame
from streams.archive.schema import event_days

INT64 = st.integers(-(2**63), 2**63 - 1)
UINT64 = st.integers(0, 2**64 - 1)
REFERENCES = st.builds(
    "{}:{}".format, st.sampled_from(("v1", "v12", "v0001")), st.binary(min_size=32, max_size=32).map(bytes.hex)
)
OWN_REFERENCES = st.builds(
    "x:{}".format, st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=78)
)
TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)

_NUMBERS: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.NUMBER: st.just(np.nan) | st.floats(allow_nan=False),
    Kind.BOOLEAN: st.integers(MISSING, 1),
    Kind.COUNTRY: st.sampled_from((MISSING, *country_alpha_2())),
    Kind.CURRENCY: st.sampled_from((MISSING, *currency_codes())),
}


def field_values(field: Field) -> st.SearchStrategy[Any]:
    """Any value that the field's column can hold."""
    if field.name == "card_ref":
        return REFERENCES | OWN_REFERENCES
    if field.name == "occurred_at":
        return st.integers(NOW - 500 * DAY, NOW + 2 * DAY) | st.integers(0, 2**63 - 1)
    if field.kind in (Kind.IDENTIFIER, Kind.TEXT):
        return TEXTS if field.required else st.none() | TEXTS
    highest = len(field.values) - 1 if field.kind is Kind.ENUM else field.limit or 2**63 - 1
    return _NUMBERS.get(field.kind, st.integers(MISSING, highest))


@st.composite
def archive_rows(draw: st.DrawFn) -> ArchiveRows:
    row = {field.name: field_values(field) for field in FIELDS} | {
        "logged": st.just(NOW) | INT64,
        "gap": st.integers(1, 5),
        "probability": st.just(np.nan) | st.floats(0, 1, width=32),
        "digest": UINT64,
        "tier": st.integers(0, 5),
        "set": st.integers(1, 2**40),
        "amount": st.just(np.nan) | st.floats(0, 1e15),
        "clamped": st.booleans(),
        "mcc_group": st.integers(MISSING, len(MCC_GROUPS) - 1),
    }
    drawn = draw(st.lists(st.fixed_dictionaries(row), min_size=1, max_size=3))

    def column(name: str, dtype: Any) -> Any:
        values = np.empty(len(drawn), dtype=dtype)
        values[:] = [item[name] for item in drawn]
        return values

    given_columns = {field.name: column(field.name, DTYPES[field.kind]) for field in FIELDS}
    derived = {
        "card_key": card_keys(given_columns["card_ref"]),
        "merchant_key": merchant_keys(given_columns["acquirer_id"], given_columns["merchant_id"]),
        "amount": column("amount", np.float64),
        "clamped": column("clamped", np.bool_),
        "mcc_group": column("mcc_group", np.int8),
    }
    return ArchiveRows(
        columns=Columns(given_columns | derived, len(drawn)),
        offsets=np.cumsum(column("gap", np.int64)),
        logged_at=column("logged", np.int64),
        probability=column("probability", np.float32),
        anomaly=column("probability", np.float32)[::-1].copy(),
        tiers=column("tier", np.int8),
        digests=column("digest", np.uint64),
        reference_set_ids=column("set", np.int64),
    )


def assert_same(back: ArchiveRows, rows: ArchiveRows) -> None:
    for name in rows.columns:
        assert back.columns[name].dtype == rows.columns[name].dtype, name
        np.testing.assert_array_equal(back.columns[name], rows.columns[name], err_msg=name)
    for item in fields(ArchiveRows):
        if item.name != "columns":
            expected = getattr(rows, item.name)
            assert getattr(back, item.name).dtype == expected.dtype, item.name
            np.testing.assert_array_equal(getattr(back, item.name), expected, err_msg=item.name)


@settings(max_examples=30, deadline=None)
@given(archive_rows())
def test_what_is_archived_reads_back_equal(rows: ArchiveRows) -> None:
    with tempfile.TemporaryDirectory() as root:
        writer = ArchiveWriter(root)
        writer.begin(TOPIC, 3, 0)
        writer.add(TOPIC, 3, rows)
        end = int(rows.offsets[-1]) + 1
        writer.commit(TOPIC, 3, end)
        back = list(ArchiveReader(root).rows_in_log_order(TOPIC, 3, 0, end))
        assert_same(ArchiveRows.concatenate(back), rows)


@given(st.lists(UINT64, max_size=5))
def test_unsigned_keys_keep_their_bits(keys: list[int]) -> None:
    unsigned = np.array(keys, np.uint64)
    assert keys_from_bits(key_bits(unsigned)).tolist() == keys
    assert [value % 2**64 for value in key_bits(unsigned).tolist()] == keys


@given(st.lists(st.tuples(INT64, INT64), min_size=1, max_size=20))
def test_hostile_times_make_no_partitions(times: list[tuple[int, int]]) -> None:
    occurred_at, logged_at = np.array(times, np.int64).T
    days = event_days(occurred_at, logged_at, NOW)
    first, last = date(2000, 1, 1), date(2025, 10, 9)
    epoch = date(1970, 1, 1).toordinal()
    assert days.min() >= first.toordinal() - epoch - 400
    assert days.max() <= last.toordinal() - epoch + 2


@pytest.mark.parametrize(
    ("days_from_logged", "expected"), [(0, 0), (-400, -400), (-401, 0), (1, 1), (2, 0), (-10_000, 0), (10_000, 0)]
)
def test_an_event_far_from_its_logged_day_goes_to_that_day(days_from_logged: int, expected: int) -> None:
    logged = NOW // DAY
    found = event_days(np.array([NOW + days_from_logged * DAY]), np.array([NOW]), NOW)
    assert found.tolist() == [logged + expected]


def test_codes_are_stored_as_the_contract_spells_them() -> None:
    columns = make_columns(3)
    frame = to_frame(make_rows(3, columns=columns), TOPIC, 3, NOW)
    assert frame["channel"].to_list() == [None, "ecommerce", "moto"]
    assert frame["event_type"].unique().to_list() == ["authorization"]
    assert frame.select(card_ref_text())["card_ref"].to_list() == columns["card_ref"].tolist()
    assert frame["card_ref"].bin.size().to_list() == [32, 32, 32]
    assert frame.columns == [item.name for item in ARCHIVE_COLUMNS]


@pytest.mark.parametrize(("name", "code"), [("event_type", 99), ("merchant_country", 3), ("currency", 32_000)])
def test_a_code_in_no_table_is_an_error_and_not_a_null(name: str, code: int) -> None:
    columns = make_columns(2)
    columns[name][1] = code
    with pytest.raises(ValueError, match=name):
        to_frame(make_rows(2, columns=columns), TOPIC, 3, NOW)


def test_missing_is_null_and_never_a_sentinel() -> None:
    frame = to_frame(make_rows(4, columns=Columns({"card_ref": make_columns(4)["card_ref"]}, 4)), TOPIC, 3, NOW)
    optional = [field.name for field in FIELDS if not field.required]
    assert frame.select(optional).null_count().row(0) == (4,) * len(optional)
    assert frame["amount"].dtype == pl.Float64
    assert frame["amount"].null_count() == 4
    assert frame["merchant_key"].null_count() == 4
