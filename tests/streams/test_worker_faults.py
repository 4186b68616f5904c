"""The worker under faults: whatever is killed, paused or away, the outcome is that of an undisturbed run."""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer
from kafka_server import KafkaServer
from postgresql_server import PostgresqlServer
from sqlalchemy import text
from worker_support import PATIENCE, Deployment, differences, eventually, projection

from fraud.cli.stream import only_worker
from streams.simulator import Simulation

Deploy = Callable[..., Deployment]
Again = Callable[[Deployment], list[str]]

STOP_SECONDS = 25  # promised: SIGTERM ends a worker within that time


@pytest.fixture
def fragile_postgresql(postgresql: PostgresqlServer) -> Iterator[PostgresqlServer]:
    """PostgreSQL for a test that kills it; runs again afterwards, whatever became of the test."""
    yield postgresql
    if not postgresql.is_running:
        postgresql.start()


@pytest.fixture
def fragile_kafka(kafka: KafkaServer) -> Iterator[KafkaServer]:
    """Apache Kafka for a test that kills it; runs again afterwards, whatever became of the test."""
    yield kafka
    if not kafka.is_running:
        kafka.start()


@pytest.fixture
def differs(simulation: Simulation, tmp_path: Path, migrated_file: Path) -> Again:
    """Where a deployment's outcome differs from that of an undisturbed worker on the same topic."""

    def compare(deployment: Deployment) -> list[str]:
        other = tmp_path / "undisturbed.db"
        other.write_bytes(migrated_file.read_bytes())
        undisturbed = deployment.uninterrupted(simulation, f"sqlite:///{other}")
        assert undisturbed["detections"]
        return differences(projection(deployment.engine), undisturbed)

    return compare


def alive(deployment: Deployment, process: subprocess.Popen[bytes], name: str = "worker") -> Callable[[], None]:
    def check() -> None:
        if process.poll() is not None:
            end = deployment.log_file(name).read_text(encoding="utf-8", errors="replace")[-3_000:]
            pytest.fail(f"the worker process ended with code {process.returncode}:\n{end}")

    return check


def wait_for_share(deployment: Deployment, share: float, check: Callable[[], None]) -> None:
    """Wait until a share of what is published is done; it must not be all of it by then."""
    wanted = share * deployment.published
    eventually(lambda: deployment.done() >= wanted, f"{share:.0%} is done", check)


