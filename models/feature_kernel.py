"""The reading half of the feature kernel: a card's state and one event in, one feature vector out. Compiled.

A window of length W at time t holds the kept events with t - W < time <= t; all of them came before this event in the
log. A late event (older than one already seen) so does not see events after its own time.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from fraud.codes import HIGH_RISK_MCC_GROUPS, MCC_GROUPS
from fraud.transactions import FIELD_BY_NAME, enum_code
from models.card_state import (
    COUNTRIES,
    DAY_BUCKETS,
    DECLINED,
    HOUR_BUCKETS,
    HOURS_A_BUCKET,
    MERCHANT_WAS_NEW,
    MERCHANTS,
    RING_SIZE,
    SMALL,
)
from models.compiling import compiled
from models.feature_table import DAY_MS, HALF_LIFE_MS, HOUR_MS, JUMP_MS, PRIOR_HOURS, PRIOR_VARIANCE

_WEEK: Final = 7
_FORGETTING: Final = math.log(2.0) / HALF_LIFE_MS
_CARD_PRESENT: Final = enum_code("channel", "card_present")
_ECOMMERCE: Final = enum_code("channel", "ecommerce")
_ATM: Final = enum_code("channel", "atm")


def _lookup(field: str, numbers: dict[str, float], otherwise: float = 0.0) -> Any:
    """A table from an enum's code to a number; code -1, missing, is its last entry, NaN."""
    return np.array([numbers.get(value, otherwise) for value in FIELD_BY_NAME[field].values] + [math.nan])


_STRENGTH = _lookup(
    "three_ds",
    {"attempted": 1.0, "frictionless": 2.0, "challenge_passed": 3.0, "challenge_failed": -1.0, "rejected": -1.0},
)
_MATCH = _lookup("cvv2_result", {"match": 1.0})
_MISMATCH = _lookup("cvv2_result", {"mismatch": 1.0})
_BY_MERCHANT = _lookup("initiator", {"merchant": 1.0})
_STORED_AGAIN = _lookup("stored_credential", {"first": 0.0}, otherwise=1.0)
_CASH_TYPE = _lookup("transaction_type", {"cash_advance": 1.0, "withdrawal": 1.0})
_HIGH_RISK = np.array([float(group in HIGH_RISK_MCC_GROUPS) for group in MCC_GROUPS] + [math.nan])
_IS_DECLINED = np.array([1.0, 0.0, math.nan])

# One record each of CARD_STATE, EVENT and FEATURE_ROW; their fields are known to the compiler, not to the type checker.
State = Any
Event = Any
Row = Any


@compiled
def merchant_tag(merchant_key: Any) -> Any:
    """A merchant key folded to 32 bits, never 0: of 32 remembered merchants one is mistaken 1 time in 10**8."""
    folded = np.uint32(merchant_key ^ (merchant_key >> np.uint64(32)))
    return folded if folded != np.uint32(0) else np.uint32(1)


@compiled
def _merchant_count(state: State, merchant_key: Any) -> Any:
    tag = merchant_tag(merchant_key)
    for place in range(MERCHANTS):
        if state.merchants[place] == tag:
            return state.merchant_counts[place]
    return np.uint16(0)


@compiled
def _recent(state: State, event: Event, row: Row) -> None:
    """Windows to 24 hours, from the ring of recent events."""
    count_1h = count_24h = declines_1h = declines_24h = small_1h = small_24h = 0
    ecommerce = merchants = new_merchants = same_merchant = 0
    amount, latest, outside = 0.0, np.int64(0), 0
    found = False
    for place in range(state.ring_used):
        at = state.ring_at[place]
        if at <= event.occurred_at and (not found or at > latest):
            found, latest = True, at
        if at <= event.occurred_at - DAY_MS:
            outside += 1
        elif at <= event.occurred_at:
            flags = state.ring_flags[place]
            declined, small = (flags & DECLINED) != 0, (flags & SMALL) != 0
            count_24h += 1
            declines_24h += declined
            small_24h += small
            ecommerce += state.ring_channel[place] == _ECOMMERCE
            if at > event.occurred_at - HOUR_MS:
                count_1h += 1
                declines_1h += declined
                small_1h += small
            if not declined and not math.isnan(state.ring_amount[place]):
                amount += state.ring_amount[place]
            merchant = state.ring_merchant[place]
            if merchant != 0:
                same_merchant += merchant == event.merchant_key
                first, new = _first_visit(state, event, place)
                merchants += first
                new_merchants += first and new
    row.count_1h, row.count_24h = count_1h, count_24h
    row.declines_1h, row.declines_24h = declines_1h, declines_24h
    row.small_1h, row.small_24h = small_1h, small_24h
    row.ecommerce_24h, row.amount_24h_log = ecommerce, math.log1p(amount)
    row.merchants_24h, row.new_merchants_24h = merchants, new_merchants
    row.same_merchant_24h = same_merchant if event.merchant_key != 0 else math.nan
    row.seconds_since_last = (event.occurred_at - latest) / 1000.0 if found else math.nan
    row.window_saturated = state.ring_used == RING_SIZE and outside == 0


@compiled
def _first_visit(state: State, event: Event, place: int) -> tuple[bool, bool]:
    """True, and whether the merchant was new at a place, if `place` is its lowest place in the 24 hours; else False."""
    merchant, new = state.ring_merchant[place], False
    for other in range(state.ring_used):
        at = state.ring_at[other]
        if state.ring_merchant[other] == merchant and event.occurred_at - DAY_MS < at <= event.occurred_at:
            if other < place:
                return False, False
            new |= (state.ring_flags[other] & MERCHANT_WAS_NEW) != 0
    return True, new


