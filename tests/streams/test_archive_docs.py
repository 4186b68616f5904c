"""The archive's page: its examples run, with plain tools, and its table is the schema. And the commands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pytest
from archive_samples import NOW, TOPIC, make_columns, make_rows
from typer.testing import CliRunner

from fraud.cli.archive import app
from fraud.transactions import Columns, enum_code
from streams.archive import ARCHIVE_COLUMNS, ArchiveWriter

PAGE = (Path(__file__).parents[2] / "docs" / "archive.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
CARD = "v1:" + "ab" * 32


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Thirty online purchases, three of them on the page's own card, in two segments."""
    columns = make_columns(30)
    refs = columns["card_ref"].copy()
    refs[::10] = CARD
    named = {name: columns[name] for name in columns} | {
        "card_ref": refs,
        "card_key": np.where(refs == CARD, np.uint64(0xABABABABABABABAB), columns["card_key"]),
        "channel": np.full(30, enum_code("channel", "ecommerce"), np.int8),
    }
    folder = tmp_path / "archive"
    writer = ArchiveWriter(folder)
    writer.begin(TOPIC, 0, 0)
    for first in (0, 15):
        part = Columns(named, 30).take(range(first, first + 15))
        rows = make_rows(15, first=first, columns=part)
        rows.probability[:] = 0.95
        writer.add(TOPIC, 0, rows)
        writer.commit(TOPIC, 0, first + 15)
    return folder


def run(example: str, root: Path) -> str:
    assert "/var/lib/mimamori/archive" in example
    assert "streams" not in example
    code = example.replace("/var/lib/mimamori/archive", str(root))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, env={"POLARS_FMT_MAX_ROWS": "50"}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_examples_run_without_our_code_and_find_the_rows(root: Path) -> None:
    daily, suspicious, one_card = (run(example, root) for example in EXAMPLES)
    assert "2025-10-09" in daily
    assert "30" in daily
    assert suspicious.count("v1:") == 10
    assert f"('{CARD}', 'e0', 0.0" in suspicious
    assert sorted(re.findall(r"\be\d+\b", one_card)) == ["e0", "e10", "e20"]


def test_duckdb_and_the_contract_agree_on_every_column(root: Path) -> None:
    query = "DESCRIBE SELECT * FROM read_parquet(?, hive_partitioning = true)"
    described = {row[0]: row[1] for row in duckdb.execute(query, [str(root / "*/*.parquet")]).fetchall()}
    names = {
        "boolean": "BOOLEAN", "byte": "TINYINT", "short": "SMALLINT", "integer": "INTEGER", "long": "BIGINT",
        "float": "FLOAT", "double": "DOUBLE", "string": "VARCHAR", "binary": "BLOB", "date": "DATE",
    }  # fmt: skip
    assert described == {item.name: names[item.type] for item in ARCHIVE_COLUMNS}


def test_the_pages_table_is_the_schema() -> None:
    listed = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*) \|$", PAGE, re.MULTILINE)
    assert listed == [(item.name, item.type, item.meaning) for item in ARCHIVE_COLUMNS]


@pytest.fixture
def settings(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIMAMORI_ARCHIVE__ROOT", str(root))
    monkeypatch.setenv("MIMAMORI_ARCHIVE__RETENTION_DAYS", "36500")


@pytest.mark.usefixtures("settings")
def test_the_commands_say_and_do_what_they_say(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def call(*arguments: str) -> str:
        result = CliRunner().invoke(app, arguments, catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    info = json.loads(call("info"))
    assert (info["files"], info["rows"], info["first_day"]) == (2, 30, "2025-10-09")
    assert "2 files became 1, 30 rows" in call("compact")
    assert json.loads(call("info"))["files"] == 1
    assert "0 files of days before" in call("vacuum")
    monkeypatch.setenv("MIMAMORI_ARCHIVE__RETENTION_DAYS", "1")
    assert call("vacuum", "--dry-run").startswith("1 files of days before")
    assert json.loads(call("info"))["rows"] == 30
    call("vacuum")
    assert json.loads(call("info"))["rows"] == 0
    assert len(list(root.glob("*/*.parquet"))) == 3  # invisible, but younger than a week


def test_storage_options_are_shown_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    from fraud.settings import load_settings, masked

    monkeypatch.setenv("MIMAMORI_ARCHIVE__STORAGE_OPTIONS", json.dumps({"aws_secret_access_key": f"key-{NOW}"}))
    assert f"key-{NOW}" not in json.dumps(masked(load_settings()))
