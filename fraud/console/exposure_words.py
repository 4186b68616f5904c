"""Compromise events in words: what leaked, when, how certain, how long ago, and what may be said of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from fraud.api.authentication import Principal
from fraud.api.permissions import may
from fraud.compromise_disclosure import Disclosure
from fraud.compromise_facts import FactKind
from fraud.console.formatting import DAY_MS, Format
from fraud.store.compromise_views import CompromiseEventView, as_seen


@dataclass(frozen=True, slots=True)
class WhatMayBeSaid:
    """What a reviewer may tell the holder, and words for it. `restricted` is true when it is nothing at all."""

    disclosure: str
    rule: str
    holder_text: str
    restricted: bool


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
    say: WhatMayBeSaid


def is_insider(principal: Principal) -> bool:
    """True for those who see names before publication: whoever manages events."""
    return may(principal, "exposure:write")


def seen_by(principal: Principal, event: CompromiseEventView) -> CompromiseEventView:
    """The event as this person may see it."""
    return as_seen(event, insider=is_insider(principal))


def exposure_banner(event: CompromiseEventView, format_: Format) -> ExposureBanner:
    """The words for one event, as of now; `event` as the reader may see it."""
    return ExposureBanner(
        compromise_event_id=event.compromise_event_id,
        name=event.name,
        status=event.status,
        elements=element_words(event.data_elements, format_),
        starts=format_.day_in_words(date.fromisoformat(event.starts_on)),
        ends=format_.day_in_words(date.fromisoformat(event.ends_on)),
        days_since=(format_.now - event.window_end_at) // DAY_MS,
        say=what_may_be_said(event, format_),
    )


def what_may_be_said(event: CompromiseEventView, format_: Format) -> WhatMayBeSaid:
    """What may be said of an event. Before publication the words name no shop, whoever reads them."""
    disclosure = Disclosure(event.disclosure)
    published = [fact.on for fact in event.standing_facts if fact.kind == FactKind.PUBLISHED]
    facts = {"name": event.name, "on": format_.day_in_words(date.fromisoformat(min(published)))} if published else {}
    named = bool(facts) and disclosure.may_name_entity
    key = disclosure.value if named or not disclosure.may_name_entity else Disclosure.MAY_TELL_HOLDER.value
    given = facts if named else {}
    t = format_.t
    return WhatMayBeSaid(
        disclosure=t.named("disclosure", disclosure.value),
        rule=t(f"say.{key}", **given),
        holder_text=t(f"holder_text.{key}", **given),
        restricted=not disclosure.may_tell_holder,
    )


def element_words(names: Iterable[str], format_: Format) -> str:
    """`card number, expiry and security code`."""
    words = [format_.t.named("element", name) for name in names]
    if len(words) < 2:
        return "".join(words)
    return format_.t("list.last", before=format_.t("list.comma").join(words[:-1]), last=words[-1])