@compiled
def _daily(state: State, event: Event, row: Row) -> None:
    """Windows of 7 and 30 local days, this event's day included, from the day buckets."""
    count_7d = count_30d = 0
    amount_7d, largest = 0.0, -1.0
    for age in range(DAY_BUCKETS):
        day = event.local_day - age
        if state.newest_day - DAY_BUCKETS < day <= state.newest_day:
            bucket = day % DAY_BUCKETS
            count_30d += state.day_counts[bucket]
            if state.day_counts[bucket] > 0:
                largest = max(largest, state.day_largest[bucket])
            if age < _WEEK:
                count_7d += state.day_counts[bucket]
                amount_7d += state.day_amounts[bucket]
    row.count_7d, row.count_30d = count_7d, count_30d
    row.amount_7d_log = math.log1p(amount_7d)
    row.amount_to_max_30d = (1.0 + event.amount) / (1.0 + largest) if largest >= 0.0 else math.nan
    row.history_count = state.history_count
    row.history_days = row.count_to_usual = math.nan
    if state.history_count > 0:
        days = max(0.0, (event.occurred_at - state.first_seen_at) / DAY_MS)
        row.history_days = days
        row.count_to_usual = (1.0 + row.count_24h) / (1.0 + count_30d / min(DAY_BUCKETS, 1.0 + days))


@compiled
def decay(state: State, event: Event) -> float:
    """What is left of the decayed sums at this event's time: 1 for a late event."""
    if state.history_count == 0 or event.occurred_at <= state.last_at:
        return 1.0
    return math.exp(-_FORGETTING * (event.occurred_at - state.last_at))


@compiled
def _habits(state: State, event: Event, left: float, row: Row) -> None:
    """This event against the card's habits."""
    row.amount_log = math.log1p(event.amount)
    row.amount_to_mean = row.amount_z = math.nan
    if state.amount_weight > 0.0:
        surplus = math.log1p(event.amount) - state.amount_mean
        row.amount_to_mean = math.exp(surplus)
        variance = (state.amount_spread * left + PRIOR_VARIANCE) / (state.amount_weight * left + 1.0)
        row.amount_z = surplus / math.sqrt(variance)
    hours = channels = 0.0
    for bucket in range(HOUR_BUCKETS):
        hours += state.hour_weights[bucket]
    here = state.hour_weights[event.hour // HOURS_A_BUCKET]
    row.hour_unusual = 1.0 - (here * left + PRIOR_HOURS / HOUR_BUCKETS) / (hours * left + PRIOR_HOURS)
    for channel in range(state.channel_weights.size):
        channels += state.channel_weights[channel]
    row.ecommerce_share = state.channel_weights[_ECOMMERCE] / channels if channels > 0.0 else math.nan
    row.merchant_new = row.merchant_count = row.mcc_group_new = row.country_new = math.nan
    if event.merchant_key != 0:
        count = _merchant_count(state, event.merchant_key)
        row.merchant_count, row.merchant_new = count, count == 0
    if event.mcc_group >= 0:
        row.mcc_group_new = (state.mcc_groups >> np.uint64(event.mcc_group)) & np.uint64(1) == 0
    if event.merchant_country > 0:
        new = True
        for place in range(COUNTRIES):
            new &= state.countries[place] != event.merchant_country
        row.country_new = new


@compiled
def _context(state: State, event: Event, home_country: int, row: Row) -> None:
    """What the event says of itself, and where the card was last present."""
    known, present = event.channel >= 0, event.channel in (_CARD_PRESENT, _ATM)
    row.is_ecommerce = event.channel == _ECOMMERCE if known else math.nan
    row.is_card_present = event.channel == _CARD_PRESENT if known else math.nan
    cash_type = _CASH_TYPE[event.transaction_type]
    row.is_cash = 1.0 if event.channel == _ATM or cash_type == 1.0 else (0.0 if known else cash_type)
    country_known = event.merchant_country > 0
    row.foreign = event.merchant_country != home_country if country_known else math.nan
    row.ip_foreign = event.ip_country != home_country if event.ip_country >= 0 else math.nan
    row.country_jump = 0.0 if known and (country_known or not present) else math.nan
    if present and country_known and state.last_present_country > 0:
        apart = abs(event.occurred_at - state.last_present_at)
        row.country_jump = state.last_present_country != event.merchant_country and apart <= JUMP_MS
    row.hour_of_day, row.weekday = event.hour, event.weekday
    row.is_attempt, row.token_used = event.attempt, event.token_used
    row.merchant_initiated = _BY_MERCHANT[event.initiator]
    row.stored_credential = _STORED_AGAIN[event.stored_credential]
    row.high_risk_goods = _HIGH_RISK[event.mcc_group]
    row.three_ds_strength = _STRENGTH[event.three_ds]
    row.cvv2_match, row.cvv2_mismatch = _MATCH[event.cvv2_result], _MISMATCH[event.cvv2_result]
    row.avs_mismatch, row.expiry_mismatch = _MISMATCH[event.avs_result], _MISMATCH[event.expiry_result]
    row.declined = _IS_DECLINED[event.approved]
    row.network_score = event.network_score


@compiled
def read_features(state: State, event: Event, left: float, home_country: int, row: Row) -> None:
    """Fill every feature of `row`; `left` is `decay(state, event)`. The state stays as it is."""
    _recent(state, event, row)
    _daily(state, event, row)
    _habits(state, event, left, row)
    _context(state, event, home_country, row)
