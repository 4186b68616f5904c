"""A process of a bench: records at a steady rate, whatever becomes of them. `python -m` starts it.

Open loop: when each record is meant to be sent is fixed beforehand and written into it. A producer that falls behind
sends late, and that counts, instead of being forgotten ("coordinated omission").
"""

from __future__ import annotations

import contextlib
import struct
import time
from pathlib import Path
from typing import Any, Final

import msgspec
from kafka import KafkaProducer

from fraud.settings import Settings, load_settings
from streams.bench.children import read_task, tell
from streams.kafka import connection_options
from streams.seeding import partition_of

INTENDED: Final = "bench-intended"  # header: when it was meant to be sent, seconds since 1970 as a big-endian double
LINGER_MS: Final = 10

_TICK_SECONDS = 0.001
_HEAD_START_SECONDS = 1.0


def main() -> None:
    """Send what is in a file at so many records a second; tell `loaded`, then `result`."""
    task = read_task()
    settings = load_settings(**task["settings"])
    pairs = msgspec.msgpack.decode(Path(task["file"]).read_bytes(), type=list[tuple[bytes, bytes]])
    tell(loaded=len(pairs))
    tell(result=send(settings, pairs, task["rate"]))


def intended_at(headers: list[tuple[str, bytes]]) -> float:
    """When a record was meant to be sent, seconds since 1970."""
    at: float = struct.unpack(">d", dict(headers)[INTENDED])[0]
    return at


def send(settings: Settings, pairs: list[tuple[bytes, bytes]], rate: float) -> dict[str, Any]:
    """Send key and value pairs, each at its own time from a second after now on; what became of that."""
    kafka = settings.kafka
    topic = kafka.transactions_topic
    places = [partition_of(key, kafka.partitions) for key, _ in pairs]
    failures: list[str] = []
    latest = 0.0
    with contextlib.closing(
        KafkaProducer(**connection_options(kafka), compression_type="lz4", linger_ms=LINGER_MS)
    ) as producer:
        producer.partitions_for(topic)
        start = time.time() + _HEAD_START_SECONDS
        for number, (key, value) in enumerate(pairs):
            at = start + number / rate
            late = time.time() - at
            while late < 0:
                time.sleep(max(_TICK_SECONDS, -late))
                late = time.time() - at
            latest = max(latest, late)
            headers = [(INTENDED, struct.pack(">d", at))]
            sending = producer.send(topic, key=key, value=value, headers=headers, partition=places[number])
            sending.add_errback(lambda error: failures.append(type(error).__name__))
        producer.flush()
    return {
        "sent": len(pairs) - len(failures),
        "failed": len(failures),
        "first_at": start,
        "seconds": time.time() - start,
        "latest_send_ms": 1000 * latest,
    }


if __name__ == "__main__":
    main()
