"""A real store in a file, the real application, and clients that are signed in by role."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from shutil import copyfile
from typing import Any

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine

from fraud.api.app import create_app
from fraud.pan_guard import PanGuard
from fraud.settings import ApiSettings, PortfolioSettings, Settings
from fraud.store.database import open_engine, upgrade, write
from fraud.store.effects import claim_position, commit_effects
from fraud.store.operations import ensure_reference_set
from fraud.store.people import create_api_token, create_user
from fraud.store.records import (
    Counters,
    DeadLetterRecord,
    DetectionRecord,
    ExposureMatchRecord,
    PartitionEffects,
    PartitionKey,
)

with warnings.catch_warnings():
    # Starlette's client prefers a newer package of the same authors; it works with this one.
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient

NOW = 1_675_000_000_000  # 2023-01-29
HOUR = 3_600_000
PASSWORD = "correct horse battery staple"
ROLES = ("reviewer", "event_manager", "operator", "data_scientist", "auditor", "administrator")
KEY = PartitionKey(group_id="mimamori", topic_id="4f2c1f0e-topic", topic="card.transactions", partition=0)


class SetClock:
    """A clock that shows what the test sets."""

    def __init__(self) -> None:
        self.at = NOW

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.at / 1000, UTC)


def _card_ref(number: int) -> str:
    return f"v1:{number:064x}"


def _detection(number: int, **changes: Any) -> DetectionRecord:
    """A detection on card `number`, in no compromise event unless `changes` say otherwise."""
    reference = changes.pop("card_ref", _card_ref(number))
    values: dict[str, Any] = {
        "detection_id": f"{number:064x}",
        "event_id": f"event-{number}",
        "origin": "LIVE",
        "card_ref": reference,
        "card_lineage": reference,
        "kind": "ANOMALY",
        "tier": 0,
        "compromise_event_ids": (),
        "occurred_at": NOW - HOUR + number,
        "detected_at": NOW - HOUR + number,
        "probability": 0.875,
        "anomaly": 0.75,
        "expected_loss_minor": 1_000 * number,
        "priority_reason": "probability times amount",
        "reasons": [{"code": "HIGH_PROBABILITY", "facts": {"probability": 0.875}}],
        "counter_evidence": [{"code": "KNOWN_MERCHANT", "facts": {}}],
        "transaction": {
            "event_id": f"event-{number}",
            "event_type": "authorization",
            "occurred_at": NOW - HOUR + number,
            "card_ref": reference,
            "amount_minor": 12_300,
            "currency": "JPY",
            "merchant_name": "<script>alert(1)</script>",
            "merchant_country": "US",
            "pan_last4": "1111",
        },
        "recent_events": [],
        "features": b"\x00\x00\x80\x3f" * 4,
        "features_digest": f"{number:016x}",
        "model_digest": "a" * 64,
        "offset": 0,
        "due_at": NOW + 24 * HOUR + number,
    }
    return DetectionRecord(**{**values, **changes})


def _match(number: int, compromise_event_id: str, **changes: Any) -> ExposureMatchRecord:
    values: dict[str, Any] = {
        "event_id": f"event-{number}",
        "compromise_event_id": compromise_event_id,
        "card_ref": _card_ref(number),
        "kind": "AFTER_WINDOW",
        "tier": 3,
        "days_since_window": 12,
        "occurred_at": NOW - HOUR + number,
        "transaction": {"event_id": f"event-{number}", "amount_minor": 500, "currency": "JPY"},
        "probability": 0.25,
        "anomaly": 0.5,
        "detection_id": None,
        "offset": 0,
    }
    return ExposureMatchRecord(**{**values, **changes})


def _dead_letter(number: int) -> DeadLetterRecord:
    return DeadLetterRecord(
        offset=0,
        error_class="MISSING_FIELD",
        field_path="card_ref",
        payload_digest=f"{number:064x}",
        payload_bytes=512,
        card_ref=None,
        on_exposed_card=False,
    )


@pytest.fixture
def card_ref() -> Callable[[int], str]:
    return _card_ref


@pytest.fixture
def detection() -> Callable[..., DetectionRecord]:
    return _detection


@pytest.fixture
def match() -> Callable[..., ExposureMatchRecord]:
    return _match


@pytest.fixture
def dead_letter() -> Callable[[int], DeadLetterRecord]:
    return _dead_letter


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data_dir=tmp_path,
        database_url=f"sqlite:///{tmp_path}/store.db",  # type: ignore[arg-type]
        portfolio=PortfolioSettings(bin_ranges=("411111",)),
        api=ApiSettings(secure_cookies=False),
    )


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database that the migrations have made, with nothing in it: tests begin with a copy."""
    path = tmp_path_factory.mktemp("database") / "empty.db"
    opened = open_engine(f"sqlite:///{path}")
    upgrade(opened)
    opened.dispose()
    return path


