"""The scorecard: what monitoring achieved against a known truth, as numbers and as plain sentences."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from fraud.codes import format_amount

Case = tuple[str, int]  # card reference, opened at (epoch milliseconds UTC)


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """What is true of n transactions, of the history and of the streamed part. Arrays are (n,), in any order.

    The streamed part is `streamed_from <= occurred_at < streamed_until`; earlier rows are history.
    """

    event_id: NDArray[Any]
    card_ref: NDArray[Any]
    occurred_at: NDArray[np.int64]  # epoch milliseconds UTC
    amount_minor: NDArray[np.int64]  # minor units of the portfolio's currency
    fraud: NDArray[np.bool_]  # any fraudulent event: tests, declined tries and purchases
    fraudulent_purchase: NDArray[np.bool_]  # an approved fraudulent purchase, which is a loss; never a test
    known_at: NDArray[np.int64]  # when a fraud became known; not read for other rows
    streamed_from: int
    streamed_until: int
    exposed_cards: frozenset[str]  # with or without transactions


@dataclass(frozen=True, slots=True)
class Counters:
    """What the worker counted, and how long it took."""

    transactions_processed: int
    dead_letters: int
    duplicates: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Purchases:
    """One card's fraudulent purchases in order of time: (occurred_at, amount_minor) of each."""

    history: Sequence[tuple[int, int]]
    streamed: Sequence[tuple[int, int]]

    @property
    def second_at(self) -> float:
        """When the second one happened, history included; infinity when there was none."""
        both = [*self.history, *self.streamed]
        return both[1][0] if len(both) > 1 else math.inf


def scorecard(
    truth: GroundTruth,
    cases: Sequence[Case],
    detected_event_ids: Collection[str],
    counters: Counters,
    timezone: str = "Asia/Tokyo",
) -> dict[str, int | float]:
    """Compare what was opened and detected with the truth.

    `cases` are all cases opened; a card may have several. `detected_event_ids` are the events with a detection, those
    of the look-back included. Definitions, where the names leave room:

    - `exposed_card_transactions`: streamed events of exposed cards, of every type.
    - `detections`: distinct events with a detection.
    - `fraud_transactions`: streamed fraudulent events, tests and declined tries included; `_detected`: those of them
      with a detection.
    - `exposed_cards_defrauded`: exposed cards with at least one fraudulent purchase (approved, no test) in the streamed
      part; `_with_case`: those with a case, whenever it was opened.
    - `exposed_cards_with_case_before_second_fraud`: exposed cards defrauded with a case opened before their second
      fraudulent purchase, counted over history and streamed part. A card with one such purchase counts if it has a
      case at all.
    - `never_defrauded_exposed_cards_with_case`: exposed cards with a case and no fraudulent event anywhere.
    - `false_positive_cases`: cases on cards, exposed or not, without any fraudulent event in the streamed part and
      without open fraud in the history. Fraud of the history is open when it was not yet known as the streamed part
      began. `false_positive_cases_on_settled_fraud` says how many of them are on cards whose fraud was known by then.
    - `cases_per_day_p95`: 95th percentile of cases opened a day, over all days of the streamed part in `timezone`,
      days without cases included. A case opened outside these days counts for the nearest one.
    - `fraud_value_minor`: value of the streamed fraudulent purchases on all cards; `fraud_value_prevented_minor`: of
      those that came after their card's first case was opened, which a block at that moment would have saved.
    - `exposed_cards_defrauded_before_monitoring`: exposed cards with a fraudulent purchase in the history.
    """
    streamed = truth.occurred_at >= truth.streamed_from
    purchases = _purchases_of_cards(truth, streamed)
    any_fraud = set(truth.card_ref[truth.fraud].tolist())
    live_reason = set(truth.card_ref[truth.fraud & (streamed | (truth.known_at >= truth.streamed_from))].tolist())
    first_case: dict[str, int] = {}
    for card, opened_at in cases:
        first_case[card] = min(opened_at, first_case.get(card, opened_at))

    exposed = truth.exposed_cards
    defrauded = [card for card, own in purchases.items() if own.streamed and card in exposed]
    with_case = [card for card in defrauded if card in first_case]
    unfounded = [card for card, _ in cases if card not in live_reason]
    detected = set(detected_event_ids)
    per_day = _cases_per_day(truth, (opened_at for _, opened_at in cases), timezone)
    streamed_purchases = [(card, at, amount) for card, own in purchases.items() for at, amount in own.streamed]
    return {
        "transactions_processed": counters.transactions_processed,
        "dead_letters": counters.dead_letters,
        "duplicates": counters.duplicates,
        "exposed_cards": len(exposed),
        "exposed_card_transactions": sum(card in exposed for card in truth.card_ref[streamed].tolist()),
        "detections": len(detected),
        "cases_opened": len(cases),
        "fraud_transactions": int((truth.fraud & streamed).sum()),
        "fraud_transactions_detected": sum(e in detected for e in truth.event_id[truth.fraud & streamed].tolist()),
        "exposed_cards_defrauded": len(defrauded),
        "exposed_cards_defrauded_with_case": len(with_case),
        "exposed_cards_with_case_before_second_fraud": sum(
            first_case[card] < purchases[card].second_at for card in with_case
        ),
        "exposed_cards_defrauded_before_monitoring": sum(
            bool(own.history) and card in exposed for card, own in purchases.items()
        ),
        "never_defrauded_exposed_cards_with_case": len((exposed & first_case.keys()) - any_fraud),
        "false_positive_cases": len(unfounded),
        "false_positive_cases_on_settled_fraud": sum(card in any_fraud for card in unfounded),
        "cases_per_day_p95": float(np.percentile(per_day, 95)),
        "fraud_value_minor": sum(amount for _, _, amount in streamed_purchases),
        "fraud_value_prevented_minor": sum(
            amount for card, at, amount in streamed_purchases if at > first_case.get(card, math.inf)
        ),
        "days": len(per_day),
        "seconds": counters.seconds,
    }


