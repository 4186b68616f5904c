"""What people do to a compromise event: steps of its life, amendments, disclosure. Each is a version and audited."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection

from fraud.compromise import CompromiseStatus, transition
from fraud.compromise_amendments import Amendment, AmendmentEffect, KnownExposure, effect_of
from fraud.compromise_disclosure import Disclosure, disclose
from fraud.compromise_facts import FactKind
from fraud.errors import ConflictError
from fraud.store.compromise_events import (
    SYSTEM,
    audit_change,
    change_compromise_event,
    known_columns,
)
from fraud.store.compromise_parts import replace_entities
from fraud.store.compromise_records import compromise_versions, get_compromise_event, locked_compromise_event
from fraud.store.compromise_views import CompromiseEventView
from fraud.store.exposed_card_changes import (
    amend_cards,
    cards_watched,
    cards_watched_elsewhere,
    reactivate_cards,
    release_cards,
)
from fraud.store.lookback_requests import request_lookback


@dataclass(frozen=True, slots=True)
class StatusEffect:
    """What a step would do to cards: `released` are taken off this event, `kept_elsewhere` of them stay watched."""

    released: int = 0
    kept_elsewhere: int = 0


def set_status(
    connection: Connection,
    compromise_event_id: str,
    to: CompromiseStatus,
    version: int,
    now: int,
    reason: str | None = None,
    actor: str = SYSTEM,
) -> CompromiseEventView:
    """Take the finding a step further. Its cards are released when it closes, and watched again when it is reopened.

    Reopening starts a look-back over the time in which nobody watched. `ConflictError` when the event is no longer at
    `version` or the step is not allowed; reopening needs a `reason`.
    """
    before = locked_compromise_event(connection, compromise_event_id, version)
    status = transition(CompromiseStatus(before.status), to, reason=reason)
    exposure_version = None
    if before.is_open and not status.is_open:
        exposure_version = release_cards(connection, compromise_event_id)
    elif status.is_open and not before.is_open:
        closed_in = compromise_versions(connection, compromise_event_id)[-1].exposure_version
        exposure_version = reactivate_cards(connection, compromise_event_id, closed_in)
        request_lookback(connection, compromise_event_id, exposure_version, "REOPENED", now)
    after = change_compromise_event(
        connection,
        before,
        "STATUS",
        actor,
        now,
        reason=reason,
        exposure_version=exposure_version,
        status=status.value,
    )
    changes = {"old": {"status": before.status}, "new": {"status": after.status}}
    audit_change(connection, after, "exposure.status", actor, now, reason=reason, **changes)
    return after


def status_effect(connection: Connection, event: CompromiseEventView, to: CompromiseStatus) -> StatusEffect:
    """What a step from where `event` is would do to its cards."""
    if not event.is_open or to.is_open:
        return StatusEffect()
    watched = cards_watched(connection, event.compromise_event_id)
    return StatusEffect(watched, cards_watched_elsewhere(connection, event.compromise_event_id))


def amend_compromise_event(
    connection: Connection, compromise_event_id: str, amendment: Amendment, version: int, now: int, actor: str = SYSTEM
) -> CompromiseEventView:
    """Amend what is known of an event. What was known before stays as an earlier version.

    Another window or other data elements get a new exposure version, so that workers take them up, and a look-back.
    `ConflictError` when the event is no longer at `version`, or is closed; `InvalidInputError` when nothing changes.
    """
    before = locked_compromise_event(connection, compromise_event_id, version)
    known, effect = _amended(before, amendment)
    columns = known_columns(known)
    exposure_version = None
    if effect.changes_matching:
        exposure_version = amend_cards(connection, compromise_event_id, effect.tier_before, effect.tier_after)
        request_lookback(connection, compromise_event_id, exposure_version, "AMENDMENT", now)
    if "entities" in effect.changed:
        replace_entities(connection, compromise_event_id, known.entities)
    after = change_compromise_event(
        connection,
        before,
        "AMENDED",
        actor,
        now,
        reason=amendment.reason,
        exposure_version=exposure_version,
        **columns,
    )
    changes = {"old": _told(before.known, effect.changed), "new": _told(known, effect.changed)}
    audit_change(connection, after, "exposure.amend", actor, now, reason=amendment.reason, **changes)
    return after


def preview_amendment(
    connection: Connection, compromise_event_id: str, amendment: Amendment
) -> tuple[AmendmentEffect, int]:
    """What an amendment would change, and for how many watched cards. Fails as the amendment itself would."""
    event = get_compromise_event(connection, compromise_event_id)
    known, effect = _amended(event, amendment)
    known_columns(known)
    return effect, cards_watched(connection, compromise_event_id)


def set_disclosure(
    connection: Connection,
    compromise_event_id: str,
    to: Disclosure,
    version: int,
    now: int,
    reason: str | None = None,
    actor: str = SYSTEM,
) -> CompromiseEventView:
    """Say what may be told from now on. The compromised entity may be named once publication is a recorded fact.

    `ConflictError` when the event is no longer at `version` or the step is not allowed.
    """
    before = locked_compromise_event(connection, compromise_event_id, version)
    published = any(fact.kind == FactKind.PUBLISHED for fact in before.standing_facts)
    disclosure = disclose(Disclosure(before.disclosure), to, published=published, reason=reason)
    after = change_compromise_event(
        connection, before, "DISCLOSURE", actor, now, reason=reason, disclosure=disclosure.value
    )
    changes = {"old": {"disclosure": before.disclosure}, "new": {"disclosure": after.disclosure}}
    audit_change(connection, after, "exposure.disclosure", actor, now, reason=reason, **changes)
    return after


def _amended(event: CompromiseEventView, amendment: Amendment) -> tuple[KnownExposure, AmendmentEffect]:
    if not event.is_open:
        message = f"a compromise event that is {event.status} is not amended; reopen it first"
        raise ConflictError(message)
    known = amendment.applied_to(event.known)
    return known, effect_of(event.known, known)


def _told(known: KnownExposure, names: tuple[str, ...]) -> dict[str, Any]:
    """Parts of what is known, as plain data for the audit log."""
    window = known.window
    told: dict[str, Any] = {
        "name": known.name,
        "code_name": known.code_name,
        "vector": known.vector,
        "window": [window.starts_on.isoformat(), window.ends_on.isoformat(), window.zone, window.precision.value],
        "elements": list(known.elements.names()),
        "entities": [asdict(entity) for entity in known.entities],
    }
    return {name: told[name] for name in names}
