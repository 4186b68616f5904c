"""Writes the JSON Schemas of all topics and the tables of the contract's page: `python -m streams.schema_files`.

The field table of `card.transactions` is the source; the files are checked in so that producers can read them, and a
test says when they are not current.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fraud.transactions import FIELDS, Field, Kind
from streams.dead_letters import ErrorClass
from streams.schema_topics import CARD_REF, TOPICS, Topic
from streams.wire_fields import ENTRY_MODE_DIGITS, INT64_MAX

SCHEMA_FOLDER = Path(__file__).parent / "schemas"
CONTRACT_PAGE = Path(__file__).parent.parent / "docs" / "wire-contract.md"

_DIALECT = "https://json-schema.org/draft/2020-12/schema"
_VERSION = 1
# Not blank, no control character: what the decoder can use as an identifier.
_IDENTIFIER_PATTERN = r"^(?=.*\S)[^\u0000-\u001f\u007f]+$"
_NOT_BLANK_PATTERN = r"\S"
# At least one character that shows; control characters are read as spaces.
_TEXT_PATTERN = r"[^\s\u0000-\u001f\u007f]"


def transactions_schema() -> dict[str, Any]:
    """JSON Schema of `card.transactions`: the values that the decoder uses.

    It is stricter than the decoder: an optional value that does not fit is still accepted there, and counts as
    missing. Null is allowed for every optional field, and means missing.
    """
    return _object(
        "card.transactions",
        "One transaction event. Key: card_ref or account_ref. An optional value that does not fit this schema counts "
        "as missing and the record goes on; a required one that does not fit sends the record to the dead letters. "
        "Fields that are not named here are ignored. Integers are written without a fraction.",
        {field.name: _field_schema(field) for field in FIELDS},
        [field.name for field in FIELDS if field.required],
    )


def topic_schema(topic: Topic) -> dict[str, Any]:
    """JSON Schema of one of the smaller topics."""
    schema = _object(
        topic.name,
        topic.description,
        {field.name: {"description": field.meaning, **field.schema} for field in topic.fields},
        [field.name for field in topic.fields if field.required],
    )
    if topic.tombstone:
        schema["type"] = ["object", "null"]
    if topic.alternatives:
        schema["anyOf"] = [{"required": list(names)} for names in topic.alternatives]
    return schema


def field_table() -> str:
    """The fields of `card.transactions` as a Markdown table."""
    rows = ["| field | required | type | meaning |", "|---|---|---|---|"]
    rows += [
        f"| `{field.name}` | {'yes' if field.required else ''} | {_type_words(field)} | {field.meaning} |"
        for field in FIELDS
    ]
    return "\n".join(rows)


def error_table() -> str:
    """The classes of dead letters as a Markdown table."""
    rows = ["| error class | meaning | replay |", "|---|---|---|"]
    rows += [f"| `{error}` | {error.meaning} | {'yes' if error.replayable else 'never'} |" for error in ErrorClass]
    return "\n".join(rows)


def generated_files() -> dict[Path, str]:
    """Every generated file with its text."""
    schemas = {"card.transactions": transactions_schema()} | {topic.name: topic_schema(topic) for topic in TOPICS}
    files = {
        SCHEMA_FOLDER / f"{name}.json": json.dumps(schema, indent=2, ensure_ascii=False) + "\n"
        for name, schema in schemas.items()
    }
    page = CONTRACT_PAGE.read_text(encoding="utf-8")
    page = _between_markers(page, "fields", field_table())
    files[CONTRACT_PAGE] = _between_markers(page, "dead letters", error_table())
    return files


def main() -> None:
    """Write every generated file."""
    for path, text in generated_files().items():
        path.write_text(text, encoding="utf-8")


def _object(topic: str, description: str, properties: dict[str, Any], required: list[str]) -> dict[str, Any]:
    return {
        "$schema": _DIALECT,
        "$id": f"urn:mimamori:schema:{topic}:{_VERSION}",
        "title": topic,
        "description": description,
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": True,
    }


def _field_schema(field: Field) -> dict[str, Any]:
    if field.name == "card_ref":
        constraints = dict(CARD_REF)
    elif field.name == "event_type":
        # Any word is accepted; the known ones say what the event does.
        constraints = {"type": "string", "pattern": _NOT_BLANK_PATTERN, "examples": list(field.values)}
    elif field.name == "pos_entry_mode":
        constraints = {"type": "string", "pattern": f"^[0-9]{{{ENTRY_MODE_DIGITS[0]},{ENTRY_MODE_DIGITS[-1]}}}$"}
    else:
        constraints = _KIND_SCHEMAS[field.kind](field)
    if not field.required:
        constraints = _nullable(constraints)
    return {"description": field.meaning, **constraints}


def _nullable(constraints: dict[str, Any]) -> dict[str, Any]:
    if "enum" in constraints:
        return constraints | {"enum": [*constraints["enum"], None]}
    types = constraints["type"]
    return constraints | {"type": [*([types] if isinstance(types, str) else types), "null"]}


def _string(field: Field, pattern: str) -> dict[str, Any]:
    return {"type": "string", "maxLength": field.limit, "pattern": pattern}


def _integer(field: Field) -> dict[str, Any]:
    return {"type": "integer", "minimum": 0, "maximum": INT64_MAX if field.limit is None else field.limit}


def _code(pattern: str, largest: int) -> dict[str, Any]:
    """A code as a string or as its number; a JSON Schema keyword looks only at values of its own type."""
    return {"type": ["string", "integer"], "pattern": pattern, "minimum": 0, "maximum": largest}


def _digits(field: Field) -> dict[str, Any]:
    largest = field.limit or 0
    return _code(f"^[0-9]{{1,{len(str(largest))}}}$", largest)


_KIND_SCHEMAS: dict[Kind, Callable[[Field], dict[str, Any]]] = {
    Kind.IDENTIFIER: lambda field: _string(field, _IDENTIFIER_PATTERN),
    Kind.TEXT: lambda field: _string(field, _TEXT_PATTERN),
    Kind.ENUM: lambda field: {"enum": list(field.values)},
    Kind.INTEGER: _integer,
    Kind.TIMESTAMP: _integer,
    Kind.BOOLEAN: lambda _: {"type": "boolean"},
    Kind.COUNTRY: lambda _: _code("^(?:[A-Z]{2,3}|[0-9]{3})$", 999),
    Kind.CURRENCY: lambda _: _code("^(?:[A-Z]{3}|[0-9]{3})$", 999),
    Kind.DIGITS: _digits,
    Kind.NUMBER: lambda _: {"type": "number"},
}

_KIND_WORDS: dict[Kind, Callable[[Field], str]] = {
    Kind.IDENTIFIER: lambda field: f"string, at most {field.limit}",
    Kind.TEXT: lambda field: f"text, at most {field.limit}",
    Kind.ENUM: lambda field: ", ".join(f"`{value}`" for value in field.values),
    Kind.INTEGER: lambda field: f"integer, 0 to {field.limit:,}",
    Kind.TIMESTAMP: lambda _: "integer, epoch milliseconds UTC",
    Kind.BOOLEAN: lambda _: "`true`, `false`",
    Kind.COUNTRY: lambda _: '`"JP"`, `"JPN"`, `"392"`, `392`',
    Kind.CURRENCY: lambda _: '`"JPY"`, `"392"`, `392`',
    Kind.DIGITS: lambda field: f"up to {len(str(field.limit))} digits, string or integer",
    Kind.NUMBER: lambda _: "number",
}


def _type_words(field: Field) -> str:
    if field.name == "pos_entry_mode":
        return f"string of {ENTRY_MODE_DIGITS[0]} to {ENTRY_MODE_DIGITS[-1]} digits"
    return _KIND_WORDS[field.kind](field)


def _between_markers(page: str, name: str, text: str) -> str:
    """The page with what stands between the two markers of that name replaced."""
    begin, end = f"<!-- generated: {name} -->", f"<!-- end: {name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    replaced, count = pattern.subn(lambda _: f"{begin}\n{text}\n{end}", page)
    if count != 1:
        message = f"the page needs the markers of {name!r} exactly once"
        raise ValueError(message)
    return replaced


if __name__ == "__main__":
    main()
