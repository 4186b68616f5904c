"""What the reference is told of a real deployment: its log, and the reference sets that the run has recorded."""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from kafka import TopicPartition
from reference_path import Exposure, Facts, Record, ReferenceSet
from reference_scores import ReferenceModel
from sqlalchemy import Connection, Engine, select

from fraud.pan_guard import PanGuard
from fraud.settings import Settings
from fraud.store.database import read
from fraud.store.tables import (
    activation,
    compromise_event,
    exposed_card,
    exposed_card_history,
    quiet_pattern,
    reference_set,
)
from streams.kafka import make_consumer, topic_id
from streams.lag import end_offsets

Log = dict[int, list[Record]]


def read_log(settings: Settings) -> Log:
    """Every record of the transactions topic, by partition, read without a group."""
    topic = settings.kafka.transactions_topic
    with contextlib.closing(make_consumer(settings.kafka, 10_000)) as consumer:
        places = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        beginnings, ends = consumer.beginning_offsets(places), end_offsets(consumer, places)
        for place in places:
            consumer.seek(place, beginnings[place])
        log: Log = {place.partition: [] for place in places}
        while any(consumer.position(place) < ends[place] for place in places):
            for place, records in consumer.poll(timeout_ms=500).items():
                log[place.partition] += [Record(item.offset, item.timestamp, item.key, item.value) for item in records]
    return {
        number: [item for item in records if item.offset < ends[TopicPartition(topic, number)]]
        for number, records in log.items()
    }


def facts_of(settings: Settings, engine: Engine) -> Facts:
    """What a deployment has been told, from its settings and from what its run has recorded."""
    identity = topic_id(settings.kafka, settings.kafka.transactions_topic)
    key = settings.cards.keys[settings.cards.active_key].get_secret_value()
    with read(engine) as connection:
        activations: dict[int, list[tuple[int, int]]] = {}
        own = (activation.c.topic_id == identity, activation.c.group_id == settings.kafka.group_id)
        for row in connection.execute(select(activation).where(*own).order_by(activation.c.from_offset)):
            activations.setdefault(row.partition, []).append((row.from_offset, row.reference_set_id))
        sets = {
            row.reference_set_id: reference_set_of(connection, settings.models_dir, row.content)
            for row in connection.execute(select(reference_set))
        }
    return Facts(
        topic_id=identity,
        reference_sets=sets,
        activations=activations,
        guard=PanGuard.from_settings(settings.portfolio),
        digest_key=hmac.digest(bytes.fromhex(key), b"mimamori: payload digests", "sha256"),
        currency=settings.portfolio.currency,
        home_country=settings.portfolio.home_country,
        timezone=settings.portfolio.timezone,
        max_record_bytes=settings.stream.max_record_bytes,
        dedupe_window=settings.stream.dedupe_window,
        max_future_ms=settings.stream.max_future_ms,
        max_past_ms=settings.stream.max_past_ms,
        case_due_ms=settings.policy.case_due_hours * 3_600_000,
    )


def reference_set_of(connection: Connection, models_dir: Path, content: Mapping[str, Any]) -> ReferenceSet:
    """A recorded reference set with everything that it names."""
    version, digest = content["exposure_version"], content["model_digest"]
    return ReferenceSet(
        exposures=exposures_at(connection, version),
        policy=SimpleNamespace(**content["policy"]),
        model=None if digest is None else ReferenceModel(models_dir / digest / "arrays.npz", digest),
        quiet=quiet_at(connection, version),
    )


def exposures_at(connection: Connection, version: int) -> dict[str, Sequence[Exposure]]:
    """The exposed cards at an exposure version: as they are now, or as they were until they changed."""
    events = {row.compromise_event_id: row for row in connection.execute(select(compromise_event))}
    found: dict[str, list[Exposure]] = {}
    now = connection.execute(select(exposed_card).where(exposed_card.c.exposure_version <= version)).all()
    before = connection.execute(
        select(exposed_card_history).where(
            exposed_card_history.c.exposure_version <= version, exposed_card_history.c.until_version > version
        )
    ).all()
    for row in (*now, *before):
        if row.status == "ACTIVE":
            event = events[row.compromise_event_id]
            exposure = Exposure(row.compromise_event_id, row.tier, event.window_start_at, event.window_end_at)
            found.setdefault(row.card_ref, []).append(exposure)
    return found


def quiet_at(connection: Connection, version: int) -> dict[tuple[str, str], int]:
    """Card and trigger to the time before which it opens nothing, at an exposure version."""
    quiet: dict[tuple[str, str], int] = {}
    for row in connection.execute(select(quiet_pattern).where(quiet_pattern.c.exposure_version <= version)):
        key = (row.card_ref, row.reason_code)
        quiet[key] = max(row.until_at, quiet.get(key, 0))
    return quiet
