"""What each metric of the worker is, in which unit, what it means and what to do about it. The runbook shows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Kind = Literal["counter", "gauge", "histogram"]
Label = Literal["partition", "error_class", "field", "model_digest", "step"]
MetricName = Literal[
    "mimamori_lag_records",
    "mimamori_lag_seconds",
    "mimamori_poll_age_seconds",
    "mimamori_batch_seconds",
    "mimamori_commit_seconds",
    "mimamori_database_retries_total",
    "mimamori_partitions_assigned",
    "mimamori_partitions_ready",
    "mimamori_replay_left_records",
    "mimamori_rebalances_total",
    "mimamori_polled_records_total",
    "mimamori_scored_total",
    "mimamori_matched_total",
    "mimamori_detected_total",
    "mimamori_dead_letters_total",
    "mimamori_duplicates_total",
    "mimamori_quarantined_total",
    "mimamori_missing_fields_total",
    "mimamori_security_findings_total",
    "mimamori_state_cards",
    "mimamori_state_bytes",
    "mimamori_checkpoint_age_seconds",
    "mimamori_checkpoints_total",
    "mimamori_checkpoint_failures_total",
    "mimamori_archived_rows_total",
    "mimamori_archive_seconds",
    "mimamori_reference_set_id",
    "mimamori_model_info",
    "mimamori_started_at_seconds",
]


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric. `action` is what an operator does when it is not as it should be."""

    name: MetricName
    kind: Kind
    unit: str
    meaning: str
    action: str
    labels: tuple[Label, ...] = ()


