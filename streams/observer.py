# ruff: noqa: D102 - what `MetricsObserver` overrides is described in its base class
"""What the worker's loop tells about itself. `WorkerObserver` listens to nothing; `MetricsObserver` keeps metrics."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

from fraud.store.records import PartitionEffects
from streams.metrics import Metrics


class WorkerObserver:
    """The calls that the worker makes, each at its moment, on the worker's own thread. All of them do nothing here."""

    def beat(self) -> None:
        """The loop has come round."""

    def polled(self, records: int) -> None:
        """A poll has returned this many records."""

    def batch(self, effects: Sequence[PartitionEffects], seconds: float) -> None:
        """The effects of a poll's records were computed in that time; they are not committed yet."""

    def missing(self, fields: Mapping[str, int]) -> None:
        """Values that could not be used, by field name."""

    def committed(self, effects: Sequence[PartitionEffects], seconds: float) -> None:
        """These effects, without the fenced ones, are in the database; the transaction took that time."""

    def database_retry(self) -> None:
        """A commit failed and will be tried again."""

    def assigned(self, partition: int) -> None:
        """A partition has come; its state is being loaded and replayed."""

    def ready(self, partition: int) -> None:
        """A partition's replay has ended; from now on its new records are processed."""

    def revoked(self, partition: int) -> None:
        """A partition has gone, or was fenced."""

    def lag(self, partition: int, offsets: int, seconds: float) -> None:
        """How far a partition is behind the end of the log, in records and in time."""

    def state(self, partition: int, cards: int, size: int) -> None:
        """Cards and bytes of a partition's state."""

    def checkpointed(self, partition: int) -> None:
        """A checkpoint of a partition was registered."""

    def replaying(self, partition: int, records_left: int) -> None:
        """A partition's silent replay has so many offsets to go."""

    def archived(self, rows: int, seconds: float) -> None:
        """So many rows were appended to the archive. Called on the checkpoint's thread."""

    def checkpoint_failed(self, step: Literal["archive", "snapshot"]) -> None:
        """A checkpoint could not be written and is tried again, from this step. Called on the checkpoint's thread."""

    def model(self, digest: str | None, *, self_test_passed: bool) -> None:
        """The model that scores (None: rules and exposure alone), and whether its golden vectors came out."""

    def reference(self, reference_set_id: int) -> None:
        """The reference set that batches run under."""


