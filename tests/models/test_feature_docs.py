from __future__ import annotations

from pathlib import Path

from models.feature_docs import FILE, render
from models.features import FEATURE_NAMES

ROOT = Path(__file__).parents[2]


def test_the_page_is_current():
    assert (ROOT / FILE).read_text(encoding="utf-8") == render(), "run: python -m models.feature_docs"


def test_every_feature_is_on_the_page_once():
    page = render()
    assert all(page.count(f"| `{name}` |") == 1 for name in FEATURE_NAMES)
