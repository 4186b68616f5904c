"""Putting columns on the log as contract events."""

from __future__ import annotations

from collections.abc import Callable

from kafka import KafkaProducer

from fraud.transactions import Columns
from streams.wire_encoder import encode, keys

_CHUNK = 5_000


def publish(
    producer: KafkaProducer, topic: str, columns: Columns, progress: Callable[[int], None] | None = None
) -> int:
    """Publish n transactions in their order and wait until the broker has acknowledged each; the number published.

    Raises the client's error if any record was not acknowledged: a record is never silently left out.
    """
    for start in range(0, len(columns), _CHUNK):
        part = columns.take(range(start, min(start + _CHUNK, len(columns))))
        waiting = [
            producer.send(topic, key=key, value=value) for key, value in zip(keys(part), encode(part), strict=True)
        ]
        producer.flush()
        for acknowledgement in waiting:
            acknowledgement.get(timeout=30)
        if progress is not None:
            progress(len(part))
    return len(columns)
