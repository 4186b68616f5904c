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
from streams.objects import ObjectStore, open_object_store
from streams.pipeline import PartitionState, Pipeline, ReferenceSet
from streams.simulator import SimulationParameters, simulate
from streams.snapshots import CARDS, Chain, FrozenState, SnapshotError, Snapshots, freeze
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
    effects = make_pipeline().process(state, records, reference, 2).effects
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


class Taker:
    """Takes snapshots of one state, one after the other."""

    def __init__(self, engine: Engine, store: ObjectStore, keep: int = 3) -> None:
        self.snapshots = Snapshots(engine, store, keep, WINDOW)
        self.chain: Chain | None = Chain()
        self.carried: FrozenState | None = None

    def take(self, state: PartitionState) -> bool:
        frozen = freeze(state, self.carried)
        assert self.chain is not None
        chain = self.snapshots.write(frozen, self.chain, 3)
        self.carried = frozen if chain is None else None
        self.chain = chain or self.chain
        return chain is not None

    def load(self, at_most: int, epoch: int = 1) -> PartitionState:
        state, self.chain = self.snapshots.load(KEY, epoch, at_most)
        return state


@pytest.fixture
def store(tmp_path: Path) -> ObjectStore:
    return open_object_store(tmp_path / "snapshots")


@pytest.fixture
def taker(engine: Engine, store: ObjectStore) -> Taker:
    return Taker(engine, store)


def test_a_snapshot_and_the_tail_give_the_state_of_one_that_never_stopped(
    engine: Engine, reference: ReferenceSet, records: list[RawRecord], taker: Taker
) -> None:
    half = len(records) // 2
    state = claimed(engine)
    process(engine, state, records[:half], reference)
    assert taker.take(state)
    process(engine, state, records[half:], reference)

    again = taker.load(len(records), state.owner_epoch)
    assert again.next_offset == half
    assert make_pipeline().replay(again, records[half:], frozenset(), None, 4) is None
    assert same(again, state)
    assert again.next_offset == len(records)


def test_a_replay_under_the_recorded_set_gives_the_archive_rows_again(
    engine: Engine, reference: ReferenceSet, records: list[RawRecord], taker: Taker
) -> None:
    half = len(records) // 2
    state = claimed(engine)
    process(engine, state, records[:half], reference)
    taker.take(state)
    live = make_pipeline().process(state, records[half:], reference, 2).archive_rows
    replayed = make_pipeline().replay(taker.load(half), records[half:], frozenset(), reference, 4)
    assert replayed is not None
    for name in ("offsets", "logged_at", "probability", "anomaly", "tiers", "digests", "reference_set_ids"):
        np.testing.assert_array_equal(getattr(replayed, name), getattr(live, name), err_msg=name)


@pytest.mark.parametrize("restart_every", [None, 3], ids=["one process", "restarts in between"])
def test_a_base_and_what_changed_give_the_whole_again_and_chains_are_made_short(
    engine: Engine,
    reference: ReferenceSet,
    records: list[RawRecord],
    taker: Taker,
    store: ObjectStore,
    restart_every: int | None,
) -> None:
    state = claimed(engine)
    lengths = []
    for number, start in enumerate(range(0, 600, 20)):
        process(engine, state, records[start : start + 20], reference)
        assert taker.take(state)
        assert taker.chain is not None
        lengths.append(len(taker.chain.of(CARDS)))
        again = Taker(engine, store).load(start + 20)
        assert again.next_offset == start + 20
        assert same(again, state)
        if restart_every and number % restart_every == 0:
            state = taker.load(start + 20, state.owner_epoch)
    assert max(lengths) == 8
    assert lengths.count(1) > 1
    assert len(store.list()) <= 2 * (8 + 3)  # what no kept checkpoint needs is gone


def test_a_duplicate_of_an_event_from_before_the_snapshot_is_still_a_duplicate(
    engine: Engine, reference: ReferenceSet, records: list[RawRecord], taker: Taker
) -> None:
    state = claimed(engine)
    process(engine, state, records[:100], reference)
    taker.take(state)
    process(engine, state, records[100:], reference)
    taker.take(state)
    again = taker.load(len(records))
    duplicates = [records[5]._replace(offset=len(records)), records[105]._replace(offset=len(records) + 1)]
    counters = make_pipeline().process(again, duplicates, reference, 4).effects.counters
    assert (counters.processed, counters.duplicates) == (0, 2)


def test_a_damaged_snapshot_is_passed_over_for_an_older_one_and_the_last_one_is_refused(
    engine: Engine, reference: ReferenceSet, records: list[RawRecord], taker: Taker, tmp_path: Path
) -> None:
    half = len(records) // 2
    state = claimed(engine)
    process(engine, state, records[:half], reference)
    taker.take(state)
    process(engine, state, records[half:], reference)
    taker.take(state)
    assert taker.chain is not None
    first, second = (tmp_path / "snapshots" / part["path"] for part in taker.chain.of(CARDS))
    content = bytearray(second.read_bytes())
    content[len(content) // 2] ^= 1
    second.write_bytes(content)
    with pytest.raises(SnapshotError):
        taker.snapshots.verify(taker.chain.of(CARDS)[1])
    assert taker.load(len(records)).next_offset == half
    first.unlink()
    with pytest.raises(SnapshotError, match="mimamori state rebuild"):
        taker.load(len(records))


def test_a_position_that_was_restored_starts_before_a_later_snapshot(
    engine: Engine, reference: ReferenceSet, records: list[RawRecord], taker: Taker
) -> None:
    state = claimed(engine)
    process(engine, state, records[:200], reference)
    taker.take(state)
    process(engine, state, records[200:400], reference)
    taker.take(state)
    assert taker.load(399).next_offset == 200
    assert taker.load(100).next_offset == 0


def test_a_snapshot_ahead_of_the_position_or_of_an_older_owner_leaves_nothing_behind(
    engine: Engine, reference: ReferenceSet, records: list[RawRecord], taker: Taker, store: ObjectStore
) -> None:
    state = claimed(engine)
    make_pipeline().process(state, records[:50], reference, 2)  # not committed
    assert not taker.take(state)
    fenced = claimed(engine)
    process(engine, fenced, records[:50], reference)
    claimed(engine)
    assert not Taker(engine, store).take(fenced)
    assert store.list() == []
    with read(engine) as connection:
        assert newest_checkpoint(connection, KEY, 10**9) is None


def test_what_was_refused_is_in_the_next_snapshot_of_the_same_worker(
    engine: Engine, reference: ReferenceSet, records: list[RawRecord], taker: Taker
) -> None:
    state = claimed(engine)
    process(engine, state, records[:50], reference)
    state.owner_epoch = claimed(engine).owner_epoch - 1
    assert not taker.take(state)
    state.owner_epoch += 1  # it was this worker that claimed the partition again
    process(engine, state, records[50:60], reference)
    assert taker.take(state)
    assert same(taker.load(60), state)


def test_only_the_newest_snapshots_stay(
    engine: Engine, reference: ReferenceSet, records: list[RawRecord], store: ObjectStore
) -> None:
    state = claimed(engine)
    taker = Taker(engine, store, keep=2)
    for start in range(0, 250, 50):
        process(engine, state, records[start : start + 50], reference)
        taker.chain = Chain()  # each a base of its own
        state.cards.touch(state.cards.slots(state.cards.keys))
        assert taker.take(state)
    offsets = {int(name.split("/")[2].split("-")[0]) for name in store.list()}
    assert offsets == {200, 250}
    assert len(store.list()) == 4
