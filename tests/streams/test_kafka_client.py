"""What the worker relies on the Kafka client for, on a real broker."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from kafka import TopicPartition
from worker_support import eventually

from streams.assignment import Assignments
from streams.kafka import create_topics, make_admin, make_consumer


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
