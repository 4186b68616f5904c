"""What the repositories hand out: rows as frozen records, by their columns' names, with JSON decoded."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fraud.store.compromise_views import CompromiseEventView

__all__ = [
    "CaseEventView",
    "CaseView",
    "CheckpointView",
    "CompromiseEventView",
    "DeadLetterView",
    "DetectionView",
    "ExposedCardView",
    "ExposureMatchView",
    "SessionView",
    "UserView",
]


@dataclass(frozen=True, slots=True)
class CaseView:
    """A case, as the queue shows it."""

    case_id: int
    card_lineage: str
    card_ref: str
    status: str
    version: int
    kind: str
    tier: int
    compromise_event_ids: list[str]
    priority: int
    priority_reason: str
    headline: dict[str, Any]
    detections: int
    last_amount_minor: int | None
    currency: str | None
    merchant_name: str | None
    merchant_country: str | None
    pan_last4: str | None
    opened_at: int
    last_detection_at: int
    due_at: int
    claimed_by: str | None
    claimed_at: int | None
    outcome: str | None
    reason_code: str | None
    fraud_type: str | None
    resolved_at: int | None
    resolved_by: str | None


@dataclass(frozen=True, slots=True)
class DetectionView:
    """A detection with everything that explains it, as it was made."""

    detection_id: str
    event_id: str
    origin: str
    case_id: int
    card_ref: str
    kind: str
    tier: int
    compromise_event_ids: list[str]
    occurred_at: int
    detected_at: int
    probability: float | None
    anomaly: float | None
    expected_loss_minor: int
    reasons: list[dict[str, Any]]
    counter_evidence: list[dict[str, Any]]
    transaction: dict[str, Any]
    recent_events: list[dict[str, Any]]
    features: bytes
    features_digest: str
    model_digest: str | None
    reference_set_id: int | None
    topic_id: str
    partition: int
    offset: int


@dataclass(frozen=True, slots=True)
class CaseEventView:
    """One step in the life of a case."""

    case_event_id: int
    case_id: int
    at: int
    actor: str
    kind: str
    data: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ExposureMatchView:
    """A transaction of an exposed card, for one of its compromise events."""

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
    topic_id: str
    partition: int
    offset: int
    origin: str = "LIVE"


@dataclass(frozen=True, slots=True)
class ExposedCardView:
    """One card in one compromise event."""

    compromise_event_id: str
    card_ref: str
    tier: int
    status: str
    provenance: str
    alert_file_sha256: str | None
    pan_last4: str | None
    expiry: str | None
    exposure_version: int
    created_at: int


@dataclass(frozen=True, slots=True)
class DeadLetterView:
    """A record that could not be processed: where it lies and why, never what it holds."""

    group_id: str
    topic_id: str
    partition: int
    offset: int
    topic: str
    error_class: str
    field_path: str | None
    payload_digest: str
    payload_bytes: int
    card_ref: str | None
    on_exposed_card: bool
    kind: str
    recorded_at: int


@dataclass(frozen=True, slots=True)
class CheckpointView:
    """A registered snapshot of card state, complete up to (not including) `next_offset`. `paths`: its base first."""

    checkpoint_id: int
    group_id: str
    topic_id: str
    partition: int
    next_offset: int
    owner_epoch: int
    state_schema: str
    paths: list[dict[str, str]]
    created_at: int


@dataclass(frozen=True, slots=True)
class UserView:
    """A person or machine account. Its password is nowhere in it."""

    username: str
    display_name: str
    role: str
    disabled: bool
    created_at: int


@dataclass(frozen=True, slots=True)
class SessionView:
    """A signed-in user."""

    username: str
    display_name: str
    role: str
    csrf_token: str = field(repr=False)
    expires_at: int
