"""Cases: what the queue shows, and what a reviewer sends."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import ConfigDict, Field

from fraud.api.schemas.base import Answer, GivenVersion, LongText, Milliseconds, ReasonAnswer, Request, Version
from fraud.api.schemas.detections import CaseKindName, DetectionAnswer, ExposureMatchAnswer
from fraud.cases import CaseStatus, FraudType, Outcome, ReasonCode

SortName = Literal["priority", "opened_at", "due_at"]
OrderName = Literal["asc", "desc"]


class CaseAnswer(Answer):
    """One case: everything that was detected on one card lineage while it was open."""

    case_id: int
    card_lineage: str
    card_ref: str
    status: CaseStatus
    version: Version
    kind: CaseKindName
    tier: int = Field(description="Worst exposure tier, 1 to 5; 0 is unexposed.")
    compromise_event_ids: list[str]
    priority: int = Field(description="Expected loss in minor units of the portfolio's currency. It never falls.")
    priority_reason: str
    headline: ReasonAnswer = Field(description="The strongest reason.")
    detections: int = Field(description="How many detections it holds.")
    last_amount_minor: int | None
    currency: str | None = Field(description="ISO 4217 alpha code of `last_amount_minor`.")
    merchant_name: str | None = Field(description="As the acquirer sent it: show it as text, never as markup.")
    merchant_country: str | None
    pan_last4: str | None
    opened_at: Milliseconds
    last_detection_at: Milliseconds
    due_at: Milliseconds
    claimed_by: str | None
    claimed_at: Milliseconds | None
    outcome: Outcome | None
    reason_code: ReasonCode | None
    fraud_type: FraudType | None
    resolved_at: Milliseconds | None
    resolved_by: str | None


class CaseEventAnswer(Answer):
    """One step in the life of a case; steps are only ever added."""

    case_event_id: int
    at: Milliseconds
    actor: str
    kind: str = Field(description="OPENED, DETECTION_ADDED, CLAIMED, RELEASED, NOTE or RESOLVED.")
    data: dict[str, Any]


class CaseDetailAnswer(Answer):
    """One case with all that a reviewer needs on one screen."""

    case: CaseAnswer
    detections: list[DetectionAnswer] = Field(description="Newest first.")
    events: list[CaseEventAnswer] = Field(description="Oldest first.")
    matches: list[ExposureMatchAnswer] = Field(description="Latest transactions of the card on compromise events.")
    past_cases: list[CaseAnswer] = Field(description="Earlier cases of the card.")


class ChangeRequest(Request):
    """The version that the caller looked at, unless the header `If-Match` says it."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": 3}]})

    version: GivenVersion | None = None


class NoteRequest(Request):
    """A note. Notes are only ever added, and one with a card number is refused."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"text": "Called the holder, no answer; again tomorrow."}]}
    )

    text: LongText


class ResolveRequest(ChangeRequest):
    """A reviewer's decision. It becomes a label; what is done about it is a separate action."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "version": 4,
                    "outcome": "CONFIRMED_FRAUD",
                    "reason_code": "HOLDER_DENIED",
                    "fraud_type": "CARD_NOT_PRESENT",
                },
                {"version": 4, "outcome": "GENUINE", "reason_code": "HOLDER_CONFIRMED"},
            ]
        }
    )

    outcome: Outcome
    reason_code: ReasonCode
    fraud_type: FraudType | None = Field(default=None, description="Needed for CONFIRMED_FRAUD, and only there.")
