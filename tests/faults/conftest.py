"""Lets the tests of this folder import the harness, and gives them the services that its schedules run on."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "services"))
sys.path.insert(0, str(Path(__file__).parent.parent / "streams"))
sys.path.insert(0, str(Path(__file__).parent.parent / "reference"))
sys.path.insert(0, str(Path(__file__).parent.parent / "faults"))

from fault_services import Services, services
from service_process import ServiceError

from fraud.errors import ConfigurationError, UnavailableError

SEED = 1


@pytest.fixture(scope="session")
def fault_services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    """Broker, database, proxies and launcher of all schedules of this session; each starts at its first use."""
    with services(tmp_path_factory.mktemp("faults"), SEED) as running:
        try:
            for part in ("kafka", "postgresql", "tansu"):
                getattr(running, part)
        except (ServiceError, ConfigurationError, UnavailableError) as error:
            if os.environ.get("REQUIRE_SERVICES") == "1":
                pytest.fail(str(error))
            pytest.skip(str(error))
        yield running
