"""The archive's one table of columns, and the rules that everything else of the archive follows.

Missing is null, never a sentinel. Enumerations, countries, currencies and merchant category groups are stored as the
contract spells them: measured on simulated traffic, a dictionary-encoded string takes the same space as a small
integer (within 0.01 bytes a row), and anybody can read it. Delta has no unsigned integers, so 64-bit keys and digests
are stored by their bits: the signed number has the same 64 bits as the unsigned one (two's complement).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
from deltalake import Field as DeltaField
from deltalake import Schema
from deltalake.schema import PrimitiveType
from numpy.typing import NDArray

from fraud.transactions import FIELDS, Kind

# Raised with every change of `ARCHIVE_COLUMNS`; a table of another version is refused.
ARCHIVE_VERSION: Final = 1

DAY_MS: Final = 86_400_000
# An event may be this far from the day on which it was logged and still have a day of its own: clearing and disputes
# come months later, and anything beyond is a wrong clock or hostile, and must not make partitions.
MAX_DAYS_BEFORE_LOGGED: Final = 400
MAX_DAYS_AFTER_LOGGED: Final = 1
# No card stream is older; an earlier log timestamp is a broken or hostile producer's.
_FIRST_LOGGED_DAY: Final = 10_957  # 2000-01-01, days since 1970-01-01

PARTITION_COLUMN: Final = "event_day"

POLARS_TYPES: Final[Mapping[str, Any]] = {
    "boolean": pl.Boolean,
    "byte": pl.Int8,
    "short": pl.Int16,
    "integer": pl.Int32,
    "long": pl.Int64,
    "float": pl.Float32,
    "double": pl.Float64,
    "string": pl.String,
    "binary": pl.Binary,
    "date": pl.Date,
}

_KIND_TYPES: Final[Mapping[Kind, str]] = {
    Kind.IDENTIFIER: "string",
    Kind.TEXT: "string",
    Kind.ENUM: "string",
    Kind.INTEGER: "long",
    Kind.TIMESTAMP: "long",
    Kind.BOOLEAN: "boolean",
    Kind.COUNTRY: "string",
    Kind.CURRENCY: "string",
    Kind.DIGITS: "short",
    Kind.NUMBER: "double",
}


@dataclass(frozen=True, slots=True)
class ArchiveColumn:
    """One column; `type` is a primitive type of the Delta protocol."""

    name: str
    type: str
    meaning: str


_CARD = (
    ArchiveColumn("card_key", "long", "first 64 bits of the card reference, by their bits; files are sorted by it"),
    ArchiveColumn("card_ref_prefix", "string", "`v1` and so on: the key version of a keyed hash; `x`: issuer's own id"),
    ArchiveColumn("card_ref", "binary", "the 32 bytes of the keyed hash; for `x` the id in UTF-8"),
)
_EVENT = tuple(
    ArchiveColumn(field.name, _KIND_TYPES[field.kind], field.meaning) for field in FIELDS if field.name != "card_ref"
)
_DERIVED = (
    ArchiveColumn("merchant_key", "long", "64-bit digest of (acquirer, merchant), by its bits; null is missing"),
    ArchiveColumn("amount", "double", "minor units of the portfolio's currency; null where unknown"),
    ArchiveColumn("mcc_group", "string", "group of the merchant category code"),
    ArchiveColumn("clamped", "boolean", "`occurred_at` was outside the accepted range and was clamped"),
)
_OUTCOME = (
    ArchiveColumn("probability", "float", "fraud probability in [0, 1]; null where no model gave one"),
    ArchiveColumn("anomaly", "float", "anomaly score in [0, 1]; null where no model gave one"),
    ArchiveColumn("exposure_tier", "byte", "exposure tier of the card at that time, 1 to 5; 0 is unexposed"),
    ArchiveColumn("reference_set", "long", "id of what the row was scored and decided under"),
    ArchiveColumn("features_digest", "long", "64-bit digest of the served feature vector, by its bits"),
)
_LOG = (
    ArchiveColumn("topic_id", "string", "the broker's id of the topic"),
    ArchiveColumn("partition", "integer", "partition of the topic"),
    ArchiveColumn("offset", "long", "offset in the partition"),
    ArchiveColumn("logged_at", "long", "the record's own timestamp in the log, epoch milliseconds UTC"),
)

ARCHIVE_COLUMNS: Final[tuple[ArchiveColumn, ...]] = (
    *_CARD,
    *_EVENT,
    *_DERIVED,
    *_OUTCOME,
    *_LOG,
    ArchiveColumn(
        PARTITION_COLUMN,
        "date",
        f"UTC day of `occurred_at`; the logged day when that is more than {MAX_DAYS_BEFORE_LOGGED} days before or "
        f"{MAX_DAYS_AFTER_LOGGED} day after it. The table is partitioned by it",
    ),
)

# What a Parquet file holds: a partition's value is in its path only.
FILE_COLUMNS: Final[tuple[str, ...]] = tuple(item.name for item in ARCHIVE_COLUMNS if item.name != PARTITION_COLUMN)
# Columns with their smallest and largest value in the table's log, so that readers of any kind skip files.
STATISTICS_COLUMNS: Final[tuple[str, ...]] = ("card_key", "occurred_at", "partition", "offset")


def delta_schema() -> Schema:
    """The schema as Delta knows it. Every column may be null there: a rule of ours is no rule of other writers."""
    return Schema([DeltaField(item.name, PrimitiveType(item.type)) for item in ARCHIVE_COLUMNS])


def key_bits(keys: NDArray[np.uint64]) -> NDArray[np.int64]:
    """(n,) unsigned 64-bit keys as the archive has them: the signed numbers with the same bits."""
    return np.ascontiguousarray(keys, dtype=np.uint64).view(np.int64)


def keys_from_bits(bits: NDArray[np.int64]) -> NDArray[np.uint64]:
    """The inverse of `key_bits`."""
    return np.ascontiguousarray(bits, dtype=np.int64).view(np.uint64)


def event_days(occurred_at: NDArray[np.int64], logged_at: NDArray[np.int64], now_ms: int) -> NDArray[np.int32]:
    """(n,) partition days, in days since 1970-01-01, from epoch milliseconds.

    Hostile times make no partitions: an event far from its logged day goes to that day, and a logged day before 2000
    or after tomorrow counts as today.
    """
    today = now_ms // DAY_MS
    logged = logged_at // DAY_MS
    logged = np.where((logged < _FIRST_LOGGED_DAY) | (logged > today + 1), today, logged)
    day = occurred_at // DAY_MS
    far = (day < logged - MAX_DAYS_BEFORE_LOGGED) | (day > logged + MAX_DAYS_AFTER_LOGGED)
    return np.where(far, logged, day).astype(np.int32)
