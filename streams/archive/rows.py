"""Archive rows between the worker's arrays and the table's columns, and back, without loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraud.codes import MCC_GROUPS, MISSING, country_alpha_2, currency_codes
from fraud.transactions import DERIVED_DTYPES, DTYPES, FIELDS, Column, Columns, Field, Kind
from streams.archive.schema import ARCHIVE_COLUMNS, POLARS_TYPES, event_days, key_bits, keys_from_bits

_HEX = 64  # hexadecimal digits of a keyed card reference's hash
_KEYED = pl.col("card_ref_prefix").str.starts_with("v")
_NULLABLE_NUMBERS = (Kind.INTEGER, Kind.TIMESTAMP, Kind.DIGITS)
_SPELLED = (Kind.ENUM, Kind.COUNTRY, Kind.CURRENCY)


@dataclass(frozen=True, slots=True)
class ArchiveRows:
    """n processed transactions of one partition, offsets increasing, with what was decided on them.

    Args:
        columns: the transactions.
        offsets: (n,) int64.
        logged_at: (n,) int64, the records' own timestamps in the log, epoch milliseconds UTC.
        probability: (n,) float32, NaN where there is none.
        anomaly: (n,) float32, NaN where there is none.
        tiers: (n,) int8 exposure tiers, 0 is unexposed.
        digests: (n,) uint64 digests of the served feature vectors.
        reference_set_ids: (n,) int64.

    """

    columns: Columns
    offsets: NDArray[np.int64]
    logged_at: NDArray[np.int64]
    probability: NDArray[np.float32]
    anomaly: NDArray[np.float32]
    tiers: NDArray[np.int8]
    digests: NDArray[np.uint64]
    reference_set_ids: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.columns)

    def between(self, from_offset: int, to_offset: int | None = None) -> ArchiveRows:
        """The rows from `from_offset` to before `to_offset` (None: to the end). Views, not copies."""
        start = int(np.searchsorted(self.offsets, from_offset))
        stop = len(self) if to_offset is None else max(start, int(np.searchsorted(self.offsets, to_offset)))
        if (start, stop) == (0, len(self)):
            return self
        return ArchiveRows(
            columns=Columns({name: self.columns[name][start:stop] for name in self.columns}, stop - start),
            **{name: getattr(self, name)[start:stop] for name in _ARRAYS},
        )

    @staticmethod
    def concatenate(parts: Sequence[ArchiveRows]) -> ArchiveRows:
        """Several batches as one, in the order given; at least one."""
        if len(parts) == 1:
            return parts[0]
        return ArchiveRows(
            columns=Columns.concatenate([part.columns for part in parts]),
            **{name: np.concatenate([getattr(part, name) for part in parts]) for name in _ARRAYS},
        )


_ARRAYS = tuple(item.name for item in fields(ArchiveRows) if item.name != "columns")


@dataclass(frozen=True, slots=True)
class _Spelling:
    """A code table of int column values and the words that stand for them."""

    numbers: NDArray[np.int64]
    words: tuple[str, ...]

    def write(self, codes: Column, name: str) -> pl.Series:
        """(n,) codes as words; a code without a word is an error, not a null."""
        table = np.full(int(self.numbers.max()) + 2, len(self.words), dtype=np.int64)  # the last answers -1, MISSING
        table[self.numbers] = np.arange(len(self.words))
        if len(codes) and (codes.max() >= len(table) - 1 or codes.min() < MISSING):
            raise _unknown_code(name)
        words = pl.Series(name, [*self.words, None], dtype=pl.String).gather(table[codes])
        if words.null_count() != np.count_nonzero(codes == MISSING):
            raise _unknown_code(name)
        return words

    def read(self, words: pl.Series, dtype: Any) -> Column:
        """The inverse of `write`."""
        index = words.cast(pl.Enum(self.words)).to_physical().cast(pl.Int64).fill_null(len(self.words)).to_numpy()
        codes: Column = np.append(self.numbers, MISSING)[index].astype(dtype)
        return codes


def _unknown_code(name: str) -> ValueError:
    return ValueError(f"column {name} has a code that is in no table")


@cache
def _spelling(name: str) -> _Spelling:
    if name == "mcc_group":
        return _Spelling(np.arange(len(MCC_GROUPS)), MCC_GROUPS)
    field = next(field for field in FIELDS if field.name == name)
    if field.kind is Kind.ENUM:
        return _Spelling(np.arange(len(field.values)), field.values)
    table = country_alpha_2() if field.kind is Kind.COUNTRY else currency_codes()
    return _Spelling(np.array(list(table), dtype=np.int64), tuple(table.values()))


def to_frame(rows: ArchiveRows, topic_id: str, partition: int, now_ms: int) -> pl.DataFrame:
    """Rows as the table's columns, all of `ARCHIVE_COLUMNS` in their order."""
    columns = rows.columns
    series: dict[str, Any] = {field.name: _written(field, columns[field.name]) for field in FIELDS}
    series |= {
        "card_key": key_bits(columns["card_key"]),
        "merchant_key": key_bits(columns["merchant_key"]),
        "amount": columns["amount"],
        "mcc_group": _spelling("mcc_group").write(columns["mcc_group"], "mcc_group"),
        "clamped": columns["clamped"],
        "probability": rows.probability,
        "anomaly": rows.anomaly,
        "exposure_tier": rows.tiers,
        "reference_set": rows.reference_set_ids,
        "features_digest": key_bits(rows.digests),
        "offset": rows.offsets,
        "logged_at": rows.logged_at,
        "event_day": event_days(columns["occurred_at"], rows.logged_at, now_ms),
    }
    prefixes = pl.col("card_ref").str.head(pl.col("card_ref").str.find(":", literal=True))
    hashes = pl.col("card_ref").str.tail(_HEX).str.decode("hex", strict=False)
    own_ids = pl.col("card_ref").str.slice(2).cast(pl.Binary)
    return (
        pl.DataFrame(series)
        .with_columns(prefixes.alias("card_ref_prefix"))
        .with_columns(
            *(pl.when(pl.col(name) != MISSING).then(pl.col(name)).alias(name) for name in _sentinel_columns()),
            pl.when(pl.col("merchant_key") != 0).then(pl.col("merchant_key")),
            pl.col("amount", "network_score", "probability", "anomaly").fill_nan(None),
            pl.when(_KEYED).then(hashes).otherwise(own_ids).alias("card_ref"),
            pl.lit(topic_id).alias("topic_id"),
            pl.lit(partition).alias("partition"),
        )
        .select(pl.col(item.name).cast(POLARS_TYPES[item.type]) for item in ARCHIVE_COLUMNS)
    )


