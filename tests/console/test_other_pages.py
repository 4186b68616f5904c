"""The story, the events, a card by itself, and the operators' page."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from console_seed import AUDITOR, HANAMORI, KEY, NOW, OPERATOR, RYOKAN, Seeded, card_ref, seed_story, words_of
from sqlalchemy import Engine

from fraud.store.activity import activity_by_day
from fraud.store.cases import card_matches
from fraud.store.database import read
from fraud.store.effects import list_positions
from fraud.store.exposure import event_counts, exposed_cards
from fraud.store.operations import summary

Visit = Callable[..., Any]
DAY = 86_400_000


def test_without_a_story_the_start_page_is_ones_work(reviewer: Any, visit: Visit) -> None:
    reviewer.open("/")
    assert reviewer.address == "/queue"
    operator = visit(OPERATOR)
    operator.open("/")
    assert operator.address == "/operations"


def test_the_story_says_what_happened_and_where_it_is(reviewer: Any, engine: Engine, seeded: Seeded) -> None:
    seed_story(engine, seeded)
    page = reviewer.open("/")
    words = words_of(page)
    assert "From 19 July 2022 to 26 July 2022" in words
    assert "The first word came on 28 July 2022, 9 days after it began." in words
    assert "Cardholders were told on 10 January 2023, 166 days later." in words
    assert "Today 2022-09-06" in words
    assert "184,213" in words
    assert len(re.findall(r'<g class="moment', page)) == 7
    assert len(re.findall(r'<g class="moment past', page)) == 3
    assert f'href="/cases/{seeded.cases[seeded.caught]}"' in page
    assert f'href="/cards/{seeded.innocent.replace(":", "%3A")}"' in page
    assert "How it went" not in words
    seed_story(engine, seeded, ended=True)
    assert "41 of the 46 exposed cards" in reviewer.open("/")


def test_events_show_their_counts_and_lead_to_their_cases(reviewer: Any, engine: Engine) -> None:
    page = reviewer.open("/events")
    with read(engine) as connection:
        for event in (HANAMORI, RYOKAN):
            counts = event_counts(connection, event)
            row = next(row for row in page.split("<tr") if f"/events/{event}" in row).partition("</tr>")[0]
            names = ("exposed_cards", "matches", "detections", "cases_open", "cases_confirmed")
            assert words_of(row).endswith(" ".join(f"{counts[name]:,}" for name in names))


def test_an_event_tells_its_facts_in_order_with_days(reviewer: Any) -> None:
    words = words_of(reviewer.open(f"/events/{HANAMORI}"))
    assert "2022-07-28 Suspected · First word" in words
    dates = ("2022-07-28 Suspected", "2022-08-01 Regulator told", "2022-08-03 Card payments stopped")
    places = [words.index(fact) for fact in dates]
    assert places == sorted(places)
    assert "2 days after the window" in words


def test_an_events_picture_and_table_hold_every_match(reviewer: Any, engine: Engine) -> None:
    with read(engine) as connection:
        days = activity_by_day(connection, HANAMORI)
        counts = event_counts(connection, HANAMORI)
    assert sum(day.matches for day in days) == counts["matches"]
    assert all((day.starts_at + 9 * 3_600_000) % DAY == 0 for day in days)  # midnights in Tokyo
    assert [day.starts_at for day in days] == sorted({day.starts_at for day in days})
    page = reviewer.open(f"/events/{HANAMORI}")
    assert any(day.detections for day in days)
    assert len(re.findall(r'<rect class="bar"[^>]+><title>', page)) == 2 * len(days)
    activity = page[page.index('aria-labelledby="activity"') :]
    table = activity[activity.index("<details>") : activity.index("</details>")]
    assert table.count("<tr>") == len(days) + 1


def test_an_events_cards_can_be_paged_through(reviewer: Any, engine: Engine) -> None:
    found: list[str] = []
    reviewer.open(f"/events/{HANAMORI}")
    while True:
        found += re.findall(r'data-row-link href="/cards/([^"]+)"', reviewer.page)
        following = re.search(r'href="(/events/[^"]+after=[^"#]+)#cards"', reviewer.page)
        if following is None:
            break
        reviewer.open(following[1])
    with read(engine) as connection:
        expected = [card.card_ref for card in exposed_cards(connection, HANAMORI, None, 200).items]
    assert [reference.replace("%3A", ":") for reference in found] == expected


def test_an_exposed_card_that_was_left_alone_can_be_looked_at(reviewer: Any, engine: Engine, seeded: Seeded) -> None:
    words = words_of(reviewer.open(f"/cards/{seeded.innocent}"))
    with read(engine) as connection:
        matches = len(card_matches(connection, seeded.innocent, 200))
    assert f"{matches} transactions matched, and none was worth a person's time" in words
    assert "No case was ever opened for this card." in words
    assert "Detections 0" in words


def test_a_cards_page_links_its_cases_and_counts_each_transaction_once(
    reviewer: Any, engine: Engine, seeded: Seeded
) -> None:
    page = reviewer.open(f"/cards/{card_ref(52)}")  # in two events, so each transaction has two matches
    assert f'href="/cases/{seeded.cases[card_ref(52)]}"' in page
    with read(engine) as connection:
        events = {match.event_id for match in card_matches(connection, card_ref(52), 200)}
    assert f"Transactions while watched {len(events)} " in words_of(page)
    assert "left alone" not in page


def test_operators_see_that_the_counts_balance(visit: Visit, engine: Engine) -> None:
    page = words_of(visit(AUDITOR).open("/operations"))
    with read(engine) as connection:
        numbers = summary(connection)
        position = list_positions(connection)[0]
    assert f"Processed {numbers['processed']:,}" in page
    assert f"card.transactions {KEY.partition} {position.next_offset:,}" in page
    for name, count in numbers["dead_letters_by_class"].items():
        assert f"{name} {count}" in page
    counted = sum(numbers[name] for name in ("processed", "dead_letters", "duplicates", "quarantined"))
    assert counted == position.next_offset


def test_every_page_is_complete_in_every_language(visit: Visit, engine: Engine, seeded: Seeded) -> None:
    from console_seed import REVIEWER

    seed_story(engine, seeded, ended=True)
    addresses = {
        REVIEWER: [
            "/",
            "/queue",
            "/queue?tab=resolved",
            *(f"/cases/{case_id}" for case_id in seeded.cases.values()),
            "/events",
            f"/events/{HANAMORI}",
            f"/cards/{seeded.innocent}",
        ],
        OPERATOR: ["/operations"],
    }
    for username, pages in addresses.items():
        browser = visit(username)
        for language in ("ja", "en"):
            browser.open("/operations" if username == OPERATOR else "/queue")
            browser.send("/preferences/language", language=language)
            for address in pages:
                page = browser.open(address)
                assert browser.status == 200, address
                assert f'<html lang="{language}">' in page
                # A code or a key that nobody translated would stand there as it is.
                shown = re.sub(r"<code.*?</code>|<bdi.*?</bdi>|<option.*?</option>", "", page, flags=re.DOTALL)
                assert not re.search(r"\b[A-Z]{3,}_[A-Z_]+\b", words_of(shown)), address
                assert f"{NOW}" not in page
