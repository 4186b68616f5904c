"""Compromise events in the console: what each person sees, and the forms with what would follow."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from console_seed import AUDITOR, HANAMORI, MANAGER, REVIEWER, RYOKAN, Seeded, words_of
from sqlalchemy import Engine

from fraud.store.audit import list_audit
from fraud.store.compromise_records import compromise_versions, get_compromise_event
from fraud.store.compromise_views import CompromiseEventView
from fraud.store.database import read
from fraud.store.exposure import event_counts

PAGE = f"/events/{HANAMORI}"
DASH = "\u2013"
SECRETS = ("Hanamori", "Kazami", "M-7001", "outside supplier")
NEW = {
    "name": "Tsubame Books",
    "source": "ACQUIRER",
    "suspected_on": "2022-09-01",
    "starts_on": "2022-08-20",
    "ends_on": "2022-08-25",
    "precision": "DAY",
    "zone": "Asia/Tokyo",
    "data_elements": "expiry",
    "entity_name_0": "Tsubame KK",
    "entity_role_0": "MERCHANT",
    "code_name": "",
    "compromise_event_id": "",
    "vector": "",
}


@pytest.fixture
def manager(visit: Callable[..., Any]) -> Any:
    return visit(MANAGER)


def event_of(engine: Engine, event_id: str = HANAMORI) -> CompromiseEventView:
    with read(engine) as connection:
        return get_compromise_event(connection, event_id)


def hidden(page: str) -> dict[str, str]:
    """The fields that a confirmation sends once more."""
    form = page[page.index('<section class="panel"') :]
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', form)
    return {name: value for name, value in found if name != "csrf_token"}


def confirm(manager: Any, address: str) -> None:
    manager.send(address, then="confirm", **hidden(manager.page))


def filled(page: str) -> dict[str, str]:
    """A form as it came: text fields, dates and choices."""
    form = page[page.index('class="panel form-grid"') : page.index("</form>", page.index('class="panel form-grid"'))]
    fields = dict(re.findall(r'<input (?:id|aria-label)="[^"]*" name="([^"]+)"[^>]*? value="([^"]*)"', form))
    for name, options in re.findall(r'<select [^>]*name="([^"]+)">(.*?)</select>', form, re.DOTALL):
        chosen = re.search(r'<option value="([^"]+)" selected', options) or re.search(r'value="([^"]+)"', options)
        fields[name] = chosen[1] if chosen else ""
    fields["version"] = re.findall(r'name="version" value="(\d+)"', form)[0] if 'name="version"' in form else ""
    return fields


def test_before_publication_others_see_a_code_name_everywhere(visit: Callable[..., Any], seeded: Seeded) -> None:
    for username in (REVIEWER, AUDITOR):
        browser = visit(username)
        addresses = ["/events", PAGE, "/queue", f"/queue?event={HANAMORI}", f"/cards/{seeded.caught}"]
        addresses += [f"/cases/{case_id}" for case_id in seeded.cases.values()]
        for address in addresses:
            page = browser.open(address)
            assert browser.status == 200
            assert not [secret for secret in SECRETS if secret in page], address
        assert "Amber Heron" in browser.open("/events")


def test_an_event_manager_sees_names_and_may_act(manager: Any) -> None:
    words = words_of(manager.open(PAGE))
    assert all(secret in words for secret in SECRETS)
    assert "Code name Amber Heron" in words
    assert "Add a dated fact" in words


def test_others_are_offered_no_steps_and_refused_them(reviewer: Any) -> None:
    assert "Add a dated fact" not in words_of(reviewer.open(PAGE))
    for address in ("/new-event", f"{PAGE}/amend"):
        reviewer.open(address)
        assert reviewer.status == 403
    reviewer.open(PAGE)
    for action in ("status", "disclosure", "amend", "facts", "alerts", "facts/1/withdraw"):
        reviewer.send(f"{PAGE}/{action}", version="1", then="confirm")
        assert reviewer.status == 403, action


def test_a_form_without_its_token_is_refused(manager: Any, engine: Engine) -> None:
    manager.open(PAGE)
    manager.send(f"{PAGE}/facts", csrf=False, kind="POLICE_TOLD", on="2022-09-01")
    assert manager.status == 403
    assert len(event_of(engine).facts) == 3


def test_the_case_says_what_may_be_said_and_names_no_shop(
    visit: Callable[..., Any], manager: Any, seeded: Seeded
) -> None:
    address = f"/cases/{seeded.cases[seeded.caught]}"
    reviewer = visit(REVIEWER)
    words = words_of(reviewer.open(address))
    assert "What may be said: Restricted. Say neither that card data may have leaked nor where." in words
    manager.open(PAGE)
    manager.send(f"{PAGE}/disclosure", disclosure="MAY_TELL_HOLDER", version="5", then="confirm")
    words = words_of(reviewer.open(address))
    assert "May tell the holder. The holder may hear that" in words
    assert "Hanamori" not in reviewer.page
    # An insider's words for the holder name nothing either, for the insider may read them out.
    text = words_of(manager.open(address))
    assert "Hanamori" in text
    assert "Hanamori" not in text[text.index("Words for the holder") : text.index("Why")]


def test_after_publication_everybody_reads_the_name(visit: Callable[..., Any], manager: Any, seeded: Seeded) -> None:
    manager.open(PAGE)
    assert (
        'value="PUBLISHED">Published</option>' not in manager.page.split('name="disclosure"')[1].split("</select>")[0]
    )
    manager.send(f"{PAGE}/disclosure", disclosure="PUBLISHED", version="5")
    assert manager.status == 409
    manager.send(f"{PAGE}/facts", kind="PUBLISHED", on="2022-09-06", author="", note="")
    manager.send(f"{PAGE}/disclosure", disclosure="PUBLISHED", version="6")
    assert "Everybody who sees “Amber Heron” now sees the names of the event" in words_of(manager.page)
    confirm(manager, f"{PAGE}/disclosure")
    words = words_of(visit(REVIEWER).open(f"/cases/{seeded.cases[seeded.caught]}"))
    assert "Hanamori Cosme Online published it on 6 September 2022: the shop may be named." in words
    assert "Hanamori Cosme Online announced on 6 September 2022 that card data may have leaked there" in words


def test_the_picture_and_the_list_tell_the_same_dates(manager: Any) -> None:
    page = manager.open(f"/events/{RYOKAN}")
    chart = page[page.index('<svg class="chart story"') : page.index("</svg>", page.index('<svg class="chart story"'))]
    assert len(re.findall(r'class="band-earlier"', chart)) == 1  # the window that was amended
    drawn = re.findall(r'<g class="moment[^>]*><title>(\d{4}-\d\d-\d\d) ', chart)
    listed = re.findall(r'<span class="disc" aria-hidden="true">\d+</span> <span class="tabular">([\d-]+)</span>', page)
    assert drawn == listed
    assert len(drawn) == len(set(drawn)) >= 2


def test_versions_stand_side_by_side(manager: Any) -> None:
    page = manager.open(f"/events/{RYOKAN}")
    table = page[page.index('class="dense narrow versions"') : page.index("</table>")]
    window = words_of(table[table.index(">Exposure window<") : table.index(">Precision<")])
    days = f"2022-08-01 {DASH} 2022-08-20 2022-07-30 {DASH} 2022-08-20 (differs from the version before)"
    assert days in window
    assert "The acquirer names two days more" in words_of(table)
    assert len(re.findall(r'<td class="amended">', table)) == 1


def test_an_amendment_is_shown_before_it_is_made(manager: Any, engine: Engine) -> None:
    manager.open(f"{PAGE}/amend")
    fields = {**filled(manager.page), "starts_on": "2022-07-17", "reason": "a second report"}
    fields["data_elements"] = "expiry"
    manager.send(f"{PAGE}/amend", then="preview", **fields)
    words = words_of(manager.page)
    assert f"Days added to the window: 2022-07-17 {DASH} 2022-07-18" in words
    assert "Data elements taken away: security code" in words
    assert "The tier changes from E3 to E2." in words
    with read(engine) as connection:
        cards = event_counts(connection, HANAMORI)["exposed_cards"]
    assert f"The stream takes up {cards} watched cards anew" in words
    assert event_of(engine).version == 5
    confirm(manager, f"{PAGE}/amend")
    assert (manager.status, manager.address) == (200, PAGE)
    event = event_of(engine)
    assert (event.starts_on, event.tier, event.version) == ("2022-07-17", 2, 6)
    assert [entity.name for entity in event.entities] == ["Hanamori Cosme Online", "Kazami Scripts"]
    with read(engine) as connection:
        assert compromise_versions(connection, HANAMORI)[-1].changed_by == MANAGER


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ends_on": "2022-07-18"}, "The last day is missing, or lies before the first."),
        ({"ends_on": "soon"}, "The last day is missing, or lies before the first."),
        ({"zone": "Mars/Olympus"}, "The time zone is a name such as Asia/Tokyo."),
        ({"code_name": "hanamori"}, "The code name is empty or gives the name away"),
        ({"reason": " "}, "A reason is needed."),
        ({}, "Nothing would change."),
    ],
)
def test_an_amendment_that_cannot_be_comes_back_with_what_was_typed(
    manager: Any, engine: Engine, change: dict[str, str], words: str
) -> None:
    manager.open(f"{PAGE}/amend")
    elements = {"data_elements": ["expiry", "cvv2"]}
    fields: dict[str, Any] = {**filled(manager.page), "reason": "a second report", **elements, **change}
    manager.send(f"{PAGE}/amend", then="preview", **fields)
    assert manager.status == 422
    assert words in words_of(manager.page)
    for name, value in change.items():
        if value.strip() and name != "reason":
            assert f'value="{value}"' in manager.page
    assert event_of(engine).version == 5


def test_an_amendment_of_what_has_moved_on_is_refused(manager: Any, engine: Engine) -> None:
    manager.open(f"{PAGE}/amend")
    fields: dict[str, Any] = {**filled(manager.page), "starts_on": "2022-07-17", "reason": "a second report"}
    fields["data_elements"] = ["expiry", "cvv2"]
    manager.send(f"{PAGE}/facts", kind="POLICE_TOLD", on="2022-09-01", author="", note="")
    manager.send(f"{PAGE}/amend", then="confirm", **fields)
    assert manager.status == 409
    assert "That did not happen" in words_of(manager.page)
    assert event_of(engine).starts_on == "2022-07-19"


def test_refuting_says_which_cards_are_let_go(manager: Any, engine: Engine) -> None:
    manager.open(PAGE)
    manager.send(f"{PAGE}/status", status="REFUTED", version="5", reason="it was another shop")
    words = words_of(manager.page)
    assert "The event goes from “Investigating” to “Refuted”." in words
    assert "60 cards are no longer watched for this event." in words
    assert "11 of these cards stay watched for another event." in words  # 50 to 60 are in both
    assert "This is final" in words
    confirm(manager, f"{PAGE}/status")
    assert event_of(engine).status == "REFUTED"
    assert "There is no step from here." in words_of(manager.page)
    manager.open(f"{PAGE}/amend")
    fields: dict[str, Any] = {
        **filled(manager.page),
        "starts_on": "2022-07-17",
        "reason": "x",
        "data_elements": "expiry",
    }
    manager.send(f"{PAGE}/amend", then="confirm", **fields)
    assert manager.status == 409
    with read(engine) as connection:
        entry = list_audit(connection, subject=f"compromise_event/{HANAMORI}")[0]
    assert (entry.action, entry.actor, entry.reason) == ("exposure.status", MANAGER, "it was another shop")


def test_unknown_states_are_refused(manager: Any, engine: Engine) -> None:
    manager.open(PAGE)
    for action, field in (("status", "status"), ("disclosure", "disclosure")):
        manager.send(f"{PAGE}/{action}", version="5", then="confirm", **{field: "WHATEVER"})
        assert manager.status == 422
    assert event_of(engine).version == 5


def test_facts_and_alerts_are_added_and_withdrawn(manager: Any, engine: Engine) -> None:
    manager.open(PAGE)
    manager.send(f"{PAGE}/facts", kind="FORENSIC_REPORT", on="2022-09-05", author="", note="")
    assert manager.status == 422
    assert "A forensic report needs its author" in words_of(manager.page)
    manager.send(f"{PAGE}/facts", kind="FORENSIC_REPORT", on="2022-09-07", author="the supplier's", note="")
    assert "lies in the future" in words_of(manager.page)
    manager.send(f"{PAGE}/facts", kind="FORENSIC_REPORT", on="2022-09-05", author="the supplier's", note="")
    assert "2022-09-05 Forensic report, the supplier's" in words_of(manager.page)
    fact = event_of(engine).facts[-1]
    manager.send(f"{PAGE}/facts/{fact.fact_id}/withdraw", reason="that was a draft")
    assert "withdrawn by mei that was a draft" in words_of(manager.page)
    assert len(event_of(engine).standing_facts) == 3
    manager.send(f"{PAGE}/alerts", source="VISA_CAMS", external_id="IC-4711", received_at="2022-09-05T10:30", note="")
    assert "2022-09-05 Scheme alert, Visa CAMS IC-4711" in words_of(manager.page)
    manager.send(f"{PAGE}/alerts", source="VISA_CAMS", external_id="IC-4711", received_at="2022-09-05T10:30", note="")
    assert manager.status == 409
    assert event_of(engine).alerts[0].received_at == 1_662_341_400_000  # 10:30 in Tokyo


def test_an_event_is_recorded_from_suspicion(manager: Any, engine: Engine) -> None:
    manager.open("/new-event")
    assert 'value="2022-09-06"' in manager.page  # today in Tokyo
    manager.send("/new-event", then="preview", **NEW)
    words = words_of(manager.page)
    assert f"Exposure window 2022-08-20 {DASH} 2022-08-25, 6 days in Asia/Tokyo" in words
    assert "Its cards get tier E2." in words
    assert "all but event managers see a code name only" in words
    with read(engine) as connection:
        before = get_compromise_event(connection, HANAMORI)
    confirm(manager, "/new-event")
    assert manager.status == 200
    event_id = manager.address.removeprefix("/events/")
    event = event_of(engine, event_id)
    assert (event.status, event.disclosure, event.name, event.tier) == ("SUSPECTED", "RESTRICTED", "Tsubame Books", 2)
    assert event.entities[0].name == "Tsubame KK"
    assert event.code_name not in {before.code_name, "Tsubame Books"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ends_on": "2022-08-19"}, "The last day is missing, or lies before the first."),
        ({"name": ""}, "The name is missing or too long."),
        ({"compromise_event_id": "tsubame-2022"}, "holds a word of the name"),
        ({"code_name": "Tsubame"}, "The code name is empty or gives the name away"),
        ({"suspected_on": ""}, "The day of suspicion is missing."),
        ({"suspected_on": "2022-09-07"}, "The day of suspicion lies in the future."),
    ],
)
def test_an_event_that_cannot_be_is_refused(manager: Any, engine: Engine, change: dict[str, str], words: str) -> None:
    manager.open("/new-event")
    manager.send("/new-event", then="confirm", **{**NEW, **change})
    assert manager.status == 422
    assert words in words_of(manager.page)
    assert 'value="Tsubame KK"' in manager.page


def test_no_card_number_comes_in_by_a_form(manager: Any, engine: Engine) -> None:
    manager.open(PAGE)
    manager.send(f"{PAGE}/facts", kind="OTHER", on="2022-09-01", author="", note="card 4532 0151 1283 0366")
    assert manager.status == 422
    assert "0366" not in manager.page
    assert len(event_of(engine).facts) == 3


def test_every_page_of_an_event_is_complete_in_japanese(manager: Any) -> None:
    manager.open("/events")
    manager.send("/preferences/language", language="ja")
    for address in ("/events", PAGE, f"/events/{RYOKAN}", f"{PAGE}/amend", "/new-event"):
        page = manager.open(address)
        assert manager.status == 200
        shown = re.sub(r"<code.*?</code>|<bdi.*?</bdi>|<option.*?</option>", "", page, flags=re.DOTALL)
        assert not re.search(r"\b[A-Z]{3,}_[A-Z_]+\b", words_of(shown)), address
    manager.open(PAGE)
    manager.send(f"{PAGE}/status", status="CONFIRMED", version="5", reason="")
    assert "状態が「調査中」から" in words_of(manager.page)


def test_hostile_text_stays_text(manager: Any) -> None:
    manager.open(PAGE)
    hostile = "<script>alert(1)</script>"
    manager.send(f"{PAGE}/facts", kind="OTHER", on="2022-09-01", author=hostile, note=hostile)
    assert hostile not in manager.page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in manager.page
