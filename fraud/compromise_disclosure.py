"""Who may know of a compromise event what, pure: disclosure, code names, and what may be said.

Between the first word and the publication lie weeks or months in which cards are watched and the shop may not be named:
the investigation is not done, and it may find nothing.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from fraud.errors import ConflictError, InvalidInputError


class Disclosure(StrEnum):
    """What may be said to those outside. Until publication, only event managers see more than the code name."""

    RESTRICTED = "RESTRICTED"  # nothing: not even that card data may have leaked
    MAY_TELL_HOLDER = "MAY_TELL_HOLDER"  # that the card may be exposed; not where
    PUBLISHED = "PUBLISHED"  # the shop may be named

    @property
    def may_tell_holder(self) -> bool:
        """True when a holder may hear that the card's data may have leaked."""
        return self is not Disclosure.RESTRICTED

    @property
    def may_name_entity(self) -> bool:
        """True when the compromised entity may be named."""
        return self is Disclosure.PUBLISHED


_ORDER = tuple(Disclosure)


def disclose(current: Disclosure, to: Disclosure, *, published: bool, reason: str | None = None) -> Disclosure:
    """The disclosure after a step from `current` to `to`. `published` says that publication is a recorded fact.

    `ConflictError` for no step at all, and for naming the shop before that fact; `InvalidInputError` on `reason` when
    something that might be said is to be kept back again without one.
    """
    if to is current:
        message = f"the disclosure is {current.value} already"
        raise ConflictError(message)
    if to is Disclosure.PUBLISHED and not published:
        message = "record the dated fact PUBLISHED first: until then nobody may name the compromised entity"
        raise ConflictError(message)
    if _ORDER.index(to) < _ORDER.index(current) and not (reason and reason.strip()):
        message = "keeping back what could be said before needs a reason"
        raise InvalidInputError(message, field="reason")
    return to


@dataclass(frozen=True, slots=True)
class Names:
    """What an event is called: by those who manage it, and by everybody else until it is published.

    `InvalidInputError` on `code_name` when it gives the name away.
    """

    name: str
    code_name: str

    def check(self, entity_names: tuple[str, ...]) -> None:
        """Refuse a code name that holds the event's name or the name of a compromised entity."""
        folded = _folded(self.code_name)
        if not folded:
            message = "a code name needs letters or digits"
            raise InvalidInputError(message, field="code_name")
        for secret in (self.name, *entity_names):
            told = _folded(secret)
            if told and (told in folded or (len(folded) > 3 and folded in told)):
                message = "the code name gives the name away; everybody sees it before publication"
                raise InvalidInputError(message, field="code_name")


def refuse_telling_id(compromise_event_id: str, names: Iterable[str]) -> None:
    """Refuse an id with a word of a name in it: ids stand in addresses, messages and files, where everybody sees them.

    `InvalidInputError` on `compromise_event_id`. Words of fewer than five letters are too common to tell anything.
    """
    folded = _folded(compromise_event_id)
    words = {word for name in names for word in re.findall(r"\w{5,}", name.casefold())}
    if any(_folded(word) in folded for word in words):
        message = "the id holds a word of the name; everybody sees it before publication"
        raise InvalidInputError(message, field="compromise_event_id")


def _folded(text: str) -> str:
    return "".join(character for character in text.casefold() if character.isalnum())


_TREES = (
    "Alder Apple Ash Aspen Beech Birch Camphor Cedar Cherry Chestnut Cypress Elm Fir Ginkgo Hazel Holly Juniper Larch "
    "Laurel Linden Maple Mulberry Oak Olive Paulownia Pear Persimmon Pine Plum Rowan Willow Zelkova"
)
_BIRDS = (
    "Bunting Cormorant Crane Cuckoo Curlew Dipper Egret Finch Goshawk Grebe Grouse Heron Jay Kestrel Kingfisher Kite "
    "Lapwing Lark Magpie Martin Nuthatch Osprey Owl Plover Robin Snipe Starling Swallow Swift Tern Thrush Wren"
)


def code_name_for(compromise_event_id: str, attempt: int = 0) -> str:
    """A code name of two neutral words; the same id gives the same one, and each further attempt another."""
    digest = hashlib.sha256(f"{compromise_event_id}\x00{attempt}".encode()).digest()
    trees, birds = _TREES.split(), _BIRDS.split()
    return f"{trees[digest[0] % len(trees)]} {birds[digest[1] % len(birds)]}"
