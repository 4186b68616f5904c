"""Compromise events from suspicion to closure: versions, amendments, facts, alerts, disclosure, audit."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from sqlalchemy import Engine
from store_samples import EVENT, NOW, add_event, alert_file, card_ref, new_event, rows

from fraud.compromise import (
    AlertSource,
    CompromisedEntity,
    CompromiseStatus,
    DataElements,
    EntityRole,
    ExposureWindow,
    SchemeAlert,
    WindowPrecision,
)
from fraud.compromise_amendments import Amendment
from fraud.compromise_disclosure import Disclosure
from fraud.errors import ConflictError, InvalidInputError, NotFoundError
from fraud.store import tables
from fraud.store.audit import list_audit, verify_audit
from fraud.store.compromise_changes import (
    StatusEffect,
    amend_compromise_event,
    preview_amendment,
    set_disclosure,
    set_status,
    status_effect,
)
from fraud.store.compromise_events import create_compromise_event
from fraud.store.compromise_facts import add_fact, add_scheme_alert, withdraw_fact
from fraud.store.compromise_records import compromise_versions, get_compromise_event, related_events, windows_at
from fraud.store.compromise_views import CompromiseEventView, as_seen
from fraud.store.database import read, write
from fraud.store.exposure import exposure_changes, exposure_version, exposures_before, import_exposed_cards
from fraud.store.records import ExposureChange
from fraud.store.tables_events import compromise_event_version, compromise_fact, scheme_alert
from fraud.store.tables_lookback import lookback_run

S = CompromiseStatus
WIDER = ExposureWindow(date(2022, 7, 17), date(2022, 7, 26), "Asia/Tokyo")


def event_of(engine: Engine, event_id: str = EVENT) -> CompromiseEventView:
    with read(engine) as connection:
        return get_compromise_event(connection, event_id)


def take(engine: Engine, cards: list[int], sha256: str = "f" * 64, event_id: str = EVENT) -> None:
    with write(engine) as connection:
        import_exposed_cards(connection, event_id, "cards.csv", alert_file(cards, sha256), "ken", NOW)


def amend(engine: Engine, event_id: str = EVENT, **changes: Any) -> CompromiseEventView:
    with write(engine) as connection:
        version = get_compromise_event(connection, event_id).version
        amendment = Amendment(changes.pop("reason", "the forensic report says so"), **changes)
        return amend_compromise_event(connection, event_id, amendment, version, NOW + version, "ken")


def step(engine: Engine, *statuses: CompromiseStatus, event_id: str = EVENT, **words: Any) -> CompromiseEventView:
    for status in statuses:
        with write(engine) as connection:
            version = get_compromise_event(connection, event_id).version
            event = set_status(connection, event_id, status, version, NOW + version, actor="ken", **words)
    return event


def current_version(engine: Engine) -> int:
    with read(engine) as connection:
        return exposure_version(connection)


def lookbacks(engine: Engine) -> list[tuple[str, int, str]]:
    return [(row["compromise_event_id"], row["exposure_version"], row["reason"]) for row in rows(engine, lookback_run)]


def card_rows(engine: Engine) -> dict[str, tuple[int, str, int]]:
    found = rows(engine, tables.exposed_card)
    return {row["card_ref"]: (row["tier"], row["status"], row["exposure_version"]) for row in found}


class TestAmendments:
    def test_a_wider_window_reaches_the_stream_and_starts_a_look_back(self, engine: Engine) -> None:
        add_event(engine)
        take(engine, [1, 2])
        before = len(lookbacks(engine))
        event = amend(engine, window=WIDER)
        assert (event.starts_on, event.version, event.window_start_at) == ("2022-07-17", 2, WIDER.start_at)
        assert current_version(engine) == 2
        with read(engine) as connection:
            changed = exposure_changes(connection, 1)
        assert {(item.card_ref, item.window_start_at) for item in changed} == {
            (card_ref(1), WIDER.start_at),
            (card_ref(2), WIDER.start_at),
        }
        assert lookbacks(engine)[before:] == [(EVENT, 2, "AMENDMENT")]

    def test_the_old_version_is_kept_with_its_reason(self, engine: Engine) -> None:
        add_event(engine)
        amend(engine, window=WIDER, reason="second report")
        amend(engine, elements=DataElements(expiry=True, cvv2=True, name=True), reason="names as well")
        with read(engine) as connection:
            found = compromise_versions(connection, EVENT)
        assert [(item.version, item.change, item.changed_by, item.reason) for item in found] == [
            (1, "RECORDED", "system", None),
            (2, "AMENDED", "ken", "second report"),
            (3, "AMENDED", "ken", "names as well"),
        ]
        assert [item.starts_on for item in found] == ["2022-07-19", "2022-07-17", "2022-07-17"]
        assert [item.tier for item in found] == [3, 3, 4]
        assert [item.exposure_version for item in found] == [0, 1, 2]

    def test_names_entities_and_vector_leave_the_stream_alone(self, engine: Engine) -> None:
        add_event(engine)
        take(engine, [1])
        before = lookbacks(engine)
        supplier = CompromisedEntity("Scripts Ltd", EntityRole.SUPPLIER)
        event = amend(engine, entities=(supplier,), vector="tampered script", name="Web shop, Osaka", code_name="Oak")
        assert (event.entities, event.vector, event.name, event.code_name) == (
            (supplier,),
            "tampered script",
            "Web shop, Osaka",
            "Oak",
        )
        assert current_version(engine) == 1
        assert lookbacks(engine) == before
        with read(engine) as connection:
            assert [item.entities for item in compromise_versions(connection, EVENT)] == [
                [],
                [{"name": "Scripts Ltd", "role": "SUPPLIER", "acquirer_id": None, "merchant_id": None}],
            ]

    def test_more_elements_raise_the_tier_of_cards_except_one_with_a_tier_of_its_own(self, engine: Engine) -> None:
        add_event(engine, data_elements=DataElements(expiry=True))
        take(engine, [1, 2])
        with write(engine) as connection:  # a card whose expiry was renewed under its number
            own = tables.exposed_card.c.card_ref == card_ref(2)
            connection.execute(tables.exposed_card.update().where(own).values(tier=1))
        amend(engine, elements=DataElements(expiry=True, cvv2=True))
        assert card_rows(engine) == {card_ref(1): (3, "ACTIVE", 2), card_ref(2): (1, "ACTIVE", 2)}

    def test_a_stale_version_a_closed_event_and_no_change_are_refused(self, engine: Engine) -> None:
        add_event(engine)
        with pytest.raises(ConflictError), write(engine) as connection:
            amend_compromise_event(connection, EVENT, Amendment("x", window=WIDER), 2, NOW)
        with pytest.raises(InvalidInputError) as caught:
            amend(engine, window=new_event().window)
        assert caught.value.field == "amendment"
        step(engine, S.CONFIRMED, S.CLOSED)
        with pytest.raises(ConflictError):
            amend(engine, window=WIDER)
        assert event_of(engine).starts_on == "2022-07-19"

    def test_a_preview_changes_nothing_and_fails_as_the_amendment_would(self, engine: Engine) -> None:
        add_event(engine)
        take(engine, [1, 2, 3])
        with read(engine) as connection:
            effect, watched = preview_amendment(connection, EVENT, Amendment("x", window=WIDER))
        assert (effect.days_added, watched) == (((date(2022, 7, 17), date(2022, 7, 18)),), 3)
        with pytest.raises(InvalidInputError), read(engine) as connection:
            preview_amendment(connection, EVENT, Amendment("x", code_name="Web shop"))
        assert (event_of(engine).version, current_version(engine)) == (1, 1)

    def test_coarse_windows_come_back_as_they_were_recorded(self, engine: Engine) -> None:
        march = ExposureWindow(date(2022, 3, 1), date(2022, 5, 31), "Asia/Tokyo", WindowPrecision.MONTH)
        add_event(engine, window=march)
        assert event_of(engine).precision == "MONTH"
        assert event_of(engine).known.window == march

    def test_of_two_amendments_of_one_version_one_wins(self, engine: Engine) -> None:
        add_event(engine)
        take(engine, [1])
        start = threading.Barrier(2)

        def work(day: int) -> bool:
            window = ExposureWindow(date(2022, 7, day), date(2022, 7, 26), "Asia/Tokyo")
            start.wait()
            try:
                with write(engine) as connection:
                    amend_compromise_event(connection, EVENT, Amendment("x", window=window), 1, NOW)
            except ConflictError:
                return False
            return True

        with ThreadPoolExecutor(2) as pool:
            assert sorted(pool.map(work, (17, 18))) == [False, True]
        assert (event_of(engine).version, current_version(engine)) == (2, 2)
        assert len(rows(engine, compromise_event_version)) == 2


def test_every_version_of_windows_and_tiers_can_be_told_from_those_of_now(engine: Engine) -> None:
    """What a worker would have loaded at each version, against what `exposures_before` makes of today's exposures."""

    def exposed(changes: list[ExposureChange]) -> dict[tuple[str, str], ExposureChange]:
        found = {(item.compromise_event_id, item.card_ref): item for item in changes}
        return {key: item for key, item in found.items() if not item.released}

    seen: dict[int, dict[tuple[str, str], ExposureChange]] = {}

    def note() -> None:
        with read(engine) as connection:
            seen[exposure_version(connection)] = exposed(exposure_changes(connection, 0))

    add_event(engine)
    add_event(engine, "CE-2", data_elements=DataElements())
    note()
    take(engine, [1, 2])
    note()
    take(engine, [2, 3], "a" * 64, "CE-2")
    note()
    amend(engine, window=WIDER)
    note()
    amend(engine, "CE-2", elements=DataElements(expiry=True, cvv2=True, login=True))
    note()
    take(engine, [4], "b" * 64)
    note()
    step(engine, S.CONFIRMED, S.CLOSED)
    note()
    amend(engine, "CE-2", window=ExposureWindow(date(2022, 7, 20), date(2022, 7, 21), "Asia/Tokyo"))
    note()
    step(engine, S.INVESTIGATING, reason="extension of the list")
    note()
    amend(engine, window=ExposureWindow(date(2022, 7, 1), date(2022, 7, 31), "Asia/Tokyo"), elements=DataElements())
    note()
    step(engine, S.REFUTED, event_id="CE-2")
    note()
    assert sorted(seen) == list(range(11))
    assert len({item.window_start_at for exposures in seen.values() for item in exposures.values()}) == 4
    with read(engine) as connection:
        now = exposed(exposure_changes(connection, 0))
        for version, expected in seen.items():
            then = {**now, **{(i.compromise_event_id, i.card_ref): i for i in exposures_before(connection, version)}}
            assert exposed(list(then.values())) == expected, version
        assert windows_at(connection, 4)[EVENT] == (WIDER.start_at, WIDER.end_at)


