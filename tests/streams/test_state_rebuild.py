"""State from the archive is the state that the worker had: after a real run on both stacks, bit for bit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from history_support import decoder_of, mapping_file, silent, source_frame
from sqlalchemy import delete, update
from worker_support import NOW, Deployment, differences, projection

from fraud.cli.history import look_at_log, profile_settings
from fraud.errors import ConflictError, NotFoundError
from fraud.store.database import read, write
from fraud.store.effects import list_positions
from fraud.store.inspection import list_checkpoints
from fraud.store.tables import checkpoint, position
from streams.archive import ArchiveTable
from streams.history import load_mapping, run_import
from streams.history.importing import ImportJob
from streams.seeding import StreamStart
from streams.simulator import Simulation
from streams.snapshots import Snapshots
from streams.state_rebuild import Rebuilt, StateRebuild, differing_cards, log_payloads

Deploy = Callable[..., Deployment]

WINDOW = 300  # event ids: less than a partition gets, so that it matters which are kept


def work(deployment: Deployment) -> None:
    with deployment.worker() as worker:
        deployment.wait_until_done(worker.check)


def part(deployment: Deployment, simulation: Simulation, share_from: float, share_to: float) -> None:
    first, count = simulation.live_from, len(simulation) - simulation.live_from
    deployment.publish(simulation.between(first + int(share_from * count), first + int(share_to * count)))


def rebuilding(deployment: Deployment, **changes: Any) -> StateRebuild:
    settings = deployment.settings
    options: dict[str, Any] = {
        "engine": deployment.engine,
        "table": ArchiveTable.from_settings(settings),
        "snapshots": Snapshots.from_settings(settings, deployment.engine),
        "settings": profile_settings(settings, settings.kafka.partitions),
        "dedupe_window": settings.stream.dedupe_window,
        "payloads": log_payloads(settings.kafka),
        "progress": silent,
    }
    return StateRebuild(**options | changes)


def rebuild_all(deployment: Deployment, **options: Any) -> list[Rebuilt]:
    log, job = look_at_log(deployment.settings), rebuilding(deployment)
    return [job.rebuild(key, at, NOW, **options) for key, at in zip(log.keys, log.beginnings, strict=True)]


def import_history(
    deployment: Deployment, simulation: Simulation, folder: Path, *, archive_only: bool = False, **changes: Any
) -> Any:
    """The simulation's days before the live ones, as an issuer's files."""
    frame = source_frame(simulation.history)
    (folder / "export").mkdir(exist_ok=True)
    frame.write_parquet(folder / "export" / "history.parquet")
    mapping = load_mapping(mapping_file(folder, frame, paths="export/history.parquet"))
    settings, log = deployment.settings, look_at_log(deployment.settings)
    job = ImportJob(
        **{
            "mapping": mapping,
            "settings": profile_settings(settings, len(log.keys), mapping.message_key),
            "table": ArchiveTable.from_settings(settings),
            "imports_dir": settings.data_dir / "imports",
            "make_decoder": lambda latest_at: decoder_of(mapping, folder, None, latest_at),
            "load_scorer": lambda _: None,
            "dedupe_window": settings.stream.dedupe_window,
            "now": NOW,
        }
        | changes
    )
    start = StreamStart(
        deployment.engine, Snapshots.from_settings(settings, deployment.engine), log.keys, log.beginnings
    )
    return run_import(job, None if archive_only else start, silent)


def test_what_is_rebuilt_is_what_the_worker_had(stack: Any, deploy: Deploy, simulation: Simulation) -> None:
    deployment = deploy(stack, dedupe_window=WINDOW, checkpoint_records=700)
    part(deployment, simulation, 0, 0.5)
    again = simulation.between(simulation.live_from, simulation.live_from + 40)
    deployment.publish(again)  # duplicates within the window or beyond it: state counts what the stream counted
    deployment.publish_raw([(b"nobody", b"no json"), (None, b"{}")])
    work(deployment)
    job, snapshots = rebuilding(deployment), Snapshots.from_settings(deployment.settings, deployment.engine)
    for key in look_at_log(deployment.settings).keys:
        verified = job.verify(key)
        assert verified.differing == 0
        assert verified.rows > WINDOW
        saved, _ = snapshots.load(key, 99, 10**9)
        state, _ = job.state(key, saved.next_offset, 99)
        assert state.dedupe.entries() == saved.dedupe.entries()
        assert len(saved.dedupe.entries()) == WINDOW


def test_imported_history_comes_first_and_the_stream_goes_on_from_it(
    stack: Any, deploy: Deploy, simulation: Simulation, tmp_path: Path
) -> None:
    deployment = deploy(stack, dedupe_window=WINDOW)
    report = import_history(deployment, simulation, tmp_path)
    assert report.rows == len(simulation.history)
    part(deployment, simulation, 0, 0.3)
    work(deployment)
    job, snapshots = rebuilding(deployment), Snapshots.from_settings(deployment.settings, deployment.engine)
    seen = 0
    for key in look_at_log(deployment.settings).keys:
        assert job.verify(key).differing == 0
        state, _ = snapshots.load(key, 99, 10**9)
        seen += int(state.cards.records["history_count"].sum())
    # Nothing was cold: both the history's events and the stream's are in the profiles.
    rows = pl.read_delta(deployment.settings.archive_root)
    assert len(rows) == len(simulation.history) + deployment.counts()["processed"]
    assert seen > deployment.counts()["processed"]
    assert import_history(deployment, simulation, tmp_path).already_done


def test_a_lost_state_comes_back_and_the_rest_is_read_from_the_topic(
    stack: Any, deploy: Deploy, simulation: Simulation, tmp_path: Path, migrated_file: Path
) -> None:
    deployment = deploy(stack)
    deployment.expose(simulation)
    part(deployment, simulation, 0, 0.4)
    work(deployment)
    for path in (deployment.settings.data_dir / "snapshots").rglob("*.cards"):
        path.write_bytes(b"another layout")
    part(deployment, simulation, 0.4, 0.5)
    with pytest.raises(AssertionError):  # the worker does not begin with what it cannot read
        work(deployment)
    rebuilt = rebuild_all(deployment, force=True)
    assert all(item.registered and item.rows for item in rebuilt)
    last = simulation.live_from + int(0.4 * (len(simulation) - simulation.live_from))
    deployment.publish(simulation.between(last - 5, last))  # five duplicates of what was archived
    work(deployment)
    counts = deployment.counts()
    assert (counts["duplicates"], counts["quarantined"]) == (5, 0)
    other = tmp_path / "undisturbed.db"
    other.write_bytes(migrated_file.read_bytes())
    undisturbed = deployment.uninterrupted(simulation, f"sqlite:///{other}")
    assert differences(projection(deployment.engine), undisturbed) == []


def test_history_that_is_imported_under_a_running_stream_takes_effect_by_a_rebuild(
    stack: Any, deploy: Deploy, simulation: Simulation, tmp_path: Path
) -> None:
    deployment = deploy(stack)
    part(deployment, simulation, 0, 0.2)
    work(deployment)
    with pytest.raises(ConflictError, match="state rebuild"):
        import_history(deployment, simulation, tmp_path)
    assert import_history(deployment, simulation, tmp_path, archive_only=True).rows == len(simulation.history)
    keys_of = look_at_log(deployment.settings).keys
    job = rebuilding(deployment)
    before = sum(job.verify(key).differing or 0 for key in keys_of)
    assert before > 0  # the stream's state knows nothing of the history yet
    rebuild_all(deployment)
    assert [rebuilding(deployment).verify(key).differing for key in keys_of] == [0] * len(keys_of)
    part(deployment, simulation, 0.2, 0.3)
    work(deployment)
    assert [rebuilding(deployment).verify(key).differing for key in keys_of] == [0] * len(keys_of)


def test_a_partition_of_a_worker_is_left_alone_unless_forced(
    stack: Any, deploy: Deploy, simulation: Simulation
) -> None:
    deployment = deploy(stack)
    part(deployment, simulation, 0, 0.1)
    work(deployment)
    with write(deployment.engine) as connection:
        connection.execute(update(position).values(owner="host:1"))
    with pytest.raises(ConflictError, match="--force"):
        rebuild_all(deployment)
    with read(deployment.engine) as connection:
        epochs = [item.owner_epoch for item in list_positions(connection)]
    rebuild_all(deployment, force=True)
    with read(deployment.engine) as connection:
        newest = {item.partition: item for item in reversed(list_checkpoints(connection))}
    assert [newest[number].owner_epoch for number in sorted(newest)] == epochs


def test_an_archive_that_ends_too_early_is_not_made_state_of_by_accident(
    stack: Any, deploy: Deploy, simulation: Simulation
) -> None:
    deployment = deploy(stack)
    part(deployment, simulation, 0, 0.1)
    work(deployment)
    with write(deployment.engine) as connection:
        connection.execute(update(checkpoint).values(next_offset=checkpoint.c.next_offset + 1))
    with pytest.raises(ConflictError, match="before the newest checkpoint"):
        rebuild_all(deployment)
    done = rebuild_all(deployment, force=True)
    with read(deployment.engine) as connection:
        assert {item.partition: item.next_offset for item in list_checkpoints(connection)} == {
            item.partition: item.offset for item in done
        }


def test_without_an_archive_there_is_nothing_to_make_state_from(
    stack: Any, deploy: Deploy, simulation: Simulation, tmp_path: Path
) -> None:
    deployment = deploy(stack)
    part(deployment, simulation, 0, 0.1)
    work(deployment)
    log = look_at_log(deployment.settings)
    empty = rebuilding(deployment, table=ArchiveTable(tmp_path / "empty"))
    with pytest.raises(NotFoundError, match="archive has none"):
        empty.rebuild(log.keys[0], log.beginnings[0], NOW)
    with write(deployment.engine) as connection:
        connection.execute(delete(checkpoint))
    with pytest.raises(NotFoundError, match="no checkpoint"):
        rebuilding(deployment).verify(log.keys[0])


def test_ids_whose_payload_the_log_no_longer_has_are_known_all_the_same(
    stack: Any, deploy: Deploy, simulation: Simulation
) -> None:
    deployment = deploy(stack, dedupe_window=WINDOW)
    part(deployment, simulation, 0, 0.3)
    work(deployment)
    key = look_at_log(deployment.settings).keys[0]
    snapshots = Snapshots.from_settings(deployment.settings, deployment.engine)
    saved, _ = snapshots.load(key, 99, 10**9)
    cut = saved.next_offset - 100
    full = log_payloads(deployment.settings.kafka)
    job = rebuilding(deployment, payloads=lambda key, start, stop: full(key, max(start, cut), stop))
    state, _ = job.state(key, saved.next_offset, 99)
    found, wanted = state.dedupe.entries(), saved.dedupe.entries()
    assert [event_id for event_id, _ in found] == [event_id for event_id, _ in wanted]
    known = sum(mine == theirs for mine, theirs in zip(found, wanted, strict=True))
    assert 0 < known <= 100
    assert found[-known:] == wanted[-known:]


def test_cards_that_differ_are_counted() -> None:
    from models.state import CardStates

    one, other = CardStates(), CardStates()
    one.slots(np.array([1, 2, 3], np.uint64))
    other.slots(np.array([3, 2, 4], np.uint64))
    other.records["history_count"][other.slots(np.array([2], np.uint64))] = 5
    assert differing_cards(one, one.copy()) == 0
    assert differing_cards(one, other) == 3  # 1 is only here, 4 only there, 2 differs
    assert differing_cards(one, CardStates()) == 3
