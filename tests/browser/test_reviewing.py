"""A reviewer's work, with real clicks and keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from console_seed import (
    KEY,
    NOW,
    OTHER_REVIEWER,
    REVIEWER,
    Seeded,
    card_ref,
)
from playwright.sync_api import Page, expect

from fraud.store.cases import claim, get_case
from fraud.store.database import read, write
from fraud.store.effects import claim_position, commit_effects
from fraud.store.operations import ensure_reference_set
from fraud.store.records import Counters, DetectionRecord, PartitionEffects

pytestmark = pytest.mark.browser
OpenPage = Callable[..., Page]


def rows(page: Page) -> Any:
    return page.locator("[data-row-link]")


def detect(site: Any, number: int, expected_loss: int) -> None:
    """One more detection arrives, on a card that has no case yet."""
    transaction = {"event_id": f"late-{number}", "occurred_at": NOW, "card_ref": card_ref(number), "pan_last4": "0042"}
    record = DetectionRecord(
        detection_id=f"late-{number}",
        event_id=f"late-{number}",
        origin="LIVE",
        card_ref=card_ref(number),
        card_lineage=card_ref(number),
        kind="ANOMALY",
        tier=0,
        compromise_event_ids=(),
        occurred_at=NOW,
        detected_at=NOW,
        probability=None,
        anomaly=0.99,
        expected_loss_minor=expected_loss,
        priority_reason="seeded",
        reasons=[{"code": "ANOMALY_HIGH", "facts": {"anomaly": 0.99}}],
        counter_evidence=[],
        transaction=transaction,
        recent_events=[],
        features=b"",
        features_digest="0" * 16,
        model_digest=None,
        offset=0,
        due_at=NOW + 86_400_000,
    )
    with write(site.engine) as connection:
        reference_set_id = ensure_reference_set(connection, 2, "a" * 64, "b" * 64, 1, {}, NOW)
        position = claim_position(connection, KEY, "worker-2", NOW)
        effects = PartitionEffects(
            key=KEY,
            expected_offset=position.next_offset,
            next_offset=position.next_offset + 1,
            owner_epoch=position.owner_epoch,
            reference_set_id=reference_set_id,
            counters=Counters(processed=1, detected=1),
            reached_at=NOW,
            detections=(replace(record, offset=position.next_offset),),
            committed_at=NOW,
        )
        assert commit_effects(connection, [effects]) == []


def test_from_the_queue_to_a_decision(page: Page, site: Any) -> None:
    expect(page).to_have_title("Queue · Mimamori")
    rows(page).first.click()
    page.get_by_role("button", name="Claim this case").click()
    case_id = int(page.url.rpartition("/")[2])
    expect(page.get_by_label("Fraud type")).to_be_hidden()
    page.get_by_label("Fraud confirmed").check()
    page.get_by_label("Reason").select_option("Holder denied the use")
    page.get_by_label("Fraud type").select_option("Card number used, card not present")
    page.get_by_label("Note", exact=True).fill("Holder called: not mine.")
    page.get_by_role("button", name="Add note").click()
    expect(page.locator(".history")).to_contain_text("Holder called: not mine.")
    page.get_by_label("Fraud confirmed").check()
    page.get_by_label("Reason").select_option("Holder denied the use")
    page.get_by_label("Fraud type").select_option("Card number used, card not present")
    page.get_by_role("button", name="Resolve and claim next").click()
    page.wait_for_url(lambda url: not url.endswith(f"/cases/{case_id}"))
    with read(site.engine) as connection:
        case = get_case(connection, case_id)
        following = get_case(connection, int(page.url.rpartition("/")[2]))
    assert (case.outcome, case.fraud_type, case.resolved_by) == ("CONFIRMED_FRAUD", "CARD_NOT_PRESENT", REVIEWER)
    assert following.claimed_by == REVIEWER


def test_an_outcome_that_is_no_fraud_takes_back_the_fraud_type(page: Page, seeded_file: tuple[Any, Seeded]) -> None:
    page.goto(f"/cases/{seeded_file[1].cases[card_ref(44)]}")
    page.get_by_label("Fraud confirmed").check()
    page.get_by_label("Fraud type").select_option("Lost card")
    page.get_by_label("Genuine").check()
    expect(page.get_by_label("Fraud type")).to_be_hidden()
    page.get_by_label("Reason").select_option("Holder confirmed the use")
    page.get_by_role("button", name="Resolve", exact=True).click()
    expect(page.get_by_text("Resolved by")).to_be_visible()


def test_a_decision_needs_its_fields_before_it_is_sent(page: Page, seeded_file: tuple[Any, Seeded]) -> None:
    address = f"/cases/{seeded_file[1].cases[card_ref(44)]}"
    page.goto(address)
    page.get_by_role("button", name="Resolve", exact=True).click()
    assert page.url.endswith(address)
    page.get_by_label("Fraud confirmed").check()
    page.get_by_label("Reason").select_option("Other")
    page.get_by_role("button", name="Resolve", exact=True).click()
    expect(page.get_by_label("Fraud type")).to_be_focused()


def test_keys_move_open_claim_and_help(page: Page) -> None:
    for key in "jjjk":
        page.keyboard.press(key)
    second = rows(page).nth(1)
    expect(second).to_be_focused()
    target = second.get_attribute("href")
    page.keyboard.press("Enter")
    page.wait_for_url(f"**{target}")
    page.keyboard.press("c")
    expect(page.get_by_role("button", name="Resolve", exact=True)).to_be_visible()
    page.get_by_label("Note", exact=True).fill("")
    page.get_by_label("Note", exact=True).press_sequentially("cju?")
    expect(page.get_by_label("Note", exact=True)).to_have_value("cju?")
    page.locator("#decision").click()  # out of the note
    page.keyboard.press("u")
    page.wait_for_url("**/queue")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_contain_text("Next and previous row")
    page.keyboard.press("j")
    page.get_by_role("button", name="Switch off").click()
    page.keyboard.press("j")
    expect(page.locator("[data-row-link]:focus")).to_have_count(0)


def test_filters_apply_as_they_are_changed(page: Page) -> None:
    page.get_by_label("Kind").select_option("Anomaly")
    page.wait_for_url("**kind=ANOMALY**")
    assert rows(page).count() > 3
    expect(page.locator(".tier")).to_have_count(0)


def test_the_list_refreshes_itself_and_keeps_the_place(page: Page, site: Any) -> None:
    page.set_viewport_size({"width": 1280, "height": 400})
    before = rows(page).count()
    for _ in range(14):
        page.keyboard.press("j")
    place = "[document.activeElement.id, Math.round(document.activeElement.getBoundingClientRect().top)]"
    held = page.evaluate(place)
    assert page.evaluate("window.scrollY") > 0
    detect(site, 900, 1_000_000)
    expect(rows(page)).to_have_count(before + 1)
    expect(rows(page).first).to_contain_text("0042")
    expect(page.locator("#tab-new .count")).to_have_text("18")
    assert page.evaluate(place) == held
    expect(page.locator("tr.is-new")).to_have_count(1)


def test_whoever_looks_at_a_case_hears_that_it_has_moved_on(page: Page, site: Any) -> None:
    case_id = site.seeded.cases[site.seeded.caught]
    page.clock.install()
    page.goto(f"/cases/{case_id}")
    with write(site.engine) as connection:
        claim(connection, case_id, OTHER_REVIEWER, get_case(connection, case_id).version, NOW)
    page.clock.fast_forward(11_000)
    page.get_by_role("link", name="Show it as it is now").click()
    expect(page.get_by_text(f"{OTHER_REVIEWER} is reviewing this case.")).to_be_visible()


def test_a_session_that_is_about_to_end_can_be_kept(page: Page) -> None:
    page.clock.install()
    page.goto("/events")
    page.clock.fast_forward("13:01")
    dialog = page.get_by_role("dialog", name="Still there?")
    expect(dialog).to_be_visible()
    with page.expect_response("**/session") as answer:
        dialog.get_by_role("button", name="Stay signed in").click()
    assert answer.value.status == 204
    expect(dialog).to_be_hidden()
    page.clock.fast_forward("13:01")
    expect(dialog).to_be_visible()


def test_a_session_that_has_ended_leads_to_the_sign_in_page_and_back(
    page: Page, site: Any, complaints: list[str]
) -> None:
    class Later:
        def now(self) -> datetime:
            return datetime.now(UTC) + timedelta(minutes=16)

    page.clock.install()
    page.goto("/queue?tab=new")
    site.app.state.services = replace(site.app.state.services, people_clock=Later())
    page.clock.fast_forward(6_000)
    page.wait_for_url("**/login?**")
    expect(page.get_by_role("status")).to_contain_text("You were signed out")
    assert "tab%3Dnew" in page.url
    complaints[:] = [text for text in complaints if "401" not in text]  # the refused refresh itself


def test_the_language_changes_with_a_click_and_stays(page: Page) -> None:
    page.get_by_role("button", name="日本語").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("審査待ち")
    page.goto("/events")
    expect(page.get_by_role("heading", level=1)).to_have_text("漏えい事案")


def test_the_console_works_without_scripts(browser: Any, site: Any) -> None:
    from console_seed import PASSWORD

    context = browser.new_context(java_script_enabled=False, base_url=site.address, locale="en-US")
    page = context.new_page()
    page.goto("/login")
    page.get_by_label("User name").fill(REVIEWER)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("button", name="Claim next").click()
    page.get_by_label("Undetermined").check()
    page.get_by_label("Reason").select_option("Other")
    page.get_by_role("button", name="Resolve", exact=True).click()
    expect(page.get_by_text("Resolved by")).to_be_visible()
    context.close()
