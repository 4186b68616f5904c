"""The life of a case, pure: states, legal steps, outcomes, and how a new detection folds into an open case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from fraud.errors import ConflictError, InvalidInputError


class CaseStatus(StrEnum):
    """Where a case is in its life."""

    NEW = "NEW"
    CLAIMED = "CLAIMED"
    RESOLVED = "RESOLVED"


class Outcome(StrEnum):
    """What a reviewer found out. It becomes a label; what is done about it is a separate action."""

    CONFIRMED_FRAUD = "CONFIRMED_FRAUD"
    GENUINE = "GENUINE"
    USEFUL_NOT_FRAUD = "USEFUL_NOT_FRAUD"
    FIRST_PARTY = "FIRST_PARTY"
    UNDETERMINED = "UNDETERMINED"


class ReasonCode(StrEnum):
    """Why the reviewer decided so."""

    HOLDER_CONFIRMED = "HOLDER_CONFIRMED"
    HOLDER_DENIED = "HOLDER_DENIED"
    PATTERN_MATCHES_EXPOSURE = "PATTERN_MATCHES_EXPOSURE"
    CARD_TESTING = "CARD_TESTING"
    KNOWN_MERCHANT = "KNOWN_MERCHANT"
    TRAVEL_OR_MOVE = "TRAVEL_OR_MOVE"
    CHARGEBACK = "CHARGEBACK"
    HOLDER_NOT_REACHED = "HOLDER_NOT_REACHED"
    OTHER = "OTHER"


class FraudType(StrEnum):
    """Kinds of fraud as the networks' reports know them (Visa TC40 code, Mastercard code)."""

    LOST = "LOST"  # 0, 00
    STOLEN = "STOLEN"  # 1, 01
    NOT_RECEIVED = "NOT_RECEIVED"  # 2, 02
    APPLICATION = "APPLICATION"  # 3, 03
    COUNTERFEIT = "COUNTERFEIT"  # 4, 04
    CARD_NOT_PRESENT = "CARD_NOT_PRESENT"  # 6, 06
    ACCOUNT_TAKEOVER = "ACCOUNT_TAKEOVER"  # B, 05
    MANIPULATION_OF_HOLDER = "MANIPULATION_OF_HOLDER"  # D, 56


_STEPS: Mapping[CaseStatus, frozenset[CaseStatus]] = {
    CaseStatus.NEW: frozenset({CaseStatus.CLAIMED}),
    CaseStatus.CLAIMED: frozenset({CaseStatus.NEW, CaseStatus.RESOLVED}),
    CaseStatus.RESOLVED: frozenset(),
}

OUTCOMES_WITH_FRAUD_TYPE = frozenset({Outcome.CONFIRMED_FRAUD})


def check_step(current: CaseStatus, to: CaseStatus) -> None:
    """Raise `ConflictError` unless a case may go from `current` to `to`."""
    if to not in _STEPS[current]:
        message = f"a case that is {current.value} cannot become {to.value}"
        raise ConflictError(message)


@dataclass(frozen=True, slots=True)
class Resolution:
    """A reviewer's decision, complete by construction: a fraud has a type, anything else has none."""

    outcome: Outcome
    reason_code: ReasonCode
    fraud_type: FraudType | None = None

    def __post_init__(self) -> None:
        needs_type = self.outcome in OUTCOMES_WITH_FRAUD_TYPE
        if needs_type and self.fraud_type is None:
            message = "fraud_type is needed when the outcome is CONFIRMED_FRAUD"
            raise InvalidInputError(message, field="fraud_type")
        if not needs_type and self.fraud_type is not None:
            message = f"fraud_type does not go with the outcome {self.outcome.value}"
            raise InvalidInputError(message, field="fraud_type")


@dataclass(frozen=True, slots=True)
class Priority:
    """Expected loss in minor units of the portfolio's currency, with the reason written beside it."""

    expected_loss_minor: int
    reason: str


def fold_priority(current: Priority, new: Priority) -> Priority:
    """The priority of a case after one more detection: it rises by itself and never falls by itself."""
    return new if new.expected_loss_minor > current.expected_loss_minor else current
