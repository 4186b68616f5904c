"""A compromise event as its page shows it: its dates in order, its versions side by side, and who did what to it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fraud.compromise import CompromiseStatus
from fraud.compromise_window import local_day
from fraud.console.charts import Plot
from fraud.console.exposure_words import element_words
from fraud.console.formatting import Format
from fraud.console.story_chart import StoryChart, story_chart
from fraud.store.compromise_views import CompromiseEventView, CompromiseVersionView

_PLOT = Plot(width=860, height=120, left=16, top=28, right_margin=16)  # as wide as its column


@dataclass(frozen=True, slots=True)
class DatedDay:
    """One day on which something happened; `number` links the picture to the list beneath it."""

    number: int
    on: str
    things: tuple[str, ...]
    days_after: int


@dataclass(frozen=True, slots=True)
class KnownColumn:
    """What was known of window, elements and entities at one version; `changed` names what differs from before."""

    version: int
    at: int
    by: str
    reason: str
    window: str
    precision: str
    elements: str
    tier: int
    entities: tuple[str, ...]
    current: bool
    changed: frozenset[str]


@dataclass(frozen=True, slots=True)
class EventHistory:
    """Everything about an event that is told by date or by version."""

    days: tuple[DatedDay, ...]
    chart: StoryChart | None
    columns: tuple[KnownColumn, ...]
    versions: tuple[CompromiseVersionView, ...]


def event_history(
    event: CompromiseEventView, versions: Sequence[CompromiseVersionView], format_: Format
) -> EventHistory:
    """Put together the dates and the versions of an event; both as the reader may see them."""
    columns = known_columns(versions, format_)
    today = local_day(format_.now, event.zone).isoformat()
    by_day: dict[str, list[str]] = {}
    for on, text in _things(event, versions, format_):
        by_day.setdefault(on, []).append(text)
    current = {"starts_on": event.starts_on, "ends_on": event.ends_on}
    earlier = [{"starts_on": item.starts_on, "ends_on": item.ends_on} for item in versions]
    unique = [dict(pair) for pair in dict.fromkeys(tuple(item.items()) for item in earlier) if dict(pair) != current]
    dates = [{"on": on, "label": " · ".join(texts)} for on, texts in sorted(by_day.items())]
    chart = story_chart(dates, current, today, format_.zone, earlier=unique, plot=_PLOT)
    days = tuple(
        DatedDay(moment.number, moment.on, tuple(by_day[moment.on]), moment.days_after_window)
        for moment in (chart.moments if chart else ())
    )
    return EventHistory(days, chart, columns, tuple(reversed(versions)))


def known_columns(versions: Iterable[CompromiseVersionView], format_: Format) -> tuple[KnownColumn, ...]:
    """One column for each version at which window, elements or entities were recorded or amended."""
    chosen = [version for version in versions if version.change in {"RECORDED", "AMENDED"}]
    columns: list[KnownColumn] = []
    for version in chosen:
        roles = [f"{item['name']} ({format_.t.named('entity_role', item['role'])})" for item in version.entities]
        parts: dict[str, object] = {
            "window": f"{version.starts_on} \u2013 {version.ends_on}",
            "precision": format_.t.named("precision", version.precision),
            "elements": element_words(version.data_elements, format_),
            "tier": version.tier,
            "entities": tuple(roles),
        }
        before = columns[-1] if columns else None
        columns.append(
            KnownColumn(
                version=version.version,
                at=version.changed_at,
                by=version.changed_by,
                reason=version.reason or "",
                window=str(parts["window"]),
                precision=str(parts["precision"]),
                elements=str(parts["elements"]),
                tier=version.tier,
                entities=tuple(roles),
                current=version is chosen[-1],
                changed=frozenset(name for name, value in parts.items() if before and getattr(before, name) != value),
            )
        )
    return tuple(columns)


def _things(
    event: CompromiseEventView, versions: Iterable[CompromiseVersionView], format_: Format
) -> Iterable[tuple[str, str]]:
    t = format_.t
    if event.suspected_at is not None:
        yield local_day(event.suspected_at, event.zone).isoformat(), t("event.suspected")
    for alert in event.alerts:
        text = t("event.alert", source=t.named("source", alert.source), id=alert.external_id)
        yield local_day(alert.received_at, event.zone).isoformat(), text
    for fact in event.standing_facts:
        parts = [t.named("fact", fact.kind), *([fact.author] if fact.author else [])]
        label = ", ".join(parts)
        yield fact.on, f"{label}: {fact.note}" if fact.note else label
    before: CompromiseVersionView | None = None
    for version in versions:
        on = local_day(version.changed_at, event.zone).isoformat()
        if version.change == "AMENDED":
            yield on, t("event.amended", version=version.version)
        suspected = before is None and version.status == CompromiseStatus.SUSPECTED and event.suspected_at is not None
        if not suspected and (before is None or before.status != version.status):
            yield on, t("event.became", state=t.named("event_status", version.status))
        if before is not None and before.disclosure != version.disclosure:
            yield on, t("event.disclosed", disclosure=t.named("disclosure", version.disclosure))
        before = version
