"""The archive in an S3-compatible store: what it promises in a folder it promises there, races above all."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from archive_samples import DAY, NOW, TOPIC, make_columns, make_rows
from s3_server import S3Server

from fraud.settings import Settings
from streams.archive import ArchiveMaintenance, ArchiveRaceError, ArchiveReader, ArchiveTable, ArchiveWriter
from streams.objects import open_object_store

FIRST, LAST = date(2025, 10, 6), date(2025, 10, 9)


class S3Archive:
    """One archive in a bucket of its own, and the tables of any number of processes on it."""

    def __init__(self, server: S3Server) -> None:
        self.url = f"s3://{server.create_bucket()}/the/archive"
        self.options = server.storage_options

    def table(self) -> ArchiveTable:
        return ArchiveTable(self.url, self.options)

    def writer(self, first: int, stop: int, partition: int = 0, table: ArchiveTable | None = None) -> ArchiveWriter:
        """A worker that has taken the partition over and holds the rows of these offsets."""
        writer = ArchiveWriter(table or self.table())
        writer.begin(TOPIC, partition, first)
        writer.add(TOPIC, partition, make_rows(stop - first, first=first))
        return writer

    def offsets(self, partition: int = 0) -> list[int]:
        """What a reader finds, repetitions included."""
        parts = ArchiveReader(self.table()).rows_in_log_order(TOPIC, partition, 0, 10**9)
        return [offset for rows in parts for offset in rows.offsets.tolist()]

    def interrupted(self, happening: Callable[[], Any]) -> ArchiveTable:
        """A table where something happens between the check and the commit, once."""
        return _Interrupted(self.url, self.options, happening)


class _Interrupted(ArchiveTable):
    def __init__(self, url: str, options: dict[str, str], happening: Callable[[], Any]) -> None:
        super().__init__(url, options)
        self._happening: Callable[[], Any] | None = happening

    def write_file(self, *arguments: Any) -> Any:
        written = super().write_file(*arguments)
        happening, self._happening = self._happening, None
        if happening:
            happening()
        return written


@pytest.fixture
def archive(s3: S3Server) -> S3Archive:
    return S3Archive(s3)


@pytest.fixture
def four_days(archive: S3Archive) -> S3Archive:
    """Four days, three files each, 120 rows on seven cards."""
    writer = ArchiveWriter(archive.table())
    writer.begin(TOPIC, 0, 0)
    for first in range(0, 120, 40):
        occurred_at = NOW - (np.arange(40) % 4) * DAY
        writer.add(TOPIC, 0, make_rows(40, first=first, columns=make_columns(40, first=first, occurred_at=occurred_at)))
        writer.commit(TOPIC, 0, first + 40)
    return archive


def test_segments_are_what_they_say_and_come_back_in_order(archive: S3Archive) -> None:
    writer = archive.writer(0, 10)
    info = writer.commit(TOPIC, 0, 8)
    assert (info.rows, info.from_offset, info.upto_offset) == (8, 0, 8)
    store = open_object_store(archive.url, archive.options)
    for path, sha256 in zip(info.paths, info.sha256, strict=True):
        assert hashlib.sha256(b"".join(store.get(path))).hexdigest() == sha256
    writer.add(TOPIC, 0, make_rows(5, first=10))
    assert writer.commit(TOPIC, 0, 15).rows == 7
    assert writer.commit(TOPIC, 0, 15).rows == 0
    assert archive.offsets() == list(range(15))
    assert ArchiveReader(archive.table()).archived_offset(TOPIC, 0) == 15


def test_what_was_archived_is_as_it_was(archive: S3Archive, tmp_path: Path) -> None:
    """Column by column the same as the same rows in a folder."""
    archive.writer(0, 50).commit(TOPIC, 0, 50)
    local = ArchiveWriter(tmp_path)
    local.begin(TOPIC, 0, 0)
    local.add(TOPIC, 0, make_rows(50))
    local.commit(TOPIC, 0, 50)
    both = [
        ArchiveReader(table).scan(FIRST, LAST).collect().sort("offset").drop("archived_at", strict=False)
        for table in (archive.table(), ArchiveTable(tmp_path))
    ]
    assert both[0].equals(both[1])


def test_the_settings_reach_it(archive: S3Archive) -> None:
    settings = Settings(archive={"root": archive.url, "storage_options": archive.options})
    archive.writer(0, 5, table=ArchiveTable.from_settings(settings)).commit(TOPIC, 0, 5)
    assert archive.offsets() == list(range(5))


def test_a_replay_never_doubles_rows(archive: S3Archive) -> None:
    archive.writer(0, 10).commit(TOPIC, 0, 10)
    writer = ArchiveWriter(archive.table())
    assert writer.begin(TOPIC, 0, 4) == 10
    writer.add(TOPIC, 0, make_rows(9, first=4))
    assert writer.commit(TOPIC, 0, 13).rows == 3
    assert archive.offsets() == list(range(13))


def test_of_two_writers_of_one_partition_one_is_refused(archive: S3Archive) -> None:
    """A fenced owner that does not know it yet, and the new one: both have checked, then both commit."""
    archive.writer(0, 10).commit(TOPIC, 0, 10)
    new_owner = archive.writer(10, 25)
    fenced = archive.writer(10, 20, table=archive.interrupted(lambda: new_owner.commit(TOPIC, 0, 25)))
    with pytest.raises(ArchiveRaceError):
        fenced.commit(TOPIC, 0, 20)
    assert archive.offsets() == list(range(25))
    # Once it looks again there is nothing left for it to append.
    assert fenced.commit(TOPIC, 0, 20).rows == 0
    assert archive.offsets() == list(range(25))


def test_two_writers_at_the_same_moment_never_double_a_row(archive: S3Archive) -> None:
    """The same without a script: the store's own conditional put decides each round."""
    archive.writer(0, 1).commit(TOPIC, 0, 1)
    outcomes: list[str] = []
    for first in range(1, 31, 10):
        writers = [archive.writer(first, first + 10) for _ in range(2)]
        barrier = threading.Barrier(2)

        def commit(writer: ArchiveWriter, upto: int, barrier: threading.Barrier = barrier) -> None:
            barrier.wait()
            try:
                outcomes.append("appended" if writer.commit(TOPIC, 0, upto).rows else "nothing left")
            except ArchiveRaceError:
                outcomes.append("refused")

        threads = [threading.Thread(target=commit, args=(writer, first + 10)) for writer in writers]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert outcomes.count("appended") == 3
    assert len(outcomes) == 6
    assert archive.offsets() == list(range(31))


