"""The import: order of event time, once whatever happens, and the state that it hands over."""

from __future__ import annotations

import csv
import itertools
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from history_support import (
    JAPAN,
    PARTITIONS,
    Taker,
    archived,
    decoder_of,
    job_of,
    mapping_file,
    silent,
    source_frame,
    straight,
)

from fraud.cards import CardTokenizer, card_keys
from fraud.errors import ConflictError, InvalidInputError
from fraud.transactions import Columns
from models.features import as_columns, compute_features, feature_digest
from models.profiles import with_profiles
from models.state import CardStates
from streams.archive import ArchiveReader, ArchiveTable, keys_from_bits
from streams.history import check, importing, load_mapping, run_import, splitting
from streams.seeding import partition_of
from streams.simulator import SimulationParameters, simulate

DAY = 86_400_000
PAN = "4532015112830366"


@pytest.fixture(scope="module")
def history() -> Columns:
    parameters = SimulationParameters(
        cards=40, exposed_records=10, history_days=12, story_days=1, transactions_per_card_day=2.0
    )
    return simulate(parameters, CardTokenizer({1: b"k" * 32}, 1)).history


@pytest.fixture
def source(tmp_path: Path, history: Columns) -> pl.DataFrame:
    """The history in three files, out of order, with 20 rows there twice and a few that cannot be used."""
    frame = source_frame(history)
    mixed = frame.sample(fraction=1.0, shuffle=True, seed=7)
    broken = frame.head(3).with_columns(
        card_ref=pl.Series([None, "no reference", f"x:{PAN}"]), event_id=pl.Series(["b1", "b2", "b3"])
    )
    future = frame.head(1).with_columns(occurred_at=pl.lit(2**50), event_id=pl.lit("b4"))
    folder = tmp_path / "export"
    folder.mkdir()
    third = len(mixed) // 3
    parts = [
        mixed[:third],
        pl.concat([mixed[third : 2 * third], broken, future]),
        pl.concat([mixed[2 * third :], mixed[:20]]),
    ]
    for number, part in enumerate(parts):
        part.write_csv(folder / f"{number}.csv")
    return frame


def wanted_rows(history: Columns, start: int) -> dict[str, int]:
    """What the archive must hold, from the history alone: event id to digest of its features."""
    order = np.lexsort((history["event_id"].astype(str), history["occurred_at"]))
    columns = history.take(order)
    features = compute_features(columns, CardStates(), home_country=JAPAN, timezone="Asia/Tokyo", history_from=start)
    return dict(zip(columns["event_id"].tolist(), feature_digest(features).tolist(), strict=True))


def test_files_in_any_order_become_a_log_in_order_of_time(
    tmp_path: Path, source: pl.DataFrame, history: Columns
) -> None:
    taker = Taker()
    archive = tmp_path / "archive"
    report = run_import(job_of(tmp_path, mapping_file(tmp_path, source), archive), taker, silent)
    assert report.rows == len(history)
    assert report.duplicates == 20
    assert report.rejected == {"MISSING_FIELD": 1, "INVALID_FIELD": 1, "PAN_IN_KEY": 1, "TIME_OUT_OF_RANGE": 1}

    rows = archived(ArchiveTable(archive))
    assert report.history_from is not None  # the first day is short in UTC, and may not count
    assert 0 <= report.history_from - int(history["occurred_at"].min()) // DAY * DAY <= DAY
    digests = keys_from_bits(rows["features_digest"].to_numpy()).tolist()
    assert dict(zip(rows["event_id"], digests, strict=True)) == wanted_rows(history, report.history_from)
    refs = dict(zip(history["event_id"].tolist(), history["card_ref"].tolist(), strict=True))
    for (partition,), part in rows.partition_by("partition", as_dict=True).items():
        assert part["offset"].to_list() == list(range(len(part)))
        assert part.sort("occurred_at", "event_id")["offset"].to_list() == part["offset"].to_list()
        assert {partition_of(refs[event].encode(), PARTITIONS) for event in part["event_id"]} == {partition}
    assert rows["topic_id"].unique().to_list() == [report.topic_id]
    assert len(report.topic_id) <= 36

    state = straight(history)
    expected = Taker()
    expected.register(state.partition, 0, 0)
    assert taker.bytes() == expected.bytes()
    assert report.profiles == len(np.unique(history["card_key"]))


