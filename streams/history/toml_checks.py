"""Checks of plain data from a TOML file; each error's field is the key at fault."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fraud.errors import InvalidInputError


def typed(given: Mapping[str, Any], name: str, wanted: type, key: str) -> Any:
    """What is given under a name, of exactly that type, or None."""
    value = given.get(name)
    if value is not None and type(value) is not wanted:
        message = f"is a {wanted.__name__}"
        raise InvalidInputError(message, field=f"{key}.{name}")
    return value


def strings(given: Mapping[str, Any], name: str, section: str) -> tuple[str, ...] | None:
    """A list of strings, or None."""
    value = given.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        message = "is a list of strings"
        raise InvalidInputError(message, field=f"{section}.{name}")
    return tuple(value)


def table(content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A table that has to be there."""
    value = content.get(name)
    if not isinstance(value, dict):
        raise not_a_table(name)
    return value


def not_a_table(name: str) -> InvalidInputError:
    """The error for something else in the place of a table."""
    return InvalidInputError(f"the mapping needs a table [{name}]", field=name)


def known(given: Mapping[str, Any], names: tuple[str, ...], path: str) -> None:
    """Refuse a key that is not one of `names`."""
    for key in given:
        if key not in names:
            message = f"is not known here; known are {', '.join(names)}"
            raise InvalidInputError(message, field=f"{path}{key}")
