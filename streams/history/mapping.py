"""The mapping file: which of the issuer's columns is which field of the contract, and how it is written there.

Everything that is wrong with a mapping is an `InvalidInputError` whose field is the key at fault.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from fraud.errors import InvalidInputError
from fraud.transactions import FIELD_BY_NAME, REQUIRED_FIELDS, Kind
from streams.history.file_mapping import FileMapping, read_files
from streams.history.toml_checks import known, not_a_table, table, typed

KeyField = Literal["card_ref", "account_ref"]

EPOCHS: Final = ("epoch_ms", "epoch_s")
ISO: Final = "iso"

_SECTIONS: Final = ("files", "fields", "lineage", "message_key")
_SOURCES: Final = ("column", "columns", "constant", "card_number", "digest_of")
_TEXTS: Final = (Kind.IDENTIFIER, Kind.TEXT)


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """Where one field of the contract comes from. Exactly one source is given.

    Args:
        name: the field of the contract.
        columns: source columns; several are joined with a space, a date and a time for example.
        constant: the same value for every row.
        card_number: the column is a card number, which becomes a reference in memory and is kept nowhere.
        digest_of: the columns of which a keyed digest becomes an `event_id`.
        format: of a time: `epoch_ms`, `epoch_s`, `iso`, or a pattern such as `%Y%m%d%H%M%S`.
        zone: IANA name of the zone in which times without an offset are meant.
        decimal: an amount is written with decimals, `10.75`; the currency says how many.
        absolute: the sign of an amount is ignored: the event type says the direction.
        values: source value to the contract's; a value that is not listed is missing.
        default: for rows in which nothing else was found.
        pad: zeros in front up to this many characters.
        prefix: put before every value, `x:` for example.
        trim: take spaces at both ends away.

    """

    name: str
    columns: tuple[str, ...] = ()
    constant: Any = None
    card_number: bool = False
    digest_of: bool = False
    format: str | None = None
    zone: str | None = None
    decimal: bool = False
    absolute: bool = False
    values: Mapping[str, Any] | None = None
    default: Any = None
    pad: int = 0
    prefix: str = ""
    trim: bool = True


@dataclass(frozen=True, slots=True)
class LineageMapping:
    """A table of reissued cards: the column of the old reference and that of the new one."""

    files: FileMapping
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class HistoryMapping:
    """A whole mapping file. `message_key` is what the deployment's producer uses as the record's key."""

    path: Path
    files: FileMapping
    fields: Mapping[str, FieldMapping]
    message_key: KeyField = "card_ref"
    lineage: LineageMapping | None = None
    content: Mapping[str, Any] = field(default_factory=dict)

    @property
    def source_columns(self) -> tuple[str, ...]:
        """Every column of the files that is read, each once."""
        return tuple(dict.fromkeys(name for item in self.fields.values() for name in item.columns))


def load_mapping(path: Path) -> HistoryMapping:
    """Read and check a mapping file (TOML); patterns of paths are relative to the folder that it is in."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        message = f"{path} cannot be read ({type(error).__name__})"
        raise InvalidInputError(message, field="mapping") from error
    except tomllib.TOMLDecodeError as error:
        message = f"{path.name} is no TOML: {error}"
        raise InvalidInputError(message, field="mapping") from error
    known(content, _SECTIONS, "")
    files = read_files(table(content, "files"), path.parent, "files")
    found = table(content, "fields")
    known(found, tuple(FIELD_BY_NAME), "fields.")
    fields = {name: _field(name, given) for name, given in found.items()}
    absent = [name for name in REQUIRED_FIELDS if name not in fields]
    if absent:
        message = f"every transaction needs {', '.join(absent)}"
        raise InvalidInputError(message, field="fields")
    message_key = content.get("message_key", "card_ref")
    if message_key not in ("card_ref", "account_ref"):
        message = "is card_ref or account_ref: what your producer uses as the key of a record"
        raise InvalidInputError(message, field="message_key")
    if message_key == "account_ref" and "account_ref" not in fields:
        message = "account_ref has to be mapped to be the key"
        raise InvalidInputError(message, field="message_key")
    lineage = _lineage(content["lineage"], path.parent) if "lineage" in content else None
    return HistoryMapping(path, files, fields, message_key, lineage, content)


def _lineage(given: Any, folder: Path) -> LineageMapping:
    if not isinstance(given, dict):
        raise not_a_table("lineage")
    files = read_files(given, folder, "lineage", ("old", "new"))
    for name in ("old", "new"):
        if not isinstance(given.get(name), str):
            message = "names the column of a card reference"
            raise InvalidInputError(message, field=f"lineage.{name}")
    return LineageMapping(files, given["old"], given["new"])


