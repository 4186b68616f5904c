"""Card reference data: the newest counts, exposures follow, fall and begin with it, and every version can be told."""

from __future__ import annotations

import random
from typing import Any

import pytest
from import_samples import GUARD, TOKENIZER, bring, cards_text, refs, reissue, tell
from sqlalchemy import Engine
from store_samples import EVENT, NOW, Partition, add_event, card_ref, detection, rows

from fraud.alert_files.references import ReferenceFile
from fraud.card_references import CardReferenceChange, CardStatus
from fraud.cards import luhn_valid
from fraud.compromise import DataElements
from fraud.errors import InvalidInputError
from fraud.store import tables, tables_cards
from fraud.store.audit import list_audit
from fraud.store.card_lineages import lineage_changes, lineage_of, lineage_root, lineages, lineages_before
from fraud.store.card_references import card_reference_of
from fraud.store.database import read
from fraud.store.exposure import exposure_changes, exposure_version, exposures_before
from fraud.store.records import ExposureChange
from fraud.store.reference_loads import LoadReport, load_references
from fraud.store.tables_lookback import lookback_run


def card_number(serial: int) -> str:
    body = f"411111{serial:09d}"
    return next(body + digit for digit in "0123456789" if luhn_valid(body + digit))


def exposures(engine: Engine) -> dict[tuple[str, str], tuple[int, str, str]]:
    return {
        (row["compromise_event_id"], row["card_ref"]): (row["tier"], row["status"], row["provenance"])
        for row in rows(engine, tables.exposed_card)
    }


def version(engine: Engine) -> int:
    with read(engine) as connection:
        return exposure_version(connection)


def requested(engine: Engine) -> list[tuple[str, int, str]]:
    return [(row["compromise_event_id"], row["exposure_version"], row["reason"]) for row in rows(engine, lookback_run)]


def test_what_is_said_last_counts_in_whatever_order_it_comes(engine: Engine) -> None:
    said = [
        CardReferenceChange(card_ref(1), NOW, status=CardStatus.ACTIVE, expiry="2025-01", product="GOLD"),
        CardReferenceChange(card_ref(1), NOW + 1, status=CardStatus.RESTRICTED),
        CardReferenceChange(card_ref(1), NOW + 2, expiry="2029-01"),
    ]
    report = tell(engine, *random.Random(3).sample(said, 3))  # noqa: S311
    assert (report.rows, report.changed, report.stale) == (3, 3, 0)
    with read(engine) as connection:
        known = card_reference_of(connection, card_ref(1))
    assert known is not None
    assert (known.status, known.expiry, known.product, known.as_of_at) == ("RESTRICTED", "2029-01", "GOLD", NOW + 2)
    before = rows(engine, tables_cards.card_reference)
    again = tell(engine, said[0], said[1])
    assert (again.changed, again.stale) == (0, 2)
    assert tell(engine, said[2]).same == 1
    assert rows(engine, tables_cards.card_reference) == before
    assert version(engine) == 0  # nothing that the stream acts on


def test_an_exposure_follows_to_the_card_that_came_after(engine: Engine) -> None:
    add_event(engine)
    add_event(engine, "other", data_elements=DataElements())
    bring(engine, cards_text(1, 7))
    bring(engine, cards_text(1), "other")
    report = tell(engine, reissue(1, 2))
    assert report.followed_events == ("other", EVENT)
    assert exposures(engine)[EVENT, card_ref(1)] == (3, "ACTIVE", "ALERT_FILE")  # the old number is watched on
    assert exposures(engine)[EVENT, card_ref(2)] == (1, "ACTIVE", "LINEAGE")
    assert exposures(engine)["other", card_ref(2)] == (1, "ACTIVE", "LINEAGE")
    with read(engine) as connection:
        changed = exposure_changes(connection, 2)
        known = card_reference_of(connection, card_ref(1))
    assert [(item.card_ref, item.tier, item.released) for item in changed] == [(card_ref(2), 1, False)] * 2
    assert known is not None
    assert (known.status, known.replaced_by) == ("SUPERSEDED", card_ref(2))
    sources = [(row["card_ref"], row["source"]) for row in rows(engine, tables_cards.exposure_source)]
    assert sources == [(card_ref(2), card_ref(1))] * 2
    assert (EVENT, report.exposure_version, "CARD_REFERENCES") in requested(engine)
    assert tell(engine, reissue(1, 2)).exposure_version is None
    assert version(engine) == 3


def test_it_follows_to_the_end_of_the_line_also_when_the_line_was_there_first(engine: Engine) -> None:
    add_event(engine)
    tell(engine, reissue(2, 3), reissue(1, 2), reissue(3, 4))
    bring(engine, cards_text(2))
    assert exposures(engine) == {
        (EVENT, card_ref(2)): (3, "ACTIVE", "ALERT_FILE"),
        (EVENT, card_ref(3)): (1, "ACTIVE", "LINEAGE"),
        (EVENT, card_ref(4)): (1, "ACTIVE", "LINEAGE"),
    }
    assert requested(engine) == [(EVENT, 2, "IMPORT")]
    tell(engine, reissue(4, 5))
    assert exposures(engine)[EVENT, card_ref(5)] == (1, "ACTIVE", "LINEAGE")


