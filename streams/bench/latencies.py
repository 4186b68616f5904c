"""From the append of each record to the commit of its effects, worked out afterwards from what is known anyway."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from kafka import TopicPartition
from numpy.typing import NDArray

from fraud.errors import UnavailableError
from fraud.settings import Settings
from streams.bench.pacer import intended_at
from streams.kafka import make_consumer

_POLL_MS: Final = 200
_EMPTY_POLLS: Final = 50
_LOG_APPEND_TIME: Final = 1
_PERCENTILES: Final = {"p50_ms": 50.0, "p99_ms": 99.0, "p999_ms": 99.9}

Commit = tuple[int, int, int, float]  # partition, from offset, to offset (exclusive), seconds since 1970


@dataclass(frozen=True, slots=True)
class Moments:
    """Of n records, each (n,) and in seconds since 1970: meant to be sent, appended, committed (NaN: never)."""

    intended: NDArray[np.float64]
    appended: NDArray[np.float64]
    committed: NDArray[np.float64]
    by_broker: bool  # the append times are the broker's own, not the producer's

    def after(self, at: float) -> Moments:
        """Only what was meant to be sent at `at` or later."""
        return self.take(self.intended >= at)

    def take(self, rows: NDArray[np.bool_]) -> Moments:
        """The rows of a mask."""
        return Moments(self.intended[rows], self.appended[rows], self.committed[rows], self.by_broker)


def within(moments: Moments, spans: Sequence[Sequence[float]]) -> NDArray[np.bool_]:
    """(n,) whether any of the spans (begin, end) touches the time between a record's append and its commit."""
    touched = np.zeros(len(moments.appended), np.bool_)
    for begin, end in spans:
        touched |= (moments.appended <= end) & (moments.committed >= begin)
    return touched


def read_moments(settings: Settings, records: int, commits: Sequence[Commit]) -> Moments:
    """Read the topic once more, when all is over, and look up each record's commit."""
    kafka = settings.kafka
    ends = _Commits(commits)
    partitions = [TopicPartition(kafka.transactions_topic, number) for number in range(kafka.partitions)]
    intended, appended, committed = np.empty(records), np.empty(records), np.empty(records)
    row, empty, by_broker = 0, 0, True
    with contextlib.closing(make_consumer(kafka, settings.stream.max_poll_records)) as consumer:
        consumer.assign(partitions)
        consumer.seek_to_beginning()
        while row < records:
            polled = consumer.poll(timeout_ms=_POLL_MS)
            empty = 0 if polled else empty + 1
            if empty > _EMPTY_POLLS:
                message = f"only {row:,} of {records:,} records are in the topic"
                raise UnavailableError(message)
            for partition, found in polled.items():
                for record in found:
                    intended[row] = intended_at(record.headers)
                    appended[row] = record.timestamp / 1000
                    by_broker &= record.timestamp_type == _LOG_APPEND_TIME
                    committed[row] = ends.at(partition.partition, record.offset)
                    row += 1
    return Moments(intended, appended, committed, by_broker)


def percentiles(milliseconds: NDArray[np.float64]) -> dict[str, float]:
    """Median, 99th and 99.9th percentile, and the largest; all 0 where there is nothing."""
    if not milliseconds.size:
        return dict.fromkeys([*_PERCENTILES, "max_ms"], 0.0)
    found = {name: float(np.percentile(milliseconds, share)) for name, share in _PERCENTILES.items()}
    return {**found, "max_ms": float(milliseconds.max())}


def latency_report(moments: Moments) -> dict[str, Any]:
    """Latencies of what was committed, from the append and from the moment of the intended sending."""
    done = ~np.isnan(moments.committed)
    from_append = 1000 * (moments.committed - moments.appended)[done]
    from_intended = 1000 * (moments.committed - moments.intended)[done]
    return {
        **percentiles(from_append),
        "measured": int(done.sum()),
        "from_intended_send": percentiles(from_intended),
        "appended_at": "broker" if moments.by_broker else "producer (this broker keeps no append time)",
    }


class _Commits:
    """When each offset was committed."""

    def __init__(self, commits: Sequence[Commit]) -> None:
        self._of: dict[int, tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = {}
        for partition in {commit[0] for commit in commits}:
            own = sorted(commit[1:] for commit in commits if commit[0] == partition)
            starts, ends, at = zip(*own, strict=True)
            self._of[partition] = np.array(starts), np.array(ends), np.array(at)

    def at(self, partition: int, offset: int) -> float:
        """Seconds since 1970; NaN where it never was."""
        if partition not in self._of:
            return float("nan")
        starts, ends, at = self._of[partition]
        place = int(np.searchsorted(starts, offset, side="right")) - 1
        return float(at[place]) if place >= 0 and offset < ends[place] else float("nan")
