"""Putting columns on the log as contract events."""

from __future__ import annotations

from collections.abc import Callable

from kafka import KafkaProducer

from fraud.transactions import Columns
from streams.wire_encoder import encode, keys

_CHUNK = 5_000


def publish(
    producer: KafkaProducer,
    topic: str,
    columns: Columns,
    progress: Callable[[int], None] | None = None,
    *,
    logged_when_they_occurred: bool = False,
) -> int:
    """Publish n transactions in their order and wait until the broker has acknowledged each; the number published.

    With `logged_when_they_occurred` the records carry the time of their events, as if the log had been written then:
    for stories of the past on a broker that deletes nothing by age.

    Raises the client's error if any record was not acknowledged: a record is never silently left out.
    """
    for start in range(0, len(columns), _CHUNK):
        part = columns.take(range(start, min(start + _CHUNK, len(columns))))
        times = part["occurred_at"].tolist() if logged_when_they_occurred else [None] * len(part)
        waiting = [
            producer.send(topic, key=key, value=value, timestamp_ms=at)
            for key, value, at in zip(keys(part), encode(part), times, strict=True)
        ]
        producer.flush()
        for acknowledgement in waiting:
            acknowledgement.get(timeout=30)
        if progress is not None:
            progress(len(part))
    return len(columns)