class TestStatus:
    def test_closing_releases_and_reopening_watches_the_same_cards_again(self, engine: Engine) -> None:
        add_event(engine)
        take(engine, [1, 2])
        with write(engine) as connection:  # released by a person before
            one = tables.exposed_card.c.card_ref == card_ref(1)
            connection.execute(tables.exposed_card.update().where(one).values(status="RELEASED"))
        before = len(lookbacks(engine))
        step(engine, S.CONFIRMED, S.CLOSED)
        assert {status for _, status, _ in card_rows(engine).values()} == {"RELEASED"}
        event = step(engine, S.CONFIRMED, reason="a longer list is announced")
        assert card_rows(engine)[card_ref(1)][1:] == ("RELEASED", 1)
        assert card_rows(engine)[card_ref(2)][1:] == ("ACTIVE", 3)
        assert lookbacks(engine)[before:] == [(EVENT, 3, "REOPENED")]
        with read(engine) as connection:
            last = compromise_versions(connection, EVENT)[-1]
        assert (last.version, last.status, last.reason) == (event.version, "CONFIRMED", "a longer list is announced")

    def test_what_a_step_would_do_to_cards(self, engine: Engine) -> None:
        add_event(engine)
        add_event(engine, "other")
        take(engine, [1, 2, 3])
        take(engine, [3, 4], "a" * 64, "other")
        with read(engine) as connection:
            event = get_compromise_event(connection, EVENT)
            assert status_effect(connection, event, S.REFUTED) == StatusEffect(released=3, kept_elsewhere=1)
            assert status_effect(connection, event, S.CONFIRMED) == StatusEffect()
        step(engine, S.REFUTED)
        with read(engine) as connection:
            now = {item.card_ref for item in exposure_changes(connection, 0) if not item.released}
        assert now == {card_ref(3), card_ref(4)}  # only what was in no other event is let go

    def test_closing_an_event_of_which_everything_was_released_brings_nothing_back(self, engine: Engine) -> None:
        add_event(engine)
        take(engine, [1])
        with write(engine) as connection:
            connection.execute(tables.exposed_card.update().values(status="RELEASED"))
        step(engine, S.CONFIRMED, S.CLOSED)
        step(engine, S.INVESTIGATING, reason="again")
        assert card_rows(engine)[card_ref(1)][1] == "RELEASED"


