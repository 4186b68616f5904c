"""How much the log holds, as its reader sees it."""

from __future__ import annotations

import contextlib

from kafka import KafkaConsumer, TopicPartition

from fraud.settings import KafkaSettings
from streams.kafka import make_consumer

_POLL_MS = 500
_POLL_RECORDS = 10_000


def published_records(settings: KafkaSettings) -> int:
    """Records in the transactions topic, all partitions, from their first to their end offsets."""
    with contextlib.closing(make_consumer(settings, _POLL_RECORDS)) as consumer:
        topic = settings.transactions_topic
        partitions = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        beginnings = consumer.beginning_offsets(partitions)
        ends = end_offsets(consumer, partitions)
    return sum(ends[partition] - beginnings[partition] for partition in partitions)


def end_offsets(consumer: KafkaConsumer, partitions: list[TopicPartition]) -> dict[TopicPartition, int]:
    """End offsets, made sure of by reading on from the ones that the broker states.

    The embedded broker states the base offset of the last batch rather than the end of it (measured on Tansu 0.6.0);
    on Apache Kafka the first poll finds nothing more.
    """
    consumer.assign(partitions)
    for partition, offset in consumer.end_offsets(partitions).items():
        consumer.seek(partition, offset)
    while consumer.poll(timeout_ms=_POLL_MS):
        pass
    return {partition: consumer.position(partition) for partition in partitions}
