"""Objects as files of a local folder."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

from models.files import replacing, sync_folder
from streams.objects.base import PART_BYTES, Chunk, ObjectStore, StoredObject, checked, in_parts, local_errors, missing

_TEMPORARY_SECONDS: Final = 86_400  # an upload that takes longer than a day was ended in the middle


class FolderStore(ObjectStore):
    """Objects in `folder`, which is made when the first one is written."""

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder))
        self._folder = folder
        self._remove_temporary()

    def put(self, name: str, chunks: Iterable[Chunk]) -> StoredObject:
        """As `ObjectStore.put`: a new file beside its place, synced, renamed, and the folder synced."""
        path = self._path(name)
        digest, size = hashlib.sha256(), 0
        with local_errors(self.root):
            _make_folder(path.parent)
            with replacing(path) as file:
                for part in in_parts(chunks):
                    digest.update(part)
                    size += file.write(part)
        return StoredObject(size, digest.hexdigest())

    def get(self, name: str) -> Iterator[bytes]:
        """As `ObjectStore.get`."""
        path = self._existing(name)
        with local_errors(self.root), path.open("rb") as file:
            while part := file.read(PART_BYTES):
                yield part

    def open_local(self, name: str) -> Path | None:
        """As `ObjectStore.open_local`: the object's file."""
        return self._existing(name)

    def delete(self, name: str) -> None:
        """As `ObjectStore.delete`."""
        with local_errors(self.root):
            self._path(name).unlink(missing_ok=True)

    def exists(self, name: str) -> bool:
        """As `ObjectStore.exists`."""
        return self._path(name).is_file()

    def list(self, prefix: str = "") -> Sequence[str]:
        """As `ObjectStore.list`."""
        folder = self._path(prefix) if prefix else self._folder
        with local_errors(self.root):
            names = (path.relative_to(self._folder) for path in folder.rglob("*") if path.is_file())
            return sorted(name.as_posix() for name in names if not _is_hidden(name))

    def _existing(self, name: str) -> Path:
        path = self._path(name)
        if not path.is_file():
            raise missing(name, self.root)
        return path

    def _path(self, name: str) -> Path:
        return self._folder / checked(name)

    def _remove_temporary(self) -> None:
        """Files that a process which was killed had not finished."""
        before = time.time() - _TEMPORARY_SECONDS
        with local_errors(self.root):
            for path in self._folder.rglob(".*"):
                if path.is_file() and path.stat().st_mtime < before:
                    path.unlink(missing_ok=True)


def _is_hidden(name: Path) -> bool:
    return any(part.startswith(".") for part in name.parts)


def _make_folder(folder: Path) -> None:
    """Make a folder and have its entry, and those of the folders made above it, on the disk."""
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)