class TestFacts:
    def test_they_are_told_by_day_with_author_and_recorder(self, engine: Engine) -> None:
        add_event(engine)
        with write(engine) as connection:
            add_fact(connection, EVENT, "FORENSIC_REPORT", date(2022, 12, 8), "possible", NOW, "the shop's", "ken")
            add_fact(connection, EVENT, "FORENSIC_REPORT", date(2022, 10, 17), None, NOW, "the supplier's", "ken")
            event = add_fact(connection, EVENT, "POLICE_TOLD", date(2022, 12, 9), None, NOW, actor="ken")
        assert [(fact.kind, fact.on, fact.author) for fact in event.facts] == [
            ("FORENSIC_REPORT", "2022-10-17", "the supplier's"),
            ("FORENSIC_REPORT", "2022-12-08", "the shop's"),
            ("POLICE_TOLD", "2022-12-09", None),
        ]
        assert event.version == 4

    @pytest.mark.parametrize(
        ("kind", "on", "field"),
        [
            ("SOMETHING", date(2022, 8, 1), "kind"),
            ("FORENSIC_REPORT", date(2022, 8, 1), "author"),
            ("PUBLISHED", date(2023, 1, 30), "on"),  # NOW is the 29th in Tokyo
        ],
    )
    def test_what_is_no_fact_is_refused(self, engine: Engine, kind: str, on: date, field: str) -> None:
        add_event(engine)
        with pytest.raises(InvalidInputError) as caught, write(engine) as connection:
            add_fact(connection, EVENT, kind, on, None, NOW)
        assert caught.value.field == field
        assert rows(engine, compromise_fact) == []

    def test_a_withdrawn_one_stays_to_be_seen_and_counts_for_nothing(self, engine: Engine) -> None:
        add_event(engine)
        with write(engine) as connection:
            event = add_fact(connection, EVENT, "PUBLISHED", date(2023, 1, 10), None, NOW)
            fact_id = event.facts[0].fact_id
            event = withdraw_fact(connection, EVENT, fact_id, "that was another shop", NOW + 1, "ken")
        assert event.standing_facts == ()
        assert (event.facts[0].withdrawn_by, event.facts[0].withdrawn_reason) == ("ken", "that was another shop")
        with pytest.raises(ConflictError), write(engine) as connection:
            withdraw_fact(connection, EVENT, fact_id, "again", NOW)
        with pytest.raises(NotFoundError), write(engine) as connection:
            withdraw_fact(connection, EVENT, fact_id + 1, "no such", NOW)
        with pytest.raises(InvalidInputError), write(engine) as connection:
            withdraw_fact(connection, EVENT, fact_id, " ", NOW)
        with pytest.raises(ConflictError), write(engine) as connection:
            set_disclosure(connection, EVENT, Disclosure.PUBLISHED, event.version, NOW)

    def test_facts_of_another_event_are_out_of_reach(self, engine: Engine) -> None:
        add_event(engine)
        add_event(engine, "other")
        with write(engine) as connection:
            event = add_fact(connection, "other", "POLICE_TOLD", date(2022, 12, 9), None, NOW)
        with pytest.raises(NotFoundError), write(engine) as connection:
            withdraw_fact(connection, EVENT, event.facts[0].fact_id, "x", NOW)


