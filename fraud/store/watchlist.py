"""The watch list as the database has it, and how far it is on its topic."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from sqlalchemy import Connection, delete, func, or_, select

from fraud.compromise import ExposedCardStatus
from fraud.compromise_disclosure import Disclosure
from fraud.store.statements import chunks, insert_or_update
from fraud.store.tables import compromise_event, exposed_card
from fraud.store.tables_lookback import watchlist_cursor
from fraud.watchlist import Watched, WatchlistEntry, entry_for

_ACTIVE = ExposedCardStatus.ACTIVE.value


@dataclass(frozen=True, slots=True)
class WatchlistCursor:
    """How far the list is on a topic: all of `published_version`, and of `publishing_version` what is before a card.

    `event_names` are those that were published; `entries` and `tombstones` count messages since the topic was made.
    """

    topic_id: str
    topic: str
    published_version: int = 0
    publishing_version: int | None = None
    after_card_ref: str | None = None
    event_names: Mapping[str, str] = field(default_factory=dict)
    entries: int = 0
    tombstones: int = 0
    updated_at: int = 0


def read_cursor(connection: Connection, topic_id: str) -> WatchlistCursor | None:
    """How far the list is on this topic; None when nothing was ever published on it."""
    statement = select(watchlist_cursor).where(watchlist_cursor.c.topic_id == topic_id)
    row = connection.execute(statement).mappings().one_or_none()
    return None if row is None else WatchlistCursor(**row)


def save_cursor(connection: Connection, cursor: WatchlistCursor) -> None:
    """Remember how far the list is."""
    row = {**asdict(cursor), "event_names": dict(cursor.event_names)}
    insert_or_update(
        connection, watchlist_cursor, [row], ["topic_id"], update=[name for name in row if name != "topic_id"]
    )


def forget_cursor(connection: Connection, topic_id: str) -> None:
    """Have all of the list published again."""
    connection.execute(delete(watchlist_cursor).where(watchlist_cursor.c.topic_id == topic_id))


def event_names(connection: Connection) -> dict[str, str]:
    """What each compromise event is called outside: by its code name until it is published."""
    columns = compromise_event.c
    names = select(columns.compromise_event_id, columns.name, columns.code_name, columns.disclosure)
    return {
        row.compromise_event_id: row.name if Disclosure(row.disclosure).may_name_entity else row.code_name
        for row in connection.execute(names)
    }


def changed_cards(
    connection: Connection,
    after_version: int,
    until_version: int,
    events: Sequence[str],
    after_card_ref: str | None,
    limit: int,
) -> list[str]:
    """Cards that changed after one exposure version and until another, or are watched in one of the events.

    In order of their references, after one of them, at most `limit`.
    """
    changed = exposed_card.c.exposure_version.between(after_version + 1, until_version)
    named = exposed_card.c.compromise_event_id.in_(events) & (exposed_card.c.status == _ACTIVE)
    statement = select(exposed_card.c.card_ref).where(or_(changed, named) if events else changed)
    if after_card_ref is not None:
        statement = statement.where(exposed_card.c.card_ref > after_card_ref)
    found = connection.execute(statement.distinct().order_by(exposed_card.c.card_ref).limit(limit))
    return list(found.scalars())


def watched_cards(connection: Connection, after_card_ref: str | None, limit: int) -> list[str]:
    """Cards that are watched in any event, in order of their references, at most `limit`."""
    statement = select(exposed_card.c.card_ref).where(exposed_card.c.status == _ACTIVE)
    if after_card_ref is not None:
        statement = statement.where(exposed_card.c.card_ref > after_card_ref)
    return list(connection.execute(statement.distinct().order_by(exposed_card.c.card_ref).limit(limit)).scalars())


def count_watched_cards(connection: Connection) -> int:
    """How many cards are watched in any event."""
    statement = select(func.count(exposed_card.c.card_ref.distinct())).where(exposed_card.c.status == _ACTIVE)
    return connection.execute(statement).scalar_one()


def count_changed_cards(connection: Connection, after_version: int, until_version: int) -> int:
    """About how many cards there are to publish: cards in several events count once."""
    changed = exposed_card.c.exposure_version.between(after_version + 1, until_version)
    return connection.execute(select(func.count(exposed_card.c.card_ref.distinct())).where(changed)).scalar_one()


def watchlist_entries(
    connection: Connection, card_refs: Sequence[str], names: Mapping[str, str]
) -> Iterator[tuple[str, WatchlistEntry | None]]:
    """What the list says of each card, in the order given; None for one that is released. `names` are the events'."""
    rows: dict[str, list[Any]] = {}
    columns = ("card_ref", "compromise_event_id", "tier", "status", "expiry", "exposure_version")
    for chunk in chunks(card_refs):
        statement = select(*(exposed_card.c[name] for name in columns)).where(exposed_card.c.card_ref.in_(chunk))
        for row in connection.execute(statement):
            rows.setdefault(row.card_ref, []).append(row)
    for card_ref in card_refs:
        found = rows.get(card_ref, [])
        watched = [
            Watched(row.compromise_event_id, names[row.compromise_event_id], row.tier, row.expiry)
            for row in found
            if row.status == _ACTIVE
        ]
        yield card_ref, entry_for(card_ref, watched, max((row.exposure_version for row in found), default=0))
