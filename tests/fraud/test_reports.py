"""The scorecard against a slow and obvious count, and on one story told by hand."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fraud.reports import Case, Counters, GroundTruth, scorecard, sentences

TOKYO = ZoneInfo("Asia/Tokyo")
START = int(datetime(2022, 7, 28, tzinfo=TOKYO).timestamp()) * 1000
HOUR = 3_600_000
DAY = 24 * HOUR
DAYS = 5
COUNTERS = Counters(transactions_processed=1_234, dead_letters=5, duplicates=6, seconds=7.5)
REQUIRED = {
    "transactions_processed", "dead_letters", "duplicates", "exposed_cards", "exposed_card_transactions", "detections",
    "cases_opened", "fraud_transactions", "fraud_transactions_detected", "exposed_cards_defrauded",
    "exposed_cards_defrauded_with_case", "exposed_cards_with_case_before_second_fraud",
    "never_defrauded_exposed_cards_with_case", "false_positive_cases", "cases_per_day_p95", "days", "seconds",
}  # fmt: skip

Row = tuple[str, int, str, int, int]  # card, occurred_at, "genuine" | "test" | "purchase", amount, known_at


def truth_of(rows: list[Row], exposed: set[str]) -> GroundTruth:
    return GroundTruth(
        event_id=np.array([f"e{number}" for number in range(len(rows))], dtype=object),
        card_ref=np.array([row[0] for row in rows], dtype=object),
        occurred_at=np.array([row[1] for row in rows], dtype=np.int64),
        amount_minor=np.array([row[3] for row in rows], dtype=np.int64),
        fraud=np.array([row[2] != "genuine" for row in rows], dtype=np.bool_),
        fraudulent_purchase=np.array([row[2] == "purchase" for row in rows], dtype=np.bool_),
        known_at=np.array([row[4] for row in rows], dtype=np.int64),
        streamed_from=START,
        streamed_until=START + DAYS * DAY,
        exposed_cards=frozenset(exposed),
    )


EXTRA = (
    "exposed_cards_defrauded_before_monitoring",
    "false_positive_cases_on_settled_fraud",
    "fraud_value_minor",
    "fraud_value_prevented_minor",
)


def obvious(rows: list[Row], exposed: set[str], cases: list[Case], detected: set[str]) -> dict[str, Any]:
    """Row by row, card by card and case by case, as the definitions read."""
    count: dict[str, Any] = dict.fromkeys([*REQUIRED, *EXTRA], 0)
    count |= {"exposed_cards": len(exposed), "detections": len(detected), "cases_opened": len(cases)}
    count |= {"transactions_processed": 1_234, "dead_letters": 5, "duplicates": 6, "seconds": 7.5, "days": DAYS}
    for number, row in enumerate(rows):
        count_row(count, row, f"e{number}" in detected, exposed, cases)
    for card in exposed:
        count_exposed_card(count, card, rows, cases)
    per_day = [0] * DAYS
    for card, opened_at in cases:
        frauds = [row for row in rows if row[0] == card and row[2] != "genuine"]
        if not any(at >= START or known_at >= START for _, at, _, _, known_at in frauds):
            count["false_positive_cases"] += 1
            count["false_positive_cases_on_settled_fraud"] += bool(frauds)
        day = datetime.fromtimestamp(opened_at / 1000, TOKYO).toordinal() - date(2022, 7, 28).toordinal()
        per_day[sorted((0, day, DAYS - 1))[1]] += 1
    count["cases_per_day_p95"] = float(np.percentile(per_day, 95))
    return count


def count_row(count: dict[str, Any], row: Row, detected: bool, exposed: set[str], cases: list[Case]) -> None:
    card, at, kind, amount, _ = row
    if at < START:
        return
    count["exposed_card_transactions"] += card in exposed
    if kind != "genuine":
        count["fraud_transactions"] += 1
        count["fraud_transactions_detected"] += detected
    if kind == "purchase":
        count["fraud_value_minor"] += amount
        if any(case_card == card and opened_at < at for case_card, opened_at in cases):
            count["fraud_value_prevented_minor"] += amount


def count_exposed_card(count: dict[str, Any], card: str, rows: list[Row], cases: list[Case]) -> None:
    own = [row for row in rows if row[0] == card]
    opened = [opened_at for case_card, opened_at in cases if case_card == card]
    purchases = sorted(row[1] for row in own if row[2] == "purchase")
    if any(at < START for at in purchases):
        count["exposed_cards_defrauded_before_monitoring"] += 1
    if opened and all(row[2] == "genuine" for row in own):
        count["never_defrauded_exposed_cards_with_case"] += 1
    if any(at >= START for at in purchases):
        count["exposed_cards_defrauded"] += 1
        count["exposed_cards_defrauded_with_case"] += bool(opened)
        if opened and (len(purchases) == 1 or min(opened) < purchases[1]):
            count["exposed_cards_with_case_before_second_fraud"] += 1


CARDS = st.sampled_from(["x:a", "x:b", "x:c", "x:d", "x:e"])
TIMES = st.integers(-3 * 24, DAYS * 24 - 1).map(lambda hour: START + hour * HOUR)
KINDS = st.sampled_from(["genuine", "test", "purchase", "purchase"])
ROWS = st.tuples(CARDS, TIMES, KINDS, st.integers(0, 50_000), st.integers(0, 10)).map(
    lambda row: (row[0], row[1], row[2], row[3], row[1] + row[4] * 12 * HOUR)
)
OPENED = st.integers(-30, DAYS * 24 + 30).map(lambda hour: START + hour * HOUR)


@given(
    rows=st.lists(ROWS, max_size=25),
    exposed=st.sets(CARDS),
    cases=st.lists(st.tuples(CARDS, OPENED), max_size=8),
    detected=st.sets(st.integers(0, 30).map(lambda number: f"e{number}")),
)
def test_the_scorecard_is_what_counting_by_hand_gives(
    rows: list[Row], exposed: set[str], cases: list[Case], detected: set[str]
) -> None:
    card = scorecard(truth_of(rows, exposed), cases, detected, COUNTERS)
    assert card.keys() >= REQUIRED
    assert card == obvious(rows, exposed, cases, detected)


def test_one_story_by_hand() -> None:
    rows: list[Row] = [
        # Twice defrauded, the case in between: in time.
        ("x:in-time", START + 1 * HOUR, "test", 0, START + DAY),
        ("x:in-time", START + 2 * HOUR, "purchase", 30_000, START + DAY),
        ("x:in-time", START + 9 * HOUR, "purchase", 20_000, START + DAY),
        # The second purchase was the moment of the case: too late, and nothing prevented.
        ("x:late", START + 1 * HOUR, "purchase", 10_000, START + DAY),
        ("x:late", START + 5 * HOUR, "purchase", 10_000, START + DAY),
        # One purchase in the history, the second in the stream before the case: too late.
        ("x:early", START - 5 * HOUR, "purchase", 7_000, START + DAY),
        ("x:early", START + 3 * HOUR, "purchase", 9_000, START + DAY),
        # Only tried, never spent: not defrauded, and a case on it is no false positive.
        ("x:tried", START + 1 * HOUR, "test", 0, START + DAY),
        # Innocent, and one whose fraud was known before monitoring began.
        ("x:innocent", START + 4 * HOUR, "genuine", 90_000, -1),
        ("x:settled", START - 48 * HOUR, "purchase", 5_000, START - HOUR),
    ]
    cases = [
        ("x:in-time", START + 3 * HOUR),
        ("x:in-time", START + 2 * DAY),  # a later case on the card takes nothing away from the first
        ("x:late", START + 5 * HOUR),
        ("x:early", START + 6 * HOUR),
        ("x:tried", START + DAY + HOUR),
        ("x:innocent", START + DAY + HOUR),
        ("x:settled", START + DAY + HOUR),
    ]
    exposed = {row[0] for row in rows} | {"x:without transactions"}
    card = scorecard(truth_of(rows, exposed), cases, ["e1", "e8", "e8"], COUNTERS)
    assert card["exposed_cards"] == 7
    assert card["exposed_cards_defrauded"] == 3
    assert card["exposed_cards_defrauded_with_case"] == 3
    assert card["exposed_cards_with_case_before_second_fraud"] == 1
    assert card["exposed_cards_defrauded_before_monitoring"] == 2
    assert card["never_defrauded_exposed_cards_with_case"] == 1
    assert card["false_positive_cases"] == 2
    assert card["false_positive_cases_on_settled_fraud"] == 1
    assert card["fraud_value_minor"] == 79_000
    assert card["fraud_value_prevented_minor"] == 20_000
    assert card["detections"] == 2
    assert card["fraud_transactions_detected"] == 1
    assert card["cases_per_day_p95"] == pytest.approx(3.0)  # three, three, one, and two days without


def test_days_are_those_of_the_portfolio() -> None:
    """In Tokyo the stream's first day begins at 15:00 UTC of the day before."""
    rows: list[Row] = [("x:a", START, "genuine", 1, -1)]
    cases = [("x:a", START + 10 * HOUR), ("x:a", START + 20 * HOUR)]
    tokyo = scorecard(truth_of(rows, set()), cases, (), COUNTERS)
    utc = scorecard(truth_of(rows, set()), cases, (), COUNTERS, timezone="UTC")
    assert (tokyo["days"], utc["days"]) == (DAYS, DAYS + 1)
    assert tokyo["cases_per_day_p95"] == pytest.approx(np.percentile([2, 0, 0, 0, 0], 95))
    assert utc["cases_per_day_p95"] == pytest.approx(np.percentile([0, 2, 0, 0, 0, 0], 95))


def test_the_sentences_carry_the_numbers() -> None:
    rows: list[Row] = [
        ("x:a", START + HOUR, "purchase", 12_300, START + DAY),
        ("x:a", START + DAY, "purchase", 700, START + DAY),
    ]
    card = scorecard(truth_of(rows, {"x:a"}), [("x:a", START + 2 * HOUR)], ["e0"], COUNTERS)
    text = " ".join(sentences(card, "JPY"))
    assert "1,234 transactions" in text
    assert "¥13,000" in text
    assert "¥700" in text
    assert "1 of 2 fraudulent" in text
    assert all(sentence.endswith(".") for sentence in sentences(card, "JPY"))
    assert "$130.00" in " ".join(sentences(card, "USD"))
