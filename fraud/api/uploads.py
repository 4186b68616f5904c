"""Files as request bodies: taken in as they come, held in memory, and never written anywhere."""

from __future__ import annotations

import re
from typing import Annotated, Final

from fastapi import Query, Request
from starlette.exceptions import HTTPException

from fraud.alert_columns import ALERT_ROLES
from fraud.alert_files import AlertFile, FileMapping, make_mapping
from fraud.api.services import Services
from fraud.cards import CardTokenizer
from fraud.errors import ConfigurationError, InvalidInputError
from fraud.store.database import read, write
from fraud.store.import_staging import ImportView, begin_import, get_import, stage_file, sweep_imports

# About 1,700,000 card references. Larger files go through the command line, which reads from disk.
UPLOAD_BYTES: Final = 128 << 20
# A form with a file in it would be written to a temporary folder by whoever parses it; and nothing is unpacked.
_TYPES = re.compile(
    r"\s*(?:text/csv|text/plain|text/tab-separated-values|application/octet-stream)\s*(?:;.*)?", re.IGNORECASE
)
MEDIA_TYPES: Final = ("text/csv", "text/plain", "text/tab-separated-values", "application/octet-stream")
# Where uploads come in: of the API, and of the console's import page.
LARGER_PATHS: Final = tuple(
    (re.compile(path), UPLOAD_BYTES)
    for path in (r"/api/v1/compromise-events/[^/]+/imports", r"/api/v1/card-references", r"/imports/upload/[^/]+")
)
_NAME: Final = r"^[^\x00-\x1f\x7f/\\]+$"

FileName = Annotated[str, Query(min_length=1, max_length=200, pattern=_NAME, description="For the record.")]
Format = Annotated[str, Query(max_length=10, description="`csv`, `tsv`, `json` or `fixed`.")]
Encoding = Annotated[str, Query(max_length=10, description="`auto`, `utf-8` or `cp932` (Shift_JIS).")]
Columns = Annotated[
    str,
    Query(
        max_length=2_000,
        description="Which column holds what, where its name does not say so: `card_ref=REF,expiry=#2`; of a file of "
        "fixed width the bytes: `card_ref=1-67`.",
    ),
]
DropColumn = Annotated[
    list[str], Query(max_length=100, description="Columns to discard unread, by name or place; such as security codes.")
]
ExpiryForm = Annotated[str, Query(max_length=10, description="`auto`, or `YYMM`.")]
Header = Annotated[bool, Query(description="False: the first line is a row, and columns are named by their place.")]


async def receive(request: Request) -> bytes:
    """The body of an upload; 415 for a form, for JSON as a media type, and for what is packed."""
    if not _TYPES.fullmatch(request.headers.get("content-type", "")) or "content-encoding" in request.headers:
        raise HTTPException(415)
    return b"".join([chunk async for chunk in request.stream()])


def upload_mapping(
    file_format: Format = "csv",
    encoding: Encoding = "auto",
    columns: Columns = "",
    drop_column: DropColumn = [],  # noqa: B006 - FastAPI makes a new one for each request
    expiry_form: ExpiryForm = "auto",
    header: Header = True,
) -> FileMapping:
    """A dependency: how the file is to be read."""
    return make_mapping(
        file_format=file_format,
        encoding=encoding,
        columns=columns,
        drop_columns=drop_column,
        expiry_form=expiry_form,
        header=header,
        roles=ALERT_ROLES,
    )


def tokenizer_for_uploads(services: Services) -> CardTokenizer | None:
    """The tokenizer where files with card numbers are taken; None where they are not."""
    settings = services.settings
    return CardTokenizer.from_settings(settings.cards) if settings.api.card_number_files else None


def open_upload(services: Services, data: bytes, mapping: FileMapping) -> AlertFile:
    """Open an exposed-card file; `InvalidInputError` on `file` where it has card numbers and they are not taken."""
    tokenizer = tokenizer_for_uploads(services)
    try:
        return AlertFile(data, mapping, tokenizer=tokenizer, guard=services.guard, max_bytes=UPLOAD_BYTES)
    except ConfigurationError:
        raise numbers_refused() from None


def numbers_refused() -> InvalidInputError:
    """The error for a file with card numbers where none are taken."""
    message = (
        "the file has a column of card numbers, which is not taken here: import it with `mimamori imports check` "
        "inside the card-data environment, or set api.card_number_files"
    )
    return InvalidInputError(message, field="file")


def begin_upload(services: Services, event_id: str, username: str, name: str, file: AlertFile) -> ImportView:
    """Begin the import of an opened file."""
    sweep_imports(services.engine, services.now())
    with write(services.engine) as connection:
        return begin_import(
            connection,
            event_id,
            provenance="ALERT_FILE",
            name=name,
            sha256=file.sha256,
            created_by=username,
            now=services.now(),
        )


def stage_upload(services: Services, staged: ImportView, file: AlertFile) -> ImportView:
    """Read it to its end, unless it was imported before."""
    if not staged.no_op:
        stage_file(services.engine, staged, file, services.now, lambda _read, _lines: None)
    with read(services.engine) as connection:
        return get_import(connection, staged.import_id)
