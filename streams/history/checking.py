"""A look at the files before anything is written: what is filled, what is off, and what is wrong with how many rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

import numpy as np

from fraud.transactions import Columns
from models.evaluability import NotEvaluable, filled, not_evaluable
from streams.history.coverage import history_start
from streams.history.decoding import DAY_MS, HistoryDecoder, Tally
from streams.history.mapping import HistoryMapping
from streams.history.splitting import Progress


@dataclass(slots=True)
class CheckReport:
    """What was found. Times in epoch milliseconds UTC; `filled` counts rows by field; `amount` is in home currency."""

    tally: Tally = field(default_factory=Tally)
    filled: Counter[str] = field(default_factory=Counter)
    first_at: int | None = None
    last_at: int | None = None
    days: Counter[date] = field(default_factory=Counter)

    @property
    def history_from(self) -> int | None:
        """Since when the files are a history of all cards."""
        return history_start(self.days)

    def off(self) -> NotEvaluable:
        """Features and rules that could not be evaluated right after the last of these rows."""
        present = frozenset(name for name, count in self.filled.items() if count)
        return not_evaluable(present, self.history_from, self.last_at)


def check(
    mapping: HistoryMapping, decoder: HistoryDecoder, progress: Progress, limit: int | None = None
) -> CheckReport:
    """Read the files (of each at most about `limit` rows) and count; nothing is written.

    Duplicates are found by the import itself only.
    """
    report = CheckReport()
    for file, path in enumerate(mapping.files.paths):
        for batch in decoder.read(file, limit):
            report.tally.add(batch.tally)
            _count(report, batch.columns, [*mapping.fields, "amount"])
            progress(path.name, batch.tally.rows)
    return report


def _count(report: CheckReport, columns: Columns, names: list[str]) -> None:
    if not len(columns):
        return
    for name in names:
        report.filled[name] += filled(columns, name)
    occurred_at = columns["occurred_at"]
    first, last = int(occurred_at.min()), int(occurred_at.max())
    report.first_at = first if report.first_at is None else min(first, report.first_at)
    report.last_at = last if report.last_at is None else max(last, report.last_at)
    days, counts = np.unique(occurred_at // DAY_MS, return_counts=True)
    for day, rows in zip(days.tolist(), counts.tolist(), strict=True):
        report.days[datetime(1970, 1, 1, tzinfo=UTC).date() + timedelta(days=day)] += rows
