"""The runbook is the table of metrics, and nothing in it is out of date."""

from __future__ import annotations

import re
from pathlib import Path

from streams.metrics import METRICS
from streams.runbook import FILE, render

ROOT = Path(__file__).parents[2]


def test_the_page_is_current() -> None:
    assert (ROOT / FILE).read_text(encoding="utf-8") == render(), "run: python -m streams.runbook"


def test_every_metric_has_its_section() -> None:
    assert re.findall(r"^### `(\w+)`$", render(), re.MULTILINE) == [metric.name for metric in METRICS]
