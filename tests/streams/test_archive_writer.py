"""Rows get into the archive once: through repetition, replay, races and crashes."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from archive_samples import DAY, NOW, TOPIC, make_columns, make_rows
from deltalake import DeltaTable

from fraud.errors import ConfigurationError, NotFoundError
from streams.archive import (
    ArchiveError,
    ArchiveMaintenance,
    ArchiveRaceError,
    ArchiveReader,
    ArchiveTable,
    ArchiveWriter,
)
from streams.archive.schema import delta_schema


def archived(root: Any, partition: int = 0) -> list[int]:
    """The offsets that a reader finds, repetitions included."""
    parts = ArchiveReader(root).rows_in_log_order(TOPIC, partition, 0, 10**9)
    return [offset for rows in parts for offset in rows.offsets.tolist()]


def writer_with(table: Path | ArchiveTable, first: int, stop: int, partition: int = 0) -> ArchiveWriter:
    writer = ArchiveWriter(table)
    writer.begin(TOPIC, partition, first)
    writer.add(TOPIC, partition, make_rows(stop - first, first=first))
    return writer


def raising(error: Exception) -> Callable[..., Any]:
    """A call that fails."""

    def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


class InterruptedTable(ArchiveTable):
    """A table where something happens between the check and the commit, once."""

    def __init__(self, root: Path, happening: Callable[[], Any]) -> None:
        super().__init__(root)
        self._happening: Callable[[], Any] | None = happening

    def write_file(self, *arguments: Any) -> Any:
        written = super().write_file(*arguments)
        happening, self._happening = self._happening, None
        if happening:
            happening()
        return written


@pytest.fixture(params=["folder", "url"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A folder, and the same by a URL: the way that an object store goes."""
    if request.param == "folder":
        return str(tmp_path / "archive")
    (tmp_path / "archive").mkdir()
    return f"file://{tmp_path}/archive"


def test_segments_follow_each_other_and_say_what_they_hold(root: str, tmp_path: Path) -> None:
    writer = writer_with(root, 0, 10)  # type: ignore[arg-type]
    info = writer.commit(TOPIC, 0, 8)
    assert (info.rows, info.from_offset, info.upto_offset, writer.buffered_rows) == (8, 0, 8, 2)
    for path, sha256 in zip(info.paths, info.sha256, strict=True):
        assert hashlib.sha256((tmp_path / "archive" / path).read_bytes()).hexdigest() == sha256
    writer.add(TOPIC, 0, make_rows(5, first=10))
    assert writer.commit(TOPIC, 0, 15).rows == 7
    assert archived(root) == list(range(15))
    assert ArchiveReader(root).archived_offset(TOPIC, 0) == 15
    assert ArchiveReader(root).archived_offset(TOPIC, 1) is None


def test_the_same_commit_twice_is_done_once(tmp_path: Path) -> None:
    writer = writer_with(tmp_path, 0, 10)
    writer.commit(TOPIC, 0, 10)
    version = ArchiveMaintenance(tmp_path).summary().version
    again = writer.commit(TOPIC, 0, 10)
    assert (again.paths, again.rows, again.upto_offset) == ((), 0, 10)
    assert ArchiveMaintenance(tmp_path).summary().version == version
    assert archived(tmp_path) == list(range(10))


def test_a_replay_never_doubles_rows(tmp_path: Path) -> None:
    """The segment is archived, the checkpoint's row is not: the next owner replays from the one before."""
    writer_with(tmp_path, 0, 10).commit(TOPIC, 0, 10)
    writer = ArchiveWriter(tmp_path)
    assert writer.begin(TOPIC, 0, 4) == 10
    writer.add(TOPIC, 0, make_rows(3, first=4))
    assert writer.buffered_rows == 0
    writer.add(TOPIC, 0, make_rows(6, first=7))
    assert writer.commit(TOPIC, 0, 13).rows == 3
    assert archived(tmp_path) == list(range(13))