class TestAlerts:
    ALERT = SchemeAlert(AlertSource.VISA_CAMS, "IC-4711", NOW - 5)

    def test_the_first_alert_makes_a_suspected_event_alerted(self, engine: Engine) -> None:
        add_event(engine)
        with write(engine) as connection:
            event = add_scheme_alert(connection, EVENT, self.ALERT, NOW, "ken")
        assert (event.status, event.version) == ("ALERTED", 2)
        assert [(alert.source, alert.external_id) for alert in event.alerts] == [("VISA_CAMS", "IC-4711")]
        step(engine, S.CONFIRMED)
        with write(engine) as connection:
            event = add_scheme_alert(connection, EVENT, replace(self.ALERT, external_id="IC-4712"), NOW)
        assert (event.status, len(event.alerts)) == ("CONFIRMED", 2)

    def test_the_same_alert_comes_once_to_an_event(self, engine: Engine) -> None:
        add_event(engine, alerts=(self.ALERT,))
        add_event(engine, "other", alerts=(self.ALERT,))
        assert event_of(engine).status == "ALERTED"
        with pytest.raises(ConflictError), write(engine) as connection:
            add_scheme_alert(connection, EVENT, self.ALERT, NOW)
        assert len(rows(engine, scheme_alert)) == 2
        assert event_of(engine).version == 1

    def test_no_alert_comes_from_the_future(self, engine: Engine) -> None:
        add_event(engine)
        with pytest.raises(InvalidInputError) as caught, write(engine) as connection:
            add_scheme_alert(connection, EVENT, replace(self.ALERT, received_at=NOW + 1), NOW)
        assert caught.value.field == "received_at"


