"""Fraud that has nothing to do with the shop: numbers from elsewhere, and lost or stolen cards at the counter."""

from __future__ import annotations

import numpy as np

from streams.simulator.acceptance import as_prices, place_at, take_at_counter
from streams.simulator.catalogue import AREAS, CATEGORIES
from streams.simulator.events import APPROVED, Events, FraudKind, Integers, log_normal, new_events, zipf_ranks
from streams.simulator.fraudsters import ELSEWHERE, become_known, reported_at, sprees
from streams.simulator.merchants import COUNTER, Merchants
from streams.simulator.parameters import DAY_MS, SimulationParameters
from streams.simulator.portfolio import Portfolio

GOODS = np.array([index for index in COUNTER if CATEGORIES[index].mcc in (5411, 5499, 5541, 5732)])
STOLEN_MEDIAN_YEN = 7_000.0
STOLEN_SIGMA = 0.7
STOLEN_PURCHASES = (3, 8)  # low, high exclusive


def lost_or_stolen(
    card: Integers,
    starts_at: Integers,
    parameters: SimulationParameters,
    portfolio: Portfolio,
    merchants: Merchants,
    rng: np.random.Generator,
) -> Events:
    """Contactless purchases of goods that sell again, within a day, in one area."""
    count = rng.integers(*STOLEN_PURCHASES, size=len(card))
    spree = np.repeat(np.arange(len(card)), count)
    n = len(spree)
    near = rng.random(len(card)) < 0.7
    area = np.where(near, portfolio.home[card], rng.integers(len(AREAS), size=len(card)))[spree]
    category = rng.choice(GOODS, size=n)
    merchant = merchants.first[category, area] + zipf_ranks(rng, merchants.size[category, area])
    events = new_events(n)
    events["card"], events["kind"] = card[spree], FraudKind.LOST_OR_STOLEN
    events["known_at"] = reported_at(parameters, starts_at, rng)[spree]
    events["at"] = starts_at[spree] + rng.integers(DAY_MS, size=n)
    place_at(events, merchant, merchants)
    events["yen"] = as_prices(log_normal(rng, STOLEN_MEDIAN_YEN, STOLEN_SIGMA, n), merchant, merchants)
    take_at_counter(rng, events, portfolio, parameters.fraud_decline_share)
    return become_known(events, parameters)


def background(
    genuine_yen: float,
    eligible: Integers,
    parameters: SimulationParameters,
    portfolio: Portfolio,
    merchants: Merchants,
    test_at: Integers,
    rng: np.random.Generator,
) -> Events:
    """Fraud on the eligible cards (cards outside the event), evenly over history and story, at most one a card.

    Cards are defrauded one after another until the loss is `background_value_share` of the genuine value.
    """
    cards = rng.permutation(eligible)
    starts_at = parameters.starts_at + rng.integers(parameters.days * DAY_MS, size=len(cards))
    remote = parameters.card_not_present_share
    target = genuine_yen * parameters.background_value_share
    numbers = sprees(ELSEWHERE, cards, starts_at, test_at, parameters, merchants, rng)
    thefts = lost_or_stolen(cards[::-1], starts_at, parameters, portfolio, merchants, rng)
    return np.concatenate(
        [
            _first_cards(numbers, cards, target * remote, parameters),
            _first_cards(thefts, cards[::-1], target * (1 - remote), parameters),
        ]
    )


def _first_cards(events: Events, cards: Integers, target_yen: float, parameters: SimulationParameters) -> Events:
    """The events of the first `cards`: as many as it takes for a loss of `target_yen` within the simulation."""
    lost = (events["decision"] == APPROVED) & (events["at"] < parameters.ends_at)
    loss = np.bincount(events["card"], weights=events["yen"] * lost, minlength=parameters.cards)[cards]
    chosen = cards[np.cumsum(loss) - loss < target_yen]
    return events[np.isin(events["card"], chosen)]
