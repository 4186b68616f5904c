"""Commands that are imported when they are called: `--help` and small commands must not wait for the whole product."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup
from typer.main import get_group


@dataclass(frozen=True, slots=True)
class LazyCommand:
    """A command, or a group of commands, that is not imported yet.

    `place` is `module:attribute`, a `typer.Typer` for a group and a function for a command. `help` is what the list of
    commands shows: the first paragraph of the help of what is there (a test compares the two).
    """

    name: str
    place: str
    help: str
    epilog: str | None = None

    def load(self) -> Any:
        """The command itself, built as if it had been registered without delay."""
        module, _, attribute = self.place.partition(":")
        found = getattr(import_module(module), attribute)
        house = typer.Typer(add_completion=False, rich_markup_mode="rich")
        if isinstance(found, typer.Typer):
            house.add_typer(found, name=self.name)
        else:
            house.command(self.name, epilog=self.epilog)(found)
        return get_group(house).commands[self.name]


def lazy_group(commands: Iterable[LazyCommand]) -> type[TyperGroup]:
    """A class of group that lists `commands` without importing any, and imports the one that is called."""
    by_name = {command.name: command for command in commands}

    class LazyGroup(TyperGroup):
        def resolve_command(self, ctx: Any, args: list[str]) -> Any:
            if args and args[0] in by_name:
                self.commands[args[0]] = by_name[args[0]].load()
            return super().resolve_command(ctx, args)

    return LazyGroup


def register(app: typer.Typer, commands: Iterable[LazyCommand]) -> None:
    """Put `commands` on the list of an app whose class is their `lazy_group`."""
    for command in commands:
        app.command(command.name, help=command.help)(_not_loaded)


def _not_loaded() -> None:
    message = "a command was called before it was loaded"
    raise AssertionError(message)