def end_in_order(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    assert process.wait(STOP_SECONDS) == 0


def freeze_in_a_transaction(deployment: Deployment, process: subprocess.Popen[bytes]) -> None:
    """SIGSTOP while it holds locks in PostgreSQL: there a machine that freezes does the most harm."""
    holding = text(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
        " AND state = 'idle in transaction' AND backend_xid IS NOT NULL"
    )

    def is_frozen_in_one() -> bool:
        process.send_signal(signal.SIGSTOP)
        with deployment.engine.connect() as connection:
            if connection.execute(holding).scalar():
                return True
        process.send_signal(signal.SIGCONT)
        return False

    eventually(is_frozen_in_one, "it is stopped within a transaction", alive(deployment, process, "zombie"))


def test_killed_in_the_middle_and_started_again(
    stack: Any, deploy: Deploy, simulation: Simulation, differs: Again
) -> None:
    deployment = deploy(stack, max_poll_records=20)
    deployment.expose(simulation)
    deployment.publish(simulation.between(simulation.live_from, simulation.live_from + 6_000))
    with deployment.process() as process:
        wait_for_share(deployment, 0.3, alive(deployment, process))
        process.kill()
        process.wait()
    assert deployment.done() < deployment.published, "it was done before it was killed: the test proves nothing"
    with deployment.process() as process:
        wait_for_share(deployment, 0.6, alive(deployment, process))
        end_in_order(process)  # in the middle of its work
        assert deployment.done() < deployment.published
    with deployment.process() as process:
        deployment.wait_until_done(alive(deployment, process))
        end_in_order(process)  # and idle
    assert differs(deployment) == []


@pytest.mark.parametrize("stack", ["kafka-postgresql"], indirect=True)
def test_a_second_worker_joins_and_leaves(stack: Any, deploy: Deploy, simulation: Simulation, differs: Again) -> None:
    deployment = deploy(stack, max_poll_records=50)
    deployment.expose(simulation)
    third = len(simulation.live) // 3
    starts = [simulation.live_from + number * third for number in range(3)]
    parts = [simulation.between(start, start + third) for start in starts]

    def epochs() -> list[int]:
        return [partition["owner_epoch"] for partition in deployment.counts()["partitions"]]

    with deployment.worker() as first:
        deployment.publish(parts[0])
        wait_for_share(deployment, 0.3, first.check)
        alone = epochs()
        with deployment.worker() as second:
            deployment.publish(parts[1])
            eventually(lambda: all(a < b for a, b in zip(alone, epochs(), strict=True)), "both share", second.check)
            wait_for_share(deployment, 0.6, second.check)
        deployment.publish(parts[2])
        deployment.wait_until_done(first.check)
    assert differs(deployment) == []


@pytest.mark.xfail(
    run=False,
    reason="a worker frozen within a transaction keeps its rows locked until PostgreSQL ends it (10 s idle); on a busy "
    "machine the successor was still seen to wait for more than a minute, and why is not known",
)
@pytest.mark.parametrize("stack", ["kafka-postgresql"], indirect=True)
def test_a_zombie_writes_nothing_after_its_successor(
    stack: Any, deploy: Deploy, simulation: Simulation, differs: Again
) -> None:
    """It is stopped within a transaction, whose locks its successor needs, until both its sessions have ended."""
    deployment = deploy(stack, max_poll_records=50)
    deployment.expose(simulation)
    middle = (simulation.live_from + len(simulation)) // 2
    deployment.publish(simulation.between(simulation.live_from, middle))
    with deployment.process("zombie") as zombie:
        wait_for_share(deployment, 0.2, alive(deployment, zombie, "zombie"))
        freeze_in_a_transaction(deployment, zombie)
        assert deployment.done() < deployment.published
        with deployment.worker() as successor:
            deployment.wait_until_done(successor.check)
            after = projection(deployment.engine)
            epochs = [partition["owner_epoch"] for partition in deployment.counts()["partitions"]]
            zombie.send_signal(signal.SIGCONT)
            # It notices that it is out of the group and joins again: every partition is claimed anew.
            eventually(
                lambda: all(
                    before < partition["owner_epoch"]
                    for before, partition in zip(epochs, deployment.counts()["partitions"], strict=True)
                ),
                "the zombie is a member again",
                alive(deployment, zombie, "zombie"),
            )
            assert differences(projection(deployment.engine), after) == []
            deployment.publish(simulation.between(middle, len(simulation)))
            deployment.wait_until_done(successor.check)
        end_in_order(zombie)
    assert differs(deployment) == []


@pytest.mark.parametrize("stack", ["kafka-postgresql"], indirect=True)
def test_a_worker_that_slept_past_its_session_goes_on(
    stack: Any, deploy: Deploy, simulation: Simulation, differs: Again
) -> None:
    """Nobody takes over: it gets its own partitions back, in the middle of their records."""
    deployment = deploy(stack, max_poll_records=20)
    deployment.expose(simulation)
    deployment.publish(simulation.between(simulation.live_from, simulation.live_from + 6_000))
    with deployment.process() as process:
        wait_for_share(deployment, 0.2, alive(deployment, process))
        process.send_signal(signal.SIGSTOP)
        assert deployment.done() < deployment.published
        time.sleep(deployment.settings.kafka.session_timeout_ms / 1000 + 1.5)
        process.send_signal(signal.SIGCONT)
        deployment.wait_until_done(alive(deployment, process))
        end_in_order(process)
    assert differs(deployment) == []


@pytest.mark.parametrize("stack", ["kafka-postgresql"], indirect=True)
def test_a_rebalance_between_reading_records_and_processing_them(
    stack: Any, deploy: Deploy, simulation: Simulation, differs: Again, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The callbacks run on the client's own thread, so a partition can go and come back after `poll()` has read it."""
    listeners: list[Any] = []
    subscribe, poll = KafkaConsumer.subscribe, KafkaConsumer.poll

    def listened(self: KafkaConsumer, topics: Any, listener: Any) -> None:
        listeners.append(listener)
        subscribe(self, topics, listener=listener)

    def interrupted(self: KafkaConsumer, **options: Any) -> Any:
        polled = poll(self, **options)
        if polled and listeners and self.config["group_id"] and self.subscription():
            listener = listeners.pop()
            listener.on_partitions_revoked(set(polled))
            listener.on_partitions_assigned(set(polled))
        return polled

    deployment = deploy(stack, max_poll_records=50)
    deployment.expose(simulation)
    deployment.publish(simulation.between(simulation.live_from, simulation.live_from + 2_000))
    with monkeypatch.context() as patched:
        patched.setattr(KafkaConsumer, "subscribe", listened)
        patched.setattr(KafkaConsumer, "poll", interrupted)
        with deployment.worker() as worker:
            deployment.wait_until_done(worker.check)
    assert differs(deployment) == []


@pytest.mark.parametrize("stack", ["tansu-sqlite"], indirect=True)
def test_a_second_process_on_sqlite_is_refused(stack: Any, deploy: Deploy) -> None:
    deployment = deploy(stack)
    with only_worker(deployment.settings), deployment.process("second") as second:
        assert second.wait(PATIENCE) == 2
    said = deployment.log_file("second").read_text(encoding="utf-8")
    assert "Stop it first, or set MIMAMORI_DATABASE_URL to a PostgreSQL database" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("stack", ["kafka-postgresql"], indirect=True)
@pytest.mark.parametrize("busy", [True, False], ids=["at-work", "idle"])
def test_the_database_is_away_for_some_seconds(
    stack: Any, deploy: Deploy, simulation: Simulation, differs: Again, fragile_postgresql: PostgresqlServer, busy: bool
) -> None:
    deployment = deploy(stack, max_poll_records=50)
    deployment.expose(simulation)
    middle = (simulation.live_from + len(simulation)) // 2
    deployment.publish(simulation.between(simulation.live_from, middle))
    with deployment.worker() as worker:
        if busy:
            wait_for_share(deployment, 0.2, worker.check)
        else:
            deployment.wait_until_done(worker.check)
        fragile_postgresql.kill()
        time.sleep(3)
        worker.check()
        fragile_postgresql.start()
        deployment.publish(simulation.between(middle, len(simulation)))
        deployment.wait_until_done(worker.check)
    assert deployment.counts()["dead_letters"] == 0
    assert differs(deployment) == []


@pytest.mark.parametrize("stack", ["kafka-postgresql"], indirect=True)
def test_the_broker_is_killed_and_comes_back(
    stack: Any, deploy: Deploy, simulation: Simulation, differs: Again, fragile_kafka: KafkaServer
) -> None:
    deployment = deploy(stack, max_poll_records=50)
    deployment.expose(simulation)
    middle = (simulation.live_from + len(simulation)) // 2
    deployment.publish(simulation.between(simulation.live_from, middle))
    with deployment.process() as process:
        wait_for_share(deployment, 0.2, alive(deployment, process))
        fragile_kafka.kill()
        fragile_kafka.start()
        deployment.publish(simulation.between(middle, len(simulation)))
        deployment.wait_until_done(alive(deployment, process))
        end_in_order(process)
    assert deployment.counts()["dead_letters"] == 0
    assert differs(deployment) == []
