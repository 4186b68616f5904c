"""Reading parts of the log for operators: one record, or how many there are between two offsets."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any, Final

from kafka import KafkaConsumer, TopicPartition

from fraud.errors import NotFoundError, UnavailableError
from fraud.settings import KafkaSettings
from streams.kafka import make_consumer
from streams.lag import end_offsets

_POLL_MS: Final = 500
_POLL_RECORDS: Final = 10_000
_SILENT_SECONDS: Final = 30.0  # without a record and without moving on, the broker counts as away


class LogReader:
    """Reads partitions without a group: nothing that it does can be seen by the workers."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer

    def partitions(self, topic: str) -> list[int]:
        """The topic's partitions."""
        return sorted(self._consumer.partitions_for_topic(topic) or ())

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """First offset in the log, and the offset after its last record."""
        wanted = TopicPartition(topic, partition)
        beginning: int = self._consumer.beginning_offsets([wanted])[wanted]
        return beginning, end_offsets(self._consumer, [wanted])[wanted]

    def count(self, topic: str, partition: int, start: int, stop: int) -> int:
        """Records from offset `start` to before `stop`, read one by one: offsets without a record do not count."""
        return sum(1 for _ in self._records(topic, partition, start, stop))

    def record(self, topic: str, partition: int, offset: int) -> Any:
        """The record at an offset, with `key` and `value` as bytes; `NotFoundError` when the log has none there."""
        for record in self._records(topic, partition, offset, offset + 1):
            return record
        message = "the log has no record at this offset any more"
        raise NotFoundError(message)

    def _records(self, topic: str, partition: int, start: int, stop: int) -> Iterator[Any]:
        wanted = TopicPartition(topic, partition)
        if start < self._consumer.beginning_offsets([wanted])[wanted]:
            message = "the log begins after this offset"
            raise NotFoundError(message)
        self._consumer.assign([wanted])
        self._consumer.seek(wanted, start)
        moved, at = time.monotonic(), start
        while at < stop:
            for record in self._consumer.poll(timeout_ms=_POLL_MS).get(wanted, []):
                if record.offset < stop:
                    yield record
            now_at = self._consumer.position(wanted)
            if now_at != at:
                moved, at = time.monotonic(), now_at
            elif time.monotonic() - moved > _SILENT_SECONDS:
                message = f"partition {partition}: the broker gives no record from offset {at} on"
                raise UnavailableError(message)


@contextlib.contextmanager
def open_log(settings: KafkaSettings) -> Iterator[LogReader]:
    """A reader for as long as the context lasts."""
    with contextlib.closing(make_consumer(settings, _POLL_RECORDS)) as consumer:
        yield LogReader(consumer)
