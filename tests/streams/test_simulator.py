"""The simulator: reproducible, inside the wire contract, true to the story, and without card numbers."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import replace
from datetime import date, datetime
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fraud.alert_files import parse_alert_file
from fraud.cards import CardTokenizer, luhn_valid
from fraud.codes import MISSING
from fraud.pan_guard import PanGuard
from fraud.transactions import EVENT_TYPE_RULES, EVENT_TYPES, FIELDS, enum_code
from streams.simulator import FraudKind, Simulation, SimulationParameters, simulate
from streams.simulator.events import draw_from_rows, zipf_ranks
from streams.simulator.portfolio import card_numbers
from streams.wire import Decoder, RawRecord, encode, keys

TOKENIZER = CardTokenizer({1: bytes(range(32))}, active_key=1)
DAY_MS = 86_400_000
SMALL = SimulationParameters(
    cards=500, exposed_records=200, history_days=30, story_days=30, abuse_share=0.3, background_value_share=0.02
)
PURCHASES = (FraudKind.PURCHASE, FraudKind.BACKGROUND_PURCHASE, FraudKind.LOST_OR_STOLEN)


@pytest.fixture(scope="module")
def small() -> Simulation:
    return simulate(SMALL, TOKENIZER)


def digest(simulation: Simulation) -> str:
    """Of everything that a simulation hands out."""
    parts = [repr(simulation.columns[name].tolist()).encode() for name in simulation.columns]
    parts += [simulation.fraud_kind.tobytes(), simulation.label_known_at.tobytes(), simulation.alert_file_csv()]
    return hashlib.sha256(b"".join(parts)).hexdigest()


def exposed_rows(simulation: Simulation) -> np.ndarray:
    exposed = set(simulation.exposed_cards.tolist())
    return np.array([card in exposed for card in simulation.columns["card_ref"]])


def japan(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, tzinfo=ZoneInfo("Asia/Tokyo")).timestamp() * 1000)


class TestReproducible:
    def test_the_same_seed_gives_the_same_bytes(self, small: Simulation) -> None:
        assert digest(simulate(SMALL, TOKENIZER)) == digest(small)

    def test_another_seed_gives_others(self, small: Simulation) -> None:
        assert digest(simulate(replace(SMALL, seed=2), TOKENIZER)) != digest(small)

    def test_another_abuse_share_leaves_everything_else_as_it_was(self, small: Simulation) -> None:
        quiet = simulate(replace(SMALL, abuse_share=0.0), TOKENIZER)
        assert not np.isin(quiet.fraud_kind, (FraudKind.TESTING, FraudKind.PURCHASE)).any()
        others = ~np.isin(small.fraud_kind, (FraudKind.TESTING, FraudKind.PURCHASE))
        for name in small.columns:
            if name not in ("event_id", "original_event_id"):
                np.testing.assert_array_equal(small.columns[name][others], quiet.columns[name], err_msg=name)


class TestContract:
    def test_the_decoder_reads_back_exactly_these_columns(self, small: Simulation) -> None:
        columns = small.between(small.live_from - 1_500, small.live_from + 1_500)
        records = [
            RawRecord(offset, key, value, SMALL.ends_at)
            for offset, (key, value) in enumerate(zip(keys(columns), encode(columns), strict=True))
        ]
        guard = PanGuard((SMALL.bin_prefix,), (16,))
        decoder = Decoder(guard, b"k" * 16, max_record_bytes=65_536, portfolio_currency="JPY", max_future_ms=DAY_MS)
        batch = decoder.decode(records, now_ms=SMALL.ends_at)
        assert batch.dead_letters == ()
        assert batch.security_findings == {}
        assert batch.missing == {}
        for name in columns:
            np.testing.assert_array_equal(batch.columns[name], columns[name], err_msg=name)

    def test_events_are_in_order_of_time_and_unique(self, small: Simulation) -> None:
        assert (np.diff(small.columns["occurred_at"]) >= 0).all()
        assert len(set(small.columns["event_id"].tolist())) == len(small)
        assert small.columns["occurred_at"][0] >= SMALL.starts_at
        assert small.columns["occurred_at"][-1] < SMALL.ends_at

    def test_every_kind_of_event_is_there(self, small: Simulation) -> None:
        seen = {EVENT_TYPES[code] for code in np.unique(small.columns["event_type"])}
        assert seen >= {"authorization", "clearing", "reversal", "refund", "account_verification", "token_provision"}
        assert set(np.unique(small.columns["channel"])) == {MISSING, 0, 1, 2, 3}

    def test_entry_mode_and_3ds_agree_with_the_channel(self, small: Simulation) -> None:
        columns = small.columns
        entry, channel = columns["pos_entry_mode"], columns["channel"]
        assert set(np.unique(entry[channel == enum_code("channel", "card_present")])) <= {MISSING, 5, 7}
        assert set(np.unique(entry[channel == enum_code("channel", "ecommerce")])) <= {MISSING, 1, 10}
        assert (channel[columns["three_ds"] != MISSING] == enum_code("channel", "ecommerce")).all()
        assert ((columns["eci"] != MISSING) == (columns["three_ds"] != MISSING)).all()

    def test_amounts_are_billed_in_yen_whatever_the_currency(self, small: Simulation) -> None:
        columns = small.columns
        dollars = columns["currency"] == 840
        assert dollars.any()
        rate = columns["billing_amount_minor"][dollars & (columns["amount"] > 1_000)] / (
            columns["amount_minor"][dollars & (columns["amount"] > 1_000)] / 100
        )
        assert rate == pytest.approx(135.0, rel=0.01)
        at_home = columns["currency"] == 392
        assert (columns["amount_minor"][at_home] == columns["billing_amount_minor"][at_home]).all()

    def test_corrections_name_an_earlier_purchase_of_the_same_card_and_merchant(self, small: Simulation) -> None:
        columns = small.columns
        row_of = {event_id: row for row, event_id in enumerate(columns["event_id"].tolist())}
        corrections = np.flatnonzero([original is not None for original in columns["original_event_id"]])
        originals = np.array([row_of[columns["original_event_id"][row]] for row in corrections])
        types = {EVENT_TYPES[code] for code in np.unique(columns["event_type"][corrections])}
        assert types == {"reversal", "refund"}
        assert not any(EVENT_TYPE_RULES[name].scored for name in types)
        for name in ("card_ref", "merchant_key", "currency"):
            assert (columns[name][corrections] == columns[name][originals]).all()
        assert (columns["occurred_at"][corrections] > columns["occurred_at"][originals]).all()
        assert (columns["amount"][corrections] <= columns["amount"][originals]).all()
        assert (columns["approved"][originals] == 1).all()
        assert not small.fraud[originals].any()

    def test_a_wallet_token_is_used_only_after_it_was_made(self, small: Simulation) -> None:
        columns = small.columns
        used = columns["token_provisioned_at"] != MISSING
        assert used.any()
        assert (columns["token_provisioned_at"][used] <= columns["occurred_at"][used]).all()


class TestNoCardNumbers:
    def test_card_numbers_are_in_the_alert_file_alone(self, small: Simulation) -> None:
        lines = small.alert_file_csv().decode().splitlines()[1:]
        numbers = [number for number in (line.split(",")[0] for line in lines) if luhn_valid(number)]
        assert len(set(numbers)) == len(small.exposed_cards) + 3
        handed_out = b"".join(encode(small.columns)).decode() + repr(small) + repr(small.portfolio)
        handed_out += repr(small._alert_file) + repr(small.parameters)
        in_runs = {run[at : at + 16] for run in re.findall(r"[0-9]{16,}", handed_out) for at in range(len(run) - 15)}
        assert not in_runs & set(numbers)

    def test_the_alert_file_has_the_defects_of_real_lists(self, small: Simulation) -> None:
        file = parse_alert_file(small.alert_file_csv(), tokenizer=TOKENIZER, guard=PanGuard((SMALL.bin_prefix,), (16,)))
        assert {card.card_ref for card in file.cards} == set(small.exposed_cards.tolist())
        assert len(file.malformed) == 1
        assert file.duplicates == 1
        assert file.unknown == 3

    @settings(max_examples=25)
    @given(prefix=st.from_regex(r"[345][0-9]{5,7}", fullmatch=True), seed=st.integers(0, 2**32), n=st.integers(1, 60))
    def test_numbers_are_distinct_and_carry_their_check_digit(self, prefix: str, seed: int, n: int) -> None:
        numbers = card_numbers(prefix, n, np.random.default_rng(seed))
        assert len(set(numbers)) == n
        assert all(len(number) == 16 and number.startswith(prefix) and luhn_valid(number) for number in numbers)


class TestStory:
    def test_the_shop_is_visited_by_exposed_cards_alone_in_the_window(self, small: Simulation) -> None:
        columns = small.columns
        shop = columns["merchant_name"] == "Hanamori Cosme Online"
        at = columns["occurred_at"]
        typed = shop & (columns["event_type"] == enum_code("event_type", "authorization"))
        window = typed & (at >= japan(2022, 7, 19)) & (at < japan(2022, 7, 27))
        seen = set(columns["card_ref"][window].tolist())
        assert seen <= set(small.exposed_cards.tolist())
        assert 0 < len(small.exposed_cards) - len(seen) < 0.1 * len(small.exposed_cards)  # typed without an order
        assert at[typed].max() < japan(2022, 8, 4)  # a refund may come later
        assert (typed & (at < japan(2022, 7, 19))).any()
        assert (typed & (at >= japan(2022, 7, 28))).any()

    def test_exposed_cards_are_as_many_as_the_issuers_share_of_the_records(self) -> None:
        assert simulate(replace(SMALL, issuer_share=0.4), TOKENIZER).exposed_cards.shape == (80,)
        assert SimulationParameters().exposed_cards == 2_259

    def test_the_leaks_are_in_the_window_of_eight_days(self, small: Simulation) -> None:
        days = {datetime.fromtimestamp(at / 1000, ZoneInfo("Asia/Tokyo")).date() for at in small.exposed_leaked_at}
        assert days == {date(2022, 7, day) for day in range(19, 27)}

    def test_abuse_follows_the_leak_and_hits_exposed_cards_alone(self, small: Simulation) -> None:
        leaked_at = dict(zip(small.exposed_cards.tolist(), small.exposed_leaked_at.tolist(), strict=True))
        abused = np.flatnonzero(np.isin(small.fraud_kind, (FraudKind.TESTING, FraudKind.PURCHASE)))
        cards = small.columns["card_ref"][abused]
        assert len(set(cards.tolist())) > 40
        assert all(small.columns["occurred_at"][row] > leaked_at[card] for row, card in zip(abused, cards, strict=True))
        elsewhere = small.fraud_kind >= FraudKind.BACKGROUND_TESTING
        assert not (elsewhere & exposed_rows(small)).any()

    def test_the_live_part_begins_when_the_shop_is_told(self, small: Simulation) -> None:
        told = japan(2022, 7, 28)
        assert small.history["occurred_at"].max() < told <= small.live["occurred_at"].min()
        assert len(small.history) + len(small.live) == len(small)

    def test_days_are_published_in_order_and_without_copies(self, small: Simulation) -> None:
        published = list(small.publish())
        assert [day for day, _ in published] == [date.fromordinal(date(2022, 7, 28).toordinal() + n) for n in range(30)]
        assert (
            np.concatenate([columns["event_id"] for _, columns in published]).tolist()
            == small.live["event_id"].tolist()
        )
        for day, columns in published:
            start = japan(day.year, day.month, day.day)
            assert ((columns["occurred_at"] >= start) & (columns["occurred_at"] < start + DAY_MS)).all()
        assert all(np.shares_memory(published[0][1][field.name], small.columns[field.name]) for field in FIELDS)

    def test_candidates_for_the_story_are_what_they_are_called(self, small: Simulation) -> None:
        exposed = set(small.exposed_cards.tolist())
        truth = small.ground_truth()
        defrauded = set(truth.card_ref[truth.fraud].tolist())
        live_loss = truth.fraudulent_purchase & (truth.occurred_at >= truth.streamed_from)
        losers = set(truth.card_ref[live_loss].tolist())
        found = small.story_cards()
        assert found.tested_then_spent
        assert set(found.tested_then_spent) <= exposed & losers
        assert found.spent_before_monitoring
        assert set(found.spent_before_monitoring) <= exposed & set(truth.card_ref[~live_loss & truth.fraud].tolist())
        assert small.never_defrauded_exposed() == exposed - defrauded
        assert set(found.innocent) <= exposed - defrauded
        assert len(found.innocent) > 50
        assert found.not_exposed
        assert set(found.not_exposed) <= losers - exposed


class TestFraud:
    def test_labels_become_known_after_the_event_and_within_the_limit(self, small: Simulation) -> None:
        known, at, fraud = small.label_known_at, small.columns["occurred_at"], small.fraud == 1
        assert (known[~fraud] == MISSING).all()
        assert (known[fraud] > at[fraud]).all()
        assert (known[fraud] <= at[fraud] + 45 * DAY_MS).all()
        delays = (known - at)[np.isin(small.fraud_kind, PURCHASES)] / DAY_MS
        assert 3.0 < np.median(delays) < 7.0

    def test_tests_are_tiny_and_come_before_the_purchases(self, small: Simulation) -> None:
        testing = np.isin(small.fraud_kind, (FraudKind.TESTING, FraudKind.BACKGROUND_TESTING))
        assert small.columns["amount"][testing].max() <= 200
        assert (small.columns["amount"][testing] == 0).any()
        counts = Counter(small.columns["card_ref"][testing].tolist())
        assert set(counts.values()) <= {1, 2, 3}
        first_purchase = {}
        for row in np.flatnonzero(np.isin(small.fraud_kind, PURCHASES)):
            first_purchase.setdefault(small.columns["card_ref"][row], small.columns["occurred_at"][row])
        for row in np.flatnonzero(testing):
            card = small.columns["card_ref"][row]
            assert small.columns["occurred_at"][row] < first_purchase.get(card, SMALL.ends_at)

    def test_background_fraud_has_the_share_that_was_asked_for(self) -> None:
        parameters = replace(SMALL, cards=2_000, exposed_records=50, abuse_share=0.0)
        simulation = simulate(parameters, TOKENIZER)
        columns, fraud = simulation.columns, simulation.fraud == 1
        loss = (columns["approved"] == 1) & (columns["event_type"] <= enum_code("event_type", "clearing"))
        loss &= ~np.isin(columns["event_type"], (enum_code("event_type", "reversal"),))
        share = columns["amount"][fraud & loss].sum() / columns["amount"][~fraud & loss].sum()
        assert share == pytest.approx(0.02, rel=0.15)
        remote = columns["channel"] == enum_code("channel", "ecommerce")
        assert columns["amount"][fraud & loss & remote].sum() / columns["amount"][fraud & loss].sum() > 0.88

    def test_delays_from_leak_to_first_fraud_follow_their_parameters(self) -> None:
        parameters = replace(
            SMALL, cards=1_500, exposed_records=1_500, abuse_share=1.0, transactions_per_card_day=0.1, story_days=250
        )
        simulation = simulate(parameters, TOKENIZER)
        leaked_at = dict(zip(simulation.exposed_cards.tolist(), simulation.exposed_leaked_at.tolist(), strict=True))
        first: dict[str, int] = {}
        for row in np.flatnonzero(simulation.fraud == 1):
            first.setdefault(simulation.columns["card_ref"][row], int(simulation.columns["occurred_at"][row]))
        days = np.array([(at - leaked_at[card]) / DAY_MS for card, at in first.items()])
        # A third within 5 days, and of the log-normal rest another 15 % (the chance of less than 5 with median 17).
        assert (days < 5).mean() == pytest.approx(1 / 3 + 2 / 3 * 0.154, abs=0.05)
        assert 14 < np.median(days[days > 5]) < 30
        assert 0.005 < (days > 180).mean() < 0.04

    def test_neither_trivial_nor_hopeless_at_a_glance(self, small: Simulation) -> None:
        """Innocent exposed cards try new shops, spend much and buy abroad; some fraud is small and at home."""
        columns = small.columns
        loss = np.isin(small.fraud_kind, (FraudKind.PURCHASE, FraudKind.BACKGROUND_PURCHASE)) & (
            columns["approved"] == 1
        )
        innocent = (small.fraud == 0) & exposed_rows(small) & (columns["channel"] == enum_code("channel", "ecommerce"))
        median_fraud = np.median(columns["amount"][loss])
        assert 12_000 < median_fraud < 45_000
        assert (columns["amount"][innocent] > median_fraud).sum() > loss.sum()
        assert ((columns["merchant_country"] != 392) & innocent).any()
        assert 0.05 < (columns["amount"][loss] < 5_000).mean() < 0.4
        pairs = np.stack([columns["card_key"], columns["merchant_key"]], axis=1)
        _, first_rows = np.unique(pairs, axis=0, return_index=True)
        new = np.zeros(len(small), dtype=bool)
        new[first_rows] = True
        assert 0.15 < new[small.live_from :][innocent[small.live_from :]].mean() < 0.6

    def test_the_ground_truth_counts_losses_only(self, small: Simulation) -> None:
        truth = small.ground_truth()
        assert (truth.fraud == (small.fraud_kind != FraudKind.NONE)).all()
        assert not (truth.fraudulent_purchase & ~truth.fraud).any()
        assert (small.columns["approved"][truth.fraudulent_purchase] == 1).all()
        assert (small.columns["amount"][truth.fraudulent_purchase] > 0).all()
        assert not truth.fraudulent_purchase[small.fraud_kind == FraudKind.TESTING].any()


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"cards": 100}, "exposed_records"),
        ({"history_days": 8}, "history_days"),
        ({"story_days": 0}, "story_days"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(changes: dict[str, int], names: str) -> None:
    with pytest.raises(ValueError, match=names):
        replace(SMALL, **changes)


class TestDraws:
    @given(
        weights=st.lists(st.lists(st.sampled_from([0.0, 0.5, 3.0]), min_size=4, max_size=4).filter(any), min_size=1),
        seed=st.integers(0, 2**32),
    )
    def test_a_column_without_weight_is_never_drawn(self, weights: list[list[float]], seed: int) -> None:
        table = np.array(weights)
        rows = np.repeat(np.arange(len(table)), 20)
        columns = draw_from_rows(np.random.default_rng(seed), table, rows)
        assert ((columns >= 0) & (columns < 4)).all()
        assert (table[rows, columns] > 0).all()

    def test_columns_are_drawn_in_proportion(self) -> None:
        rows = np.full(20_000, 1)
        columns = draw_from_rows(np.random.default_rng(1), np.array([[1.0, 0.0, 0.0], [1.0, 2.0, 1.0]]), rows)
        assert np.bincount(columns) / len(rows) == pytest.approx([0.25, 0.5, 0.25], abs=0.02)

    def test_ranks_follow_zipf(self) -> None:
        ranks = zipf_ranks(np.random.default_rng(1), np.full(50_000, 9))
        counts = np.bincount(ranks, minlength=9)
        assert (np.diff(counts) < 0).all()
        assert counts[0] / counts[2] == pytest.approx(np.log(2) / np.log(4 / 3), rel=0.1)
