"""Effects, events and files for the store's tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from sqlalchemy import Engine, Table, select

from fraud.alert_files import ParsedAlertFile, ParsedCard
from fraud.compromise import DataElements, ExposureWindow
from fraud.store.database import read, write
from fraud.store.effects import claim_position, commit_effects
from fraud.store.exposure import NewCompromiseEvent, create_compromise_event
from fraud.store.operations import ensure_reference_set
from fraud.store.records import (
    Counters,
    DeadLetterRecord,
    DetectionRecord,
    ExposureMatchRecord,
    PartitionEffects,
    PartitionKey,
)

NOW = 1_675_000_000_000  # 2023-01-29
HOUR = 3_600_000
EVENT = "shop-2022"


def key(partition: int = 0) -> PartitionKey:
    return PartitionKey("mimamori", "4f2c1f0e-topic", "card.transactions", partition)


def card_ref(number: int) -> str:
    return f"v1:{number:064x}"


def detection(number: int, card: int | None = None, **changes: Any) -> DetectionRecord:
    """Detection `number`, of the event at offset `number`, on card `number` or `card`."""
    reference = card_ref(number if card is None else card)
    record = DetectionRecord(
        detection_id=f"{number:032x}",
        event_id=f"event-{number}",
        origin="LIVE",
        card_ref=reference,
        card_lineage=reference,
        kind="ANOMALY",
        tier=0,
        compromise_event_ids=(),
        occurred_at=NOW + number,
        detected_at=NOW + number,
        probability=0.875,
        anomaly=0.75,
        expected_loss_minor=1_000 + number,
        priority_reason=f"reason {number}",
        reasons=[{"code": "MODEL_SCORE_HIGH", "facts": {"number": number}}],
        counter_evidence=[{"code": "KNOWN_MERCHANT", "facts": {}}],
        transaction={
            "event_id": f"event-{number}",
            "occurred_at": NOW + number,
            "card_ref": reference,
            "amount_minor": 100 + number,
            "currency": "JPY",
            "merchant_name": f"店 {number}",
            "merchant_country": "JP",
            "pan_last4": "1111",
        },
        recent_events=[],
        features=b"\x00\x00\x80\x3f",
        features_digest=f"{number:016x}",
        model_digest="a" * 64,
        offset=number,
        due_at=NOW + number + 24 * HOUR,
    )
    return replace(record, **changes)


def match(number: int, card: int | None = None, **changes: Any) -> ExposureMatchRecord:
    record = ExposureMatchRecord(
        event_id=f"event-{number}",
        compromise_event_id=EVENT,
        card_ref=card_ref(number if card is None else card),
        kind="AFTER_WINDOW",
        tier=3,
        days_since_window=12,
        occurred_at=NOW + number,
        transaction={"event_id": f"event-{number}", "amount_minor": 500, "currency": "JPY"},
        probability=0.25,
        anomaly=0.5,
        detection_id=None,
        offset=number,
    )
    return replace(record, **changes)


def dead_letter(offset: int, **changes: Any) -> DeadLetterRecord:
    record = DeadLetterRecord(
        offset=offset,
        error_class="MISSING_FIELD",
        field_path="card_ref",
        payload_digest=f"{offset:064x}",
        payload_bytes=512,
        card_ref=None,
        on_exposed_card=False,
    )
    return replace(record, **changes)


def new_event(compromise_event_id: str = EVENT, **changes: Any) -> NewCompromiseEvent:
    event = NewCompromiseEvent(
        compromise_event_id=compromise_event_id,
        name="Web shop",
        source="MERCHANT_NOTICE",
        window=ExposureWindow(date(2022, 7, 19), date(2022, 7, 26), "Asia/Tokyo"),
        data_elements=DataElements(expiry=True, cvv2=True),
    )
    return replace(event, **changes)


def alert_file(cards: Sequence[int], sha256: str = "f" * 64, **changes: Any) -> ParsedAlertFile:
    found = [ParsedCard(card_ref(number), pan_last4=f"{number % 10_000:04}", expiry="2025-04") for number in cards]
    parsed = ParsedAlertFile(sha256=sha256, rows=len(found), cards=found, malformed=[], duplicates=0, unknown=0)
    return replace(parsed, **changes)


def reference(engine: Engine, exposure_version: int = 0, model: str = "a") -> int:
    with write(engine) as connection:
        return ensure_reference_set(connection, exposure_version, model * 64, "b" * 64, 1, {}, NOW)


class Partition:
    """One claimed partition, and batches for it."""

    def __init__(self, engine: Engine, number: int = 0, reference_set_id: int | None = None) -> None:
        self.engine = engine
        self.reference_set_id = reference_set_id if reference_set_id is not None else reference(engine)
        with write(engine) as connection:
            self.position = claim_position(connection, key(number), "worker", NOW)

    def batch(
        self, *records: DetectionRecord | ExposureMatchRecord | DeadLetterRecord, **changes: Any
    ) -> PartitionEffects:
        """The effects of a batch that begins at the position and ends after the last record."""
        begin = changes.get("expected_offset", self.position.next_offset)
        end = max([begin, *(record.offset for record in records)]) + 1
        dead = tuple(item for item in records if isinstance(item, DeadLetterRecord))
        found = tuple(item for item in records if isinstance(item, DetectionRecord))
        matches = tuple(item for item in records if isinstance(item, ExposureMatchRecord))
        effects = PartitionEffects(
            key=self.position.key,
            expected_offset=begin,
            next_offset=end,
            owner_epoch=self.position.owner_epoch,
            reference_set_id=self.reference_set_id,
            counters=Counters(
                processed=end - begin - len(dead), dead_lettered=len(dead), matched=len(matches), detected=len(found)
            ),
            reached_at=NOW + end,
            dead_letters=dead,
            matches=matches,
            detections=found,
            committed_at=NOW,
        )
        return replace(effects, **changes)

    def commit(
        self, *records: DetectionRecord | ExposureMatchRecord | DeadLetterRecord, **changes: Any
    ) -> PartitionEffects:
        """Commit a batch, which must not be fenced."""
        effects = self.batch(*records, **changes)
        with write(self.engine) as connection:
            assert commit_effects(connection, [effects]) == []
        self.position = replace(self.position, next_offset=effects.next_offset)
        return effects


def add_event(engine: Engine, compromise_event_id: str = EVENT, **changes: Any) -> None:
    with write(engine) as connection:
        create_compromise_event(connection, new_event(compromise_event_id, **changes), NOW)


def rows(engine: Engine, table: Table) -> list[dict[str, Any]]:
    """A table's rows, by primary key."""
    with read(engine) as connection:
        found = connection.execute(select(table).order_by(*table.primary_key.columns)).mappings()
        return [dict(row) for row in found]
