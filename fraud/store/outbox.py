"""Messages to others: written with the effects that they tell of, delivered afterwards, each destination by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from fraud.store.statements import chunks
from fraud.store.tables import outbox, outbox_delivery


class DeliveryStatus(StrEnum):
    """Where one message stands with one destination."""

    WAITING = "WAITING"
    DELIVERED = "DELIVERED"
    UNDELIVERABLE = "UNDELIVERABLE"  # no later attempt can go better
    ABANDONED = "ABANDONED"  # the destination is no longer in the settings


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """One message for one destination. `message_id` stays the same however often it is sent."""

    outbox_id: int
    message_id: str
    topic: str
    key: str | None
    payload: dict[str, Any]
    created_at: int
    attempts: int


@dataclass(frozen=True, slots=True)
class DeliveryCount:
    """Deliveries of one destination in one status. `oldest_at`: when the oldest of their messages was made."""

    destination: str
    status: str
    deliveries: int
    oldest_at: int


def route_messages(connection: Connection, destinations: Sequence[str], now: int, limit: int) -> int:
    """Make the deliveries of up to `limit` new messages, one for each destination; the number of messages."""
    statement = select(outbox.c.outbox_id).where(outbox.c.routed_at.is_(None)).order_by(outbox.c.outbox_id)
    outbox_ids = connection.execute(statement.limit(limit).with_for_update(skip_locked=True)).scalars().all()
    rows = [
        {
            "outbox_id": outbox_id,
            "destination": destination,
            "status": DeliveryStatus.WAITING.value,
            "next_attempt_at": now,
        }
        for outbox_id in outbox_ids
        for destination in destinations
    ]
    if rows:
        connection.execute(insert(outbox_delivery), rows)
    for ids in chunks(outbox_ids):
        connection.execute(update(outbox).where(outbox.c.outbox_id.in_(ids)).values(routed_at=now))
    return len(outbox_ids)


def due_messages(connection: Connection, destination: str, now: int, limit: int) -> list[OutboxMessage]:
    """What is to be sent to a destination now, the longest waiting first."""
    names = ("outbox_id", "message_id", "topic", "key", "payload", "created_at")
    statement = (
        select(*(outbox.c[name] for name in names), outbox_delivery.c.attempts)
        .join_from(outbox_delivery, outbox)
        .where(
            outbox_delivery.c.destination == destination,
            outbox_delivery.c.status == DeliveryStatus.WAITING.value,
            outbox_delivery.c.next_attempt_at <= now,
        )
        .order_by(outbox_delivery.c.next_attempt_at, outbox_delivery.c.outbox_id)
        .limit(limit)
    )
    return [OutboxMessage(**row) for row in connection.execute(statement).mappings()]


def settle_delivery(
    connection: Connection,
    destination: str,
    outbox_id: int,
    now: int,
    status: DeliveryStatus = DeliveryStatus.DELIVERED,
    error: str | None = None,
) -> None:
    """A delivery is over. With the last one of its destinations, so is the message."""
    # Two destinations that end at the same time must see each other's end, so the message is locked first.
    connection.execute(select(outbox.c.outbox_id).where(outbox.c.outbox_id == outbox_id).with_for_update())
    attempts = outbox_delivery.c.attempts + int(status is not DeliveryStatus.ABANDONED)
    _change(
        connection, destination, outbox_id, status=status.value, settled_at=now, last_error=error, attempts=attempts
    )
    waiting = select(outbox_delivery.c.outbox_id).where(
        outbox_delivery.c.outbox_id == outbox_id, outbox_delivery.c.status == DeliveryStatus.WAITING.value
    )
    connection.execute(
        update(outbox).where(outbox.c.outbox_id == outbox_id, ~waiting.exists()).values(delivered_at=now)
    )


def postpone_delivery(
    connection: Connection, destination: str, outbox_id: int, next_attempt_at: int, error: str
) -> None:
    """An attempt failed: try again later. `error` is a class of errors, never what the other side said."""
    attempts = outbox_delivery.c.attempts + 1
    _change(
        connection, destination, outbox_id, next_attempt_at=next_attempt_at, attempts=attempts, last_error=error[:64]
    )


def abandon_deliveries(connection: Connection, destinations: Sequence[str], now: int) -> int:
    """Give up what waits for destinations that are not in `destinations` any more; how many deliveries that was."""
    statement = select(outbox_delivery.c.destination, outbox_delivery.c.outbox_id).where(
        outbox_delivery.c.status == DeliveryStatus.WAITING.value,
        outbox_delivery.c.destination.not_in(destinations),
    )
    found = connection.execute(statement.order_by(outbox_delivery.c.outbox_id)).all()
    for row in found:
        settle_delivery(connection, row.destination, row.outbox_id, now, DeliveryStatus.ABANDONED)
    return len(found)


def remove_settled(connection: Connection, before: int, limit: int) -> int:
    """Remove up to `limit` messages that were settled at all their destinations before a time; how many it were.

    Nothing makes the same message again: it is written with its detection, and that stays.
    """
    statement = select(outbox.c.outbox_id).where(outbox.c.delivered_at < before).order_by(outbox.c.delivered_at)
    outbox_ids = connection.execute(statement.limit(limit).with_for_update(skip_locked=True)).scalars().all()
    for ids in chunks(outbox_ids):
        connection.execute(delete(outbox_delivery).where(outbox_delivery.c.outbox_id.in_(ids)))
        connection.execute(delete(outbox).where(outbox.c.outbox_id.in_(ids)))
    return len(outbox_ids)


def delivery_counts(connection: Connection) -> list[DeliveryCount]:
    """Deliveries by destination and status."""
    groups = (outbox_delivery.c.destination, outbox_delivery.c.status)
    statement = (
        select(*groups, func.count(), func.min(outbox.c.created_at))
        .join_from(outbox_delivery, outbox)
        .group_by(*groups)
        .order_by(*groups)
    )
    return [DeliveryCount(*row) for row in connection.execute(statement)]


def _change(connection: Connection, destination: str, outbox_id: int, **changes: Any) -> None:
    connection.execute(
        update(outbox_delivery)
        .where(outbox_delivery.c.outbox_id == outbox_id, outbox_delivery.c.destination == destination)
        .values(**changes)
    )
