"""Positions, and the one transaction that moves them on together with a batch's effects.

A position belongs to whoever claimed it last: each claim raises its epoch, and a commit with an older epoch, or from
another offset than the recorded one, is fenced: that partition's effects are dropped whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from itertools import pairwise
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, and_, bindparam, insert, select, tuple_, update

from fraud.errors import ConflictError
from fraud.store.folding import store_detections
from fraud.store.records import (
    Counters,
    DeadLetterRecord,
    ExposureMatchRecord,
    PartitionEffects,
    PartitionKey,
    Position,
)
from fraud.store.statements import insert_ignore, insert_or_update
from fraud.store.tables import (
    activation,
    dead_letter,
    exposure_match,
    position,
    reference_set,
    security_incident,
)

_COUNTERS = tuple(item.name for item in fields(Counters))
_DEAD_LETTER = tuple(item.name for item in fields(DeadLetterRecord))
_MATCH = tuple(item.name for item in fields(ExposureMatchRecord))
_Place = tuple[str, str, int]


def claim_position(connection: Connection, key: PartitionKey, owner: str, now: int, first_offset: int = 0) -> Position:
    """Make `owner` the one who commits to this partition. The first claim ever starts it at `first_offset`."""
    first = {
        **_place_columns(key),
        "topic": key.topic,
        "next_offset": first_offset,
        "owner_epoch": 0,
        "updated_at": now,
    }
    insert_ignore(connection, position, [first], ["group_id", "topic_id", "partition"])
    connection.execute(
        update(position).where(_at(key)).values(owner_epoch=position.c.owner_epoch + 1, owner=owner, updated_at=now)
    )
    return _position(connection.execute(select(position).where(_at(key))).one())


def read_position(connection: Connection, key: PartitionKey) -> Position | None:
    """Where a partition is; None before its first claim."""
    row = connection.execute(select(position).where(_at(key))).one_or_none()
    return None if row is None else _position(row)


def activations(connection: Connection, key: PartitionKey, from_offset: int, to_offset: int) -> list[tuple[int, int]]:
    """(first offset, reference set id) of every reference set that ran somewhere in a range of offsets, in order."""
    at = (
        activation.c.group_id == key.group_id,
        activation.c.topic_id == key.topic_id,
        activation.c.partition == key.partition,
        activation.c.from_offset < to_offset,
    )
    statement = select(activation.c.from_offset, activation.c.reference_set_id).where(*at)
    found = [
        (row.from_offset, row.reference_set_id)
        for row in connection.execute(statement.order_by(activation.c.from_offset))
    ]
    started_before = [place for place, (offset, _) in enumerate(found) if offset <= from_offset]
    return found[started_before[-1] :] if started_before else found


def list_positions(connection: Connection) -> list[Position]:
    """All positions, by group, topic and partition."""
    ordered = select(position).order_by(
        position.c.group_id, position.c.topic, position.c.topic_id, position.c.partition
    )
    return [_position(row) for row in connection.execute(ordered)]


def commit_effects(connection: Connection, effects: Sequence[PartitionEffects]) -> list[PartitionEffects]:
    """Apply a batch's effects and move the positions on; returns those that were fenced and therefore dropped.

    Effects that are in the database already are left as they are: a commit whose answer was lost may be tried again.
    `ConflictError` when a reference set knows less of the exposures than the one recorded for its partition;
    `ValueError` when offsets are out of order or a partition is there twice. Either applies nothing.
    """
    ordered = sorted(effects, key=_place)
    for item in ordered:
        _check_offsets(item)
    if len({_place(item) for item in ordered}) < len(ordered):
        message = "a partition is there twice in one commit"
        raise ValueError(message)
    recorded = {(row.group_id, row.topic_id, row.partition): row for row in _lock(connection, ordered)}
    done = [item for item in ordered if _is_done(item, recorded.get(_place(item)))]
    live = [item for item in ordered if _is_owned(item, recorded.get(_place(item)))]
    if live:
        _check_reference_sets(connection, live, recorded)
        _move_positions(connection, live, recorded)
        _activate(connection, live, recorded)
        store_detections(connection, live)
        _store_matches(connection, live)
        _store_dead_letters(connection, live)
        _store_security_findings(connection, live)
    kept = {_place(item) for item in (*done, *live)}
    return [item for item in ordered if _place(item) not in kept]


def _check_offsets(effects: PartitionEffects) -> None:
    if effects.next_offset <= effects.expected_offset:
        message = "next_offset must be greater than expected_offset"
        raise ValueError(message)
    # Dead letters come in two runs, those that could not be decoded and those in quarantine.
    dead = sorted(record.offset for record in effects.dead_letters)
    detected = [record.offset for record in effects.detections]
    matched = [record.offset for record in effects.matches]
    each_once = all(before < after for run in (dead, detected) for before, after in pairwise(run))
    if not each_once or matched != sorted(matched):
        message = "offsets must be increasing"
        raise ValueError(message)
    if any(not effects.expected_offset <= offset < effects.next_offset for offset in (*dead, *detected, *matched)):
        message = "offsets must be from expected_offset to before next_offset"
        raise ValueError(message)


def _lock(connection: Connection, effects: Sequence[PartitionEffects]) -> Iterable[Row[Any]]:
    """The positions, locked in key order, so that two workers never wait for each other in a circle."""
    columns = (position.c.group_id, position.c.topic_id, position.c.partition)
    wanted = tuple_(*columns).in_([_place(item) for item in effects])
    statement: Select[Any] = select(position).where(wanted).order_by(*columns).with_for_update()
    return connection.execute(statement)


def _is_owned(effects: PartitionEffects, row: Row[Any] | None) -> bool:
    return row is not None and (row.next_offset, row.owner_epoch) == (effects.expected_offset, effects.owner_epoch)


def _is_done(effects: PartitionEffects, row: Row[Any] | None) -> bool:
    """Only the owner of an epoch moves the position under it, so the same owner at the end of a batch committed it."""
    return row is not None and (row.next_offset, row.owner_epoch) == (effects.next_offset, effects.owner_epoch)


def _check_reference_sets(
    connection: Connection, live: Sequence[PartitionEffects], recorded: Mapping[_Place, Row[Any]]
) -> None:
    """Refuse to go back in exposures. Going back to an earlier model or policy is a decision, and is allowed."""
    known = {recorded[_place(item)].reference_set_id for item in live} | {item.reference_set_id for item in live}
    statement = select(reference_set.c.reference_set_id, reference_set.c.exposure_version)
    rows = connection.execute(statement.where(reference_set.c.reference_set_id.in_(known - {None})))
    versions: dict[int | None, int] = {row.reference_set_id: row.exposure_version for row in rows}
    for item in live:
        before = versions.get(recorded[_place(item)].reference_set_id, -1)
        if versions.get(item.reference_set_id, -1) < before:
            message = f"partition {item.key.partition}: the reference set is older than the recorded one"
            raise ConflictError(message)


def _move_positions(
    connection: Connection, live: Sequence[PartitionEffects], recorded: Mapping[_Place, Row[Any]]
) -> None:
    rows = []
    for item in live:
        before = recorded[_place(item)]
        reached = [at for at in (before.reached_at, item.reached_at) if at is not None]
        counters = {name: getattr(before, name) + getattr(item.counters, name) for name in _COUNTERS}
        rows.append(
            {
                **{f"at_{name}": value for name, value in _place_columns(item.key).items()},
                **counters,
                "next_offset": item.next_offset,
                "reference_set_id": item.reference_set_id,
                "reached_at": max(reached, default=None),
                "updated_at": item.committed_at,
            }
        )
    by_place = [position.c[name] == bindparam(f"at_{name}") for name in ("group_id", "topic_id", "partition")]
    connection.execute(update(position).where(*by_place), rows)


def _activate(connection: Connection, live: Sequence[PartitionEffects], recorded: Mapping[_Place, Row[Any]]) -> None:
    """Record from which offset on a partition runs under another reference set."""
    rows = [
        {
            **_place_columns(item.key),
            "from_offset": item.expected_offset,
            "reference_set_id": item.reference_set_id,
        }
        for item in live
        if recorded[_place(item)].reference_set_id != item.reference_set_id
    ]
    if rows:
        connection.execute(insert(activation), rows)


def _store_matches(connection: Connection, live: Sequence[PartitionEffects]) -> None:
    rows = [
        {
            **{name: getattr(record, name) for name in _MATCH},
            "topic_id": item.key.topic_id,
            "partition": item.key.partition,
        }
        for item in live
        for record in item.matches
    ]
    insert_ignore(connection, exposure_match, rows, ["event_id", "compromise_event_id"])


def _store_dead_letters(connection: Connection, live: Sequence[PartitionEffects]) -> None:
    rows = [
        {
            **_place_columns(item.key),
            **{name: getattr(record, name) for name in _DEAD_LETTER},
            "topic": item.key.topic,
            "recorded_at": item.committed_at,
        }
        for item in live
        for record in item.dead_letters
    ]
    insert_ignore(connection, dead_letter, rows, ["group_id", "topic_id", "partition", "offset"])


def _store_security_findings(connection: Connection, live: Sequence[PartitionEffects]) -> None:
    rows = [
        {
            "topic": item.key.topic,
            "field_path": field_path,
            "count": count,
            "aware_at": item.committed_at,
            "last_at": item.committed_at,
        }
        for item in live
        for field_path, count in item.security_findings.items()
    ]
    rows.sort(key=lambda row: (row["topic"], row["field_path"]))  # the order in which PostgreSQL locks them
    insert_or_update(connection, security_incident, rows, ["topic", "field_path"], update=["last_at"], add=["count"])


def _place(effects: PartitionEffects) -> _Place:
    return effects.key.group_id, effects.key.topic_id, effects.key.partition


def _place_columns(key: PartitionKey) -> dict[str, Any]:
    return {"group_id": key.group_id, "topic_id": key.topic_id, "partition": key.partition}


def _at(key: PartitionKey) -> ColumnElement[bool]:
    return and_(*(position.c[name] == value for name, value in _place_columns(key).items()))


def _position(row: Row[Any]) -> Position:
    values = dict(row._mapping)
    key = PartitionKey(**{name: values.pop(name) for name in ("group_id", "topic_id", "topic", "partition")})
    return Position(key=key, **values)
