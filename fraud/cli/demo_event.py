"""The demonstration's compromise event: the notice's dates as an event manager would have recorded them, day by day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from sqlalchemy import Connection

from fraud.compromise import CompromisedEntity, CompromiseStatus, DataElements, EntityRole, ExposureWindow
from fraud.compromise_disclosure import Disclosure
from fraud.compromise_facts import FactKind
from fraud.store.compromise_changes import set_disclosure, set_status
from fraud.store.compromise_events import NewCompromiseEvent
from fraud.store.compromise_facts import add_fact
from fraud.store.compromise_records import compromise_versions, get_compromise_event

# Everybody sees the id, so it names no shop.
COMPROMISE_EVENT_ID = "ce-2022-07"
_ACTOR = "demo"


@dataclass(frozen=True, slots=True)
class DatedStep:
    """What became known on one day, and what the event manager made of it."""

    on: date
    facts: tuple[tuple[FactKind, str | None, str], ...] = ()  # kind, author, note
    status: CompromiseStatus | None = None
    disclosure: Disclosure | None = None


# The facts are the notice's own; when the issuer changed the state of its event is assumed.
STEPS = (
    DatedStep(
        date(2022, 7, 28),
        (
            (FactKind.FIRST_WORD, None, "The script's supplier tells the shop."),
            (FactKind.CONTAINED, None, "The shop cuts the integration the same day."),
        ),
    ),
    DatedStep(date(2022, 8, 1), ((FactKind.REGULATOR_TOLD, None, "Personal Information Protection Commission"),)),
    DatedStep(
        date(2022, 8, 3),
        ((FactKind.PAYMENTS_STOPPED, None, "The shop stops taking cards."),),
        status=CompromiseStatus.INVESTIGATING,
    ),
    DatedStep(date(2022, 10, 17), ((FactKind.FORENSIC_REPORT, "the supplier's investigator", "Received."),)),
    DatedStep(
        date(2022, 12, 8),
        ((FactKind.FORENSIC_REPORT, "the shop's own investigator", "A leak is possible; no other path was found."),),
        status=CompromiseStatus.CONFIRMED,
    ),
    DatedStep(date(2022, 12, 9), ((FactKind.POLICE_TOLD, None, "By the shop."),)),
    DatedStep(
        date(2023, 1, 10),
        (
            (FactKind.PUBLISHED, None, "166 days after the first word."),
            (FactKind.HOLDERS_TOLD, None, "By the shop, the same day."),
        ),
        disclosure=Disclosure.PUBLISHED,
    ),
)


def demo_event(window: ExposureWindow, suspected_at: int) -> NewCompromiseEvent:
    """The event as it is recorded on the day of the first word, on suspicion."""
    return NewCompromiseEvent(
        compromise_event_id=COMPROMISE_EVENT_ID,
        name="Hanamori Cosme Online",
        source="MERCHANT_NOTICE",
        window=window,
        data_elements=DataElements(pan=True, expiry=True, cvv2=True),
        entities=(
            CompromisedEntity("Hanamori Cosme Online", EntityRole.MERCHANT),
            CompromisedEntity("Kazami Scripts", EntityRole.SUPPLIER),
        ),
        vector="script of an outside supplier on the payment page",
        suspected_at=suspected_at,
    )


def record_until(connection: Connection, today: date, now: int) -> None:
    """Record everything that is known by the end of `today` and was not recorded yet."""
    for step in STEPS:
        if step.on > today:
            return
        event = get_compromise_event(connection, COMPROMISE_EVENT_ID)
        known = {(fact.kind, fact.on) for fact in event.facts}
        for kind, author, note in step.facts:
            if (kind.value, step.on.isoformat()) not in known:
                add_fact(connection, COMPROMISE_EVENT_ID, kind, step.on, note, now, author, _ACTOR)
        been = compromise_versions(connection, COMPROMISE_EVENT_ID)
        if step.status is not None and step.status not in {version.status for version in been}:
            set_status(connection, COMPROMISE_EVENT_ID, step.status, been[-1].version, now, actor=_ACTOR)
        event = get_compromise_event(connection, COMPROMISE_EVENT_ID)
        if step.disclosure is not None and step.disclosure != event.disclosure:
            set_disclosure(connection, COMPROMISE_EVENT_ID, step.disclosure, event.version, now, actor=_ACTOR)