def test_writers_of_different_partitions_do_not_hinder_each_other(archive: S3Archive) -> None:
    ArchiveWriter(archive.table()).begin(TOPIC, 9, 0)
    writers = {partition: archive.writer(0, 30, partition) for partition in range(4)}
    failures: list[Exception] = []

    def commit(partition: int, writer: ArchiveWriter) -> None:
        try:
            for upto in (10, 20, 30):
                writer.commit(TOPIC, partition, upto)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test names it
            failures.append(error)

    threads = [threading.Thread(target=commit, args=item) for item in writers.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    for partition in writers:
        assert archive.offsets(partition) == list(range(30))


def test_two_processes_make_one_table(archive: S3Archive) -> None:
    barrier = threading.Barrier(3)
    failures: list[Exception] = []

    def make(partition: int) -> None:
        barrier.wait()
        try:
            archive.writer(0, 5, partition).commit(TOPIC, partition, 5)
        except Exception as error:  # noqa: BLE001 - whatever it is, the test names it
            failures.append(error)

    threads = [threading.Thread(target=make, args=(partition,)) for partition in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert [archive.offsets(partition) for partition in range(3)] == [list(range(5))] * 3


def test_compaction_keeps_every_row_and_sorts_by_card(four_days: S3Archive) -> None:
    before = ArchiveReader(four_days.table()).scan(FIRST, LAST).collect().sort("offset")
    done = ArchiveMaintenance(four_days.table()).compact()
    assert (done.days, done.files_before, done.files_after, done.rows) == (4, 12, 4, 120)
    assert ArchiveReader(four_days.table()).scan(FIRST, LAST).collect().sort("offset").equals(before)
    for uri in four_days.table().open().file_uris():
        keys = pl.read_parquet(uri, hive_partitioning=False, storage_options=four_days.options)["card_key"]
        assert keys.is_sorted()
        assert keys.n_unique() > 1


def test_compaction_beside_an_appending_worker(four_days: S3Archive) -> None:
    """It appends to the very day that is being compacted."""
    appending = ArchiveWriter(four_days.table())
    appending.begin(TOPIC, 0, 120)
    columns = make_columns(10, first=120, occurred_at=NOW - 3 * DAY)
    appending.add(TOPIC, 0, make_rows(10, first=120, columns=columns))
    table = four_days.interrupted(lambda: appending.commit(TOPIC, 0, 130))
    assert ArchiveMaintenance(table).compact().files_before == 12
    assert four_days.offsets() == list(range(130))


def test_of_two_compactions_one_is_refused_and_no_row_is_doubled(four_days: S3Archive) -> None:
    table = four_days.interrupted(lambda: ArchiveMaintenance(four_days.table()).compact())
    with pytest.raises(ArchiveRaceError):
        ArchiveMaintenance(table).compact()
    assert four_days.offsets() == list(range(120))


def test_retention_drops_whole_days_and_the_archived_offset_stays(four_days: S3Archive) -> None:
    maintenance = ArchiveMaintenance(four_days.table())
    assert maintenance.drop_before(date(2025, 10, 8)) == 6
    days = ArchiveReader(four_days.table()).scan(FIRST, LAST).collect()["event_day"].unique().to_list()
    assert sorted(days) == [date(2025, 10, 8), LAST]
    assert ArchiveWriter(four_days.table()).begin(TOPIC, 0, 0) == 120
    assert maintenance.vacuum(1) == []  # too young: somebody may be reading them


def test_only_the_days_and_cards_asked_for(four_days: S3Archive) -> None:
    columns = make_columns(120)
    wanted = np.unique(columns["card_key"])[[0, -1]]
    found = ArchiveReader(four_days.table()).scan(LAST, LAST, ["offset"], wanted).collect()["offset"].to_list()
    on_the_last_day = np.arange(120) % 4 == 0
    assert sorted(found) == np.flatnonzero(np.isin(columns["card_key"], wanted) & on_the_last_day).tolist()


def test_nothing_appended_is_lost_when_the_store_is_killed(archive: S3Archive, s3: S3Server) -> None:
    writer = archive.writer(0, 10)
    writer.commit(TOPIC, 0, 10)
    writer.add(TOPIC, 0, make_rows(5, first=10))
    s3.kill()
    s3.start()
    assert writer.commit(TOPIC, 0, 15).rows == 5
    assert archive.offsets() == list(range(15))
