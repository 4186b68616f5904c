"""The notice's story on this portfolio: whose card was typed into the tampered page, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import numpy as np

from streams.simulator.events import Events, Floats, Integers, log_normal
from streams.simulator.fraudsters import EXPOSED, sprees
from streams.simulator.merchants import Merchants
from streams.simulator.parameters import DAY_MS, SimulationParameters, midnight_ms
from streams.simulator.portfolio import CardNumbers, Portfolio, card_numbers
from streams.simulator.spending import online_time, order_at

OTHER_ISSUERS_BIN = "352800"
OTHER_ISSUERS_CARDS = 3  # numbers in the alert file that are not ours


@dataclass(frozen=True, slots=True)
class Exposure:
    """k exposed cards, and when each of them was typed into the page."""

    card: Integers
    leaked_at: Integers  # epoch milliseconds UTC, inside the exposure window


@dataclass(frozen=True, slots=True)
class AlertFile:
    """The list that the card company sends. The only place that knows the numbers, and it prints none."""

    _numbers: CardNumbers = field(repr=False)
    _others: CardNumbers = field(repr=False)

    def csv(self) -> bytes:
        """`card_number,expiry` lines with the defects of real lists.

        A number is there twice, another one once more as a spreadsheet rounds it, and some are of other issuers.
        """
        ours = self._numbers.pairs()
        rounded = [(f"{float(number):.5E}", expiry) for number, expiry in ours[-1:]]
        rows = [*ours, *self._others.pairs(), *ours[:1], *rounded]
        return "".join(f"{number},{expiry}\r\n" for number, expiry in [("card_number", "expiry"), *rows]).encode()


def expose(parameters: SimulationParameters, portfolio: Portfolio, rng: np.random.Generator) -> Exposure:
    """Draw the exposed cards, rather those of busy online shoppers, and the moment of each."""
    likely = portfolio.online * portfolio.rate
    # Keys u^(1/w): the k largest are a weighted sample without replacement (Efraimidis and Spirakis, 2006).
    keys = np.log(rng.random(len(portfolio))) / likely
    card = np.sort(np.argsort(keys)[len(portfolio) - parameters.exposed_cards :])
    window = midnight_ms(parameters.dates.window_first)
    day = rng.integers((parameters.dates.window_last - parameters.dates.window_first).days + 1, size=len(card))
    return Exposure(card, window + day * DAY_MS + online_time(portfolio, card, rng))


def orders(
    parameters: SimulationParameters,
    exposure: Exposure,
    portfolio: Portfolio,
    merchants: Merchants,
    rng: np.random.Generator,
) -> Events:
    """All orders at the shop: those of the exposed cards, and others' at the same pace outside the window.

    Some exposed cards were typed without completing an order and have none. The last orders are of the day before
    card payments stopped.
    """
    dates = parameters.dates
    completed = rng.random(len(exposure.card)) >= parameters.typed_only_share
    card, at = exposure.card[completed], exposure.leaked_at[completed]
    inside = order_at(merchants.shop, card, at, portfolio, merchants, rng)

    open_days = (dates.payments_stopped - parameters.history_first_day).days
    all_days = [parameters.history_first_day + timedelta(days=number) for number in range(open_days)]
    days = np.array([midnight_ms(day) for day in all_days if not dates.window_first <= day <= dates.window_last])
    window_days = (dates.window_last - dates.window_first).days + 1
    count = round(len(exposure.card) / window_days * len(days))
    likely: Floats = portfolio.online * portfolio.rate
    card = rng.choice(len(portfolio), size=count, p=likely / likely.sum())
    at = rng.choice(days, size=count) + online_time(portfolio, card, rng)
    outside = order_at(merchants.shop, card, at, portfolio, merchants, rng)
    window = midnight_ms(dates.window_first), midnight_ms(dates.window_last + timedelta(days=1))
    strayed = (outside["at"] >= window[0]) & (outside["at"] < window[1])  # a second try after midnight
    return np.concatenate([inside, outside[~strayed]])


def abuse(
    parameters: SimulationParameters,
    exposure: Exposure,
    test_at: Integers,
    merchants: Merchants,
    rng: np.random.Generator,
) -> Events:
    """Sprees with a share of the exposed cards: a third soon after the leak, the others weeks to months after."""
    count = round(len(exposure.card) * parameters.abuse_share)
    chosen = rng.choice(len(exposure.card), size=count, replace=False)
    early = rng.random(count) < parameters.early_share
    late_days = log_normal(rng, parameters.delay_median_days, parameters.delay_sigma, count)
    delay = np.where(early, parameters.early_days * rng.random(count), late_days) * DAY_MS
    starts_at = exposure.leaked_at[chosen] + delay.astype(np.int64)
    return sprees(EXPOSED, exposure.card[chosen], starts_at, test_at[:3], parameters, merchants, rng)


def alert_file(exposure: Exposure, numbers: CardNumbers, rng: np.random.Generator) -> AlertFile:
    """The list of the exposed cards, in no order, with a few numbers of other issuers."""
    others = card_numbers(OTHER_ISSUERS_BIN, OTHER_ISSUERS_CARDS, rng)
    return AlertFile(numbers.of(rng.permutation(exposure.card)), CardNumbers(others, ["06/26"] * len(others)))