class TestDisclosure:
    def test_the_shop_is_named_once_publication_is_a_fact(self, engine: Engine) -> None:
        add_event(engine)
        with pytest.raises(ConflictError), write(engine) as connection:
            set_disclosure(connection, EVENT, Disclosure.PUBLISHED, 1, NOW)
        with write(engine) as connection:
            set_disclosure(connection, EVENT, Disclosure.MAY_TELL_HOLDER, 1, NOW, actor="ken")
            add_fact(connection, EVENT, "PUBLISHED", date(2023, 1, 10), None, NOW)
            event = set_disclosure(connection, EVENT, Disclosure.PUBLISHED, 3, NOW, actor="ken")
        assert (event.disclosure, event.version) == ("PUBLISHED", 4)

    def test_what_others_see_before_and_after(self, engine: Engine) -> None:
        add_event(
            engine,
            name="Hanamori Cosme",
            entities=(CompromisedEntity("Hanamori KK", EntityRole.MERCHANT, "0123", "M-1"),),
            vector="script of Kazami",
            alerts=(SchemeAlert(AlertSource.ACQUIRER, "A-1", NOW - 1, "Hanamori"),),
        )
        with write(engine) as connection:
            add_fact(connection, EVENT, "FORENSIC_REPORT", date(2022, 10, 17), "Hanamori's cart", NOW, "Hanamori's own")
            withdrawn = add_fact(connection, EVENT, "POLICE_TOLD", date(2022, 12, 9), "by Hanamori", NOW).facts[1]
            withdraw_fact(connection, EVENT, withdrawn.fact_id, "Hanamori was wrong", NOW)
        event = event_of(engine)
        for told in ("Hanamori", "Kazami", "M-1"):
            assert told in repr(event)
            assert told not in repr(as_seen(event, insider=False))
        assert as_seen(event, insider=False).name == event.code_name
        assert as_seen(event, insider=True) is event
        with write(engine) as connection:
            add_fact(connection, EVENT, "PUBLISHED", date(2023, 1, 10), None, NOW)
            set_disclosure(connection, EVENT, Disclosure.PUBLISHED, event.version + 1, NOW)
        event = event_of(engine)
        assert as_seen(event, insider=False) is event


