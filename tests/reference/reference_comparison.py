"""A finished deployment beside the reference: what is stored, in the reference's form, and where the two differ."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl
from deltalake import DeltaTable
from reference_archive import signed, vector_digest
from reference_path import Outcome
from reference_scores import same_score
from sqlalchemy import Engine, Row, Select, select

from fraud.settings import Settings
from fraud.store.database import read
from fraud.store.tables import case, case_event, dead_letter, detection, exposure_match, position, security_incident
from streams.kafka import topic_id

Rows = dict[Any, Any]
Same = Callable[[Any, str, Any, Any], bool]  # key, column, found, wanted


@dataclass(frozen=True)
class Finished:
    """A deployment after its run. The broker's address, the topic and the folders are in its settings."""

    engine: Engine
    settings: Settings

    @property
    def group_id(self) -> str:
        """The consumer group."""
        return self.settings.kafka.group_id

    def topic_id(self) -> str:
        """The broker's id of the transactions topic."""
        return topic_id(self.settings.kafka, self.settings.kafka.transactions_topic)

    def rows(self, statement: Select[Any]) -> list[Row[Any]]:
        """What a query gives."""
        with read(self.engine) as connection:
            return list(connection.execute(statement))

    def positions(self) -> dict[int, Row[Any]]:
        """The positions' rows of this group and topic, by partition."""
        own = (position.c.group_id == self.group_id, position.c.topic_id == self.topic_id())
        return {row.partition: row for row in self.rows(select(position).where(*own))}


_COUNTERS = ("processed", "duplicates", "quarantined", "dead_lettered", "matched", "detected")
_POSITION = ("next_offset", "reached_at", *_COUNTERS)
_LETTER = ("kind", "error_class", "field_path", "payload_digest", "payload_bytes", "card_ref", "on_exposed_card")
_OF_THE_RUN = ("case_id", "version")  # what a database numbers by itself, and how many commits a case saw


def stored(run: Finished) -> dict[str, Rows]:
    """What the stream has written, in the reference's form. What people did to a case is left out of its history."""
    topic, own = run.settings.kafka.transactions_topic, run.topic_id()
    lineages = {row.case_id: row.card_lineage for row in run.rows(select(case))}
    histories: dict[str, list[tuple[Any, ...]]] = {}
    steps = select(case_event).where(case_event.c.actor == "mimamori").order_by(case_event.c.case_event_id)
    for row in run.rows(steps):
        histories.setdefault(lineages[row.case_id], []).append((row.kind, row.at, row.actor, row.data["detection_id"]))
    letters = select(dead_letter).where(dead_letter.c.group_id == run.group_id, dead_letter.c.topic_id == own)
    detections = run.rows(select(detection).where(detection.c.origin == "LIVE"))
    incidents = run.rows(select(security_incident).where(security_incident.c.topic == topic))
    return {
        "positions": {number: _picked(row, _POSITION) for number, row in run.positions().items()},
        "detections": {(row.event_id, row.origin): _without(row, _OF_THE_RUN) for row in detections},
        "matches": {(row.event_id, row.compromise_event_id): _without(row) for row in run.rows(select(exposure_match))},
        "dead_letters": {(row.partition, row.offset): _picked(row, _LETTER) for row in run.rows(letters)},
        "security_incidents": {row.field_path: row.count for row in incidents},
        "cases": {row.card_lineage: _without(row, _OF_THE_RUN) for row in run.rows(select(case))},
        "histories": histories,
    }


