"""Writes `docs/runbook.md` from the table of metrics: `python -m streams.runbook`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from streams.alerts import ALERTS, render_alert
from streams.delivery import LONGEST_DELAY_MS
from streams.jobs import LEASE_MS
from streams.metric_table import METRICS, Metric

FILE: Final = Path("docs") / "runbook.md"

_ALERTS_PLACE: Final = "<alerts>\n"

_HEAD: Final = f"""\
# Runbook

<!-- Written by `python -m streams.runbook` from `streams/metric_table.py`, `streams/alerts.py` and
`streams/runbook.py`. Change those. -->

What to look at, what it means, and what to do. [Operations](operations.md) says how to set things up.

## Probes

The worker serves them with `/metrics` when `MIMAMORI_MONITORING__PORT` is set (9464 is usual). There is no
authentication: keep the port off public networks.

- `/healthz/live`: the loop has beaten lately. It says nothing of the broker or the database; end the process only for
  this one.
- `/healthz/ready`: the database answers, partitions are assigned and their replay has ended, and the model has passed
  its self-test. The answer lists what is missing.

## Is every record accounted for?

`mimamori reconcile` reads the log up to each position and compares: records = processed + dead letters + duplicates +
quarantined. It ends with code 1 on a gap. Run it daily; it reads the whole log that the topic still has. A positive gap
is records that nobody decided: stop the worker, keep the database and the topic as they are, and find out why before
anything is reset. Offsets that retention has removed are shown as expired and taken for records.

## Dead letters

`mimamori dead-letters list` and `show` never print what a record holds. Mend the cause first, then
`mimamori dead-letters replay PARTITION OFFSET --reason ...` publishes the record again with the header `replay-of`. It
is refused for classes that can never be right, for a record that holds a card number, and when the log has another
record there than the one that was refused. Each attempt is in the audit log, refused ones too.

## Moving a position

`mimamori positions reset PARTITION --to OFFSET --reason ...`, with its worker stopped. Going back decides records
again: what was decided of them as dead letters, reference sets and snapshots is forgotten; detections and cases have
the same ids as before and stay single. Going forward leaves records out for good. A worker that was killed is still
recorded as the owner: `--force` takes the partition from it, and its late commits are refused.

## Checkpoints

`mimamori checkpoints verify` reads the files of each partition's furthest checkpoint and compares digests; `--all`
reads the older ones too. With a file missing or damaged, a restart of that partition fails: bring the file back from
the backup that belongs to the database.

They lie below `snapshots.root`: a folder, or a bucket of an object store. What a worker that was killed had not
finished is no object: in a folder it is removed after a day, in a bucket the rule for incomplete uploads removes it.

## Messages to others

`mimamori jobs run` delivers detections to the topic and to webhooks. Start two: each job has one runner at a time, and
after {LEASE_MS // 1000} s without a sign of life the other takes over. `mimamori jobs list` shows what waits and for
whom. Clocks of the machines must agree to a few seconds.

Each message arrives at least once; a receiver drops what it has seen by `Mimamori-Id` (in Kafka: the header
`message-id`), which never changes. Failed deliveries are tried again, later and later, up to every
{LONGEST_DELAY_MS // 60_000} minutes, without end: a receiver that comes back gets everything. A destination taken out
of the settings is given up. Once its last destination has it, or was given up, a message stays in the database for
`relay.keep_days`; what still waits for anybody stays longer. A webhook is signed: `Mimamori-Signature` is `v1=` and the
hexadecimal HMAC-SHA-256, under the shared secret, of `Mimamori-Timestamp` (epoch milliseconds), a full stop and the
body as it came. Compare in constant time, and refuse timestamps that are more than five minutes off. Redirects are not
followed, proxies of the environment are not used, and only hosts in `webhooks.allowed_hosts` are posted to.

| error | meaning | what to do |
|---|---|---|
| `NO_BROKER`, `NO_ANSWER`, `TIMEOUT` | nobody there, or too slow | nothing, if it passes; otherwise ask the receiver |
| `TLS` | the certificate is not valid for the host | ask the receiver |
| `HTTP_3..` | the receiver redirects | set its final address |
| `HTTP_401`, `HTTP_403`, `HTTP_404` | the receiver does not know us, or the path is wrong | settings on either side |
| other `HTTP_4..` | the receiver refuses this one message | ask the receiver; others pass meanwhile |
| `HTTP_5..`, `HTTP_429` | the receiver cannot take any now | nothing, if it passes |
| `TOO_LARGE` | above `webhooks.max_body_bytes`, or the broker's limit | raise it for later ones; this one is given up |

## The audit log

Every change by a person is an entry in `audit_entry`, each with the SHA-256 of the one before it. Give the product's
database user no right to update or delete there. Who can rewrite the whole table can make a whole new chain: keep the
last sequence and digest somewhere else once a day, and check with them.

## Alerts

What is worth waking somebody for is marked as a page. The numbers are where to begin; the names of settings are where
they come from.

{_ALERTS_PLACE}
## Metrics

Labels hold partition numbers and words of closed lists; nothing of a card can get into one. Counters of what was done
count committed batches only, and begin at 0 with the process: the totals are in `mimamori report summary`.
"""


def render() -> str:
    """The page."""
    head = _HEAD.replace(_ALERTS_PLACE, "\n".join(render_alert(alert) for alert in ALERTS))
    return "\n".join([head, *(_section(metric) for metric in METRICS)])


def _section(metric: Metric) -> str:
    labels = f", by `{'`, `'.join(metric.labels)}`" if metric.labels else ""
    return f"""\
### `{metric.name}`

{metric.kind.capitalize()}, {metric.unit}{labels}. {metric.meaning}

What to do: {metric.action}
"""


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(render(), encoding="utf-8")
