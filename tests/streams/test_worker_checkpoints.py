"""Checkpoints of a running worker: whatever is cut short, the archive has every row once and state is the same."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from worker_support import EVENT, Deployment, ThreadedWorker, differences, eventually, projection

from fraud.clock import SystemClock
from fraud.compromise import CompromiseStatus
from fraud.errors import UnavailableError
from fraud.store.database import read, write
from fraud.store.effects import list_positions
from fraud.store.exposure import get_compromise_event, set_status
from fraud.store.inspection import list_checkpoints
from fraud.transactions import Columns
from streams.archive import ArchiveTable, ArchiveWriter
from streams.simulator import Simulation
from streams.snapshots import Snapshots
from streams.wire import encode, keys

Deploy = Callable[..., Deployment]
Again = Callable[[Deployment], list[str]]

# Everything that an archive row says of a transaction and of what was decided on it, except when it was written.
COLUMNS = (
    "topic_id",
    "partition",
    "offset",
    "event_id",
    "features_digest",
    "exposure_tier",
    "probability",
    "logged_at",
)


@pytest.fixture
def differs(simulation: Simulation, tmp_path: Path, migrated_file: Path) -> Again:
    """Where outcome or archive differ from those of an undisturbed worker on the same topic."""

    def compare(deployment: Deployment) -> list[str]:
        other = tmp_path / "undisturbed.db"
        other.write_bytes(migrated_file.read_bytes())
        undisturbed = deployment.uninterrupted(simulation, f"sqlite:///{other}")
        found, wanted = (
            archived(deployment.settings.archive_root),
            archived(str(deployment.folder / "again" / "archive")),
        )
        rows = [] if found.equals(wanted) else ["the archive differs"]
        return [*rows, *differences(projection(deployment.engine), undisturbed)]

    return compare


def records_of(columns: Columns) -> list[tuple[bytes | None, bytes | None]]:
    return list(zip(keys(columns), encode(columns), strict=True))


def archived(root: str) -> pl.DataFrame:
    """The archive's rows in log order."""
    return pl.read_delta(root).select(COLUMNS).sort("partition", "offset")


def publish_part(deployment: Deployment, simulation: Simulation, share_from: float, share_to: float) -> None:
    first, count = simulation.live_from, len(simulation) - simulation.live_from
    deployment.publish(simulation.between(first + int(share_from * count), first + int(share_to * count)))


def work(deployment: Deployment) -> None:
    with deployment.worker() as worker:
        deployment.wait_until_done(worker.check)


def assert_archive_is_complete(deployment: Deployment) -> None:
    """After a clean stop the archive has every processed record exactly once, and ends where the positions do."""
    rows = archived(deployment.settings.archive_root)
    assert len(rows) == deployment.counts()["processed"]
    assert rows.select("partition", "offset").is_unique().all()
    writer = ArchiveWriter(ArchiveTable.from_settings(deployment.settings))
    with read(deployment.engine) as connection:
        for position in list_positions(connection):
            key = position.key
            assert writer.archived_offset(key.topic_id, key.partition) == position.next_offset


def test_the_archive_has_every_processed_record_once(stack: Any, deploy: Deploy, simulation: Simulation) -> None:
    deployment = deploy(stack, checkpoint_records=500)
    deployment.expose(simulation)
    publish_part(deployment, simulation, 0, 0.3)
    bad = [(b"v1:" + b"0" * 64, b"{}"), (None, b"not json")]
    again = records_of(simulation.between(simulation.live_from, simulation.live_from + 50))
    deployment.publish_raw([*bad, *again])
    work(deployment)
    counts = deployment.counts()
    assert (counts["dead_letters"], counts["duplicates"]) == (2, 50)
    assert_archive_is_complete(deployment)