def test_a_checkpoint_without_rows_moves_the_archived_offset(tmp_path: Path) -> None:
    writer = writer_with(tmp_path, 0, 3)
    writer.commit(TOPIC, 0, 3)
    assert writer.commit(TOPIC, 0, 9).paths == ()
    assert ArchiveReader(tmp_path).archived_offset(TOPIC, 0) == 9
    assert ArchiveWriter(tmp_path).begin(TOPIC, 0, 9) == 9


def test_a_gap_is_refused(tmp_path: Path) -> None:
    writer_with(tmp_path, 0, 3).commit(TOPIC, 0, 3)
    with pytest.raises(ArchiveError, match="would be missing"):
        ArchiveWriter(tmp_path).begin(TOPIC, 0, 4)


def test_an_archive_may_begin_in_the_middle_of_the_log(tmp_path: Path) -> None:
    writer_with(tmp_path, 100, 105).commit(TOPIC, 0, 105)
    assert archived(tmp_path) == list(range(100, 105))


@pytest.mark.parametrize("first", [3, 9])
def test_rows_out_of_log_order_are_refused(tmp_path: Path, first: int) -> None:
    writer = writer_with(tmp_path, 0, 10)
    with pytest.raises(ArchiveError, match="log order"):
        writer.add(TOPIC, 0, make_rows(2, first=first))


def test_of_two_writers_that_race_one_is_refused_and_leaves_nothing_visible(tmp_path: Path) -> None:
    ArchiveTable(tmp_path).open_or_create()
    other = writer_with(tmp_path, 0, 6)
    writer = writer_with(InterruptedTable(tmp_path, lambda: other.commit(TOPIC, 0, 6)), 0, 10)
    with pytest.raises(ArchiveRaceError):
        writer.commit(TOPIC, 0, 10)
    assert archived(tmp_path) == list(range(6))
    assert len(list(tmp_path.glob("event_day=*/*.parquet"))) == 2
    # What was not archived is still there to be, and only that.
    assert writer.commit(TOPIC, 0, 10).rows == 4
    assert archived(tmp_path) == list(range(10))


def test_the_slower_of_two_equal_commits_is_refused(tmp_path: Path) -> None:
    other = writer_with(tmp_path, 0, 6)
    writer = writer_with(InterruptedTable(tmp_path, lambda: other.commit(TOPIC, 0, 6)), 0, 6)
    with pytest.raises(ArchiveRaceError):
        writer.commit(TOPIC, 0, 6)
    assert writer.commit(TOPIC, 0, 6).rows == 0
    assert archived(tmp_path) == list(range(6))


def test_writers_of_different_partitions_do_not_disturb_each_other(tmp_path: Path) -> None:
    other = writer_with(tmp_path, 0, 6, partition=1)
    writer = writer_with(InterruptedTable(tmp_path, lambda: other.commit(TOPIC, 1, 6)), 0, 10)
    assert writer.commit(TOPIC, 0, 10).rows == 10
    assert archived(tmp_path, 0) == list(range(10))
    assert archived(tmp_path, 1) == list(range(6))


def together(*runs: Callable[[], Any]) -> None:
    """Run all at the same time, a thread each; the first error of any is raised."""
    start = threading.Barrier(len(runs))

    def run(one: Callable[[], Any]) -> None:
        start.wait()
        one()

    with ThreadPoolExecutor(len(runs)) as pool:
        for done in [pool.submit(run, one) for one in runs]:
            done.result()


def test_many_writers_at_once_archive_every_row_once(tmp_path: Path) -> None:
    """Four threads, each for itself: make the table, and archive the same partition, with different steps."""

    def run(step: int) -> None:
        writer = writer_with(tmp_path, 0, 60)
        for upto in (*range(step, 61, step), 60):
            with contextlib.suppress(ArchiveRaceError):  # the last time: somebody else has archived the rest
                writer.commit(TOPIC, 0, upto)

    together(*(partial(run, step) for step in (10, 12, 15, 20)))
    assert archived(tmp_path) == list(range(60))


def test_many_writers_of_different_partitions_never_refuse_each_other(tmp_path: Path) -> None:
    def run(partition: int) -> None:
        writer = writer_with(tmp_path, 0, 6, partition)
        for upto in range(1, 7):
            writer.commit(TOPIC, partition, upto)

    together(*(partial(run, partition) for partition in range(4)))
    assert [archived(tmp_path, partition) for partition in range(4)] == [list(range(6))] * 4


