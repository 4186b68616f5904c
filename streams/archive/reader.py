"""Reading the archive: by day and card, or in log order as the stream saw it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from streams.archive.rows import ArchiveRows, card_ref_text, from_frame
from streams.archive.schema import PARTITION_COLUMN, key_bits
from streams.archive.table import ArchiveTable

__all__ = ["ArchiveReader", "card_ref_text"]

# Offsets that are read and sorted at a time: about 250 MB of rows in memory.
_CHUNK_OFFSETS = 200_000


class ArchiveReader:
    """Reads the archive as it was when a method was called; whoever appends or compacts meanwhile does no harm."""

    def __init__(self, root: str | Path | ArchiveTable) -> None:
        self._table = root if isinstance(root, ArchiveTable) else ArchiveTable(root)

    def scan(
        self,
        from_day: date,
        to_day: date,
        columns: Sequence[str] | None = None,
        card_keys: NDArray[np.uint64] | None = None,
    ) -> pl.LazyFrame:
        """Rows of the days from `from_day` to `to_day`, both included, in no particular order.

        Only these days' files are opened. `card_keys` are 64 bits of a longer reference: two cards may share them, so
        compare `card_ref_text()` with the whole reference before a hit counts.

        Raises:
            NotFoundError: there is no archive yet.

        """
        frame = self._scan().filter(pl.col(PARTITION_COLUMN).is_between(from_day, to_day))
        if card_keys is not None:
            keys = pl.Series(key_bits(np.unique(card_keys)), dtype=pl.Int64)
            # The range lets whole row groups be skipped by their statistics; the list decides.
            low, high = (keys.min(), keys.max()) if len(keys) else (0, -1)
            frame = frame.filter(pl.col("card_key").is_between(low, high), pl.col("card_key").is_in(keys.implode()))
        return frame if columns is None else frame.select(columns)

    def rows_in_log_order(
        self, topic_id: str, partition: int, from_offset: int, to_offset: int, chunk: int = _CHUNK_OFFSETS
    ) -> Iterator[ArchiveRows]:
        """A partition's rows from `from_offset` to before `to_offset`, as the stream saw them, in pieces.

        Offsets without a row are duplicates, dead letters, the log's own records, or beyond the retention.
        """
        archived = self.archived_offset(topic_id, partition)
        if archived is None:
            return
        table = self._scan().filter(pl.col("partition") == partition, pl.col("topic_id") == topic_id)
        start, end = from_offset, min(to_offset, archived)
        while start < end:
            until = min(start + chunk, end)
            piece = table.filter(pl.col("offset").is_between(start, until, closed="left")).sort("offset").collect()
            if len(piece):
                yield from_frame(piece)
            start = until

    def archived_offset(self, topic_id: str, partition: int) -> int | None:
        """Everything of the partition below it is in the archive; None when nothing has been archived."""
        return self._table.archived_offset(topic_id, partition)

    def _scan(self) -> pl.LazyFrame:
        return pl.scan_delta(self._table.open(), storage_options=self._table.storage_options)
