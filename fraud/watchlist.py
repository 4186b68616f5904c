"""The watch list, pure: what the authorization host and the 3-D Secure server are asked to do with an exposed card."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final


class Stance(StrEnum):
    """One thing that is asked for while a card is on the list."""

    STEP_UP_ECOMMERCE = "step_up_ecommerce"  # a 3-D Secure challenge for every e-commerce purchase
    DECLINE_ECOMMERCE_WITHOUT_THREE_DS = "decline_ecommerce_without_three_ds"
    BLOCK_TOKEN_PROVISIONING = "block_token_provisioning"  # noqa: S105 - a wallet's token; no new ones without more proof


# Exposure tier to what is asked for. What leaked decides: a number alone opens no shop that asks for more; with expiry
# and security code every purchase that shows no card is suspect; what was on the stripe makes counterfeits, and new
# wallet tokens, but no purchase that asks for the security code.
STANCES: Final[Mapping[int, tuple[Stance, ...]]] = {
    1: (),
    2: (Stance.STEP_UP_ECOMMERCE,),
    3: tuple(Stance),
    4: tuple(Stance),
    5: (Stance.STEP_UP_ECOMMERCE, Stance.BLOCK_TOKEN_PROVISIONING),
}


@dataclass(frozen=True, slots=True)
class Watched:
    """A card in one compromise event."""

    compromise_event_id: str
    event_name: str  # what everybody may read
    tier: int
    expiry: str | None


@dataclass(frozen=True, slots=True)
class WatchlistEntry:
    """What the list says of a card. `version` only ever rises; `expiry` is the card's month, YYYY-MM, where known."""

    card_ref: str
    tier: int
    stance: tuple[Stance, ...]
    compromise_event_ids: tuple[str, ...]
    events: tuple[str, ...]
    version: int
    expiry: str | None

    def as_json(self) -> dict[str, Any]:
        """The message on the topic."""
        return {
            "card_ref": self.card_ref,
            "tier": self.tier,
            "stance": [item.value for item in self.stance],
            "compromise_event_ids": list(self.compromise_event_ids),
            "events": list(self.events),
            "version": self.version,
            "expiry": self.expiry,
        }

    def encoded(self) -> bytes:
        """The same entry always gives the same bytes."""
        return json.dumps(self.as_json(), ensure_ascii=False, separators=(",", ":")).encode()


def entry_for(card_ref: str, exposures: Iterable[Watched], version: int) -> WatchlistEntry | None:
    """A card's entry from all compromise events in which it is watched; None when there is none: it is released.

    The tier is the worst, and the stance what any of the events asks for.
    """
    found = sorted(exposures, key=lambda item: item.compromise_event_id)
    if not found:
        return None
    asked = {stance for item in found for stance in STANCES[item.tier]}
    return WatchlistEntry(
        card_ref=card_ref,
        tier=max(item.tier for item in found),
        stance=tuple(stance for stance in Stance if stance in asked),
        compromise_event_ids=tuple(item.compromise_event_id for item in found),
        events=tuple(item.event_name for item in found),
        version=version,
        expiry=max((item.expiry for item in found if item.expiry is not None), default=None),
    )
