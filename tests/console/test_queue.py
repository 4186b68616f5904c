"""The queue: order, tabs, filters, pages, what a row says."""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from typing import Any

from console_seed import HANAMORI, HOSTILE_NAME, NOW, OTHER_REVIEWER, REVIEWER, RYOKAN, Seeded, card_ref, new_store
from fastapi import FastAPI
from sqlalchemy import Engine

from fraud.console.formatting import Format
from fraud.console.language import translator
from fraud.console.routers import queue
from fraud.store.cases import queue_counts
from fraud.store.database import read

Visit = Callable[..., Any]


def shown(page: str) -> list[int]:
    """The cases of a page, in its order."""
    return [int(number) for number in re.findall(r'id="case-(\d+)"', page)]


def amounts(page: str) -> list[int]:
    found = re.findall(r'<td class="number strong"[^>]*>¥([\d,]+)</td>', page)
    return [int(amount.replace(",", "")) for amount in found]


def test_most_expected_loss_comes_first(reviewer: Any) -> None:
    losses = amounts(reviewer.open("/queue"))
    assert len(losses) > 10
    assert losses == sorted(losses, reverse=True)
    assert amounts(reviewer.open("/queue?descending=false")) == sorted(losses)


def test_tabs_count_cases_by_state_and_lead_to_them(reviewer: Any, engine: Engine) -> None:
    page = reviewer.open("/queue")
    with read(engine) as connection:
        counts = queue_counts(connection)
    expected = {
        "open": counts["NEW"] + counts["CLAIMED"],
        "new": counts["NEW"],
        "claimed": counts["CLAIMED"],
        "resolved": counts["RESOLVED"],
    }
    tabs = re.findall(r'id="tab-([a-z]+)" href="([^"]+)".*?<span class="count">(\d+)</span>', page)
    assert {name: int(count) for name, _, count in tabs} == expected
    for name, address, count in tabs:
        assert len(shown(reviewer.open(address))) == int(count), name


def test_filters_narrow_the_list(reviewer: Any, seeded: Seeded) -> None:
    everything = set(shown(reviewer.open("/queue")))
    exposed = set(shown(reviewer.open("/queue?kind=EXPOSED")))
    anomalies = set(shown(reviewer.open("/queue?kind=ANOMALY")))
    assert exposed
    assert anomalies
    assert exposed | anomalies == everything
    assert exposed & anomalies == set()
    assert set(shown(reviewer.open("/queue?tier=1"))) == exposed
    assert (
        set(shown(reviewer.open(f"/queue?event={HANAMORI}"))) | set(shown(reviewer.open(f"/queue?event={RYOKAN}")))
        == exposed
    )
    assert shown(reviewer.open("/queue?mine=true")) == [seeded.cases[card_ref(44)]]
    reviewer.open("/queue?event=unheard-of")
    assert "No case fits these filters" in reviewer.page


def test_pages_follow_one_another_without_gaps(reviewer: Any, monkeypatch: Any) -> None:
    everything = shown(reviewer.open("/queue?sort=due_at&descending=false"))
    monkeypatch.setattr(queue, "PAGE_SIZE", 4)
    found: list[int] = []
    reviewer.open("/queue?sort=due_at&descending=false")
    while True:
        found += shown(reviewer.page)
        following = re.search(r'href="(/queue\?[^"]*after=[^"]*)">Next page', reviewer.page)
        if following is None:
            break
        reviewer.open(following[1].replace("&amp;", "&"))
    assert found == everything


def test_an_address_that_is_not_ours_is_a_page_that_says_so(reviewer: Any) -> None:
    for address in ("/queue?sort=merchant_name", "/queue?tier=9", "/queue?after=nonsense", "/queue?tab=x"):
        page = reviewer.open(address)
        assert reviewer.status == 422
        assert "Something is not right" in page


def test_a_merchants_name_is_hostile_text(reviewer: Any) -> None:
    page = reviewer.open("/queue")
    assert "<script>alert" not in page
    assert f'<bdi class="clip" title="{escape(HOSTILE_NAME)}">{escape(HOSTILE_NAME)}</bdi>' in page


