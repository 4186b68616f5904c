"""Reasons and counter-evidence in words: the policy gives code and facts, the console the sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from fraud.console.formatting import Format
from fraud.console.timeline import Entry, as_entry
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
class Sentence:
    """One reason of a case in words. `of` is the detection that it is of, None for the newest one."""

    text: str
    of: Entry | None


def case_sentences(
    detections: Sequence[DetectionView], which: Literal["reasons", "counter_evidence"], format_: Format
) -> list[Sentence]:
    """The reasons of a case's detections (newest first), each kind once, as the newest detection has it.

    An older one's sentence says which detection it is of, because sentences of two may contradict each other: a test of
    a few yen is no unusual amount, what is bought after it is.
    """
    said: set[str] = set()
    sentences: list[Sentence] = []
    for place, detection in enumerate(detections):
        fresh = [reason for reason in getattr(detection, which) if reason.get("code") not in said]
        said.update(str(reason.get("code")) for reason in fresh)
        of = as_entry(detection.transaction) if place else None
        sentences.extend(Sentence(reason_words(reason, format_), of) for reason in fresh)
    return sentences


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