METRICS: Final[tuple[Metric, ...]] = (
    Metric(
        "mimamori_lag_records",
        "gauge",
        "records",
        "Records in the log after this partition's position.",
        "Look at lag in seconds first. When it grows on all partitions, add workers or look for a slow database; when "
        "it grows on one, look at that worker's log.",
        ("partition",),
    ),
    Metric(
        "mimamori_lag_seconds",
        "gauge",
        "seconds",
        "How long the oldest record that is not processed yet has been in the log; 0 when there is none.",
        "Page at 60 s for 5 minutes. See whether the loop beats, whether commits are slow, and whether the partition "
        "moves at all. The process ends itself when its loop stands still.",
        ("partition",),
    ),
    Metric(
        "mimamori_poll_age_seconds",
        "gauge",
        "seconds",
        "Time since the loop last asked the broker for records.",
        "Above 30 s: a batch or a commit hangs. Near `kafka.max_poll_interval_ms` the worker ends itself with stacks "
        "in its log: keep them.",
    ),
    Metric(
        "mimamori_batch_seconds",
        "histogram",
        "seconds",
        "Time from a batch's records to its effects: decode, match, features, score, decide.",
        "99 of 100 should be below 0.1 s. Slower after a new model: go back to the one before. Slower on all: the CPU "
        "is short, or `stream.max_poll_records` is too high.",
    ),
    Metric(
        "mimamori_commit_seconds",
        "histogram",
        "seconds",
        "Time of the database transaction that stores a batch's effects and position.",
        "99 of 100 should be below 0.1 s. Look at the database: locks, disk, connections.",
    ),
    Metric(
        "mimamori_database_retries_total",
        "counter",
        "attempts",
        "Commits that failed and were tried again with the same effects.",
        "Some are a failover. Going on rising: the database is away; the worker waits and loses nothing.",
    ),
    Metric(
        "mimamori_partitions_assigned",
        "gauge",
        "partitions",
        "Partitions that the group has given to this worker.",
        "The sum over all workers is the topic's number of partitions. Less: a partition has no worker.",
    ),
    Metric(
        "mimamori_partitions_ready",
        "gauge",
        "partitions",
        "Assigned partitions whose replay has ended, so that new records are processed.",
        "Below the assigned ones for minutes: a replay is long. See the age of the checkpoints.",
    ),
    Metric(
        "mimamori_replay_left_records",
        "gauge",
        "records",
        "Offsets that a partition's silent replay has to go until its new records are processed.",
        "It falls steadily. Standing still: look at the broker and at the worker's log.",
        ("partition",),
    ),
    Metric(
        "mimamori_rebalances_total",
        "counter",
        "rebalances",
        "Times that partitions came to this worker or left it.",
        "More than a few an hour: workers come and go. Look for restarts, and for batches near the poll interval.",
    ),
    Metric(
        "mimamori_polled_records_total",
        "counter",
        "records",
        "Records that the broker has given.",
        "No rise while lag is above 0: the partition is stuck; restart the worker and keep its log.",
    ),
    Metric(
        "mimamori_scored_total",
        "counter",
        "transactions",
        "Transactions processed: decoded, matched, scored and decided.",
        "Compare with what the producers say they sent; `mimamori reconcile` compares with the log.",
    ),
    Metric(
        "mimamori_matched_total",
        "counter",
        "matches",
        "Transactions of exposed cards, once for each compromise event.",
        "A jump follows a new list of exposed cards. None although cards are watched: check the key version of the "
        "card references.",
    ),
    Metric(
        "mimamori_detected_total",
        "counter",
        "detections",
        "Detections made.",
        "Far above the budget of `policy`: look at the reasons of the latest, and at the model that was promoted last.",
    ),
    Metric(
        "mimamori_dead_letters_total",
        "counter",
        "records",
        "Records that cannot be processed, by class.",
        "Page on any PAN_ class: a producer sends card numbers. For the others see `mimamori dead-letters list`, mend "
        "the producer, then replay.",
        ("error_class",),
    ),
    Metric(
        "mimamori_duplicates_total",
        "counter",
        "records",
        "Records of an event that was processed already; they change nothing.",
        "A steady share is a producer without idempotence. A jump is a replay.",
    ),
    Metric(
        "mimamori_quarantined_total",
        "counter",
        "records",
        "Records that use the event id of another transaction. They are not processed.",
        "The producer's ids are not unique: ask its owner. Each is a transaction that nobody scored.",
    ),
    Metric(
        "mimamori_missing_fields_total",
        "counter",
        "values",
        "Values that were there but could not be used and count as missing, by field.",
        "A jump of one field: the producer changed its format. Features that need the field are not evaluated.",
        ("field",),
    ),
    Metric(
        "mimamori_security_findings_total",
        "counter",
        "records",
        "Records with a card number where none belongs. It was blanked.",
        "Page. Each topic and field is a security incident; the reporting clock runs from its first record.",
    ),
    Metric(
        "mimamori_state_cards",
        "gauge",
        "cards",
        "Cards in a partition's state.",
        "It grows with the portfolio. A sudden fall after a restart: state was lost; rebuild it.",
        ("partition",),
    ),
    Metric(
        "mimamori_state_bytes",
        "gauge",
        "bytes",
        "Memory of a partition's state.",
        "Keep the sum below half of the worker's memory; otherwise spread the partitions over more workers.",
        ("partition",),
    ),
    Metric(
        "mimamori_checkpoint_age_seconds",
        "gauge",
        "seconds",
        "For how long a partition's effects have been committed that no checkpoint holds; 0 when all are in one.",
        "A restart reads the log again from the checkpoint. Above ten times `stream.checkpoint_seconds`: see which "
        "step fails, below.",
        ("partition",),
    ),
    Metric(
        "mimamori_checkpoints_total",
        "counter",
        "checkpoints",
        "Checkpoints of a partition that were registered.",
        "No rise while records are scored: see the age of the checkpoints.",
    ),
    Metric(
        "mimamori_checkpoint_failures_total",
        "counter",
        "attempts",
        "Checkpoints that could not be written and are tried again, by the step that failed. Rows wait in memory.",
        "`archive`: the store of `archive.root`, its room and its rights. `snapshot`: that of `snapshots.root`, or the "
        "database. The worker's log names the error.",
        ("step",),
    ),
    Metric(
        "mimamori_archived_rows_total",
        "counter",
        "rows",
        "Transactions appended to the archive.",
        "Compare its rise with that of the scored ones over an hour; less: see the failures of checkpoints.",
    ),
    Metric(
        "mimamori_archive_seconds",
        "histogram",
        "seconds",
        "Time in which a checkpoint's rows were appended to the archive.",
        "Above 10 s: the store is slow, or many workers append at once. Records are processed meanwhile.",
    ),
    Metric(
        "mimamori_reference_set_id",
        "gauge",
        "id",
        "The reference set that batches run under.",
        "All workers show the same one within seconds. A worker that stays behind does not see exposures change.",
    ),
    Metric(
        "mimamori_model_info",
        "gauge",
        "1",
        "Digest of the model that scores, as a label; `none` for rules and exposure alone.",
        "All workers show the same digest. `none` in production: no model is champion; promote one.",
        ("model_digest",),
    ),
    Metric(
        "mimamori_started_at_seconds",
        "gauge",
        "seconds",
        "When this process began to listen to its worker, in seconds since 1970.",
        "Changing again and again: the worker ends itself; the last line of its log says why.",
    ),
)
