"""Dated facts of a compromise event, pure: who did or was told what, and on which day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from fraud.errors import InvalidInputError


class FactKind(StrEnum):
    """What can happen between the first word and the end of a compromise."""

    FIRST_WORD = "FIRST_WORD"  # somebody told the compromised entity
    CONTAINED = "CONTAINED"  # the leak was stopped
    PAYMENTS_STOPPED = "PAYMENTS_STOPPED"  # the shop takes no cards from here on
    PAYMENTS_RESUMED = "PAYMENTS_RESUMED"
    FORENSIC_REPORT = "FORENSIC_REPORT"  # any number of them, each with its author
    REGULATOR_TOLD = "REGULATOR_TOLD"
    POLICE_TOLD = "POLICE_TOLD"
    PUBLISHED = "PUBLISHED"
    HOLDERS_TOLD = "HOLDERS_TOLD"
    OTHER = "OTHER"  # the note says what


@dataclass(frozen=True, slots=True)
class DatedFact:
    """One fact. `on` is a day in the zone of the event's window.

    `InvalidInputError` on `kind`, on `author` for a forensic report without one, on `note` where it has to say what.
    """

    kind: FactKind
    on: date
    author: str | None = None
    note: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in list(FactKind):
            message = f"kind must be one of {', '.join(FactKind)}"
            raise InvalidInputError(message, field="kind")
        object.__setattr__(self, "kind", FactKind(self.kind))
        if self.kind is FactKind.FORENSIC_REPORT and not (self.author and self.author.strip()):
            message = "a forensic report needs its author: there may be several"
            raise InvalidInputError(message, field="author")
        if self.kind is FactKind.OTHER and not (self.note and self.note.strip()):
            message = "a fact of another kind needs a note that says what it is"
            raise InvalidInputError(message, field="note")

    def check_known(self, today: date) -> None:
        """`InvalidInputError` on `on` when the day is still to come: a plan is not a fact."""
        if self.on > today:
            message = "a fact cannot lie in the future"
            raise InvalidInputError(message, field="on")
