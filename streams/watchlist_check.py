"""Is the watch list on its topic the one of the database? Rebuilt from the topic as any consumer would, and compared.

Twenty-four bytes a message stay in memory, and as many a card, so a list of millions can be compared anywhere.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from kafka import TopicPartition
from numpy.typing import NDArray
from sqlalchemy import Engine

from fraud.errors import ConfigurationError, UnavailableError
from fraud.settings import KafkaSettings
from fraud.store import watchlist as store
from fraud.store.database import read
from fraud.store.exposure_versions import exposure_version
from streams.kafka import make_consumer, topic_id
from streams.lag import end_offsets

_POLL_MS: Final = 500
_POLL_RECORDS: Final = 10_000
_SILENT_SECONDS: Final = 30.0
_CARDS_AT_ONCE: Final = 5_000
_EXAMPLES: Final = 10
_TOMBSTONE: Final = 0

Told = Callable[[str, int, int], None]  # what is read, how much of it, of how much


@dataclass(frozen=True, slots=True)
class WatchlistCheck:
    """How the list on the topic compares with the database's.

    Args:
        messages: read from the topic.
        on_topic: cards with an entry, after all messages.
        in_database: cards that are watched.
        missing: watched cards without an entry.
        different: cards whose entry says something else.
        extra: cards with an entry that are not watched.
        examples: card references of the first that are missing or different.
        published_version: exposure version that the publisher has got to; None when it never ran.
        exposure_version: that of the database.

    """

    messages: int
    on_topic: int
    in_database: int
    missing: int
    different: int
    extra: int
    examples: tuple[str, ...]
    published_version: int | None
    exposure_version: int

    @property
    def agrees(self) -> bool:
        """True when a consumer has exactly the database's list."""
        return self.missing == self.different == self.extra == 0


def check_watchlist(engine: Engine, settings: KafkaSettings, told: Told = lambda *_: None) -> WatchlistCheck:
    """Compare. What is published meanwhile may show as a difference; `published_version` says whether that can be."""
    with read(engine) as connection:
        cursor = store.read_cursor(connection, topic_id(settings, settings.watchlist_topic))
        version = exposure_version(connection)
        total = store.count_watched_cards(connection)
    messages, topic_keys, topic_values = _on_topic(settings, told)
    keys, values = np.zeros(total, np.uint64), np.zeros(total, np.uint64)
    found, missing, different = 0, 0, 0
    examples: list[str] = []
    for card_ref, value in _in_database(engine):
        key, digest = _digest(card_ref.encode()), _digest(value)
        if found < len(keys):
            keys[found], values[found] = key, digest
        found += 1
        place = int(np.searchsorted(topic_keys, np.uint64(key)))
        there = place < len(topic_keys) and int(topic_keys[place]) == key
        if there and int(topic_values[place]) == digest:
            if found % _CARDS_AT_ONCE == 0:
                told("database", found, total)
            continue
        missing += not there
        different += there
        if len(examples) < _EXAMPLES:
            examples.append(card_ref)
    told("database", found, found)
    extra = len(topic_keys) - (found - missing)
    return WatchlistCheck(
        messages=messages,
        on_topic=len(topic_keys),
        in_database=found,
        missing=missing,
        different=different,
        extra=extra,
        examples=tuple(examples),
        published_version=None if cursor is None else cursor.published_version,
        exposure_version=version,
    )


def _in_database(engine: Engine) -> Iterator[tuple[str, bytes]]:
    after: str | None = None
    while True:
        with read(engine) as connection:
            names = store.event_names(connection)
            cards = store.watched_cards(connection, after, _CARDS_AT_ONCE)
            entries = list(store.watchlist_entries(connection, cards, names))
        for card_ref, entry in entries:
            if entry is not None:
                yield card_ref, entry.encoded()
        if len(cards) < _CARDS_AT_ONCE:
            return
        after = cards[-1]


def _on_topic(settings: KafkaSettings, told: Told) -> tuple[int, NDArray[np.uint64], NDArray[np.uint64]]:
    """Messages read, and of the cards that have an entry afterwards: (n,) digests of keys, sorted, and of values."""
    keys: list[NDArray[np.uint64]] = []
    values: list[NDArray[np.uint64]] = []
    for batch in _messages(settings, told):
        keys.append(np.array([_digest(key) for key, _ in batch], np.uint64))
        values.append(np.array([_TOMBSTONE if value is None else _digest(value) for _, value in batch], np.uint64))
    if not keys:
        return 0, np.zeros(0, np.uint64), np.zeros(0, np.uint64)
    key, value = np.concatenate(keys), np.concatenate(values)
    # All messages of a card lie in one partition, so they come in order; the last one of each counts.
    order = np.argsort(key, kind="stable")
    key, value = key[order], value[order]
    last = np.append(key[1:] != key[:-1], True) & (value != _TOMBSTONE)
    return len(order), key[last], value[last]


def _messages(settings: KafkaSettings, told: Told) -> Iterator[list[tuple[bytes, bytes | None]]]:
    """Everything on the topic as it was when this was called, a partition after the other."""
    topic = settings.watchlist_topic
    with contextlib.closing(make_consumer(settings, _POLL_RECORDS)) as consumer:
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        if not partitions:
            message = f"topic {topic} does not exist; create it with: mimamori topics create"
            raise ConfigurationError(message)
        beginnings, ends = consumer.beginning_offsets(partitions), end_offsets(consumer, partitions)
        total = sum(ends[partition] - beginnings[partition] for partition in partitions)
        before = 0
        for partition in partitions:
            consumer.assign([partition])
            consumer.seek(partition, beginnings[partition])
            at, moved = beginnings[partition], time.monotonic()
            while at < ends[partition]:
                records = consumer.poll(timeout_ms=_POLL_MS).get(partition, [])
                batch = [(record.key, record.value) for record in records if record.key is not None]
                if batch:
                    yield batch
                now_at = consumer.position(partition)
                if now_at != at:
                    moved, at = time.monotonic(), now_at
                    told("topic", before + at - beginnings[partition], total)
                elif time.monotonic() - moved > _SILENT_SECONDS:
                    message = f"partition {partition.partition}: the broker gives nothing from offset {at} on"
                    raise UnavailableError(message)
            before += ends[partition] - beginnings[partition]


def _digest(data: bytes) -> int:
    """64 bits; 0 is kept for "no value"."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") or 1
