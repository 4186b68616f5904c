"""What an event manager does to a compromise event: facts, alerts, steps, amendments, disclosure."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field, StringConstraints

from fraud.api.schemas.base import Answer, Day, GivenVersion, LongText, Name, Request
from fraud.api.schemas.events import CodeName, DataElementName, DaysAnswer, EntityRequest, Zone
from fraud.compromise import CompromiseStatus, WindowPrecision
from fraud.compromise_disclosure import Disclosure
from fraud.compromise_facts import FactKind

Vector = Annotated[str, StringConstraints(strip_whitespace=True, max_length=200, pattern=r"^[^\x00-\x1f\x7f]*$")]


class FactRequest(Request):
    """A dated fact: who did or was told what, and when. A forensic report needs its author."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"kind": "REGULATOR_TOLD", "on": "2022-08-01", "note": "by the merchant"},
                {"kind": "FORENSIC_REPORT", "on": "2022-10-17", "author": "the supplier's investigator"},
            ]
        }
    )

    kind: FactKind
    on: Day = Field(description="In the zone of the event's window; not in the future.")
    author: Name | None = None
    note: LongText | None = None


class WithdrawalRequest(Request):
    """Why a fact was a mistake."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"reason": "wrong day"}]})

    reason: LongText


class StatusRequest(Request):
    """A step of the finding."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"version": 1, "status": "ALERTED"}]})

    status: CompromiseStatus
    version: GivenVersion | None = None
    reason: LongText | None = Field(default=None, description="Needed to reopen a closed event.")


class StatusEffectAnswer(Answer):
    """What a step would do to the cards of the event."""

    status: CompromiseStatus
    released: int = Field(description="Cards that this event would no longer have watched.")
    kept_elsewhere: int = Field(description="Those of them that stay watched for another event.")


class DisclosureRequest(Request):
    """What may be said from now on."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"version": 1, "disclosure": "MAY_TELL_HOLDER", "reason": "agreed with them"}]}
    )

    disclosure: Disclosure = Field(description="PUBLISHED needs the dated fact PUBLISHED.")
    version: GivenVersion | None = None
    reason: LongText | None = Field(default=None, description="Needed to keep back again what could be said.")


class AmendmentRequest(Request):
    """What became known later. What is left out stays as it is."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"version": 1, "ends_on": "2022-07-27", "reason": "the forensic report names the days"},
                {"version": 1, "data_elements": ["pan", "expiry"], "reason": "no security code after all"},
            ]
        }
    )

    version: GivenVersion | None = None
    reason: LongText = Field(description="What became known, and from whom.")
    name: Name | None = None
    code_name: CodeName | None = None
    starts_on: Day | None = None
    ends_on: Day | None = None
    zone: Zone | None = None
    precision: WindowPrecision | None = None
    data_elements: list[DataElementName] | None = Field(default=None, min_length=1, max_length=11)
    entities: list[EntityRequest] | None = Field(default=None, max_length=100, description="All of them.")
    vector: Vector | None = Field(default=None, description="An empty text takes it away.")


class AmendmentEffectAnswer(Answer):
    """What an amendment would change."""

    changed: list[str]
    days_added: list[DaysAnswer]
    days_removed: list[DaysAnswer]
    elements_added: list[DataElementName]
    elements_removed: list[DataElementName]
    tier_before: int
    tier_after: int
    cards_watched: int = Field(description="Cards that the stream would take up anew.")
    looks_back: bool = Field(description="True when a look-back would start.")
