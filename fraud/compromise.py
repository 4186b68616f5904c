"""Compromise events, pure: what leaked where and when, how far the finding is, and which cards it exposes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum

from fraud.compromise_window import DAY_MS, ExposureWindow, WindowPrecision, days_since_window
from fraud.errors import ConflictError, InvalidInputError

__all__ = [
    "DAY_MS",
    "AlertSource",
    "CompromiseEvent",
    "CompromiseStatus",
    "CompromisedEntity",
    "DataElements",
    "EntityRole",
    "ExposedCardStatus",
    "ExposureWindow",
    "SchemeAlert",
    "WindowPrecision",
    "days_since_window",
    "next_statuses",
    "transition",
]


class CompromiseStatus(StrEnum):
    """How far the finding is. What was told to whom and when are dated facts, not statuses."""

    SUSPECTED = "SUSPECTED"  # a working state: monitoring starts here, on a provisional list
    ALERTED = "ALERTED"  # a scheme alert has arrived
    INVESTIGATING = "INVESTIGATING"
    CONFIRMED = "CONFIRMED"
    INCONCLUSIVE = "INCONCLUSIVE"  # the investigation ended without an answer
    CLOSED = "CLOSED"
    REFUTED = "REFUTED"  # it never was one; cards that are in no other event are released

    @property
    def is_open(self) -> bool:
        """True while its exposed cards are watched."""
        return self not in (CompromiseStatus.CLOSED, CompromiseStatus.REFUTED)


_S = CompromiseStatus
_STEPS: Mapping[CompromiseStatus, frozenset[CompromiseStatus]] = {
    # Word may come in any order: an event that was only suspected can be confirmed by the first notice.
    _S.SUSPECTED: frozenset({_S.ALERTED, _S.INVESTIGATING, _S.CONFIRMED, _S.REFUTED}),
    _S.ALERTED: frozenset({_S.INVESTIGATING, _S.CONFIRMED, _S.REFUTED}),
    _S.INVESTIGATING: frozenset({_S.CONFIRMED, _S.INCONCLUSIVE, _S.REFUTED}),
    _S.INCONCLUSIVE: frozenset({_S.INVESTIGATING, _S.CONFIRMED, _S.CLOSED, _S.REFUTED}),
    _S.CONFIRMED: frozenset({_S.CLOSED, _S.REFUTED}),
    _S.CLOSED: frozenset({_S.INVESTIGATING, _S.CONFIRMED}),  # reopened, for an extension
    _S.REFUTED: frozenset(),
}


def next_statuses(current: CompromiseStatus) -> tuple[CompromiseStatus, ...]:
    """Where an event may go from `current`, in the order of the life cycle."""
    return tuple(status for status in CompromiseStatus if status in _STEPS[current])


def transition(current: CompromiseStatus, to: CompromiseStatus, *, reason: str | None = None) -> CompromiseStatus:
    """The status after a step from `current` to `to`.

    `ConflictError` when the step is not allowed; `InvalidInputError` on `reason` when a closed event is reopened
    without one.
    """
    if to not in _STEPS[current]:
        message = f"a compromise event that is {current.value} cannot become {to.value}"
        raise ConflictError(message)
    if current is CompromiseStatus.CLOSED and not (reason and reason.strip()):
        message = "reopening a closed compromise event needs a reason"
        raise InvalidInputError(message, field="reason")
    return to


class ExposedCardStatus(StrEnum):
    """What one compromise event means for one card now; the card's own status is another thing."""

    UNMATCHED = "UNMATCHED"  # named, but no card of ours has this reference
    ACTIVE = "ACTIVE"
    RELEASED = "RELEASED"


class EntityRole(StrEnum):
    """What a compromised entity is. One supplier may stand behind many merchants."""

    MERCHANT = "MERCHANT"
    PROCESSOR = "PROCESSOR"
    SUPPLIER = "SUPPLIER"


class AlertSource(StrEnum):
    """Where word of a compromise event came from."""

    VISA_CAMS = "VISA_CAMS"
    MC_ADC = "MC_ADC"
    JCB = "JCB"
    ACQUIRER = "ACQUIRER"
    PSP = "PSP"
    MERCHANT_NOTICE = "MERCHANT_NOTICE"
    INTERNAL_CPP = "INTERNAL_CPP"  # our own search for common points of purchase
    THREAT_INTEL = "THREAT_INTEL"


@dataclass(frozen=True, slots=True)
class DataElements:
    """Which data elements leaked with the cards. That a number leaked is what makes a card an exposed card."""

    pan: bool = True
    expiry: bool = False
    cvv2: bool = False
    name: bool = False
    address: bool = False
    phone: bool = False
    email: bool = False
    login: bool = False
    three_ds_secret: bool = False
    track: bool = False
    pin: bool = False

    def tier(self) -> int:
        """The exposure tier, 1 to 5. More elements never give a lower one.

        1: number only. 2: with expiry. 3: with CVV2; the expiry is then as good as known, since some 60 guesses find
        it. 4: tier 3 with a name, contact data or a secret of the holder. 5: track data or PIN.
        """
        if self.track or self.pin:
            return 5
        if not self.cvv2:
            return 2 if self.expiry else 1
        holder = (self.name, self.address, self.phone, self.email, self.login, self.three_ds_secret)
        return 4 if any(holder) else 3

    def names(self) -> tuple[str, ...]:
        """The elements that leaked, in a fixed order: how they are stored and sent."""
        return tuple(field.name for field in fields(self) if getattr(self, field.name))

    @classmethod
    def from_names(cls, names: Iterable[str]) -> DataElements:
        """The elements with these names, and no others; `InvalidInputError` on `data_elements` for an unknown one."""
        given = set(names)
        known = [field.name for field in fields(cls)]
        if not given <= set(known):
            message = f"data_elements may hold: {', '.join(known)}"
            raise InvalidInputError(message, field="data_elements")
        return cls(**{name: name in given for name in known})


@dataclass(frozen=True, slots=True)
class CompromisedEntity:
    """A merchant, processor or supplier where cards were exposed."""

    name: str
    role: EntityRole
    acquirer_id: str | None = None
    merchant_id: str | None = None


@dataclass(frozen=True, slots=True)
class SchemeAlert:
    """Word from a scheme, an acquirer or somebody else, as it came in. `received_at` is in epoch milliseconds."""

    source: AlertSource
    external_id: str  # theirs
    received_at: int
    note: str | None = None


@dataclass(frozen=True, slots=True)
class CompromiseEvent:
    """One compromise, as it is known at `version`. An amendment makes a new version, and a new look-back."""

    compromise_event_id: str
    name: str
    status: CompromiseStatus
    source: AlertSource
    window: ExposureWindow
    elements: DataElements
    entities: tuple[CompromisedEntity, ...] = ()
    alerts: tuple[SchemeAlert, ...] = ()
    vector: str | None = None  # for example a tampered script of a common supplier
    suspected_at: int | None = None  # epoch milliseconds
    version: int = 1

    @property
    def tier(self) -> int:
        """The exposure tier of its cards, 1 to 5."""
        return self.elements.tier()
