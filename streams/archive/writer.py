"""Appending to the archive: rows are collected between checkpoints and become visible once, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Final

import numpy as np
import polars as pl
from deltalake import DeltaTable

from fraud.clock import Clock, SystemClock
from streams.archive.rows import ArchiveRows, to_frame
from streams.archive.schema import PARTITION_COLUMN
from streams.archive.table import ArchiveError, ArchiveTable, application_id

# Batches are turned into columns this many rows at a time: the fixed cost of 60 columns is then small.
_BLOCK_ROWS: Final = 20_000


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """What one commit appended: nothing (no paths) where everything was archived already.

    Args:
        paths: the new files, relative to the archive's root.
        sha256: of each file, in hexadecimal.
        rows: in all files together.
        from_offset: the partition's archived offset before.
        upto_offset: and now: everything below it is in the archive.

    """

    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    rows: int
    from_offset: int
    upto_offset: int


@dataclass(slots=True)
class _Buffer:
    """Rows of one partition that are not archived yet. `next_offset`: below it everything has been handed over."""

    archived: int
    next_offset: int
    pending: list[ArchiveRows] = field(default_factory=list)
    frames: list[pl.DataFrame] = field(default_factory=list)


class ArchiveWriter:
    """Collects the rows of the partitions that a worker owns and appends them at its checkpoints.

    The order of a checkpoint is: this archive, then the snapshot, then its row in the database. A crash in between is
    harmless: the rows come again by silent replay, and what is below the archived offset is not appended again. Hand
    over only rows whose effects are committed, so that a fenced worker never archives what did not happen.

    For one thread. Args are those of `ArchiveTable`, which may be given instead of a root.
    """

    def __init__(self, root: str | Path | ArchiveTable, clock: Clock | None = None) -> None:
        self._table = root if isinstance(root, ArchiveTable) else ArchiveTable(root)
        self._clock = clock or SystemClock()
        self._buffers: dict[tuple[str, int], _Buffer] = {}
        self._handle: DeltaTable | None = None

    def begin(self, topic_id: str, partition: int, from_offset: int) -> int:
        """Take a partition over: rows from `from_offset` on will be handed over. Gives the archived offset.

        Raises:
            ArchiveError: the archive ends before `from_offset`, so that rows would be missing for ever. An archive that
                has never seen the partition begins where it is told to.

        """
        archived = self._current().transaction_version(application_id(topic_id, partition))
        if archived is not None and archived < from_offset:
            message = (
                f"the archive of partition {partition} ends at {archived}, and the rows from there to {from_offset} "
                "would be missing; replay from an older checkpoint"
            )
            raise ArchiveError(message)
        start = from_offset if archived is None else archived
        self._buffers[topic_id, partition] = _Buffer(start, from_offset)
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
        if buffer.next_offset <= buffer.archived:
            return
        buffer.pending.append(rows)
        if sum(map(len, buffer.pending)) >= _BLOCK_ROWS:
            self._convert(buffer, topic_id, partition)

    def commit(self, topic_id: str, partition: int, upto_offset: int) -> SegmentInfo:
        """Append what was collected below `upto_offset`; afterwards everything below it is archived.

        The same call twice appends once. Nothing is forgotten when it fails: it may be called again.

        Args:
            topic_id: the broker's id of the topic.
            partition: the partition.
            upto_offset: the checkpoint's next offset: one beyond the last offset that it covers.

        Raises:
            ArchiveRaceError: another process archived this partition at the same time; nothing of ours is visible.
            ArchiveError: the store refused.

        """
        buffer = self._buffers[topic_id, partition]
        application = application_id(topic_id, partition)
        handle = self._current()
        archived = handle.transaction_version(application)
        start = buffer.archived if archived is None else max(archived, buffer.archived)
        self._convert(buffer, topic_id, partition)
        if archived is not None and archived >= upto_offset:
            self._forget(buffer, archived)
            return SegmentInfo((), (), 0, archived, archived)
        frames = [part for frame in buffer.frames if len(part := _slice(frame, start, upto_offset))]
        name = f"{partition:05d}-{upto_offset:020d}"
        written = [self._table.write_file(part, day, name) for day, part in _by_day(frames)]
        # Committed even without rows: the archived offset has to follow the checkpoints.
        self._table.commit(handle, [action for _, action in written], application, upto_offset)
        self._forget(buffer, upto_offset)
        files = [file for file, _ in written]
        return SegmentInfo(
            paths=tuple(file.path for file in files),
            sha256=tuple(file.sha256 for file in files),
            rows=sum(file.rows for file in files),
            from_offset=start,
            upto_offset=upto_offset,
        )

    def discard(self, topic_id: str, partition: int) -> None:
        """Forget a partition that was lost: its new owner archives what is not archived yet."""
        self._buffers.pop((topic_id, partition), None)

    @property
    def buffered_rows(self) -> int:
        """Rows collected and not archived yet, of all partitions."""
        return sum(sum(map(len, buffer.pending)) + sum(map(len, buffer.frames)) for buffer in self._buffers.values())

    def _convert(self, buffer: _Buffer, topic_id: str, partition: int) -> None:
        if buffer.pending:
            now_ms = int(self._clock.now().timestamp() * 1000)
            frame = to_frame(ArchiveRows.concatenate(buffer.pending), topic_id, partition, now_ms)
            buffer.frames.append(_slice(frame, buffer.archived))
            buffer.pending.clear()

    def _current(self) -> DeltaTable:
        """The one handle, brought up to date: check and append go through it, so that a race is refused."""
        if self._handle is None:
            self._handle = self._table.open_or_create()
        else:
            self._handle.update_incremental()
        return self._handle

    @staticmethod
    def _forget(buffer: _Buffer, archived: int) -> None:
        buffer.archived = archived
        buffer.frames = [kept for frame in buffer.frames if len(kept := _slice(frame, archived))]


def _slice(frame: pl.DataFrame, from_offset: int, to_offset: int | None = None) -> pl.DataFrame:
    """The rows of a frame in log order with offsets in the range; no copy."""
    offsets = frame["offset"].to_numpy()
    start = int(np.searchsorted(offsets, from_offset))
    stop = len(offsets) if to_offset is None else int(np.searchsorted(offsets, to_offset))
    return frame.slice(start, max(0, stop - start))


def _by_day(frames: Sequence[pl.DataFrame]) -> list[tuple[date, pl.DataFrame]]:
    if not frames:
        return []
    frame = pl.concat(frames)
    days = frame[PARTITION_COLUMN].unique().to_list()
    if len(days) == 1:  # nearly always, and grouping would copy every column
        return [(days[0], frame)]
    return [(day, part) for (day,), part in frame.partition_by(PARTITION_COLUMN, as_dict=True).items()]
