"""The first half of an import: files of any order become days that can be sorted, and duplicates are found.

Everything lies in the import's own folder, in the archive's own columns: references, never card numbers. A file that
was split is not read again after a stop; one that was not finished is.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl

from fraud.transactions import FIELD_BY_NAME
from models.files import replacing
from streams.archive import ArchiveRows
from streams.archive.rows import to_frame
from streams.history.decoding import DecodedRows, HistoryDecoder, Reject, Tally
from streams.history.mapping import HistoryMapping

Progress = Callable[[str, int], None]  # what is being done, and rows done since the last call

DUPLICATE: Final = "DUPLICATE"
REUSED: Final = "EVENT_ID_REUSED"

# Rows in memory before they are written by day: long enough files, about 500 MB.
_BUFFER_ROWS: Final = 500_000
_ID_ROWS: Final = 5_000_000  # event ids that are compared at a time
_CONTENT: Final = (*FIELD_BY_NAME, "card_ref_prefix")


@dataclass(frozen=True, slots=True)
class Plan:
    """What a split import consists of: rows by day, duplicates taken off, and all that was left out."""

    days: Mapping[date, int]
    tally: Tally
    duplicates: int
    first_at: int | None
    last_at: int | None


class Splitter:
    """Splits the files of one import into its folder."""

    def __init__(self, folder: Path, mapping: HistoryMapping, decoder: HistoryDecoder, topic_id: str) -> None:
        self._folder = folder
        self._mapping = mapping
        self._decoder = decoder
        self._topic_id = topic_id

    def plan(self, progress: Progress) -> Plan:
        """The plan, made now if it is not there yet."""
        path = self._folder / "plan.json"
        if not path.exists():
            for file in range(len(self._mapping.files.paths)):
                if not self._marker(file).exists():
                    self._split(file, progress)
            progress("looking for duplicates", 0)
            self._find_duplicates()
            _write_json(path, self._planned())
        plan = self.read_plan(self._folder)
        assert plan is not None  # noqa: S101 - written just now
        return plan

    @staticmethod
    def read_plan(folder: Path) -> Plan | None:
        """The plan of an import's folder; None before it is made."""
        path = folder / "plan.json"
        if not path.exists():
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
        return Plan(
            {date.fromisoformat(day): rows for day, rows in found["days"].items()},
            Tally.from_json(found["tally"]),
            found["duplicates"],
            found["first_at"],
            found["last_at"],
        )

    def rows(self, day: date) -> pl.LazyFrame:
        """A day's rows without duplicates, in no order: the archive's columns, `file` and `row`."""
        rows = pl.scan_parquet(self._folder / "rows" / day.isoformat() / "*.parquet")
        dropped = self._dropped().filter(pl.col("day") == day)
        return rows.join(dropped, on=["file", "row"], how="anti")

    def _split(self, file: int, progress: Progress) -> None:
        for leftover in self._folder.glob(f"rows/*/{file:05d}-*.parquet"):
            leftover.unlink()
        for leftover in self._folder.glob(f"ids/{file:05d}-*.parquet"):
            leftover.unlink()
        name = self._mapping.files.paths[file].name
        tally, part = Tally(), 0
        pending: list[pl.DataFrame] = []
        with self._rejects(file) as rejected:
            for batch in self._decoder.read(file):
                rejected.writerows(_lines(batch.rejects, name))
                tally.add(batch.tally)
                pending.append(self._frame(file, batch))
                progress(name, batch.tally.rows)
                if sum(map(len, pending)) >= _BUFFER_ROWS:
                    self._write(file, part, pending)
                    part += 1
            self._write(file, part, pending)
        _write_json(self._marker(file), tally.as_json())

    def _frame(self, file: int, batch: DecodedRows) -> pl.DataFrame:
        n = len(batch.columns)
        rows = ArchiveRows(
            columns=batch.columns,
            offsets=batch.rows,
            logged_at=batch.columns["occurred_at"],
            probability=np.full(n, np.nan, np.float32),
            anomaly=np.full(n, np.nan, np.float32),
            tiers=np.zeros(n, np.int8),
            digests=np.zeros(n, np.uint64),
            reference_set_ids=np.zeros(n, np.int64),
        )
        # The clock decides about days only where the log's time is impossible, and such rows have been refused.
        frame = to_frame(rows, self._topic_id, 0, int(batch.columns["occurred_at"].max()) if n else 0)
        content = frame.select(_CONTENT).hash_rows(seed=0)
        return frame.with_columns(
            pl.lit(file, pl.Int32).alias("file"),
            pl.Series("row", batch.rows, dtype=pl.Int64),
            content.alias("content"),
        )

    def _write(self, file: int, part: int, pending: list[pl.DataFrame]) -> None:
        frame = pl.concat(pending) if pending else pl.DataFrame()
        pending.clear()
        if frame.is_empty():
            return
        ids = frame.select("event_id", "occurred_at", "file", "row", "content", day="event_day")
        _write_parquet(ids, self._folder / "ids" / f"{file:05d}-{part:05d}.parquet")
        for (day,), rows in frame.drop("content").partition_by("event_day", as_dict=True).items():
            _write_parquet(rows, self._folder / "rows" / day.isoformat() / f"{file:05d}-{part:05d}.parquet")

    def _find_duplicates(self) -> None:
        """Of rows with one event id the earliest stays; of several at one time, the one that was read first."""
        ids = self._ids()
        parts = max(1, -(-ids.select(pl.len()).collect().item() // _ID_ROWS))
        order = ["event_id", "occurred_at", "file", "row"]
        for part in range(parts):
            several = (
                ids.filter(pl.col("event_id").hash(0) % parts == part)
                .filter(pl.len().over("event_id") > 1)
                .sort(order)
                .with_columns(
                    first=pl.int_range(pl.len()).over("event_id") == 0,
                    same=pl.col("content") == pl.col("content").first().over("event_id"),
                )
                .filter(~pl.col("first"))
                .select("day", "file", "row", "same")
                .collect()
            )
            _write_parquet(several, self._folder / "dropped" / f"{part:05d}.parquet")

    def _planned(self) -> dict[str, Any]:
        dropped = self._dropped().collect()
        days = self._ids().group_by("day").agg(rows=pl.len()).collect()
        times = self._ids().select(first=pl.col("occurred_at").min(), last=pl.col("occurred_at").max()).collect()
        fewer = Counter(dropped["day"].to_list())
        tally = Tally()
        for file in range(len(self._mapping.files.paths)):
            tally.add(Tally.from_json(json.loads(self._marker(file).read_text(encoding="utf-8"))))
        reused = dropped.filter(~pl.col("same"))
        names = [path.name for path in self._mapping.files.paths]
        again = [Reject(file, row, REUSED, "event_id") for file, row in reused.select("file", "row").iter_rows()]
        with self._rejects(len(names)) as rejected:
            for item in sorted(again):
                rejected.writerows(_lines([item], names[item.file]))
        if again:
            tally.rejected[REUSED] += len(again)
        tally.accepted -= len(dropped)
        kept = {day: rows - fewer[day] for day, rows in days.iter_rows()}
        return {
            "days": {day.isoformat(): rows for day, rows in sorted(kept.items()) if rows},
            "tally": tally.as_json(),
            "duplicates": len(dropped) - len(again),
            "first_at": times["first"].item(),
            "last_at": times["last"].item(),
        }

    def _rejects(self, file: int) -> AbstractContextManager[Any]:
        return _csv_file(self._folder / "rejected" / f"{file:05d}.csv")

    def _ids(self) -> pl.LazyFrame:
        paths = sorted(self._folder.glob("ids/*.parquet"))
        if not paths:
            schema = {"event_id": pl.String, "occurred_at": pl.Int64, "file": pl.Int32, "row": pl.Int64}
            return pl.LazyFrame(schema=schema | {"content": pl.UInt64, "day": pl.Date})
        return pl.scan_parquet(paths)

    def _dropped(self) -> pl.LazyFrame:
        return pl.scan_parquet(self._folder / "dropped" / "*.parquet")

    def _marker(self, file: int) -> Path:
        return self._folder / "split" / f"{file:05d}.json"


def join_rejects(folder: Path) -> Path:
    """All rejects of an import in one file: file name, row, reason, field. Never a value."""
    target = folder / "rejected.csv"
    with replacing(target) as file:
        file.write(b"file,row,reason,field\n")
        for part in sorted(folder.glob("rejected/*.csv")):
            file.write(part.read_bytes())
    return target


def _lines(rejects: Sequence[Reject], name: str) -> list[tuple[Any, ...]]:
    return [(name, item.row, item.reason, item.field or "") for item in rejects]


@contextmanager
def _csv_file(path: Path) -> Iterator[Any]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        yield csv.writer(file, lineterminator="\n")


def _write_parquet(frame: pl.DataFrame, path: Path) -> None:
    with replacing(path) as file:
        frame.write_parquet(file)


def _write_json(path: Path, content: Any) -> None:
    with replacing(path) as file:
        file.write(json.dumps(content, indent=1).encode())


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """What was written of an import when it began; None before."""
    path = folder / "manifest.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Remember what an import was begun with."""
    _write_json(folder / "manifest.json", content)
