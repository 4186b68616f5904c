"""The runbook is the table of metrics, and nothing in it is out of date."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from fraud.settings import Settings
from streams.alerts import ALERTS, Alert
from streams.dead_letters import ErrorClass
from streams.metric_table import METRICS
from streams.runbook import FILE, render

ROOT = Path(__file__).parents[2]


def test_the_page_is_current() -> None:
    assert (ROOT / FILE).read_text(encoding="utf-8") == render(), "run: python -m streams.runbook"


def test_every_metric_has_its_section() -> None:
    assert re.findall(r"^### `(\w+)`$", render(), re.MULTILINE) == [metric.name for metric in METRICS]


def settings_names(model: type[BaseModel], prefix: str = "") -> set[str]:
    names = set()
    for name, field in model.model_fields.items():
        names.add(f"{prefix}{name}")
        kind: Any = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            names |= settings_names(kind, f"{prefix}{name}.")
    return names


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert.name)
def test_an_alert_asks_only_for_metrics_and_labels_that_there_are(alert: Alert) -> None:
    metrics = {metric.name: metric for metric in METRICS}
    for text in (alert.expression, alert.meaning, *alert.steps):
        found = re.findall(r"\bmimamori_\w+", text)
        assert set(found) <= set(metrics), text
    assert re.findall(r"\bmimamori_\w+", alert.expression)
    for name, label, value in re.findall(r'(mimamori_\w+)\{(\w+)=~?"([^"]+)"', alert.expression):
        assert label in metrics[name].labels
        known = {"archive", "snapshot"} if label == "step" else {str(item) for item in ErrorClass}
        assert any(re.fullmatch(value, item) for item in known), value
    for name in re.findall(r"(?:rate|increase)\((mimamori_\w+)", alert.expression):
        assert metrics[name].kind == "counter"
    for name in re.findall(r"deriv\((mimamori_\w+)", alert.expression):
        assert metrics[name].kind == "gauge"
    for brackets in ("()", "[]", "{}"):
        assert alert.expression.count(brackets[0]) == alert.expression.count(brackets[1])


def test_settings_and_alerts_that_the_page_names_are_there() -> None:
    names = settings_names(Settings)
    sections = {name.partition(".")[0] for name in names if "." in name}
    named = [word for word in re.findall(r"`([a-z_]+\.[a-z_]+)`", render()) if word.partition(".")[0] in sections]
    assert "stream.stalled_seconds" in named
    assert "snapshots.root" in named
    assert set(named) <= names
    alerts = {alert.name for alert in ALERTS}
    assert len(alerts) == len(ALERTS)
    for alert in ALERTS:
        for text in (alert.meaning, *alert.steps):
            assert set(re.findall(r"[Ss]ee ((?:[A-Z][a-z]+){2,})", text)) <= alerts


def test_what_operators_asked_for_has_an_alert() -> None:
    """Lag, a partition that stands still, checkpoints, dead letters, breaker, database, archive, snapshots."""
    watched = {name for alert in ALERTS for name in re.findall(r"\bmimamori_\w+", alert.expression)}
    assert watched >= {
        "mimamori_lag_seconds",
        "mimamori_checkpoint_age_seconds",
        "mimamori_checkpoint_failures_total",
        "mimamori_dead_letters_total",
        "mimamori_database_retries_total",
        "mimamori_started_at_seconds",
    }
