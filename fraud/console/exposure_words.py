"""Compromise events in words: what leaked, when, how certain, and how long ago."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from fraud.console.formatting import DAY_MS, Format
from fraud.store.views import CompromiseEventView


@dataclass(frozen=True, slots=True)
class ExposureBanner:
    """One compromise event as a case shows it."""

    compromise_event_id: str
    name: str
    status: str
    elements: str
    starts: str
    ends: str
    days_since: int


def exposure_banner(event: CompromiseEventView, format_: Format) -> ExposureBanner:
    """The words for one event, as of now."""
    return ExposureBanner(
        compromise_event_id=event.compromise_event_id,
        name=event.name,
        status=event.status,
        elements=element_words(event.data_elements, format_),
        starts=format_.day_in_words(date.fromisoformat(event.starts_on)),
        ends=format_.day_in_words(date.fromisoformat(event.ends_on)),
        days_since=(format_.now - event.window_end_at) // DAY_MS,
    )


def element_words(names: Iterable[str], format_: Format) -> str:
    """`card number, expiry and security code`."""
    words = [format_.t.named("element", name) for name in names]
    if len(words) < 2:
        return "".join(words)
    return format_.t("list.last", before=format_.t("list.comma").join(words[:-1]), last=words[-1])
