"""The seeded console over a real database file, and clients that are signed in the way a browser is."""

from __future__ import annotations

import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine

from fraud.settings import Settings
from fraud.store.database import open_engine

sys.path.insert(0, str(Path(__file__).parent))

from console_seed import PASSWORD, REVIEWER, Seeded, console_app, console_settings, new_store, seed_everything

with warnings.catch_warnings():
    # Starlette's client prefers a newer package of the same authors; it works with this one.
    warnings.simplefilter("ignore")
    from starlette.testclient import TestClient


@pytest.fixture(scope="session")
def seeded_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Seeded]:
    """A database file seeded once; each test works on a copy."""
    folder = tmp_path_factory.mktemp("seeded")
    engine = new_store(console_settings(folder))
    seeded = seed_everything(engine)
    engine.dispose()
    return folder / "store.db", seeded


@pytest.fixture
def seeded(seeded_file: tuple[Path, Seeded]) -> Seeded:
    return seeded_file[1]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return console_settings(tmp_path)


@pytest.fixture
def engine(settings: Settings, seeded_file: tuple[Path, Seeded], tmp_path: Path) -> Iterator[Engine]:
    shutil.copy(seeded_file[0], tmp_path / "store.db")
    opened = open_engine(settings.database_url.get_secret_value())
    yield opened
    opened.dispose()


@pytest.fixture
def app(settings: Settings, engine: Engine) -> FastAPI:
    return console_app(settings, engine)


class Browser:
    """A client that keeps cookies and fills in the CSRF token of the page that it looks at."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.page = ""
        self.address = ""
        self.status = 0

    def open(self, address: str, **headers: str) -> str:
        return self._shown(self.client.get(address, headers=headers))

    def send(self, address: str, *, csrf: bool = True, **fields: str) -> str:
        token = re.search(r'name="csrf_token" value="([^"]+)"', self.page)
        if csrf and token:
            fields["csrf_token"] = token[1]
        return self._shown(self.client.post(address, data=fields))

    def _shown(self, response: httpx.Response) -> str:
        self.status = response.status_code
        self.address = response.url.path + (f"?{q}" if (q := response.url.query.decode()) else "")
        self.page = response.text
        return self.page


@pytest.fixture
def visit(app: FastAPI) -> Iterator[Callable[..., Browser]]:
    """Opens a browser, signed in as somebody, or as nobody: `visit("aoi")`, `visit(None)`."""
    opened: list[TestClient] = []

    def make(username: str | None = REVIEWER) -> Browser:
        client = TestClient(app, headers={"Accept-Language": "en"})
        opened.append(client)
        browser = Browser(client)
        if username:
            browser.send("/login", username=username, password=PASSWORD)
            assert browser.status == 200
        return browser

    yield make
    for client in opened:
        client.close()


@pytest.fixture
def reviewer(visit: Callable[..., Browser]) -> Browser:
    return visit(REVIEWER)
