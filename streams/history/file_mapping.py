"""Which files an import reads, and how they are written."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from fraud.errors import InvalidInputError
from streams.history.toml_checks import known, strings

FileFormat = Literal["csv", "tsv", "parquet"]

_KEYS: Final = ("paths", "format", "encoding", "delimiter", "quote", "columns", "missing")
_FORMATS: Final = ("csv", "tsv", "parquet")


@dataclass(frozen=True, slots=True)
class FileMapping:
    """Files of one shape. `paths` are sorted; `columns` are the names where the files have no header line."""

    paths: tuple[Path, ...]
    format: FileFormat
    encoding: str = "utf-8"
    delimiter: str = ","
    quote: str | None = '"'
    columns: tuple[str, ...] | None = None
    missing: tuple[str, ...] = ()


def read_files(given: Mapping[str, Any], folder: Path, section: str, names: tuple[str, ...] = ()) -> FileMapping:
    """The files that a section of a mapping names; `names` are keys that the section has beside these."""
    known(given, (*_KEYS, *names), f"{section}.")
    patterns = given.get("paths", [])
    patterns = [patterns] if isinstance(patterns, str) else patterns
    if not isinstance(patterns, list) or not all(isinstance(item, str) for item in patterns) or not patterns:
        message = 'is a list of paths or patterns, such as ["export/2024-*.csv"]'
        raise InvalidInputError(message, field=f"{section}.paths")
    paths = sorted({path for pattern in patterns for path in _matches(folder, pattern)})
    if not paths:
        message = "names no file that exists"
        raise InvalidInputError(message, field=f"{section}.paths")
    style: Any = given.get("format") or _format_of(paths[0])
    if style not in _FORMATS:
        message = f"is one of {', '.join(_FORMATS)}"
        raise InvalidInputError(message, field=f"{section}.format")
    delimiter = given.get("delimiter", "\t" if style == "tsv" else ",")
    if not isinstance(delimiter, str) or len(delimiter) != 1:
        message = "is one character"
        raise InvalidInputError(message, field=f"{section}.delimiter")
    quote = given.get("quote", '"')
    if not isinstance(quote, str) or len(quote) > 1:
        message = "is one character, or empty for none"
        raise InvalidInputError(message, field=f"{section}.quote")
    encoding = given.get("encoding", "utf-8")
    try:
        codecs.lookup(encoding)
        csv.reader([], delimiter=delimiter, quotechar=quote or None, quoting=quoting(quote))
    except (LookupError, TypeError, ValueError) as error:
        message = "is an encoding such as utf-8 or shift_jis; and delimiter and quote must differ"
        raise InvalidInputError(message, field=f"{section}.encoding") from error
    columns = strings(given, "columns", section)
    return FileMapping(
        tuple(paths), style, encoding, delimiter, quote or None, columns, strings(given, "missing", section) or ()
    )


def quoting(quote: str | None) -> Literal[0, 3]:
    """How Python's csv module calls that."""
    return csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE


def _matches(folder: Path, pattern: str) -> list[Path]:
    path = Path(pattern)
    root, rest = (Path(path.anchor), str(path.relative_to(path.anchor))) if path.is_absolute() else (folder, pattern)
    return [found for found in root.glob(rest) if found.is_file()]


def _format_of(path: Path) -> str:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    return {".parquet": "parquet", ".tsv": "tsv", ".tab": "tsv"}.get(suffixes[-1] if suffixes else "", "csv")
