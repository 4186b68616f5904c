"""Moving a partition's position by hand: the one way in which it ever goes back or skips.

Records after the new position are decided again, so what was decided of them is forgotten where it would stand in the
way: their dead letters, their reference sets and the snapshots that contain them. Detections and matches have ids that
come out the same, and stay. The audit log keeps the position and its counters from before.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

from sqlalchemy import Connection, Table, delete, select, update

from fraud.errors import ConflictError, NotFoundError
from fraud.store.audit import append_audit, list_audit
from fraud.store.effects import read_position
from fraud.store.records import PartitionKey, Position
from fraud.store.tables import activation, checkpoint, dead_letter, position

ACTION: Final = "positions.reset"
COUNTERS: Final = ("processed", "duplicates", "quarantined", "dead_lettered")


@dataclass(frozen=True, slots=True)
class Baseline:
    """Where counting begins: the first offset, and what the position's counters were there."""

    first_offset: int
    processed: int = 0
    duplicates: int = 0
    quarantined: int = 0
    dead_lettered: int = 0


def partition_subject(key: PartitionKey) -> str:
    """A partition's name in the audit log."""
    return f"{key.group_id}/{key.topic_id}/{key.partition}"


def reset_position(
    connection: Connection, key: PartitionKey, to_offset: int, *, actor: str, reason: str, now: int, force: bool = False
) -> Position:
    """Set a position, fence its owner, and record who did it and why; the position from before.

    `NotFoundError` before the first claim. `ConflictError` while a worker is recorded as its owner, unless `force`: a
    worker that ended cleanly is not, one that was killed still is.
    """
    connection.execute(select(position.c.owner_epoch).where(*_at(position, key)).with_for_update())
    before = read_position(connection, key)
    if before is None:
        message = f"partition {key.partition} has no position yet"
        raise NotFoundError(message)
    if before.owner is not None and not force:
        message = (
            f"partition {key.partition} belongs to worker {before.owner}; stop it first. If it was killed and cannot "
            "come back, use --force"
        )
        raise ConflictError(message)
    forgotten = {
        "dead_letters": _forget(connection, dead_letter, key, dead_letter.c.offset >= to_offset),
        "activations": _forget(connection, activation, key, activation.c.from_offset >= to_offset),
        "checkpoints": _forget(connection, checkpoint, key, checkpoint.c.next_offset > to_offset),
    }
    connection.execute(
        update(position)
        .where(*_at(position, key))
        .values(
            next_offset=to_offset,
            owner=None,
            owner_epoch=position.c.owner_epoch + 1,
            reference_set_id=None,  # the next batch records its own, from here on
            updated_at=now,
        )
    )
    counters = {name: getattr(before, name) for name in COUNTERS}
    append_audit(
        connection,
        actor=actor,
        action=ACTION,
        subject=partition_subject(key),
        reason=reason,
        old={"next_offset": before.next_offset, "owner": before.owner, "owner_epoch": before.owner_epoch, **counters},
        new={"next_offset": to_offset, "owner_epoch": before.owner_epoch + 1, "forced": force, "forgotten": forgotten},
        now=now,
    )
    return before


def release_position(connection: Connection, key: PartitionKey, owner_epoch: int, now: int) -> bool:
    """A worker gives a partition up, at a clean stop or when it is taken from it; False when it is not its own."""
    owned = (*_at(position, key), position.c.owner_epoch == owner_epoch)
    return connection.execute(update(position).where(*owned).values(owner=None, updated_at=now)).rowcount == 1


def counting_baseline(connection: Connection, current: Position) -> Baseline:
    """Where a position's counters begin to count: at its last reset, or at the first batch ever."""
    key = current.key
    resets = list_audit(connection, subject=partition_subject(key), action=ACTION, limit=1)
    if resets:
        (last,) = resets
        return Baseline(last.new["next_offset"], **{name: last.old[name] for name in COUNTERS})
    first = select(activation.c.from_offset).where(*_at(activation, key)).order_by(activation.c.from_offset).limit(1)
    found = connection.execute(first).scalar_one_or_none()
    return Baseline(current.next_offset if found is None else found)


def counted_since(current: Position, baseline: Baseline) -> dict[str, int]:
    """What a position's counters have counted since the baseline."""
    before = asdict(baseline)
    return {name: getattr(current, name) - before[name] for name in COUNTERS}


def _forget(connection: Connection, table: Table, key: PartitionKey, condition: Any) -> int:
    return connection.execute(delete(table).where(*_at(table, key), condition)).rowcount


def _at(table: Table, key: PartitionKey) -> tuple[Any, ...]:
    return (
        table.c.group_id == key.group_id,
        table.c.topic_id == key.topic_id,
        table.c.partition == key.partition,
    )
