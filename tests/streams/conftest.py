"""The stream's own fixtures: a simulated portfolio, and deployments of the stack."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # the helper modules of this folder

from worker_support import CARD_KEY, Deployment

from fraud.cards import CardTokenizer
from fraud.settings import CardSettings
from streams.simulator import Simulation, SimulationParameters, simulate


@pytest.fixture(scope="session")
def simulation() -> Simulation:
    """A small portfolio of which a third is exposed, and abused often enough for detections in a few days."""
    parameters = SimulationParameters(
        cards=600, history_days=10, story_days=20, exposed_records=200, abuse_share=0.5, testing_share=1.0
    )
    return simulate(parameters, CardTokenizer.from_settings(CardSettings(keys={1: CARD_KEY})))  # type: ignore[dict-item]


@pytest.fixture
def deploy(tmp_path: Path) -> Iterator[Callable[..., Deployment]]:
    """Deploys a stack, with settings of the stream as they are given: `deploy(stack, max_poll_records=50)`."""
    with ExitStack() as deployed:

        def make(stack: Any, **stream: Any) -> Deployment:
            deployment = Deployment(stack.kafka, stack.database_url, tmp_path, **stream)
            deployed.callback(deployment.close)
            return deployment

        yield make
