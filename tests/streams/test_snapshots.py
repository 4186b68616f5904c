"""Snapshots: what a partition starts from is what it had, or the start is refused."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from fraud.cards import CardTokenizer
from fraud.pan_guard import PanGuard
from fraud.policy import Policy
from fraud.settings import CardSettings, PortfolioSettings, Settings
from fraud.store.database import open_engine, read, upgrade, write
from fraud.store.effects import claim_position, commit_effects
from fraud.store.operations import ensure_reference_set, newest_checkpoint
from fraud.store.records import PartitionKey
from models.state import CardStates
from streams.dedupe import DedupeWindow
from streams.exposure_index import ExposureIndex
from streams.pipeline import PartitionState, Pipeline, ReferenceSet
from streams.simulator import SimulationParameters, simulate
from streams.snapshots import SnapshotError, load_partition, save_partition
from streams.wire import Decoder, RawRecord, encode, keys

KEY = PartitionKey("group", "topic-id", "card.transactions", 0)
WINDOW = 5_000


@pytest.fixture(scope="module")
def records() -> list[RawRecord]:
    parameters = SimulationParameters(
        cards=60, exposed_records=20, history_days=12, story_days=1, transactions_per_card_day=1.5
    )
    columns = simulate(parameters, CardTokenizer({1: b"k" * 32}, 1)).columns
    pairs = zip(keys(columns), encode(columns), strict=True)
    return [RawRecord(offset, key, value, 1_700_000_000_000) for offset, (key, value) in enumerate(pairs)]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_engine(f"sqlite:///{tmp_path / 'mimamori.db'}")
    upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def reference(engine: Engine) -> ReferenceSet:
    policy = Policy(None, None, None, None)
    with write(engine) as connection:
        number = ensure_reference_set(connection, 0, None, policy.digest, 1, {}, 1)
    return ReferenceSet(number, ExposureIndex(), policy, None)


def make_pipeline() -> Pipeline:
    portfolio = PortfolioSettings(bin_ranges=("453201",))
    settings = Settings(portfolio=portfolio, cards=CardSettings(keys={1: SecretStr("00" * 16)}))
    return Pipeline(settings, Decoder(PanGuard.from_settings(portfolio), b"d" * 32, 65_536, "JPY", 86_400_000))


def fresh_state(epoch: int = 1) -> PartitionState:
    return PartitionState(KEY, epoch, 0, CardStates(), DedupeWindow(WINDOW))


def process(engine: Engine, state: PartitionState, records: list[RawRecord], reference: ReferenceSet) -> None:
    effects = make_pipeline().process(state, records, reference, 2)
    with write(engine) as connection:
        assert commit_effects(connection, [effects]) == []


def same(one: PartitionState, other: PartitionState) -> bool:
    return (
        np.array_equal(np.sort(one.cards.keys), np.sort(other.cards.keys))
        and all(
            one.cards.records[one.cards.slots(one.cards.keys[i : i + 1])[0]].tobytes()
            == other.cards.records[other.cards.slots(one.cards.keys[i : i + 1])[0]].tobytes()
            for i in range(len(one.cards))
        )
        and one.dedupe.entries() == other.dedupe.entries()
    )


def claimed(engine: Engine) -> PartitionState:
    with write(engine) as connection:
        position = claim_position(connection, KEY, "worker", 1)
    return fresh_state(position.owner_epoch)


def test_a_snapshot_and_the_tail_give_the_state_of_one_that_never_stopped(
    engine: Engine, reference: ReferenceSet, records: list[RawRecord], tmp_path: Path
) -> None:
    half = len(records) // 2
    state = claimed(engine)
    process(engine, state, records[:half], reference)
    assert save_partition(engine, tmp_path, state, 3, keep=3)
    process(engine, state, records[half:], reference)

    again = load_partition(engine, KEY, state.owner_epoch, len(records), WINDOW)
    assert again.next_offset == half
    make_pipeline().replay(again, records[half:], frozenset(), 4)
    assert same(again, state)
    assert again.next_offset == len(records)


def test_a_duplicate_of_an_event_from_before_the_snapshot_is_still_a_duplicate(
    engine: Engine, reference: ReferenceSet, records: list[RawRecord], tmp_path: Path
) -> None:
    state = claimed(engine)
    process(engine, state, records, reference)
    save_partition(engine, tmp_path, state, 3, keep=3)
    again = load_partition(engine, KEY, state.owner_epoch, len(records), WINDOW)
    duplicate = records[5]._replace(offset=len(records))
    effects = make_pipeline().process(again, [duplicate], reference, 4)
    assert (effects.counters.processed, effects.counters.duplicates) == (0, 1)


def test_a_damaged_snapshot_is_passed_over_for_an_older_one_and_the_last_one_is_refused(
    engine: Engine, reference: ReferenceSet, records: list[RawRecord], tmp_path: Path
) -> None:
    half = len(records) // 2
    state = claimed(engine)
    process(engine, state, records[:half], reference)
    save_partition(engine, tmp_path, state, 3, keep=3)
    process(engine, state, records[half:], reference)
    save_partition(engine, tmp_path, state, 3, keep=3)
    first, second = sorted(tmp_path.glob("*.cards.npz"), key=lambda path: int(path.name.split("-")[3]))
    content = bytearray(second.read_bytes())
    content[len(content) // 2] ^= 1
    second.write_bytes(content)
    assert load_partition(engine, KEY, state.owner_epoch, len(records), WINDOW).next_offset == half
    first.unlink()
    with pytest.raises(SnapshotError):
        load_partition(engine, KEY, state.owner_epoch, len(records), WINDOW)


def test_a_position_that_was_restored_starts_before_a_later_snapshot(
    engine: Engine, reference: ReferenceSet, records: list[RawRecord], tmp_path: Path
) -> None:
    state = claimed(engine)
    process(engine, state, records[:200], reference)
    save_partition(engine, tmp_path, state, 3, keep=3)
    process(engine, state, records[200:400], reference)
    save_partition(engine, tmp_path, state, 3, keep=3)
    assert load_partition(engine, KEY, 2, 399, WINDOW).next_offset == 200
    assert load_partition(engine, KEY, 2, 100, WINDOW).next_offset == 0


def test_a_snapshot_ahead_of_the_position_or_of_an_older_owner_leaves_nothing_behind(
    engine: Engine, reference: ReferenceSet, records: list[RawRecord], tmp_path: Path
) -> None:
    state = claimed(engine)
    make_pipeline().process(state, records[:50], reference, 2)  # not committed
    folder = tmp_path / "snapshots"
    assert not save_partition(engine, folder, state, 3, keep=3)
    fenced = claimed(engine)
    process(engine, fenced, records[:50], reference)
    claimed(engine)
    assert not save_partition(engine, folder, fenced, 3, keep=3)
    assert list(folder.iterdir()) == []
    with read(engine) as connection:
        assert newest_checkpoint(connection, KEY, 10**9) is None


def test_only_the_newest_snapshots_stay(
    engine: Engine, reference: ReferenceSet, records: list[RawRecord], tmp_path: Path
) -> None:
    state = claimed(engine)
    folder = tmp_path / "snapshots"
    for start in range(0, 250, 50):
        process(engine, state, records[start : start + 50], reference)
        assert save_partition(engine, folder, state, 3, keep=2)
    offsets = {int(path.name.split("-")[3]) for path in folder.iterdir()}
    assert offsets == {200, 250}
    assert len(list(folder.iterdir())) == 4
