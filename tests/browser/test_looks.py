"""Every page, light and dark, in both languages: nothing sticks out, and there is a picture to look at.

The pictures go to the folder that SCREENSHOTS names, or to the test's own.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from console_seed import AUDITOR, HANAMORI, REVIEWER, Seeded, card_ref, seed_story
from playwright.sync_api import Page

pytestmark = pytest.mark.browser

CUT_OFF = """() => [...document.querySelectorAll("h1, h2, button, dd, .tabs a")]
    .filter((item) => item.offsetParent && !item.matches(".unseen") && item.clientWidth > 0)
    .filter((item) => item.scrollWidth > item.clientWidth + 1)
    .map((item) => item.textContent.trim())"""


def pages(seeded: Seeded) -> dict[str, str]:
    return {
        "story": "/",
        "queue": "/queue",
        "queue-empty": "/queue?event=nothing",
        "queue-resolved": "/queue?tab=resolved",
        "case-new": f"/cases/{seeded.cases[seeded.caught]}",
        "case-mine": f"/cases/{seeded.cases[card_ref(44)]}",
        "case-others": f"/cases/{seeded.cases[card_ref(23)]}",
        "case-resolved": f"/cases/{seeded.cases[card_ref(18)]}",
        "case-two-events": f"/cases/{seeded.cases[card_ref(52)]}",
        "case-anomaly": f"/cases/{seeded.cases[seeded.anomaly]}",
        "events": "/events",
        "event": f"/events/{HANAMORI}",
        "card-innocent": f"/cards/{seeded.innocent}",
        "card-caught": f"/cards/{seeded.caught}",
        "operations": "/operations",
        "missing": "/cases/999999",
    }


@pytest.mark.parametrize(
    ("scheme", "locale"), [("light", "en-US"), ("dark", "en-US"), ("light", "ja-JP"), ("dark", "ja-JP")]
)
def test_every_page_fits_the_screen(
    open_page: Callable[..., Page],
    site: Any,
    complaints: list[str],
    tmp_path: Path,
    scheme: str,
    locale: str,
) -> None:
    seed_story(site.engine, site.seeded, ended=True)
    folder = Path(os.environ.get("SCREENSHOTS") or tmp_path / "screenshots")
    shown = {None: {"login": "/login"}, REVIEWER: pages(site.seeded), AUDITOR: {"operations": "/operations"}}
    del shown[REVIEWER]["operations"]
    for username, addresses in shown.items():
        page = open_page(username, color_scheme=scheme, locale=locale)
        for name, address in addresses.items():
            page.goto(address)
            page.screenshot(path=folder / f"{name}-{scheme}-{locale[:2]}.png")
            width, wanted = page.evaluate("[window.innerWidth, document.documentElement.scrollWidth]")
            assert wanted <= width, name
            cut = page.evaluate(CUT_OFF)
            assert cut == [], name
    complaints[:] = [text for text in complaints if "404" not in text]  # the page that is meant to be missing


def test_small_screens_and_large_type_have_everything_too(open_page: Callable[..., Page], site: Any) -> None:
    page = open_page()
    page.set_viewport_size({"width": 640, "height": 480})  # what 1280 x 960 is at 200 %
    for address in ("/queue", f"/cases/{site.seeded.cases[card_ref(44)]}", f"/events/{HANAMORI}"):
        page.goto(address)
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), address