class MetricsObserver(WorkerObserver):
    """Keeps the metrics, and knows whether the worker is alive and ready.

    Args:
        live_seconds: without a beat for longer, the loop counts as standing still.
        monotonic: seconds of a clock that never goes back.

    """

    def __init__(
        self, metrics: Metrics, live_seconds: float = 60.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.metrics = metrics
        self._live_seconds = live_seconds
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._last_beat = self._last_poll = monotonic()
        self._partitions: dict[int, bool] = {}  # partition to whether it is ready
        self._model_passed = False
        self._unsaved_since: dict[int, float] = {}  # partition to its first commit that no checkpoint holds
        metrics.set("mimamori_started_at_seconds", time.time())
        metrics.follow("mimamori_poll_age_seconds", lambda: self._monotonic() - self._last_poll)

    def live(self) -> bool:
        """True while the loop beats."""
        return self._monotonic() - self._last_beat <= self._live_seconds

    def not_ready_because(self) -> list[str]:
        """Why the worker is not ready, as far as the loop knows; empty when it is."""
        with self._lock:
            replaying = sum(not ready for ready in self._partitions.values())
            reasons = [
                ("no partition is assigned", not self._partitions),
                (f"{replaying} partitions are being replayed", replaying > 0),
                ("the model has not passed its self-test", not self._model_passed),
            ]
        return [reason for reason, holds in reasons if holds]

    def beat(self) -> None:
        self._last_beat = self._monotonic()

    def polled(self, records: int) -> None:
        self._last_poll = self._monotonic()
        self.metrics.add("mimamori_polled_records_total", records)

    def batch(self, effects: Sequence[PartitionEffects], seconds: float) -> None:
        self.metrics.observe("mimamori_batch_seconds", seconds)

    def missing(self, fields: Mapping[str, int]) -> None:
        for name, count in fields.items():
            self.metrics.add("mimamori_missing_fields_total", count, field=name)

    def committed(self, effects: Sequence[PartitionEffects], seconds: float) -> None:
        metrics = self.metrics
        metrics.observe("mimamori_commit_seconds", seconds)
        classes: Counter[str] = Counter()
        for item in effects:
            self._unsaved_since.setdefault(item.key.partition, self._monotonic())
            metrics.add("mimamori_scored_total", item.counters.processed)
            metrics.add("mimamori_matched_total", item.counters.matched)
            metrics.add("mimamori_detected_total", item.counters.detected)
            metrics.add("mimamori_duplicates_total", item.counters.duplicates)
            metrics.add("mimamori_quarantined_total", item.counters.quarantined)
            metrics.add("mimamori_security_findings_total", sum(item.security_findings.values()))
            classes.update(record.error_class for record in item.dead_letters if record.kind == "DEAD_LETTER")
        for error_class, count in classes.items():
            metrics.add("mimamori_dead_letters_total", count, error_class=error_class)

    def database_retry(self) -> None:
        self.metrics.add("mimamori_database_retries_total")

    def assigned(self, partition: int) -> None:
        self.metrics.add("mimamori_rebalances_total")
        self._place(partition, ready=False)
        # From the first moment, so that a checkpoint that is never written is seen too.
        self._unsaved_since.pop(partition, None)
        self.metrics.follow("mimamori_checkpoint_age_seconds", lambda: self._unsaved(partition), partition=partition)

    def replaying(self, partition: int, records_left: int) -> None:
        self.metrics.set("mimamori_replay_left_records", records_left, partition=partition)

    def ready(self, partition: int) -> None:
        self._place(partition, ready=True)
        self.metrics.set("mimamori_replay_left_records", 0, partition=partition)

    def revoked(self, partition: int) -> None:
        self.metrics.add("mimamori_rebalances_total")
        with self._lock:
            self._partitions.pop(partition, None)
        self._unsaved_since.pop(partition, None)
        self.metrics.forget("partition", partition)
        self._count_partitions()

    def lag(self, partition: int, offsets: int, seconds: float) -> None:
        self.metrics.set("mimamori_lag_records", offsets, partition=partition)
        self.metrics.set("mimamori_lag_seconds", seconds, partition=partition)

    def state(self, partition: int, cards: int, size: int) -> None:
        self.metrics.set("mimamori_state_cards", cards, partition=partition)
        self.metrics.set("mimamori_state_bytes", size, partition=partition)

    def checkpointed(self, partition: int) -> None:
        self._unsaved_since.pop(partition, None)
        self.metrics.add("mimamori_checkpoints_total")

    def archived(self, rows: int, seconds: float) -> None:
        self.metrics.add("mimamori_archived_rows_total", rows)
        self.metrics.observe("mimamori_archive_seconds", seconds)

    def checkpoint_failed(self, step: Literal["archive", "snapshot"]) -> None:
        self.metrics.add("mimamori_checkpoint_failures_total", step=step)

    def model(self, digest: str | None, *, self_test_passed: bool) -> None:
        self._model_passed = self_test_passed
        self.metrics.forget("model_digest")
        self.metrics.set("mimamori_model_info", 1, model_digest=digest or "none")

    def reference(self, reference_set_id: int) -> None:
        self.metrics.set("mimamori_reference_set_id", reference_set_id)

    def _unsaved(self, partition: int) -> float:
        since = self._unsaved_since.get(partition)
        return 0.0 if since is None else self._monotonic() - since

    def _place(self, partition: int, *, ready: bool) -> None:
        with self._lock:
            self._partitions[partition] = ready
        self._count_partitions()

    def _count_partitions(self) -> None:
        with self._lock:
            assigned, ready = len(self._partitions), sum(self._partitions.values())
        self.metrics.set("mimamori_partitions_assigned", assigned)
        self.metrics.set("mimamori_partitions_ready", ready)
