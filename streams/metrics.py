"""The worker's metrics, as `streams.metric_table` describes them.

Labels hold only words from closed lists and partition numbers: nothing of a card can get into one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from fraud.transactions import FIELD_BY_NAME
from streams.dead_letters import ErrorClass
from streams.metric_table import METRICS, Label, MetricName

CONTENT_TYPE: Final = CONTENT_TYPE_PLAIN_0_0_4
OTHER: Final = "other"

# Around the promise of 100 ms for 99 of 100 batches; what is slower than 10 s is only slow.
SECONDS_BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 2.5, 10.0)

_ALLOWED: Final[Mapping[str, Callable[[str], object]]] = {
    "partition": re.compile(r"[0-9]{1,6}").fullmatch,
    "error_class": frozenset(str(item) for item in ErrorClass).__contains__,
    "field": frozenset(FIELD_BY_NAME).__contains__,
    "model_digest": re.compile(r"[0-9a-f]{64}|none").fullmatch,
    "step": frozenset({"archive", "snapshot"}).__contains__,
}


class Metrics:
    """All metrics of one process, in a registry of their own. Safe from several threads."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._gauges: dict[str, Gauge] = {}
        self._histograms: dict[str, Histogram] = {}
        for metric in METRICS:
            if metric.kind == "counter":
                self._counters[metric.name] = Counter(
                    metric.name, metric.meaning, metric.labels, registry=self._registry
                )
            elif metric.kind == "gauge":
                self._gauges[metric.name] = Gauge(metric.name, metric.meaning, metric.labels, registry=self._registry)
            else:
                self._histograms[metric.name] = Histogram(
                    metric.name, metric.meaning, metric.labels, registry=self._registry, buckets=SECONDS_BUCKETS
                )

    def add(self, name: MetricName, amount: float = 1, **labels: str | int) -> None:
        """Raise a counter."""
        counter = self._counters[name]
        (counter.labels(**_clean(labels)) if labels else counter).inc(amount)

    def set(self, name: MetricName, value: float, **labels: str | int) -> None:
        """Set a gauge."""
        gauge = self._gauges[name]
        (gauge.labels(**_clean(labels)) if labels else gauge).set(value)

    def follow(self, name: MetricName, value: Callable[[], float], **labels: str | int) -> None:
        """Let a gauge ask for its value whenever it is read."""
        gauge = self._gauges[name]
        (gauge.labels(**_clean(labels)) if labels else gauge).set_function(value)

    def observe(self, name: MetricName, value: float) -> None:
        """Count a value of a histogram."""
        self._histograms[name].observe(value)

    def forget(self, label: Label, value: str | int | None = None) -> None:
        """Drop the gauges' series of one label value, or of all: a partition that has left, a model that was."""
        for metric in METRICS:
            if metric.kind == "gauge" and metric.labels == (label,):
                if value is None:
                    self._gauges[metric.name].clear()
                else:
                    self._gauges[metric.name].remove_by_labels(_clean({label: value}))

    def expose(self) -> bytes:
        """Everything, in Prometheus' text format 0.0.4."""
        return generate_latest(self._registry)


def _clean(labels: Mapping[str, str | int]) -> dict[str, str]:
    return {name: str(value) if _ALLOWED[name](str(value)) else OTHER for name, value in labels.items()}
