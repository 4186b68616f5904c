"""Changes of an event's exposed cards as a whole. Each gets the next exposure version; what a card was is kept."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, Connection, func, insert, literal, select, update

from fraud.compromise import ExposedCardStatus
from fraud.store.exposure_versions import next_exposure_version
from fraud.store.tables import exposed_card, exposed_card_history

_ACTIVE, _RELEASED = ExposedCardStatus.ACTIVE.value, ExposedCardStatus.RELEASED.value


def release_cards(connection: Connection, compromise_event_id: str) -> int:
    """Release every card of an event. Cards that are in other events stay exposed there. Returns the new version."""
    return _change(connection, _in_state(compromise_event_id, _ACTIVE), {"status": _RELEASED})


def reactivate_cards(connection: Connection, compromise_event_id: str, released_in: int) -> int:
    """Watch again the cards that one exposure version released, and no others: what a person released stays so."""
    chosen = [*_in_state(compromise_event_id, _RELEASED), exposed_card.c.exposure_version == released_in]
    return _change(connection, chosen, {"status": _ACTIVE})


def amend_cards(connection: Connection, compromise_event_id: str, tier_before: int, tier_after: int) -> int:
    """Have the stream take up an event's cards anew, with its window of now and another tier. Returns the version.

    A card that has a tier of its own keeps it.
    """
    version = _change(connection, _in_state(compromise_event_id, _ACTIVE), {})
    if tier_before != tier_after:
        of_tier = (exposed_card.c.compromise_event_id == compromise_event_id, exposed_card.c.tier == tier_before)
        connection.execute(update(exposed_card).where(*of_tier).values(tier=tier_after))
    return version


def cards_watched(connection: Connection, compromise_event_id: str) -> int:
    """How many cards of an event are watched now."""
    active = select(func.count()).where(*_in_state(compromise_event_id, _ACTIVE))
    return connection.execute(active).scalar_one()


def cards_watched_elsewhere(connection: Connection, compromise_event_id: str) -> int:
    """How many of the cards watched for an event are also watched for another one."""
    other = exposed_card.alias("other")
    elsewhere = (
        select(literal(1))
        .where(
            other.c.card_ref == exposed_card.c.card_ref,
            other.c.compromise_event_id != compromise_event_id,
            other.c.status == _ACTIVE,
        )
        .exists()
    )
    counted = select(func.count()).where(*_in_state(compromise_event_id, _ACTIVE), elsewhere)
    return connection.execute(counted).scalar_one()


def _in_state(compromise_event_id: str, status: str) -> list[ColumnElement[bool]]:
    return [exposed_card.c.compromise_event_id == compromise_event_id, exposed_card.c.status == status]


def _change(connection: Connection, chosen: list[ColumnElement[bool]], values: dict[str, Any]) -> int:
    version = next_exposure_version(connection)
    names = ("compromise_event_id", "card_ref", "exposure_version", "tier", "status")
    before = select(*(exposed_card.c[name] for name in names), literal(version)).where(*chosen)
    connection.execute(insert(exposed_card_history).from_select([*names, "until_version"], before))
    connection.execute(update(exposed_card).where(*chosen).values(exposure_version=version, **values))
    return version