def test_the_table_is_made_once_however_many_find_none(tmp_path: Path) -> None:
    """A table that is made twice has other metadata than before, and a commit that meets it is refused."""
    for number in range(10):
        root = tmp_path / str(number)
        together(*[ArchiveTable(root).open_or_create] * 4)
        assert len(list((root / "_delta_log").glob("*.json"))) == 1


class TestSegments:
    """One commit for several partitions, in the background, through failures."""

    @pytest.fixture
    def writer(self, tmp_path: Path) -> ArchiveWriter:
        """Three partitions with ten rows each."""
        return self.fill(ArchiveWriter(tmp_path))

    def fill(self, writer: ArchiveWriter, stop: int = 10) -> ArchiveWriter:
        for partition in range(3):
            writer.begin(TOPIC, partition, 0)
            writer.add(TOPIC, partition, make_rows(stop))
        return writer

    def test_several_partitions_in_one_commit(self, writer: ArchiveWriter, tmp_path: Path) -> None:
        before = ArchiveMaintenance(tmp_path).summary().version
        infos = writer.commit_many({(TOPIC, 0): 10, (TOPIC, 1): 4, (TOPIC, 2): 0})
        assert ArchiveMaintenance(tmp_path).summary().version == before + 1
        assert [(info.rows, info.from_offset, info.upto_offset) for info in infos.values()] == [
            (10, 0, 10),
            (4, 0, 4),
            (0, 0, 0),
        ]
        assert [len(info.paths) for info in infos.values()] == [1, 1, 0]
        assert writer.buffered_rows == 16
        table = ArchiveTable(tmp_path)
        assert [table.archived_offset(TOPIC, partition) for partition in range(4)] == [10, 4, 0, None]
        assert [len(archived(tmp_path, partition)) for partition in range(3)] == [10, 4, 0]

    def test_a_race_on_one_partition_makes_nothing_visible_of_any(self, tmp_path: Path) -> None:
        other = self.fill(ArchiveWriter(tmp_path))
        writer = self.fill(ArchiveWriter(InterruptedTable(tmp_path, lambda: other.commit(TOPIC, 1, 6))))
        with pytest.raises(ArchiveRaceError):
            writer.commit_many(dict.fromkeys(((TOPIC, 0), (TOPIC, 1)), 10))
        assert [archived(tmp_path, partition) for partition in range(3)] == [[], list(range(6)), []]
        assert writer.buffered_rows == 30
        infos = writer.commit_many(dict.fromkeys(((TOPIC, 0), (TOPIC, 1)), 10))
        assert [info.rows for info in infos.values()] == [10, 4]
        assert [archived(tmp_path, partition) for partition in range(2)] == [list(range(10))] * 2

    def test_rows_are_added_while_a_thread_writes(self, tmp_path: Path) -> None:
        """The writing thread stands between its file and its commit while the loop goes on with the same partitions."""
        written, go_on = threading.Event(), threading.Event()

        def wait() -> None:
            written.set()
            assert go_on.wait(60)

        writer = self.fill(ArchiveWriter(InterruptedTable(tmp_path, wait)))
        segment = writer.prepare({(TOPIC, partition): 10 for partition in range(3)})
        with ThreadPoolExecutor(1) as pool:
            writing = pool.submit(writer.write, segment)
            assert written.wait(60)
            for first in range(10, 40, 10):
                for partition in range(3):
                    writer.add(TOPIC, partition, make_rows(10, first=first))
            writer.discard(TOPIC, 2)
            assert writer.archived_offset(TOPIC, 0) is None
            assert writer.begin(TOPIC, 3, 0) == 0
            assert writer.buffered_rows == 30 + 60
            later = writer.prepare({(TOPIC, 0): 40, (TOPIC, 1): 25})
            assert not writing.done()
            go_on.set()
            assert sum(info.rows for info in writing.result(60).values()) == 30
            assert sum(info.rows for info in pool.submit(writer.write, later).result(60).values()) == 45
        assert writer.buffered_rows == 15
        assert [len(archived(tmp_path, partition)) for partition in range(3)] == [40, 25, 10]

    def test_a_segment_is_written_again_until_it_is(self, writer: ArchiveWriter, tmp_path: Path) -> None:
        """The store is away, then refuses the commit, then takes it: with the files of the second time."""
        table = ArchiveTable(tmp_path)
        failing = ArchiveWriter(table)
        self.fill(failing)
        segment = failing.prepare({(TOPIC, partition): 10 for partition in range(3)})
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(table, "_put", raising(OSError(28, "No space left on device")))
            with pytest.raises(ArchiveError, match="No space left"):
                failing.write(segment)
            assert failing.buffered_rows == 30
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(table, "commit", raising(ArchiveError("away")))
            with pytest.raises(ArchiveError, match="away"):
                failing.write(segment)
        assert sum(info.rows for info in failing.write(segment).values()) == 30
        assert failing.buffered_rows == 0
        version = ArchiveMaintenance(tmp_path).summary().version
        assert sum(info.rows for info in failing.write(segment).values()) == 30
        assert ArchiveMaintenance(tmp_path).summary().version == version
        assert len(list(tmp_path.glob("event_day=*/*.parquet"))) == 1
        # What another writer holds of it is archived already.
        assert sum(info.rows for info in writer.commit_many({(TOPIC, 0): 10, (TOPIC, 1): 10}).values()) == 0

    def test_a_commit_whose_outcome_was_not_heard_is_not_done_twice(self, tmp_path: Path) -> None:
        class DeafTable(ArchiveTable):
            def commit(self, *arguments: Any, **options: Any) -> None:
                super().commit(*arguments, **options)
                raise OSError(104, "Connection reset by peer")

        writer = self.fill(ArchiveWriter(DeafTable(tmp_path)))
        segment = writer.prepare({(TOPIC, partition): 10 for partition in range(3)})
        with pytest.raises(ArchiveError, match="reset"):
            writer.write(segment)
        assert [info.upto_offset for info in writer.write(segment).values()] == [10, 10, 10]
        assert [archived(tmp_path, partition) for partition in range(3)] == [list(range(10))] * 3

    def test_a_segment_that_is_given_up_is_in_the_next(self, writer: ArchiveWriter, tmp_path: Path) -> None:
        first = writer.prepare({(TOPIC, 0): 6, (TOPIC, 1): 10})
        second = writer.prepare({(TOPIC, 0): 10})
        with pytest.raises(ArchiveError, match="restore that one first"):
            writer.restore(first)
        writer.discard(TOPIC, 1)
        writer.restore(second)
        writer.restore(first)
        assert writer.buffered_rows == 20
        assert writer.write(first) == {}
        writer.add(TOPIC, 0, make_rows(2, first=10))
        assert writer.commit(TOPIC, 0, 11).rows == 11
        assert archived(tmp_path) == list(range(11))
        assert archived(tmp_path, 1) == []

    def test_a_later_segment_does_not_overtake(self, writer: ArchiveWriter, tmp_path: Path) -> None:
        first, second = writer.prepare({(TOPIC, 0): 6}), writer.prepare({(TOPIC, 0): 10})
        with pytest.raises(ArchiveError, match="the segment before it"):
            writer.write(second)
        assert archived(tmp_path) == []
        writer.write(first)
        writer.write(second)
        assert archived(tmp_path) == list(range(10))

    def test_the_segment_of_a_lost_partition_does_no_harm_to_its_next_owner(
        self, writer: ArchiveWriter, tmp_path: Path
    ) -> None:
        late = writer.prepare({(TOPIC, 0): 6})
        writer.discard(TOPIC, 0)
        successor = writer_with(tmp_path, 0, 10)
        assert successor.commit(TOPIC, 0, 4).rows == 4
        assert writer.write(late)[TOPIC, 0].rows == 2
        assert successor.commit(TOPIC, 0, 10).rows == 4
        assert archived(tmp_path) == list(range(10))

    def test_a_partition_that_is_not_ours_changes_none(self, writer: ArchiveWriter) -> None:
        with pytest.raises(KeyError):
            writer.prepare({(TOPIC, 0): 10, (TOPIC, 7): 10})
        assert writer.commit(TOPIC, 0, 10).rows == 10


