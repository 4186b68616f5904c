"""What a reviewer is shown of a card's past: its recent events, as the features saw them."""

from __future__ import annotations

from typing import Any

import numpy as np

from fraud.codes import MCC_GROUPS, country_alpha_2
from fraud.transactions import FIELD_BY_NAME
from models.card_state import APPROVED, DECLINED, RING_SIZE

_CHANNELS = FIELD_BY_NAME["channel"].values


def recent_events(record: np.void, until_at: int | None = None) -> list[dict[str, Any]]:
    """The card's kept events in log order, oldest first, as plain data for JSON; what is unknown is None.

    Args:
        record: the card's record of `CARD_STATE`.
        until_at: leave out events later than this, epoch milliseconds; the state may already be past the transaction
            that is to be explained.
    """
    used = int(record["ring_used"])
    oldest = int(record["ring_next"]) - used
    order = [(oldest + step) % RING_SIZE for step in range(used)]
    return [_event(record, place) for place in order if until_at is None or record["ring_at"][place] <= until_at]


def _event(record: np.void, place: int) -> dict[str, Any]:
    amount, flags = float(record["ring_amount"][place]), int(record["ring_flags"][place])
    group, channel = int(record["ring_mcc_group"][place]), int(record["ring_channel"][place])
    return {
        "occurred_at": int(record["ring_at"][place]),
        "amount_minor": None if np.isnan(amount) else round(amount),
        "mcc_group": MCC_GROUPS[group] if group >= 0 else None,
        "country": country_alpha_2().get(int(record["ring_country"][place])),
        "channel": _CHANNELS[channel] if channel >= 0 else None,
        "approved": True if flags & APPROVED else (False if flags & DECLINED else None),
    }
