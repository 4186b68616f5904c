"""The alerts that the metrics allow: what to write into the alerting system, what each means, and what to do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert. `expression` is PromQL, which must hold for `minutes`; `steps` are done in order."""

    name: str
    page: bool
    expression: str
    minutes: int
    meaning: str
    steps: tuple[str, ...]


ALERTS: Final[tuple[Alert, ...]] = (
    Alert(
        "LagInSeconds",
        True,
        "max by (partition) (mimamori_lag_seconds) > 60",
        5,
        "Transactions wait for more than a minute: a watched card can be used meanwhile without anybody seeing it.",
        (
            "All partitions or one? One: see PartitionStalled.",
            (
                "`mimamori_poll_age_seconds` above 30: a batch or a commit hangs. `mimamori_commit_seconds` tells the "
                "database from the CPU."
            ),
            "Commits are quick and the CPU is busy: start another worker, up to one a partition.",
            (
                "After an outage the lag falls by itself: `mimamori_lag_records` over the rate of "
                "`mimamori_scored_total` is how long it takes."
            ),
        ),
    ),
    Alert(
        "PartitionStalled",
        True,
        "mimamori_lag_seconds > 120 and deriv(mimamori_lag_seconds[2m]) > 0.9",
        2,
        "A partition's lag grows by a second a second: nothing of it is processed. The Kafka client can hold a "
        "partition that it never fetches, without any error.",
        (
            (
                "The worker ends itself after `stream.stalled_seconds`, and its supervisor starts it again. Has it? "
                "See the last lines of its log."
            ),
            (
                "It has not: restart this worker (SIGTERM), and keep its log. Nothing is lost: the position is in the "
                "database."
            ),
            "The log says that too many rows wait for a checkpoint: see ArchiveRefused and SnapshotNotWritten.",
            "It stalls again on another machine: `mimamori reconcile` on this partition, then the broker's log.",
        ),
    ),
    Alert(
        "WorkerKeepsEnding",
        True,
        'up{job="mimamori-worker"} == 0 or changes(mimamori_started_at_seconds[15m]) > 2',
        2,
        "A worker has ended, or ends itself again and again. The last line of its log says why. A supervisor that "
        "counts restarts tells it sooner.",
        (
            (
                '"... records cannot be processed; stopped before the batch was recorded": the breaker is open. '
                "Go on with BreakerNear."
            ),
            (
                '"... have records and do not move": see PartitionStalled. Exit code 70 with stacks: the loop stood '
                "still; keep the stacks, and look at what the loop's thread waits for."
            ),
            "Exit code 2: a setting, or a topic that was made anew. It does not go away by itself.",
            (
                "The log begins after the position, or the archive would have a hole: records are missing. Stop, and "
                "decide with `mimamori positions reset`."
            ),
        ),
    ),
    Alert(
        "BreakerNear",
        True,
        "sum(rate(mimamori_dead_letters_total[5m])) > 0.25 * sum(rate(mimamori_polled_records_total[5m]))",
        1,
        "A quarter of what comes cannot be processed. At `stream.circuit_breaker_ratio` of the last 1,000 records the "
        "circuit breaker opens: the worker ends before it records the batch, so that the topic does not drain into "
        "dead letters. A sudden flood is seen by WorkerKeepsEnding alone.",
        (
            "`mimamori dead-letters list`: one class and one field is a producer's new release. Ask its owner.",
            (
                "Leave the worker stopped until the producer is mended: the position stays, and nothing is lost while "
                "the topic keeps it."
            ),
            (
                "The bad records are already in the log and have to pass: raise `stream.circuit_breaker_ratio`, let "
                "them become dead letters, set it back, then replay them."
            ),
        ),
    ),
    Alert(
        "DeadLetterRate",
        False,
        "sum(rate(mimamori_dead_letters_total[15m])) > 0.01 * sum(rate(mimamori_polled_records_total[15m]))",
        15,
        "One record in a hundred cannot be processed. Nobody scores those; the ones on exposed cards are marked.",
        (
            "`sum by (error_class) (rate(mimamori_dead_letters_total[15m]))` names the class.",
            "`mimamori dead-letters list` names the field. Mend the producer, then `mimamori dead-letters replay`.",
        ),
    ),
    Alert(
        "CardNumberFound",
        True,
        "increase(mimamori_security_findings_total[1h]) > 0 or "
        'increase(mimamori_dead_letters_total{error_class=~"PAN_.*"}[1h]) > 0',
        0,
        "A producer sends card numbers. They were blanked or refused; the log of Kafka still holds them.",
        (
            "The security incident names topic and field; its `aware_at` starts your own reporting clock.",
            "Ask the producer to stop, and have the topic's records removed or expire.",
        ),
    ),
    Alert(
        "CheckpointAge",
        False,
        "max by (partition) (mimamori_checkpoint_age_seconds) > 600",
        5,
        "For ten times `stream.checkpoint_seconds` no checkpoint has been written. Processing goes on, a restart "
        "takes longer by the minute, and rows wait in memory.",
        (
            "`mimamori_checkpoint_failures_total` says which step fails: see ArchiveRefused and SnapshotNotWritten.",
            "No failures: the store is slow. `mimamori_archive_seconds`, then the network and the disk.",
            "Do not restart the worker to mend it: that loses what waits in memory, and it has to be read again.",
        ),
    ),
    Alert(
        "ArchiveRefused",
        False,
        'increase(mimamori_checkpoint_failures_total{step="archive"}[15m]) > 2',
        5,
        "The archive's store refuses what is appended. Beyond `stream.waiting_rows` rows in memory the worker takes no "
        "more records.",
        (
            "The worker's log names the error. No room, rights, credentials: mend the store of `archive.root`.",
            (
                "`ArchiveRaceError` now and then is harmless: two workers at once, and one tries again. Always: two "
                "processes believe that they own one partition; see `mimamori_partitions_assigned`."
            ),
            "The store does not know conditional writes (S3's `If-None-Match`): it cannot hold the archive.",
        ),
    ),
    Alert(
        "SnapshotNotWritten",
        False,
        'increase(mimamori_checkpoint_failures_total{step="snapshot"}[15m]) > 2',
        5,
        "The archive took the rows, but the snapshots or their rows in the database cannot be written.",
        (
            (
                "The worker's log names the error: `ObjectStoreError` is the store of `snapshots.root`, anything "
                "of SQL is the database."
            ),
            "The store is mended: nothing else to do, the same checkpoint is tried again.",
            "`mimamori checkpoints verify` afterwards.",
        ),
    ),
    Alert(
        "DatabaseRetries",
        True,
        "increase(mimamori_database_retries_total[5m]) > 5",
        5,
        "Commits fail and are tried again. The worker holds its batch, stays in the group, and loses nothing; lag "
        "grows.",
        (
            "Does the database answer? A failover passes by itself.",
            (
                "It answers and commits still fail: connections used up, a lock held, a full disk. The worker's log "
                "names the class of the error."
            ),
        ),
    ),
    Alert(
        "ReplayLong",
        False,
        "min by (instance) (mimamori_partitions_ready - mimamori_partitions_assigned) < 0",
        15,
        "A partition has been assigned for a quarter of an hour, and its new records are still not processed.",
        (
            "`mimamori_replay_left_records` falls: wait; its rate tells for how long.",
            (
                "It stands still: the broker, or a snapshot that cannot be read. See the worker's log and "
                "`mimamori checkpoints verify`."
            ),
        ),
    ),
)


def render_alert(alert: Alert) -> str:
    """An alert's section of the runbook."""
    steps = "\n".join(f"{number}. {step}" for number, step in enumerate(alert.steps, 1))
    urgency = "Page" if alert.page else "Ticket"
    minutes = "a minute" if alert.minutes == 1 else f"{alert.minutes} minutes"
    lasting = f" for {minutes}" if alert.minutes else ""
    return f"""\
### {alert.name}

{urgency}, when this holds{lasting}:

```promql
{alert.expression}
```

{alert.meaning}

{steps}
"""
