"""The benches: that they count right, throw everything away, and leave other people's databases alone."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kafka_server import KafkaServer
from postgresql_server import PostgresqlServer
from typer.testing import CliRunner

from fraud.cards import CardTokenizer, card_keys
from fraud.cli import app
from fraud.errors import ConfigurationError, UnavailableError
from fraud.pan_guard import PanGuard
from fraud.store.database import current_revision, downgrade, open_engine
from models.state import CardStates
from streams.bench import stages as stages_module
from streams.bench import traffic as traffic_module
from streams.bench.children import child
from streams.bench.latencies import Moments, latency_report, within
from streams.bench.machine import cpu_seconds, machine_facts, server_process
from streams.bench.place import bench_place
from streams.bench.stages import PARTS, StageClock
from streams.bench.traffic import Traffic, TrafficSize
from streams.kafka import make_admin
from streams.simulator import simulate
from streams.wire_encoder import encode, keys

SMALL = ("--cards", "2000", "--exposed", "3000")
KEYS = {1: bytes(32)}


@pytest.fixture(scope="module")
def traffic() -> Iterator[Traffic]:
    """Six hundred simulated cards, each of which stands for four."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(traffic_module, "SIMULATED_CARDS", 600)
        size = TrafficSize(records=7_000, cards=2_400, exposed_share=0.05, seed=3)
        assert (size.copies, size.simulated_cards) == (4, 600)
        yield Traffic(simulate(size.parameters(), CardTokenizer(KEYS, active_key=1)), size)


def test_traffic_is_as_long_as_asked_for_and_every_event_its_own(traffic: Traffic) -> None:
    blocks = list(traffic.blocks())
    event_ids = np.concatenate([block["event_id"] for block in blocks])
    assert len(event_ids) == len(set(event_ids.tolist())) == 7_000
    times = np.concatenate([block["occurred_at"] for block in blocks])
    assert (np.diff(times) >= -600_000).all(), "in order of time but for some minutes"


