"""Planted bugs, for the negative controls: each is a mistake that somebody could really make.

FAULT_BUG names one. Those with a moment to die at die there once FAULT_ARMED exists, and write FAULT_MARK before.
"""

from __future__ import annotations

import os
import signal
import sys
import uuid
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from fault_points import wrap


def _dies_here(environment: Mapping[str, str]) -> None:
    if Path(environment["FAULT_ARMED"]).exists():
        Path(environment["FAULT_MARK"]).write_text("in the bug's gap\n", encoding="utf-8")
        os.kill(os.getpid(), signal.SIGKILL)


def _position_first(environment: Mapping[str, str]) -> None:
    """The position is committed on its own, before the effects are written."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def commit(connection: Any, effects: Any) -> Any:
            from fraud.store import effects as store

            with connection.engine.begin() as first:
                bare = [replace(item, detections=(), matches=(), dead_letters=()) for item in effects]
                fenced = original(first, bare)
            _dies_here(environment)
            kept = [item for item in effects if item.key not in {other.key for other in fenced}]
            store.store_detections(connection, kept)
            store._store_matches(connection, kept)
            store._store_dead_letters(connection, kept)
            return fenced

        return commit

    wrap("fraud.store.effects:commit_effects", make)


def _letters_afterwards(environment: Mapping[str, str]) -> None:
    """Dead letters are written in a transaction of their own, after the position has moved."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def commit(connection: Any, effects: Any) -> Any:
            from fraud.store import effects as store

            with connection.engine.begin() as first:
                fenced = original(first, [replace(item, dead_letters=()) for item in effects])
            if any(item.dead_letters for item in effects):
                _dies_here(environment)
            store._store_dead_letters(connection, effects)
            return fenced

        return commit

    wrap("fraud.store.effects:commit_effects", make)


def _auto_commit(_environment: Mapping[str, str]) -> None:
    """A partition goes on from what the client has committed to the broker by itself, not from the database."""
    consumers: list[Any] = []

    def remembering(original: Callable[..., Any]) -> Callable[..., Any]:
        def made(self: Any, *topics: Any, **options: Any) -> None:
            automatic = (
                {"enable_auto_commit": True, "auto_commit_interval_ms": 3_000} if options.get("group_id") else {}
            )
            original(self, *topics, **options | automatic)
            consumers.append(self)

        return made

    def trusting(original: Callable[..., Any]) -> Callable[..., Any]:
        def claim(connection: Any, key: Any, *rest: Any) -> Any:
            from kafka import TopicPartition
            from sqlalchemy import update

            from fraud.store.tables import position

            claimed = original(connection, key, *rest)
            told = consumers[0].committed(TopicPartition(key.topic, key.partition)) or 0
            mine = (position.c.topic_id == key.topic_id, position.c.partition == key.partition)
            connection.execute(update(position).where(*mine).values(next_offset=told))
            return replace(claimed, next_offset=told)

        return claim

    wrap("kafka:KafkaConsumer.__init__", remembering)
    wrap("kafka:KafkaConsumer.commit_async", lambda _: lambda *_arguments, **_options: None)
    wrap("fraud.store.effects:claim_position", trusting)


def _no_unique_key(_environment: Mapping[str, str]) -> None:
    """A detection's id is drawn anew each time, and nothing in the database keeps an event from being there twice."""
    wrap("streams.pipeline:detection_id", lambda _: lambda *_arguments: uuid.uuid4().hex)


def _no_compare_and_set(_environment: Mapping[str, str]) -> None:
    """A commit looks neither at the position nor at the owner's epoch."""
    wrap("fraud.store.effects:_is_owned", lambda _: lambda _effects, row: row is not None)


def _swallowed(environment: Mapping[str, str]) -> None:
    """A batch that raises is logged and left out; the next one moves the position past it."""

    def make(original: Callable[..., Any]) -> Callable[..., Any]:
        def process(self: Any, state: Any, records: Any, *rest: Any) -> Any:
            armed = Path(environment["FAULT_ARMED"])
            mark = Path(environment["FAULT_MARK"])
            if len(records) > 1 and armed.exists() and not mark.exists():
                mark.write_text("a batch left out\n", encoding="utf-8")
                return original(self, state, records[-1:], *rest)
            return original(self, state, records, *rest)

        return process

    wrap("streams.pipeline:Pipeline.process", make)


def _plain_text(_environment: Mapping[str, str]) -> None:
    """A dead letter keeps the beginning of what could not be read, to make looking for the cause easier."""

    def make(_original: Callable[..., Any]) -> Callable[..., Any]:
        return lambda _key, payload: (payload or b"").decode("latin-1").replace("\x00", " ")[:64]

    wrap("streams.dead_letters:payload_digest", make)


BUGS: Final[Mapping[str, Callable[[Mapping[str, str]], None]]] = {
    "position before effects": _position_first,
    "dead letters after the position": _letters_afterwards,
    "auto-commit": _auto_commit,
    "no unique key": _no_unique_key,
    "no compare-and-set": _no_compare_and_set,
    "swallowed exception": _swallowed,
    "payload in plain text": _plain_text,
}


def install(environment: Mapping[str, str] = os.environ) -> None:
    """Plant the bug that the environment names; nothing when it names none."""
    name = environment.get("FAULT_BUG")
    if name:
        BUGS[name](environment)
        sys.stderr.write(f"planted bug: {name}\n")
