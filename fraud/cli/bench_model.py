"""The model of a bench: trained once on simulated history and kept; and budgets at which so many records alert."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from fraud.cards import card_keys
from fraud.cli.training import publish_model, train_with_progress
from fraud.cli.wiring import make_policy
from fraud.codes import country_numbers
from fraud.policy import ExposureColumns, ScoredBatch, decide
from fraud.settings import Settings
from fraud.transactions import Columns
from models.bundle import load_bundle, read_bundle
from models.feature_table import FEATURE_SCHEMA_DIGEST
from models.features import as_columns, compute_features
from models.registry import champion
from models.state import CardStates
from models.training import TrainingSettings
from streams.bench.traffic import Traffic
from streams.simulator import Simulation
from streams.simulator.parameters import DAY_MS

_EXPOSED_TIER: Final = 3  # number, expiry and security code, as the bench's compromise event says
_SAMPLE_ROWS: Final = 20_000
_STEPS: Final = 16
_VALIDATION_DAYS: Final = 30


def bench_model(settings: Settings, kept_in: Path, simulation: Simulation, console: Console) -> CardStates:
    """Put the model for this simulation into the settings' registry; the cards' state at the end of the history.

    A model once trained is kept under `kept_in`, by seed, cards, and feature schema.
    """
    parameters = simulation.parameters
    kept = kept_in / f"model-{parameters.seed}-{parameters.cards}-{FEATURE_SCHEMA_DIGEST[:12]}"
    history = simulation.history
    if champion(kept) is None:
        console.print(f"Training a model on {len(history):,} simulated transactions; it is kept in {kept} ...")
        past = slice(0, simulation.live_from)
        cut = parameters.monitoring_starts_at
        known_at = simulation.label_known_at[past]
        how = TrainingSettings(
            validation_from_at=cut - _VALIDATION_DAYS * DAY_MS,
            iterations=150,
            negatives_per_positive=300,
            refit=True,
            seed=parameters.seed,
        )
        # What nobody had reported by the cut counts as genuine, as it would have.
        labels = ((simulation.fraud[past] == 1) & (known_at <= cut)).astype(np.int8)
        trained, states = train_with_progress(settings, history, labels, how, known_at)
        publish_model(settings, trained, "bench")
        shutil.copytree(settings.models_dir, kept, dirs_exist_ok=True)
        return states
    console.print(f"Model as trained before, from {kept}")
    shutil.copytree(kept, settings.models_dir, dirs_exist_ok=True)
    states = CardStates()
    _features(settings, history, states)
    return states


def budgets_for(settings: Settings, traffic: Traffic, states: CardStates, share: float) -> dict[str, Any]:
    """Budgets, as settings of the policy, at which `share` of the traffic become detections; found by bisection.

    Both budgets are the defaults times one factor. The sample are the first records of the live days.
    """
    digest = champion(settings.models_dir) or ""
    scorer, bundle = load_bundle(settings.models_dir, digest), read_bundle(settings.models_dir, digest)
    live = traffic.simulation.live
    sample = live.take(range(min(len(live), _SAMPLE_ROWS)))
    features = _features(settings, sample, states.copy())
    probability, anomaly = scorer.score(features)
    exposed = np.isin(sample["card_key"], card_keys(traffic.exposed_cards))
    batch = ScoredBatch(sample, as_columns(features), probability, anomaly, _exposure(exposed))
    usual = settings.policy

    def budgets(factor: float) -> dict[str, float]:
        return {
            "alerts_per_day": usual.alerts_per_day * factor,
            "exposed_alerts_per_1000_card_days": usual.exposed_alerts_per_1000_card_days * factor,
        }

    def detected(factor: float) -> float:
        policy = settings.policy.model_copy(update=budgets(factor))
        tried = settings.model_copy(update={"policy": policy})
        made = make_policy(tried, bundle, with_labels=scorer.has_probability)
        return len(decide(batch, made)) / len(sample)

    low, high = 1e-3, 1e3
    for _ in range(_STEPS):
        middle = float(np.sqrt(low * high))
        low, high = (middle, high) if detected(middle) < share else (low, middle)
    chosen = min((low, high), key=lambda factor: abs(detected(factor) - share))
    return {
        "budgets": budgets(chosen),
        "sample_records": len(sample),
        "expected_detection_share": detected(chosen),
        "sample_exposed_share": float(exposed.mean()),
    }


def _exposure(exposed: NDArray[np.bool_]) -> ExposureColumns:
    exposure = ExposureColumns.none(len(exposed))
    exposure.tier[exposed] = _EXPOSED_TIER
    return exposure


def _features(settings: Settings, columns: Columns, states: CardStates) -> NDArray[np.float32]:
    portfolio = settings.portfolio
    home = country_numbers()[portfolio.home_country]
    return compute_features(columns, states, home_country=home, timezone=portfolio.timezone)
