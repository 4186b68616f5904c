"""What the forms of compromise events send, read into what the core works with. Errors name the field of the form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from enum import StrEnum
from typing import TypeVar
from zoneinfo import ZoneInfo

from fraud.compromise import (
    AlertSource,
    CompromisedEntity,
    DataElements,
    EntityRole,
    ExposureWindow,
    SchemeAlert,
    WindowPrecision,
)
from fraud.compromise_amendments import Amendment, KnownExposure
from fraud.errors import InvalidInputError

ENTITY_ROWS = 6
_TEXT_LIMIT = 200
_NOTE_LIMIT = 2_000
_Member = TypeVar("_Member", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class FormData:
    """The fields of a form, in the order in which they were sent; a field may come several times."""

    items: tuple[tuple[str, str], ...] = ()

    def text(self, name: str, limit: int = _TEXT_LIMIT) -> str:
        """One field without blanks around it; empty when it is missing. `InvalidInputError` when it is too long."""
        value = next((value for key, value in self.items if key == name), "").strip()
        if len(value) > limit:
            message = f"{name} has at most {limit} characters"
            raise InvalidInputError(message, field=name)
        if any(ord(character) < 32 and character not in "\r\n\t" for character in value):
            message = f"{name} holds a control character"
            raise InvalidInputError(message, field=name)
        return value

    def note(self, name: str = "note") -> str | None:
        """A longer text; None when it is empty."""
        return self.text(name, _NOTE_LIMIT) or None

    def needed(self, name: str, limit: int = _TEXT_LIMIT) -> str:
        """As `text`; `InvalidInputError` when it is empty."""
        value = self.text(name, limit)
        if not value:
            message = f"{name} is needed"
            raise InvalidInputError(message, field=name)
        return value

    def all(self, name: str) -> list[str]:
        """Every value of a field."""
        return [value for key, value in self.items if key == name]

    def day(self, name: str) -> date:
        """A day as browsers send it, `2022-07-28`."""
        try:
            return date.fromisoformat(self.needed(name))
        except ValueError:
            message = f"{name} is not a date such as 2022-07-28"
            raise InvalidInputError(message, field=name) from None

    def moment(self, name: str, zone: ZoneInfo) -> int:
        """A day, or a day with a time, in `zone`: epoch milliseconds."""
        try:
            given = datetime.fromisoformat(self.needed(name))
        except ValueError:
            message = f"{name} is not a time such as 2022-07-28T09:30"
            raise InvalidInputError(message, field=name) from None
        return int((given if given.tzinfo else given.replace(tzinfo=zone)).timestamp() * 1_000)

    def one_of(self, kind: type[_Member], name: str) -> _Member:
        """A member of an enumeration."""
        try:
            return kind(self.text(name))
        except ValueError:
            message = f"{name} must be one of {', '.join(kind)}"
            raise InvalidInputError(message, field=name) from None

    def version(self) -> int:
        """The version that the page showed."""
        given = self.text("version", 18)
        if not (given.isascii() and given.isdigit() and int(given) > 0):
            message = "version is needed"
            raise InvalidInputError(message, field="version")
        return int(given)

    def hidden(self) -> list[tuple[str, str]]:
        """The fields to send once more, with a confirmation."""
        return [(name, value) for name, value in self.items if name not in {"csrf_token", "then"}]


def form_data(fields: Mapping[str, str | Sequence[str]]) -> FormData:
    """A form with these fields: for a page that is shown before anything was sent."""
    items: list[tuple[str, str]] = []
    for name, value in fields.items():
        items += [(name, value)] if isinstance(value, str) else [(name, item) for item in value]
    return FormData(tuple(items))


def known_fields(known: KnownExposure) -> FormData:
    """What is known of an event, as its form shows it."""
    fields: dict[str, str | Sequence[str]] = {
        "name": known.name,
        "code_name": known.code_name,
        "starts_on": known.window.starts_on.isoformat(),
        "ends_on": known.window.ends_on.isoformat(),
        "zone": known.window.zone,
        "precision": known.window.precision.value,
        "data_elements": known.elements.names(),
        "vector": known.vector or "",
    }
    for row, entity in enumerate(known.entities[:ENTITY_ROWS]):
        fields[f"entity_name_{row}"] = entity.name
        fields[f"entity_role_{row}"] = entity.role
        fields[f"entity_acquirer_{row}"] = entity.acquirer_id or ""
        fields[f"entity_merchant_{row}"] = entity.merchant_id or ""
    return form_data(fields)


def read_window(form: FormData) -> ExposureWindow:
    """The exposure window."""
    precision = form.one_of(WindowPrecision, "precision")
    return ExposureWindow(form.day("starts_on"), form.day("ends_on"), form.needed("zone", 64), precision)


def read_elements(form: FormData) -> DataElements:
    """The data elements; a card number is always among them."""
    return DataElements.from_names({"pan", *form.all("data_elements")})


def read_entities(form: FormData) -> tuple[CompromisedEntity, ...]:
    """The entities; rows without a name are none."""
    found = []
    for row in range(ENTITY_ROWS):
        name = form.text(f"entity_name_{row}")
        if name:
            role = form.one_of(EntityRole, f"entity_role_{row}")
            acquirer, merchant = form.text(f"entity_acquirer_{row}", 64), form.text(f"entity_merchant_{row}", 64)
            found.append(CompromisedEntity(name, role, acquirer or None, merchant or None))
    return tuple(found)


def read_amendment(form: FormData, known: KnownExposure) -> Amendment:
    """An amendment; the form shows everything that is known, so it holds everything."""
    entities = (*read_entities(form), *known.entities[ENTITY_ROWS:])
    return Amendment(
        reason=form.needed("reason", _NOTE_LIMIT),
        name=form.needed("name"),
        code_name=form.needed("code_name", 80),
        window=read_window(form),
        elements=read_elements(form),
        entities=entities,
        vector=form.text("vector"),
    )


def read_alert(form: FormData, zone: ZoneInfo) -> SchemeAlert:
    """A scheme alert."""
    return SchemeAlert(
        source=form.one_of(AlertSource, "source"),
        external_id=form.needed("external_id", 128),
        received_at=form.moment("received_at", zone),
        note=form.note(),
    )


def first_moment(day: date, zone: ZoneInfo) -> int:
    """Start of a day in `zone`, epoch milliseconds."""
    return int(datetime.combine(day, time.min, zone).timestamp() * 1_000)