def test_traffic_is_spread_over_all_copies_and_each_card_keeps_its_own_order(traffic: Traffic) -> None:
    columns = type(next(traffic.blocks())).concatenate(list(traffic.blocks()))
    place = {ref: number for number, ref in enumerate(traffic.card_refs.tolist())}
    copies = np.array([place[ref] // 600 for ref in columns["card_ref"].tolist()])
    assert np.bincount(copies, minlength=4).min() > 1_500
    for ref in columns["card_ref"][:50].tolist():
        own = columns["occurred_at"][columns["card_ref"] == ref]
        assert (np.diff(own) >= 0).all()


def test_the_asked_share_of_the_traffic_is_on_exposed_cards(traffic: Traffic) -> None:
    exposed = card_keys(traffic.exposed_refs())
    on_them = [np.isin(block["card_key"], exposed) for block in traffic.blocks()]
    assert np.concatenate(on_them).mean() == pytest.approx(0.05, abs=0.01)


def test_a_card_has_the_state_of_the_simulated_card_it_stands_for(traffic: Traffic) -> None:
    simulated = CardStates()
    refs = traffic.simulation.portfolio.card_ref
    slots = simulated.slots(card_keys(refs[:599]))  # the last one has never been used
    simulated.records["history_count"][slots] = np.arange(1, 600)
    states = traffic.states(simulated)
    assert len(states) == 2_400
    counts = states.records["history_count"][states.slots(card_keys(traffic.card_refs), create=False)]
    assert counts.tolist() == [*range(1, 600), 0] * 4
    assert (states.records["version"] == simulated.records["version"][0]).all()


def test_records_hold_no_card_number(traffic: Traffic) -> None:
    guard = PanGuard(["453201"], [16])
    block = next(traffic.blocks())
    for data in [*encode(block), *keys(block)]:
        assert guard.redact(data.decode()) == data.decode()


def spin(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def inner() -> None:
    spin(0.05)


def outer() -> None:
    spin(0.01)
    globals()["inner"]()  # found by name, as the product's parts are


def test_a_stage_counts_its_own_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    holder = type("Holder", (), {"inner": staticmethod(inner), "outer": staticmethod(outer)})
    monkeypatch.setitem(globals(), "inner", inner)
    monkeypatch.setattr(stages_module, "import_module", lambda _name: holder)
    clock = StageClock()
    clock.wrap_all({"outer": ["m:outer"], "inner": ["m:inner"], "gone": ["m:gone", "m:Gone.too"]})
    monkeypatch.setitem(globals(), "inner", holder.inner)
    thread = threading.Thread(target=holder.outer)
    thread.start()
    thread.join()
    holder.inner()
    times = clock.times()
    assert clock.not_found == ["gone"]
    assert (times["outer"].calls, times["inner"].calls) == (1, 2)
    assert times["outer"].cpu < 0.05 <= times["inner"].cpu


def test_a_stage_that_raises_is_counted_and_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise ValueError

    holder = type("Holder", (), {"fail": staticmethod(fail)})
    monkeypatch.setattr(stages_module, "import_module", lambda _name: holder)
    clock = StageClock()
    assert clock.wrap("failing", "m:fail")
    with pytest.raises(ValueError, match=r"^$"):
        holder.fail()
    assert clock.times()["failing"].calls == 1


def test_latencies_are_of_what_was_committed() -> None:
    appended = np.arange(1_000) / 100
    committed = appended + np.arange(1, 1_001) / 1_000
    committed[-1] = np.nan
    report = latency_report(Moments(appended - 0.5, appended, committed, by_broker=True))
    assert report["measured"] == 999
    assert report["p50_ms"] == pytest.approx(500, abs=1)
    assert report["max_ms"] == pytest.approx(999)
    assert report["from_intended_send"]["max_ms"] == pytest.approx(1_499)


def test_records_that_wait_during_a_span_are_told_from_the_others() -> None:
    appended, committed = np.array([1.0, 2.0, 3.0, 4.0]), np.array([1.5, 2.5, 3.5, np.nan])
    moments = Moments(appended, appended, committed, by_broker=True)
    assert within(moments, [(2.4, 2.9), (3.5, 3.6)]).tolist() == [False, True, True, False]
    assert not within(moments, []).any()
    assert latency_report(moments.take(np.zeros(4, np.bool_)))["p99_ms"] == 0.0


def test_processor_time_and_servers_are_found() -> None:
    spin(0.05)
    assert cpu_seconds(os.getpid()) >= 0.04
    assert machine_facts()["cores"] >= 1
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert server_process(server.getsockname()[1]) == os.getpid()


def test_a_measuring_process_that_fails_says_why(tmp_path: Path) -> None:
    with (
        child("streams.bench.raw_poll", {"nothing": True}, tmp_path / "log") as failing,
        pytest.raises(UnavailableError, match="KeyError"),
    ):
        failing.wait_for("result", 60)


@pytest.mark.parametrize("place", [place for places in PARTS.values() for place in places])
def test_the_parts_of_the_worker_are_where_the_benches_look(place: str) -> None:
    assert callable(stages_module.find(place)[2])


def test_a_database_in_use_is_refused_and_left_as_it_is(
    tmp_path: Path, postgresql_url: str, tansu: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIMAMORI_DATABASE_URL", postgresql_url)
    monkeypatch.setenv("MIMAMORI_KAFKA__BOOTSTRAP_SERVERS", tansu)
    engine = open_engine(postgresql_url)
    before = current_revision(engine)
    with pytest.raises(ConfigurationError, match="in use"), bench_place(tmp_path, "kafka", "postgresql"):
        pytest.fail("it was taken")
    assert current_revision(engine) == before
    assert list(tmp_path.iterdir()) == []

    downgrade(engine, "base")  # now it is empty, and may be used
    with bench_place(tmp_path, "kafka", "postgresql") as place:
        topic = place.settings.kafka.transactions_topic
        assert current_revision(engine) == before
    assert current_revision(engine) is None
    admin = make_admin(place.settings.kafka)
    try:
        assert topic not in admin.list_topics()
    finally:
        admin.close()
    engine.dispose()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder, in which the model of the first bench serves the others."""
    return tmp_path_factory.mktemp("bench")


def bench(kept: Path, name: str, *arguments: str) -> dict[str, Any]:
    report = kept / f"{name}.json"
    done = CliRunner(env={"MIMAMORI_DATA_DIR": str(kept)}).invoke(
        app, ["bench", name, *SMALL, *arguments, "--report", str(report)]
    )
    assert done.exit_code == 0, (done.output, done.exception)
    left = [path.name for path in (kept / "bench").iterdir()]
    assert [name for name in left if not name.startswith("model-")] == []
    result: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))
    return result


@pytest.mark.usefixtures("tansu")
def test_stream(kept: Path) -> None:
    report = bench(kept, "stream", "--records", "10000")
    assert report["published"] == 10_000
    assert 0 < report["records"] <= 10_000
    assert report["worker_cpu_us_per_record"] > report["raw_cpu_us_per_record"] > 0
    assert report["ratio_to_raw"] == pytest.approx(report["worker_cpu_us_per_record"] / report["raw_cpu_us_per_record"])
    assert {"poll", "decode", "features", "score", "commit", "not attributed"} <= report["stages"].keys()
    assert sum(report["stages"].values()) == pytest.approx(report["worker_cpu_us_per_record"])
    assert report["stages_not_found"] == []
    assert report["settings"]["cards_with_state"] == 2_000
    assert report["settings"]["exposed_cards"] == 3_000
    assert report["server_cpu_us_per_record"]["broker"] >= 0


def test_latency_beside_kafka_and_postgresql(
    kept: Path, kafka: KafkaServer, postgresql: PostgresqlServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIMAMORI_KAFKA__BOOTSTRAP_SERVERS", kafka.bootstrap)
    name = postgresql.create_database()
    engine = open_engine(postgresql.url(name))
    downgrade(engine, "base")
    engine.dispose()
    monkeypatch.setenv("MIMAMORI_DATABASE_URL", postgresql.url(name))
    report = bench(
        kept,
        "latency",
        *("--broker", "kafka", "--database", "postgresql", "--rate", "500", "--seconds", "3", "--warm-up", "1"),
    )
    postgresql.drop_database(name)
    assert report["sent"] == report["processed"] == 2_000
    assert report["measured"] == 1_500
    assert report["during_checkpoints"]["measured"] + report["between_checkpoints"]["measured"] == 1_500
    assert report["appended_at"] == "broker"
    assert 0 < report["p50_ms"] <= report["p99_ms"] <= report["p999_ms"] <= report["max_ms"]
    assert report["from_intended_send"]["p50_ms"] >= report["p50_ms"]


@pytest.mark.usefixtures("tansu")
def test_restart(kept: Path) -> None:
    report = bench(kept, "restart", "--tail", "3000")
    assert report["tail_records"] >= 3_000
    assert report["cards"] == 2_000
    assert report["seconds_to_first_record"] > 0
    assert {"load", "claim", "replay"} <= report["stages"].keys()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(["stream", "--records", "10"], "--records"), (["latency", "--rate", "1", "--seconds", "2"], "--seconds")],
)
def test_sizes_that_make_no_sense_are_refused(kept: Path, arguments: list[str], named: str) -> None:
    done = CliRunner(env={"MIMAMORI_DATA_DIR": str(kept)}).invoke(app, ["bench", *arguments])
    assert done.exit_code != 0
    assert getattr(done.exception, "field", None) == named
