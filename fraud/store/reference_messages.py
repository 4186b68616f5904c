"""Messages about cards that could not be taken up: where they lie and why, never what they hold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from fraud.store.statements import insert_ignore
from fraud.store.tables import dead_letter


@dataclass(frozen=True, slots=True)
class RefusedMessage:
    """One message: its place, what is wrong with which field, and a keyed digest of what it held."""

    topic_id: str
    topic: str
    partition: int
    offset: int
    error_class: str
    field_path: str | None
    payload_digest: str
    payload_bytes: int


def store_refused_messages(connection: Connection, group_id: str, messages: Sequence[RefusedMessage], now: int) -> None:
    """Keep messages as dead letters; again changes nothing."""
    rows = [
        {
            "group_id": group_id,
            "topic_id": message.topic_id,
            "partition": message.partition,
            "offset": message.offset,
            "topic": message.topic,
            "error_class": message.error_class,
            "field_path": message.field_path,
            "payload_digest": message.payload_digest,
            "payload_bytes": message.payload_bytes,
            "kind": "DEAD_LETTER",
            "recorded_at": now,
        }
        for message in messages
    ]
    insert_ignore(connection, dead_letter, rows, ["group_id", "topic_id", "partition", "offset"])
