"""Metrics, the observer and the probes, read over HTTP as a scraper reads them."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine

from fraud.errors import ConfigurationError
from fraud.settings import MonitoringSettings
from fraud.store.database import open_engine
from fraud.store.records import Counters, DeadLetterRecord, PartitionEffects, PartitionKey
from streams.health import Health, monitoring_server
from streams.metric_table import METRICS, MetricName
from streams.metrics import OTHER, Metrics
from streams.observer import MetricsObserver, WorkerObserver

PAN = "4111111111111111"
DIGEST = "ab" * 32


def effects(**changes: Any) -> PartitionEffects:
    letters = tuple(
        DeadLetterRecord(offset, name, None, "0" * 64, 1, f"x:{PAN}", on_exposed_card=False, kind=kind)
        for offset, (name, kind) in enumerate(
            [("NOT_JSON", "DEAD_LETTER"), ("NOT_JSON", "DEAD_LETTER"), ("EVENT_ID_REUSED", "QUARANTINED")]
        )
    )
    counters = Counters(processed=7, duplicates=2, quarantined=1, dead_lettered=2, matched=3, detected=1)
    values = {
        "key": PartitionKey("g", "t", "card.transactions", 3),
        "expected_offset": 0,
        "next_offset": 12,
        "owner_epoch": 1,
        "reference_set_id": 5,
        "counters": counters,
        "reached_at": 1,
        "dead_letters": letters,
        "security_findings": {f"note.{PAN}": 2},
    }
    return PartitionEffects(**(values | changes))


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Name and labels to value."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.expose().decode())
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


class Seconds:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


@pytest.fixture
def observer(seconds: Seconds) -> MetricsObserver:
    return MetricsObserver(Metrics(), live_seconds=10, monotonic=seconds)


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    opened = open_engine(sqlite_url)
    yield opened
    opened.dispose()


def tell_everything(observer: WorkerObserver) -> None:
    """One call of each kind."""
    observer.beat()
    observer.polled(12)
    observer.assigned(3)
    observer.model(DIGEST, self_test_passed=True)
    observer.reference(5)
    observer.batch([effects()], 0.02)
    observer.missing({"mcc": 2, f"card {PAN}": 1})
    observer.database_retry()
    observer.replaying(3, 900)
    observer.ready(3)
    observer.checkpointed(3)
    observer.committed([effects()], 0.03)
    observer.lag(3, 40, 1.5)
    observer.state(3, 600, 70_000)
    observer.checkpoint_failed("archive")
    observer.archived(40, 0.2)


def test_the_table_has_every_metric_once() -> None:
    assert [metric.name for metric in METRICS] == list(get_args(MetricName))
    assert all(metric.meaning.endswith(".") and metric.action.endswith(".") for metric in METRICS)
    assert all((metric.kind == "counter") == metric.name.endswith("_total") for metric in METRICS)


def test_every_metric_has_a_value_after_one_call_of_each_kind(observer: MetricsObserver, seconds: Seconds) -> None:
    tell_everything(observer)
    seconds.now += 4
    found = samples(observer.metrics)
    names = {re.sub(r"_(bucket|sum|count)$", "", name) for name, _ in found}
    assert names == {metric.name for metric in METRICS}
    partition = (("partition", "3"),)
    expected: dict[tuple[str, tuple[tuple[str, str], ...]], float] = {
        ("mimamori_scored_total", ()): 7,
        ("mimamori_matched_total", ()): 3,
        ("mimamori_detected_total", ()): 1,
        ("mimamori_duplicates_total", ()): 2,
        ("mimamori_quarantined_total", ()): 1,
        ("mimamori_dead_letters_total", (("error_class", "NOT_JSON"),)): 2,
        ("mimamori_security_findings_total", ()): 2,
        ("mimamori_missing_fields_total", (("field", "mcc"),)): 2,
        ("mimamori_missing_fields_total", (("field", OTHER),)): 1,
        ("mimamori_lag_records", partition): 40,
        ("mimamori_lag_seconds", partition): 1.5,
        ("mimamori_state_cards", partition): 600,
        ("mimamori_state_bytes", partition): 70_000,
        ("mimamori_checkpoint_age_seconds", partition): 4,
        ("mimamori_checkpoints_total", ()): 1,
        ("mimamori_checkpoint_failures_total", (("step", "archive"),)): 1,
        ("mimamori_archived_rows_total", ()): 40,
        ("mimamori_archive_seconds_bucket", (("le", "0.25"),)): 1,
        ("mimamori_replay_left_records", partition): 0,
        ("mimamori_poll_age_seconds", ()): 4,
        ("mimamori_partitions_assigned", ()): 1,
        ("mimamori_partitions_ready", ()): 1,
        ("mimamori_model_info", (("model_digest", DIGEST),)): 1,
        ("mimamori_reference_set_id", ()): 5,
        ("mimamori_batch_seconds_bucket", (("le", "0.1"),)): 1,
        ("mimamori_commit_seconds_bucket", (("le", "0.025"),)): 0,
    }
    assert {key: found[key] for key in expected} == expected


def test_a_partition_that_has_gone_leaves_no_series(observer: MetricsObserver) -> None:
    tell_everything(observer)
    observer.assigned(4)
    observer.lag(4, 1, 0.1)
    observer.revoked(3)
    found = samples(observer.metrics)
    assert {labels for _, labels in found if dict(labels).get("partition")} == {(("partition", "4"),)}
    assert found["mimamori_rebalances_total", ()] == 3


def test_the_age_of_a_checkpoint_is_that_of_what_none_holds(observer: MetricsObserver, seconds: Seconds) -> None:
    def age() -> float:
        return samples(observer.metrics)["mimamori_checkpoint_age_seconds", (("partition", "3"),)]

    observer.assigned(3)
    seconds.now += 1_000
    assert age() == 0  # nothing has been committed: there is nothing to hold
    observer.committed([effects()], 0.01)
    seconds.now += 50
    observer.committed([effects()], 0.01)
    seconds.now += 50
    assert age() == 100  # no checkpoint was ever written, and that is seen
    observer.checkpointed(3)
    seconds.now += 1_000
    assert age() == 0
    observer.committed([effects()], 0.01)
    seconds.now += 7
    assert age() == 7
    observer.revoked(3)
    observer.checkpointed(3)  # the last one of a partition that has gone
    assert not [name for name, labels in samples(observer.metrics) if dict(labels).get("partition")]


def test_a_replay_shows_what_is_left(observer: MetricsObserver) -> None:
    for left in (900, 300):
        observer.assigned(3)
        observer.replaying(3, left)
        assert samples(observer.metrics)["mimamori_replay_left_records", (("partition", "3"),)] == left


def test_another_model_replaces_the_one_before(observer: MetricsObserver) -> None:
    observer.model(DIGEST, self_test_passed=True)
    observer.model(None, self_test_passed=True)
    shown = [labels for name, labels in samples(observer.metrics) if name == "mimamori_model_info"]
    assert shown == [(("model_digest", "none"),)]


def test_nothing_of_a_card_gets_into_a_label(observer: MetricsObserver) -> None:
    tell_everything(observer)
    assert PAN not in observer.metrics.expose().decode()


@given(text=st.text(min_size=1))
def test_labels_hold_only_words_of_closed_lists(text: str) -> None:
    metrics = Metrics()
    metrics.add("mimamori_missing_fields_total", field=f"{PAN}{text}")
    metrics.add("mimamori_dead_letters_total", error_class=f"{PAN}{text}")
    metrics.add("mimamori_checkpoint_failures_total", step=f"{PAN}{text}")
    metrics.set("mimamori_lag_records", 1, partition=f"{PAN}{text}")
    metrics.set("mimamori_model_info", 1, model_digest=f"{PAN}{text}")
    labels = {value for _, pairs in samples(metrics) for name, value in pairs if name != "le"}
    assert labels == {OTHER}


def test_the_observer_that_listens_to_nothing_takes_every_call() -> None:
    quiet = WorkerObserver()
    tell_everything(quiet)
    quiet.revoked(3)
    public = {name for name in vars(WorkerObserver) if not name.startswith("_")}
    assert public <= {name for name in vars(MetricsObserver) if not name.startswith("_")}


def get(address: tuple[str, int], path: str) -> tuple[int, bytes]:
    try:
        with urllib.request.urlopen(f"http://{address[0]}:{address[1]}{path}", timeout=10) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def reasons(answer: tuple[int, bytes]) -> list[str]:
    status, body = answer
    found: list[str] = json.loads(body)["reasons"]
    assert status == (503 if found else 200)
    return found


def test_probes_say_what_is_wrong(observer: MetricsObserver, engine: Engine, seconds: Seconds) -> None:
    with monitoring_server(MonitoringSettings(port=0), Health(observer, engine)) as address:
        assert address is not None
        assert reasons(get(address, "/healthz/ready")) == [
            "no partition is assigned",
            "the model has not passed its self-test",
        ]
        observer.model(None, self_test_passed=True)
        observer.assigned(0)
        observer.assigned(1)
        observer.ready(0)
        assert reasons(get(address, "/healthz/ready")) == ["1 partitions are being replayed"]
        observer.ready(1)
        assert reasons(get(address, "/healthz/ready")) == []
        seconds.now += 11
        assert reasons(get(address, "/healthz/live")) == ["the loop stands still"]
        assert reasons(get(address, "/healthz/ready")) == ["the loop stands still"]
        observer.beat()
        assert reasons(get(address, "/healthz/live")) == []
        assert get(address, "/other")[0] == 404


def test_a_database_that_is_away_is_not_ready_but_alive(observer: MetricsObserver) -> None:
    gone = open_engine("postgresql://nobody@127.0.0.1:1/none")
    observer.model(None, self_test_passed=True)
    observer.assigned(0)
    observer.ready(0)
    health = Health(observer, gone)
    assert health.ready() == ["the database does not answer"]
    assert health.live() == []
    gone.dispose()


def test_metrics_over_http(observer: MetricsObserver, engine: Engine) -> None:
    tell_everything(observer)
    with monitoring_server(MonitoringSettings(port=0), Health(observer, engine)) as address:
        assert address is not None
        status, body = get(address, "/metrics")
        assert status == 200
        assert b"mimamori_scored_total 7.0" in body
        taken = MonitoringSettings(port=address[1])
        with pytest.raises(ConfigurationError), monitoring_server(taken, Health(observer, engine)):
            pass


def test_it_is_off_by_default(observer: MetricsObserver, engine: Engine) -> None:
    with monitoring_server(MonitoringSettings(), Health(observer, engine)) as address:
        assert address is None
