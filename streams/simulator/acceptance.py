"""How a payment is taken: entry mode, 3-D Secure, checks of the security code and expiry, and the issuer's decision."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from fraud.codes import MISSING
from fraud.transactions import enum_code
from streams.simulator.catalogue import CATEGORIES, COUNTRIES
from streams.simulator.events import (
    CARD_PRESENT,
    CHIP,
    CONTACTLESS,
    DO_NOT_HONOUR,
    ECOMMERCE,
    MATCH,
    MISMATCH,
    NO_FUNDS,
    NOT_PROVIDED,
    ON_FILE,
    SUSPECTED_FRAUD,
    TYPED,
    WRONG_CVV2,
    WRONG_EXPIRY,
    Events,
    Floats,
    Integers,
    Mask,
)
from streams.simulator.merchants import ATTEMPTS_3DS, NO_3DS, Merchants
from streams.simulator.portfolio import Portfolio

NONE_3DS, ATTEMPTED, FRICTIONLESS, PASSED, FAILED, UNAVAILABLE = (
    enum_code("three_ds", value)
    for value in ("none", "attempted", "frictionless", "challenge_passed", "challenge_failed", "unavailable")
)

_CHANNELS = np.array([enum_code("channel", category.channel) for category in CATEGORIES])
_TYPES = np.array([enum_code("transaction_type", category.transaction_type) for category in CATEGORIES])
_STEPS = np.array([category.step for category in CATEGORIES])
_MEDIANS = np.array([category.median for category in CATEGORIES])
_SIGMAS = np.array([category.sigma for category in CATEGORIES])


def place_at(events: Events, merchant: Integers, merchants: Merchants) -> None:
    """Put the events at these merchants (m,), in place: channel and transaction type follow from the category."""
    category = merchants.category[merchant]
    events["merchant"] = merchant
    events["channel"] = _CHANNELS[category]
    events["transaction_type"] = _TYPES[category]


def ordinary_amounts(rng: np.random.Generator, merchant: Integers, merchants: Merchants) -> Floats:
    """Yen that somebody usually spends at each of these merchants. Shape (m,)."""
    category = merchants.category[merchant]
    spread = _SIGMAS[category] * rng.standard_normal(len(merchant))
    return np.asarray(_MEDIANS[category] * merchants.price_level[merchant] * np.exp(spread))


def as_prices(yen: Floats, merchant: Integers, merchants: Merchants) -> Integers:
    """Amounts in whole yen, in the steps that the category's prices come in, and never zero."""
    step = _STEPS[merchants.category[merchant]]
    prices: Integers = np.maximum(np.round(yen / step).astype(np.int64), 1) * step
    return prices


def local_amounts(yen: Integers, country: Integers) -> Integers:
    """Yen as minor units of the currency of each country (index into COUNTRIES)."""
    rate = np.array([yen_a_unit / 10**decimals for _, _, yen_a_unit, decimals in COUNTRIES])
    amounts: Integers = np.round(yen / rate[country]).astype(np.int64)
    return amounts


def take_at_counter(rng: np.random.Generator, events: Events, portfolio: Portfolio, declined: float) -> None:
    """Chip, contactless or wallet, in place; a share is declined, mostly for lack of funds."""
    n = len(events)
    card = events["card"]
    with_token = portfolio.has_token[card] & (portfolio.token_at[card] <= events["at"]) & (rng.random(n) < 0.6)
    events["token"] = with_token & (events["channel"] == CARD_PRESENT)
    events["entry_mode"] = np.where(events["token"] | (rng.random(n) < 0.4), CONTACTLESS, CHIP)
    events["entry_mode"][events["channel"] != CARD_PRESENT] = CHIP  # cash machines
    _decline(rng, events, np.full(n, declined), (NO_FUNDS, NO_FUNDS, DO_NOT_HONOUR))


def take_at_distance(
    rng: np.random.Generator,
    events: Events,
    merchants: Merchants,
    *,
    returning: Mask,
    code_known: float,
    challenge_failed: float,
    declined: float,
) -> None:
    """Typed or on file, with or without 3-D Secure, in place.

    `returning` (n,) marks customers that the shop knows; `code_known` and `challenge_failed` are the chances that the
    buyer types the right security code and fails a challenge; `declined` is the share declined for other reasons.
    """
    n = len(events)
    merchant = events["merchant"]
    on_file = returning & merchants.stores_cards[merchant] & (rng.random(n) < 0.7)
    events["entry_mode"] = np.where(on_file, ON_FILE, TYPED)
    asked = merchants.asks_cvv2[merchant] & ~on_file
    events["cvv2"] = np.where(asked, np.where(rng.random(n) < code_known, MATCH, MISMATCH), NOT_PROVIDED)
    events["expiry"] = np.where(~on_file & (rng.random(n) < 0.01), MISMATCH, MATCH)
    events["three_ds"] = _authenticate(rng, merchants.three_ds_policy[merchant], on_file, challenge_failed)
    events["three_ds"][events["channel"] != ECOMMERCE] = MISSING  # by telephone there is none
    _decline(rng, events, np.full(n, declined), (NO_FUNDS, NO_FUNDS, DO_NOT_HONOUR, SUSPECTED_FRAUD))
    events["decision"][events["three_ds"] == FAILED] = DO_NOT_HONOUR
    events["decision"][events["expiry"] == MISMATCH] = WRONG_EXPIRY
    events["decision"][events["cvv2"] == MISMATCH] = WRONG_CVV2


def _authenticate(rng: np.random.Generator, policy: Integers, on_file: Mask, failed: float) -> Integers:
    """3-D Secure results: mostly frictionless where the shop authenticates; known customers are often spared it."""
    n = len(policy)
    draw = rng.random(n)
    challenged = np.where(rng.random(n) < failed, FAILED, PASSED)
    result = np.select([draw < 0.80, draw < 0.98], [np.full(n, FRICTIONLESS), challenged], UNAVAILABLE)
    result = np.where(policy == ATTEMPTS_3DS, ATTEMPTED, result)
    return np.where((policy == NO_3DS) | (on_file & (rng.random(n) < 0.5)), NONE_3DS, result)


def _decline(rng: np.random.Generator, events: Events, share: Floats, reasons: Sequence[int]) -> None:
    declined = rng.random(len(events)) < share
    events["decision"][declined] = rng.choice(np.array(reasons), size=int(declined.sum()))
