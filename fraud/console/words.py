"""Reasons and counter-evidence in words: the policy gives code and facts, the console the sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fraud.console.formatting import Format
from fraud.console.timeline import as_entry
from fraud.store.views import DetectionView

_PERCENT = frozenset({"probability"})
_SCORE = frozenset({"anomaly"})
_TIMES = frozenset({"amount_to_mean"})


def reason_words(reason: Mapping[str, Any], format_: Format) -> str:
    """One sentence for a reason or a piece of counter-evidence.

    A fact that the transaction did not give leaves the plain form of the sentence; a code that this console does not
    know yet is shown as it is, so that nothing which the policy said is ever hidden.
    """
    t = format_.t
    code = str(reason.get("code", ""))
    facts = dict(reason.get("facts") or {})
    if "hour_of_day" in facts:
        facts.setdefault("hour", facts["hour_of_day"])
    key = f"reason.{code}"
    if code == "EXPOSED_CARD" and _number(facts.get("days_since_window")) <= 0:
        key = "reason.EXPOSED_CARD.inside"
    words = {name: _fact_words(name, value, format_) for name, value in facts.items() if value not in (None, "")}
    for candidate in (key, f"reason.{code}.plain"):
        if candidate in t.messages:
            try:
                return t(candidate, **words)
            except KeyError:
                continue
    return code


@dataclass(frozen=True, slots=True)
class ToldOfDetection:
    """The sentences of one detection, with what tells it from the case's others."""

    occurred_at: int
    amount_minor: int | None
    currency: str | None
    sentences: tuple[str, ...]


def told_by_detection(
    detections: Sequence[DetectionView], of: Literal["reasons", "counter_evidence"], format_: Format
) -> list[ToldOfDetection]:
    """The sentences of a case's detections (newest first), under the detection that they are of.

    A kind of reason is said once, as the newest detection has it. Sentences stay with their detection because they may
    contradict each other: a test of a few yen is a usual amount, what is bought after it is not.
    """
    said: set[str] = set()
    groups = []
    for detection in detections:
        fresh = [reason for reason in getattr(detection, of) if reason.get("code") not in said]
        said.update(str(reason.get("code")) for reason in fresh)
        if fresh:
            entry = as_entry(detection.transaction)
            sentences = tuple(reason_words(reason, format_) for reason in fresh)
            groups.append(ToldOfDetection(detection.occurred_at, entry.amount_minor, entry.currency, sentences))
    return groups


def reason_label(code: str, format_: Format) -> str:
    """The short name of a reason, for a column of a table."""
    return format_.t.messages.get(f"reason.{code}.short", code)


def _fact_words(name: str, value: Any, format_: Format) -> str:
    if isinstance(value, str):
        group = {"three_ds": "three_ds", "mcc_group": "mcc_group"}.get(name)
        return format_.t.named(group, value) if group else value
    number = _number(value)
    if name in _PERCENT:
        return f"{number:.0%}"
    if name in _SCORE:
        return f"{number:.2f}"
    if name in _TIMES:
        return f"{number:,.1f}"
    return f"{number:,.0f}"


def _number(value: Any) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0
