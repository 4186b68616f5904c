"""What must hold of a deployment whatever has happened to it, one function a promise (reliability.md, 3.4).

Each takes a finished deployment and raises `OracleError`, an AssertionError that lists what is wrong. They judge by the
log, the database, the archive and what the test itself has seen; nothing of the worker's code takes part.
"""

from __future__ import annotations

import contextlib
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent / "reference"))

import polars as pl
from kafka import TopicPartition
from reference_archive import vector_digest
from reference_comparison import Finished, archive_differences, archive_rows, archived_upto, database_differences
from reference_inputs import Log, facts_of, read_log
from reference_path import Outcome, reference_path
from reference_scores import ReferenceModel, same_score
from sqlalchemy import select

from fraud.store.tables import case, checkpoint, dead_letter, detection, outbox
from streams.kafka import make_consumer
from streams.reconciliation import reconcile

SHOWN, SHOWN_SIGNS = 20, 600  # faults that a message lists, and how much of each
_COUNTED = ("processed", "duplicates", "quarantined", "dead_lettered")


class OracleError(AssertionError):
    """A promise does not hold; the message lists where."""


class Observation(NamedTuple):
    """What a position's row held at some time. `at` is anything that rises, such as seconds or a step's number."""

    at: float
    partition: int
    next_offset: int
    epoch: int


class Acknowledged(NamedTuple):
    """A record that the broker has acknowledged to its producer."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


class Readiness(NamedTuple):
    """One answer of a readiness probe: what it said, and what was true; None where either answer is right."""

    at: float
    said: bool
    true: bool | None


def _judge(oracle: str, faults: Sequence[str]) -> None:
    if faults:
        more = [f"... and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        listed = [fault[:SHOWN_SIGNS] for fault in faults[:SHOWN]]
        raise OracleError("\n  ".join([f"{oracle}: {len(faults)} faults", *listed, *more]))


# --- O1: every record is accounted for, once --------------------------------------------------------------------------


def check_conservation(run: Finished, *, log: Log | None = None) -> None:
    """O1: of each partition, all of [0, end) = processed + dead letters + duplicates + quarantined, and these differ.

    Counted anew from the log itself, record by record; the product's own reconciliation must agree.
    """
    log = read_log(run.settings) if log is None else log
    positions, letters, archive = run.positions(), _letters(run), _archived_offsets(run)
    faults = []
    for partition, records in log.items():
        where = f"partition {partition}"
        offsets = {record.offset for record in records}
        row = positions.get(partition)
        if row is None:
            faults += [f"{where}: no position, and {len(offsets)} records"] if offsets else []
            continue
        end = max(offsets, default=-1) + 1
        counted = sum(getattr(row, name) for name in _COUNTED)
        kinds = Counter(kind for place, kind in letters.items() if place[0] == partition)
        refused = {offset for place, offset in letters if place == partition}
        archived = archive.get(partition, [])
        skipped = sorted(offsets - set(archived) - refused)
        checks = {
            f"the position is {row.next_offset}, the log ends at {end}": row.next_offset != end,
            f"{counted} records are counted, the log has {len(offsets)}": counted != len(offsets),
            f"{row.dead_lettered} dead letters counted, {kinds['DEAD_LETTER']} rows": (
                row.dead_lettered != kinds["DEAD_LETTER"]
            ),
            f"{row.quarantined} quarantined counted, {kinds['QUARANTINED']} rows": (
                row.quarantined != kinds["QUARANTINED"]
            ),
            f"dead letters without a record: {sorted(refused - offsets)[:5]}": bool(refused - offsets),
            f"archived and a dead letter: {sorted(refused & set(archived))[:5]}": bool(refused & set(archived)),
            f"archived twice: {_twice(archived)[:5]}": bool(_twice(archived)),
            f"archived without a record: {sorted(set(archived) - offsets)[:5]}": bool(set(archived) - offsets),
            f"the archive is complete, {len(skipped)} records are in no place, {row.duplicates} are duplicates": (
                archived_upto(run).get(partition, -1) == end and len(skipped) != row.duplicates
            ),
        }
        faults += [f"{where}: {text}" for text, wrong in checks.items() if wrong]
    for account in reconcile(run.engine, run.settings.kafka):
        if not account.adds_up or account.waiting:
            faults.append(f"reconciliation of partition {account.partition}: gap {account.gap}, {account.faults}")
    _judge("O1 conservation", faults)


def _letters(run: Finished) -> dict[tuple[int, int], str]:
    own = (dead_letter.c.group_id == run.group_id, dead_letter.c.topic_id == run.topic_id())
    return {(row.partition, row.offset): row.kind for row in run.rows(select(dead_letter).where(*own))}


def _archived_offsets(run: Finished) -> dict[int, list[int]]:
    table = archive_rows(run)
    found: dict[int, list[int]] = {}
    for number, offset in [] if table is None else table.select("partition", "offset").iter_rows():
        found.setdefault(number, []).append(offset)
    return found


def _twice(items: Iterable[Any]) -> list[Any]:
    return sorted(item for item, times in Counter(items).items() if times > 1)


# --- O2: nothing is there twice ---------------------------------------------------------------------------------------


def check_uniqueness(run: Finished) -> None:
    """O2: one assessment an event id, one open case a card lineage, one message a detection, one archive row an event.

    The archive may have an event id twice only beyond the dedupe window, where duplicates are not known any more.
    """
    live = select(detection.c.event_id).where(detection.c.origin == "LIVE")
    faults = [f"event {name} has several detections" for name in _twice(run.rows(live))]
    open_cases = run.rows(select(case.c.card_lineage).where(case.c.status != "RESOLVED"))
    faults += [f"lineage {name} has several open cases" for name in _twice(open_cases)]
    messages = Counter(row.message_id for row in run.rows(select(outbox.c.message_id)))
    for row in run.rows(select(detection.c.detection_id)):
        if messages[row.detection_id] != 1:
            faults.append(f"detection {row.detection_id} is told {messages[row.detection_id]} times")
    table = archive_rows(run)
    if table is not None:
        counted = table.group_by("partition", "event_id").agg(pl.len(), pl.col("offset").max() - pl.col("offset").min())
        near = counted.filter((pl.col("len") > 1) & (pl.col("offset") <= run.settings.stream.dedupe_window))
        faults += [f"event {name} is in the archive several times" for name in sorted(near["event_id"].to_list())]
    _judge("O2 uniqueness", faults)


# --- O3: everything is as the reference says --------------------------------------------------------------------------


def check_model_equality(
    run: Finished, *, log: Log | None = None, stopped_cleanly: bool = True, leave_out: Collection[str] = ()
) -> Outcome:
    """O3: the database, and the archive row by row, are what the single-threaded reference makes of the same log.

    Records at or above a position have not happened yet. After a clean stop the archive ends at the position; otherwise
    it may lag behind, and is never ahead. `leave_out` names what is not compared: `archive`, or fields of `Outcome`, as
    `cases` once people have worked on them. Needs the stream's clock. Gives the reference's outcome.
    """
    positions = run.positions()
    log = read_log(run.settings) if log is None else log
    done = {
        partition: [record for record in records if record.offset < positions[partition].next_offset]
        for partition, records in log.items()
        if partition in positions
    }
    wanted = reference_path(done, facts_of(run.settings, run.engine))
    faults = database_differences(run, wanted, leave_out)
    if "archive" not in leave_out:
        faults += archive_differences(run, wanted, stopped_cleanly=stopped_cleanly)
    _judge("O3 model equality", faults)
    return wanted


# --- O4 and O6: positions and owners ----------------------------------------------------------------------------------


def check_positions(run: Finished, observations: Sequence[Observation]) -> None:
    """O4: a position never falls, does not end below what was seen of it, and Kafka's hint is not ahead of it."""
    positions, faults = run.positions(), []
    for number, seen in _by_partition(observations).items():
        for before, after in pairwise(seen):
            if after.next_offset < before.next_offset:
                moved = f"from {before.next_offset} back to {after.next_offset}"
                faults.append(f"partition {number}: {moved} at {after.at}")
        end = positions[number].next_offset if number in positions else 0
        if end < seen[-1].next_offset:
            faults.append(f"partition {number}: is {end} in the end, and was {seen[-1].next_offset}")
    for number, committed in committed_offsets(run).items():
        end = positions[number].next_offset if number in positions else 0
        if committed > end:
            faults.append(f"partition {number}: {committed} is committed in Kafka, the position is {end}")
    _judge("O4 positions", faults)