def test_the_rows_come_back_as_the_decoder_made_them(tmp_path: Path, source: pl.DataFrame, history: Columns) -> None:
    archive = tmp_path / "archive"
    report = run_import(job_of(tmp_path, mapping_file(tmp_path, source), archive), None, silent)
    reader = ArchiveReader(archive)
    found = {}
    for partition in range(PARTITIONS):
        for part in reader.rows_in_log_order(report.topic_id, partition, 0, 10**9):
            found |= {part.columns["event_id"][row]: part.columns.row(row) for row in range(len(part))}
    assert found == {history["event_id"][row]: history.row(row) for row in range(len(history))}


def test_what_is_left_out_is_listed_without_what_it_held(tmp_path: Path, source: pl.DataFrame) -> None:
    report = run_import(job_of(tmp_path, mapping_file(tmp_path, source), tmp_path / "archive"), None, silent)
    assert report.rejected_file is not None
    with Path(report.rejected_file).open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))
    assert {(line["file"], line["reason"], line["field"]) for line in lines} == {
        ("1.csv", "MISSING_FIELD", "card_ref"),
        ("1.csv", "INVALID_FIELD", "card_ref"),
        ("1.csv", "PAN_IN_KEY", ""),
        ("1.csv", "TIME_OUT_OF_RANGE", "occurred_at"),
    }
    numbers = [int(line["row"]) for line in lines]
    with (tmp_path / "export" / "1.csv").open(encoding="utf-8", newline="") as file:
        in_file = list(csv.DictReader(file))
    assert {in_file[number - 1]["event_id"] for number in numbers} == {"b1", "b2", "b3", "b4"}
    # No card number in anything that was written: archive, work folder, lists.
    for root in (tmp_path / "archive", tmp_path / "imports"):
        assert not [path for path in root.rglob("*") if path.is_file() and PAN.encode() in path.read_bytes()]


def test_the_same_again_is_nothing(tmp_path: Path, source: pl.DataFrame) -> None:
    archive, taker = tmp_path / "archive", Taker()
    path = mapping_file(tmp_path, source)
    first = run_import(job_of(tmp_path, path, archive), taker, silent)
    before, version = archived(ArchiveTable(archive)), ArchiveTable(archive).open().version()
    states = taker.states
    again = run_import(job_of(tmp_path, path, archive), taker, silent)
    assert again.already_done
    assert (again.rows, again.topic_id, again.duplicates) == (first.rows, first.topic_id, first.duplicates)
    assert taker.states is states
    assert archived(ArchiveTable(archive)).equals(before)
    assert ArchiveTable(archive).open().version() == version


class PulledError(Exception):
    """The plug."""


