"""What runs by itself: monthly charges, wallet tokens, and the reversals and refunds of earlier purchases."""

from __future__ import annotations

from datetime import timedelta

import numpy as np

from fraud.codes import MISSING
from fraud.transactions import enum_code
from streams.simulator.acceptance import as_prices, ordinary_amounts, place_at, take_at_distance
from streams.simulator.events import (
    APPROVED,
    AUTHORIZATION,
    MERCHANT,
    NO_FUNDS,
    NOT_PROVIDED,
    ON_FILE,
    PURCHASE,
    Events,
    FraudKind,
    Integers,
    draw_from_rows,
    new_events,
)
from streams.simulator.merchants import RECURRENT, Merchants
from streams.simulator.parameters import DAY_MS, HOUR_MS, MINUTE_MS, SimulationParameters, midnight_ms
from streams.simulator.portfolio import FAVOURITES, Portfolio

CLEARING = enum_code("event_type", "clearing")
PROVISION = enum_code("event_type", "token_provision")
REVERSAL = enum_code("event_type", "reversal")
REFUND = enum_code("event_type", "refund")
REFUND_TYPE = enum_code("transaction_type", "refund")
FIRST = enum_code("stored_credential", "first")
RECURRING = enum_code("stored_credential", "recurring")

SUBSCRIPTIONS = 1.8  # monthly charges a card, mean
REVERSED = 0.008  # shares of the approved purchases
REFUNDED = 0.012


def monthly_charges(
    parameters: SimulationParameters, portfolio: Portfolio, merchants: Merchants, rng: np.random.Generator
) -> Events:
    """Monthly charges by the merchant; most began before the history, some begin with a first order by the holder."""
    card = np.repeat(np.arange(len(portfolio)), rng.poisson(SUBSCRIPTIONS, size=len(portfolio)))
    n = len(card)
    category = RECURRENT[draw_from_rows(rng, portfolio.taste[:, RECURRENT], card)]
    merchant = portfolio.favourites[card, category, rng.integers(FAVOURITES, size=n)]
    yen = ordinary_amounts(rng, merchant, merchants) * portfolio.level[card]
    begins_at = parameters.starts_at + rng.integers(parameters.days * DAY_MS, size=n)
    begins_at = np.where(rng.random(n) < 0.85, MISSING, begins_at)
    day_of_month = rng.integers(28, size=n)

    begun = np.flatnonzero(begins_at != MISSING)
    first = new_events(len(begun))
    first["card"], first["at"] = card[begun], begins_at[begun]
    place_at(first, merchant[begun], merchants)
    first["yen"] = as_prices(yen[begun], merchant[begun], merchants)
    nobody = np.zeros(len(begun), dtype=np.bool_)
    take_at_distance(rng, first, merchants, returning=nobody, code_known=1.0, challenge_failed=0.0, declined=0.0)
    first["stored"] = FIRST

    parts = [first]
    for month in _months(parameters):
        charges = new_events(n)
        charges["card"] = card
        charges["at"] = month + day_of_month * DAY_MS + rng.integers(10 * HOUR_MS, size=n)
        place_at(charges, merchant, merchants)
        posted = merchants.posts_without_authorization[merchant]
        varying = np.where(posted, np.exp(0.12 * rng.standard_normal(n)), 1.0)
        charges["yen"] = as_prices(yen * varying, merchant, merchants)
        charges["event_type"][posted] = CLEARING
        charges["initiator"], charges["stored"], charges["entry_mode"] = MERCHANT, RECURRING, ON_FILE
        charges["cvv2"] = NOT_PROVIDED
        charges["decision"][~posted & (rng.random(n) < 0.015)] = NO_FUNDS
        parts.append(charges[charges["at"] > begins_at])
    return np.concatenate(parts)


def _months(parameters: SimulationParameters) -> list[int]:
    """Start of each month that the simulation touches, epoch milliseconds."""
    days = (parameters.history_first_day + timedelta(days=number) for number in range(parameters.days))
    return [midnight_ms(first) for first in sorted({day.replace(day=1) for day in days})]


def token_provisions(parameters: SimulationParameters, portfolio: Portfolio) -> Events:
    """The wallet tokens that holders make during the simulation."""
    made = portfolio.token_at
    card = np.flatnonzero((made >= parameters.starts_at) & (made < parameters.ends_at))
    events = new_events(len(card))
    events["card"], events["at"] = card, made[card]
    events["event_type"] = PROVISION
    events["token"] = True
    for name in ("transaction_type", "channel", "yen"):
        events[name] = MISSING
    return events


def corrections(events: Events, rng: np.random.Generator) -> Events:
    """Reversals minutes after, and refunds days after, some of the genuine approved purchases among `events`.

    `original` of each is the row in `events` of the purchase that it corrects.
    """
    purchases = np.flatnonzero(
        (events["kind"] == FraudKind.NONE)
        & (events["decision"] == APPROVED)
        & (events["event_type"] == AUTHORIZATION)
        & (events["transaction_type"] == PURCHASE)
    )
    draw = rng.random(len(purchases))
    return np.concatenate(
        [
            _correction(events, purchases[draw < REVERSED], rng, refund=False),
            _correction(events, purchases[draw > 1 - REFUNDED], rng, refund=True),
        ]
    )


def _correction(events: Events, rows: Integers, rng: np.random.Generator, *, refund: bool) -> Events:
    n = len(rows)
    corrected: Events = events[rows]
    corrected["original"] = rows
    for name in ("entry_mode", "three_ds", "cvv2", "expiry", "stored"):
        corrected[name] = MISSING
    corrected["initiator"] = MERCHANT
    if refund:
        corrected["event_type"], corrected["transaction_type"] = REFUND, REFUND_TYPE
        corrected["at"] += rng.integers(3 * DAY_MS, 14 * DAY_MS, size=n)
        part = np.where(rng.random(n) < 0.7, 1.0, rng.uniform(0.2, 0.9, size=n))
        corrected["yen"] = np.maximum(np.round(corrected["yen"] * part), 1)
    else:
        corrected["event_type"] = REVERSAL
        corrected["at"] += rng.integers(MINUTE_MS, 30 * MINUTE_MS, size=n)
    return corrected