def test_a_crash_between_files_and_commit_leaves_only_what_vacuum_removes(tmp_path: Path) -> None:
    class CrashError(Exception):
        pass

    def crash() -> None:
        raise CrashError

    writer_with(tmp_path, 0, 5).commit(TOPIC, 0, 5)
    with pytest.raises(CrashError):
        writer_with(InterruptedTable(tmp_path, crash), 5, 10).commit(TOPIC, 0, 10)
    assert archived(tmp_path) == list(range(5))
    assert writer_with(tmp_path, 5, 10).commit(TOPIC, 0, 10).rows == 5
    assert archived(tmp_path) == list(range(10))
    visible = {Path(uri).name for uri in ArchiveTable(tmp_path).open().file_uris()}
    files = {path.name: path for path in tmp_path.glob("event_day=*/*.parquet")}
    (leftover,) = set(files) - visible
    maintenance = ArchiveMaintenance(tmp_path)
    assert maintenance.vacuum(1) == []  # young: it might belong to a commit at work
    long_ago = NOW / 1000
    os.utime(files[leftover], (long_ago, long_ago))
    assert [Path(path).name for path in maintenance.vacuum(1, dry_run=True)] == [leftover]
    assert files[leftover].exists()
    assert [Path(path).name for path in maintenance.vacuum(1)] == [leftover]
    assert not files[leftover].exists()
    assert archived(tmp_path) == list(range(10))


