"""The command line starts without the product: what is not needed is not imported."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.main import get_group
from typer.testing import CliRunner

from fraud.cli import COMMANDS, app
from fraud.cli.lazy import LazyCommand, lazy_group, register

HEAVY = {"numba", "polars", "sklearn", "deltalake", "fastapi", "sqlalchemy", "kafka"}
RUN_AND_LIST = """
import sys
from fraud.cli import main
sys.argv = ["mimamori", *sys.argv[1:]]
try:
    main()
except SystemExit as ended:
    code = ended.code
print(*sorted({name.partition(".")[0] for name in sys.modules}), file=sys.stderr)
sys.exit(code)
"""


def run(folder: Path, *arguments: str) -> tuple[str, set[str]]:
    """Standard output of a command, and the top-level modules that it had imported when it ended."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MIMAMORI_")}
    done = subprocess.run(
        [sys.executable, "-c", RUN_AND_LIST, *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, set(done.stderr.split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["config", "show"]])
def test_small_commands_import_nothing_heavy(tmp_path: Path, arguments: list[str]) -> None:
    _, imported = run(tmp_path, *arguments)
    assert imported & HEAVY == set()


def test_help_names_every_command(tmp_path: Path) -> None:
    shown, _ = run(tmp_path, "--help")
    assert {command.name for command in COMMANDS} <= set(shown.split())


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_the_list_says_what_the_command_says(command: LazyCommand) -> None:
    loaded = command.load()
    first_paragraph = " ".join((loaded.help or "").split("\n\n")[0].split())
    assert command.help == first_paragraph


def test_a_lazy_command_is_the_command_itself(tmp_path: Path) -> None:
    shown, _ = run(tmp_path, "config", "show")
    assert "kafka" in json.loads(shown)
    listed = get_group(app).commands["config"]
    assert not hasattr(listed, "commands"), "before it is called, nothing is imported"


def test_wrong_names_are_answered_with_the_nearest() -> None:
    answer = CliRunner().invoke(app, ["chekpoints"])
    assert answer.exit_code == 2
    assert "checkpoints" in answer.output


def test_what_cannot_be_found_is_not_run_as_something_else() -> None:
    broken = [LazyCommand("gone", "fraud.cli.config:no_such_thing", "Not there.")]
    house = typer.Typer(cls=lazy_group(broken))
    register(house, broken)
    house.callback()(lambda: None)
    answer = CliRunner().invoke(house, ["gone"])
    assert isinstance(answer.exception, AttributeError)
