"""The stream's own records: reference sets, checkpoints, dead letters, and everything in numbers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, distinct, func, insert, select

from fraud.compromise import ExposedCardStatus
from fraud.errors import ConflictError, NotFoundError
from fraud.store.cases import queue_counts
from fraud.store.effects import list_positions, read_position
from fraud.store.paging import Page, fetch_page
from fraud.store.records import PartitionKey
from fraud.store.statements import insert_ignore, insert_or_update
from fraud.store.tables import checkpoint, dead_letter, demo_story, exposed_card, position, reference_set
from fraud.store.views import CheckpointView, DeadLetterView

_TOTALS = ("processed", "duplicates", "quarantined", "dead_lettered", "matched", "detected")


def ensure_reference_set(
    connection: Connection,
    exposure_version: int,
    model_digest: str | None,
    policy_digest: str,
    decoder_version: int,
    content: Mapping[str, Any],
    now: int,
) -> int:
    """The id of a reference set, which is recorded when it is new. The same set has the same id, always."""
    identity = [exposure_version, model_digest, policy_digest, decoder_version, content]
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    wanted = select(reference_set.c.reference_set_id).where(reference_set.c.digest == digest)
    found = connection.execute(wanted).scalar()
    if found is None:
        row = {
            "digest": digest,
            "exposure_version": exposure_version,
            "model_digest": model_digest,
            "policy_digest": policy_digest,
            "decoder_version": decoder_version,
            "content": content,
            "created_at": now,
        }
        insert_ignore(connection, reference_set, [row], ["digest"])
        found = connection.execute(wanted).scalar_one()
    return int(found)


def reference_set_content(connection: Connection, reference_set_id: int) -> dict[str, Any]:
    """What a recorded reference set consists of; `NotFoundError` when there is none of that id."""
    statement = select(reference_set.c.content).where(reference_set.c.reference_set_id == reference_set_id)
    content: dict[str, Any] | None = connection.execute(statement).scalar_one_or_none()
    if content is None:
        message = f"there is no reference set {reference_set_id}"
        raise NotFoundError(message)
    return content


def register_checkpoint(
    connection: Connection,
    key: PartitionKey,
    next_offset: int,
    owner_epoch: int,
    state_schema: str,
    paths: Sequence[Mapping[str, str]],
    now: int,
) -> None:
    """Register a snapshot that is complete up to (not including) `next_offset`; `paths` are its files, base first.

    `ConflictError` when somebody else has claimed the partition since, or the snapshot is ahead of its position. A
    partition that nobody has claimed yet takes any.
    """
    recorded = read_position(connection, key)
    if recorded is not None and owner_epoch < recorded.owner_epoch:
        message = f"partition {key.partition}: the checkpoint is of an older owner"
        raise ConflictError(message)
    if recorded is not None and next_offset > recorded.next_offset:
        message = f"partition {key.partition}: the checkpoint is ahead of the position"
        raise ConflictError(message)
    row = {
        "group_id": key.group_id,
        "topic_id": key.topic_id,
        "partition": key.partition,
        "next_offset": next_offset,
        "owner_epoch": owner_epoch,
        "state_schema": state_schema,
        "paths": [dict(path) for path in paths],
        "created_at": now,
    }
    connection.execute(insert(checkpoint), row)


def newest_checkpoint(connection: Connection, key: PartitionKey, at_most_offset: int) -> CheckpointView | None:
    """The furthest snapshot of a partition that is not beyond `at_most_offset`; of several, the one made last."""
    statement = (
        select(checkpoint)
        .where(
            checkpoint.c.group_id == key.group_id,
            checkpoint.c.topic_id == key.topic_id,
            checkpoint.c.partition == key.partition,
            checkpoint.c.next_offset <= at_most_offset,
        )
        .order_by(checkpoint.c.next_offset.desc(), checkpoint.c.checkpoint_id.desc())
        .limit(1)
    )
    row = connection.execute(statement).mappings().one_or_none()
    return None if row is None else CheckpointView(**row)


def prune_checkpoints(connection: Connection, key: PartitionKey, keep: int) -> list[str]:
    """Forget all but the furthest `keep` checkpoints of a partition; the paths that no other checkpoint has.

    Checkpoints that follow each other share files, since each is a base and what has changed since.
    """
    own = (
        checkpoint.c.group_id == key.group_id,
        checkpoint.c.topic_id == key.topic_id,
        checkpoint.c.partition == key.partition,
    )
    furthest = (checkpoint.c.next_offset.desc(), checkpoint.c.checkpoint_id.desc())
    statement = select(checkpoint.c.checkpoint_id, checkpoint.c.paths).where(*own).order_by(*furthest).offset(keep)
    unneeded = connection.execute(statement).all()
    if unneeded:
        ids = [row.checkpoint_id for row in unneeded]
        connection.execute(delete(checkpoint).where(checkpoint.c.checkpoint_id.in_(ids)))
    remaining = connection.execute(select(checkpoint.c.paths).where(*own)).scalars()
    needed = {part["path"] for paths in remaining for part in paths}
    return sorted({part["path"] for row in unneeded for part in row.paths} - needed)


def list_dead_letters(connection: Connection, after: str | None, limit: int) -> Page[DeadLetterView]:
    """A page of dead letters and quarantined records, the latest first."""
    names = ("recorded_at", "topic_id", "partition", "offset", "group_id")
    return fetch_page(
        connection,
        select(dead_letter),
        [dead_letter.c[name] for name in names],
        lambda row: DeadLetterView(**row),
        order="recorded_at",
        descending=True,
        after=after,
        limit=limit,
        total=connection.execute(select(func.count()).select_from(dead_letter)).scalar_one(),
    )


def dead_letter_offsets(connection: Connection, key: PartitionKey, from_offset: int, to_offset: int) -> set[int]:
    """Offsets of a partition's dead letters and quarantined records, from `from_offset` to before `to_offset`."""
    statement = select(dead_letter.c.offset).where(
        dead_letter.c.group_id == key.group_id,
        dead_letter.c.topic_id == key.topic_id,
        dead_letter.c.partition == key.partition,
        dead_letter.c.offset >= from_offset,
        dead_letter.c.offset < to_offset,
    )
    return set(connection.execute(statement).scalars())