def test_an_alias_is_the_same_number_and_has_its_tier(engine: Engine) -> None:
    add_event(engine)
    bring(engine, cards_text(1))
    tell(engine, CardReferenceChange("x:C-1", NOW, alias_of=card_ref(1)), reissue(1, 2))
    assert exposures(engine)[EVENT, "x:C-1"] == (3, "ACTIVE", "LINEAGE")
    assert exposures(engine)[EVENT, card_ref(2)] == (1, "ACTIVE", "LINEAGE")


def test_a_card_that_is_exposed_itself_keeps_its_own_tier(engine: Engine) -> None:
    add_event(engine)
    bring(engine, cards_text(1, 2))
    tell(engine, reissue(1, 2))
    assert exposures(engine)[EVENT, card_ref(2)] == (3, "ACTIVE", "ALERT_FILE")


def test_a_renewal_under_the_same_number_lowers_what_leaked(engine: Engine) -> None:
    add_event(engine)
    bring(engine, cards_text(1, 2, expiry="12/25"))
    bring(engine, cards_text(3))  # the file said no expiry
    tell(engine, CardReferenceChange(card_ref(3), NOW, expiry="2025-12"))
    assert version(engine) == 2
    report = tell(
        engine,
        CardReferenceChange(card_ref(1), NOW + 1, expiry="2029-12"),
        CardReferenceChange(card_ref(2), NOW + 1, expiry="2025-12"),
        CardReferenceChange(card_ref(3), NOW + 1, expiry="2029-12"),
    )
    assert report.exposure_version == 3
    assert {ref: exposures(engine)[EVENT, ref][0] for ref in refs([1, 2, 3])} == {
        card_ref(1): 1,
        card_ref(2): 3,
        card_ref(3): 1,
    }
    with read(engine) as connection:
        before = {item.card_ref: item.tier for item in exposures_before(connection, 2)}
    assert before == {card_ref(1): 3, card_ref(3): 3}


def test_a_card_that_was_renewed_before_the_list_came_is_taken_at_the_lower_tier(engine: Engine) -> None:
    add_event(engine)
    tell(engine, CardReferenceChange(card_ref(1), NOW, expiry="2029-12"))
    bring(engine, cards_text(1, 2, expiry="12/25"))
    assert {ref: exposures(engine)[EVENT, ref][0] for ref in refs([1, 2])} == {card_ref(1): 1, card_ref(2): 3}


def test_closing_a_card_ends_no_exposure(engine: Engine) -> None:
    add_event(engine)
    bring(engine, cards_text(1))
    for at, status in enumerate((CardStatus.CLOSED, CardStatus.EXPIRED), start=1):
        tell(engine, CardReferenceChange(card_ref(1), NOW + at, status=status))
        assert exposures(engine)[EVENT, card_ref(1)] == (3, "ACTIVE", "ALERT_FILE")
    assert version(engine) == 1


def test_what_cannot_be_is_refused_and_counted_and_the_rest_is_taken(engine: Engine) -> None:
    report = tell(engine, reissue(1, 3), reissue(2, 3, at=NOW + 1), reissue(3, 1, at=NOW + 2), reissue(5, 6))
    assert (report.refused, report.refused_cards) == (2, (card_ref(2), card_ref(3)))
    with read(engine) as connection:
        assert lineages(connection) == {card_ref(3): card_ref(1), card_ref(6): card_ref(5)}


def test_lineages_by_version_for_the_worker(engine: Engine) -> None:
    """Kept up by its changes, and taken back by what was before, the map is always that of the version."""
    seen: dict[int, dict[str, str]] = {}
    links = [(10 * line + step, 10 * line + step + 1) for line in range(4) for step in range(5)]
    random.Random(7).shuffle(links)  # noqa: S311
    worker: dict[str, str] = {}
    at = 0
    for old, new in links:
        tell(engine, reissue(old, new))
        with read(engine) as connection:
            worker |= lineage_changes(connection, at)
            at = exposure_version(connection)
            whole = lineages(connection)
        assert {ref: root for ref, root in worker.items() if ref != root} == whole
        seen[at] = whole
    assert whole == {card_ref(10 * line + step): card_ref(10 * line) for line in range(4) for step in range(1, 6)}
    for number, expected in seen.items():
        with read(engine) as connection:
            then = whole | lineages_before(connection, number)
        assert {ref: root for ref, root in then.items() if ref != root} == expected
    with read(engine) as connection:
        assert lineage_of(connection, card_ref(12)) == [(card_ref(10 + step), step) for step in range(6)]
        assert lineage_root(connection, card_ref(99)) == card_ref(99)


def test_an_open_case_goes_with_its_line_and_two_stay_two(engine: Engine) -> None:
    Partition(engine).commit(detection(1, card=2), detection(2, card=3), detection(3, card=4))
    tell(engine, reissue(1, 2), reissue(3, 4))
    found = {row["card_ref"]: row["card_lineage"] for row in rows(engine, tables.case)}
    assert found == {card_ref(2): card_ref(1), card_ref(3): card_ref(3), card_ref(4): card_ref(4)}


