"""A dead letter's record, published again: the same key and value, to the same partition, marked as a replay.

State stays a function of the log, and a record that was processed after all is a duplicate: twice does nothing.
"""

from __future__ import annotations

import contextlib
import hmac
from dataclasses import asdict, dataclass
from typing import Any, Final

from kafka.errors import KafkaError
from sqlalchemy import Engine

from fraud.errors import ConflictError, UnavailableError
from fraud.pan_guard import PanGuard
from fraud.settings import Settings
from fraud.store.audit import AuditResult, append_audit
from fraud.store.database import read, write
from fraud.store.inspection import get_dead_letter
from fraud.store.position_resets import partition_subject
from fraud.store.records import PartitionKey
from fraud.store.views import DeadLetterView
from streams.dead_letters import ErrorClass, RefusedError
from streams.kafka import make_producer
from streams.log_reading import open_log
from streams.wire import Decoder
from streams.wire_json import parse_record

ACTION: Final = "dead-letters.replay"
REPLAY_HEADER: Final = "replay-of"
_ACKNOWLEDGED_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Replayed:
    """Where a record came from, and where it is now."""

    topic: str
    partition: int
    offset: int
    published_offset: int


class DeadLetterReplay:
    """Publishes dead letters again, and records each attempt, refused ones too.

    Args:
        engine: the database.
        settings: the process's settings.
        guard: finds card numbers.
        decoder: the worker's, for the digest that a record must still have.

    """

    def __init__(self, engine: Engine, settings: Settings, guard: PanGuard, decoder: Decoder) -> None:
        self._engine = engine
        self._settings = settings
        self._guard = guard
        self._decoder = decoder

    def replay(self, key: PartitionKey, offset: int, *, actor: str, reason: str, now: int) -> Replayed:
        """Publish one dead letter again.

        `ConflictError` says why it is refused: its class can never be right, it holds a card number, or the log has
        another record there. `NotFoundError` when the dead letter or its record is gone.
        """

        def record(result: AuditResult, new: dict[str, Any]) -> None:
            with write(self._engine) as connection:
                append_audit(
                    connection,
                    actor=actor,
                    action=ACTION,
                    subject=f"{partition_subject(key)}/{offset}",
                    now=now,
                    result=result,
                    reason=reason,
                    new=new,
                )

        with read(self._engine) as connection:
            letter = get_dead_letter(connection, key, offset)
        try:
            source = self._source(letter)
        except ConflictError as refusal:
            record(AuditResult.REFUSED, {"because": str(refusal)})
            raise
        record(AuditResult.STARTED, {})
        try:
            published = self._publish(letter, source)
        except KafkaError as error:
            record(AuditResult.FAILED, {"error": type(error).__name__})
            message = f"the broker did not acknowledge the record ({type(error).__name__}); it may be in the log or not"
            raise UnavailableError(message) from error
        record(AuditResult.DONE, asdict(published))
        return published

    def _source(self, letter: DeadLetterView) -> Any:
        error_class = known_class(letter.error_class)
        if error_class is None or not error_class.replayable:
            message = f"records of class {letter.error_class} are not replayed: they can never be right as they are"
            raise ConflictError(message)
        with open_log(self._settings.kafka) as log:
            source = log.record(letter.topic, letter.partition, letter.offset)
        if not hmac.compare_digest(self._decoder.payload_digest(source.value), letter.payload_digest):
            message = "the record in the log is not the one that was refused, or the card key has changed since"
            raise ConflictError(message)
        if self._holds_card_number(source.key, source.value):
            message = "the record holds a card number; the producer has to send it again without"
            raise ConflictError(message)
        return source

    def _holds_card_number(self, key: bytes | None, value: bytes) -> bool:
        if key is not None and self._guard.contains_pan_bytes(key):
            return True
        try:
            fields = parse_record(value, max(len(value), 1))
        except RefusedError:
            # Nobody knows which field is which, so every network's ranges count anywhere.
            return self._guard.find_in_text(value.decode("utf-8", "replace")) or self._guard.contains_pan_bytes(value)
        return bool(self._guard.scan_record(value, fields))

    def _publish(self, letter: DeadLetterView, source: Any) -> Replayed:
        origin = f"{letter.topic}/{letter.partition}/{letter.offset}"
        with contextlib.closing(make_producer(self._settings.kafka)) as producer:
            acknowledgement = producer.send(
                letter.topic,
                key=source.key,
                value=source.value,
                partition=letter.partition,
                headers=[(REPLAY_HEADER, origin.encode())],
            )
            published = acknowledgement.get(timeout=_ACKNOWLEDGED_SECONDS)
        return Replayed(letter.topic, letter.partition, letter.offset, published.offset)


def known_class(name: str) -> ErrorClass | None:
    """The class of a dead letter; None for a quarantined record, whose event id was used before."""
    return next((item for item in ErrorClass if item.value == name), None)