def _picked(row: Row[Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: row._mapping[name] for name in names}


def _without(row: Row[Any], names: Sequence[str] = ()) -> dict[str, Any]:
    return {name: value for name, value in row._mapping.items() if name not in names}


def row_differences(table: str, found: Rows, wanted: Rows, same: Same) -> list[str]:
    """Two tables by their keys, one line each: rows that are missing or too many, and columns that differ.

    Columns that the reference does not have are only people's to fill (a case's outcome), and must be empty.
    """
    lines = []
    for key in sorted(found.keys() | wanted.keys()):
        if key not in found:
            lines.append(f"{table} {key}: missing")
        elif key not in wanted:
            lines.append(f"{table} {key}: should not be there")
        elif not isinstance(found[key], dict):
            lines += [f"{table} {key}: {found[key]!r} is not {wanted[key]!r}"] if found[key] != wanted[key] else []
        else:
            for name, value in found[key].items():
                right = wanted[key].get(name)
                if not same(key, name, value, right):
                    lines.append(f"{table} {key} {name}: {value!r} is not {right!r}")
    return lines


def database_differences(run: Finished, wanted: Outcome, leave_out: Collection[str] = ()) -> list[str]:
    """Where the database is not what the reference says, one line each."""
    others = {
        key: {f"{digest:016x}" for digest in wanted.other_digests.get((row["partition"], row["offset"]), ())}
        for key, row in wanted.detections.items()
    }

    def same(key: Any, name: str, found: Any, right: Any) -> bool:
        if name in ("probability", "anomaly"):
            return same_score(found, right)
        if name == "features_digest":
            return found == right or found in others[key]
        if name == "features" and found != right:
            vector = struct.unpack(f"<{len(found) // 4}f", found)
            return f"{vector_digest(vector):016x}" in others[key]
        return bool(found == right)

    lines = []
    for table, found in stored(run).items():
        if table not in leave_out:
            undecided = wanted.scattered if table in ("cases", "histories") else set()
            here, right = (
                {key: rows[key] for key in rows.keys() - undecided} for rows in (found, getattr(wanted, table))
            )
            lines += row_differences(table, here, right, same)
    return lines


def archive_rows(run: Finished) -> pl.DataFrame | None:
    """The archive's rows of this topic, in no order; None where there is no archive."""
    root, options = _archive_place(run)
    if not DeltaTable.is_deltatable(root, options):
        return None
    return pl.scan_delta(root, storage_options=options).filter(pl.col("topic_id") == run.topic_id()).collect()


def archived_upto(run: Finished) -> dict[int, int]:
    """Partition to the offset below which everything is in the archive, as the table's own log has it."""
    root, options = _archive_place(run)
    if not DeltaTable.is_deltatable(root, options):
        return {}
    table, own = DeltaTable(root, storage_options=options), run.topic_id()
    upto = {number: table.transaction_version(f"{own}/{number}") for number in run.positions()}
    return {number: offset for number, offset in upto.items() if offset is not None}


def _archive_place(run: Finished) -> tuple[str, dict[str, str] | None]:
    options = {name: value.get_secret_value() for name, value in run.settings.archive.storage_options.items()}
    return run.settings.archive_root, options or None


def archive_differences(run: Finished, wanted: Outcome, *, stopped_cleanly: bool) -> list[str]:
    """Where the archive is not what the reference says, one line each: none missing, none twice, none ahead."""
    table, upto = archive_rows(run), archived_upto(run)
    lines = []
    for number, row in sorted(run.positions().items()):
        archived, ends = upto.get(number, 0), f"archive of partition {number}: ends at {upto.get(number)}"
        if archived > row.next_offset:
            lines.append(f"{ends}, ahead of the position {row.next_offset}")
        elif stopped_cleanly and archived != row.next_offset:
            lines.append(f"{ends}, and the position is {row.next_offset}")
    rows = [] if table is None else table.to_dicts()
    places = [(row["partition"], row["offset"]) for row in rows]
    lines += [f"archive {place}: there {times} times" for place, times in Counter(places).items() if times > 1]
    right = {place: row for place, row in wanted.archive.items() if place[1] < upto.get(place[0], 0)}
    others = {place: {signed(digest) for digest in digests} for place, digests in wanted.other_digests.items()}
    columns = set(next(iter(wanted.archive.values()), {}))
    if rows and columns:
        lines += [f"archive: column {name} is not in both" for name in sorted(columns ^ rows[0].keys())]

    def same(key: Any, name: str, found: Any, expected: Any) -> bool:
        if name in ("probability", "anomaly"):
            return same_score(found, expected)
        return bool(found == expected) or (name == "features_digest" and found in others.get(key, ()))

    return lines + row_differences("archive", dict(zip(places, rows, strict=True)), right, same)
