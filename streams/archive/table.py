"""The archive's table: where it is, how a file gets there, and how files become visible or invisible, all at once."""

from __future__ import annotations

import hashlib
import io
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake._internal import DeltaFileSystemHandler
from deltalake.exceptions import DeltaError
from deltalake.transaction import AddAction, RemoveAction

from fraud.clock import now_ms
from fraud.errors import ConfigurationError, ConflictError, MimamoriError, NotFoundError
from fraud.settings import Settings
from streams.archive.schema import ARCHIVE_VERSION, FILE_COLUMNS, PARTITION_COLUMN, STATISTICS_COLUMNS, delta_schema

_VERSION_KEY: Final = "mimamori.archiveVersion"
# Rows that are read or skipped together. Smaller groups find one card faster, larger ones compress better.
ROW_GROUP_ROWS: Final = 65_536
# Delta tries a commit again when somebody else's was first. Each time somebody has got on, so there is no reason to
# give up; its default of 15 would limit how many workers there may be.
_COMMIT_RETRIES: Final = 1_000_000

Action = AddAction | RemoveAction


class ArchiveError(MimamoriError):
    """The archive cannot do what was asked; the message says what is wrong with it."""

    code = "ARCHIVE"


class ArchiveRaceError(ConflictError):
    """Somebody else changed the same part of the archive first; nothing of ours is visible."""

    code = "ARCHIVE_RACE"


@dataclass(frozen=True, slots=True)
class DataFile:
    """One Parquet file of the table; `path` is relative to its root."""

    path: str
    day: date
    size: int
    rows: int
    sha256: str = ""  # known to whoever wrote it


@contextmanager
def store_errors() -> Iterator[None]:
    """What the store (a disk, an object store, the Delta library) raises, as `ArchiveError`."""
    try:
        yield
    except (DeltaError, OSError) as error:
        # The words of object stores hold addresses and more; those of the operating system are its own.
        reason = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        message = f"the archive's store refused: {reason}"
        raise ArchiveError(message) from error


