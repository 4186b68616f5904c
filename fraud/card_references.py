"""Card reference data, pure: what the issuer's card system says of a card, and which card came before which."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Final

from fraud.cards import is_card_ref
from fraud.errors import ConflictError, InvalidInputError

_EXPIRY = re.compile(r"20[0-9]{2}-(?:0[1-9]|1[0-2])")
PRODUCT_LENGTH: Final = 64
# A new number was not exposed itself: it is watched because merchants that hold the old one are given the new one.
FOLLOWED_TIER: Final = 1
# The same number with a later expiry: expiry and security code that leaked are of no more use, the number is.
RENEWED_TIER: Final = 1


class CardStatus(StrEnum):
    """What became of a card. Another thing than its exposures, which are one a compromise event."""

    ACTIVE = "ACTIVE"  # in use; called watched while it is exposed
    RESTRICTED = "RESTRICTED"  # blocked or limited
    REISSUE_PENDING = "REISSUE_PENDING"
    SUPERSEDED = "SUPERSEDED"  # replaced; clearing, merchant-initiated charges and tokens may still come in
    CLOSED = "CLOSED"
    EXPIRED = "EXPIRED"


class ShownStatus(StrEnum):
    """A card's status as people read it."""

    WATCHED = "WATCHED"
    RESTRICTED = "RESTRICTED"
    REISSUE_PENDING = "REISSUE_PENDING"
    SUPERSEDED = "SUPERSEDED"
    CLOSED = "CLOSED"
    EXPIRED = "EXPIRED"
    ACTIVE = "ACTIVE"
    UNKNOWN = "UNKNOWN"  # no reference data of this card


def shown_status(status: CardStatus | None, *, watched: bool) -> ShownStatus:
    """A card's status from its reference data (None: there are none) and whether an exposure of it is active."""
    if watched and status in (None, CardStatus.ACTIVE):
        return ShownStatus.WATCHED
    return ShownStatus.UNKNOWN if status is None else ShownStatus(status.value)


@dataclass(frozen=True, slots=True)
class CardReferenceChange:
    """What became known of one card at `as_of_at` (epoch milliseconds); None says nothing.

    `replaced_by` is the card that came after it, `alias_of` another reference of the same card: under another key
    version, or the issuer's own id. `InvalidInputError` on the field at fault.
    """

    card_ref: str
    as_of_at: int
    status: CardStatus | None = None
    expiry: str | None = None  # YYYY-MM
    product: str | None = None
    replaced_by: str | None = None
    alias_of: str | None = None
    updater_suppressed: bool | None = None  # account updaters do not hand out the new number

    def __post_init__(self) -> None:
        for name in ("card_ref", "replaced_by", "alias_of"):
            value = getattr(self, name)
            if value is not None and (not is_card_ref(value) or (name != "card_ref" and value == self.card_ref)):
                message = f"{name} must be a card reference, and of another card than card_ref"
                raise InvalidInputError(message, field=name)
        if self.expiry is not None and not _EXPIRY.fullmatch(self.expiry):
            message = "expiry must be a month, YYYY-MM"
            raise InvalidInputError(message, field="expiry")
        if self.product is not None and not (0 < len(self.product) <= PRODUCT_LENGTH and self.product.isprintable()):
            message = f"product has 1 to {PRODUCT_LENGTH} printable characters"
            raise InvalidInputError(message, field="product")

    def said(self) -> dict[str, object]:
        """What it says, by name."""
        named = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in _ABOUT}
        return {name: value for name, value in named.items() if value is not None}


_ABOUT: Final = ("card_ref", "as_of_at", "alias_of")


@dataclass(frozen=True, slots=True)
class LineageNode:
    """A card's place: the first card of its line, and how many reissues lie between the two."""

    root: str
    generation: int


class CardLineages:
    """Lines of cards, each replaced by the next. `nodes` are the members, complete for every line that is touched.

    A card may be replaced by several (one lost in the mail), and replaces one. An alias stands beside its card.
    """

    def __init__(self, nodes: Mapping[str, LineageNode]) -> None:
        self._nodes = dict(nodes)
        self._members: dict[str, set[str]] = {}
        for card_ref, node in nodes.items():
            self._members.setdefault(node.root, set()).add(card_ref)
        self._before = dict(nodes)

    def node(self, card_ref: str) -> LineageNode:
        """A card's place; a card that nothing is known of is the first and only one of its line."""
        return self._nodes.get(card_ref) or LineageNode(card_ref, 0)

    def replace(self, card_ref: str, replaced_by: str) -> None:
        """A card was replaced; `ConflictError` where the new one replaced another, or comes earlier in the line."""
        self._join(card_ref, replaced_by, 1)

    def alias(self, card_ref: str, alias_of: str) -> None:
        """Two references are of one card; `ConflictError` where they are known to stand elsewhere."""
        # The line that is there keeps its first card: what stands alone joins it.
        stands_alone = self.node(card_ref).root == card_ref
        if stands_alone and not (card_ref in self._nodes and alias_of not in self._nodes):
            self._join(alias_of, card_ref, 0)
        else:
            self._join(card_ref, alias_of, 0)

    def changed(self) -> dict[str, LineageNode]:
        """The places that are other than they were at first."""
        return {card_ref: node for card_ref, node in self._nodes.items() if self._before.get(card_ref) != node}

    def _join(self, first: str, second: str, generations: int) -> None:
        before, after = self.node(first), self.node(second)
        generation = before.generation + generations
        if before.root == after.root:
            if after.generation != generation:
                message = "the card stands elsewhere in this line of reissues"
                raise ConflictError(message)
            return
        if after.root != second:
            message = "the card comes after another one already: a reissue replaces one card"
            raise ConflictError(message)
        self._nodes.setdefault(first, before)
        self._members.setdefault(before.root, set()).add(first)
        for member in self._members.pop(second, set()) | {second}:
            moved = self._nodes.get(member) or after
            self._nodes[member] = LineageNode(before.root, moved.generation + generation)
            self._members[before.root].add(member)
