"""Amendments of a compromise event, pure: what becomes known later, and what follows from it.

Windows, data elements, entities and names are amended; what was known before stays, as an earlier version.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import date

from fraud.compromise import CompromisedEntity, DataElements, EntityRole, ExposureWindow, WindowPrecision
from fraud.errors import InvalidInputError


@dataclass(frozen=True, slots=True)
class KnownExposure:
    """What is known of an event at one version, as far as it can be amended."""

    name: str
    code_name: str
    window: ExposureWindow
    elements: DataElements
    entities: tuple[CompromisedEntity, ...] = ()
    vector: str | None = None


@dataclass(frozen=True, slots=True)
class Amendment:
    """What is to change, and why. None leaves a part as it is; an empty `vector` takes it away.

    `InvalidInputError` on `reason` when there is none.
    """

    reason: str
    name: str | None = None
    code_name: str | None = None
    window: ExposureWindow | None = None
    elements: DataElements | None = None
    entities: tuple[CompromisedEntity, ...] | None = None
    vector: str | None = None

    def __post_init__(self) -> None:
        if not self.reason.strip():
            message = "an amendment needs a reason: what became known, and from whom"
            raise InvalidInputError(message, field="reason")

    def applied_to(self, known: KnownExposure) -> KnownExposure:
        """What is known after it."""
        given = {item.name: getattr(self, item.name) for item in fields(known)}
        merged = {name: getattr(known, name) if value is None else value for name, value in given.items()}
        return KnownExposure(**{**merged, "vector": merged["vector"] or None})


@dataclass(frozen=True, slots=True)
class AmendmentEffect:
    """What an amendment changes, before anybody agrees to it.

    `days_added` and `days_removed` are stretches of days (first, last); elements go by name.
    """

    changed: tuple[str, ...]
    days_added: tuple[tuple[date, date], ...]
    days_removed: tuple[tuple[date, date], ...]
    elements_added: tuple[str, ...]
    elements_removed: tuple[str, ...]
    tier_before: int
    tier_after: int

    @property
    def changes_matching(self) -> bool:
        """True when the stream has to take up the cards anew: a new exposure version, and a look-back."""
        return "window" in self.changed or "elements" in self.changed


def effect_of(before: KnownExposure, after: KnownExposure) -> AmendmentEffect:
    """What lies between two versions. `InvalidInputError` when nothing does."""
    changed = tuple(item.name for item in fields(before) if getattr(before, item.name) != getattr(after, item.name))
    if not changed:
        message = "the amendment changes nothing"
        raise InvalidInputError(message, field="amendment")
    elements_before, elements_after = before.elements.names(), after.elements.names()
    return AmendmentEffect(
        changed=changed,
        days_added=after.window.days_beyond(before.window),
        days_removed=before.window.days_beyond(after.window),
        elements_added=tuple(name for name in elements_after if name not in elements_before),
        elements_removed=tuple(name for name in elements_before if name not in elements_after),
        tier_before=before.elements.tier(),
        tier_after=after.elements.tier(),
    )


def window_with(
    window: ExposureWindow,
    starts_on: date | None = None,
    ends_on: date | None = None,
    zone: str | None = None,
    precision: WindowPrecision | None = None,
) -> ExposureWindow | None:
    """The window with some of its parts replaced; None when none is given. `InvalidInputError` names the field."""
    if starts_on is None and ends_on is None and zone is None and precision is None:
        return None
    return ExposureWindow(
        window.starts_on if starts_on is None else starts_on,
        window.ends_on if ends_on is None else ends_on,
        window.zone if zone is None else zone,
        window.precision if precision is None else precision,
    )


def suppliers(entities: tuple[CompromisedEntity, ...]) -> frozenset[str]:
    """The names that several events may have in common: suppliers and processors, in lower case."""
    shared = (EntityRole.SUPPLIER, EntityRole.PROCESSOR)
    return frozenset(entity.name.casefold() for entity in entities if entity.role in shared)
