"""Keeping the archive in shape: small files become large ones, old days go, and leftovers are removed.

All of it may run while workers append. Two runs of maintenance at once are refused: Delta does not notice that two
compactions replace the same files (measured: both are accepted, and the rows are there twice), so every change made
here carries an application transaction of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Final

import polars as pl
from deltalake import DeltaTable

from fraud.errors import InvalidInputError
from streams.archive.table import Action, ArchiveTable, DataFile, remove_action

_APPLICATION: Final = "mimamori/maintenance"
# Rows of a large file: about 150 MB, and two gigabytes in memory while it is made.
TARGET_ROWS: Final = 2_000_000
SORT_ORDER: Final = ("card_key", "topic_id", "partition", "offset")
# Readers and writers that are at work must be done by then; a worker that hangs for a week has been ended long ago.
VACUUM_HOURS: Final = 168


@dataclass(frozen=True, slots=True)
class ArchiveSummary:
    """Size and extent of the archive. `first_day` and `last_day` are None when it is empty."""

    version: int
    days: int
    first_day: date | None
    last_day: date | None
    files: int
    rows: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Compaction:
    """What a compaction did."""

    days: int
    files_before: int
    files_after: int
    rows: int


class ArchiveMaintenance:
    """Compaction, retention and vacuum, each safe beside appending workers and readers."""

    def __init__(self, root: str | Path | ArchiveTable) -> None:
        self._table = root if isinstance(root, ArchiveTable) else ArchiveTable(root)

    def summary(self) -> ArchiveSummary:
        """Size and extent, from the table's log alone."""
        handle = self._table.open()
        files = self._table.files(handle)
        days = {file.day for file in files}
        return ArchiveSummary(
            version=handle.version(),
            days=len(days),
            first_day=min(days, default=None),
            last_day=max(days, default=None),
            files=len(files),
            rows=sum(file.rows for file in files),
            size_bytes=sum(file.size for file in files),
        )

    def compact(self, target_rows: int = TARGET_ROWS) -> Compaction:
        """Merge each day's small files (below half of `target_rows`) into files sorted by card.

        One commit a day, so that a stop in between loses little.

        Raises:
            ArchiveRaceError: another run of maintenance was first; what this one had not finished stays as it was.

        """
        done = Compaction(0, 0, 0, 0)
        for day in sorted({file.day for file in self._table.files(self._table.open())}):
            done = self._compact_day(day, target_rows, done)
        return done

    def drop_before(self, day: date, *, dry_run: bool = False) -> int:
        """Remove the days before `day` from the table; the number of files. `vacuum` then deletes them.

        Raises:
            ArchiveRaceError: another run of maintenance was first.

        """
        handle = self._table.open()
        old = [file for file in self._table.files(handle) if file.day < day]
        if old and not dry_run:
            self._commit(handle, [remove_action(file, data_change=True) for file in old])
        return len(old)

    def vacuum(self, hours: int = VACUUM_HOURS, *, dry_run: bool = False) -> list[str]:
        """Delete files that have been invisible, or were never made visible, for `hours`; their paths.

        Files younger than that stay: somebody may be about to commit or still be reading them.
        """
        if hours < 1:
            message = "at least one hour: younger files may belong to a commit or a reader at work"
            raise InvalidInputError(message, field="hours")
        handle = self._table.open()
        found = handle.vacuum(hours, dry_run=dry_run, enforce_retention_duration=False, full=True)
        return sorted(set(found))

    def _compact_day(self, day: date, target_rows: int, done: Compaction) -> Compaction:
        # Opened anew for each day: which files there are, and the check of who else was here, must be of one moment.
        handle = self._table.open()
        files = [file for file in self._table.files(handle) if file.day == day and file.rows < target_rows // 2]
        groups = [group for group in _packed(files, target_rows) if len(group) > 1]
        if not groups:
            return done
        self._commit(handle, [action for group in groups for action in self._merged(group)])
        return Compaction(
            days=done.days + 1,
            files_before=done.files_before + sum(map(len, groups)),
            files_after=done.files_after + len(groups),
            rows=done.rows + sum(file.rows for group in groups for file in group),
        )

    def _merged(self, files: Sequence[DataFile]) -> list[Action]:
        """The actions that put one file, sorted by card, in the place of a day's several."""
        sources = [f"{self._table.uri}/{file.path}" for file in files]
        scan = pl.scan_parquet(sources, storage_options=self._table.storage_options, hive_partitioning=False)
        _, action = self._table.write_file(scan.sort(SORT_ORDER).collect(), files[0].day, "compacted")
        action.data_change = False
        return [action, *(remove_action(file, data_change=False) for file in files)]

    def _commit(self, handle: DeltaTable, actions: Sequence[Action]) -> None:
        previous = handle.transaction_version(_APPLICATION) or 0
        self._table.commit(handle, actions, _APPLICATION, previous + 1)


def _packed(files: Sequence[DataFile], target_rows: int) -> list[list[DataFile]]:
    """Files in groups of at most `target_rows` rows."""
    groups: list[list[DataFile]] = []
    room = 0
    for file in files:
        if file.rows > room:
            groups.append([])
            room = target_rows
        groups[-1].append(file)
        room -= file.rows
    return groups
