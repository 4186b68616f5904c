"""The second half of an import: day by day through features and scores into the archive; then the state.

One Delta commit a day carries the rows of all partitions and the number of days that are done, so a day is there once
or not at all. After a stop, the days that are in the archive are only run through the feature kernel again, which is
how the state of the next day comes to be; the same code makes a lost state from the archive.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from fraud.errors import ConflictError, InvalidInputError
from models.features import feature_digest
from models.scoring import Scorer
from models.state import CardStates
from streams.archive import ARCHIVE_COLUMNS, ArchiveTable, key_bits
from streams.archive.maintenance import SORT_ORDER
from streams.archive.table import Action, application_id
from streams.history.accumulating import HistoryState, ProfileSettings, chunks, offsets_of
from streams.history.coverage import (
    archived_days,
    history_start,
    imported_parts,
    imported_rows,
    in_order,
)
from streams.history.decoding import HistoryDecoder, Tally
from streams.history.identity import (
    alone,
    completion_application,
    handover_application,
    import_topic_id,
    is_complete,
    is_handed_over,
    lineage_file,
    progress_application,
    short_name,
)
from streams.history.mapping import HistoryMapping
from streams.history.splitting import Plan, Progress, Splitter, join_rejects, read_manifest, write_manifest

_FILE_ROWS: Final = 1_000_000  # rows of an archive file
_COLUMNS: Final = tuple(item.name for item in ARCHIVE_COLUMNS)

MakeDecoder = Callable[[int], HistoryDecoder]
LoadScorer = Callable[[str | None], Scorer | None]


class Start(Protocol):
    """Who takes the state over; `streams.seeding.StreamStart` is one."""

    def check(self) -> None:
        """Raise when the state cannot be taken over."""

    def is_begun(self) -> bool:
        """Whether there is state to begin with, or the stream has moved on already."""

    def register(self, states_of: Callable[[int], CardStates], dedupe_window: int, now: int) -> int:
        """Take the state over; the profiles of all partitions together."""


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import has done. Times in epoch milliseconds UTC; `profiles` is None where no state was handed over."""

    topic_id: str
    rows: int
    rejected: Mapping[str, int]
    duplicates: int
    after_until: int
    unusable: Mapping[str, int]
    card_numbers: Mapping[str, int]
    first_at: int | None
    last_at: int | None
    profiles: int | None
    history_from: int | None
    rejected_file: str | None
    already_done: bool


@dataclass(frozen=True, slots=True)
class ImportJob:
    """Everything that an import is done with.

    Args:
        mapping: the mapping file.
        settings: how profiles, partitions and features come about.
        table: the archive.
        imports_dir: folder of the imports' own folders; each needs about as much room as its rows in the archive.
        make_decoder: the decoder of the files, given the latest time that an event may have.
        load_scorer: the model of a digest; of None, the champion if there is one.
        until: events from then on are left out.
        stream_from: time of the topic's first record; imported events must be from before.
        dedupe_window: event ids remembered a partition, for the state that is handed over.
        now: the machine's time.

    """

    mapping: HistoryMapping
    settings: ProfileSettings
    table: ArchiveTable
    imports_dir: Path
    make_decoder: MakeDecoder
    load_scorer: LoadScorer
    dedupe_window: int
    now: int
    until: int | None = None
    stream_from: int | None = None


def run_import(job: ImportJob, start: Start | None, progress: Progress) -> ImportReport:
    """Bring files into the archive, and their state to the stream; goes on where an earlier run was stopped.

    Args:
        job: what to import, and how.
        start: takes the state over; None: the archive only.
        progress: told what is being done, and the rows done.

    Raises:
        ConflictError: the same import is running, the archive has imported events of this time already, the files
            reach beyond the topic's beginning, or the stream has moved on.

    """
    topic_id = import_topic_id(job.mapping, job.settings, job.until)
    folder = job.imports_dir / short_name(topic_id)
    with alone(folder):
        history: HistoryState | None = None
        done = is_complete(job.table, topic_id)
        if done and (start is None or (is_handed_over(job.table, topic_id) and start.is_begun())):
            return _report(job, folder, topic_id, None, already_done=True)
        if start is not None:
            start.check()
        if not done:
            history = _to_archive(job, folder, topic_id, progress)
        profiles = None
        if start is not None:
            history = history or replay_imports(job.table, job.settings, progress)
            progress("writing the partitions' state", 0)
            profiles = start.register(history.partition, job.dedupe_window, job.now)
            _commit_once(job.table, handover_application(topic_id), 1)
        return _report(job, folder, topic_id, profiles, already_done=False)


def replay_imports(table: ArchiveTable, settings: ProfileSettings, progress: Progress) -> HistoryState:
    """The state after everything that has been imported into the archive, earlier imports first."""
    history = HistoryState(settings)
    for part in imported_parts(table):
        for frame in imported_rows(table, part):
            for rows, columns in chunks(frame):
                history.apply(columns, partitions=rows["partition"].to_numpy())
                progress("state of the archived days", len(rows))
    return history


def _to_archive(job: ImportJob, folder: Path, topic_id: str, progress: Progress) -> HistoryState:
    manifest = read_manifest(folder)
    if manifest is None:
        scorer = job.load_scorer(None)
        manifest = {"begun_at": job.now, "model_digest": scorer.digest if scorer is not None else None}
        write_manifest(folder, manifest)
    else:
        digest = manifest["model_digest"]
        scorer = job.load_scorer(digest) if digest is not None else None  # the model that it was begun with
    if job.settings.lineage is not None and len(job.settings.lineage):
        job.settings.lineage.save(lineage_file(job.imports_dir))  # a rebuild needs it as well
    splitter = Splitter(folder, job.mapping, job.make_decoder(manifest["begun_at"]), topic_id)
    plan = splitter.plan(progress)
    join_rejects(folder)
    _refuse(job, plan, topic_id)
    if "history_from" not in manifest:
        manifest["history_from"] = history_start({**plan.days, **archived_days(job.table)})
        write_manifest(folder, manifest)
    history = _write_days(job, splitter, plan, topic_id, scorer, manifest["history_from"], progress)
    for name in ("rows", "ids", "dropped"):
        shutil.rmtree(folder / name, ignore_errors=True)
    return history


