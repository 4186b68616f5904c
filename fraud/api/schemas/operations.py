"""Operations and people: dead letters, positions, summary, and the caller."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from fraud.api.schemas.base import Answer, Milliseconds


class DeadLetterAnswer(Answer):
    """A record that could not be processed: where it lies and why. Its payload is kept nowhere."""

    topic: str
    topic_id: str
    partition: int
    offset: int
    error_class: str
    field_path: str | None
    payload_digest: str = Field(description="Keyed digest, to recognise the same payload again.")
    payload_bytes: int
    card_ref: str | None
    on_exposed_card: bool
    kind: Literal["DEAD_LETTER", "QUARANTINED"]
    recorded_at: Milliseconds


class PositionAnswer(Answer):
    """How far a partition's effects have got."""

    group_id: str
    topic: str
    topic_id: str
    partition: int
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
    reached_at: Milliseconds | None = Field(description="Latest event time processed.")
    updated_at: Milliseconds


class SummaryAnswer(Answer):
    """The whole of the work in numbers, and as of when."""

    as_of_at: Milliseconds = Field(description="When these numbers were read, by the service's clock.")
    numbers: dict[str, Any] = Field(description="Counts by name; parts that sum up name their parts.")


class MeAnswer(Answer):
    """Who is calling, and what they may do."""

    username: str
    display_name: str
    role: str
    permissions: list[str]
