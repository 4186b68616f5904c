"""Compaction, retention and vacuum change files and never rows, whoever else is at work."""

from __future__ import annotations

import os
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from archive_samples import DAY, NOW, TOPIC, make_columns, make_rows
from test_archive_writer import InterruptedTable, archived, writer_with

from fraud.errors import InvalidInputError
from streams.archive import ArchiveMaintenance, ArchiveRaceError, ArchiveReader, ArchiveTable, ArchiveWriter

FIRST, LAST = date(2025, 10, 6), date(2025, 10, 9)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four days, three files each, 120 rows on seven cards."""
    writer = ArchiveWriter(tmp_path)
    writer.begin(TOPIC, 0, 0)
    for first in range(0, 120, 40):
        occurred_at = NOW - (np.arange(40) % 4) * DAY
        writer.add(TOPIC, 0, make_rows(40, first=first, columns=make_columns(40, first=first, occurred_at=occurred_at)))
        writer.commit(TOPIC, 0, first + 40)
    return tmp_path


def content(root: Any) -> pl.DataFrame:
    return ArchiveReader(root).scan(date(2000, 1, 1), date(2100, 1, 1)).collect().sort("offset")


def test_compaction_keeps_every_row_and_sorts_by_card(root: Path) -> None:
    before = content(root)
    done = ArchiveMaintenance(root).compact()
    assert (done.days, done.files_before, done.files_after, done.rows) == (4, 12, 4, 120)
    assert content(root).equals(before)
    assert archived(root) == list(range(120))
    for uri in ArchiveTable(root).open().file_uris():
        keys = pl.read_parquet(uri, hive_partitioning=False)["card_key"]
        assert keys.is_sorted()
        assert keys.n_unique() > 1
    again = ArchiveMaintenance(root).compact()
    assert (again.days, again.files_before) == (0, 0)


def test_compaction_leaves_large_files_alone(root: Path) -> None:
    """Ten rows a file: with a target of 20 each file is large, with 21 two go together and the third stays."""
    assert ArchiveMaintenance(root).compact(20).files_before == 0
    done = ArchiveMaintenance(root).compact(22)
    assert (done.files_before, done.files_after) == (8, 4)


def test_compaction_beside_an_appending_worker(root: Path) -> None:
    """It appends to the very day that is being compacted."""
    appending = ArchiveWriter(root)
    appending.begin(TOPIC, 0, 120)
    columns = make_columns(10, first=120, occurred_at=NOW - 3 * DAY)
    appending.add(TOPIC, 0, make_rows(10, first=120, columns=columns))
    table = InterruptedTable(root, lambda: appending.commit(TOPIC, 0, 130))
    assert ArchiveMaintenance(table).compact().files_before == 12
    assert archived(root) == list(range(130))
    assert ArchiveMaintenance(root).summary().files == 5


def test_an_append_beside_a_compaction(root: Path) -> None:
    table = InterruptedTable(root, lambda: ArchiveMaintenance(root).compact())
    assert writer_with(table, 120, 130).commit(TOPIC, 0, 130).rows == 10
    assert ArchiveMaintenance(root).summary().files == 5
    assert archived(root) == list(range(130))


def test_of_two_compactions_one_is_refused_and_no_row_is_doubled(root: Path) -> None:
    table = InterruptedTable(root, lambda: ArchiveMaintenance(root).compact())
    with pytest.raises(ArchiveRaceError):
        ArchiveMaintenance(table).compact()
    assert archived(root) == list(range(120))


def test_what_retention_dropped_does_not_come_back_by_a_compaction(root: Path) -> None:
    table = InterruptedTable(root, lambda: ArchiveMaintenance(root).drop_before(LAST))
    with pytest.raises(ArchiveRaceError):
        ArchiveMaintenance(table).compact()
    assert content(root)["event_day"].unique().to_list() == [LAST]


def test_retention_drops_whole_days(root: Path) -> None:
    maintenance = ArchiveMaintenance(root)
    assert maintenance.drop_before(date(2025, 10, 8), dry_run=True) == 6
    assert len(content(root)) == 120
    assert maintenance.drop_before(date(2025, 10, 8)) == 6
    assert maintenance.drop_before(date(2025, 10, 8)) == 0
    assert sorted(content(root)["event_day"].unique().to_list()) == [date(2025, 10, 8), LAST]
    # The archived offset stays, so that nothing that was dropped is appended again.
    assert ArchiveWriter(root).begin(TOPIC, 0, 0) == 120


def test_vacuum_keeps_what_a_reader_may_still_read(root: Path) -> None:
    maintenance = ArchiveMaintenance(root)
    reading = ArchiveReader(root).scan(FIRST, LAST)
    maintenance.compact()
    assert maintenance.vacuum(1) == []
    assert len(reading.collect()) == 120
    with pytest.raises(InvalidInputError) as caught:
        maintenance.vacuum(0)
    assert caught.value.field == "hours"


def test_vacuum_never_deletes_a_visible_file(root: Path) -> None:
    long_ago = NOW / 1000
    for path in root.glob("event_day=*/*.parquet"):
        os.utime(path, (long_ago, long_ago))
    assert ArchiveMaintenance(root).vacuum(1) == []
    assert len(content(root)) == 120


def test_the_summary_adds_up(root: Path) -> None:
    summary = ArchiveMaintenance(root).summary()
    files = list(root.glob("event_day=*/*.parquet"))
    assert (summary.days, summary.first_day, summary.last_day) == (4, FIRST, LAST)
    assert (summary.files, summary.rows) == (len(files), 120)
    assert summary.size_bytes == sum(path.stat().st_size for path in files)


class TestScan:
    def test_only_the_days_asked_for(self, root: Path) -> None:
        found = ArchiveReader(root).scan(date(2025, 10, 7), date(2025, 10, 8)).collect()
        assert sorted(found["event_day"].unique().to_list()) == [date(2025, 10, 7), date(2025, 10, 8)]
        assert len(found) == 60

    def test_files_of_other_days_are_not_opened(self, root: Path) -> None:
        for path in root.glob("event_day=*/*.parquet"):
            if "2025-10-09" not in str(path):
                path.write_bytes(b"not to be read")
        assert len(ArchiveReader(root).scan(LAST, LAST).collect()) == 30

    def test_a_day_without_files_is_empty(self, root: Path) -> None:
        assert len(ArchiveReader(root).scan(date(2024, 1, 1), date(2024, 1, 2)).collect()) == 0

    def test_exactly_the_cards_asked_for_small_or_compacted(self, root: Path) -> None:
        columns = make_columns(120)
        wanted = np.unique(columns["card_key"])[[0, -1, 2]]  # unsigned keys beyond 2^63 are among them
        assert wanted.max() >= 2**63
        expected = np.flatnonzero(np.isin(columns["card_key"], wanted)).tolist()
        for _ in range(2):
            scan = ArchiveReader(root).scan(FIRST, LAST, ["offset"], wanted)
            assert sorted(scan.collect()["offset"].to_list()) == expected
            ArchiveMaintenance(root).compact()

    def test_no_card_asked_for_finds_nothing(self, root: Path) -> None:
        assert len(ArchiveReader(root).scan(FIRST, LAST, card_keys=np.zeros(0, np.uint64)).collect()) == 0

    def test_log_order_in_any_pieces_after_compaction(self, root: Path) -> None:
        ArchiveMaintenance(root).compact()
        for chunk in (1, 7, 1_000):
            parts = ArchiveReader(root).rows_in_log_order(TOPIC, 0, 13, 77, chunk)
            assert [offset for rows in parts for offset in rows.offsets.tolist()] == list(range(13, 77))
        assert list(ArchiveReader(root).rows_in_log_order("another-topic", 0, 0, 120)) == []