def _field(name: str, given: Any) -> FieldMapping:
    key = f"fields.{name}"
    if isinstance(given, str):
        given = {"column": given}
    if not isinstance(given, dict):
        message = "is the name of a column or a table"
        raise InvalidInputError(message, field=key)
    options = (*_SOURCES, "format", "zone", "decimal", "absolute", "values", "default", "pad", "prefix", "trim")
    known(given, options, f"{key}.")
    sources = [source for source in _SOURCES if source in given]
    if len(sources) != 1:
        message = f"needs exactly one of {', '.join(_SOURCES)}"
        raise InvalidInputError(message, field=key)
    (source,) = sources
    if source == "card_number" and name != "card_ref":
        message = "a card number becomes a card_ref and nothing else"
        raise InvalidInputError(message, field=f"{key}.card_number")
    if source == "digest_of" and name != "event_id":
        message = "only an event_id can be a digest of other columns"
        raise InvalidInputError(message, field=f"{key}.digest_of")
    mapping = FieldMapping(
        name=name,
        columns=_columns(given, source, key),
        constant=given.get("constant"),
        card_number=source == "card_number",
        digest_of=source == "digest_of",
        format=typed(given, "format", str, key),
        zone=typed(given, "zone", str, key),
        decimal=bool(typed(given, "decimal", bool, key)),
        absolute=bool(typed(given, "absolute", bool, key)),
        values=_values(given, key),
        default=given.get("default"),
        pad=typed(given, "pad", int, key) or 0,
        prefix=typed(given, "prefix", str, key) or "",
        trim=given.get("trim", True) is not False,
    )
    _check_fits(mapping, key)
    return mapping


def _columns(given: Mapping[str, Any], source: str, key: str) -> tuple[str, ...]:
    if source == "constant":
        return ()
    names = given[source]
    names = [names] if isinstance(names, str) else names
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        message = "names a column, or several in a list"
        raise InvalidInputError(message, field=f"{key}.{source}")
    if source in ("column", "card_number") and len(names) > 1:
        message = "names one column; several are `columns`"
        raise InvalidInputError(message, field=f"{key}.{source}")
    return tuple(names)


def _values(given: Mapping[str, Any], key: str) -> dict[str, Any] | None:
    values = given.get("values")
    if values is None:
        return None
    if not isinstance(values, dict) or not values:
        raise not_a_table(f"{key}.values")
    return values


def _check_fits(mapping: FieldMapping, key: str) -> None:
    """Options that the field's kind has no use for, and values that the contract does not have."""
    contract = FIELD_BY_NAME[mapping.name]
    timed = contract.kind is Kind.TIMESTAMP
    if (mapping.format or mapping.zone) and not timed:
        message = "only times have a format and a zone"
        raise InvalidInputError(message, field=key)
    if timed and mapping.columns:
        _check_time(mapping, key)
    if (mapping.decimal or mapping.absolute) and not mapping.name.endswith("_minor"):
        message = "only amounts are decimal or absolute"
        raise InvalidInputError(message, field=key)
    if mapping.prefix and contract.kind not in _TEXTS:
        message = "only identifiers and texts have a prefix"
        raise InvalidInputError(message, field=f"{key}.prefix")
    given = [value for value in (mapping.constant, mapping.default) if value is not None]
    given += list((mapping.values or {}).values())
    if contract.kind is Kind.BOOLEAN and not all(isinstance(value, bool) for value in given):
        message = "its values are true and false"
        raise InvalidInputError(message, field=key)
    if contract.kind is Kind.ENUM and contract.name != "event_type" and not set(given) <= set(contract.values):
        message = f"its values are {', '.join(contract.values)}"
        raise InvalidInputError(message, field=key)


def _check_time(mapping: FieldMapping, key: str) -> None:
    style = mapping.format
    if style is None:
        message = "is epoch_ms, epoch_s, iso, or a pattern such as %Y-%m-%d %H:%M:%S"
        raise InvalidInputError(message, field=f"{key}.format")
    if style not in EPOCHS and "%" not in style and style != ISO:
        message = "is epoch_ms, epoch_s, iso, or a pattern such as %Y-%m-%d %H:%M:%S"
        raise InvalidInputError(message, field=f"{key}.format")
    if style not in EPOCHS and "%z" not in style and mapping.zone is None:
        message = "is needed for times that do not say their offset, such as Asia/Tokyo"
        raise InvalidInputError(message, field=f"{key}.zone")
    if mapping.zone is not None:
        try:
            ZoneInfo(mapping.zone)
        except (KeyError, ValueError, OSError) as error:  # what a name that is none gives depends on the name
            message = "is no IANA time zone, such as Asia/Tokyo"
            raise InvalidInputError(message, field=f"{key}.zone") from error
