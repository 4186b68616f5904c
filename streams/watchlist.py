"""The watch list on its topic: every change of who is exposed, within seconds, at least once, in order of versions.

A cursor over exposure versions says what is still to be published. It is moved on only after the broker has
acknowledged, so a stop at any point repeats some messages and leaves none out. What is published of a card is always
what the database says at that moment, so the last message of a card is right however often it was repeated.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

import structlog
from kafka import KafkaProducer
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from fraud.clock import now_ms
from fraud.errors import ConfigurationError, UnavailableError
from fraud.settings import KafkaSettings
from fraud.store import watchlist as store
from fraud.store.database import read, write
from fraud.store.exposure_versions import exposure_version
from fraud.store.watchlist import WatchlistCursor
from streams.jobs import JobContext
from streams.kafka import make_admin, make_producer, topic_id

log = structlog.get_logger(__name__)

VERSION_HEADER: Final = "exposure-version"
_CHUNK: Final = 2_000  # cards between two acknowledgements; what a restart may repeat
_ACKNOWLEDGED_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 1.0
_TOPIC_SECONDS: Final = 5.0  # a topic or broker that is not there is looked for so often

Fence = Callable[[Connection], None]
Told = Callable[[int, int], None]  # cards published in this round, and how many it is about


def _no_fence(_connection: Connection) -> None:
    """Nobody else can be at it."""


def _say_nothing(_done: int, _total: int) -> None:
    """Nobody listens."""


class WatchlistPublisher:
    """Publishes what has changed. One at a time: two would not spoil the list for long, but could send an older entry.

    Args:
        engine: the database.
        settings: the log; its `watchlist_topic` must be there.
        fence: called in every writing transaction; raises `LeaseLostError` when somebody else has the job.
        told: told after each piece that the broker has acknowledged.

    """

    def __init__(
        self, engine: Engine, settings: KafkaSettings, fence: Fence = _no_fence, told: Told = _say_nothing
    ) -> None:
        self._engine = engine
        self._topic = settings.watchlist_topic
        self._topic_id = topic_id(settings, self._topic)
        self._fence = fence
        self._told = told
        self._producer: KafkaProducer = make_producer(settings)

    def close(self) -> None:
        """Leave the log; what was not acknowledged is published again by the next one."""
        with contextlib.suppress(KafkaError):
            self._producer.close(timeout=5)

    def publish(self, stopping: Callable[[], bool] = lambda: False) -> WatchlistCursor:
        """Publish until the list is as the database was when this was called, or until it has to stop.

        Raises:
            KafkaError: a message was not acknowledged; a new publisher goes on from the last piece that was.

        """
        with read(self._engine) as connection:
            cursor = store.read_cursor(connection, self._topic_id) or WatchlistCursor(self._topic_id, self._topic)
            target = exposure_version(connection)
            names = store.event_names(connection)
        cursor = replace(cursor, event_names={**names, **cursor.event_names})
        if cursor.publishing_version is not None and not stopping():
            # What was published before the stop may carry older names: those count as published, and are compared next.
            cursor = self._round(cursor, cursor.event_names, cursor.publishing_version, stopping)
        if (cursor.published_version, dict(cursor.event_names)) != (target, names) and not stopping():
            cursor = self._round(cursor, names, target, stopping)
        return cursor

    def _round(
        self, cursor: WatchlistCursor, names: Mapping[str, str], target: int, stopping: Callable[[], bool]
    ) -> WatchlistCursor:
        """Publish the cards that changed until `target`, and those of events that are called otherwise now."""
        before = cursor.event_names
        renamed = sorted(event for event, name in names.items() if event in before and before[event] != name)
        with read(self._engine) as connection:
            total = store.count_changed_cards(connection, cursor.published_version, target)
        done = 0
        while not stopping():
            with read(self._engine) as connection:
                since, after = cursor.published_version, cursor.after_card_ref
                cards = store.changed_cards(connection, since, target, renamed, after, _CHUNK)
                entries = list(store.watchlist_entries(connection, cards, store.event_names(connection)))
            released = sum(1 for _, entry in entries if entry is None)
            self._send([(card_ref, None if entry is None else entry.encoded()) for card_ref, entry in entries], target)
            cursor = replace(
                cursor,
                publishing_version=target,
                after_card_ref=cards[-1] if cards else None,
                entries=cursor.entries + len(entries) - released,
                tombstones=cursor.tombstones + released,
            )
            finished = len(cards) < _CHUNK
            if finished:
                cursor = replace(
                    cursor,
                    published_version=target,
                    publishing_version=None,
                    after_card_ref=None,
                    event_names=names,
                )
            self._save(cursor)
            done += len(cards)
            self._told(done, max(total, done))
            if finished:
                if done:
                    log.info("watch list published", cards=done, exposure_version=target)
                break
        return cursor

    def _send(self, messages: list[tuple[str, bytes | None]], version: int) -> None:
        headers = [(VERSION_HEADER, str(version).encode())]
        sent = [
            self._producer.send(self._topic, key=card_ref.encode(), value=value, headers=headers)
            for card_ref, value in messages
        ]
        if sent:
            self._producer.flush(timeout=_ACKNOWLEDGED_SECONDS)
        for acknowledgement in sent:
            acknowledgement.get(timeout=_ACKNOWLEDGED_SECONDS)

    def _save(self, cursor: WatchlistCursor) -> None:
        now = now_ms()
        with write(self._engine) as connection:
            self._fence(connection)
            store.save_cursor(connection, replace(cursor, updated_at=now))


def run_watchlist(context: JobContext) -> bool:
    """The watch list as a job that never ends."""

    def fence(connection: Connection) -> None:
        context.save(connection, {})

    settings = context.settings.kafka
    told_of_compaction = False
    while not context.stopping.is_set():
        try:
            if not told_of_compaction:
                told_of_compaction = _warn_unless_compacted(settings)
            with contextlib.closing(WatchlistPublisher(context.engine, settings, fence)) as publisher:
                while not context.stopping.is_set():
                    publisher.publish(context.stopping.is_set)
                    context.stopping.wait(_LOOK_SECONDS)
        except (ConfigurationError, UnavailableError, KafkaError, OperationalError, InterfaceError) as error:
            log.warning("the watch list waits; trying again", error=type(error).__name__)
            context.stopping.wait(_TOPIC_SECONDS)
    return False


def is_compacted(settings: KafkaSettings) -> bool | None:
    """Whether the broker keeps the last message of each card for ever, as the list needs; None when it does not say."""
    resource = ConfigResource(ConfigResourceType.TOPIC, settings.watchlist_topic)
    with contextlib.closing(make_admin(settings)) as admin:
        try:
            described = admin.describe_configs([resource])
        except KafkaError:
            return None
    # The embedded broker knows topics without telling how they are kept.
    policy = described.get("topic", {}).get(settings.watchlist_topic, {}).get("cleanup.policy")
    return None if policy is None else "compact" in policy["value"]


def _warn_unless_compacted(settings: KafkaSettings) -> bool:
    if is_compacted(settings) is False:
        log.warning(
            "the watch list's topic is not compacted: entries will be lost. Set cleanup.policy=compact",
            topic=settings.watchlist_topic,
        )
    return True
