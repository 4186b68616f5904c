"""What operators look at: one dead letter, how many there are of a partition, and all checkpoints."""

from __future__ import annotations

from sqlalchemy import Connection, func, select

from fraud.errors import NotFoundError
from fraud.store.records import PartitionKey
from fraud.store.tables import checkpoint, dead_letter
from fraud.store.views import CheckpointView, DeadLetterView


def get_dead_letter(connection: Connection, key: PartitionKey, offset: int) -> DeadLetterView:
    """The dead letter or quarantined record at an offset; `NotFoundError` when there is none."""
    statement = select(dead_letter).where(
        dead_letter.c.group_id == key.group_id,
        dead_letter.c.topic_id == key.topic_id,
        dead_letter.c.partition == key.partition,
        dead_letter.c.offset == offset,
    )
    row = connection.execute(statement).mappings().one_or_none()
    if row is None:
        message = "there is no dead letter at this partition and offset"
        raise NotFoundError(message)
    return DeadLetterView(**row)


def dead_letter_counts(connection: Connection, key: PartitionKey, from_offset: int, to_offset: int) -> dict[str, int]:
    """A partition's dead letters by kind, from `from_offset` to before `to_offset`."""
    statement = (
        select(dead_letter.c.kind, func.count())
        .where(
            dead_letter.c.group_id == key.group_id,
            dead_letter.c.topic_id == key.topic_id,
            dead_letter.c.partition == key.partition,
            dead_letter.c.offset >= from_offset,
            dead_letter.c.offset < to_offset,
        )
        .group_by(dead_letter.c.kind)
    )
    return {"DEAD_LETTER": 0, "QUARANTINED": 0} | {row[0]: row[1] for row in connection.execute(statement)}


def list_checkpoints(connection: Connection) -> list[CheckpointView]:
    """All registered checkpoints; of each partition the furthest first."""
    ordered = select(checkpoint).order_by(
        checkpoint.c.group_id,
        checkpoint.c.topic_id,
        checkpoint.c.partition,
        checkpoint.c.next_offset.desc(),
        checkpoint.c.checkpoint_id.desc(),
    )
    return [CheckpointView(**row) for row in connection.execute(ordered).mappings()]