def test_a_card_shows_its_last_four_digits_and_nothing_else_does_more(reviewer: Any) -> None:
    page = reviewer.open("/queue")
    assert re.search(r">••••\d{4}</span>", page)
    assert not re.search(r"\d{12,19}", re.sub(r"v1:[0-9a-f]+", "", page))


def test_claim_next_takes_the_most_urgent_and_opens_it(reviewer: Any, visit: Visit) -> None:
    first = shown(reviewer.open("/queue?tab=new"))[0]
    reviewer.send("/queue/claim-next")
    assert reviewer.address == f"/cases/{first}"
    assert "Resolve and claim next" in reviewer.page
    other = visit(OTHER_REVIEWER)
    assert first not in shown(other.open("/queue?tab=new"))
    assert f"{REVIEWER} is reviewing this case." in other.open(f"/cases/{first}")


def test_with_nothing_new_claim_next_says_so(reviewer: Any) -> None:
    for _ in range(len(shown(reviewer.open("/queue?tab=new")))):
        reviewer.open("/queue")
        reviewer.send("/queue/claim-next")
    reviewer.open("/queue")
    reviewer.send("/queue/claim-next")
    assert "There is no new case to claim." in reviewer.page
    assert "Nothing new" in reviewer.open("/queue?tab=new")


def test_due_times_have_words_and_marks(reviewer: Any) -> None:
    page = reviewer.open("/queue")
    assert re.search(r'<span class="due due-late"[^>]*><svg.*?</svg> \d+ (?:h|d) late</span>', page, re.DOTALL)
    assert re.search(r'<span class="due due-soon"[^>]*><svg.*?</svg> in \d+', page, re.DOTALL)
    assert re.search(r'<span class="due due-calm"[^>]*>\s*in \d+ h', page)


def test_the_language_can_be_chosen(reviewer: Any) -> None:
    reviewer.open("/queue")
    reviewer.send("/preferences/language", language="ja", came_from="/queue?tab=new")
    assert reviewer.address == "/queue?tab=new"
    assert '<html lang="ja">' in reviewer.page
    assert "次の案件を担当" in reviewer.page


def test_single_keys_can_be_switched_off(reviewer: Any) -> None:
    assert 'data-shortcuts="on"' in reviewer.open("/queue")
    reviewer.send("/preferences/shortcuts", shortcuts="off", came_from="/queue")
    assert 'data-shortcuts="off"' in reviewer.page


def test_an_empty_queue_says_what_to_do_next(app: FastAPI, visit: Visit, tmp_path: Any) -> None:
    from console_seed import console_app, console_settings, seed_people

    settings = console_settings(tmp_path / "empty")
    engine = new_store(settings)
    seed_people(engine)
    app.state.services = console_app(settings, engine).state.services
    browser = visit(REVIEWER)
    assert "The queue is empty" in browser.open("/queue")
    assert "New cases appear here by themselves" in browser.page
    assert "No compromise event yet" in browser.open("/events")
    engine.dispose()


def test_times_are_local_with_utc_on_hover() -> None:
    from zoneinfo import ZoneInfo

    format_ = Format(translator("en"), ZoneInfo("Asia/Tokyo"), NOW)
    assert format_.time(NOW).__html__() == (
        '<time datetime="2022-09-06T05:20:00+00:00" title="2022-09-06 05:20:00 UTC">2022-09-06 14:20</time>'
    )
    assert format_.zone_name == "JST"
    assert format_.span(0) == "0 min"
    assert format_.span(3 * 3_600_000 + 5 * 60_000) == "3 h 05 min"
    assert format_.span(50 * 3_600_000) == "2 d"
    assert format_.span(20 * 3_600_000) == "20 h"
    assert format_.due(NOW - 60_000).tone == "late"
    assert format_.due(NOW + 60_000).tone == "soon"
    assert format_.due(NOW + 5 * 3_600_000).tone == "calm"
    assert format_.money(12_300, "JPY") == "¥12,300"