def summary(connection: Connection) -> dict[str, Any]:
    """Everything in numbers. `published` is None: only the broker knows it.

    published = processed + dead_letters + duplicates + quarantined, once all of the topic is done.
    """
    positions = list_positions(connection)
    totals = {name: sum(getattr(item, name) for item in positions) for name in _TOTALS}
    cases = queue_counts(connection)
    error_class = dead_letter.c.error_class
    by_class = select(error_class, func.count().label("found")).group_by(error_class).order_by(error_class)
    watched = select(func.count(distinct(exposed_card.c.card_ref))).where(
        exposed_card.c.status == ExposedCardStatus.ACTIVE.value
    )
    return {
        "published": None,
        "processed": totals["processed"],
        "dead_letters": totals["dead_lettered"],
        "duplicates": totals["duplicates"],
        "quarantined": totals["quarantined"],
        "matched": totals["matched"],
        "detections": totals["detected"],
        "cases_opened": sum(cases.values()),
        "cases_by_status": cases,
        "dead_letters_by_class": {row.error_class: row.found for row in connection.execute(by_class)},
        "exposed_cards": connection.execute(watched).scalar_one(),
        "partitions": [
            {
                "topic": item.key.topic,
                "partition": item.key.partition,
                "next_offset": item.next_offset,
                "owner": item.owner,
                "owner_epoch": item.owner_epoch,
                "reference_set_id": item.reference_set_id,
                "reached_at": item.reached_at,
                **{name: getattr(item, name) for name in _TOTALS},
            }
            for item in positions
        ],
        "reached_at": reached_at(connection),
    }


def reached_at(connection: Connection) -> int | None:
    """The latest event time that has been processed, over all partitions; None before the first."""
    latest: int | None = connection.execute(select(func.max(position.c.reached_at))).scalar()
    return latest


def set_story(connection: Connection, key: str, value: Any) -> None:
    """Write one part of the demonstration's story: plain data."""
    insert_or_update(connection, demo_story, [{"key": key, "value": value}], ["key"], update=["value"])


def story(connection: Connection) -> dict[str, Any]:
    """The demonstration's story; empty in production."""
    return {row.key: row.value for row in connection.execute(select(demo_story))}
