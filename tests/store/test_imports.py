"""Imports of exposed cards: a dry run that changes nothing, and publishing that is all or nothing."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from import_samples import GUARD, TOKENIZER, bring, cards_text, file_of, found, publish, refs, reissue, stage, tell
from sqlalchemy import Engine
from store_samples import EVENT, NOW, add_event, alert_file, card_ref, rows

from fraud.alert_files import AlertFile, AlertRow
from fraud.card_references import CardReferenceChange, CardStatus
from fraud.cards import CardTokenizer, luhn_valid
from fraud.compromise import CompromiseStatus
from fraud.errors import ConflictError, InvalidInputError, NotFoundError
from fraud.store import tables, tables_cards
from fraud.store.audit import list_audit
from fraud.store.database import read, write
from fraud.store.exposure import (
    exposure_changes,
    exposure_version,
    get_compromise_event,
    import_exposed_cards,
    set_status,
)
from fraud.store.exposure_reviews import release_exposures
from fraud.store.import_findings import EXCLUSIVE, MARKS, Finding, all_import_rows, import_rows
from fraud.store.import_publishing import discard_import, expose_by_hand
from fraud.store.import_staging import (
    ImportView,
    begin_import,
    get_import,
    list_imports,
    remove_rows,
    stage_file,
    sweep_imports,
)
from fraud.store.tables_lookback import lookback_run

DAY = 86_400_000


def card_number(serial: int, prefix: str = "411111") -> str:
    body = f"{prefix}{serial:0{15 - len(prefix)}d}"
    return next(body + digit for digit in "0123456789" if luhn_valid(body + digit))


def exposed(engine: Engine, event_id: str = EVENT) -> dict[str, dict[str, Any]]:
    return {row["card_ref"]: row for row in rows(engine, tables.exposed_card) if row["compromise_event_id"] == event_id}


def version(engine: Engine) -> int:
    with read(engine) as connection:
        return exposure_version(connection)


def lookbacks(engine: Engine) -> list[tuple[str, int, str]]:
    return [(row["compromise_event_id"], row["exposure_version"], row["reason"]) for row in rows(engine, lookback_run)]


def listed(engine: Engine, view: ImportView, finding: Finding | None) -> list[int]:
    with read(engine) as connection:
        return [row.line for row in all_import_rows(connection, view.import_id, finding)]


def close(engine: Engine, *statuses: CompromiseStatus, event_id: str = EVENT, reason: str | None = None) -> None:
    for status in statuses:
        with write(engine) as connection:
            current = get_compromise_event(connection, event_id).version
            set_status(connection, event_id, status, current, NOW, reason)


def test_a_dry_run_says_everything_and_changes_nothing(engine: Engine) -> None:
    add_event(engine)
    add_event(engine, "earlier")
    bring(engine, cards_text(2, 3), "earlier")
    bring(engine, cards_text(1))
    tell(
        engine,
        CardReferenceChange(card_ref(4), NOW, status=CardStatus.CLOSED),
        CardReferenceChange(card_ref(5), NOW, expiry="2027-01"),
        reissue(6, 60),
    )
    before = version(engine), rows(engine, tables.exposed_card), lookbacks(engine)
    numbers = [card_number(7), card_number(8, "555555"), card_number(7)]
    lines = [f"{card_ref(number)},12/25," for number in (1, 2, 3, 4, 5, 6, 9, 9)]
    lines += [f",12/25,{number}" for number in numbers] + [",99/99," + card_number(10), ",,4.11E+15"]
    staged = stage(engine, "card_ref,expiry,pan\n" + "\n".join(lines))
    assert staged.status == "STAGED"
    assert found(staged) == {
        "MATCHED": 7,
        "ALREADY_EXPOSED": 1,
        "DUPLICATE": 2,
        "MALFORMED": 2,
        "UNKNOWN": 1,
        "SEEN_EARLIER": 2,
        "REISSUED": 1,
        "EXPIRY_DIFFERS": 1,
        "CLOSED": 1,
    }
    assert staged.rows == sum(staged.findings[name] for name in EXCLUSIVE) == 13
    assert staged.reasons == {"EXPIRY": 1, "SCIENTIFIC": 1}
    assert {name: listed(engine, staged, name) for name in Finding if listed(engine, staged, name)} == {
        Finding.MATCHED: [3, 4, 5, 6, 7, 8, 10],
        Finding.ALREADY_EXPOSED: [2],
        Finding.DUPLICATE: [9, 12],
        Finding.MALFORMED: [13, 14],
        Finding.UNKNOWN: [11],
        Finding.SEEN_EARLIER: [3, 4],
        Finding.REISSUED: [7],
        Finding.EXPIRY_DIFFERS: [6],
        Finding.CLOSED: [5],
    }
    assert listed(engine, staged, None) == list(range(2, 15))
    assert (version(engine), rows(engine, tables.exposed_card), lookbacks(engine)) == before


def test_lists_come_in_pages(engine: Engine) -> None:
    add_event(engine)
    staged = stage(engine, cards_text(*range(25)))
    seen, cursor = [], None
    while True:
        with read(engine) as connection:
            page = import_rows(connection, staged.import_id, Finding.MATCHED, cursor, 10)
        seen += [row.line for row in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == list(range(2, 27))


def test_nothing_of_another_issuers_number_is_stored(engine: Engine) -> None:
    add_event(engine)
    foreign = card_number(8, "555555")
    staged = stage(engine, f"pan,expiry\n{card_number(1)},12/25\n{foreign},12/25\n")
    row = rows(engine, tables_cards.exposure_import_row)[1]
    assert (row["outcome"], row["card_ref"], row["pan_last4"], row["expiry"]) == ("UNKNOWN", None, None, None)
    publish(engine, staged)
    everything = repr([rows(engine, table) for table in tables.metadata.sorted_tables])
    assert TOKENIZER.reference(foreign) not in everything
    assert foreign not in everything
    assert foreign[-4:] not in {row["pan_last4"] for row in exposed(engine).values()}
    assert card_number(1) not in everything


def test_publishing_watches_all_under_one_version_and_asks_for_a_look_back(engine: Engine) -> None:
    add_event(engine)
    done = bring(engine, cards_text(1, 2, 3, expiry="12/25"))
    assert (done.status, done.exposure_version, done.published_by, done.no_op) == ("PUBLISHED", 1, "ken", False)
    first = exposed(engine)[card_ref(1)]
    assert first == {
        "compromise_event_id": EVENT,
        "card_ref": card_ref(1),
        "tier": 3,
        "status": "ACTIVE",
        "provenance": "ALERT_FILE",
        "alert_file_sha256": done.sha256,
        "pan_last4": None,
        "expiry": "2025-12",
        "exposure_version": 1,
        "created_at": NOW,
    }
    assert {row["exposure_version"] for row in exposed(engine).values()} == {1}
    assert lookbacks(engine) == [(EVENT, 1, "IMPORT")]
    with read(engine) as connection:
        (entry,) = list_audit(connection, action="exposure_import.publish")
    assert (entry.actor, entry.subject) == ("ken", f"compromise_event/{EVENT}")
    assert (entry.new["accepted"], entry.new["sha256"]) == (3, done.sha256)
    assert publish(engine, done) == done  # a second click
    assert version(engine) == 1


def test_the_same_file_again_is_done_before_it_is_read(engine: Engine) -> None:
    add_event(engine)
    add_event(engine, "other")
    first = bring(engine, cards_text(1, 2))
    before = version(engine), rows(engine, tables.exposed_card), lookbacks(engine)
    again = stage(engine, cards_text(1, 2), now=NOW + 5)
    assert (again.status, again.no_op, again.rows, again.findings) == ("PUBLISHED", True, 2, first.findings)
    assert publish(engine, again).no_op
    assert (version(engine), rows(engine, tables.exposed_card), lookbacks(engine)) == before
    assert bring(engine, cards_text(1, 2), "other").no_op is False


def test_a_file_that_came_the_short_way_is_known_too(engine: Engine) -> None:
    add_event(engine)
    file = file_of(cards_text(1, 2))
    with write(engine) as connection:
        import_exposed_cards(connection, EVENT, "a.csv", alert_file([1, 2], sha256=file.sha256), "ken", NOW)
    again = stage(engine, cards_text(1, 2))
    assert (again.no_op, found(again)) == (True, {"MATCHED": 2})
    assert lookbacks(engine) == [(EVENT, 1, "IMPORT")]


def test_two_dry_runs_of_one_file_are_published_once(engine: Engine) -> None:
    add_event(engine)
    staged = [stage(engine, cards_text(*range(50))) for _ in range(4)]
    start = threading.Barrier(4)

    def work(view: ImportView) -> bool:
        start.wait()
        return publish(engine, view).no_op

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(work, staged)) == [False, True, True, True]
    assert version(engine) == 1
    assert len(exposed(engine)) == 50
    assert len(rows(engine, tables.alert_file)) == 1


def test_a_later_file_adds_what_is_new_and_every_source_is_kept(engine: Engine) -> None:
    add_event(engine)
    first = bring(engine, cards_text(1, 2))
    second = bring(engine, cards_text(2, 3))
    assert found(second) == {"MATCHED": 1, "ALREADY_EXPOSED": 1}
    cards = exposed(engine)
    assert {ref: card["alert_file_sha256"] for ref, card in cards.items()} == {
        card_ref(1): first.sha256,
        card_ref(2): first.sha256,
        card_ref(3): second.sha256,
    }
    (source,) = rows(engine, tables_cards.exposure_source)
    assert (source["card_ref"], source["provenance"], source["source"]) == (card_ref(2), "ALERT_FILE", second.sha256)
    with read(engine) as connection:
        assert [change.card_ref for change in exposure_changes(connection, 1)] == [card_ref(3)]


def test_by_hand_with_a_reason(engine: Engine) -> None:
    add_event(engine)
    bring(engine, cards_text(1))
    with write(engine) as connection:
        done = expose_by_hand(
            connection, EVENT, card_ref(9), reason="holder called", exposed_by="ken", now=NOW, pan_last4="1234"
        )
    with write(engine) as connection:
        expose_by_hand(connection, EVENT, card_ref(1), reason="bank called", exposed_by="ken", now=NOW + 1)
    cards = exposed(engine)
    assert (cards[card_ref(9)]["provenance"], cards[card_ref(9)]["pan_last4"]) == ("MANUAL", "1234")
    assert cards[card_ref(1)]["provenance"] == "ALERT_FILE"
    sources = [
        (row["card_ref"], row["provenance"], row["reason"]) for row in rows(engine, tables_cards.exposure_source)
    ]
    assert sorted(sources) == [(card_ref(1), "MANUAL", "bank called"), (card_ref(9), "MANUAL", "holder called")]
    assert (EVENT, done.exposure_version, "IMPORT") in lookbacks(engine)
    assert len(lookbacks(engine)) == 2  # nothing is new of the card that was watched already
    for change, field in (({"card_ref": "4111111111111111"}, "card_ref"), ({"reason": " "}, "reason")):
        arguments = {"card_ref": card_ref(9), "reason": "x", **change}
        with pytest.raises(InvalidInputError) as caught, write(engine) as connection:
            expose_by_hand(connection, EVENT, **arguments, exposed_by="ken", now=NOW)  # type: ignore[arg-type]
        assert caught.value.field == field


class Breaking:
    """A file that breaks off in the middle, in one way or another."""

    lines = 100_000

    def __init__(self, error: BaseException, after: int) -> None:
        self.error, self.after = error, after

    def rows(self) -> Iterator[AlertRow]:
        for number in range(self.after):
            yield AlertRow(number + 2, None, card_ref(number))
        raise self.error


@pytest.mark.parametrize(
    "error", [InvalidInputError("bad file", field="file"), OSError("4111111111111111"), KeyboardInterrupt()]
)
def test_a_file_that_breaks_off_leaves_nothing(engine: Engine, error: BaseException) -> None:
    add_event(engine)
    with write(engine) as connection:
        staged = begin_import(
            connection, EVENT, provenance="ALERT_FILE", name="a", sha256="a" * 64, created_by="ken", now=NOW
        )
    with pytest.raises(type(error)):
        stage_file(engine, staged, Breaking(error, 25_000), lambda: NOW, lambda _read, _lines: None)
    with read(engine) as connection:
        failed = get_import(connection, staged.import_id)
    assert failed.status == "FAILED"
    assert "4111111111111111" not in (failed.problem or "")
    assert rows(engine, tables_cards.exposure_import_row) == []
    assert rows(engine, tables.exposed_card) == []
    with pytest.raises(ConflictError):
        publish(engine, failed)


def test_a_crash_while_publishing_is_all_or_nothing(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    add_event(engine)
    staged = stage(engine, cards_text(*range(100)))
    for place in ("follow_exposures", "_record_file", "ensure_review", "request_lookback", "append_audit"):

        def dies(*_arguments: object, **_named: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(f"fraud.store.import_publishing.{place}", dies)
            with pytest.raises(KeyboardInterrupt):
                publish(engine, staged)
        assert rows(engine, tables.exposed_card) == rows(engine, tables.alert_file) == []
        assert version(engine) == 0
    assert publish(engine, staged).status == "PUBLISHED"
    assert len(exposed(engine)) == 100


def test_progress_is_told_and_kept(engine: Engine) -> None:
    add_event(engine)
    file = file_of(cards_text(*range(45_000)))
    told: list[tuple[int, int]] = []
    shares: list[float] = []
    with write(engine) as connection:
        staged = begin_import(
            connection, EVENT, provenance="ALERT_FILE", name="a", sha256=file.sha256, created_by="ken", now=NOW
        )

    def progress(read_rows: int, lines: int) -> None:
        told.append((read_rows, lines))
        with read(engine) as connection:
            shares.append(get_import(connection, staged.import_id).share)

    stage_file(engine, staged, file, lambda: NOW, progress)
    assert told == [(20_000, 45_002), (40_000, 45_002), (45_000, 45_002)]
    assert shares == sorted(shares)
    assert 0 < shares[0] < 0.5
    with read(engine) as connection:
        assert get_import(connection, staged.import_id).share == 1.0


def test_closed_and_unknown_events_take_nothing(engine: Engine) -> None:
    add_event(engine)
    staged = stage(engine, cards_text(1))
    close(engine, CompromiseStatus.CONFIRMED, CompromiseStatus.CLOSED)
    with pytest.raises(ConflictError, match="reopen"):
        stage(engine, cards_text(2))
    with pytest.raises(ConflictError, match="reopen"):
        publish(engine, staged)
    with pytest.raises(NotFoundError):
        stage(engine, cards_text(2), "none")
    assert rows(engine, tables.exposed_card) == []


def test_an_import_without_any_card_is_not_published(engine: Engine) -> None:
    add_event(engine)
    staged = stage(engine, f"pan\n{card_number(1, '555555')}\n")
    with pytest.raises(InvalidInputError, match="no card"):
        publish(engine, staged)
    assert version(engine) == 0


def test_a_discarded_import_is_gone(engine: Engine) -> None:
    add_event(engine)
    staged = stage(engine, cards_text(*range(3)))
    with write(engine) as connection:
        assert discard_import(connection, staged.import_id, "ken", NOW).status == "DISCARDED"
    remove_rows(engine, staged.import_id)
    assert rows(engine, tables_cards.exposure_import_row) == []
    with pytest.raises(ConflictError):
        publish(engine, staged)
    done = bring(engine, cards_text(*range(3)))
    with pytest.raises(ConflictError), write(engine) as connection:
        discard_import(connection, done.import_id, "ken", NOW)


def test_rows_are_removed_a_part_at_a_time(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fraud.store.import_staging._REMOVED_AT_ONCE", 7)
    add_event(engine)
    kept = stage(engine, cards_text(100, 101))
    staged = stage(engine, cards_text(*range(20)))
    remove_rows(engine, staged.import_id)
    assert {row["import_id"] for row in rows(engine, tables_cards.exposure_import_row)} == {kept.import_id}


def test_what_nobody_looks_at_any_more_is_let_go(engine: Engine) -> None:
    add_event(engine)
    undecided = stage(engine, cards_text(1), now=NOW)
    done = bring(engine, cards_text(2), now=NOW)
    with write(engine) as connection:
        deserted = begin_import(
            connection, EVENT, provenance="ALERT_FILE", name="a", sha256="c" * 64, created_by="ken", now=NOW
        )

    def states() -> dict[int, tuple[str, bool]]:
        held = {row["import_id"] for row in rows(engine, tables_cards.exposure_import_row)}
        with read(engine) as connection:
            return {view.import_id: (view.status, view.import_id in held) for view in list_imports(connection, EVENT)}

    sweep_imports(engine, NOW + 60_000)
    assert states()[deserted.import_id] == ("STAGING", False)
    sweep_imports(engine, NOW + 2 * 3_600_000)
    assert states() == {
        undecided.import_id: ("STAGED", True),
        done.import_id: ("PUBLISHED", True),
        deserted.import_id: ("DISCARDED", False),
    }
    sweep_imports(engine, NOW + 8 * DAY)
    assert states()[undecided.import_id] == ("DISCARDED", False)
    assert states()[done.import_id] == ("PUBLISHED", True)
    sweep_imports(engine, NOW + 31 * DAY)
    assert states()[done.import_id] == ("PUBLISHED", False)
    assert len(exposed(engine)) == 1


def test_a_card_that_was_released_and_is_named_anew_is_watched_again(engine: Engine) -> None:
    add_event(engine)
    bring(engine, cards_text(1, 2))
    with write(engine) as connection:
        release_exposures(connection, EVENT, refs([1]))
    assert exposed(engine)[card_ref(1)]["status"] == "RELEASED"
    again = bring(engine, cards_text(1, 2, 3))
    assert found(again) == {"MATCHED": 2, "ALREADY_EXPOSED": 1, "RELEASED_BEFORE": 1}
    assert exposed(engine)[card_ref(1)]["status"] == "ACTIVE"
    with read(engine) as connection:
        assert sorted(change.card_ref for change in exposure_changes(connection, 2)) == refs([1, 3])


def test_cards_are_known_under_older_keys_too(engine: Engine) -> None:
    add_event(engine)
    keys = {1: bytes(range(16)), 2: bytes(range(1, 17))}
    tokenizer = CardTokenizer(keys, 2)
    number = card_number(5)
    file = AlertFile(f"pan,expiry\n{number},12/25\n".encode(), tokenizer=tokenizer, guard=GUARD)
    with write(engine) as connection:
        staged = begin_import(
            connection, EVENT, provenance="ALERT_FILE", name="a", sha256=file.sha256, created_by="ken", now=NOW
        )
    stage_file(engine, staged, file, lambda: NOW, lambda _read, _lines: None)
    publish(engine, staged)
    active, older = tokenizer.references(number)
    cards = exposed(engine)
    assert {ref: (card["tier"], card["provenance"]) for ref, card in cards.items()} == {
        active: (3, "ALERT_FILE"),
        older: (3, "LINEAGE"),
    }


def test_a_complete_list_of_cards_tells_what_is_none_of_them(engine: Engine) -> None:
    add_event(engine)
    tell(engine, CardReferenceChange(card_ref(1), NOW, status=CardStatus.ACTIVE))
    assert found(stage(engine, cards_text(1, 2))) == {"MATCHED": 2}  # the list says nothing of what is not on it
    with write(engine) as connection:
        connection.execute(
            tables_cards.card_reference_load.insert(),
            {
                "name": "all",
                "sha256": "d" * 64,
                "rows": 1,
                "counts": {},
                "complete": True,
                "loaded_at": NOW,
                "loaded_by": "ken",
            },
        )
    done = bring(engine, cards_text(1, 2))
    assert found(done) == {"MATCHED": 1, "UNMATCHED": 1}
    assert {ref: card["status"] for ref, card in exposed(engine).items()} == {
        card_ref(1): "ACTIVE",
        card_ref(2): "UNMATCHED",
    }
    report = tell(engine, CardReferenceChange(card_ref(2), NOW + 1, status=CardStatus.ACTIVE))
    assert report.followed_events == (EVENT,)
    assert exposed(engine)[card_ref(2)]["status"] == "ACTIVE"
    assert (EVENT, report.exposure_version, "CARD_REFERENCES") in lookbacks(engine)


def test_marks_are_bits_of_their_own() -> None:
    assert sum(MARKS.values()) == 2 ** len(MARKS) - 1
    assert set(MARKS) | set(EXCLUSIVE) == set(Finding)
