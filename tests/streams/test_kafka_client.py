"""What the worker relies on the Kafka client for, on a real broker."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from kafka import TopicPartition
from worker_support import eventually

from streams.assignment import Assignments
from streams.kafka import create_topics, make_admin, make_consumer, make_producer


@pytest.mark.parametrize("stack", ["kafka-postgresql"], indirect=True)
def test_a_rebalance_that_outlasts_a_poll_is_finished_by_later_ones(stack: Any) -> None:
    """The leader joins again when the topic has grown; with the client as it comes it then stays out of the group."""
    topic = stack.kafka.transactions_topic
    create_topics(stack.kafka)
    with contextlib.closing(make_consumer(stack.kafka, 500)) as consumer:
        consumer.subscribe([topic], listener=Assignments(consumer))

        def has(partitions: int) -> bool:
            consumer.poll(timeout_ms=5)  # shorter than any rebalance
            return bool(consumer.assignment() == {TopicPartition(topic, number) for number in range(partitions)})

        eventually(lambda: has(stack.kafka.partitions), "all partitions are assigned")
        with contextlib.closing(make_admin(stack.kafka)) as admin:
            admin.create_partitions({topic: stack.kafka.partitions + 1})
        consumer._cluster.request_update()  # what the client otherwise does every five minutes
        eventually(lambda: has(stack.kafka.partitions + 1), "the new partition is assigned too")


def test_a_partition_that_was_paused_with_records_in_hand_goes_on_when_it_is_resumed(stack: Any) -> None:
    """With the client as it comes it is silent for ever, if another partition was read while it was paused."""
    topic = stack.kafka.transactions_topic
    create_topics(stack.kafka)
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    with contextlib.closing(make_producer(stack.kafka)) as producer:
        for number in range(100):
            producer.send(topic, key=b"k", value=str(number).encode(), partition=0)
        producer.flush()
        with contextlib.closing(make_consumer(stack.kafka, 10)) as consumer:
            consumer.assign([first, second])
            consumer.seek(first, 0)
            consumer.seek(second, 0)
            seen = {first: 0, second: 0}

            def has(partition: TopicPartition, count: int) -> bool:
                for polled, records in consumer.poll(timeout_ms=20).items():
                    seen[polled] += len(records)
                return seen[partition] >= count

            eventually(lambda: has(first, 10), "a part of the first partition's records is read")
            consumer.pause(first)
            assert consumer.poll(timeout_ms=20) == {}
            producer.send(topic, key=b"k", value=b"other", partition=1).get(timeout=30)
            eventually(lambda: has(second, 1), "the second partition is read")
            assert seen[first] < 100
            consumer.resume(first)
            eventually(lambda: has(first, 100), "the first partition's other records are read")
            assert seen == {first: 100, second: 1}
