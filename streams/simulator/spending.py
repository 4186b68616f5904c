"""What holders do: outings to shops and on the web, tries after a mistyped code, cards stored at shops."""

from __future__ import annotations

import numpy as np

from fraud.codes import MISSING
from fraud.transactions import enum_code
from streams.simulator.acceptance import as_prices, ordinary_amounts, place_at, take_at_counter, take_at_distance
from streams.simulator.catalogue import AREAS, CATEGORIES, COUNTRIES
from streams.simulator.events import (
    APPROVED,
    ECOMMERCE,
    MATCH,
    NO_FUNDS,
    NOT_PROVIDED,
    Events,
    Floats,
    Integers,
    Mask,
    draw_from_rows,
    new_events,
    zipf_ranks,
)
from streams.simulator.merchants import COUNTER, DISTANCE, JAPAN, Merchants
from streams.simulator.parameters import DAY_MS, HOUR_MS, MINUTE_MS, SimulationParameters
from streams.simulator.portfolio import FAVOURITES, Portfolio
from streams.simulator.recurring import SUBSCRIPTIONS

VERIFICATION = enum_code("event_type", "account_verification")
FIRST = enum_code("stored_credential", "first")

OUTING_END = 0.68  # chance that a purchase is the last of its outing: 1.47 purchases on average
OUTING_LIMIT = 6
HOLDER_TYPES_CODE_RIGHT = 0.988
GENUINE_DECLINES_AT_COUNTER = 0.02
GENUINE_DECLINES_AT_DISTANCE = 0.035

_EXPLORES = np.array([category.explores for category in CATEGORIES])


def everyday(
    parameters: SimulationParameters, portfolio: Portfolio, merchants: Merchants, rng: np.random.Generator
) -> Events:
    """Outings to shops and on the web.

    Among them are the genuine events that look like fraud: declines and tries after them, large purchases, journeys,
    shops never visited before, and cards stored at a shop by a verification without amount.
    """
    a_day = (parameters.transactions_per_card_day - SUBSCRIPTIONS / 30) * OUTING_END
    of_card = np.repeat(
        np.arange(len(portfolio)), rng.poisson(np.maximum(a_day, 0.0) * parameters.days * portfolio.rate)
    )
    first_weekday = parameters.history_first_day.weekday()
    weekday = (first_weekday + np.arange(parameters.days)) % 7
    day = draw_from_rows(rng, portfolio.weekdays[:, weekday], of_card)
    online = rng.random(len(of_card)) < portfolio.online[of_card]
    place, away = _places(portfolio, of_card, day, online, rng)
    starts = parameters.starts_at + day * DAY_MS + (_hours(portfolio, of_card, online, rng) * HOUR_MS).astype(np.int64)

    size = np.minimum(rng.geometric(OUTING_END, size=len(of_card)), OUTING_LIMIT)
    outing = np.repeat(np.arange(len(of_card)), size)
    first_row = np.repeat(np.cumsum(size) - size, size)
    pause = rng.exponential(25 * MINUTE_MS, size=len(outing)).astype(np.int64) + MINUTE_MS
    since_first = np.cumsum(pause)

    events = new_events(len(outing))
    events["card"] = card = of_card[outing]
    events["at"] = starts[outing] + since_first - since_first[first_row]
    category = np.where(
        online[outing],
        DISTANCE[draw_from_rows(rng, portfolio.taste[:, DISTANCE], card)],
        COUNTER[draw_from_rows(rng, portfolio.taste[:, COUNTER], card)],
    )
    again = online[outing] & (rng.random(len(outing)) < 0.6)  # several orders at one shop, such as for a game
    category = np.where(again, category[first_row], category)
    merchant, new = _choose(portfolio, merchants, card, category, place[outing], away[outing], rng)
    merchant, new = np.where(again, merchant[first_row], merchant), np.where(again, new[first_row], new)
    place_at(events, merchant, merchants)
    large = np.where(rng.random(len(events)) < 0.006, rng.uniform(4.0, 12.0, size=len(events)), 1.0)
    yen = ordinary_amounts(rng, merchant, merchants) * portfolio.level[card] * large
    events["yen"] = as_prices(yen, merchant, merchants)
    return _take(events, online[outing], new, portfolio, merchants, rng)


def order_at(
    merchant: int, card: Integers, at: Integers, portfolio: Portfolio, merchants: Merchants, rng: np.random.Generator
) -> Events:
    """Genuine orders of these cards at one online shop, at these times (n,), with the tries after a decline."""
    events = new_events(len(card))
    events["card"], events["at"] = card, at
    places = np.full(len(card), merchant)
    place_at(events, places, merchants)
    events["yen"] = as_prices(ordinary_amounts(rng, places, merchants) * portfolio.level[card], places, merchants)
    everyone = np.ones(len(card), dtype=np.bool_)
    return _take(events, everyone, everyone, portfolio, merchants, rng)


