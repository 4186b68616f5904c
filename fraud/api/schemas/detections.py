"""Detections and exposure matches, as the API shows them."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from fraud.api.schemas.base import Answer, Milliseconds, ReasonAnswer

CaseKindName = Literal["EXPOSED", "LOOKBACK", "ANOMALY"]
OriginName = Literal["LIVE", "LOOKBACK", "RESCORE"]
MatchKindName = Literal["IN_WINDOW", "AFTER_WINDOW", "BEFORE_WINDOW"]


class DetectionAnswer(Answer):
    """A policy outcome that is worth a person's time, with everything that explains it as it was."""

    detection_id: str
    event_id: str = Field(description="The transaction event that it is about.")
    origin: OriginName = Field(description="LIVE from the stream, LOOKBACK from the archive, RESCORE after a failure.")
    case_id: int
    card_ref: str
    kind: CaseKindName
    tier: int = Field(description="Exposure tier 1 to 5; 0 is unexposed.")
    compromise_event_ids: list[str]
    occurred_at: Milliseconds
    detected_at: Milliseconds
    probability: float | None = Field(description="Calibrated fraud probability; null when not evaluable.")
    anomaly: float | None = Field(description="Anomaly score, 0 to 1, high is anomalous; null when not evaluable.")
    expected_loss_minor: int
    reasons: list[ReasonAnswer]
    counter_evidence: list[ReasonAnswer]
    transaction: dict[str, Any] = Field(description="The event, in the fields of `card.transactions`.")
    recent_events: list[dict[str, Any]] = Field(
        description="The card's last events before it, as the worker knew them."
    )
    features_digest: str = Field(description="Digest of the served feature vector.")
    model_digest: str | None = Field(description="Digest of the model that scored; null for rules alone.")
    reference_set_id: int | None = Field(description="Everything else that the outcome depended on, under one id.")


class ExposureMatchAnswer(Answer):
    """A transaction of an exposed card, once for each compromise event that the card is in."""

    event_id: str
    compromise_event_id: str
    card_ref: str
    kind: MatchKindName = Field(description="Where the transaction lies against the exposure window.")
    tier: int
    days_since_window: int = Field(description="Days from the end of the exposure window; negative before it.")
    occurred_at: Milliseconds
    transaction: dict[str, Any]
    probability: float | None
    anomaly: float | None
    detection_id: str | None = Field(description="The detection, where this match became one.")
    origin: OriginName = Field(description="LIVE from the stream, LOOKBACK from the archive.")
