"""The commands that people meet first: what they print, and what they never print."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fraud.cards import luhn_valid
from fraud.cli import main

KEY = "5a" * 32


@dataclass(frozen=True)
class Done:
    returncode: int
    stdout: str
    stderr: str


Run = Callable[..., Done]


def card_number(start: str) -> str:
    return next(number for digit in "0123456789" if luhn_valid(number := start + digit))


NUMBERS = [card_number(f"453201{index:09d}") for index in range(3)]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MIMAMORI_PORTFOLIO__BIN_RANGES", '["453201"]')
    monkeypatch.setenv("MIMAMORI_CARDS__KEYS", json.dumps({"1": KEY}))

    def run(*arguments: str, stdin: str = "") -> Done:
        monkeypatch.setattr(sys, "argv", ["mimamori", *arguments])
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        with pytest.raises(SystemExit) as ended:
            main()
        shown = capsys.readouterr()
        return Done(int(ended.value.code or 0), shown.out, shown.err)

    return run


def test_config_show_prints_json_and_no_secret(run: Run) -> None:
    shown = run("config", "show")
    assert shown.returncode == 0
    assert json.loads(shown.stdout)["portfolio"]["bin_ranges"] == ["453201"]
    assert KEY not in shown.stdout + shown.stderr


def test_an_unknown_setting_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIMAMORI_KAFKAA", "x")
    refused = run("config", "show")
    assert refused.returncode == 2
    assert "MIMAMORI_KAFKAA" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_tokenize_prints_references_and_never_a_number(run: Run) -> None:
    wrong = NUMBERS[0][:-1] + str((int(NUMBERS[0][-1]) + 1) % 10)
    done = run("cards", "tokenize", stdin="\n".join([*NUMBERS, wrong, ""]))
    assert done.returncode == 2
    lines = done.stdout.split("\n")
    assert all(line.startswith("v1:") for line in lines[:3])
    assert lines[3] == ""
    assert "line 4" in done.stderr
    assert not any(number in done.stdout + done.stderr for number in [*NUMBERS, wrong])


def create(run: Run, *changes: str) -> Done:
    window = changes or ("--from", "2022-07-19", "--to", "2022-07-26")
    arguments = ("--name", "Online shop", "--elements", "pan,expiry,cvv2", "--source", "ACQUIRER")
    return run("exposure", "create", "shop", *arguments, *window)


def test_exposed_cards_come_in_once_however_often_the_file_does(run: Run, tmp_path: Path) -> None:
    assert "tier E3" in create(run).stdout
    rows = "\n".join(f"{number},12/25" for number in NUMBERS)
    (tmp_path / "cards.csv").write_text(f"card_number,expiry\n{rows}\n", encoding="utf-8")
    first = run("exposure", "import", "shop", "cards.csv")
    again = run("exposure", "import", "shop", "cards.csv")
    assert "accepted 3" in first.stdout
    assert "nothing changed" in again.stdout
    everything = b"".join(path.read_bytes() for path in tmp_path.rglob("*.db*"))
    assert not any(number.encode() in everything for number in NUMBERS)


@pytest.mark.parametrize(
    ("window", "named"),
    [
        (("--from", "2022-07-26", "--to", "2022-07-19"), "ends_on"),
        (("--from", "yesterday", "--to", "2022-07-19"), "--from"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused_in_one_line(run: Run, window: tuple[str, ...], named: str) -> None:
    refused = create(run, *window)
    assert refused.returncode == 2
    assert named in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_column_of_security_codes_refuses_the_file_without_showing_one(run: Run, tmp_path: Path) -> None:
    create(run)
    rows = "\n".join(f"{number},847" for number in NUMBERS)
    (tmp_path / "cards.csv").write_text(f"card_number,cvv2\n{rows}\n", encoding="utf-8")
    refused = run("exposure", "import", "shop", "cards.csv")
    assert refused.returncode == 2
    assert "847" not in refused.stdout + refused.stderr
    assert "Traceback" not in refused.stderr
