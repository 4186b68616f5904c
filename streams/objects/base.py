"""What every object store does, and how it fails."""

from __future__ import annotations

import errno
import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fraud.errors import InvalidInputError, NotFoundError, UnavailableError
from models.files import replacing

# Moved at once: a part of an upload (10,000 of them are the most an object may have: 80 GB), and one request of a read.
PART_BYTES: Final = 8 * 1024 * 1024
_NAME: Final = re.compile(r"[A-Za-z0-9_=-][A-Za-z0-9._=-]*(/[A-Za-z0-9_=-][A-Za-z0-9._=-]*)*")

Chunk = bytes | bytearray | memoryview


class ObjectStoreError(UnavailableError):
    """The store did not do what was asked; the message says why and what to do. Nothing half-written is visible."""

    code = "OBJECT_STORE"


class ObjectMissingError(NotFoundError):
    """No object has that name."""

    code = "OBJECT_MISSING"


@dataclass(frozen=True, slots=True)
class StoredObject:
    """What was written or read: its size in bytes and its SHA-256 in hexadecimal."""

    size: int
    sha256: str


class ObjectStore(ABC):
    """Objects under names such as `topic/00003/123-4.cards`: relative, `/` between the parts.

    All methods may be called from several threads, and none from a coroutine. They raise `ObjectStoreError` where the
    store fails (a remote one after a minute of retries) and `InvalidInputError` for a name that is none.
    """

    def __init__(self, root: str) -> None:
        self.root = root  # for messages and for people; never with credentials

    @abstractmethod
    def put(self, name: str, chunks: Iterable[Chunk]) -> StoredObject:
        """Write an object from its parts in order; durable and visible when this returns, invisible until then.

        `chunks` may be of any size and may reuse one buffer. When it raises, nothing is written and its error goes on.
        """

    @abstractmethod
    def get(self, name: str) -> Iterator[bytes]:
        """The object's bytes in order, in parts of at most 8 MiB. `ObjectMissingError` where there is none."""

    @abstractmethod
    def open_local(self, name: str) -> Path | None:
        """The object's own file, to be mapped into memory and not to be changed; None where the store is remote.

        `ObjectMissingError` where the store is local and has no such object.
        """

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove an object; none of that name is fine."""

    @abstractmethod
    def exists(self, name: str) -> bool:
        """Whether there is an object of that name."""

    @abstractmethod
    def list(self, prefix: str = "") -> Sequence[str]:
        """The names below the folder `prefix` (whole parts of a name), sorted. Empty where there are none."""

    def read_into(self, name: str, path: Path) -> StoredObject:
        """Copy an object to a local file, there as a whole or not at all. `ObjectMissingError` where there is none."""
        digest, size = hashlib.sha256(), 0
        with local_errors(str(path)), replacing(path) as file:
            for part in self.get(name):
                digest.update(part)
                size += file.write(part)
        return StoredObject(size, digest.hexdigest())


def in_parts(chunks: Iterable[Chunk]) -> Iterator[bytes]:
    """The same bytes in parts of at most 8 MiB, each a copy, so that a buffer may be used again."""
    for chunk in chunks:
        view = memoryview(chunk).cast("B")
        for start in range(0, len(view), PART_BYTES):
            yield bytes(view[start : start + PART_BYTES])


def checked(name: str) -> str:
    """The name, if it is one; else `InvalidInputError`."""
    if not _NAME.fullmatch(name):
        message = (
            "an object's name is made of letters, digits and . _ = -, with / between its parts; none begins with ."
        )
        raise InvalidInputError(message, field="name")
    return name


def missing(name: str, root: str) -> ObjectMissingError:
    """The error for a name that no object has."""
    return ObjectMissingError(f"there is no object {name} in {root}")


@contextmanager
def local_errors(where: str) -> Iterator[None]:
    """Turn the system's errors about `where` into ones that say what to do."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            what = "has no room left; make room or move it. Nothing half-written stays"
        elif error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            what = "may not be read or written by this user; change its owner or rights"
        else:
            what = f"cannot be used ({errno.errorcode.get(error.errno or 0, type(error).__name__)}); look at the disk"
        message = f"{where} {what}"
        raise ObjectStoreError(message) from error
