"""A process of a bench: the public client's `poll()` alone, over all records of the topic. `python -m` starts it."""

from __future__ import annotations

import contextlib
import time

from kafka import TopicPartition

from fraud.settings import Settings, load_settings
from streams.bench.children import read_task, tell
from streams.bench.machine import pin_to_core
from streams.kafka import make_consumer

_POLL_MS = 200


def main() -> None:
    """Read so many records and tell `result`: the records, and seconds of processor and of wall clock."""
    task = read_task()
    if task["core"] is not None:
        pin_to_core(task["core"])
    tell(result=measure(load_settings(**task["settings"]), task["records"]))


def measure(settings: Settings, wanted: int) -> dict[str, float]:
    """Poll until `wanted` records have come, with the worker's own options, doing nothing with them."""
    kafka = settings.kafka
    partitions = [TopicPartition(kafka.transactions_topic, number) for number in range(kafka.partitions)]
    with contextlib.closing(make_consumer(kafka, settings.stream.max_poll_records)) as consumer:
        consumer.assign(partitions)
        consumer.seek_to_beginning()
        for partition in partitions:
            consumer.position(partition)  # what connecting costs is not polling
        cpu, wall, records = time.process_time(), time.perf_counter(), 0
        while records < wanted:
            polled = sum(map(len, consumer.poll(timeout_ms=_POLL_MS).values()))
            records += polled
            if polled:
                tell(progress=records)
        return {
            "records": records,
            "cpu_seconds": time.process_time() - cpu,
            "wall_seconds": time.perf_counter() - wall,
        }


if __name__ == "__main__":
    main()
