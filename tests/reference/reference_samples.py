"""A small portfolio, a model for it, and its transactions with everything in between that a real feed has too."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fraud.cards import CardTokenizer
from fraud.settings import CardSettings
from fraud.transactions import Columns
from models.bundle import save_bundle
from models.registry import set_champion
from models.training import TrainingSettings, train
from streams.simulator import Simulation, SimulationParameters, simulate
from streams.wire import encode, keys

Sent = tuple[bytes | None, bytes | None]  # key and value

PAN = "453201" + "0" * 9 + "8"  # of the portfolio's range, with a right check digit
MINUTE, HOUR = 60_000, 3_600_000


def small_simulation(card_key: str) -> Simulation:
    """300 cards, a third of them exposed, abused often enough for detections in a few days."""
    parameters = SimulationParameters(
        cards=300, history_days=10, story_days=20, exposed_records=100, abuse_share=0.5, testing_share=1.0
    )
    return simulate(parameters, CardTokenizer.from_settings(CardSettings(keys={1: card_key})))  # type: ignore[dict-item]


def add_model(simulation: Simulation, models_dir: Path) -> str:
    """Train a small model on the simulation's history and make it the champion; its digest."""
    settings = TrainingSettings(
        iterations=30, isolation_trees=20, isolation_samples=128, min_positives=5, min_calibration_positives=1
    )
    labels = simulation.fraud[: simulation.live_from]
    trained = train(simulation.history, labels, home_country=392, timezone="Asia/Tokyo", settings=settings)
    assert trained.scorer.has_probability
    digest = save_bundle(trained, models_dir, name="small", created_at=0).digest
    set_champion(models_dir, digest)
    return digest


def mixed_records(columns: Columns, seed: int) -> list[Sent]:
    """The transactions in their order, and between them: refused records, duplicates, reused ids, reversals, late ones.

    Every card's records keep to the card's partition, as the contract's key demands.
    """
    rng = random.Random(seed)  # noqa: S311 - seeded test data
    placed: list[tuple[float, Sent]] = []
    for number, (key, value) in enumerate(zip(keys(columns), encode(columns), strict=True)):
        fields = json.loads(value)
        late = rng.choice((2, 30, 300)) if rng.random() < 0.02 else 0
        placed.append((number + late, (key, value)))
        for changed in _beside(value, fields, rng):
            distance = rng.choice((0.1, 5.1, 120.1))
            placed.append((number + late + distance, (key, changed)))
        if number % 100 == 0:
            of_no_use = _of_no_use(key, fields)
            placed.append((number + 0.2, of_no_use[number // 100 % len(of_no_use)]))
    placed.sort(key=lambda item: item[0])
    return [record for _, record in placed]


def _beside(value: bytes, fields: dict[str, Any], rng: random.Random) -> list[bytes]:
    """What follows a record now and then, for the same card."""
    own, at = fields["event_id"], fields["occurred_at"]

    def changed(**changes: Any) -> bytes:
        return json.dumps(fields | changes).encode()

    choices = (
        (0.02, value),  # a producer that has tried twice
        (0.01, changed(amount_minor=rng.randrange(10**6))),  # the id is used again, with other content
        (0.02, changed(event_id=f"reversal-{own}", event_type="reversal", original_event_id=own)),
        (0.01, changed(event_id=f"clearing-{own}", event_type="clearing", original_event_id=own)),
        (0.02, changed(event_id=f"late-{own}", occurred_at=at - rng.choice((MINUTE, 5 * HOUR, 216 * HOUR)))),
        (0.01, changed(event_id=f"probe-{own}", event_type="account_verification", channel="ecommerce")),
        (0.01, changed(event_id=f"future-{own}", occurred_at=2**62)),
        (0.01, changed(event_id=f"unknown-{own}", event_type="teleportation", mcc="x", currency=None)),
        (0.01, changed(event_id=f"pan-{own}", merchant_name=f"Shop {PAN}")),
    )
    return [made for share, made in choices if rng.random() < share]


def _of_no_use(key: bytes, fields: dict[str, Any]) -> Sequence[Sent]:
    """A record of each class that is refused."""
    value = json.dumps(fields | {"event_id": "bad"}).encode()
    return (
        (key, value[:-1]),
        (key, None),
        (key, value.replace(b", ", b",\n", 1)),
        (key, json.dumps(fields | {"note": "x" * 70_000}).encode()),
        (key, json.dumps(fields | {"schema_version": 2}).encode()),
        (key, json.dumps(fields | {"occurred_at": None}).encode()),
        (key, json.dumps(fields | {"occurred_at": "yesterday"}).encode()),
        (b"another", value),
        (PAN.encode(), value),
        (key, json.dumps(fields | {"card_ref": PAN}).encode()),
    )
