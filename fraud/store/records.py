"""What the stream hands to the store: the effects of a batch on one partition, computed once and never changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

DeadLetterKind = Literal["DEAD_LETTER", "QUARANTINED"]
CaseKind = Literal["EXPOSED", "LOOKBACK", "ANOMALY"]


@dataclass(frozen=True, slots=True)
class PartitionKey:
    """One partition of one topic, by the topic's id: a topic made anew under the same name is another one."""

    group_id: str
    topic_id: str
    topic: str
    partition: int


@dataclass(frozen=True, slots=True)
class Position:
    """Where a partition's effects have got to, and who owns it."""

    key: PartitionKey
    next_offset: int
    owner_epoch: int
    owner: str | None
    reference_set_id: int | None
    processed: int
    duplicates: int
    quarantined: int
    dead_lettered: int
    matched: int
    detected: int
    reached_at: int | None
    updated_at: int


@dataclass(frozen=True, slots=True)
class Counters:
    """What one batch adds to a position's counters."""

    processed: int = 0
    duplicates: int = 0
    quarantined: int = 0
    dead_lettered: int = 0
    matched: int = 0
    detected: int = 0


@dataclass(frozen=True, slots=True)
class DeadLetterRecord:
    """A record that could not be processed (or was quarantined). Never its payload."""

    offset: int
    error_class: str
    field_path: str | None
    payload_digest: str
    payload_bytes: int
    card_ref: str | None
    on_exposed_card: bool
    kind: DeadLetterKind = "DEAD_LETTER"


@dataclass(frozen=True, slots=True)
class ExposureMatchRecord:
    """A transaction of an exposed card, once for each compromise event that the card is in."""

    event_id: str
    compromise_event_id: str
    card_ref: str
    kind: str
    tier: int
    days_since_window: int
    occurred_at: int
    transaction: dict[str, Any]
    probability: float | None
    anomaly: float | None
    detection_id: str | None
    offset: int
    origin: str = "LIVE"


@dataclass(frozen=True, slots=True)
class DetectionRecord:
    """A policy outcome that is worth a person's time, with everything that explains it, frozen."""

    detection_id: str
    event_id: str
    origin: str
    card_ref: str
    card_lineage: str
    kind: CaseKind
    tier: int
    compromise_event_ids: tuple[str, ...]
    occurred_at: int
    detected_at: int
    probability: float | None
    anomaly: float | None
    expected_loss_minor: int
    priority_reason: str
    reasons: list[dict[str, Any]]
    counter_evidence: list[dict[str, Any]]
    transaction: dict[str, Any]
    recent_events: list[dict[str, Any]]
    features: bytes
    features_digest: str
    model_digest: str | None
    offset: int
    due_at: int
    fraud_probability: float | None = None  # after exposure odds; told to others with the detection, not stored


@dataclass(frozen=True, slots=True)
class PartitionEffects:
    """Everything that one batch does to one partition. Committed whole, or not at all when the owner is fenced."""

    key: PartitionKey
    expected_offset: int
    next_offset: int
    owner_epoch: int
    reference_set_id: int
    counters: Counters
    reached_at: int | None
    dead_letters: tuple[DeadLetterRecord, ...] = ()
    matches: tuple[ExposureMatchRecord, ...] = ()
    detections: tuple[DetectionRecord, ...] = ()
    security_findings: dict[str, int] = field(default_factory=dict)
    missing: dict[str, int] = field(default_factory=dict)  # unusable values by field: a metric, not stored
    committed_at: int = 0


@dataclass(frozen=True, slots=True)
class ExposureChange:
    """One exposed card as the worker's index holds it."""

    card_ref: str
    compromise_event_id: str
    tier: int
    window_start_at: int
    window_end_at: int
    released: bool
