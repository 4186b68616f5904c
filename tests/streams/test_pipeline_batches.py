"""Under one reference set the effects of a partition are a function of its log, wherever the batches are cut."""

from __future__ import annotations

from typing import Any

from worker_support import CARD_KEY, EVENT

from fraud.cli.wiring import make_decoder
from fraud.pan_guard import PanGuard
from fraud.policy import Policy
from fraud.settings import CardSettings, PortfolioSettings, Settings
from fraud.store.records import DetectionRecord, ExposureChange, PartitionEffects, PartitionKey
from models.state import CardStates
from streams.dedupe import DedupeWindow
from streams.exposure_index import ExposureIndex
from streams.pipeline import PartitionState, Pipeline, ReferenceSet
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