def committed_offsets(run: Finished) -> dict[int, int]:
    """What the group has committed to Kafka, by partition."""
    topic = run.settings.kafka.transactions_topic
    with contextlib.closing(make_consumer(run.settings.kafka, 1)) as consumer:
        places = [TopicPartition(topic, number) for number in sorted(consumer.partitions_for_topic(topic) or ())]
        found = {place.partition: consumer.committed(place) for place in places}
    return {number: offset for number, offset in found.items() if offset is not None and offset >= 0}


def check_fencing(run: Finished, observations: Sequence[Observation]) -> None:
    """O6: nothing is written under an older epoch once a newer one has written.

    Epochs of the positions seen, and of the checkpoints in the order of their registration, never fall. What each
    commit wrote of a partition (it carries the commit's time, and ids in order) continues where the one before ended.
    """
    faults = []
    for number, seen in _by_partition(observations).items():
        for before, after in pairwise(seen):
            if after.epoch < before.epoch:
                faults.append(f"partition {number}: epoch {after.epoch} after {before.epoch} at {after.at}")
    positions, own = run.positions(), run.topic_id()
    ours = (checkpoint.c.group_id == run.group_id, checkpoint.c.topic_id == own)
    newest: dict[int, int] = {}
    for row in run.rows(select(checkpoint).where(*ours).order_by(checkpoint.c.checkpoint_id)):
        if row.owner_epoch < newest.get(row.partition, 0):
            faults.append(f"partition {row.partition}: checkpoint of epoch {row.owner_epoch} after a newer one's")
        newest[row.partition] = max(row.owner_epoch, newest.get(row.partition, 0))
    for number, epoch in newest.items():
        if number not in positions or epoch > positions[number].owner_epoch:
            faults.append(f"partition {number}: checkpoint of epoch {epoch}, which nobody has claimed")
    for number, batches in _commits(run).items():
        for before_batch, batch in pairwise(batches):
            if min(batch) <= max(before_batch):
                faults.append(f"partition {number}: offset {min(batch)} was written after offset {max(before_batch)}")
    _judge("O6 fencing", faults)