def _write_days(
    job: ImportJob,
    splitter: Splitter,
    plan: Plan,
    topic_id: str,
    scorer: Scorer | None,
    history_from: int | None,
    progress: Progress,
) -> HistoryState:
    table, application = job.table, progress_application(topic_id)
    table.open_or_create()
    history = replay_imports(table, job.settings, progress)
    counts = _rows_by_partition(table, topic_id, job.settings.partitions)
    for number, day in enumerate(sorted(plan.days), start=1):
        handle = table.open()
        if (handle.transaction_version(application) or 0) >= number:
            continue
        actions: list[Action] = []
        pending: list[pl.DataFrame] = []
        for frame in in_order(splitter.rows(day)):
            for rows, columns in chunks(frame):
                features, partitions = history.apply(columns, history_from)
                offsets = offsets_of(partitions, counts)
                pending.append(_archive_frame(rows, features, partitions, offsets, scorer))
                counts += np.bincount(partitions, minlength=len(counts))
                progress(day.isoformat(), len(rows))
                if sum(map(len, pending)) >= _FILE_ROWS:
                    actions.append(_file(table, pending, day))
        if pending:
            actions.append(_file(table, pending, day))
        table.commit(handle, actions, application, number)
    # Readers in log order look for the offset up to which a partition is there.
    for partition, rows_there in enumerate(counts.tolist()):
        _commit_once(table, application_id(topic_id, partition), rows_there)
    _commit_once(table, completion_application(topic_id), 1)
    return history


def _archive_frame(
    rows: pl.DataFrame,
    features: NDArray[np.float32],
    partitions: NDArray[np.int32],
    offsets: NDArray[np.int64],
    scorer: Scorer | None,
) -> pl.DataFrame:
    none = np.full(len(rows), np.nan, np.float32)
    probability, anomaly = scorer.score(features) if scorer is not None else (none, none)
    return rows.with_columns(
        pl.Series("partition", partitions, dtype=pl.Int32),
        pl.Series("offset", offsets, dtype=pl.Int64),
        pl.Series("features_digest", key_bits(feature_digest(features)), dtype=pl.Int64),
        pl.Series("probability", probability, dtype=pl.Float32).fill_nan(None),
        pl.Series("anomaly", anomaly, dtype=pl.Float32).fill_nan(None),
    ).select(_COLUMNS)


def _file(table: ArchiveTable, pending: list[pl.DataFrame], day: date) -> Action:
    _, action = table.write_file(pl.concat(pending).sort(SORT_ORDER), day, "imported")
    pending.clear()
    return action


def _commit_once(table: ArchiveTable, application: str, version: int) -> None:
    handle = table.open()
    if handle.transaction_version(application) is None:
        table.commit(handle, [], application, version)


def _rows_by_partition(table: ArchiveTable, topic_id: str, partitions: int) -> NDArray[np.int64]:
    counts = np.zeros(partitions, np.int64)
    scan = pl.scan_delta(table.open(), storage_options=table.storage_options)
    found = scan.filter(pl.col("topic_id") == topic_id).group_by("partition").agg(rows=pl.len()).collect()
    for partition, rows in found.iter_rows():
        counts[partition] = rows
    return counts


def _refuse(job: ImportJob, plan: Plan, topic_id: str) -> None:
    """Log order is event time over all imports and then the topic, so none may reach into another's time."""
    if plan.first_at is None or plan.last_at is None:
        message = "no row of the files can be imported; `--check` says why"
        raise InvalidInputError(message, field="mapping")
    if any(part.topic_id != topic_id and part.last_at >= plan.first_at for part in imported_parts(job.table)):
        message = (
            "the archive already has imported events of this time or later ones; import files in the order of time, "
            "or all of them under one mapping into a new archive"
        )
        raise ConflictError(message)
    if job.stream_from is not None and plan.last_at >= job.stream_from:
        begins = datetime.fromtimestamp(job.stream_from / 1_000, UTC).isoformat(timespec="milliseconds")
        message = (
            f"the files have events from after the topic's first record ({begins}), which the stream will process too; "
            f"leave them out with --until {begins}"
        )
        raise ConflictError(message)


def _report(job: ImportJob, folder: Path, topic_id: str, profiles: int | None, *, already_done: bool) -> ImportReport:
    rejected = folder / "rejected.csv"
    part = next((item for item in imported_parts(job.table) if item.topic_id == topic_id), None)
    plan = Splitter.read_plan(folder)
    tally = plan.tally if plan is not None else Tally()
    return ImportReport(
        topic_id=topic_id,
        rows=part.rows if part is not None else 0,
        rejected=dict(tally.rejected),
        duplicates=plan.duplicates if plan is not None else 0,
        after_until=tally.after_until,
        unusable=dict(tally.unusable),
        card_numbers=dict(tally.card_numbers),
        first_at=part.first_at if part is not None else None,
        last_at=part.last_at if part is not None else None,
        profiles=profiles,
        history_from=history_start(archived_days(job.table)),
        rejected_file=str(rejected) if rejected.exists() else None,
        already_done=already_done,
    )
