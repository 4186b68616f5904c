"""The whole: draw everything, put it in order of time, and hand out the history, the live days and the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fraud.cards import CardTokenizer, card_keys
from fraud.reports import GroundTruth
from fraud.transactions import Columns
from streams.simulator.background import background
from streams.simulator.columns import to_columns
from streams.simulator.events import APPROVED, MATCH, Events, FraudKind, Integers, Mask
from streams.simulator.fraudsters import testing_merchants
from streams.simulator.merchants import make_merchants
from streams.simulator.parameters import DAY_MS, SimulationParameters, midnight_ms
from streams.simulator.portfolio import Portfolio, make_portfolio
from streams.simulator.recurring import corrections, monthly_charges, token_provisions
from streams.simulator.spending import everyday
from streams.simulator.story import AlertFile, abuse, alert_file, expose, orders

PURCHASES = (FraudKind.PURCHASE, FraudKind.BACKGROUND_PURCHASE, FraudKind.LOST_OR_STOLEN)


@dataclass(frozen=True, slots=True)
class StoryCards:
    """References of cards worth telling about, known from the truth; what was detected decides among them."""

    tested_then_spent: tuple[str, ...]  # exposed, first fraud a test in the live part; earliest first
    spent_before_monitoring: tuple[str, ...]  # exposed, for the look-back; earliest first
    innocent: tuple[str, ...]  # exposed, no fraud, the largest online purchases of the live part first
    not_exposed: tuple[str, ...]  # fraud in the live part from elsewhere; earliest first


@dataclass(frozen=True, slots=True)
class Simulation:
    """n events of history and live part in order of time, with the truth about each. Arrays are (n,).

    `fraud` is 0 or 1, `fraud_kind` a `FraudKind`, `label_known_at` epoch milliseconds UTC, `MISSING` for genuine
    events. A model may learn only from labels known at its training cut. Card numbers are in the alert file alone.
    """

    parameters: SimulationParameters
    columns: Columns
    fraud: NDArray[np.int8]
    fraud_kind: NDArray[np.int8]
    label_known_at: Integers
    portfolio: Portfolio
    exposed_cards: NDArray[Any]  # references, sorted
    exposed_leaked_at: Integers  # (exposed cards,) when each was typed into the page
    live_from: int  # row of the first event of the live part
    _alert_file: AlertFile = field(repr=False)

    def __len__(self) -> int:
        return len(self.columns)

    def __repr__(self) -> str:
        return f"Simulation({len(self)} events, {len(self.portfolio)} cards, {len(self.exposed_cards)} exposed)"

    @property
    def history(self) -> Columns:
        """The days before monitoring starts. A view, no copy."""
        return self.between(0, self.live_from)

    @property
    def live(self) -> Columns:
        """The days from the first word on. A view, no copy."""
        return self.between(self.live_from, len(self))

    def between(self, start: int, stop: int) -> Columns:
        """Rows `start` to `stop`, exclusive. Views, no copies."""
        stop = max(start, stop)
        return Columns({name: self.columns[name][start:stop] for name in self.columns}, stop - start)

    def live_days(self) -> tuple[date, ...]:
        """The days of the live part, in Japan."""
        return tuple(
            self.parameters.dates.told + timedelta(days=number) for number in range(self.parameters.story_days)
        )

    def rows_of_day(self, day: date) -> slice:
        """The rows of one day in Japan; all arrays of the simulation can be cut with it."""
        start = midnight_ms(day)
        first, last = np.searchsorted(self.columns["occurred_at"], [start, start + DAY_MS])
        return slice(int(first), int(last))

    def events_of_day(self, day: date) -> Columns:
        """The events of one day in Japan, in order of time. Views, no copies."""
        rows = self.rows_of_day(day)
        return self.between(rows.start, rows.stop)

    def publish(self) -> Iterator[tuple[date, Columns]]:
        """The live part, day by day."""
        for day in self.live_days():
            yield day, self.events_of_day(day)

    def alert_file_csv(self) -> bytes:
        """The list of exposed cards that the card company sends: `card_number,expiry`, with a few defects."""
        return self._alert_file.csv()

    def ground_truth(self) -> GroundTruth:
        """The truth in the form that the scorecard asks for."""
        approved = self.columns["approved"] == 1
        return GroundTruth(
            event_id=self.columns["event_id"],
            card_ref=self.columns["card_ref"],
            occurred_at=self.columns["occurred_at"],
            amount_minor=self.columns["billing_amount_minor"],
            fraud=self.fraud == 1,
            fraudulent_purchase=np.isin(self.fraud_kind, PURCHASES) & approved,
            known_at=self.label_known_at,
            streamed_from=self.parameters.monitoring_starts_at,
            streamed_until=self.parameters.ends_at,
            exposed_cards=frozenset(self.exposed_cards.tolist()),
        )

    def never_defrauded_exposed(self) -> frozenset[str]:
        """References of the exposed cards without any fraudulent event, in the history or later."""
        defrauded = self.columns["card_ref"][self.fraud == 1]
        return frozenset(self.exposed_cards.tolist()) - frozenset(defrauded.tolist())

    def story_cards(self) -> StoryCards:
        """Candidates for a story, in a fixed order."""
        cards, kind = self.columns["card_key"], self.fraud_kind
        live = np.arange(len(self)) >= self.live_from
        exposed = np.isin(cards, card_keys(self.exposed_cards))
        spent = np.isin(kind, PURCHASES) & (self.columns["approved"] == 1)
        first_fraud = self._first_of_card(kind != FraudKind.NONE)
        defrauded_live = np.isin(cards, cards[spent & live])
        paid_online = live & (self.columns["cvv2_result"] == MATCH) & (self.columns["approved"] == 1)
        innocent = np.flatnonzero(paid_online & exposed & ~np.isin(cards, cards[self.fraud == 1]))
        largest = innocent[np.argsort(-self.columns["billing_amount_minor"][innocent], kind="stable")]
        return StoryCards(
            tested_then_spent=self._refs(first_fraud & live & (kind == FraudKind.TESTING) & defrauded_live),
            spent_before_monitoring=self._refs(self._first_of_card(spent) & ~live & exposed),
            innocent=tuple(dict.fromkeys(self.columns["card_ref"][largest].tolist())),
            not_exposed=self._refs(self._first_of_card(spent) & live & ~exposed),
        )

    def _refs(self, rows: Mask) -> tuple[str, ...]:
        return tuple(self.columns["card_ref"][rows].tolist())

    def _first_of_card(self, rows: Mask) -> Mask:
        """Of the given rows, the first one of each card. Shape (n,)."""
        chosen = np.flatnonzero(rows)
        _, first = np.unique(self.columns["card_key"][chosen], return_index=True)
        found = np.zeros(len(rows), dtype=np.bool_)
        found[chosen[first]] = True
        return found


def simulate(parameters: SimulationParameters, tokenizer: CardTokenizer) -> Simulation:
    """One portfolio and story. The same parameters and keys give the same bytes.

    Each part draws from its own random stream, so that another `abuse_share` leaves all genuine events as they are.
    """
    streams = np.random.default_rng(parameters.seed).spawn(9)
    merchants = make_merchants(streams[0])
    portfolio, numbers = make_portfolio(parameters, merchants, tokenizer, streams[1])
    exposure = expose(parameters, portfolio, streams[2])
    genuine = np.concatenate(
        [
            everyday(parameters, portfolio, merchants, streams[3]),
            monthly_charges(parameters, portfolio, merchants, streams[4]),
            token_provisions(parameters, portfolio),
            orders(parameters, exposure, portfolio, merchants, streams[5]),
        ]
    )
    genuine = _within(parameters, genuine)
    genuine_yen = float(genuine["yen"][genuine["decision"] == APPROVED].sum())
    not_exposed = np.setdiff1d(np.arange(len(portfolio)), exposure.card)
    test_at = testing_merchants(merchants, streams[6])
    frauds = [
        background(genuine_yen, not_exposed, parameters, portfolio, merchants, test_at, streams[6]),
        abuse(parameters, exposure, test_at, merchants, streams[7]),
    ]
    corrected = _within(parameters, corrections(genuine, streams[8]))
    events = _in_order(np.concatenate([genuine, corrected, *(_within(parameters, part) for part in frauds)]))
    leaked = np.argsort(portfolio.card_ref[exposure.card])
    return Simulation(
        parameters=parameters,
        columns=to_columns(events, portfolio, merchants, prefix=f"s{parameters.seed}-"),
        fraud=(events["kind"] != FraudKind.NONE).astype(np.int8),
        fraud_kind=events["kind"].copy(),
        label_known_at=events["known_at"].copy(),
        portfolio=portfolio,
        exposed_cards=portfolio.card_ref[exposure.card][leaked],
        exposed_leaked_at=exposure.leaked_at[leaked],
        live_from=int(np.searchsorted(events["at"], parameters.monitoring_starts_at)),
        _alert_file=alert_file(exposure, numbers, streams[8]),
    )


def _within(parameters: SimulationParameters, events: Events) -> Events:
    return events[(events["at"] >= parameters.starts_at) & (events["at"] < parameters.ends_at)]


def _in_order(events: Events) -> Events:
    """The events in order of time; `original` still names the same events."""
    order = np.argsort(events["at"], kind="stable")
    moved_to = np.empty(len(events) + 1, dtype=np.int64)
    moved_to[order] = np.arange(len(events))
    moved_to[-1] = -1  # nothing to correct
    events["original"] = moved_to[events["original"]]
    return events[order]
