"""Objects in S3, or in another store that the same library speaks to."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, MutableSequence, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import from_url

from fraud.errors import ConfigurationError
from streams.objects.base import (
    PART_BYTES,
    Chunk,
    ObjectMissingError,
    ObjectStore,
    ObjectStoreError,
    StoredObject,
    checked,
    in_parts,
    missing,
)

_PARTS_AT_ONCE: Final = 4
_RETRIES: Final = 12
# Options of the HTTP client, which the library wants apart; the archive's takes them all in one place.
_CLIENT_OPTIONS: Final = frozenset(
    {
        "allow_http",
        "allow_invalid_certificates",
        "connect_timeout",
        "http1_only",
        "http2_only",
        "pool_idle_timeout",
        "pool_max_idle_per_host",
        "proxy_ca_certificate",
        "proxy_excludes",
        "proxy_url",
        "read_timeout",
        "root_certificate",
        "timeout",
        "user_agent",
    }
)
# What the archive's library is told and this one has no use for.
_ARCHIVE_ONLY: Final = frozenset({"aws_s3_allow_unsafe_rename", "allow_unsafe_rename", "aws_s3_locking_provider"})


class RemoteStore(ObjectStore):
    """Objects below `url`. Args are those of `open_object_store`, with the options in the clear."""

    def __init__(self, url: str, options: Mapping[str, str], retry_seconds: float) -> None:
        super().__init__(url)
        # Typed by the library for each kind of store apart; which kind it is only the URL says.
        client: Any = {}
        config: Any = {}
        for name, value in options.items():
            key = name.lower()
            plain = key.removeprefix("aws_").removeprefix("google_").removeprefix("azure_")
            if plain in _CLIENT_OPTIONS:
                client[plain] = value
            elif key not in _ARCHIVE_ONLY:
                config[key] = value
        retry = {"max_retries": _RETRIES if retry_seconds else 0, "retry_timeout": timedelta(seconds=retry_seconds)}
        try:
            self._store: Any = from_url(url, config=config, client_options=client, retry_config=retry)  # type: ignore[call-overload]
        except (BaseError, ValueError) as error:
            message = f"the object store {plain_url(url)} cannot be used as it is set: {_first_line(error)}"
            raise ConfigurationError(message) from None  # the cause holds the options

    def put(self, name: str, chunks: Iterable[Chunk]) -> StoredObject:
        """As `ObjectStore.put`: one request, or an upload in parts that is given up when anything fails."""
        path = checked(name)
        digest, size = hashlib.sha256(), 0
        failures: MutableSequence[Exception] = []  # of `chunks`, which may read from a store itself

        async def counted() -> AsyncIterator[bytes]:
            nonlocal size
            try:
                for part in in_parts(chunks):
                    digest.update(part)
                    size += len(part)
                    yield part
            except Exception as error:
                failures.append(error)
                raise

        # The library runs a plain iterator inside its own runtime, where another call of it, as when `chunks` reads
        # from a store, is a panic. An asynchronous one runs in this thread.
        async def upload() -> None:
            await obstore.put_async(self._store, path, counted(), chunk_size=PART_BYTES, max_concurrency=_PARTS_AT_ONCE)

        try:
            with self._errors(name):
                asyncio.run(upload())
        except ObjectMissingError:
            if failures:
                raise failures[0] from None
            message = f"there is no bucket for {self.root}; make it, or name another"
            raise ObjectStoreError(message) from None
        return StoredObject(size, digest.hexdigest())

    def get(self, name: str) -> Iterator[bytes]:
        """As `ObjectStore.get`."""
        path = checked(name)
        with self._errors(name):
            size = int(obstore.head(self._store, path)["size"])
        # By ranges: a request that takes long is cut off by its time limit, and a failed one is asked for again.
        for start in range(0, size, PART_BYTES):
            with self._errors(name):
                part = obstore.get_range(self._store, path, start=start, end=min(start + PART_BYTES, size)).to_bytes()
            yield part

    def open_local(self, name: str) -> Path | None:
        """As `ObjectStore.open_local`: None, there is no file."""
        checked(name)
        return None

    def delete(self, name: str) -> None:
        """As `ObjectStore.delete`."""
        try:
            with self._errors(name):
                obstore.delete(self._store, checked(name))
        except ObjectMissingError:
            return

    def exists(self, name: str) -> bool:
        """As `ObjectStore.exists`."""
        try:
            with self._errors(name):
                obstore.head(self._store, checked(name))
        except ObjectMissingError:
            return False
        return True

    def list(self, prefix: str = "") -> Sequence[str]:
        """As `ObjectStore.list`."""
        with self._errors(prefix):
            pages = obstore.list(self._store, prefix=checked(prefix) if prefix else None)
            return sorted(str(item["path"]) for page in pages for item in page)

    @contextmanager
    def _errors(self, name: str) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            raise missing(name, self.root) from None
        except BaseError as error:
            text = _first_line(error)
            refused = isinstance(error, PermissionDeniedError | UnauthenticatedError)
            if refused or re.search(r"status code: 40[13]\b", text):  # a refused listing has no class of its own
                message = (
                    f"the object store {self.root} refuses the credentials it was given; "
                    "check storage_options and what the bucket's policy allows (get, put, delete, list)"
                )
            else:
                message = (
                    f"the object store {self.root} does not answer as it should: {text}; "
                    "check that it runs, that the bucket is there, and the endpoint in storage_options"
                )
            raise ObjectStoreError(message) from None


def _first_line(error: Exception) -> str:
    """What the library says, without the queries of its requests: they may carry a signature."""
    return re.sub(r"\?\S*", "", str(error).partition("\n")[0])


def plain_url(url: str) -> str:
    """A URL without user, password, port and query: for messages."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}{parts.path}"
