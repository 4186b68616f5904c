"""Vendored files are what they say, and the colours can be read."""

from __future__ import annotations

import hashlib
import re
from importlib.resources import files
from itertools import product
from pathlib import Path

import pytest

STATIC = Path(str(files("fraud.console"))) / "static"
STYLE = (STATIC / "console.css").read_text(encoding="utf-8")


def test_vendored_files_have_their_checksums() -> None:
    vendor = STATIC / "vendor"
    listed = dict(reversed(line.split()) for line in (vendor / "SHA256SUMS").read_text(encoding="utf-8").splitlines())
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in vendor.iterdir()
        if path.name != "SHA256SUMS"
    }
    assert found == listed


def test_vendored_scripts_come_with_their_licence() -> None:
    assert (STATIC / "vendor" / "htmx-LICENSE.txt").read_text(encoding="utf-8").startswith("Zero-Clause BSD")


def test_no_static_file_of_ours_fetches_from_elsewhere() -> None:
    for path in (STATIC / "console.css", STATIC / "console.js"):
        assert not re.search(r"https?://|@import|url\(", path.read_text(encoding="utf-8")), path.name


def palette(dark: bool) -> dict[str, str]:
    roots = re.findall(r":root \{(.*?)\}", STYLE, re.DOTALL)
    colours: dict[str, str] = {}
    for root in roots[: 2 if dark else 1]:
        colours |= dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", root))
    return colours


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    lighter, darker = sorted((luminance(first), luminance(second)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


TEXT_ON = [
    *product(("text", "muted", "accent", "red", "amber", "green"), ("page", "surface", "raised", "accent-soft")),
    *product(("text", "muted", "amber", "accent"), ("amber-soft",)),
    *product(("text", "muted", "red"), ("red-soft",)),
    ("on-accent", "accent"),
    ("surface", "text"),
]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("front", "back"), TEXT_ON)
def test_text_can_be_read(front: str, back: str, dark: bool) -> None:
    colours = palette(dark)
    assert contrast(colours[front], colours[back]) >= 4.5


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("front", "back"), list(product(("control", "mark", "red", "accent"), ("surface", "page"))))
def test_controls_and_marks_can_be_made_out(front: str, back: str, dark: bool) -> None:
    colours = palette(dark)
    assert contrast(colours[front], colours[back]) >= 3
