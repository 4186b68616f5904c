"""Under one reference set the effects of a partition are a function of its log, wherever the batches are cut."""

from __future__ import annotations

from typing import Any

import numpy as np
from worker_support import CARD_KEY, EVENT

from fraud.cli.wiring import make_decoder
from fraud.pan_guard import PanGuard
from fraud.policy import Policy
from fraud.settings import CardSettings, PortfolioSettings, Settings, StreamSettings
from fraud.store.records import DetectionRecord, ExposureChange, PartitionEffects, PartitionKey
from fraud.transactions import Columns
from models.state import CardStates
from streams.dedupe import DedupeWindow
from streams.exposure_index import ExposureIndex
from streams.pipeline import PartitionState, Pipeline, Processed, ReferenceSet
from streams.simulator import Simulation
from streams.wire import RawRecord, encode, keys

CUTS = (1, 37, 1_000_000)


def run(simulation: Simulation, records: list[RawRecord], size: int) -> list[PartitionEffects]:
    """The effects of the records in batches of `size`, with all of the simulation's cards exposed that should be."""
    settings = Settings(
        clock="stream",
        portfolio=PortfolioSettings(bin_ranges=("453201",)),
        cards=CardSettings(keys={1: CARD_KEY}),  # type: ignore[dict-item]
    )
    pipeline = Pipeline(settings, make_decoder(settings, PanGuard.from_settings(settings.portfolio)))
    exposures = {
        card: (ExposureChange(card, EVENT, 3, 0, simulation.parameters.monitoring_starts_at, released=False),)
        for card in simulation.exposed_cards.tolist()
    }
    policy = Policy(None, None, None, None)
    reference = ReferenceSet(1, ExposureIndex(exposures, 1), policy, None)
    key = PartitionKey("group", "topic-id", "topic", 0)
    state = PartitionState(key, 1, 0, CardStates(), DedupeWindow(1_000_000))
    return [
        pipeline.process(state, records[start : start + size], reference, 0).effects
        for start in range(0, len(records), size)
    ]


def records_of(simulation: Simulation) -> list[RawRecord]:
    pairs = zip(keys(simulation.live), encode(simulation.live), strict=True)
    logged_at = simulation.parameters.ends_at  # earlier, and the events would be of the future
    return [RawRecord(offset, key, value, logged_at) for offset, (key, value) in enumerate(pairs)]


def frozen(detection: DetectionRecord, *without: str) -> dict[str, Any]:
    return {name: getattr(detection, name) for name in DetectionRecord.__slots__ if name not in without}


def test_detections_and_matches_are_the_same_wherever_batches_are_cut(simulation: Simulation) -> None:
    records = records_of(simulation)[:4_000]
    outcomes = []
    for size in CUTS:
        effects = run(simulation, records, size)
        detections = [frozen(found) for item in effects for found in item.detections]
        outcomes.append((detections, [match for item in effects for match in item.matches]))
    assert outcomes[0][0]
    assert outcomes[0] == outcomes[1] == outcomes[2]


def test_recent_events_are_the_same_wherever_batches_are_cut(simulation: Simulation) -> None:
    records = records_of(simulation)
    small, large = (
        [found.recent_events for item in run(simulation, records, size) for found in item.detections]
        for size in CUTS[1:]
    )
    assert small == large


def processed(records: list[RawRecord], cards: CardStates, history_from: int | None = None, **stream: Any) -> Processed:
    """What comes of one batch, without exposures and without a model."""
    settings = Settings(
        portfolio=PortfolioSettings(bin_ranges=("453201",)),
        cards=CardSettings(keys={1: CARD_KEY}),  # type: ignore[dict-item]
        stream=StreamSettings(**stream),
    )
    pipeline = Pipeline(settings, make_decoder(settings, PanGuard.from_settings(settings.portfolio)))
    state = PartitionState(PartitionKey("group", "topic-id", "topic", 0), 1, 0, cards, DedupeWindow(1_000))
    policy = Policy(None, None, None, None)
    reference = ReferenceSet(1, ExposureIndex(), policy, None, history_from=history_from)
    return pipeline.process(state, records, reference, 0)


def test_a_profile_by_account_outlasts_a_reissue(simulation: Simulation) -> None:
    old, new = simulation.live.take([0, 1]), simulation.live.take([2, 3])
    assert len({*old["card_ref"], *new["card_ref"]}) > 1
    columns = Columns.concatenate([old, new])
    columns["account_ref"][:] = "account-1"
    pairs = zip([b"account-1"] * 4, encode(columns), strict=True)
    records = [RawRecord(offset, *pair, simulation.parameters.ends_at) for offset, pair in enumerate(pairs)]
    cards = len(set(columns["card_ref"]))
    for profile_by, profiles in (("account", 1), ("card", cards)):
        states = CardStates()
        done = processed(records, states, profile_by=profile_by)
        assert done.effects.counters.processed == 4
        assert len(states) == profiles
        assert len(set(done.archive_rows.columns["card_key"])) == cards  # the archive keeps the cards' own keys


def test_features_that_look_back_further_than_history_are_not_evaluable(simulation: Simulation) -> None:
    records = records_of(simulation)[:50]
    at = int(simulation.live["occurred_at"][0])
    whole = processed(records, CardStates())
    long = processed(records, CardStates(), history_from=at - 400 * 86_400_000)
    short = processed(records, CardStates(), history_from=at - 3_600_000)
    np.testing.assert_array_equal(long.archive_rows.digests, whole.archive_rows.digests)
    assert (short.archive_rows.digests != whole.archive_rows.digests).all()
