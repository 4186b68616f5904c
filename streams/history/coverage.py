"""Since when history exists, and in what order it is read back."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from statistics import median
from typing import Final

import polars as pl

from streams.archive import ArchiveTable

IMPORT_PREFIX: Final = "import:"
DAY_MS: Final = 86_400_000
_MINUTE_MS: Final = 60_000

# A late clearing or a wrong clock puts single rows on days long before the first real one.
_FULL_DAY_SHARE: Final = 0.1
# Rows that are sorted together; about 1 GB in memory.
SLICE_ROWS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class ImportedPart:
    """What one import has put into the archive so far. Times in epoch milliseconds UTC."""

    topic_id: str
    first_at: int
    last_at: int
    rows: int


def history_start(days: Mapping[date, int]) -> int | None:
    """Since when there is history, epoch milliseconds UTC, from the rows of each day; None when there is none.

    It is the first day that has at least a tenth of an ordinary day's rows.
    """
    if not days:
        return None
    enough = _FULL_DAY_SHARE * median(days.values())
    first = min(day for day, rows in days.items() if rows >= enough)
    return day_start(first)


def archived_days(table: ArchiveTable) -> dict[date, int]:
    """Rows of each day in the archive, from the table's log alone."""
    days: dict[date, int] = {}
    if table.exists():
        for file in table.files(table.open()):
            days[file.day] = days.get(file.day, 0) + file.rows
    return days


def imported_parts(table: ArchiveTable) -> list[ImportedPart]:
    """The imports in the archive, the earliest events first."""
    if not table.exists():
        return []
    found = (
        _scan(table)
        .filter(pl.col("topic_id").str.starts_with(IMPORT_PREFIX))
        .group_by("topic_id")
        .agg(first=pl.col("occurred_at").min(), last=pl.col("occurred_at").max(), rows=pl.len())
        .sort("first", "topic_id")
        .collect()
    )
    return [ImportedPart(*row) for row in found.iter_rows()]


def imported_rows(table: ArchiveTable, part: ImportedPart) -> Iterator[pl.DataFrame]:
    """An import's archive rows in log order over all partitions: event time, then event id."""
    rows = _scan(table).filter(pl.col("topic_id") == part.topic_id)
    for day in range(part.first_at // DAY_MS, part.last_at // DAY_MS + 1):
        yield from in_order(rows.filter(pl.col("event_day") == datetime.fromtimestamp(day * 86_400, UTC).date()))


def in_order(rows: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Rows by event time and event id, in pieces that fit into memory: whole minutes, about `SLICE_ROWS` rows."""
    minute = pl.col("occurred_at") // _MINUTE_MS
    minutes = rows.group_by(minute.alias("minute")).agg(rows=pl.len()).sort("minute").collect()
    pieces = (minutes["rows"].cum_sum() - minutes["rows"]) // SLICE_ROWS
    bounds = (
        minutes.with_columns(piece=pieces)
        .group_by("piece", maintain_order=True)
        .agg(low=pl.col("minute").first(), high=pl.col("minute").last())
    )
    for low, high in bounds.select("low", "high").iter_rows():
        # Times, not minutes, so that whole parts of files are left out by their statistics.
        at = pl.col("occurred_at").is_between(low * _MINUTE_MS, (high + 1) * _MINUTE_MS, closed="left")
        yield rows.filter(at).sort("occurred_at", "event_id").collect()


def day_start(day: date) -> int:
    """Midnight UTC of a day, epoch milliseconds."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000


def _scan(table: ArchiveTable) -> pl.LazyFrame:
    return pl.scan_delta(table.open(), storage_options=table.storage_options)