class ArchiveTable:
    """A Delta Lake table in a local folder or an object store.

    Args:
        root: a folder, or a URL such as `s3://bucket/archive` or `file:///var/lib/archive`.
        storage_options: what the object store wants to be told (`aws_region`, `aws_endpoint_url`, ...).

    """

    def __init__(self, root: str | Path, storage_options: Mapping[str, str] | None = None) -> None:
        self.storage_options = dict(storage_options) if storage_options else None
        self._folder = None if "://" in str(root) else Path(root).absolute()
        self.uri = str(self._folder or root).rstrip("/")

    @classmethod
    def from_settings(cls, settings: Settings) -> ArchiveTable:
        """The table that the settings name."""
        options = {name: value.get_secret_value() for name, value in settings.archive.storage_options.items()}
        return cls(settings.archive_root, options)

    def exists(self) -> bool:
        """True when there is a table at the root."""
        return DeltaTable.is_deltatable(self.uri, self.storage_options)

    def open(self) -> DeltaTable:
        """The table as it is now. `NotFoundError` when there is none, `ConfigurationError` for another version's."""
        if not self.exists():
            message = "there is no archive at archive.root yet; the worker makes it at its first checkpoint"
            raise NotFoundError(message)
        table = DeltaTable(self.uri, storage_options=self.storage_options)
        found = table.metadata().configuration.get(_VERSION_KEY)
        if found != str(ARCHIVE_VERSION):
            message = f"the table at archive.root is no archive of version {ARCHIVE_VERSION}; name another archive.root"
            raise ConfigurationError(message)
        return table

    def open_or_create(self) -> DeltaTable:
        """The table as it is now, made if there is none. Several processes may do this at once."""
        if not self.exists():
            if self._folder is not None:
                self._folder.mkdir(parents=True, exist_ok=True)
            try:
                DeltaTable.create(
                    self.uri,
                    schema=delta_schema(),
                    partition_by=[PARTITION_COLUMN],
                    configuration={_VERSION_KEY: str(ARCHIVE_VERSION)},
                    raise_if_key_not_exists=False,
                    storage_options=self.storage_options,
                    # With retries, who comes second makes the table all over again as a later version (measured), and
                    # whoever appends at that moment is refused because the table's metadata have changed.
                    commit_properties=CommitProperties(max_commit_retries=0),
                )
            except DeltaError:
                if not self.exists():  # otherwise another process was first, which is as good
                    raise
        return self.open()

    def write_file(self, frame: pl.DataFrame, day: date, name: str) -> tuple[DataFile, AddAction]:
        """Put one Parquet file in place. It is invisible until its action is committed.

        A folder's file is on the disk, not only in the system's memory, when this returns.
        """
        buffer = io.BytesIO()
        frame.select(FILE_COLUMNS).write_parquet(buffer, compression_level=1, row_group_size=ROW_GROUP_ROWS)
        data = buffer.getvalue()
        path = f"{PARTITION_COLUMN}={day.isoformat()}/{name}-{uuid.uuid4().hex[:16]}.parquet"
        self._put(path, data)
        file = DataFile(path, day, len(data), len(frame), hashlib.sha256(data).hexdigest())
        return file, AddAction(path, len(data), _partition(day), now_ms(), data_change=True, stats=_statistics(frame))

    def commit(
        self,
        handle: DeltaTable,
        actions: Sequence[Action],
        application: str,
        version: int,
        *,
        also: Mapping[str, int] | None = None,
    ) -> None:
        """Make actions visible together, as version `version` of `application`, through the handle that was checked.

        Delta itself accepts any version again (even a lower one), so the check on `handle` is the caller's. What Delta
        does refuse is a commit through a handle that is older than another commit of the same application: that is
        `ArchiveRaceError`, and nothing of ours is visible. Whoever changes other parts of the table meanwhile only
        makes Delta try again. `also` names more applications, whose versions move in the same commit by the same rule.
        """
        versions = {application: version, **(also or {})}
        before = {name: handle.transaction_version(name) for name in versions}
        first = handle.version() + 1
        try:
            handle.create_write_transaction(
                list(actions),
                mode="append",
                schema=delta_schema(),
                partition_by=[PARTITION_COLUMN],
                commit_properties=CommitProperties(
                    max_commit_retries=_COMMIT_RETRIES,
                    app_transactions=[Transaction(*item) for item in versions.items()],
                ),
            )
        except DeltaError as error:
            handle.update_incremental()
            if any(handle.transaction_version(name) != known for name, known in before.items()):
                message = "another process changed this part of the archive first"
                raise ArchiveRaceError(message) from error
            message = f"the archive's commit was refused ({type(error).__name__})"
            raise ArchiveError(message) from error
        handle.update_incremental()
        self._sync_log(first, handle.version())

    def archived_offset(self, topic_id: str, partition: int) -> int | None:
        """Everything of a partition below it is in the archive; None where there is no archive or it never saw it."""
        return self.open().transaction_version(application_id(topic_id, partition)) if self.exists() else None

    def files(self, handle: DeltaTable) -> list[DataFile]:
        """The visible files, by day and path."""
        listed = pl.DataFrame(handle.get_add_actions(flatten=True))
        if listed.is_empty():
            return []
        wanted = listed.select("path", f"partition.{PARTITION_COLUMN}", "size_bytes", "num_records")
        return sorted((DataFile(*row) for row in wanted.iter_rows()), key=lambda file: (file.day, file.path))

    def _put(self, path: str, data: bytes) -> None:
        if self._folder is None:
            # The writer of the Delta library: the same code for every store. Its public face needs pyarrow.
            stream = DeltaFileSystemHandler(self.uri, self.storage_options).open_output_stream(path)
            stream.write(data)
            stream.close()  # type: ignore[attr-defined] # missing in the library's stubs; it completes the upload
            return
        target = self._folder / path
        is_new = not target.parent.exists()
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _sync(target.parent)
        if is_new:
            _sync(self._folder)

    def _sync_log(self, first: int, last: int) -> None:
        """Have the table's own log on the disk too: the Delta library leaves it in the system's memory."""
        if self._folder is None:
            return
        log = self._folder / "_delta_log"
        for path in [*(log / f"{version:020d}.json" for version in range(first, last + 1)), log]:
            if path.exists():
                _sync(path)


def application_id(topic_id: str, partition: int) -> str:
    """The name under which a partition's progress is kept in the table's log."""
    return f"{topic_id}/{partition}"


def remove_action(file: DataFile, *, data_change: bool) -> RemoveAction:
    """Makes a visible file invisible; `data_change` is false where its rows live on in another file."""
    return RemoveAction(file.path, data_change, now_ms(), file.size, _partition(file.day))


def _sync(path: Path) -> None:
    """Have a file, or a folder's list of names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _partition(day: date) -> dict[str, str | None]:
    return {PARTITION_COLUMN: day.isoformat()}


def _statistics(frame: pl.DataFrame) -> str:
    columns = frame.select(STATISTICS_COLUMNS)
    statistics: dict[str, Any] = {
        "numRecords": len(frame),
        "minValues": columns.min().row(0, named=True),
        "maxValues": columns.max().row(0, named=True),
        "nullCount": columns.null_count().row(0, named=True),
    }
    return json.dumps(statistics)
