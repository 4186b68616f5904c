"""Objects under names, such as state snapshots: in a local folder, or in an object store (S3 and what is like it).

An object is there as a whole or not at all. Names are made to be written once (a snapshot's carries partition, offset
and owner epoch), so nothing here guards against two writers of one name: the later one replaces the object.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

from pydantic import SecretStr

from fraud.errors import ConfigurationError
from streams.objects.base import PART_BYTES, ObjectMissingError, ObjectStore, ObjectStoreError, StoredObject
from streams.objects.folder import FolderStore
from streams.objects.remote import RemoteStore, plain_url

__all__ = [
    "PART_BYTES",
    "ObjectMissingError",
    "ObjectStore",
    "ObjectStoreError",
    "StoredObject",
    "open_object_store",
]

_RETRY_SECONDS: Final = 60.0


def open_object_store(
    root: str | Path,
    storage_options: Mapping[str, SecretStr | str] | None = None,
    *,
    retry_seconds: float = _RETRY_SECONDS,
) -> ObjectStore:
    """The store at a folder (a path or a `file://` URL) or at a URL such as `s3://bucket/snapshots`.

    Nothing is asked of a remote store yet. `storage_options` are named as the archive's (`aws_access_key_id`,
    `aws_endpoint_url`, `aws_region`, `aws_allow_http`, ...); a folder needs none. A request that a remote store fails
    is repeated with growing pauses, up to twelve times and for `retry_seconds`; 0 asks once.

    Raises:
        ConfigurationError: an unknown kind of URL or an unknown option.

    """
    text = str(root)
    if "://" not in text:
        return FolderStore(Path(text).absolute())
    parts = urlsplit(text)
    if parts.scheme == "file":
        return FolderStore(Path(unquote(parts.path)))
    if parts.scheme not in {"s3", "s3a", "gs", "az", "abfs", "abfss"} or parts.username or parts.query:
        message = (
            f"{plain_url(text)} is no object store; name a folder, or a URL such as s3://bucket/folder "
            "without credentials in it (those belong in storage_options)"
        )
        raise ConfigurationError(message)
    plain = {
        key: value.get_secret_value() if isinstance(value, SecretStr) else value
        for key, value in (storage_options or {}).items()
    }
    return RemoteStore(text.rstrip("/"), plain, retry_seconds)
