"""Searching the archive for the rows of some cards: quickly, a few files at a time, in bounded memory.

Two looks at each file. The first reads only what finds a row: the card's 64-bit key, the time, and the place in the
log. The second reads whole transactions, of the cards that were found, in slices of a bounded number of rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np
import polars as pl
from deltalake import DeltaTable
from numpy.typing import NDArray

from streams.archive import ArchiveTable, key_bits
from streams.archive.schema import FILE_COLUMNS, PARTITION_COLUMN
from streams.archive.table import DataFile, application_id
from streams.history.coverage import IMPORT_PREFIX
from streams.history.identity import completion_application

SEARCHED_COLUMNS: Final = ("card_key", "occurred_at", "topic_id", "partition", "offset")
# Rows that are searched at a time: 40 bytes of each that is found stay in memory meanwhile.
CHUNK_ROWS: Final = 8_000_000
# Whole transactions in memory at a time: about 100 MB.
SLICE_ROWS: Final = 50_000

Place = tuple[str, int]  # topic id and partition
Bounds = Mapping[Place, tuple[int, int]]  # from offset, to offset (exclusive)


@dataclass(frozen=True, slots=True)
class Day:
    """The archive's files of one UTC day."""

    day: date
    files: tuple[DataFile, ...]

    @property
    def rows(self) -> int:
        """Rows in these files."""
        return sum(file.rows for file in self.files)


class ArchiveSearch:
    """The archive as it was at one moment, for one search after another.

    Args:
        table: the archive.
        handle: it as it is at this moment; None for one that does not exist yet, which holds nothing.
        card_keys: (n,) uint64 keys of the cards that are looked for.
        from_at: earlier transactions are not wanted, epoch milliseconds.

    """

    def __init__(
        self, table: ArchiveTable, handle: DeltaTable | None, card_keys: NDArray[np.uint64], from_at: int
    ) -> None:
        self._table = table
        self._handle = handle
        self._keys = pl.Series(np.unique(key_bits(card_keys)), dtype=pl.Int64)
        self._from_at = from_at

    def days(self) -> list[Day]:
        """The days that may hold what is wanted, in order.

        By the latest event of each file, not by its day: an event whose log timestamp is wrong lies under that one's.
        """
        if self._handle is None:
            return []
        listed = pl.DataFrame(self._handle.get_add_actions(flatten=True))
        if listed.is_empty():
            return []
        latest = pl.col("max.occurred_at")
        wanted = listed.filter(latest.is_null() | (latest >= self._from_at)).sort("path")
        columns = ("path", f"partition.{PARTITION_COLUMN}", "size_bytes", "num_records")
        by_day: dict[date, list[DataFile]] = {}
        for row in wanted.select(columns).iter_rows():
            file = DataFile(*row)
            by_day.setdefault(file.day, []).append(file)
        return [Day(day, tuple(files)) for day, files in sorted(by_day.items())]

    def rows_by_place(self, day: Day) -> dict[Place, int]:
        """How many rows of a day each partition has, whatever the cards. Imported histories count as one place each."""
        counts: dict[Place, int] = {}
        for files in _chunks(day.files):
            found = self._scan(files).group_by("topic_id", "partition").agg(pl.len()).collect(engine="streaming")
            for topic_id, partition, rows in found.iter_rows():
                place = place_of(topic_id, partition)
                counts[place] = counts.get(place, 0) + rows
        return counts

    def find(self, day: Day, bounds: Bounds) -> Iterator[pl.DataFrame]:
        """Whole rows of a day on the cards, within the bounds of their partitions, at most 50,000 at a time.

        Rows of partitions that are not in `bounds` are left out. A key is 64 bits of a longer reference: compare that.
        """
        if not bounds or not len(self._keys):
            return
        for files in _chunks(day.files):
            found = self.look(files)
            wanted = _within(found, bounds)
            for low, high in _slices(wanted["card_key"].sort()):
                keys = wanted.filter(pl.col("card_key").is_between(low, high))["card_key"].unique()
                rows = self._matching(self._scan(files), keys, low, high).select(FILE_COLUMNS)
                yield _within(rows.collect(), bounds)

    def look(self, files: Sequence[DataFile]) -> pl.DataFrame:
        """The first look: which rows are wanted, by `SEARCHED_COLUMNS` alone."""
        low, high = self._keys.min(), self._keys.max()
        return self._matching(self._scan(files), self._keys, low, high).select(SEARCHED_COLUMNS).collect()

    def _matching(self, frame: pl.LazyFrame, keys: pl.Series, low: Any, high: Any) -> pl.LazyFrame:
        # The range lets whole row groups be skipped by their statistics; the list decides.
        return frame.filter(
            pl.col("card_key").is_between(low, high),
            pl.col("card_key").is_in(keys.implode()),
            pl.col("occurred_at") >= self._from_at,
        )

    def _scan(self, files: Sequence[DataFile]) -> pl.LazyFrame:
        sources = [f"{self._table.uri}/{file.path}" for file in files]
        return pl.scan_parquet(sources, storage_options=self._table.storage_options, hive_partitioning=False)


def archived_offset(handle: DeltaTable | None, place: Place) -> int | None:
    """Everything of a partition below it is in the archive; None when the archive has never seen the partition."""
    return None if handle is None else handle.transaction_version(application_id(*place))


def import_is_complete(handle: DeltaTable | None, topic_id: str) -> bool:
    """True when all of an imported history is in the archive."""
    return handle is not None and handle.transaction_version(completion_application(topic_id)) is not None


def place_of(topic_id: str, partition: int) -> Place:
    """Under which place a row is searched: an imported history is one, whatever its partitions."""
    return (topic_id, -1) if topic_id.startswith(IMPORT_PREFIX) else (topic_id, partition)


def _within(found: pl.DataFrame, bounds: Bounds) -> pl.DataFrame:
    if not bounds or not len(found):
        return found.clear()
    table = pl.DataFrame(
        [(topic_id, partition, *limits) for (topic_id, partition), limits in bounds.items()],
        schema={"topic_id": pl.String, "_place": pl.Int32, "_from": pl.Int64, "_to": pl.Int64},
        orient="row",
    )
    imported = pl.col("topic_id").str.starts_with(IMPORT_PREFIX)
    placed = found.with_columns(
        pl.when(imported).then(pl.lit(-1)).otherwise(pl.col("partition")).cast(pl.Int32).alias("_place")
    )
    joined = placed.join(table, on=["topic_id", "_place"], how="inner")
    inside = joined.filter(imported | pl.col("offset").is_between(pl.col("_from"), pl.col("_to"), closed="left"))
    return inside.select(found.columns)


def _chunks(files: Sequence[DataFile]) -> Iterator[list[DataFile]]:
    """Files in groups of about `CHUNK_ROWS` rows, at least one each."""
    chunk: list[DataFile] = []
    for file in files:
        if chunk and sum(item.rows for item in chunk) + file.rows > CHUNK_ROWS:
            yield chunk
            chunk = []
        chunk.append(file)
    if chunk:
        yield chunk


def _slices(sorted_keys: pl.Series) -> Iterator[tuple[int, int]]:
    """Ranges of card keys, both ends included, with about `SLICE_ROWS` of the rows each; a card is never divided."""
    start = 0
    while start < len(sorted_keys):
        end = min(start + SLICE_ROWS, len(sorted_keys)) - 1
        high = int(sorted_keys[end])
        yield int(sorted_keys[start]), high
        start = int(sorted_keys.search_sorted(high, side="right"))