# What an import goes through, in its order: each is a place where it may end.
_PLACES = [
    (splitting, "_write_parquet", 4),
    (splitting, "_write_json", 2),
    (splitting.Splitter, "_find_duplicates", 1),
    (importing, "join_rejects", 1),
    (importing.ArchiveTable, "write_file", 1),
    (importing.ArchiveTable, "write_file", 5),
    (importing.ArchiveTable, "commit", 1),
    (importing.ArchiveTable, "commit", 6),
    (importing.ArchiveTable, "commit", 13),
    (importing, "_commit_once", 2),
    (importing, "_commit_once", PARTITIONS + 1),
    (importing.shutil, "rmtree", 1),
    (Taker, "register", 1),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(("where", "name", "count"), _PLACES, ids=lambda item: getattr(item, "__name__", str(item)))
def test_stopped_anywhere_and_started_again_it_ends_in_the_same(
    tmp_path: Path,
    source: pl.DataFrame,
    monkeypatch: pytest.MonkeyPatch,
    where: Any,
    name: str,
    count: int,
    after: bool,
) -> None:
    path = mapping_file(tmp_path, source)
    whole, undisturbed = tmp_path / "whole" / "archive", Taker()
    run_import(job_of(tmp_path, path, whole), undisturbed, silent)

    stopped, taker = tmp_path / "stopped" / "archive", Taker()
    calls = itertools.count(1)
    original = getattr(where, name)

    def pulled(*arguments: Any, **options: Any) -> Any:
        if next(calls) != count:
            return original(*arguments, **options)
        if after:
            original(*arguments, **options)
        raise PulledError

    with monkeypatch.context() as patched:
        patched.setattr(where, name, pulled)
        with pytest.raises(PulledError):
            run_import(job_of(tmp_path, path, stopped), taker, silent)
    taker.states = {}  # whatever it had, it has to be handed over whole
    run_import(job_of(tmp_path, path, stopped), taker, silent)

    assert archived(ArchiveTable(stopped)).equals(archived(ArchiveTable(whole)))
    assert taker.bytes() == undisturbed.bytes()
    for partition in range(PARTITIONS):
        topic_id = archived(ArchiveTable(whole))["topic_id"][0]
        ends = [ArchiveReader(root).archived_offset(topic_id, partition) for root in (whole, stopped)]
        assert ends[0] == ends[1]


def test_a_started_import_goes_on_with_the_model_that_it_began_with(
    tmp_path: Path, source: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str | None] = []

    class Model:
        digest = "first"

        def score(self, features: Any) -> Any:
            return np.full(len(features), 0.25, np.float32), np.full(len(features), 0.5, np.float32)

    def load(digest: str | None) -> Any:
        asked.append(digest)
        return Model()

    path, archive = mapping_file(tmp_path, source), tmp_path / "archive"
    commit, calls = importing.ArchiveTable.commit, itertools.count()

    def pulled(*arguments: Any) -> Any:
        if next(calls) == 4:
            raise PulledError
        return commit(*arguments)

    with monkeypatch.context() as patched:
        patched.setattr(importing.ArchiveTable, "commit", pulled)
        with pytest.raises(PulledError):
            run_import(job_of(tmp_path, path, archive, load_scorer=load), None, silent)
    run_import(job_of(tmp_path, path, archive, load_scorer=load), None, silent)
    assert asked == [None, "first"]
    rows = archived(ArchiveTable(archive))
    assert rows["probability"].unique().to_list() == [0.25]
    assert rows["anomaly"].unique().to_list() == [0.5]


def test_one_id_with_other_content_is_told_apart_from_a_duplicate(tmp_path: Path, source: pl.DataFrame) -> None:
    again = source.head(4).with_columns(amount_minor=pl.col("amount_minor").fill_null(0) + 1)
    again.write_csv(tmp_path / "export" / "3.csv")
    report = run_import(job_of(tmp_path, mapping_file(tmp_path, source), tmp_path / "archive"), None, silent)
    assert report.rejected["EVENT_ID_REUSED"] == 4
    assert report.duplicates == 20
    assert report.rows == len(source)


def test_two_imports_in_order_of_time_give_the_state_of_one(tmp_path: Path, history: Columns) -> None:
    frame = source_frame(history)
    middle = int(history["occurred_at"][len(history) // 2]) // DAY * DAY
    taker, both = Taker(), Taker()
    archive = tmp_path / "archive"
    (tmp_path / "export").mkdir()
    for name, part in (("1", pl.col("occurred_at") < middle), ("2", pl.col("occurred_at") >= middle)):
        frame.filter(part).write_csv(tmp_path / "export" / f"{name}.csv")
    mapping = mapping_file(tmp_path, frame, paths="export/1.csv")
    run_import(job_of(tmp_path, mapping, archive), Taker(), silent)
    mapping = mapping_file(tmp_path, frame, paths="export/2.csv")
    run_import(job_of(tmp_path, mapping, archive), taker, silent)
    run_import(job_of(tmp_path, mapping_file(tmp_path, frame), tmp_path / "one" / "archive"), both, silent)
    assert taker.bytes() == both.bytes()
    shutil.copy(tmp_path / "export" / "1.csv", tmp_path / "export" / "again.csv")
    with (tmp_path / "export" / "again.csv").open("a", encoding="utf-8") as file:
        file.write("\n")
    mapping = mapping_file(tmp_path, frame, paths="export/again.csv")
    with pytest.raises(ConflictError, match="order of time"):
        run_import(job_of(tmp_path, mapping, archive), None, silent)


def test_what_the_stream_will_process_is_left_to_it(tmp_path: Path, source: pl.DataFrame, history: Columns) -> None:
    middle = int(history["occurred_at"][len(history) // 2])
    path, archive = mapping_file(tmp_path, source), tmp_path / "archive"
    with pytest.raises(ConflictError, match="--until"):
        run_import(job_of(tmp_path, path, archive, stream_from=middle), None, silent)
    assert not ArchiveTable(archive).exists()
    report = run_import(job_of(tmp_path, path, archive, stream_from=middle, until=middle), None, silent)
    assert report.last_at is not None
    assert report.last_at < middle
    before = int((history["occurred_at"] < middle).sum())
    assert report.rows == before
    assert report.after_until == len(history) - before + 20 - report.duplicates


def test_a_stream_that_has_moved_on_is_refused_before_a_row_is_read(tmp_path: Path, source: pl.DataFrame) -> None:
    class Moved(Taker):
        def check(self) -> None:
            raise ConflictError("it has moved on")

    with pytest.raises(ConflictError, match="moved on"):
        run_import(job_of(tmp_path, mapping_file(tmp_path, source), tmp_path / "archive"), Moved(), silent)
    assert not ArchiveTable(tmp_path / "archive").exists()
    assert not list((tmp_path / "imports").rglob("*.parquet"))


def test_the_same_import_twice_at_once_is_refused(tmp_path: Path, source: pl.DataFrame) -> None:
    path, archive = mapping_file(tmp_path, source), tmp_path / "archive"
    refused: list[str] = []

    def told(what: str, _: int) -> None:
        if what == "looking for duplicates":
            with pytest.raises(ConflictError) as error:
                run_import(job_of(tmp_path, path, archive), None, silent)
            refused.append(error.value.code)

    run_import(job_of(tmp_path, path, archive), None, told)
    assert refused == ["CONFLICT"]


def test_files_without_a_usable_row_are_refused(tmp_path: Path) -> None:
    frame = pl.DataFrame({"event_id": ["a"], "event_type": ["authorization"], "occurred_at": [1], "card_ref": ["x:1"]})
    (tmp_path / "export").mkdir()
    frame.write_csv(tmp_path / "export" / "a.csv")
    with pytest.raises(InvalidInputError, match="no row"):
        run_import(job_of(tmp_path, mapping_file(tmp_path, frame), tmp_path / "archive"), None, silent)


def test_a_busy_day_is_read_in_pieces_and_comes_out_the_same(
    tmp_path: Path, source: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, taker, small = mapping_file(tmp_path, source), Taker(), Taker()
    run_import(job_of(tmp_path, path, tmp_path / "one" / "archive"), taker, silent)
    monkeypatch.setattr("streams.history.coverage.SLICE_ROWS", 7)
    monkeypatch.setattr("streams.history.accumulating.CHUNK_ROWS", 5)
    monkeypatch.setattr("streams.history.importing._FILE_ROWS", 20)
    monkeypatch.setattr("streams.history.splitting._BUFFER_ROWS", 100)
    monkeypatch.setattr("streams.history.splitting._ID_ROWS", 50)
    run_import(job_of(tmp_path, path, tmp_path / "two" / "archive"), small, silent)
    one, two = (archived(ArchiveTable(tmp_path / name / "archive")) for name in ("one", "two"))
    assert one.equals(two)
    assert small.bytes() == taker.bytes()


# --- whose profile ---------------------------------------------------------------------------------------------------


def reissued(history: Columns, cards: int) -> tuple[pl.DataFrame, list[str]]:
    """A reissue of the first `cards` cards, as a table of old and new references."""
    old = list(dict.fromkeys(history["card_ref"].tolist()))[:cards]
    new = [f"v1:{number:016x}{'cd' * 24}" for number in range(1, len(old) + 1)]
    return pl.DataFrame({"OLD": old, "NEW": new}), new


def later(history: Columns, refs: list[str]) -> Columns:
    """One purchase on each of these cards, an hour after the history."""
    template = history.take(np.zeros(len(refs), np.int64))
    cards = np.array(refs, object)
    return Columns(
        {name: template[name] for name in template}
        | {
            "event_id": np.array([f"later-{number}" for number in range(len(refs))], object),
            "occurred_at": np.full(len(refs), int(history["occurred_at"].max()) + 3_600_000),
            "card_ref": cards,
            "card_key": card_keys(cards),
        },
        len(refs),
    )


def stream_features(taker: Taker, columns: Columns, key: str = "card_ref") -> dict[str, Any]:
    """What the stream computes of these rows: each partition with the state that it was handed."""
    owners = np.array([partition_of(ref.encode(), PARTITIONS) for ref in columns[key].tolist()])
    parts = {}
    for partition, states in taker.states.items():
        rows = np.flatnonzero(owners == partition)
        features = compute_features(columns.take(rows), states, home_country=JAPAN, timezone="Asia/Tokyo")
        for name, values in as_columns(features).items():
            parts.setdefault(name, np.full(len(columns), np.nan))[rows] = values
    return parts


def test_a_thousand_cards_that_are_reissued_at_once_keep_their_profiles(tmp_path: Path) -> None:
    parameters = SimulationParameters(
        cards=1_200, exposed_records=10, history_days=12, story_days=1, transactions_per_card_day=0.7
    )
    history = simulate(parameters, CardTokenizer({1: b"k" * 32}, 1)).history
    frame = source_frame(history)
    pairs, new = reissued(history, 1_000)
    (tmp_path / "export").mkdir()
    frame.write_parquet(tmp_path / "export" / "a.parquet")
    pairs.write_csv(tmp_path / "reissues.csv")
    lineage = '[lineage]\npaths = ["reissues.csv"]\nold = "OLD"\nnew = "NEW"\n[files]\npaths = ["export/a.parquet"]\n'
    plain = '[files]\npaths = ["export/a.parquet"]\n'
    followed, forgotten = Taker(), Taker()
    run_import(
        job_of(tmp_path, mapping_file(tmp_path, frame, more=lineage), tmp_path / "one" / "archive"), followed, silent
    )
    run_import(
        job_of(tmp_path, mapping_file(tmp_path, frame, more=plain), tmp_path / "two" / "archive"), forgotten, silent
    )
    old = pairs["OLD"].to_list()
    warm, cold = (stream_features(taker, later(history, new)) for taker in (followed, forgotten))
    before = stream_features(followed, later(history, old))
    assert len(new) == 1_000
    assert (cold["history_count"] == 0).all()
    assert (warm["history_count"] > 0).all()
    for name, values in before.items():  # the new card is exactly what the old one would have been
        np.testing.assert_array_equal(warm[name], values, err_msg=name)


def test_a_line_of_reissues_shares_one_profile_in_history(tmp_path: Path, history: Columns) -> None:
    """Half of a card's history under its old reference and half under a newer one is one profile."""
    pairs, new = reissued(history, 40)
    middle = int(history["occurred_at"][len(history) // 2])
    renamed = dict(zip(pairs["OLD"], pairs["NEW"], strict=True))
    split = source_frame(history).with_columns(
        card_ref=pl.when(pl.col("occurred_at") < middle).then("card_ref").otherwise(pl.col("card_ref").replace(renamed))
    )
    third = pl.DataFrame({"OLD": new, "NEW": [f"x:third-{number}" for number in range(len(new))]})
    (tmp_path / "export").mkdir()
    split.write_csv(tmp_path / "export" / "a.csv")
    pl.concat([third, pairs]).write_csv(tmp_path / "reissues.csv")
    lineage = '[lineage]\npaths = ["reissues.csv"]\nold = "OLD"\nnew = "NEW"\n[files]\npaths = ["export/a.csv"]\n'
    taker = Taker()
    run_import(job_of(tmp_path, mapping_file(tmp_path, split, more=lineage), tmp_path / "archive"), taker, silent)
    alone = straight(history)
    for old, newest in zip(pairs["OLD"], third["NEW"], strict=True):
        whole = alone.states.records[alone.states.slots(card_keys(np.array([old], object)), create=False)[0]]
        states = taker.states[partition_of(newest.encode(), PARTITIONS)]
        slot = states.slots(card_keys(np.array([newest], object)), create=False)[0]
        assert slot >= 0
        assert states.records[slot].tobytes() == whole.tobytes()


@pytest.mark.parametrize(
    "pairs",
    [
        [("x:a", "x:b"), ("x:b", "x:a")],
        [("x:a", "x:c"), ("x:b", "x:c")],
        [("x:a", "x:a")],
        [("x:a", "4532015112830366")],
    ],
)
def test_lines_of_reissues_that_make_no_sense_are_refused(tmp_path: Path, source: pl.DataFrame, pairs: Any) -> None:
    pl.DataFrame(pairs, schema=["OLD", "NEW"], orient="row").write_csv(tmp_path / "reissues.csv")
    lineage = '[lineage]\npaths = ["reissues.csv"]\nold = "OLD"\nnew = "NEW"\n[files]\npaths = ["export/*.csv"]\n'
    with pytest.raises(InvalidInputError) as error:
        job_of(tmp_path, mapping_file(tmp_path, source, more=lineage), tmp_path / "archive")
    assert error.value.field == "lineage"
    assert PAN not in str(error.value)


def test_profiles_by_account_outlast_a_reissue_that_nobody_told_of(tmp_path: Path, history: Columns) -> None:
    accounts = {ref: f"account-{number}" for number, ref in enumerate(dict.fromkeys(history["card_ref"].tolist()))}
    frame = source_frame(history).with_columns(
        account_ref=pl.col("card_ref").replace_strict(accounts, return_dtype=pl.String)
    )
    (tmp_path / "export").mkdir()
    frame.write_csv(tmp_path / "export" / "a.csv")
    taker = Taker()
    path = mapping_file(tmp_path, frame, more='message_key = "account_ref"\n')
    run_import(job_of(tmp_path, path, tmp_path / "archive", profile_by="account"), taker, silent)

    new = [f"x:new-{number}" for number in range(len(accounts))]
    rows = later(history, new)
    rows = Columns(
        {name: rows[name] for name in rows} | {"account_ref": np.array(list(accounts.values()), object)}, len(rows)
    )
    found = stream_features(taker, with_profiles(rows, "account"), key="account_ref")
    alone = straight(history)
    refs = np.array(list(accounts), object)
    counts = alone.states.records[alone.states.slots(card_keys(refs), create=False)]["history_count"]
    assert (counts > 0).all()
    np.testing.assert_array_equal(found["history_count"], counts)


# --- the check -------------------------------------------------------------------------------------------------------


def test_the_check_says_what_is_filled_and_what_is_off_and_writes_nothing(
    tmp_path: Path, source: pl.DataFrame, history: Columns
) -> None:
    mapping = load_mapping(mapping_file(tmp_path, source.drop("mcc", "approved")))
    before = sorted(tmp_path.rglob("*"))
    report = check(mapping, decoder_of(mapping, tmp_path), silent)
    assert sorted(tmp_path.rglob("*")) == before
    assert report.tally.rows == len(history) + 20 + 4
    assert report.tally.accepted == len(history) + 20
    assert sum(report.tally.rejected.values()) == 4
    assert report.filled["card_ref"] == report.tally.accepted
    assert report.filled["merchant_id"] >= int((history["merchant_key"] != 0).sum())
    assert (report.first_at, report.last_at) == (history["occurred_at"].min(), history["occurred_at"].max())
    off = report.off()
    assert off.features["mcc_group_new"] == "needs mcc"
    assert off.features["declines_1h"] == "needs approved"
    assert off.features["count_30d"].startswith("needs 30 days of history")
    assert "count_7d" not in off.features
    assert off.rules["HIGH_RISK_GOODS"] == "high_risk_goods needs mcc"
    assert off.rules["CARD_TESTING"].startswith("merchant_new needs 30 days")
    assert "VELOCITY" not in off.rules