def test_rows_of_several_days_become_a_file_a_day(tmp_path: Path) -> None:
    occurred_at = NOW + np.array([0, -DAY, 0, -600 * DAY, -DAY]) - 2 * DAY
    writer = ArchiveWriter(tmp_path)
    writer.begin(TOPIC, 0, 0)
    writer.add(TOPIC, 0, make_rows(5, columns=make_columns(5, occurred_at=occurred_at)))
    info = writer.commit(TOPIC, 0, 5)
    assert sorted(path.partition("/")[0] for path in info.paths) == [
        "event_day=2025-10-06",
        "event_day=2025-10-07",
        "event_day=2025-10-09",  # the hostile one, on the day on which it was logged
    ]
    assert archived(tmp_path) == [0, 1, 2, 3, 4]


def test_a_lost_partition_is_forgotten(tmp_path: Path) -> None:
    writer = writer_with(tmp_path, 0, 5)
    writer.discard(TOPIC, 0)
    assert writer.buffered_rows == 0
    with pytest.raises(KeyError):
        writer.commit(TOPIC, 0, 5)
    assert ArchiveReader(tmp_path).archived_offset(TOPIC, 0) is None


def test_a_table_of_another_kind_is_refused(tmp_path: Path) -> None:
    DeltaTable.create(str(tmp_path), schema=delta_schema())
    with pytest.raises(ConfigurationError, match="version"):
        ArchiveWriter(tmp_path).begin(TOPIC, 0, 0)


def test_no_archive_is_not_an_empty_archive(tmp_path: Path) -> None:
    reader = ArchiveReader(tmp_path / "nothing")
    assert reader.archived_offset(TOPIC, 0) is None
    assert list(reader.rows_in_log_order(TOPIC, 0, 0, 10)) == []
    with pytest.raises(NotFoundError):
        reader.scan(date(2025, 1, 1), date(2025, 1, 2))


def test_progress_outlives_the_tables_own_checkpoints(tmp_path: Path) -> None:
    """The table's log is folded into checkpoints and cleaned; a partition's archived offset must stay."""
    writer_with(tmp_path, 0, 5).commit(TOPIC, 0, 5)
    ArchiveTable(tmp_path).open().create_checkpoint()
    for path in (tmp_path / "_delta_log").glob("*.json"):
        path.unlink()
    assert ArchiveReader(tmp_path).archived_offset(TOPIC, 0) == 5
    assert archived(tmp_path) == list(range(5))
