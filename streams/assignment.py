"""Partitions coming and going: what the client's rebalance callback may do, and what the worker's loop does about it.

The callback runs on the client's own thread, where nothing may block. It seeks and pauses, so that `poll()` gives
nothing of a new partition yet, and leaves a note. The loop claims the position, loads state, seeks to the replay point
and resumes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from kafka import ConsumerRebalanceListener, KafkaConsumer, TopicPartition


class Assignments(ConsumerRebalanceListener):  # type: ignore[misc]
    """Notes of gained and lost partitions, to be taken by the loop in the order in which they came."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        self._consumer = consumer
        self._lock = threading.Lock()
        self._notes: list[tuple[str, TopicPartition]] = []

    def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Called by the client when partitions are gained."""
        gained = sorted(assigned)
        for partition in gained:
            self._consumer.seek(partition, 0)
            self._consumer.pause(partition)
        self._note("gained", gained)

    def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Called by the client when partitions are given away."""
        self._note("lost", sorted(revoked))

    def on_partitions_lost(self, lost: Iterable[TopicPartition]) -> None:
        """Called by the client when partitions are gone already: the same note, and nothing is committed for them."""
        self._note("lost", sorted(lost))

    def take(self) -> list[tuple[str, TopicPartition]]:
        """The notes since the last call."""
        with self._lock:
            notes, self._notes = self._notes, []
        return notes

    def _note(self, what: str, partitions: list[TopicPartition]) -> None:
        with self._lock:
            self._notes.extend((what, partition) for partition in partitions)
