"""Appending to the archive: rows are collected between checkpoints and become visible once, or not at all."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path

import polars as pl
from deltalake import DeltaTable

from fraud.clock import Clock, SystemClock, now_ms
from streams.archive.rows import ArchiveRows, to_frame
from streams.archive.schema import PARTITION_COLUMN
from streams.archive.segments import Buffer, NewFile, Part, Place, Segment, SegmentInfo, cut_rows
from streams.archive.table import ArchiveError, ArchiveTable, application_id, store_errors

__all__ = ["ArchiveWriter", "Place", "Segment", "SegmentInfo"]


class ArchiveWriter:
    """Collects the rows of the partitions that a worker owns and appends them at its checkpoints.

    The order of a checkpoint is: this archive, then the snapshot, then its row in the database. A crash in between is
    harmless: the rows come again by silent replay, and what is below the archived offset is not appended again. Hand
    over only rows whose effects are committed, so that a fenced worker never archives what did not happen.

    **Two threads.** All methods but `write` belong to one thread, the worker's loop, and none of them but `commit` and
    `commit_many` waits for a `write` that another thread is busy with:

    1. `prepare` takes the collected rows of some partitions out as a `Segment`. It moves lists and copies nothing.
    2. `write` turns a segment into files and makes them visible, of all its partitions in one commit. It may run on any
       thread while the loop goes on with `add`; two at once take turns. When it raises, nothing of the segment is
       visible and nothing is lost: call it again with the same segment, as often as it takes. A segment that is written
       is not written again.
    3. Or give up with `restore`, which puts the rows back so that a later segment takes them.

    Segments of one partition must be written in the order in which they were prepared; any other order is refused.
    `discard` does not touch segments: their rows are committed effects, so that writing them is right whoever owns the
    partition by now, and whoever archived them first.

    Args are those of `ArchiveTable`, which may be given instead of a root.
    """

    def __init__(self, root: str | Path | ArchiveTable, clock: Clock | None = None) -> None:
        self._table = root if isinstance(root, ArchiveTable) else ArchiveTable(root)
        self._clock = clock or SystemClock()
        self._buffers: dict[Place, Buffer] = {}
        self._segments: weakref.WeakSet[Segment] = weakref.WeakSet()
        self._reading: DeltaTable | None = None  # the loop's
        self._writing: DeltaTable | None = None  # of whoever holds the lock
        self._lock = threading.Lock()

    def archived_offset(self, topic_id: str, partition: int) -> int | None:
        """Everything of a partition below it is in the archive; None when the archive has never seen the partition."""
        with store_errors():
            self._reading = self._current(self._reading)
            return self._reading.transaction_version(application_id(topic_id, partition))

    def begin(self, topic_id: str, partition: int, from_offset: int) -> int:
        """Take a partition over: rows from `from_offset` on will be handed over. Gives the archived offset.

        Raises:
            ArchiveError: the archive ends before `from_offset`, so that rows would be missing for ever. An archive that
                has never seen the partition begins where it is told to.

        """
        archived = self.archived_offset(topic_id, partition)
        if archived is not None and archived < from_offset:
            message = (
                f"the archive of partition {partition} ends at {archived}, and the rows from there to {from_offset} "
                "would be missing; replay from an older checkpoint"
            )
            raise ArchiveError(message)
        start = from_offset if archived is None else archived
        self._buffers[topic_id, partition] = Buffer(from_offset if archived is None else None, start, from_offset)
        return start

    def add(self, topic_id: str, partition: int, rows: ArchiveRows) -> None:
        """Collect rows, in log order; their arrays must not change afterwards. What is archived already is left out."""
        buffer = self._buffers[topic_id, partition]
        if len(rows) == 0:
            return
        if rows.offsets[0] < buffer.next_offset or (rows.offsets[1:] <= rows.offsets[:-1]).any():
            message = f"rows of partition {partition} are not in log order"
            raise ArchiveError(message)
        buffer.next_offset = int(rows.offsets[-1]) + 1
        buffer.rows += cut_rows([rows], buffer.taken)

    def discard(self, topic_id: str, partition: int) -> None:
        """Forget a partition that was lost: its new owner archives what is not archived yet."""
        self._buffers.pop((topic_id, partition), None)

    @property
    def buffered_rows(self) -> int:
        """Rows collected and not archived yet, of all partitions; those of unwritten segments are among them."""
        collected = sum(len(rows) for buffer in self._buffers.values() for rows in buffer.rows)
        return collected + sum(map(len, self._segments))

    def prepare(self, upto_offsets: Mapping[Place, int]) -> Segment:
        """Take out what was collected of each partition below its checkpoint's next offset.

        Args:
            upto_offsets: topic id and partition, to one beyond the last offset that the checkpoint covers.

        """
        buffers = {place: self._buffers[place] for place in upto_offsets}  # a partition that is not ours changes none
        parts = {}
        for place, upto in upto_offsets.items():
            buffer = buffers[place]
            parts[place] = Part(buffer, buffer.taken, upto, cut_rows(buffer.rows, buffer.taken, upto))
            buffer.rows = cut_rows(buffer.rows, upto)
            buffer.taken = max(buffer.taken, upto)
        segment = Segment(parts)
        self._segments.add(segment)
        return segment

    def write(self, segment: Segment) -> dict[Place, SegmentInfo]:
        """Append a segment; afterwards everything below its offsets is archived. On any thread; again after an error.

        Raises:
            ArchiveRaceError: another process archived one of the partitions at the same time; nothing of ours is
                visible, of no partition. The next call leaves out what the other one has archived.
            ArchiveError: the store refused, or an earlier segment of a partition has not been written yet.

        """
        with self._lock:
            if segment.written is None:
                try:
                    with store_errors():
                        segment.written = self._append(segment)
                finally:
                    if segment.written is None:
                        self._writing = None  # whatever state it is in, the next attempt begins with a new one
                segment.parts = {}
                segment.files = []
            return segment.written

    def restore(self, segment: Segment) -> None:
        """Give up a segment that is neither written nor being written: later ones take its rows, where still ours.

        Raises:
            ArchiveError: a later segment of a partition has been prepared; restore that one first.

        """
        ours = {place: part for place, part in segment.parts.items() if self._buffers.get(place) is part.buffer}
        for (_, partition), part in ours.items():
            if part.buffer.taken > max(part.from_offset, part.upto_offset):
                message = f"a later segment of partition {partition} has been prepared; restore that one first"
                raise ArchiveError(message)
        for part in ours.values():
            part.buffer.rows = [*part.rows, *part.buffer.rows]
            part.buffer.taken = part.from_offset
        segment.parts = {}
        segment.written = {}

    def commit(self, topic_id: str, partition: int, upto_offset: int) -> SegmentInfo:
        """`commit_many` of one partition."""
        return self.commit_many({(topic_id, partition): upto_offset})[topic_id, partition]

    def commit_many(self, upto_offsets: Mapping[Place, int]) -> dict[Place, SegmentInfo]:
        """Append what was collected of some partitions in one commit: `prepare` and `write`, on the loop's own thread.

        The same call twice appends once. Nothing is forgotten when it fails: it may be called again. Args and errors
        are those of `prepare` and `write`.
        """
        segment = self.prepare(upto_offsets)
        try:
            return self.write(segment)
        except BaseException:
            self.restore(segment)
            raise

    def _append(self, segment: Segment) -> dict[Place, SegmentInfo]:
        handle = self._writing = self._current(self._writing)
        infos: dict[Place, SegmentInfo] = {}
        starts: dict[Place, int] = {}
        versions: dict[str, int] = {}
        for place, part in segment.parts.items():
            application = application_id(*place)
            archived = handle.transaction_version(application)
            if archived is not None and archived >= part.upto_offset:
                infos[place] = SegmentInfo((), (), 0, archived, archived)
                continue
            starts[place] = part.start(archived, place[1])
            versions[application] = part.upto_offset
        if not versions:
            return infos
        if segment.starts != starts:
            segment.files = self._write_files(segment, starts)
            segment.starts = starts
        # Committed even without rows: the archived offsets have to follow the checkpoints.
        application, version = versions.popitem()
        self._table.commit(handle, [file.action for file in segment.files], application, version, also=versions)
        for place, start in starts.items():
            files = [file for file in segment.files if place in file.rows]
            infos[place] = SegmentInfo(
                paths=tuple(file.file.path for file in files),
                sha256=tuple(file.file.sha256 for file in files),
                rows=sum(file.rows[place] for file in files),
                from_offset=start,
                upto_offset=segment.parts[place].upto_offset,
            )
        return infos

    def _write_files(self, segment: Segment, starts: Mapping[Place, int]) -> list[NewFile]:
        """One file a day, with the rows of all partitions that have a start, from there on."""
        written_at = now_ms(self._clock)
        frames = []
        for (topic_id, partition), start in starts.items():
            rows = cut_rows(segment.parts[topic_id, partition].rows, start)
            if rows:
                frames.append(to_frame(ArchiveRows.concatenate(rows), topic_id, partition, written_at))
        files = []
        for day, frame in _by_day(frames):
            file, action = self._table.write_file(frame, day, "segment")
            counts = frame.group_by("topic_id", "partition").len()
            rows_of = {(topic_id, partition): count for topic_id, partition, count in counts.iter_rows()}
            files.append(NewFile(file, action, rows_of))
        return files

    def _current(self, handle: DeltaTable | None) -> DeltaTable:
        """A handle, brought up to date. Check and append go through the same one, so that a race is refused."""
        if handle is None:
            return self._table.open_or_create()
        handle.update_incremental()
        return handle


def _by_day(frames: Sequence[pl.DataFrame]) -> list[tuple[date, pl.DataFrame]]:
    if not frames:
        return []
    frame = pl.concat(frames)
    days = frame[PARTITION_COLUMN].unique().to_list()
    if len(days) == 1:  # nearly always, and grouping would copy every column
        return [(days[0], frame)]
    return [(day, part) for (day,), part in frame.partition_by(PARTITION_COLUMN, as_dict=True).items()]
