"""What is remembered of one card: a fixed-size, versioned, little-endian record of plain numbers.

Any engine can keep a record as bytes (`record.tobytes()`) and hand it back to the kernel. All zeros, but for the
version byte, is a card without history.
"""

from __future__ import annotations

import hashlib
import json
from typing import Final

import numpy as np

from fraud.codes import MCC_GROUPS
from fraud.transactions import FIELD_BY_NAME

STATE_VERSION: Final = 1

RING_SIZE: Final = 24  # recent events: windows to 24 hours are exact up to this many
DAY_BUCKETS: Final = 30  # the newest local day with an event, and the 29 before it
MERCHANTS: Final = 32  # most recently used merchants
COUNTRIES: Final = 8  # most recently used countries
HOUR_BUCKETS: Final = 8
HOURS_A_BUCKET: Final = 3
CHANNELS: Final = len(FIELD_BY_NAME["channel"].values)
LARGEST_COUNT: Final = 65_535  # 16-bit counters stay there

# Bits of `ring_flags`.
APPROVED: Final = 1
DECLINED: Final = 2
SMALL: Final = 4  # an account verification or an amount within the small limit
MERCHANT_WAS_NEW: Final = 8

CARD_STATE: Final = np.dtype(
    [
        ("version", "u1"),
        ("ring_next", "u1"),  # where the next event goes
        ("ring_used", "u1"),
        ("reserved", "u1", (1,)),
        ("newest_day", "<i4"),  # local day number of the newest bucket; days since 1970-01-01
        ("history_count", "<i8"),  # events counted so far
        ("first_seen_at", "<i8"),
        ("last_at", "<i8"),  # latest event time so far
        ("last_present_at", "<i8"),  # the card itself was there: card_present or atm, country known
        ("mcc_groups", "<u8"),  # bit g: MCC group g was seen
        # Decayed sums, as of last_at.
        ("amount_weight", "<f8"),
        ("amount_mean", "<f8"),  # of log(1 + amount)
        ("amount_spread", "<f8"),  # sum of squared differences from the mean
        ("channel_weights", "<f8", (CHANNELS,)),
        ("hour_weights", "<f8", (HOUR_BUCKETS,)),
        # Local day d is at d modulo DAY_BUCKETS.
        ("day_amounts", "<f8", (DAY_BUCKETS,)),
        ("day_largest", "<f4", (DAY_BUCKETS,)),
        ("day_counts", "<u2", (DAY_BUCKETS,)),
        # Most recently used first; 0 is free.
        ("countries", "<i2", (COUNTRIES,)),
        ("last_present_country", "<i2"),
        ("reserved_2", "u1", (2,)),
        ("merchants", "<u4", (MERCHANTS,)),  # folded merchant keys
        ("merchant_counts", "<u2", (MERCHANTS,)),
        # The last RING_SIZE events in log order.
        ("ring_at", "<i8", (RING_SIZE,)),
        ("ring_amount", "<f8", (RING_SIZE,)),  # NaN where none counts
        ("ring_merchant", "<u8", (RING_SIZE,)),  # 0 is missing
        ("ring_country", "<i2", (RING_SIZE,)),
        ("ring_mcc_group", "i1", (RING_SIZE,)),
        ("ring_channel", "i1", (RING_SIZE,)),
        ("ring_flags", "u1", (RING_SIZE,)),
    ]
)

if len(MCC_GROUPS) > 64:
    message = "mcc_groups has 64 bits"
    raise AssertionError(message)

STATE_SCHEMA_DIGEST: Final = hashlib.sha256(json.dumps([STATE_VERSION, CARD_STATE.descr]).encode()).hexdigest()
