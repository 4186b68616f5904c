"""Card reference data from the topic into the store: a job. Where it has got to lies with what it has done."""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Iterable, Mapping
from typing import Any, Final

import structlog
from kafka import KafkaConsumer, TopicPartition

from fraud.card_references import CardReferenceChange
from fraud.clock import now_ms
from fraud.errors import ConfigurationError
from fraud.pan_guard import PanGuard
from fraud.settings import Settings
from fraud.store.card_references import ReferenceReport, apply_reference_changes
from fraud.store.database import write
from fraud.store.reference_messages import RefusedMessage, store_refused_messages
from streams.jobs import JobContext
from streams.kafka import make_consumer, topic_id
from streams.reference_messages import MessageError, read_message

log = structlog.get_logger(__name__)

_POLL_MS: Final = 500
_POLL_RECORDS: Final = 2_000
_TOPIC_SECONDS: Final = 5.0  # a topic that is not there is looked for so often


def run_reference_intake(context: JobContext) -> bool:
    """Take up changes until the job has to come to an end. Never done: there is always more to come."""
    settings = context.settings
    guard = PanGuard.from_settings(settings.portfolio)
    topic = settings.kafka.card_references_topic
    while not context.stopping.is_set():
        try:
            found = topic_id(settings.kafka, topic)
        except ConfigurationError:
            context.stopping.wait(_TOPIC_SECONDS)
            continue
        with contextlib.closing(make_consumer(settings.kafka, _POLL_RECORDS)) as consumer:
            _Intake(context, consumer, guard, topic, found).run()
    return False


class _Intake:
    """Reads every partition of one topic, as it is under one id, from where it had got to."""

    def __init__(
        self, context: JobContext, consumer: KafkaConsumer, guard: PanGuard, topic: str, found_id: str
    ) -> None:
        self._context, self._consumer, self._guard = context, consumer, guard
        self._topic, self._topic_id = topic, found_id
        self._digest_key = _digest_key(context.settings)
        saved = context.progress if context.progress.get("topic_id") == found_id else {}
        self._offsets: dict[str, int] = dict(saved.get("offsets", {}))
        self._totals: dict[str, int] = dict(context.progress.get("totals", {}))

    def run(self) -> None:
        """Read until the job has to end, or the topic has other partitions than it had."""
        partitions = sorted(self._consumer.partitions_for_topic(self._topic) or ())
        if not partitions:
            self._context.stopping.wait(_TOPIC_SECONDS)
            return
        assigned = [TopicPartition(self._topic, number) for number in partitions]
        self._consumer.assign(assigned)
        beginnings = self._consumer.beginning_offsets(assigned)
        for partition in assigned:
            begin = beginnings[partition]
            wanted = self._offsets.get(str(partition.partition), begin)
            if wanted < begin:
                log.warning("changes of cards were lost: the log begins later", partition=partition.partition)
            self._consumer.seek(partition, max(wanted, begin))
        while not self._context.stopping.is_set():
            polled = self._consumer.poll(timeout_ms=_POLL_MS)
            if polled:
                self._take(record for records in polled.values() for record in records)
            elif sorted(self._consumer.partitions_for_topic(self._topic) or ()) != partitions:
                return

    def _take(self, records: Iterable[Any]) -> None:
        changes: list[CardReferenceChange] = []
        refused: list[RefusedMessage] = []
        offsets = dict(self._offsets)
        for record in records:
            offsets[str(record.partition)] = record.offset + 1
            try:
                changes += read_message(record.value, self._guard)
            except MessageError as error:
                refused.append(self._refused(record, error))
        now = now_ms()
        with write(self._context.engine) as connection:
            report = apply_reference_changes(connection, changes, now)
            store_refused_messages(connection, self._context.settings.kafka.group_id, refused, now)
            totals = _added(self._totals, report, len(refused))
            self._context.save(connection, {"topic_id": self._topic_id, "offsets": offsets, "totals": totals})
        self._offsets, self._totals = offsets, totals
        if report.followed_events:
            log.info("exposures follow cards", events=len(report.followed_events), version=report.exposure_version)
        if refused or report.refused:
            log.warning("changes of cards refused", unreadable=len(refused), contradictory=report.refused)

    def _refused(self, record: Any, error: MessageError) -> RefusedMessage:
        value = record.value or b""
        return RefusedMessage(
            topic_id=self._topic_id,
            topic=self._topic,
            partition=record.partition,
            offset=record.offset,
            error_class=error.error_class,
            field_path=error.field_path,
            payload_digest=hmac.digest(self._digest_key, value, "sha256").hex(),
            payload_bytes=len(value),
        )


def _added(totals: Mapping[str, int], report: ReferenceReport, unreadable: int) -> dict[str, int]:
    news = {
        "changed": report.changed,
        "same": report.same,
        "stale": report.stale,
        "refused": report.refused,
        "unreadable": unreadable,
    }
    return {name: totals.get(name, 0) + number for name, number in news.items()}


def _digest_key(settings: Settings) -> bytes:
    """The key of payload digests: as for transactions, derived from the active card key."""
    key = settings.cards.keys.get(settings.cards.active_key)
    if key is None:
        message = 'cards.keys has no active key; set MIMAMORI_CARDS__KEYS, for example \'{"1": "<64 hex digits>"}\''
        raise ConfigurationError(message)
    return hmac.digest(bytes.fromhex(key.get_secret_value()), b"mimamori: payload digests", "sha256")
