"""What makes two imports the same: mapping, content of the files, and settings. And what the archive says of one."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from fraud.errors import ConflictError
from streams.archive import ArchiveTable
from streams.history.accumulating import ProfileSettings, settings_content
from streams.history.coverage import IMPORT_PREFIX
from streams.history.mapping import HistoryMapping

# A topic's id has 36 characters in the database, and rows of the archive find their way there.
_DIGITS: Final = 24


def import_topic_id(mapping: HistoryMapping, settings: ProfileSettings, until: int | None) -> str:
    """The `topic_id` of an import's rows: the same import has the same, always, wherever its files lie."""
    lineage = mapping.lineage.files.paths if mapping.lineage is not None else ()
    described = {name: part for name, part in mapping.content.items() if name not in ("files", "lineage")}
    shapes = [
        {name: value for name, value in mapping.content.get(section, {}).items() if name != "paths"}
        for section in ("files", "lineage")
    ]
    content = {
        "mapping": described,
        "shapes": shapes,
        "files": [_file_digest(path) for path in mapping.files.paths],
        "lineage": [_file_digest(path) for path in lineage],
        "settings": settings_content(settings),
        "until": until,
    }
    digest = hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
    return f"{IMPORT_PREFIX}{digest[:_DIGITS]}"


def lineage_file(imports_dir: Path) -> Path:
    """Where the reissues that imports were told of are kept, all together."""
    return imports_dir / "lineage.npz"


def short_name(topic_id: str) -> str:
    """An import's name in names of files and folders."""
    return topic_id.removeprefix(IMPORT_PREFIX)


def progress_application(topic_id: str) -> str:
    """Under this name the archive's log keeps how many days of an import are done."""
    return f"{topic_id}/days"


def completion_application(topic_id: str) -> str:
    """Under this name the archive's log keeps that an import is complete."""
    return f"{topic_id}/complete"


def handover_application(topic_id: str) -> str:
    """Under this name the archive's log keeps that an import's state was handed to the stream."""
    return f"{topic_id}/state"


def is_handed_over(table: ArchiveTable, topic_id: str) -> bool:
    """True when the state of an import was handed to the stream."""
    return table.exists() and table.open().transaction_version(handover_application(topic_id)) is not None


def is_complete(table: ArchiveTable, topic_id: str) -> bool:
    """True when all days of an import are in the archive."""
    return table.exists() and table.open().transaction_version(completion_application(topic_id)) is not None


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Nobody else runs the same import on this machine meanwhile; of two machines, the archive refuses the second."""
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            message = "the same import is running already"
            raise ConflictError(message) from error
        yield
    finally:
        os.close(descriptor)


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
