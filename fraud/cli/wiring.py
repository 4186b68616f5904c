"""How the parts are put together, shared by the commands."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime, time

from sqlalchemy import Engine

from fraud.cards import CardTokenizer
from fraud.clock import Clock, StreamClock, SystemClock
from fraud.errors import ConfigurationError
from fraud.pan_guard import PanGuard
from fraud.policy import Policy
from fraud.settings import Settings
from fraud.store.database import open_engine, read, upgrade
from fraud.store.operations import reached_at
from models.bundle import ModelBundle, load_bundle, read_bundle
from models.features import warm_up
from models.registry import champion
from models.scoring import Scorer
from models.thresholds import threshold_for_rate
from streams.archive import ArchiveTable, ArchiveWriter
from streams.observer import WorkerObserver
from streams.pipeline import Pipeline
from streams.reference import References
from streams.snapshots import Snapshots
from streams.wire import Decoder
from streams.worker import Worker

# A rule on a watched card may fire on scores that alone would alert this many times as often.
_SUPPORTED = 2.0


def open_store(settings: Settings, *, migrate: bool = False, idle_seconds: int | None = None) -> Engine:
    """The database; with `migrate`, brought to the newest revision first. For `idle_seconds`, see `open_engine`."""
    engine = open_engine(settings.database_url.get_secret_value(), idle_seconds)
    if migrate:
        upgrade(engine)
    return engine


def make_clock(settings: Settings, engine: Engine) -> Clock:
    """The clock that the settings ask for."""
    if settings.clock == "system":
        return SystemClock()

    def reached() -> int | None:
        with read(engine) as connection:
            return reached_at(connection)

    return StreamClock(reached)


def make_tokenizer(settings: Settings) -> CardTokenizer:
    """The tokenizer of card numbers."""
    return CardTokenizer.from_settings(settings.cards)


def make_decoder(settings: Settings, guard: PanGuard) -> Decoder:
    """The decoder of the wire contract. Digests of payloads are keyed by a key derived from the active card key."""
    key = settings.cards.keys.get(settings.cards.active_key)
    if key is None:
        message = 'cards.keys has no active key; set MIMAMORI_CARDS__KEYS, for example \'{"1": "<64 hex digits>"}\''
        raise ConfigurationError(message)
    digest_key = hmac.digest(bytes.fromhex(key.get_secret_value()), b"mimamori: payload digests", "sha256")
    return Decoder(
        guard=guard,
        digest_key=digest_key,
        max_record_bytes=settings.stream.max_record_bytes,
        portfolio_currency=settings.portfolio.currency,
        max_future_ms=settings.stream.max_future_ms,
        max_past_ms=settings.stream.max_past_ms,
    )


def load_champion(settings: Settings) -> tuple[Scorer | None, Policy]:
    """The champion model, verified, and the policy for it; without a model: rules and exposure alone."""
    digest = champion(settings.models_dir)
    if digest is None:
        return None, Policy(None, None, None, None, currency=settings.portfolio.currency)
    scorer = load_bundle(settings.models_dir, digest)
    return scorer, make_policy(settings, read_bundle(settings.models_dir, digest), with_labels=scorer.has_probability)


def make_policy(settings: Settings, bundle: ModelBundle, *, with_labels: bool) -> Policy:
    """Budgets turned into thresholds, from the score distributions that the model's bundle keeps.

    A model without labels has an anomaly score only, which then takes the whole budget; otherwise it takes a quarter,
    for what no label has taught yet.
    """
    budget = settings.policy.alerts_per_day / bundle.reference("anomaly", "all").cards
    exposed = settings.policy.exposed_alerts_per_1000_card_days / 1000

    def threshold(score: str, scope: str, rate: float) -> float | None:
        reference = bundle.reference(score, scope)
        # Data without channels have no card-not-present transactions: nothing to set that threshold by.
        return threshold_for_rate(reference, rate) if reference.values else None

    if not with_labels:
        return Policy(
            probability_threshold=None,
            anomaly_threshold=threshold("anomaly", "all", budget),
            exposed_probability_threshold=None,
            exposed_anomaly_threshold=threshold("anomaly", "card_not_present", exposed),
            currency=settings.portfolio.currency,
        )
    return Policy(
        probability_threshold=threshold("probability", "all", budget * 0.75),
        anomaly_threshold=threshold("anomaly", "all", budget * 0.25),
        exposed_probability_threshold=threshold("probability", "card_not_present", exposed),
        exposed_anomaly_threshold=None,
        supporting_probability_threshold=threshold("probability", "card_not_present", exposed * _SUPPORTED),
        currency=settings.portfolio.currency,
    )


def make_worker(settings: Settings, engine: Engine, observer: WorkerObserver | None = None) -> Worker:
    """A worker with the champion model and the policy for the settings' budgets."""
    guard = PanGuard.from_settings(settings.portfolio)
    scorer, policy = load_champion(settings)
    if observer is not None:  # loading a model includes its self-test on golden vectors
        observer.model(scorer.digest if scorer else None, self_test_passed=True)
    warm_up()  # compiled before the first batch, not during it
    pipeline = Pipeline(settings, make_decoder(settings, guard))
    first_day = settings.stream.history_from
    references = References(
        engine,
        policy,
        scorer,
        lambda digest: load_bundle(settings.models_dir, digest),
        None if first_day is None else int(datetime.combine(first_day, time.min, UTC).timestamp()) * 1_000,
    )
    archive = ArchiveWriter(ArchiveTable.from_settings(settings))
    return Worker(settings, engine, pipeline, references, Snapshots.from_settings(settings, engine), archive, observer)
