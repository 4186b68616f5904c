"""Compromise events and exposed cards: what the API shows, and what an event manager sends."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from fraud.api.schemas.base import (
    Answer,
    Day,
    GivenMilliseconds,
    GivenVersion,
    LongText,
    Milliseconds,
    Name,
    Request,
    Version,
)
from fraud.compromise import AlertSource, CompromiseStatus, EntityRole, ExposedCardStatus

DataElementName = Literal[
    "pan", "expiry", "cvv2", "name", "address", "phone", "email", "login", "three_ds_secret", "track", "pin"
]
Identifier = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[!-~]+$")]


class EntityRequest(Request):
    """A merchant, processor or supplier where cards were exposed."""

    name: Name
    role: EntityRole
    acquirer_id: Identifier | None = None
    merchant_id: Identifier | None = Field(default=None, description="At that acquirer.")


class CompromiseEventRequest(Request):
    """What leaked where and when, as far as it is known. Monitoring starts at suspicion, on a provisional list."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "name": "Web shop, tampered script of a supplier",
                    "source": "MERCHANT_NOTICE",
                    "starts_on": "2022-07-19",
                    "ends_on": "2022-07-26",
                    "zone": "Asia/Tokyo",
                    "data_elements": ["pan", "expiry", "cvv2"],
                    "entities": [{"name": "Web shop", "role": "MERCHANT", "merchant_id": "M-1001"}],
                    "vector": "tampered script on the payment page",
                    "suspected_at": 1_658_966_400_000,
                }
            ]
        }
    )

    compromise_event_id: str | None = Field(
        default=None,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,39}$",
        description="Your own id, so that sending it twice is a conflict; one is made when it is left out.",
    )
    name: Name
    source: AlertSource
    starts_on: Day = Field(description="First day of the exposure window, in `zone`.")
    ends_on: Day = Field(description="Last day of the exposure window, included.")
    zone: str = Field(default="Asia/Tokyo", min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_+/-]+$")
    data_elements: list[DataElementName] = Field(min_length=1, max_length=11, description="They give the tier.")
    entities: list[EntityRequest] = Field(default=[], max_length=100)
    external_id: Annotated[Name, Field(max_length=128)] | None = Field(
        default=None, description="The scheme alert's own id."
    )
    vector: Name | None = Field(default=None, description="How it happened; one supplier may stand behind many events.")
    suspected_at: GivenMilliseconds | None = None


class FactRequest(Request):
    """A dated fact: who was told what, and when."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"kind": "REGULATOR_TOLD", "on": "2022-08-01", "note": "by the merchant"}]}
    )

    kind: Annotated[str, Field(min_length=1, max_length=40, pattern=r"^[A-Z][A-Z_]*$")]
    on: Day
    note: LongText | None = None


class StatusRequest(Request):
    """A step of the finding."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": 1, "status": "ALERTED"}]})

    status: CompromiseStatus
    version: GivenVersion | None = None
    reason: LongText | None = Field(default=None, description="Needed to reopen a closed event.")


class EntityAnswer(Answer):
    """A compromised entity."""

    name: str
    role: EntityRole
    acquirer_id: str | None
    merchant_id: str | None


class FactAnswer(Answer):
    """A dated fact."""

    kind: str
    on: str
    note: str | None = None


class CompromiseEventAnswer(Answer):
    """A compromise event as it is known at `version`."""

    compromise_event_id: str
    name: str
    status: CompromiseStatus
    version: Version
    source: AlertSource
    external_id: str | None
    vector: str | None
    starts_on: date
    ends_on: date
    zone: str
    window_start_at: Milliseconds
    window_end_at: Milliseconds = Field(description="Exclusive.")
    data_elements: list[DataElementName]
    tier: int = Field(description="Exposure tier of its cards, 1 to 5.")
    entities: list[EntityAnswer]
    facts: list[FactAnswer]
    suspected_at: Milliseconds | None
    created_at: Milliseconds
    updated_at: Milliseconds


class CompromiseEventDetailAnswer(Answer):
    """A compromise event with its numbers."""

    compromise_event: CompromiseEventAnswer
    counts: dict[str, int] = Field(description="Exposed cards, matches, detections and cases of this event.")


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
