"""Compromise events: what the API shows, and how one is recorded."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from fraud.api.schemas.base import (
    Answer,
    Day,
    GivenMilliseconds,
    LongText,
    Milliseconds,
    Name,
    Request,
    Version,
)
from fraud.compromise import AlertSource, CompromiseStatus, EntityRole, WindowPrecision
from fraud.compromise_disclosure import Disclosure

DataElementName = Literal[
    "pan", "expiry", "cvv2", "name", "address", "phone", "email", "login", "three_ds_secret", "track", "pin"
]
CodeName = Annotated[Name, Field(max_length=80)]
Zone = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_+/-]+$")]
Identifier = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[!-~]+$")]


class EntityRequest(Request):
    """A merchant, processor or supplier where cards were exposed."""

    name: Name
    role: EntityRole
    acquirer_id: Identifier | None = None
    merchant_id: Identifier | None = Field(default=None, description="At that acquirer.")


class AlertRequest(Request):
    """A scheme alert, or word from somebody else, as it came in."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"source": "VISA_CAMS", "external_id": "IC-2022-004711", "received_at": 1_659_571_200_000}]
        }
    )

    source: AlertSource
    external_id: Annotated[Name, Field(max_length=128)] = Field(description="Their id.")
    received_at: GivenMilliseconds
    note: LongText | None = None


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
    code_name: CodeName | None = Field(
        default=None, description="What all but event managers see before publication; one is made when left out."
    )
    source: AlertSource = Field(description="Where the first word came from.")
    starts_on: Day = Field(description="First day of the exposure window, in `zone`.")
    ends_on: Day = Field(description="Last day of the exposure window, included.")
    zone: Zone = "Asia/Tokyo"
    precision: WindowPrecision = Field(
        default=WindowPrecision.DAY, description="What the notice gives. Of months and years, every day counts."
    )
    data_elements: list[DataElementName] = Field(min_length=1, max_length=11, description="They give the tier.")
    entities: list[EntityRequest] = Field(default=[], max_length=100)
    alerts: list[AlertRequest] = Field(default=[], max_length=100)
    vector: Name | None = Field(default=None, description="How it happened; one supplier may stand behind many events.")
    suspected_at: GivenMilliseconds | None = None


class EntityAnswer(Answer):
    """A compromised entity."""

    name: str
    role: EntityRole
    acquirer_id: str | None
    merchant_id: str | None


class FactAnswer(Answer):
    """A dated fact. One that was withdrawn counts for nothing."""

    fact_id: int
    kind: str
    on: date
    author: str | None
    note: str | None
    recorded_at: Milliseconds
    recorded_by: str
    withdrawn_at: Milliseconds | None
    withdrawn_by: str | None
    withdrawn_reason: str | None


class AlertAnswer(Answer):
    """A scheme alert."""

    source: AlertSource
    external_id: str
    received_at: Milliseconds
    note: str | None
    recorded_at: Milliseconds
    recorded_by: str


class CompromiseEventAnswer(Answer):
    """A compromise event as it is known at `version`.

    Before publication only event managers see names and free text: for others `name` is the code name, entities,
    vector, notes and authors are left out.
    """

    compromise_event_id: str
    name: str
    code_name: str
    status: CompromiseStatus
    disclosure: Disclosure = Field(description="What may be said outside.")
    version: Version
    source: AlertSource
    vector: str | None
    starts_on: date
    ends_on: date
    zone: str
    precision: WindowPrecision
    window_start_at: Milliseconds
    window_end_at: Milliseconds = Field(description="Exclusive.")
    data_elements: list[DataElementName]
    tier: int = Field(description="Exposure tier of its cards, 1 to 5.")
    entities: list[EntityAnswer]
    facts: list[FactAnswer]
    alerts: list[AlertAnswer]
    suspected_at: Milliseconds | None
    created_at: Milliseconds
    updated_at: Milliseconds


class CompromiseEventDetailAnswer(Answer):
    """A compromise event with its numbers."""

    compromise_event: CompromiseEventAnswer
    counts: dict[str, int] = Field(description="Exposed cards, matches, detections and cases of this event.")
    next_statuses: list[CompromiseStatus] = Field(description="Where it may go from here.")
    related: list[str] = Field(description="Ids of other events with the same supplier or processor.")


class DaysAnswer(Answer):
    """A stretch of days, both included."""

    first: date
    last: date


class VersionAnswer(Answer):
    """A compromise event as it was known at one version, and what made that version."""

    version: Version
    change: str = Field(description="RECORDED, AMENDED, STATUS, DISCLOSURE, FACT, FACT_WITHDRAWN or ALERT.")
    changed_at: Milliseconds
    changed_by: str
    reason: str | None
    exposure_version: int = Field(description="From this one on, the stream works with this window and tier.")
    name: str
    code_name: str
    status: CompromiseStatus
    disclosure: Disclosure
    vector: str | None
    starts_on: date
    ends_on: date
    zone: str
    precision: WindowPrecision
    window_start_at: Milliseconds
    window_end_at: Milliseconds = Field(description="Exclusive.")
    data_elements: list[DataElementName]
    tier: int
    entities: list[EntityAnswer]
