"""Compromise events, imports of exposed cards, and what a worker learns of them."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from sqlalchemy import Engine
from store_samples import EVENT, NOW, Partition, add_event, alert_file, card_ref, detection, match, new_event, rows

from fraud.alert_files import ParsedAlertFile
from fraud.cases import FraudType, Outcome, ReasonCode, Resolution
from fraud.compromise import CompromisedEntity, CompromiseStatus, DataElements, EntityRole
from fraud.errors import ConflictError, InvalidInputError, NotFoundError
from fraud.store import tables
from fraud.store.cases import claim, resolve
from fraud.store.database import read, write
from fraud.store.exposure import (
    ImportReport,
    add_fact,
    card_exposures,
    create_compromise_event,
    event_counts,
    exposed_cards,
    exposure_changes,
    exposure_version,
    exposures_before,
    get_compromise_event,
    import_exposed_cards,
    list_compromise_events,
    set_status,
)
from fraud.store.records import ExposureChange
from fraud.store.views import CompromiseEventView

WINDOW = (1_658_156_400_000, 1_658_847_600_000)  # 2022-07-19 to 2022-07-27, midnight in Tokyo


def take(engine: Engine, parsed: ParsedAlertFile, event_id: str = EVENT, now: int = NOW) -> ImportReport:
    with write(engine) as connection:
        return import_exposed_cards(connection, event_id, "cards.csv", parsed, "ken", now)


def step(engine: Engine, *statuses: CompromiseStatus, event_id: str = EVENT, **words: Any) -> CompromiseEventView:
    for status in statuses:
        with write(engine) as connection:
            version = get_compromise_event(connection, event_id).version
            event = set_status(connection, event_id, status, version, NOW + version, **words)
    return event


def changes(engine: Engine, since: int) -> list[ExposureChange]:
    with read(engine) as connection:
        return exposure_changes(connection, since)


def version(engine: Engine) -> int:
    with read(engine) as connection:
        return exposure_version(connection)


def test_event_comes_back_as_it_was_recorded(engine: Engine) -> None:
    entities = (
        CompromisedEntity("Web shop", EntityRole.MERCHANT, "0123", "M-1"),
        CompromisedEntity("Scripts Ltd", EntityRole.SUPPLIER),
    )
    given = new_event(entities=entities, vector="tampered script", suspected_at=NOW - 5, code_name="Oak Owl")
    with write(engine) as connection:
        made = create_compromise_event(connection, given, NOW)
    with read(engine) as connection:
        assert get_compromise_event(connection, EVENT) == made
    assert (made.status, made.version, made.tier) == ("SUSPECTED", 1, 3)
    assert (made.starts_on, made.ends_on, made.zone) == ("2022-07-19", "2022-07-26", "Asia/Tokyo")
    assert (made.window_start_at, made.window_end_at) == WINDOW
    assert (made.data_elements, made.entities, made.facts) == (["pan", "expiry", "cvv2"], entities, ())
    assert (made.code_name, made.vector, made.suspected_at) == ("Oak Owl", "tampered script", NOW - 5)
    assert (made.disclosure, made.precision, made.alerts) == ("RESTRICTED", "DAY", ())


def test_events_are_listed_latest_window_first_with_their_own_entities(engine: Engine) -> None:
    shop = CompromisedEntity("Shop", EntityRole.MERCHANT)
    add_event(engine, "older", entities=(shop,))
    newer = replace(new_event().window, ends_on=date(2022, 9, 1))
    add_event(engine, "newer", window=newer)
    with read(engine) as connection:
        found = list_compromise_events(connection)
    assert [(event.compromise_event_id, event.entities) for event in found] == [("newer", ()), ("older", (shop,))]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"compromise_event_id": ""}, "compromise_event_id"),
        ({"compromise_event_id": "a" * 41}, "compromise_event_id"),
        ({"compromise_event_id": "a b"}, "compromise_event_id"),
        ({"compromise_event_id": "é"}, "compromise_event_id"),
        ({"source": "RUMOUR"}, "source"),
    ],
)
def test_event_that_cannot_be_is_refused(engine: Engine, change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInputError) as caught, write(engine) as connection:
        create_compromise_event(connection, replace(new_event(), **change), NOW)
    assert caught.value.field == field


def test_id_is_taken_once(engine: Engine) -> None:
    add_event(engine)
    with pytest.raises(ConflictError):
        add_event(engine)


def test_unknown_event_is_not_found(engine: Engine) -> None:
    with pytest.raises(NotFoundError), read(engine) as connection:
        get_compromise_event(connection, "none")
    with pytest.raises(NotFoundError):
        take(engine, alert_file([1]), "none")
    with pytest.raises(NotFoundError), write(engine) as connection:
        set_status(connection, "none", CompromiseStatus.ALERTED, 1, NOW)


def test_status_needs_the_current_version_and_a_legal_step(engine: Engine) -> None:
    add_event(engine)
    with pytest.raises(ConflictError), write(engine) as connection:
        set_status(connection, EVENT, CompromiseStatus.ALERTED, 2, NOW)
    with pytest.raises(ConflictError), write(engine) as connection:
        set_status(connection, EVENT, CompromiseStatus.CLOSED, 1, NOW)
    event = step(engine, CompromiseStatus.ALERTED, CompromiseStatus.INVESTIGATING)
    assert (event.status, event.version, event.updated_at) == ("INVESTIGATING", 3, NOW + 2)


def test_facts_are_added(engine: Engine) -> None:
    add_event(engine)
    with write(engine) as connection:
        add_fact(connection, EVENT, "REGULATOR_TOLD", date(2022, 8, 1), "by the shop", NOW)
        event = add_fact(connection, EVENT, "POLICE_TOLD", date(2022, 12, 9), None, NOW + 1)
    assert [(fact.kind, fact.on, fact.note) for fact in event.facts] == [
        ("REGULATOR_TOLD", "2022-08-01", "by the shop"),
        ("POLICE_TOLD", "2022-12-09", None),
    ]
    assert (event.version, event.updated_at) == (3, NOW + 1)


def test_import_counts_every_row(engine: Engine) -> None:
    add_event(engine)
    parsed = alert_file([1, 2, 3], rows=9, malformed=[(4, "EMPTY"), (7, "CHECK_DIGIT")], duplicates=3, unknown=1)
    report = take(engine, parsed)
    assert report == ImportReport("f" * 64, 9, accepted=3, already_exposed=0, duplicate=3, malformed=2, unknown=1)
    first = rows(engine, tables.exposed_card)[0]
    assert first == {
        "compromise_event_id": EVENT,
        "card_ref": card_ref(1),
        "tier": 3,
        "status": "ACTIVE",
        "provenance": "ALERT_FILE",
        "alert_file_sha256": "f" * 64,
        "pan_last4": "0001",
        "expiry": "2025-04",
        "exposure_version": 1,
        "created_at": NOW,
    }


def test_same_file_again_is_nothing_and_gives_the_first_counts(engine: Engine) -> None:
    add_event(engine)
    parsed = alert_file([1, 2], rows=4, malformed=[(3, "EMPTY")], unknown=1)
    first = take(engine, parsed)
    before = rows(engine, tables.exposed_card), rows(engine, tables.alert_file)
    assert take(engine, parsed, now=NOW + 99) == replace(first, no_op=True)
    assert (rows(engine, tables.exposed_card), rows(engine, tables.alert_file)) == before
    assert version(engine) == 1


def test_later_file_adds_what_is_new_under_one_new_version(engine: Engine) -> None:
    add_event(engine)
    take(engine, alert_file([1, 2]))
    report = take(engine, alert_file([2, 3, 4], sha256="e" * 64))
    assert (report.accepted, report.already_exposed) == (2, 1)
    assert version(engine) == 2
    assert [item.card_ref for item in changes(engine, 1)] == [card_ref(3), card_ref(4)]
    assert take(engine, alert_file([2, 3, 4], sha256="e" * 64)) == replace(report, no_op=True)


def test_same_file_for_another_event_is_another_import(engine: Engine) -> None:
    add_event(engine)
    add_event(engine, "other", data_elements=DataElements())
    take(engine, alert_file([1]))
    assert take(engine, alert_file([1]), "other").accepted == 1
    with read(engine) as connection:
        found = card_exposures(connection, card_ref(1))
    assert {item.compromise_event_id: item.tier for item in found} == {EVENT: 3, "other": 1}


def test_changes_hold_what_the_worker_needs(engine: Engine) -> None:
    add_event(engine)
    assert (version(engine), changes(engine, 0)) == (0, [])
    take(engine, alert_file([5]))
    assert changes(engine, 0) == [ExposureChange(card_ref(5), EVENT, 3, *WINDOW, released=False)]
    assert changes(engine, 1) == []


def test_refuted_event_releases_its_cards_as_a_change(engine: Engine) -> None:
    add_event(engine)
    add_event(engine, "other")
    take(engine, alert_file([1, 2]))
    take(engine, alert_file([2]), "other")
    step(engine, CompromiseStatus.REFUTED)
    assert version(engine) == 3
    assert [(item.card_ref, item.compromise_event_id, item.released) for item in changes(engine, 2)] == [
        (card_ref(1), EVENT, True),
        (card_ref(2), EVENT, True),
    ]
    assert {item.released for item in changes(engine, 0) if item.compromise_event_id == "other"} == {False}


def test_closed_event_takes_no_cards_until_it_is_reopened_for_a_reason(engine: Engine) -> None:
    add_event(engine)
    take(engine, alert_file([1]))
    step(engine, CompromiseStatus.CONFIRMED)
    assert version(engine) == 1  # still watched: nothing changes for the worker
    step(engine, CompromiseStatus.CLOSED)
    assert [item.released for item in changes(engine, 1)] == [True]
    with pytest.raises(ConflictError):
        take(engine, alert_file([2], sha256="e" * 64))
    assert take(engine, alert_file([1])).no_op
    with pytest.raises(InvalidInputError):
        step(engine, CompromiseStatus.CONFIRMED)
    event = step(engine, CompromiseStatus.CONFIRMED, reason="a longer window")
    assert event.is_open
    assert [(item.card_ref, item.released) for item in changes(engine, 2)] == [(card_ref(1), False)]
    assert take(engine, alert_file([2], sha256="e" * 64)).accepted == 1


def test_refused_import_changes_nothing(engine: Engine) -> None:
    add_event(engine)
    step(engine, CompromiseStatus.REFUTED)
    with pytest.raises(ConflictError):
        take(engine, alert_file([1]))
    assert rows(engine, tables.exposed_card) == rows(engine, tables.alert_file) == []


def test_imports_at_once_get_versions_of_their_own(engine: Engine) -> None:
    names = [f"shop-{number}" for number in range(5)]
    for name in names:
        add_event(engine, name)
    start = threading.Barrier(2 * len(names))

    def work(name: str) -> bool:
        start.wait()
        return take(engine, alert_file(range(50)), name).no_op

    with ThreadPoolExecutor(2 * len(names)) as pool:
        assert sum(pool.map(work, 2 * names)) == len(names)  # each file came twice
    found = {(row["compromise_event_id"], row["exposure_version"]) for row in rows(engine, tables.exposed_card)}
    assert sorted(number for _, number in found) == [1, 2, 3, 4, 5]
    assert version(engine) == 5


def test_a_hundred_thousand_cards(engine: Engine) -> None:
    add_event(engine)
    parsed = alert_file(range(100_000))
    assert take(engine, parsed).accepted == 100_000
    assert take(engine, parsed) == ImportReport("f" * 64, 100_000, 100_000, 0, 0, 0, 0, no_op=True)
    assert version(engine) == 1
    found = changes(engine, 0)
    assert len({item.card_ref for item in found}) == len(found) == 100_000
    with read(engine) as connection:
        assert event_counts(connection, EVENT)["exposed_cards"] == 100_000


def test_exposed_cards_page_by_page(engine: Engine) -> None:
    add_event(engine)
    add_event(engine, "other")
    take(engine, alert_file(range(25)))
    take(engine, alert_file([100]), "other")
    found, cursor = [], None
    while True:
        with read(engine) as connection:
            page = exposed_cards(connection, EVENT, cursor, 10)
        found.extend(page.items)
        cursor = page.next_cursor
        if cursor is None:
            break
    assert [item.card_ref for item in found] == [card_ref(number) for number in range(25)]
    with pytest.raises(InvalidInputError), read(engine) as connection:
        exposed_cards(connection, EVENT, "x", 10)


def test_counts_of_an_event(engine: Engine) -> None:
    add_event(engine)
    add_event(engine, "other")
    take(engine, alert_file([1, 2, 3]))
    found: dict[str, Any] = {"kind": "EXPOSED", "tier": 3, "compromise_event_ids": (EVENT,)}
    Partition(engine).commit(
        detection(1, **found),
        detection(2, **found),
        detection(3, **found),
        detection(4, card=3, **found),
        detection(5, compromise_event_ids=("other",)),
        detection(6),
        match(1),
        match(2),
        match(3),
        match(4),
        match(5),
        match(5, compromise_event_id="other"),
    )
    fraud = Resolution(Outcome.CONFIRMED_FRAUD, ReasonCode.HOLDER_DENIED, FraudType.CARD_NOT_PRESENT)
    unknown = Resolution(Outcome.UNDETERMINED, ReasonCode.HOLDER_NOT_REACHED)
    with write(engine) as connection:
        for case_id, resolution in ((1, fraud), (2, unknown)):
            resolve(
                connection, case_id, "hana", claim(connection, case_id, "hana", 1, NOW).version, resolution, NOW, 30
            )
    with read(engine) as connection:
        assert event_counts(connection, EVENT) == {
            "exposed_cards": 3,
            "matches": 5,
            "detections": 4,
            "cases_open": 1,
            "cases_resolved": 2,
            "cases_confirmed": 1,
        }
        assert event_counts(connection, "other")["detections"] == 1
        assert set(event_counts(connection, "none").values()) == {0}


def test_every_earlier_version_can_be_told_from_the_exposures_of_now(engine: Engine) -> None:
    """Applied to what is exposed now, the differences give what was exposed at any version, checked at every one."""

    def active(
        exposures: dict[tuple[str, str], ExposureChange], found: list[ExposureChange]
    ) -> set[tuple[str, str, int]]:
        for change in found:
            exposures[change.compromise_event_id, change.card_ref] = change
        return {
            (item.compromise_event_id, item.card_ref, item.tier) for item in exposures.values() if not item.released
        }

    add_event(engine)
    add_event(engine, "CE-2")
    seen = {version(engine): active({}, changes(engine, 0))}

    def note() -> None:
        seen[version(engine)] = active({}, changes(engine, 0))

    take(engine, alert_file([1, 2]))
    note()
    take(engine, alert_file([2, 3], sha256="a" * 64), event_id="CE-2")
    note()
    step(engine, CompromiseStatus.INVESTIGATING, CompromiseStatus.REFUTED)
    note()
    take(engine, alert_file([4], sha256="b" * 64), event_id="CE-2")
    note()
    step(engine, CompromiseStatus.CONFIRMED, CompromiseStatus.CLOSED, event_id="CE-2")
    note()
    step(engine, CompromiseStatus.INVESTIGATING, event_id="CE-2", reason="extension of the list")
    note()
    assert sorted(seen) == list(range(7))
    for at, expected in seen.items():
        current = {(item.compromise_event_id, item.card_ref): item for item in changes(engine, 0)}
        with read(engine) as connection:
            assert active(current, exposures_before(connection, at)) == expected, at
