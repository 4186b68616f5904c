"""Imports of exposed cards, card reference data, and reviews of what is watched."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

from fraud.api.schemas.base import Answer, LongText, Milliseconds, Request
from fraud.card_references import CardStatus, ShownStatus
from fraud.compromise import ExposedCardStatus
from fraud.store.exposure_reviews import MAX_EXCEPTIONS, MAX_REVIEW_DAYS, REVIEW_DAYS, ExceptionReason, ReviewDecision
from fraud.store.import_findings import Finding

CardReference = Annotated[
    str, Field(max_length=80, pattern=r"^(?:v[0-9]{1,4}:[0-9a-f]{64}|x:[!-~]{1,78})$", description="A card reference.")
]
_EXAMPLE_REF = f"v1:{'0123456789abcdef' * 4}"


class ExposureImportAnswer(Answer):
    """An import: what was found, and what became of it. Rows are the sum of the first six findings."""

    import_id: int
    compromise_event_id: str
    status: str = Field(description="STAGING, STAGED (a dry run: nothing is watched), PUBLISHED, DISCARDED, FAILED.")
    provenance: str = Field(description="ALERT_FILE, ARCHIVE or MANUAL.")
    name: str
    sha256: str | None
    share: float = Field(description="How much of it has been read, 0 to 1.")
    rows: int
    findings: dict[str, int] = Field(
        description="MATCHED, UNMATCHED, ALREADY_EXPOSED, DUPLICATE, MALFORMED and UNKNOWN (of another issuer) count "
        "each row once; SEEN_EARLIER, REISSUED, EXPIRY_DIFFERS, CLOSED and RELEASED_BEFORE are marks on cards."
    )
    reasons: dict[str, int] = Field(description="What is wrong with malformed rows.")
    problem: str | None = Field(description="Why it failed.")
    no_op: bool = Field(description="True when this very content had been imported for this event before.")
    exposure_version: int | None
    created_at: Milliseconds
    created_by: str
    published_at: Milliseconds | None
    published_by: str | None


class ImportRowAnswer(Answer):
    """One row of the file. Rows of other issuers have a line and nothing else."""

    line: int = Field(description="Line of the file; of JSON, the number of the object.")
    findings: list[Finding]
    reason: str | None
    card_ref: str | None
    pan_last4: str | None
    expiry: str | None = Field(description="`YYYY-MM` as the file gives it.")


class ByHandRequest(Request):
    """One card, and why."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"card_ref": _EXAMPLE_REF, "reason": "The holder reported the shop's mail."}]}
    )

    card_ref: CardReference
    reason: LongText


class LineageCardAnswer(Answer):
    """A card of a line of reissues."""

    card_ref: str
    generation: int = Field(description="Reissues since the first card of the line; an alias has its card's.")


class CardExposureAnswer(Answer):
    """One compromise event that the card is in, or was."""

    compromise_event_id: str
    tier: int
    status: ExposedCardStatus
    provenance: str = Field(description="ALERT_FILE, ARCHIVE, MANUAL, or LINEAGE: it came after an exposed card.")
    created_at: Milliseconds


class CardAnswer(Answer):
    """A card: its own status, and its exposures, one a compromise event."""

    card_ref: str
    status: ShownStatus
    tier: int = Field(description="The worst of its active exposures; 0: it is not watched.")
    reference_status: CardStatus | None = Field(description="As the card system says.")
    expiry: str | None
    product: str | None
    replaced_by: str | None
    as_of_at: Milliseconds | None
    card_lineage: str = Field(description="The first card of its line.")
    line: list[LineageCardAnswer]
    exposures: list[CardExposureAnswer]


class ReferenceLoadAnswer(Answer):
    """What became of a file of reference data: rows = changed + same + stale + malformed."""

    sha256: str
    rows: int
    changed: int
    same: int
    stale: int = Field(description="Older than what is known.")
    refused: int = Field(description="Replacements that cannot be: a card that came after two others, or after itself.")
    malformed: int
    malformed_rows: list[tuple[int, str]] = Field(description="Line and reason of the first hundred.")
    compromise_event_ids: list[str] = Field(description="Events whose exposures have changed with it.")


class ReviewAnswer(Answer):
    """A review of what is watched for an event; one is open as long as cards are watched."""

    review_id: int
    compromise_event_id: str
    due_at: Milliseconds
    decision: ReviewDecision | None
    reason: str | None
    exceptions: int
    opened_at: Milliseconds
    decided_at: Milliseconds | None
    decided_by: str | None


class ReviewExceptionAnswer(Answer):
    """A watched card that wants a look of its own."""

    card_ref: str
    pan_last4: str | None
    tier: int
    provenance: str
    reasons: list[ExceptionReason]


class ReviewDecisionRequest(Request):
    """Extend watching, or release the cards; exceptions get the other."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"decision": "EXTENDED", "reason": "Still used abroad.", "days": 90}]}
    )

    decision: ReviewDecision
    reason: LongText
    days: int = Field(default=REVIEW_DAYS, ge=1, le=MAX_REVIEW_DAYS, strict=True, description="To the next review.")
    exceptions: list[CardReference] = Field(default=[], max_length=MAX_EXCEPTIONS)