@pytest.fixture
def engine(settings: Settings, empty_database: Path) -> Iterator[Engine]:
    url = settings.database_url.get_secret_value()
    copyfile(empty_database, url.removeprefix("sqlite:///"))
    opened = open_engine(url)
    yield opened
    opened.dispose()


@pytest.fixture
def app(settings: Settings, engine: Engine, clock: SetClock) -> FastAPI:
    return create_app(settings, engine, clock, PanGuard.from_settings(settings.portfolio))


@pytest.fixture
def client(app: FastAPI) -> Iterator[TestClient]:
    """A client that is not signed in."""
    with TestClient(app, raise_server_exceptions=True) as opened:
        yield opened


@pytest.fixture
def sign_in(app: FastAPI, engine: Engine) -> Iterator[Callable[..., TestClient]]:
    """Makes a user of a role and a client with that user's token: `sign_in("reviewer", "hana")`."""

    def make(role: str, username: str | None = None) -> TestClient:
        name = username or role.replace("_", "-")
        with write(engine) as connection:
            create_user(connection, name, name.title(), PASSWORD, role, NOW)
            token = create_api_token(connection, name, "test", NOW)
        client = TestClient(app, headers={"Authorization": f"Bearer {token}"})
        return opened.enter_context(client)

    with ExitStack() as opened:
        yield make


@pytest.fixture
def reviewer(sign_in: Callable[..., TestClient]) -> TestClient:
    return sign_in("reviewer", "hana")


@pytest.fixture
def event_manager(sign_in: Callable[..., TestClient]) -> TestClient:
    return sign_in("event_manager", "ken")


@pytest.fixture
def seed(engine: Engine) -> Callable[..., None]:
    """Commits effects the way a worker does, each record at the next offset: `seed(detection(1), dead_letter(2))`."""
    with write(engine) as connection:
        reference_set_id = ensure_reference_set(connection, 0, "a" * 64, "b" * 64, 1, {}, NOW)
        first = claim_position(connection, KEY, "test-worker", NOW)
    reached = [first.next_offset]

    def commit(*records: DetectionRecord | ExposureMatchRecord | DeadLetterRecord) -> None:
        placed = [replace(record, offset=reached[0] + place) for place, record in enumerate(records)]
        next_offset = reached[0] + len(placed)
        dead_letters = tuple(item for item in placed if isinstance(item, DeadLetterRecord))
        matches = tuple(item for item in placed if isinstance(item, ExposureMatchRecord))
        detections = tuple(item for item in placed if isinstance(item, DetectionRecord))
        effects = PartitionEffects(
            key=KEY,
            expected_offset=reached[0],
            next_offset=next_offset,
            owner_epoch=first.owner_epoch,
            reference_set_id=reference_set_id,
            counters=Counters(
                processed=len(placed) - len(dead_letters),
                dead_lettered=len(dead_letters),
                matched=len(matches),
                detected=len(detections),
            ),
            reached_at=NOW,
            dead_letters=dead_letters,
            matches=matches,
            detections=detections,
            committed_at=NOW,
        )
        with write(engine) as connection:
            fenced = commit_effects(connection, [effects])
        assert fenced == []
        reached[0] = next_offset

    return commit