def from_frame(frame: pl.DataFrame) -> ArchiveRows:
    """The inverse of `to_frame`; the frame needs every column."""
    refs = frame.select(card_ref_text())["card_ref"]
    columns = {field.name: _read(field, frame[field.name]) for field in FIELDS if field.name != "card_ref"}
    columns |= {
        "card_ref": _objects(refs),
        "card_key": keys_from_bits(frame["card_key"].to_numpy()),
        "merchant_key": keys_from_bits(frame["merchant_key"].fill_null(0).to_numpy()),
        "amount": _floats(frame["amount"], DERIVED_DTYPES["amount"]),
        "mcc_group": _spelling("mcc_group").read(frame["mcc_group"], DERIVED_DTYPES["mcc_group"]),
        "clamped": frame["clamped"].to_numpy(),
    }
    return ArchiveRows(
        columns=Columns(columns, len(frame)),
        offsets=frame["offset"].to_numpy(),
        logged_at=frame["logged_at"].to_numpy(),
        probability=_floats(frame["probability"], np.float32),
        anomaly=_floats(frame["anomaly"], np.float32),
        tiers=frame["exposure_tier"].to_numpy(),
        digests=keys_from_bits(frame["features_digest"].to_numpy()),
        reference_set_ids=frame["reference_set"].to_numpy(),
    )


def card_ref_text() -> pl.Expr:
    """The whole card reference as the contract spells it, from `card_ref_prefix` and `card_ref`, named `card_ref`."""
    hashes = pl.col("card_ref").bin.encode("hex")
    # Polars judges the bytes of a whole column when it casts to text, those of rows that are masked out included. So
    # the ids are taken through hexadecimal, which gives them a column of their own without the hashes' bytes.
    own_ids = pl.when(_KEYED).then(pl.lit("")).otherwise(hashes).str.decode("hex").cast(pl.String)
    body = pl.when(_KEYED).then(hashes).otherwise(own_ids)
    return pl.concat_str("card_ref_prefix", body, separator=":").alias("card_ref")


@cache
def _sentinel_columns() -> Sequence[str]:
    return [field.name for field in FIELDS if field.kind in _NULLABLE_NUMBERS]


def _written(field: Field, values: Column) -> Any:
    if field.kind in (Kind.IDENTIFIER, Kind.TEXT):
        items = values.tolist()
        if items.count(None) == len(items):  # most optional fields, most of the time; ten times faster than a scan
            return pl.repeat(None, len(items), dtype=pl.String, eager=True)
        return pl.Series(items, dtype=pl.String)
    if field.kind in _SPELLED:
        return _spelling(field.name).write(values, field.name)
    if field.kind is Kind.BOOLEAN:
        return _spelled_boolean(values)
    return values


def _spelled_boolean(values: Column) -> pl.Series:
    return pl.Series([False, True, None]).gather(np.where(values == MISSING, 2, values))


def _read(field: Field, series: pl.Series) -> Column:
    dtype = DTYPES[field.kind]
    if field.kind in (Kind.IDENTIFIER, Kind.TEXT):
        return _objects(series)
    if field.kind in _SPELLED:
        return _spelling(field.name).read(series, dtype)
    if field.kind is Kind.NUMBER:
        return _floats(series, dtype)
    return series.cast(pl.Int64).fill_null(MISSING).to_numpy().astype(dtype)


def _objects(series: pl.Series) -> Column:
    values = np.empty(len(series), dtype=np.object_)
    values[:] = series.to_list()
    return values


def _floats(series: pl.Series, dtype: Any) -> Column:
    return series.fill_null(float("nan")).to_numpy().astype(dtype)
