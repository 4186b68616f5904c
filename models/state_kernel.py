"""The writing half of the feature kernel: a card's state is moved past one event that counts. Compiled.

- Every counted event enters the recent events, the day counts and the history.
- Habits (amounts, hours, channels, merchants, MCC groups, countries) are learnt from purchases that were not declined,
  so that testing a stolen number makes nothing familiar.
- A late event is handled in log order: it is kept as the newest of the recent events, enters the bucket of its own day
  if that day is still kept, and is learnt as if it had happened at the latest time seen.
"""

from __future__ import annotations

import math

import numpy as np

from fraud.transactions import enum_code
from models.card_state import (
    APPROVED,
    COUNTRIES,
    DAY_BUCKETS,
    DECLINED,
    HOURS_A_BUCKET,
    LARGEST_COUNT,
    MERCHANT_WAS_NEW,
    MERCHANTS,
    RING_SIZE,
    SMALL,
)
from models.compiling import compiled
from models.feature_kernel import Event, Row, State, merchant_tag

_CARD_PRESENT = enum_code("channel", "card_present")
_ATM = enum_code("channel", "atm")


@compiled
def _keep(state: State, event: Event, flags: int) -> None:
    """Put the event into the ring, over the one that came longest ago in the log."""
    place = state.ring_next
    state.ring_at[place] = event.occurred_at
    state.ring_amount[place] = event.amount
    state.ring_merchant[place] = event.merchant_key
    state.ring_country[place] = event.merchant_country
    state.ring_mcc_group[place] = event.mcc_group
    state.ring_channel[place] = event.channel
    state.ring_flags[place] = flags
    state.ring_next = (place + 1) % RING_SIZE
    state.ring_used = min(state.ring_used + 1, RING_SIZE)


@compiled
def _open_days(state: State, day: int) -> None:
    """Make `day` the newest bucket if it is newer, and empty the buckets in between."""
    for new in range(max(state.newest_day + 1, day - DAY_BUCKETS + 1), day + 1):
        bucket = new % DAY_BUCKETS
        state.day_counts[bucket] = 0
        state.day_amounts[bucket] = 0.0
        state.day_largest[bucket] = -1.0  # no purchase
    state.newest_day = max(state.newest_day, day)


@compiled
def _count_day(state: State, event: Event, bought: bool) -> None:
    if event.local_day > state.newest_day - DAY_BUCKETS:
        bucket = event.local_day % DAY_BUCKETS
        state.day_counts[bucket] = min(state.day_counts[bucket] + 1, LARGEST_COUNT)
        if bought and not math.isnan(event.amount):
            state.day_amounts[bucket] += event.amount
            state.day_largest[bucket] = max(state.day_largest[bucket], np.float32(event.amount))


@compiled
def _forget(state: State, left: float) -> None:
    """Decay the sums; means stay."""
    state.amount_weight *= left
    state.amount_spread *= left
    for channel in range(state.channel_weights.size):
        state.channel_weights[channel] *= left
    for bucket in range(state.hour_weights.size):
        state.hour_weights[bucket] *= left


@compiled
def _learn(state: State, event: Event) -> None:
    """Add a purchase to the habits."""
    if not math.isnan(event.amount):
        # West (1979): running mean and sum of squares with weights.
        value = math.log1p(event.amount)
        surplus = value - state.amount_mean
        state.amount_weight += 1.0
        state.amount_mean += surplus / state.amount_weight
        state.amount_spread += surplus * (value - state.amount_mean)
    state.hour_weights[event.hour // HOURS_A_BUCKET] += 1.0
    if event.channel >= 0:
        state.channel_weights[event.channel] += 1.0
    if event.mcc_group >= 0:
        state.mcc_groups |= np.uint64(1) << np.uint64(event.mcc_group)
    if event.merchant_key != 0:
        _use_merchant(state, merchant_tag(event.merchant_key))
    if event.merchant_country > 0:
        _use_country(state, event.merchant_country)


@compiled
def _use_merchant(state: State, tag: int) -> None:
    """Move the merchant to the front, over the least recently used one where all places are taken."""
    place = 0
    while place < MERCHANTS - 1 and state.merchants[place] != tag:
        place += 1
    count = state.merchant_counts[place] if state.merchants[place] == tag else 0
    for later in range(place, 0, -1):
        state.merchants[later] = state.merchants[later - 1]
        state.merchant_counts[later] = state.merchant_counts[later - 1]
    state.merchants[0] = tag
    state.merchant_counts[0] = min(count + 1, LARGEST_COUNT)


@compiled
def _use_country(state: State, country: int) -> None:
    """Move the country to the front, over the least recently used one where all places are taken."""
    place = 0
    while place < COUNTRIES - 1 and state.countries[place] != country:
        place += 1
    for later in range(place, 0, -1):
        state.countries[later] = state.countries[later - 1]
    state.countries[0] = country


@compiled
def update_state(state: State, event: Event, left: float, small_amount: float, row: Row) -> None:
    """Move the state past `event`, whose features are in `row`; `left` is `decay(state, event)`."""
    declined = event.approved == 0
    bought = event.attempt == 0 and not declined
    flags = (DECLINED if declined else 0) | (APPROVED if event.approved == 1 else 0)
    flags |= SMALL if event.verification == 1 or event.amount <= small_amount else 0
    flags |= MERCHANT_WAS_NEW if row.merchant_new == 1.0 else 0
    if state.history_count == 0:
        state.first_seen_at = state.last_at = event.occurred_at
        state.newest_day = event.local_day - DAY_BUCKETS  # so that every bucket is emptied
    _keep(state, event, flags)
    _open_days(state, event.local_day)
    _count_day(state, event, bought)
    _forget(state, left)
    if bought:
        _learn(state, event)
    present = event.channel in (_CARD_PRESENT, _ATM)
    if present and event.merchant_country > 0 and event.occurred_at >= state.last_present_at:
        state.last_present_at = event.occurred_at
        state.last_present_country = event.merchant_country
    state.history_count += 1
    state.first_seen_at = min(state.first_seen_at, event.occurred_at)
    state.last_at = max(state.last_at, event.occurred_at)
