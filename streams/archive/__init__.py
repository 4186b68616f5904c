"""The archive: every processed transaction with what was decided on it, as a Delta Lake table of Parquet files."""

from streams.archive.maintenance import ArchiveMaintenance
from streams.archive.reader import ArchiveReader, card_ref_text
from streams.archive.rows import ArchiveRows
from streams.archive.schema import ARCHIVE_COLUMNS, ARCHIVE_VERSION, key_bits, keys_from_bits
from streams.archive.table import ArchiveError, ArchiveRaceError, ArchiveTable
from streams.archive.writer import ArchiveWriter, SegmentInfo

__all__ = [
    "ARCHIVE_COLUMNS",
    "ARCHIVE_VERSION",
    "ArchiveError",
    "ArchiveMaintenance",
    "ArchiveRaceError",
    "ArchiveReader",
    "ArchiveRows",
    "ArchiveTable",
    "ArchiveWriter",
    "SegmentInfo",
    "card_ref_text",
    "key_bits",
    "keys_from_bits",
]
