"""From text to records: line number and cells, by format. A file that cannot be read to its end is refused whole."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from typing import Any, Final

from fraud.alert_columns import Role, refused
from fraud.alert_files.layout import Layout, split_header
from fraud.alert_files.mapping import FileFormat, FileMapping
from fraud.errors import InvalidInputError

Record = tuple[int, list[str]]
Records = tuple[Layout, Iterator[Record]]
_DEEPEST: Final = 4  # objects within objects of JSON that are looked into
_MOST_NAMES: Final = 1_000
_HEAD: Final = 1_000


def open_records(data: bytes, codec: str, mapping: FileMapping, roles: frozenset[Role]) -> Records:
    """The layout and the records that are not blank, each with the number of its first line; in JSON, of its object."""
    if mapping.format is FileFormat.FIXED:
        return _fixed(data, codec, mapping, roles)
    if mapping.format is FileFormat.JSON:
        return _json(data.decode(codec), mapping, roles)
    return _csv(io.TextIOWrapper(io.BytesIO(data), encoding=codec, newline=""), mapping, roles)


def _csv(text: Iterable[str], mapping: FileMapping, roles: frozenset[Role]) -> Records:
    lines = iter(text)
    before, header = 0, ""
    for header in lines:
        before += 1
        if header.strip():
            break
    delimiter, names = split_header(header, "\t" if mapping.format is FileFormat.TSV else ",;\t")
    if not mapping.header:
        lines, before = chain([header], lines), before - 1
        names = [""] * len(names)
    return Layout(names, mapping, roles), _rows(lines, delimiter, before)


def _rows(text: Iterable[str], delimiter: str, before: int) -> Iterator[Record]:
    reader = csv.reader(text, delimiter=delimiter, strict=True)
    line = before
    try:
        for row in reader:
            first, line = line + 1, before + reader.line_num
            if any(row) and any(cell.strip() for cell in row):
                yield first, row
    except csv.Error:
        raise refused(f"the file is no CSV from line {line + 1} on") from None


def _fixed(data: bytes, codec: str, mapping: FileMapping, roles: frozenset[Role]) -> Records:
    """Cells by their bytes: that is how such files count, also where a sign has two of them."""
    if mapping.drop_columns:
        message = "drop_columns: of a file of fixed width, what is not named is not read"
        raise InvalidInputError(message, field="drop_columns")
    ranges = mapping.byte_ranges()
    by_place = {role: f"#{index + 1}" for index, role in enumerate(ranges)}
    layout = Layout([""] * len(ranges), FileMapping(columns=by_place), roles)
    data = data.removeprefix(b"\xef\xbb\xbf")

    def rows() -> Iterator[Record]:
        for number, line in enumerate(io.BytesIO(data), start=1):
            if line.strip():
                yield number, [line[start:end].decode(codec, "replace") for start, end in ranges.values()]

    return layout, rows()


class _Number(str):
    """A JSON number as it is spelled, so that no digit is lost."""

    __slots__ = ()


_decode: Callable[[str, int], tuple[Any, int]] = json.JSONDecoder(parse_float=_Number, parse_int=_Number).raw_decode


def _json(text: str, mapping: FileMapping, roles: frozenset[Role]) -> Records:
    objects = _objects(text)
    head = list(islice(objects, _HEAD))  # an object may leave out what others have
    if not head:
        raise refused("the file holds no JSON objects")
    layout = Layout(list(dict.fromkeys(name for _, record in head for name in _flat(record))), mapping, roles)
    places = {name: position for position, name in enumerate(layout.names)}

    def rows() -> Iterator[Record]:
        for number, record in chain(head, objects):
            cells = [""] * len(layout.names)
            for name, value in _flat(record).items():
                position = places.get(name)
                if position is None:
                    if len(places) >= _MOST_NAMES:
                        raise refused(f"the objects have more than {_MOST_NAMES} different names")
                    places[name] = position = layout.add(name)
                    cells.append("")
                if position not in layout.dropped:
                    cells[position] = value
            yield number, cells

    return layout, rows()


def _objects(text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of an array, or of lines, one at a time, numbered from 1."""
    at = _skip(text, 0)
    in_array = text.startswith("[", at)
    at = _skip(text, at + 1) if in_array else at
    number = 0
    while at < len(text) and not (in_array and text[at] == "]"):
        number += 1
        try:
            value, at = _decode(text, at)
        except (ValueError, RecursionError):
            raise refused(f"the file is no JSON from object {number} on") from None
        if not isinstance(value, dict):
            raise refused(f"object {number} of the file is none: an array of objects, or one object a line, is read")
        yield number, value
        at = _skip(text, at)
        if in_array and text.startswith(",", at):
            at = _skip(text, at + 1)
        elif in_array and not text.startswith("]", at):
            raise refused(f"the file is no JSON after object {number}")


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n\ufeff":
        at += 1
    return at


def _flat(record: dict[str, Any]) -> dict[str, str]:
    """Names to texts; of an object within, `card.number`. Lists are not looked into."""
    found: dict[str, str] = {}
    pending: list[tuple[str, dict[str, Any], int]] = [("", record, 1)]
    while pending:
        path, current, depth = pending.pop()
        for key, value in current.items():
            name = f"{path}.{key}" if path else key
            if isinstance(value, dict) and depth < _DEEPEST:
                pending.append((name, value, depth + 1))
            elif isinstance(value, str):
                found[name] = value
            elif isinstance(value, bool):
                found[name] = "true" if value else "false"
            else:
                found[name] = ""
    return found