def test_every_earlier_version_of_the_exposures_can_be_told(engine: Engine) -> None:
    def active(known: dict[Any, ExposureChange], changes: list[ExposureChange]) -> set[tuple[str, str, int]]:
        known |= {(item.compromise_event_id, item.card_ref): item for item in changes}
        return {(key[0], key[1], item.tier) for key, item in known.items() if not item.released}

    add_event(engine)
    add_event(engine, "CE-2")
    seen: dict[int, set[tuple[str, str, int]]] = {}

    def note() -> None:
        with read(engine) as connection:
            seen[exposure_version(connection)] = active({}, exposure_changes(connection, 0))

    bring(engine, cards_text(1, 2, 3, expiry="12/25"))
    note()
    tell(engine, reissue(1, 11))
    note()
    bring(engine, cards_text(2, 4, expiry="12/25"), "CE-2")
    note()
    tell(engine, CardReferenceChange(card_ref(2), NOW, expiry="2029-12"), reissue(11, 12), reissue(4, 14))
    note()
    assert sorted(seen) == [1, 2, 3, 4]
    assert len({frozenset(found) for found in seen.values()}) == 4
    for number, expected in seen.items():
        with read(engine) as connection:
            known: dict[Any, ExposureChange] = {}
            active(known, exposure_changes(connection, 0))
            assert active(known, exposures_before(connection, number)) == expected


def load(engine: Engine, text: str, *, complete: bool = False, now: int = NOW) -> LoadReport:
    def opened() -> ReferenceFile:
        return ReferenceFile(text.encode(), as_of_at=now, tokenizer=TOKENIZER, guard=GUARD)

    return load_references(
        engine,
        opened,
        name="cards.csv",
        complete=complete,
        loaded_by="ken",
        now=lambda: now,
        progress=lambda _read, _lines: None,
    )


def test_a_file_of_reference_data(engine: Engine) -> None:
    text = (
        "card_number,card_ref,status,expiry,product,new_card_number,as_of\n"
        f"{card_number(1)},,active,12/25,GOLD,,2022-01-01\n"
        f"{card_number(2)},,blocked,,,,\n"
        f"{card_number(3)},,,,,{card_number(4)},\n"
        f",x:C-5,closed,,,,{NOW - 1}\n"
        f"{card_number(6)},,sleeping,,,,\n"
        ",v1:12,closed,,,,\n"
    )
    done = load(engine, text)
    assert (done.report.rows, done.report.changed, done.malformed) == (4, 4, 2)
    assert done.malformed_rows == ((6, "STATUS"), (7, "REFERENCE"))
    known = {row["card_ref"]: row for row in rows(engine, tables_cards.card_reference)}
    numbers = {serial: TOKENIZER.reference(card_number(serial)) for serial in range(1, 7)}
    assert set(known) == {numbers[1], numbers[2], numbers[3], "x:C-5"}
    assert (known[numbers[1]]["expiry"], known[numbers[1]]["product"]) == ("2025-12", "GOLD")
    assert known[numbers[1]]["as_of_at"] == 1_640_995_200_000
    assert known[numbers[2]]["status"] == "RESTRICTED"
    assert (known[numbers[3]]["status"], known[numbers[3]]["replaced_by"]) == ("SUPERSEDED", numbers[4])
    assert (known["x:C-5"]["status"], known["x:C-5"]["as_of_at"]) == ("CLOSED", NOW - 1)
    again = load(engine, text, now=NOW)
    assert (again.report.changed, again.report.same) == (0, 4)
    (first, second) = rows(engine, tables_cards.card_reference_load)
    assert (first["complete"], second["counts"]["same"]) == (False, 4)
    with read(engine) as connection:
        assert [entry.actor for entry in list_audit(connection, action="card_references.load")] == ["ken", "ken"]
    everything = repr([rows(engine, table) for table in tables.metadata.sorted_tables])
    assert not any(card_number(serial) in everything for serial in range(1, 7))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("card_ref\nx:1\n", "says nothing"),
        ("card_ref,status\nx:1,sleeping\nx:2,closed\nx:3,what\n", "2 of 3 rows"),
        ("card_ref,status,cvv2\nx:1,closed,\n", "security codes"),
    ],
)
def test_a_file_that_cannot_be_taken_changes_nothing(engine: Engine, text: str, words: str) -> None:
    with pytest.raises(InvalidInputError, match=words):
        load(engine, text)
    assert rows(engine, tables_cards.card_reference) == rows(engine, tables_cards.card_reference_load) == []


def test_a_list_that_is_said_to_be_complete_must_be_readable_to_the_last_row(engine: Engine) -> None:
    with pytest.raises(InvalidInputError) as caught:
        load(engine, "card_ref,status\nx:1,closed\nx:2,active\nx:3,what\n", complete=True)
    assert caught.value.field == "complete"
    assert load(engine, "card_ref,status\nx:1,closed\n", complete=True).report.changed == 1
    assert rows(engine, tables_cards.card_reference_load)[0]["complete"] is True
