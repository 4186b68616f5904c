"""What the repositories hand out about compromise events: rows as frozen records, days as ISO dates."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from fraud.compromise import (
    CompromisedEntity,
    CompromiseStatus,
    DataElements,
    ExposureWindow,
    WindowPrecision,
)
from fraud.compromise_amendments import KnownExposure
from fraud.compromise_disclosure import Disclosure


@dataclass(frozen=True, slots=True)
class CompromiseFactView:
    """A dated fact. One that was withdrawn stays to be seen, and counts for nothing."""

    fact_id: int
    kind: str
    on: str
    author: str | None
    note: str | None
    recorded_at: int
    recorded_by: str
    withdrawn_at: int | None = None
    withdrawn_by: str | None = None
    withdrawn_reason: str | None = None


@dataclass(frozen=True, slots=True)
class SchemeAlertView:
    """Word from outside, as it came in."""

    source: str
    external_id: str
    received_at: int
    note: str | None
    recorded_at: int
    recorded_by: str


@dataclass(frozen=True, slots=True)
class CompromiseEventView:
    """A compromise event as it is known now. `facts` are by day, alerts by the time they were received."""

    compromise_event_id: str
    name: str
    code_name: str
    status: str
    disclosure: str
    version: int
    vector: str | None
    source: str
    starts_on: str
    ends_on: str
    zone: str
    precision: str
    window_start_at: int
    window_end_at: int
    data_elements: list[str]
    tier: int
    suspected_at: int | None
    created_at: int
    updated_at: int
    entities: tuple[CompromisedEntity, ...] = ()
    facts: tuple[CompromiseFactView, ...] = ()
    alerts: tuple[SchemeAlertView, ...] = ()

    @property
    def is_open(self) -> bool:
        """True while its cards are watched."""
        return CompromiseStatus(self.status).is_open

    @property
    def known(self) -> KnownExposure:
        """What can be amended of it."""
        return known_exposure(self)

    @property
    def standing_facts(self) -> tuple[CompromiseFactView, ...]:
        """The facts that were not withdrawn."""
        return tuple(fact for fact in self.facts if fact.withdrawn_at is None)


@dataclass(frozen=True, slots=True)
class CompromiseVersionView:
    """An event as it was known at one version, and what made that version."""

    compromise_event_id: str
    version: int
    change: str
    changed_at: int
    changed_by: str
    reason: str | None
    exposure_version: int
    name: str
    code_name: str
    status: str
    disclosure: str
    vector: str | None
    starts_on: str
    ends_on: str
    zone: str
    precision: str
    window_start_at: int
    window_end_at: int
    data_elements: list[str]
    tier: int
    entities: list[dict[str, Any]]


def known_exposure(event: CompromiseEventView) -> KnownExposure:
    """An event's record as the pure core has it."""
    window = ExposureWindow(
        date.fromisoformat(event.starts_on),
        date.fromisoformat(event.ends_on),
        event.zone,
        WindowPrecision(event.precision),
    )
    elements = DataElements.from_names(event.data_elements)
    return KnownExposure(event.name, event.code_name, window, elements, event.entities, event.vector)


def as_seen(event: CompromiseEventView, *, insider: bool) -> CompromiseEventView:
    """The event as somebody may see it: before publication, only an insider sees names and free text.

    Others see the code name for the name. What is left out is empty or None, never marked.
    """
    if insider or Disclosure(event.disclosure).may_name_entity:
        return event
    return replace(
        event,
        name=event.code_name,
        vector=None,
        entities=(),
        facts=tuple(replace(fact, author=None, note=None, withdrawn_reason=None) for fact in event.facts),
        alerts=tuple(replace(alert, note=None) for alert in event.alerts),
    )


def version_as_seen(
    version: CompromiseVersionView, event: CompromiseEventView, *, insider: bool
) -> CompromiseVersionView:
    """A version of `event` as somebody may see it; what counts is the event's disclosure of now."""
    if insider or Disclosure(event.disclosure).may_name_entity:
        return version
    return replace(version, name=version.code_name, vector=None, entities=[], reason=None)