def online_time(portfolio: Portfolio, card: Integers, rng: np.random.Generator) -> Integers:
    """A time of day at which each holder shops on the web, milliseconds since midnight. Shape (n,)."""
    return (_hours(portfolio, card, np.ones(len(card), dtype=np.bool_), rng) * HOUR_MS).astype(np.int64)


def _take(
    events: Events, online: Mask, new: Mask, portfolio: Portfolio, merchants: Merchants, rng: np.random.Generator
) -> Events:
    """Take the payments, and add what comes with them: tries after a decline, and verifications before an order."""
    counter, distance = events[~online], events[online]
    take_at_counter(rng, counter, portfolio, GENUINE_DECLINES_AT_COUNTER)
    take_at_distance(
        rng,
        distance,
        merchants,
        returning=~new[online],
        code_known=HOLDER_TYPES_CODE_RIGHT,
        challenge_failed=0.03,
        declined=GENUINE_DECLINES_AT_DISTANCE,
    )
    declined = np.flatnonzero((distance["decision"] != APPROVED) & (distance["decision"] != NO_FUNDS))
    retries = distance[declined[rng.random(len(declined)) < 0.7]]
    retries["at"] += rng.integers(MINUTE_MS // 2, 6 * MINUTE_MS, size=len(retries))
    retries["decision"] = APPROVED
    retries["expiry"] = MATCH
    retries["cvv2"][retries["cvv2"] != NOT_PROVIDED] = MATCH

    storing = new[online] & merchants.stores_cards[distance["merchant"]] & (distance["channel"] == ECOMMERCE)
    verifications = distance[storing & (rng.random(len(distance)) < 0.3)]
    # From seconds to a day before the order, evenly on a logarithmic scale.
    verifications["at"] -= (10_000 * (DAY_MS / 10_000) ** rng.random(len(verifications))).astype(np.int64)
    as_verification(verifications)
    return np.concatenate([counter, distance, retries, verifications])


def as_verification(events: Events) -> None:
    """Turn orders into account verifications without amount, in place."""
    events["event_type"] = VERIFICATION
    events["transaction_type"] = MISSING
    events["yen"] = 0
    events["stored"] = FIRST


def _places(
    portfolio: Portfolio, card: Integers, day: Integers, online: Mask, rng: np.random.Generator
) -> tuple[Integers, Mask]:
    """Where each outing goes, and whether that is away from the usual shops."""
    n = len(card)
    during = (day >= portfolio.trip_first[card]) & (day <= portfolio.trip_last[card])
    on_journey = during & (portfolio.trip_country[card] > 0)
    elsewhere = rng.random(n) < 0.04
    at_counter = np.where(elsewhere, rng.integers(len(AREAS), size=n), portfolio.home[card])
    at_counter = np.where(on_journey, JAPAN + portfolio.trip_country[card], at_counter)
    foreign_shop = rng.random(n) < portfolio.abroad_online[card]
    at_distance = np.where(foreign_shop, JAPAN + rng.integers(1, len(COUNTRIES), size=n), JAPAN)
    return np.where(online, at_distance, at_counter), np.where(online, foreign_shop, on_journey | elsewhere)


def _hours(portfolio: Portfolio, card: Integers, online: Mask, rng: np.random.Generator) -> Floats:
    """Hour of the day (n,): around the holder's own peaks; shops are open from 6:30 to 23:30, the web always."""
    n = len(card)
    peak = np.where(rng.random(n) < 0.5, portfolio.noon_peak[card], portfolio.evening_peak[card])
    at_counter = np.clip(peak + 1.8 * rng.standard_normal(n), 6.5, 23.4) + 0.1 * rng.random(n)
    return np.where(online, (portfolio.online_peak[card] + 2.8 * rng.standard_normal(n)) % 24, at_counter)


def _choose(
    portfolio: Portfolio,
    merchants: Merchants,
    card: Integers,
    category: Integers,
    place: Integers,
    away: Mask,
    rng: np.random.Generator,
) -> tuple[Integers, Mask]:
    """A merchant for each purchase: a usual one, or any of its category in its place; and whether it is the latter."""
    explores = away | (rng.random(len(card)) < _EXPLORES[category])
    which = rng.choice(FAVOURITES, size=len(card), p=(0.6, 0.25, 0.15))
    usual = portfolio.favourites[card, category, which]
    other = merchants.first[category, place] + zipf_ranks(rng, merchants.size[category, place])
    return np.where(explores, other, usual), explores
