"""The contract of `card.references`, read: one message is one change of one card."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec

from fraud.card_references import CardReferenceChange, CardStatus
from fraud.errors import InvalidInputError
from fraud.pan_guard import PanGuard

_LATEST_MS: Final = 253_402_300_799_999  # the end of the year 9999
_REFERENCES: Final = ("card_ref", "new_card_ref")


class Change(StrEnum):
    """What happened to a card."""

    REISSUE = "reissue"  # a new number took its place
    RENEWAL = "renewal"  # a new expiry under the same number, or a new number
    CLOSURE = "closure"
    ALIAS = "alias"  # another reference of the same card
    UPDATE = "update"  # status, expiry or product


class MessageError(Exception):
    """A message is not taken. It carries the name of a field and no value."""

    def __init__(self, error_class: str, field_path: str | None) -> None:
        super().__init__(error_class)
        self.error_class = error_class
        self.field_path = field_path


class _Message(msgspec.Struct):
    change_id: str
    change: Change
    card_ref: str
    effective_at: int
    new_card_ref: str | None = None
    status: CardStatus | None = None
    expiry: str | None = None
    product: str | None = None
    updater_suppressed: bool | None = None


_decoder: Final = msgspec.json.Decoder(_Message)


def read_message(value: bytes | None, guard: PanGuard) -> list[CardReferenceChange]:
    """The changes that one message makes; `MessageError` when it is none.

    A message is a fact and no state: there are no tombstones.
    """
    if value is None:
        raise MessageError("MISSING_VALUE", None)
    try:
        message = _decoder.decode(value)
    except msgspec.ValidationError as error:
        # The text ends in the path of a field of ours: "... - at `$.card_ref`"; the values in it are types.
        path = str(error).rpartition("`$.")[2].rstrip("`") if "`$." in str(error) else None
        raise MessageError("INVALID_FIELD", path) from None
    except msgspec.DecodeError:
        raise MessageError("NOT_JSON", None) from None
    for name in _REFERENCES:
        reference = getattr(message, name)
        if reference is not None and guard.finds_in_card_ref(reference):
            raise MessageError("CARD_NUMBER", name)
    if not 0 <= message.effective_at <= _LATEST_MS:
        raise MessageError("INVALID_FIELD", "effective_at")
    try:
        return _changes(message)
    except InvalidInputError as error:
        raise MessageError("INVALID_FIELD", _FIELDS.get(error.field or "", error.field)) from None


_FIELDS: Final = {"replaced_by": "new_card_ref", "alias_of": "new_card_ref"}


def _changes(message: _Message) -> list[CardReferenceChange]:
    said: dict[str, Any] = {
        "status": message.status,
        "expiry": message.expiry,
        "product": message.product,
        "updater_suppressed": message.updater_suppressed,
    }
    at, old, new = message.effective_at, message.card_ref, message.new_card_ref
    if message.change is Change.UPDATE:
        return [CardReferenceChange(old, at, **said)]
    if message.change is Change.CLOSURE:
        return [CardReferenceChange(old, at, **{**said, "status": message.status or CardStatus.CLOSED})]
    if message.change is Change.RENEWAL and new in (None, old):
        return [CardReferenceChange(old, at, **said)]
    if new is None:
        raise MessageError("MISSING_FIELD", "new_card_ref")
    if message.change is Change.ALIAS:
        return [CardReferenceChange(new, at, alias_of=old)]
    # What else is said of a reissue is said of the new card.
    replaced = CardReferenceChange(old, at, replaced_by=new, updater_suppressed=message.updater_suppressed)
    said["updater_suppressed"] = None
    about_new = CardReferenceChange(new, at, **said)
    return [replaced, about_new] if about_new.said() else [replaced]
