"""What the archive's writer keeps between `add` and `write`: rows that wait, and segments on their way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from streams.archive.rows import ArchiveRows
from streams.archive.table import Action, ArchiveError, DataFile

Place = tuple[str, int]  # the broker's id of a topic, and a partition of it


@dataclass(frozen=True, slots=True)
class SegmentInfo:
    """What one commit appended of a partition: nothing (no paths) where everything was archived already.

    Args:
        paths: the new files that hold the partition's rows, relative to the archive's root. Other partitions that were
            committed together have rows in the same files.
        sha256: of each file, in hexadecimal.
        rows: the partition's own.
        from_offset: the partition's archived offset before.
        upto_offset: and now: everything below it is in the archive.

    """

    paths: tuple[str, ...]
    sha256: tuple[str, ...]
    rows: int
    from_offset: int
    upto_offset: int


@dataclass(slots=True)
class Buffer:
    """Rows of one partition that are in no segment yet.

    `begins_at`: its first offset, where the archive had never seen the partition. `taken`: everything below is archived
    or in a segment. `next_offset`: everything below has been handed over.
    """

    begins_at: int | None
    taken: int
    next_offset: int
    rows: list[ArchiveRows] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Part:
    """A partition's share of a segment: what was collected from `from_offset` to before `upto_offset`."""

    buffer: Buffer
    from_offset: int
    upto_offset: int
    rows: list[ArchiveRows]

    def start(self, archived: int | None, partition: int) -> int:
        """Where the rows begin that are not archived yet. `ArchiveError` when rows before them are missing."""
        if archived is None and self.from_offset == self.buffer.begins_at:
            return self.from_offset
        if archived is None or archived < self.from_offset:
            message = (
                f"the archive of partition {partition} ends before {self.from_offset}, where the segment begins; "
                "the segment before it has to be written first"
            )
            raise ArchiveError(message)
        return archived


@dataclass(frozen=True, slots=True)
class NewFile:
    """A file that waits for its commit, and how many rows of which partitions are in it."""

    file: DataFile
    action: Action
    rows: Mapping[Place, int]


@dataclass(slots=True, eq=False, weakref_slot=True)
class Segment:
    """What a checkpoint appends. Made by `ArchiveWriter.prepare`, for its `write` and `restore` only."""

    parts: dict[Place, Part]
    written: dict[Place, SegmentInfo] | None = None
    # Files of an attempt whose commit failed: the next one needs no others while the rows to append are the same.
    starts: dict[Place, int] | None = None
    files: list[NewFile] = field(default_factory=list)

    def __len__(self) -> int:
        """Rows that wait to be written; 0 once they are."""
        return sum(len(rows) for part in self.parts.values() for rows in part.rows)


def cut_rows(parts: Sequence[ArchiveRows], from_offset: int, to_offset: int | None = None) -> list[ArchiveRows]:
    """The rows with offsets in the range, of parts in log order; no copy, and no empty parts."""
    return [
        part.between(from_offset, to_offset)
        for part in parts
        if part.offsets[-1] >= from_offset and (to_offset is None or part.offsets[0] < to_offset)
    ]
