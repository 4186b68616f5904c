"""The house rules that a reader would otherwise have to remember."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for package in ("fraud", "models", "streams") for path in (ROOT / package).rglob("*.py"))
ERROR_LINES = 600
LARGE_LINES = 300


def test_no_module_is_too_large_to_hold_in_the_head() -> None:
    sizes = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in MODULES}
    assert {name: size for name, size in sizes.items() if size > ERROR_LINES} == {}
    large = [name for name, size in sizes.items() if size > LARGE_LINES]
    assert len(large) <= len(sizes) // 20, large


def test_serving_code_never_unpickles() -> None:
    """Only training may touch the data scientists' estimator file; nothing anywhere may load a pickle."""
    forbidden = re.compile(r"pickle\.load|joblib\.load|allow_pickle=True")
    offenders = [str(path.relative_to(ROOT)) for path in MODULES if forbidden.search(path.read_text(encoding="utf-8"))]
    assert offenders == []


def test_sql_lives_in_the_store() -> None:
    statement = re.compile(r"\b(select|insert|update|delete)\(\s*[a-z_]*(table|position|case|detection)", re.IGNORECASE)
    offenders = [
        str(path.relative_to(ROOT))
        for path in MODULES
        if "fraud/store" not in path.as_posix() and statement.search(path.read_text(encoding="utf-8"))
    ]
    assert offenders == []


def tracked_files() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    return [ROOT / name for name in listed.stdout.decode().split("\0") if name]


def test_lock_files_carry_hashes_and_no_addresses() -> None:
    for name in ("uv.txt", "runtime.txt", "dev.txt"):
        text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
        assert "--hash=sha256:" in text
        assert "://" not in text
        assert not re.search(r"^--", text, re.MULTILINE)


def test_links_between_documents_lead_somewhere() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    link = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)(?:#[^)]*)?\)")
    broken = [
        f"{path.relative_to(ROOT)}: {target}"
        for path in tracked_files()
        if path.suffix == ".md" and path.exists()
        for target in link.findall(path.read_text(encoding="utf-8"))
        if not (path.parent / target).exists()
    ]
    assert broken == []
