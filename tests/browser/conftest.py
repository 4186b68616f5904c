"""A real browser in front of a real server. Without Chromium the tests are skipped, unless REQUIRE_SERVICES=1."""

from __future__ import annotations

import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sqlalchemy import Engine

sys.path.insert(0, str(Path(__file__).parents[1] / "console"))

from console_seed import PASSWORD, REVIEWER, Seeded, console_app, console_settings, new_store, seed_everything

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SIZE = {"width": 1280, "height": 800}
PATIENCE_MS = 30_000  # on a busy machine; lists refresh every five seconds
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        message = f"{CHROMIUM} is not there"
        if os.environ.get("REQUIRE_SERVICES") == "1":
            pytest.fail(message)
        pytest.skip(message)
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield opened
        opened.close()


@dataclass(frozen=True, slots=True)
class Site:
    """A running console."""

    address: str
    app: FastAPI
    engine: Engine
    seeded: Seeded


@pytest.fixture(scope="session")
def seeded_file(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Seeded]:
    """A database file seeded once; each test works on a copy."""
    folder = tmp_path_factory.mktemp("seeded")
    engine = new_store(console_settings(folder))
    seeded = seed_everything(engine)
    engine.dispose()
    return folder / "store.db", seeded


@pytest.fixture
def site(tmp_path: Path, seeded_file: tuple[Path, Seeded]) -> Iterator[Site]:
    shutil.copy(seeded_file[0], tmp_path / "store.db")
    settings = console_settings(tmp_path)
    engine = new_store(settings)
    app = console_app(settings, engine)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Site(f"http://127.0.0.1:{port}", app, engine, seeded_file[1])
    server.should_exit = True
    thread.join()
    engine.dispose()


@pytest.fixture
def complaints() -> list[str]:
    """What the browser said against the pages: errors in scripts, refusals of the content security policy, warnings."""
    return []


@pytest.fixture
def open_page(browser: Browser, site: Site, complaints: list[str]) -> Iterator[Callable[..., Page]]:
    """Opens a window, signed in as somebody or as nobody: `open_page("aoi", color_scheme="dark")`."""
    contexts = []

    def make(username: str | None = REVIEWER, **options: str) -> Page:
        context = browser.new_context(viewport=SIZE, base_url=site.address, **{"locale": "en-US", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        if username:
            page.goto("/login")
            page.get_by_label("User name" if options.get("locale") != "ja-JP" else "ユーザー名").fill(username)
            page.get_by_label("Password" if options.get("locale") != "ja-JP" else "パスワード").fill(PASSWORD)
            page.locator("main button").click()
            page.wait_for_url(lambda url: "/login" not in url)
        return page

    yield make
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    return open_page()
