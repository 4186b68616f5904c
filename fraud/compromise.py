"""Compromise events, pure: what leaked where and when, how far the finding is, and which cards it exposes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from datetime import date, datetime, time, timedelta
from enum import StrEnum
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fraud.errors import ConflictError, InvalidInputError

DAY_MS = 86_400_000
_EARLIEST = date(1970, 1, 1)
_LATEST = date(9998, 12, 31)  # leaves room for the day after the last one


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
class ExposureWindow:
    """The days, both included, on which cards were exposed, in the time zone of the notice.

    `InvalidInputError` on the field at fault.
    """

    starts_on: date
    ends_on: date
    zone: str

    def __post_init__(self) -> None:
        if not _EARLIEST <= self.starts_on <= _LATEST:
            message = "the exposure window starts on a day that cannot be"
            raise InvalidInputError(message, field="starts_on")
        if not self.starts_on <= self.ends_on <= _LATEST:
            message = "the exposure window must not end before it starts"
            raise InvalidInputError(message, field="ends_on")
        _zone(self.zone)

    @property
    def start_at(self) -> int:
        """Start of the first day, epoch milliseconds."""
        return _midnight(self.starts_on, self.zone)

    @property
    def end_at(self) -> int:
        """End of the last day, exclusive: start of the day after it, epoch milliseconds."""
        return _midnight(self.ends_on + timedelta(days=1), self.zone)


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        message = "zone must be a time zone name such as Asia/Tokyo"
        raise InvalidInputError(message, field="zone") from None


def _midnight(day: date, zone: str) -> int:
    return int(datetime.combine(day, time.min, _zone(zone)).timestamp()) * 1_000


def days_since_window(occurred_at: ArrayLike, window_end_at: ArrayLike) -> NDArray[np.int32]:
    """Whole days from the end of the exposure window to each event: `(n,)` int32.

    Both arguments are epoch milliseconds, `(n,)` or scalar; the end is exclusive. What happened before the end,
    within the window or earlier, counts as 0, and so does the first day after it.
    """
    since = np.asarray(occurred_at, dtype=np.int64) - np.asarray(window_end_at, dtype=np.int64)
    days: NDArray[Any] = np.clip(since // DAY_MS, 0, np.iinfo(np.int32).max)
    return days.astype(np.int32)


@dataclass(frozen=True, slots=True)
class CompromisedEntity:
    """A merchant, processor or supplier where cards were exposed."""

    name: str
    role: EntityRole
    acquirer_id: str | None = None
    merchant_id: str | None = None


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
    external_id: str | None = None  # of the scheme alert
    vector: str | None = None  # for example a tampered script of a common supplier
    suspected_at: int | None = None  # epoch milliseconds
    version: int = 1

    @property
    def tier(self) -> int:
        """The exposure tier of its cards, 1 to 5."""
        return self.elements.tier()