def test_archive_written_and_snapshot_not(
    stack: Any, deploy: Deploy, simulation: Simulation, differs: Again, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rows come again by silent replay, and are not appended again."""
    deployment = deploy(stack, checkpoint_seconds=0.2)
    deployment.expose(simulation)
    publish_part(deployment, simulation, 0, 0.5)

    def no_room(*_: Any) -> None:
        message = "no room left"
        raise UnavailableError(message)

    with monkeypatch.context() as patched:
        patched.setattr(Snapshots, "write", no_room)
        patched.setattr("streams.worker._LAST_CHECKPOINT_SECONDS", 0.1)
        with deployment.worker() as worker:
            deployment.wait_until_done(worker.check)
            eventually(
                lambda: (
                    Path(deployment.settings.archive_root).exists()
                    and len(archived(deployment.settings.archive_root)) > 0
                ),
                "rows are archived",
                worker.check,
            )
    with read(deployment.engine) as connection:
        assert list_checkpoints(connection) == []
    publish_part(deployment, simulation, 0.5, 1)
    work(deployment)
    assert_archive_is_complete(deployment)
    assert differs(deployment) == []


def test_exposures_that_changed_meanwhile_do_not_change_what_is_archived_of_the_past(
    stack: Any, deploy: Deploy, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker dies with rows that are not archived; its successor runs under another set and archives them as were."""
    deployment = deploy(stack, checkpoint_seconds=10_000, checkpoint_records=10**9)
    deployment.expose(simulation)
    publish_part(deployment, simulation, 0, 0.3)
    with monkeypatch.context() as patched:
        patched.setattr("streams.checkpointing.Checkpointer.close", lambda *_: None)
        work(deployment)
    with read(deployment.engine) as connection:
        tiers = {position.key.partition: position.matched for position in list_positions(connection)}
    assert sum(tiers.values())
    now = int(SystemClock().now().timestamp() * 1000)
    for status in (CompromiseStatus.INVESTIGATING, CompromiseStatus.REFUTED):
        with write(deployment.engine) as connection:
            event = get_compromise_event(connection, EVENT)
            set_status(connection, EVENT, status, event.version, now)
    publish_part(deployment, simulation, 0.3, 0.4)
    work(deployment)
    assert_archive_is_complete(deployment)
    rows = pl.read_delta(deployment.settings.archive_root)
    sets = rows.group_by("reference_set").agg((pl.col("exposure_tier") > 0).sum().alias("exposed"), pl.len())
    found = {row["reference_set"]: (row["len"], row["exposed"]) for row in sets.iter_rows(named=True)}
    assert sorted(found) == [1, 2]
    assert found[1][1] > 0
    assert found[2][1] == 0
    assert sum(rows for rows, _ in found.values()) == deployment.counts()["processed"]


def test_a_dead_letter_met_again_in_silent_replay_stays_one(
    stack: Any, deploy: Deploy, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be readable now, and is not decided again: state must be what the effects were made from."""
    large = [(key, value + b" " * 2_000) for key, value in records_of(simulation.between(0, 40))]
    rest = records_of(simulation.between(40, 400))
    deployment = deploy(stack, max_record_bytes=1_500)
    deployment.publish_raw([*large, *rest])
    with monkeypatch.context() as patched:
        patched.setattr("streams.checkpointing.Checkpointer.close", lambda *_: None)
        work(deployment)
    assert deployment.counts()["dead_letters"] == 40
    generous = deploy(stack, max_record_bytes=65_536)
    generous.published = deployment.published
    generous.publish(simulation.between(400, 420))
    work(generous)
    assert generous.counts()["dead_letters"] == 40
    assert_archive_is_complete(generous)
    rows = archived(generous.settings.archive_root)
    assert len(rows) == 380


@pytest.mark.parametrize("stack", ["tansu-sqlite"], indirect=True)
def test_a_database_restored_to_an_older_backup_rewinds_with_everything_that_depends_on_it(
    stack: Any, deploy: Deploy, simulation: Simulation, differs: Again, tmp_path: Path
) -> None:
    """Snapshots and archive are ahead of it then: neither leads to a record that is skipped or archived twice."""
    deployment = deploy(stack, checkpoint_seconds=0.2)
    deployment.expose(simulation)
    publish_part(deployment, simulation, 0, 0.3)
    work(deployment)
    database = stack.database_url.removeprefix("sqlite:///")
    backup = tmp_path / "backup.db"
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    publish_part(deployment, simulation, 0.3, 0.7)
    work(deployment)
    deployment.engine.dispose()
    for suffix in ("-wal", "-shm"):
        Path(f"{database}{suffix}").unlink(missing_ok=True)
    shutil.copy(backup, database)
    publish_part(deployment, simulation, 0.7, 1)
    work(deployment)
    assert_archive_is_complete(deployment)
    assert differs(deployment) == []


def test_a_full_store_holds_the_stream_and_it_goes_on_when_there_is_room(
    stack: Any, deploy: Deploy, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = deploy(stack, checkpoint_records=200, max_poll_records=200, waiting_rows=1_000)
    publish_part(deployment, simulation, 0, 0.6)
    full = [True]
    really = ArchiveTable.commit

    def commit(*arguments: Any, **named: Any) -> None:
        if full[0]:
            raise OSError(28, "No space left on device")
        really(*arguments, **named)

    monkeypatch.setattr(ArchiveTable, "commit", commit)
    with deployment.worker() as worker:
        eventually(lambda: deployment.done() >= 1_000, "the limit is reached", worker.check)
        stood = [-1, 0]

        def stands_still() -> bool:
            done = deployment.done()
            stood[1] = stood[1] + 1 if done == stood[0] else 0
            stood[0] = done
            return stood[1] > 50

        eventually(stands_still, "the stream is held", worker.check)
        assert deployment.done() < deployment.published
        full[0] = False
        deployment.wait_until_done(worker.check)
    assert_archive_is_complete(deployment)


def test_a_rebalance_that_gives_a_partition_back_keeps_its_state_in_memory(
    stack: Any, deploy: Deploy, simulation: Simulation, monkeypatch: pytest.MonkeyPatch
) -> None:
    loads: list[int] = []
    really = Snapshots.load

    def load(self: Snapshots, key: Any, *arguments: Any) -> Any:
        loads.append(key.partition)
        return really(self, key, *arguments)

    monkeypatch.setattr(Snapshots, "load", load)
    deployment = deploy(stack)
    publish_part(deployment, simulation, 0, 0.2)
    first = ThreadedWorker(deployment.settings)
    try:
        deployment.wait_until_done(first.check)
        assert sorted(loads) == [0, 1, 2]
        if stack.name == "kafka-postgresql":
            second = ThreadedWorker(deployment.settings)
            eventually(lambda: len(loads) >= 4, "the second worker has loaded a partition", second.check)
            second.stop()
            publish_part(deployment, simulation, 0.2, 0.4)
            deployment.wait_until_done(first.check)
            assert len(loads) <= 6  # what the first worker kept it did not load again
    finally:
        first.stop()
    assert_archive_is_complete(deployment)
