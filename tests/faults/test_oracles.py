"""An oracle that cannot turn red proves nothing: each is shown a good run, and then the same with damage planted."""

from __future__ import annotations

import contextlib
import shutil
import sys
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "reference"))
sys.path.insert(0, str(Path(__file__).parent.parent / "streams"))

from oracles import (
    Acknowledged,
    Observation,
    OracleError,
    Readiness,
    check_acknowledged,
    check_conservation,
    check_determinism,
    check_fencing,
    check_liveness,
    check_model_equality,
    check_positions,
    check_uniqueness,
)
from reference_comparison import Finished
from reference_inputs import Log, read_log
from reference_samples import add_model, mixed_records, small_simulation
from sqlalchemy import Connection, delete, event, insert, select, text, update
from worker_support import CARD_KEY, Deployment

from fraud.settings import KafkaSettings
from fraud.store.database import open_engine, read, write
from fraud.store.tables import (
    case,
    checkpoint,
    dead_letter,
    detection,
    exposure_match,
    outbox,
    position,
    security_incident,
)

RECORDS = 700


@pytest.fixture(scope="module")
def good(tansu: str, migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Finished]:
    """A run without faults, stopped cleanly. Tests plant their damage in copies of it."""
    folder, own = tmp_path_factory.mktemp("run"), uuid.uuid4().hex[:12]
    shutil.copy(migrated_file, folder / "store.db")
    kafka = KafkaSettings(
        bootstrap_servers=tansu,
        group_id=f"group-{own}",
        transactions_topic=f"card.transactions.{own}",
        detections_topic=f"card.detections.{own}",
        partitions=3,
        session_timeout_ms=6_000,
    )
    simulation = small_simulation(CARD_KEY)
    deployment = Deployment(kafka, f"sqlite:///{folder / 'store.db'}", folder, max_poll_records=50)
    deployment.settings.data_dir.mkdir()
    add_model(simulation, deployment.settings.models_dir)
    deployment.expose(simulation)
    records = mixed_records(simulation.live, 2)
    for part in (records[: RECORDS // 2], records[RECORDS // 2 : RECORDS]):
        with deployment.worker() as worker:
            deployment.publish_raw(part)
            deployment.wait_until_done(worker.check)
    yield Finished(deployment.engine, deployment.settings)
    deployment.close()


@pytest.fixture(scope="module")
def log(good: Finished) -> Log:
    """All that was published."""
    return read_log(good.settings)


@pytest.fixture
def damaged(good: Finished, tmp_path: Path) -> Iterator[Finished]:
    """A copy of the run to plant damage in; the log is the same."""
    with contextlib.closing(good.engine.raw_connection()) as source:
        source.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # type: ignore[union-attr]
    url = good.settings.database_url.get_secret_value()
    shutil.copy(url.removeprefix("sqlite:///"), tmp_path / "store.db")
    shutil.copytree(good.settings.data_dir, tmp_path / "data")
    changes = {
        "data_dir": tmp_path / "data",
        "database_url": type(good.settings.database_url)(f"sqlite:///{tmp_path}/store.db"),
    }
    settings = good.settings.model_copy(update=changes)
    engine = open_engine(settings.database_url.get_secret_value())
    # Damage may break what rows refer to.
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA foreign_keys = OFF"))
    yield Finished(engine, settings)
    engine.dispose()


def plant(run: Finished, *statements: Any) -> None:
    """Do what no code of the product would."""
    with write(run.engine) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount != 0


def first(run: Finished, table: Any, *conditions: Any) -> Any:
    with read(run.engine) as connection:
        return connection.execute(select(table).where(*conditions).limit(1)).one()


def observed(run: Finished) -> list[Observation]:
    """Halfway and at the end, by the epochs that the two workers had."""
    return [
        seen
        for row in run.positions().values()
        for seen in (
            Observation(1, row.partition, row.next_offset // 2, row.owner_epoch - 1),
            Observation(2, row.partition, row.next_offset // 2, row.owner_epoch),
            Observation(3, row.partition, row.next_offset, row.owner_epoch),
        )
    ]


def acknowledged(log: Log) -> list[Acknowledged]:
    return [Acknowledged(number, item.offset, item.key, item.value) for number, held in log.items() for item in held]


def test_a_good_run_passes_every_oracle(good: Finished, log: Log) -> None:
    wanted = check_model_equality(good, log=log)
    assert len(wanted.detections) > 10
    assert len(wanted.archive) > RECORDS * 0.8
    check_conservation(good, log=log)
    check_uniqueness(good)
    check_positions(good, observed(good))
    check_acknowledged(good, acknowledged(log), log=log)
    check_fencing(good, observed(good))
    assert check_liveness(good, 10, [Readiness(1, said=False, true=None), Readiness(2, said=True, true=True)]) < 10
    check_determinism(good)


# --- the database ---------------------------------------------------------------------------------------------------


def red(text_in_message: str) -> Any:
    return pytest.raises(OracleError, match=text_in_message)


def test_a_deleted_detection(damaged: Finished, log: Log) -> None:
    gone = first(damaged, detection)
    plant(damaged, delete(detection).where(detection.c.detection_id == gone.detection_id))
    with red(f"detections .*{gone.event_id}.*: missing"):
        check_model_equality(damaged, log=log)


def test_a_detection_too_many(damaged: Finished, log: Log) -> None:
    row = first(damaged, detection)
    plant(damaged, insert(detection).values({**row._mapping, "detection_id": "again"}))
    with red("has several detections"):
        check_uniqueness(damaged)
    plant(damaged, update(detection).where(detection.c.detection_id == "again").values(event_id="invented"))
    with red("invented.*should not be there"):
        check_model_equality(damaged, log=log)


CHANGES = {
    "probability": 0.123,
    "anomaly": 0.5,
    "expected_loss_minor": 1,
    "tier": 5,
    "reasons": [],
    "recent_events": [],
    "reference_set_id": 1_000,
    "features_digest": "0" * 16,
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_detection(damaged: Finished, log: Log, name: str) -> None:
    row = first(damaged, detection, detection.c.recent_events != [])
    own = detection.c.detection_id == row.detection_id
    plant(damaged, update(detection).where(own).values({name: CHANGES[name]}))
    with red(f"{row.event_id}.* {name}: "):
        check_model_equality(damaged, log=log)


def test_a_changed_vector_or_score_does_not_come_out_again(damaged: Finished) -> None:
    row = first(damaged, detection)
    own = detection.c.detection_id == row.detection_id
    plant(damaged, update(detection).where(own).values(anomaly=row.anomaly - 0.01))
    with red("anomaly .* is stored"):
        check_determinism(damaged)
    plant(
        damaged, update(detection).where(own).values(anomaly=row.anomaly, features=row.features[4:] + row.features[:4])
    )
    with red("not the one of its digest"):
        check_determinism(damaged)


DAMAGES: dict[str, Callable[[Connection], Any]] = {
    "matches .*: missing": lambda c: c.execute(
        delete(exposure_match).where(
            exposure_match.c.offset == select(exposure_match.c.offset).limit(1).scalar_subquery()
        )
    ),
    "matches .* kind: ": lambda c: c.execute(update(exposure_match).values(kind="IN_WINDOW")),
    "dead_letters .* error_class: ": lambda c: c.execute(update(dead_letter).values(error_class="NOT_JSON")),
    "security_incidents merchant_name: ": lambda c: c.execute(update(security_incident).values(count=1_000)),
    "positions .* duplicates: ": lambda c: c.execute(update(position).values(duplicates=position.c.duplicates + 1)),
    "positions .* reached_at: ": lambda c: c.execute(update(position).values(reached_at=1)),
    "cases .* priority: ": lambda c: c.execute(update(case).values(priority=case.c.priority + 1)),
    "cases .* outcome: ": lambda c: c.execute(update(case).values(outcome="GENUINE")),
    "histories .* is not ": lambda c: c.execute(text("UPDATE case_event SET kind = 'OPENED'")),
}


@pytest.mark.parametrize("message", DAMAGES)
def test_a_changed_row(damaged: Finished, log: Log, message: str) -> None:
    with write(damaged.engine) as connection:
        assert DAMAGES[message](connection).rowcount > 0
    with red(message):
        check_model_equality(damaged, log=log)


def test_two_open_cases_of_a_lineage(damaged: Finished) -> None:
    with write(damaged.engine) as connection:
        connection.execute(text("DROP INDEX uq_review_case_open_lineage"))
    row = first(damaged, case)
    plant(damaged, insert(case).values({**row._mapping, "case_id": 10**6}))
    with red("several open cases"):
        check_uniqueness(damaged)


def test_a_detection_that_nobody_is_told_of(damaged: Finished) -> None:
    plant(damaged, delete(outbox).where(outbox.c.message_id == first(damaged, detection).detection_id))
    with red("is told 0 times"):
        check_uniqueness(damaged)


# --- what is counted --------------------------------------------------------------------------------------------------


def test_a_skipped_record(damaged: Finished, log: Log) -> None:
    """The worker has moved on without counting one."""
    plant(damaged, update(position).where(position.c.partition == 0).values(processed=position.c.processed - 1))
    with red("records are counted, the log has"):
        check_conservation(damaged, log=log)


def test_a_record_that_is_counted_as_something_else(damaged: Finished, log: Log) -> None:
    """Sums stay right; the archive tells."""
    plant(
        damaged,
        update(position).values(processed=position.c.processed - 1, duplicates=position.c.duplicates + 1),
    )
    with red("records are in no place"):
        check_conservation(damaged, log=log)


def test_a_dead_letter_that_is_gone_and_one_of_a_processed_record(damaged: Finished, log: Log) -> None:
    row = first(damaged, dead_letter)
    own = (dead_letter.c.partition == row.partition, dead_letter.c.offset == row.offset)
    processed = next(
        item.offset
        for item in log[row.partition]
        if not damaged.rows(
            select(dead_letter).where(dead_letter.c.partition == row.partition, dead_letter.c.offset == item.offset)
        )
    )
    plant(damaged, update(dead_letter).where(*own).values(offset=processed))
    with red("archived and a dead letter"):
        check_conservation(damaged, log=log)
    plant(
        damaged, delete(dead_letter).where(dead_letter.c.partition == row.partition, dead_letter.c.offset == processed)
    )
    with red("counted, .* rows"):
        check_conservation(damaged, log=log)


def test_a_partition_that_is_behind(damaged: Finished, log: Log) -> None:
    plant(damaged, update(position).where(position.c.partition == 1).values(next_offset=position.c.next_offset - 1))
    with red("partition 1: the position is"):
        check_conservation(damaged, log=log)
    with red("partition 1: lag 1 after"):
        check_liveness(damaged, 0.2)
    with red("partition 1, offset .* not accounted for"):
        check_acknowledged(damaged, acknowledged(log), log=log)


def test_a_partition_that_nobody_has_claimed(damaged: Finished, log: Log) -> None:
    plant(damaged, delete(position).where(position.c.partition == 2))
    with red("partition 2: no position"):
        check_conservation(damaged, log=log)
    with red("partition 2: lag"):
        check_liveness(damaged, 0.2)


def test_a_probe_that_lies(good: Finished) -> None:
    with red("said ready, and it was not ready"):
        check_liveness(good, 10, [Readiness(1, said=True, true=False)])


def test_an_acknowledged_record_that_the_log_lost_or_changed(good: Finished, log: Log) -> None:
    end = max(item.offset for item in log[0]) + 1
    with red("not in the log"):
        check_acknowledged(good, [Acknowledged(0, end, b"key", b"value")], log=log)
    with red("another record"):
        check_acknowledged(good, [Acknowledged(0, 0, b"key", b"value")], log=log)


# --- positions and owners ---------------------------------------------------------------------------------------------


def test_a_position_that_moved_back(damaged: Finished) -> None:
    row = damaged.positions()[0]
    fell = [Observation(1, 0, 20, 1), Observation(2, 0, 10, 1)]
    with red("from 20 back to 10"):
        check_positions(damaged, fell)
    seen = [Observation(1, 0, row.next_offset, row.owner_epoch)]
    check_positions(damaged, seen)
    plant(damaged, update(position).where(position.c.partition == 0).values(next_offset=row.next_offset - 5))
    with red("in the end, and was"):
        check_positions(damaged, seen)


def test_a_commit_to_kafka_that_is_ahead(damaged: Finished) -> None:
    plant(damaged, update(position).values(next_offset=0))
    with red("is committed in Kafka, the position is 0"):
        check_positions(damaged, [])


def test_an_owner_that_comes_back(damaged: Finished) -> None:
    with red("epoch 1 after 2"):
        check_fencing(damaged, [Observation(1, 0, 5, 2), Observation(2, 0, 6, 1)])


def test_a_checkpoint_of_a_foreign_epoch(damaged: Finished) -> None:
    row = first(damaged, checkpoint, checkpoint.c.owner_epoch > 1)
    values = {**row._mapping, "checkpoint_id": 10**6}
    plant(damaged, insert(checkpoint).values(values | {"owner_epoch": row.owner_epoch - 1}))
    with red("after a newer one's"):
        check_fencing(damaged, [])
    plant(damaged, insert(checkpoint).values(values | {"checkpoint_id": 10**6 + 1, "owner_epoch": 99}))
    with red("which nobody has claimed"):
        check_fencing(damaged, [])


def test_a_detection_that_a_fenced_owner_wrote_late(damaged: Finished) -> None:
    """One of the first commit's detections is written again at the end, as a zombie would."""
    row = first(damaged, detection, detection.c.offset < 100)
    again = {**row._mapping, "detection_id": "zombie", "event_id": "zombie"}
    message = {"message_id": "zombie", "topic": "card.detections", "payload": {}, "created_at": 10**13}
    plant(damaged, insert(detection).values(again), insert(outbox).values(message))
    with red(f"offset {row.offset} was written after"):
        check_fencing(damaged, [])


# --- the archive ------------------------------------------------------------------------------------------------------


def append(run: Finished, rows: pl.DataFrame, **transaction: int) -> None:
    """Append to the archive by the Delta library's own hand, with or without moving the archived offset."""
    properties = CommitProperties(app_transactions=[Transaction(*item) for item in transaction.items()])
    table = DeltaTable(run.settings.archive_root)
    write_deltalake(table, rows, mode="append", commit_properties=properties)


def archived(run: Finished) -> pl.DataFrame:
    return pl.read_delta(run.settings.archive_root)


def test_an_archive_row_that_is_there_twice(damaged: Finished, log: Log) -> None:
    row = archived(damaged).head(1)
    append(damaged, row)
    place = row.select("partition", "offset").row(0)
    with red(rf"archive \({place[0]}, {place[1]}\): there 2 times"):
        check_model_equality(damaged, log=log)
    with red("in the archive several times"):
        check_uniqueness(damaged)
    with red("archived twice"):
        check_conservation(damaged, log=log)


def test_an_archive_row_that_is_missing(damaged: Finished, log: Log) -> None:
    row = archived(damaged).row(0, named=True)
    DeltaTable(damaged.settings.archive_root).delete(
        f"partition = {row['partition']} and \"offset\" = {row['offset']} and topic_id = '{row['topic_id']}'"
    )
    with red(rf"archive \({row['partition']}, {row['offset']}\): missing"):
        check_model_equality(damaged, log=log)
    with red("records are in no place"):
        check_conservation(damaged, log=log)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("probability", "0.5"),
        ("exposure_tier", "cast(4 as tinyint)"),
        ("reference_set", "cast(77 as bigint)"),
        ("features_digest", "cast(1 as bigint)"),
        ("amount_minor", "cast(1 as bigint)"),
        ("merchant_name", "'another'"),
        ("logged_at", "cast(1 as bigint)"),
    ],
)
def test_a_changed_archive_row(damaged: Finished, log: Log, name: str, value: str) -> None:
    row = archived(damaged).row(0, named=True)
    DeltaTable(damaged.settings.archive_root).update(
        {name: value}, predicate=f'partition = {row["partition"]} and "offset" = {row["offset"]}'
    )
    with red(rf"archive \({row['partition']}, {row['offset']}\) {name}: "):
        check_model_equality(damaged, log=log)


def test_an_archive_ahead_of_the_position_or_behind_it(damaged: Finished, log: Log) -> None:
    """Behind is right after a crash, and wrong after a clean stop; ahead is never right."""
    root, identity = damaged.settings.archive_root, damaged.topic_id()
    end = damaged.positions()[0].next_offset
    whole = archived(damaged)
    shutil.rmtree(root)
    ends = {number: row.next_offset for number, row in damaged.positions().items()}
    write_archive(root, whole.filter((pl.col("partition") != 0) | (pl.col("offset") < 10)), identity, ends | {0: 10})
    check_model_equality(damaged, log=log, stopped_cleanly=False)
    with red(f"archive of partition 0: ends at 10, and the position is {end}"):
        check_model_equality(damaged, log=log)

    shutil.rmtree(root)
    write_archive(root, whole, identity, ends | {0: end + 1})
    with red(f"archive of partition 0: ends at {end + 1}, ahead of the position {end}"):
        check_model_equality(damaged, log=log, stopped_cleanly=False)


def write_archive(root: str, rows: pl.DataFrame, identity: str, ends: dict[int, int]) -> None:
    write_deltalake(
        root,
        rows,
        partition_by=["event_day"],
        commit_properties=CommitProperties(
            app_transactions=[Transaction(f"{identity}/{number}", offset) for number, offset in ends.items()]
        ),
    )


def test_no_archive_at_all(damaged: Finished, log: Log) -> None:
    shutil.rmtree(damaged.settings.archive_root)
    with red("ends at None, and the position is"):
        check_model_equality(damaged, log=log)