def _commits(run: Finished) -> dict[int, list[list[int]]]:
    """Partition to the offsets of the detections of each commit, in the order in which they were recorded."""
    statement = (
        select(outbox.c.created_at, detection.c.partition, detection.c.offset)
        .join_from(outbox, detection, outbox.c.message_id == detection.c.detection_id)
        .where(detection.c.origin == "LIVE", detection.c.topic_id == run.topic_id())
        .order_by(outbox.c.outbox_id)
    )
    commits: dict[int, list[list[int]]] = {}
    last: dict[int, int] = {}
    for row in run.rows(statement):
        if last.get(row.partition) != row.created_at:
            commits.setdefault(row.partition, []).append([])
        last[row.partition] = row.created_at
        commits[row.partition][-1].append(row.offset)
    return commits


def _by_partition(observations: Sequence[Observation]) -> dict[int, list[Observation]]:
    found: dict[int, list[Observation]] = {}
    for item in sorted(observations, key=lambda item: item.at):
        found.setdefault(item.partition, []).append(item)
    return found


# --- O5, O7, O10 ------------------------------------------------------------------------------------------------------


def check_acknowledged(run: Finished, acknowledged: Iterable[Acknowledged], *, log: Log | None = None) -> None:
    """O5: what the broker acknowledged is in the log as it was sent, and below the position, so that O1 counts it."""
    log = read_log(run.settings) if log is None else log
    records = {(number, record.offset): record for number, held in log.items() for record in held}
    positions, faults = run.positions(), []
    for item in acknowledged:
        record, place = records.get((item.partition, item.offset)), f"partition {item.partition}, offset {item.offset}"
        if record is None:
            faults.append(f"{place}: acknowledged, and not in the log")
        elif (record.key, record.value) != (item.key, item.value):
            faults.append(f"{place}: the log has another record than was acknowledged")
        elif item.partition not in positions or positions[item.partition].next_offset <= item.offset:
            faults.append(f"{place}: acknowledged, and not accounted for")
    _judge("O5 acknowledged", faults)


def check_liveness(
    run: Finished,
    within_seconds: float,
    readiness: Iterable[Readiness] = (),
    check: Callable[[], None] = lambda: None,
) -> float:
    """O7: every partition reaches lag 0 within a time, and readiness told the truth meanwhile. The seconds it took.

    `check` is called while waiting, and may raise when waiting has become pointless.
    """
    log = read_log(run.settings)
    ends = {number: max((item.offset for item in held), default=-1) + 1 for number, held in log.items()}
    started = time.monotonic()
    while behind := _lags(run, ends):
        check()
        if time.monotonic() - started > within_seconds:
            break
        time.sleep(0.05)
    took = time.monotonic() - started
    faults = [f"partition {number}: lag {lag} after {within_seconds:.0f} s" for number, lag in behind.items()]
    for item in readiness:
        if item.true is not None and item.said != item.true:
            said, true = ("ready" if flag else "not ready" for flag in (item.said, item.true))
            faults.append(f"at {item.at}: the probe said {said}, and it was {true}")
    _judge("O7 liveness", faults)
    return took


def _lags(run: Finished, ends: Mapping[int, int]) -> dict[int, int]:
    positions = run.positions()
    lags = {number: end - (positions[number].next_offset if number in positions else 0) for number, end in ends.items()}
    return {number: lag for number, lag in lags.items() if lag > 0}


def check_determinism(run: Finished) -> None:
    """O10: a detection's stored vector has the stored digest, and the stored model gives it the stored scores."""
    models: dict[str, ReferenceModel] = {}
    faults = []
    for row in run.rows(select(detection)):
        vector = struct.unpack(f"<{len(row.features) // 4}f", row.features)
        if f"{vector_digest(vector):016x}" != row.features_digest:
            faults.append(f"detection {row.detection_id}: the vector is not the one of its digest")
        digest, expected = row.model_digest, (None, 0.0)
        if digest is not None:
            if digest not in models:
                models[digest] = ReferenceModel(run.settings.models_dir / digest / "arrays.npz", digest)
            expected = models[digest].score(vector)
        for name, right in zip(("probability", "anomaly"), expected, strict=True):
            if not same_score(getattr(row, name), right):
                faults.append(f"detection {row.detection_id}: {name} {getattr(row, name)} is stored, {right} comes out")
    _judge("O10 determinism", faults)