def _purchases_of_cards(truth: GroundTruth, streamed: NDArray[np.bool_]) -> Mapping[str, _Purchases]:
    """Cards with a fraudulent purchase, and all of theirs."""
    rows = np.flatnonzero(truth.fraudulent_purchase)
    rows = rows[np.argsort(truth.occurred_at[rows], kind="stable")]
    found: defaultdict[str, tuple[list[tuple[int, int]], list[tuple[int, int]]]] = defaultdict(lambda: ([], []))
    columns = (truth.card_ref, streamed, truth.occurred_at, truth.amount_minor)
    for card, live, at, amount in zip(*(column[rows].tolist() for column in columns), strict=True):
        found[card][live].append((at, amount))
    return {card: _Purchases(*parts) for card, parts in found.items()}


def _cases_per_day(truth: GroundTruth, opened_at: Iterable[int], timezone: str) -> NDArray[np.int64]:
    """Cases opened on each day of the streamed part, in local time."""
    first = _local_day(truth.streamed_from, timezone)
    days = _local_day(truth.streamed_until - 1, timezone) - first + 1
    counts = np.zeros(days, dtype=np.int64)
    for at in opened_at:
        counts[min(max(_local_day(at, timezone) - first, 0), days - 1)] += 1
    return counts


def _local_day(at: int, timezone: str) -> int:
    return datetime.fromtimestamp(at / 1000, UTC).astimezone(ZoneInfo(timezone)).toordinal()


def sentences(card: Mapping[str, int | float], currency: str) -> list[str]:
    """The scorecard as a risk manager would read it."""

    def count(name: str) -> str:
        return f"{card[name]:,.0f}"

    saved, lost = int(card["fraud_value_prevented_minor"]), int(card["fraud_value_minor"])
    processed = f"{count('transactions_processed')} transactions in {count('days')} days"
    unread = f"{count('dead_letters')} could not be read and {count('duplicates')} came twice"
    busy_day = f"on 19 of 20 days at most {card['cases_per_day_p95']:,.0f} were new"
    in_time = f"{count('exposed_cards_with_case_before_second_fraud')} before their second fraudulent purchase"
    early = count("exposed_cards_defrauded_before_monitoring")
    innocent = count("never_defrauded_exposed_cards_with_case")
    return [
        f"The service processed {processed}, in {card['seconds']:,.0f} seconds; {unread}.",
        f"{count('exposed_cards')} exposed cards made {count('exposed_card_transactions')} of them.",
        f"{count('detections')} detections led to {count('cases_opened')} cases; {busy_day}.",
        f"{count('fraud_transactions_detected')} of {count('fraud_transactions')} fraudulent tries were detected.",
        f"{count('exposed_cards_defrauded')} exposed cards were defrauded while the service watched.",
        f"{count('exposed_cards_defrauded_with_case')} of these cards have a case, {in_time}.",
        f"{early} exposed cards had already been defrauded before the first word of the compromise.",
        f"{count('false_positive_cases')} cases are on cards without open fraud.",
        f"{innocent} exposed cards have a case although they were never defrauded.",
        f"Fraudulent purchases came to {format_amount(lost, currency)} while the service watched.",
        f"{format_amount(saved, currency)} of it came after the card's first case: a block then would have saved it.",
    ]
