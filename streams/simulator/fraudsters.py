"""What fraudsters do with a card number: tests, then a spree of purchases on the web."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fraud.codes import HIGH_RISK_MCC_GROUPS, MCC_GROUPS, MISSING, mcc_group
from streams.simulator.acceptance import as_prices, ordinary_amounts, place_at, take_at_distance
from streams.simulator.catalogue import CATEGORIES, COUNTRIES
from streams.simulator.events import (
    Events,
    Floats,
    FraudKind,
    Integers,
    Mask,
    log_normal,
    new_events,
    zipf_ranks,
)
from streams.simulator.merchants import AUTHENTICATES, DISTANCE, JAPAN, Merchants
from streams.simulator.parameters import DAY_MS, HOUR_MS, MINUTE_MS, SimulationParameters
from streams.simulator.spending import as_verification

_GROUPS = [MCC_GROUPS[mcc_group(category.mcc)] for category in CATEGORIES]
_SHARES = np.array([category.share for category in CATEGORIES])
HIGH_RISK = np.array([index for index in DISTANCE if _GROUPS[index] in HIGH_RISK_MCC_GROUPS])
TEST_GOODS = np.array([index for index in DISTANCE if _GROUPS[index] == "digital_goods"])

HIGH_RISK_SHARE = 0.75  # of the purchases that are not made to look ordinary
SAME_SHOP_SHARE = 0.35  # the next purchase of a spree is where the one before was
TEST_MERCHANTS = 8  # that all fraudsters use; those of one source of numbers use three of them


@dataclass(frozen=True, slots=True)
class Source:
    """Where card numbers came from: which kinds its frauds are, and how often the security code came with them."""

    testing: FraudKind
    purchase: FraudKind
    code_known: float


EXPOSED = Source(FraudKind.TESTING, FraudKind.PURCHASE, code_known=0.97)
ELSEWHERE = Source(FraudKind.BACKGROUND_TESTING, FraudKind.BACKGROUND_PURCHASE, code_known=0.7)


def testing_merchants(merchants: Merchants, rng: np.random.Generator) -> Integers:
    """Sellers of cheap digital goods, here and abroad, where numbers are tried. All have ordinary customers too."""
    category = rng.choice(TEST_GOODS, size=TEST_MERCHANTS)
    abroad = rng.random(TEST_MERCHANTS) < 0.5
    place = JAPAN + np.where(abroad, rng.integers(1, len(COUNTRIES), size=TEST_MERCHANTS), 0)
    first, size = merchants.first[category, place], merchants.size[category, place]
    chosen: Integers = first + rng.integers(size)
    return chosen


def sprees(
    source: Source,
    card: Integers,
    starts_at: Integers,
    test_at: Integers,
    parameters: SimulationParameters,
    merchants: Merchants,
    rng: np.random.Generator,
) -> Events:
    """One spree for each of the cards (n,): often tests first, then purchases over hours to days, then nothing more.

    `starts_at` is the first sign, a test or a purchase; `test_at` are the merchants where this source's numbers are
    tried. Events may lie after the simulation's end.
    """
    tested = rng.random(len(card)) < parameters.testing_share
    # From a quarter of an hour to four days between the tests and the first purchase, evenly on a logarithmic scale.
    wait = 15 * MINUTE_MS * (4 * DAY_MS / (15 * MINUTE_MS)) ** rng.random(len(card))
    first_purchase_at = starts_at + np.where(tested, wait, 0.0).astype(np.int64)
    known_at = reported_at(parameters, first_purchase_at, rng)
    parts = [
        _tests(source, card[tested], starts_at[tested], known_at[tested], test_at, merchants, rng),
        _purchases(source, card, first_purchase_at, known_at, parameters, merchants, rng),
    ]
    return become_known(np.concatenate(parts), parameters)


def _tests(
    source: Source,
    card: Integers,
    starts_at: Integers,
    known_at: Integers,
    test_at: Integers,
    merchants: Merchants,
    rng: np.random.Generator,
) -> Events:
    """One to three verifications or tiny purchases for each card, minutes apart, at one or two merchants."""
    count = rng.integers(1, 4, size=len(card))
    spree = np.repeat(np.arange(len(card)), count)
    order = np.arange(len(spree)) - np.repeat(np.cumsum(count) - count, count)
    two = rng.choice(test_at, size=(len(card), 2))
    events = new_events(len(spree))
    events["card"], events["known_at"], events["kind"] = card[spree], known_at[spree], source.testing
    events["at"] = starts_at[spree] + order * 3 * MINUTE_MS + rng.integers(2 * MINUTE_MS, size=len(spree))
    place_at(events, two[spree, rng.integers(2, size=len(spree))], merchants)
    take_at_distance(
        rng,
        events,
        merchants,
        returning=np.zeros(len(spree), dtype=np.bool_),
        code_known=source.code_known,
        challenge_failed=1.0,
        declined=0.15,
    )
    events["yen"] = rng.integers(1, 201, size=len(spree))  # two units of a large currency are about 200 yen
    no_amount = rng.random(len(spree)) < 0.6
    verified = events[no_amount]
    as_verification(verified)
    verified["stored"] = MISSING
    events[no_amount] = verified
    return events


def _purchases(
    source: Source,
    card: Integers,
    first_at: Integers,
    known_at: Integers,
    parameters: SimulationParameters,
    merchants: Merchants,
    rng: np.random.Generator,
) -> Events:
    count = rng.integers(parameters.purchases_low, parameters.purchases_high + 1, size=len(card))
    spree = np.repeat(np.arange(len(card)), count)
    n = len(spree)
    first_row = np.repeat(np.cumsum(count) - count, count)
    pause = np.cumsum(log_normal(rng, parameters.spree_gap_hours * HOUR_MS, 1.2, n)).astype(np.int64)
    ordinary = rng.random(n) < parameters.ordinary_share
    merchant = _shops(n, ordinary, parameters, merchants, rng)
    again = (rng.random(n) < SAME_SHOP_SHARE) & (np.arange(n) > first_row)
    merchant = np.where(again, np.roll(merchant, 1), merchant)
    large = log_normal(rng, parameters.fraud_amount_median, parameters.fraud_amount_sigma, n)

    events = new_events(n)
    events["card"], events["known_at"], events["kind"] = card[spree], known_at[spree], source.purchase
    events["at"] = first_at[spree] + pause - pause[first_row]
    place_at(events, merchant, merchants)
    yen = np.where(ordinary, ordinary_amounts(rng, merchant, merchants), large)
    events["yen"] = as_prices(yen, merchant, merchants)
    take_at_distance(
        rng,
        events,
        merchants,
        returning=np.zeros(n, dtype=np.bool_),
        code_known=source.code_known,
        challenge_failed=0.8,
        declined=parameters.fraud_decline_share,
    )
    return events


def _shops(
    n: int, ordinary: Mask, parameters: SimulationParameters, merchants: Merchants, rng: np.random.Generator
) -> Integers:
    """Where each purchase is made: mostly high-risk goods, and rather where 3-D Secure is not asked for."""
    usual = rng.choice(DISTANCE, size=(n, 2), p=_SHARES[DISTANCE] / _SHARES[DISTANCE].sum())
    risky = rng.choice(HIGH_RISK, size=(n, 2))
    high_risk = ~ordinary & (rng.random(n) < HIGH_RISK_SHARE)
    category = np.where(high_risk[:, None], risky, usual)
    abroad = rng.random(n) < parameters.fraud_foreign_share
    place = JAPAN + np.where(abroad, rng.integers(1, len(COUNTRIES), size=n), 0)[:, None]
    size = merchants.size[category, place]
    two = merchants.first[category, place] + zipf_ranks(rng, size.ravel()).reshape(size.shape)
    chosen: Integers = np.where(merchants.three_ds_policy[two[:, 0]] == AUTHENTICATES, two[:, 1], two[:, 0])
    return chosen


def reported_at(parameters: SimulationParameters, first_purchase_at: Integers, rng: np.random.Generator) -> Integers:
    """When the holder or the issuer notices each spree, at least an hour after its first purchase."""
    n = len(first_purchase_at)
    days: Floats = log_normal(rng, parameters.label_delay_median_days, parameters.label_delay_sigma, n)
    reported: Integers = first_purchase_at + np.maximum(days * DAY_MS, HOUR_MS).astype(np.int64)
    return reported


def become_known(events: Events, parameters: SimulationParameters) -> Events:
    """Bound each label's time: after its event, and no later than the limit after it."""
    limit = int(parameters.label_delay_limit_days * DAY_MS)
    events["known_at"] = np.clip(events["known_at"], events["at"] + HOUR_MS, events["at"] + limit)
    return events