def test_code_names_are_made_and_belong_to_one_event(engine: Engine) -> None:
    for number in range(40):
        add_event(engine, f"CE-{number}")
    names = {row["code_name"] for row in rows(engine, tables.compromise_event)}
    assert len(names) == 40
    with pytest.raises(ConflictError):
        add_event(engine, "one-more", code_name=min(names))
    with pytest.raises(ConflictError):
        amend(engine, "CE-0", code_name=event_of(engine, "CE-1").code_name)
    with pytest.raises(InvalidInputError) as caught:
        add_event(engine, "one-more", code_name="Web shop")
    assert caught.value.field == "code_name"


def test_no_suspicion_comes_from_the_future(engine: Engine) -> None:
    with pytest.raises(InvalidInputError) as caught, write(engine) as connection:
        create_compromise_event(connection, new_event(suspected_at=NOW + 1), NOW)
    assert caught.value.field == "suspected_at"


def test_events_of_one_supplier_find_each_other_as_far_as_they_may_be_named(engine: Engine) -> None:
    supplier = CompromisedEntity("Scripts Ltd", EntityRole.SUPPLIER)
    add_event(engine, entities=(CompromisedEntity("Shop A", EntityRole.MERCHANT), supplier))
    add_event(engine, "CE-2", entities=(replace(supplier, name="SCRIPTS LTD"),))
    add_event(engine, "CE-3", entities=(CompromisedEntity("Shop A", EntityRole.MERCHANT),))
    with read(engine) as connection:
        event = get_compromise_event(connection, EVENT)
        inside = related_events(connection, event, insider=True)
        assert [other.compromise_event_id for other in inside] == ["CE-2"]
        assert related_events(connection, event, insider=False) == []


def test_every_change_is_in_the_audit_log_with_who_and_why(engine: Engine) -> None:
    add_event(engine)
    amend(engine, window=WIDER, reason="a second report")
    with write(engine) as connection:
        event = add_fact(connection, EVENT, "REGULATOR_TOLD", date(2022, 8, 1), "by the shop", NOW, actor="ken")
        withdraw_fact(connection, EVENT, event.facts[0].fact_id, "wrong day", NOW, "ken")
        add_scheme_alert(connection, EVENT, TestAlerts.ALERT, NOW, "ken")
        set_disclosure(connection, EVENT, Disclosure.MAY_TELL_HOLDER, 5, NOW, "agreed", "ken")
    step(engine, S.CONFIRMED)
    with pytest.raises(ConflictError), write(engine) as connection:
        set_status(connection, EVENT, S.REFUTED, 1, NOW, actor="ken")
    with read(engine) as connection:
        entries = list_audit(connection, subject=f"compromise_event/{EVENT}")[::-1]
        assert verify_audit(connection).fault is None
    assert [(entry.action, entry.actor, entry.reason) for entry in entries] == [
        ("exposure.record", "system", ""),
        ("exposure.amend", "ken", "a second report"),
        ("exposure.fact", "ken", ""),
        ("exposure.fact.withdraw", "ken", "wrong day"),
        ("exposure.alert", "ken", ""),
        ("exposure.disclosure", "ken", "agreed"),
        ("exposure.status", "ken", ""),
    ]
    assert entries[1].old == {"window": ["2022-07-19", "2022-07-26", "Asia/Tokyo", "DAY"]}
    assert entries[1].new == {"window": ["2022-07-17", "2022-07-26", "Asia/Tokyo", "DAY"], "version": 2}
    assert (entries[6].old, entries[6].new["status"]) == ({"status": "ALERTED"}, "CONFIRMED")
