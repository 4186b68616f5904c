"""Exposed cards: what the API shows, and what becomes of a file."""

from __future__ import annotations

from pydantic import Field

from fraud.api.schemas.base import Answer, Milliseconds
from fraud.compromise import ExposedCardStatus


class ExposedCardAnswer(Answer):
    """One card in one compromise event."""

    compromise_event_id: str
    card_ref: str
    tier: int
    status: ExposedCardStatus
    provenance: str = Field(description="ALERT_FILE, ARCHIVE or MANUAL.")
    pan_last4: str | None
    expiry: str | None = Field(description="`YYYY-MM` as the scheme alert gave it.")
    created_at: Milliseconds


class MalformedRowAnswer(Answer):
    """A row that was not taken."""

    line: int = Field(description="Line of the file; the header is line 1.")
    reason: str


class ImportAnswer(Answer):
    """What became of an exposed-card file: rows = accepted + duplicate + malformed + unknown + already exposed."""

    rows: int
    accepted: int
    duplicate: int
    malformed: int
    unknown: int
    already_exposed: int
    sha256: str
    no_op: bool = Field(description="True when this very file had been imported for this event before.")
    malformed_rows: list[MalformedRowAnswer] = Field(description="The first hundred of them.")
