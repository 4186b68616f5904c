"""Every oracle asked of what a schedule leaves behind: each says nothing, or what is wrong."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from fault_history import Step, read_history
from fault_subject import Subject
from fault_traffic import CANARIES
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
    check_positions,
    check_uniqueness,
)
from reference_comparison import (
    Finished,
    archive_differences,
    archive_rows,
    archived_upto,
    database_differences,
    stored,
)
from reference_inputs import Log, facts_of, read_log
from reference_path import Outcome as Wanted
from reference_path import reference_path
from sqlalchemy import inspect, text

from streams.reconciliation import reconcile

_SHOWN = 15
_COUNTERS = ("processed", "duplicates", "quarantined", "dead_lettered")


@dataclass
class Evidence:
    """What a schedule leaves behind.

    Args:
        subject: its history, acknowledgements and folder.
        run: database and settings, as the oracles want them.
        log: every record that the topic has.
        steps: every change of every position.
        wanted: what the single-threaded reference makes of the log up to the positions; None where it cannot be asked.
        leave_out: what is not compared with it.
        resets: positions were moved by hand, on purpose.
        problems: what the schedule itself has found wrong.
        readiness: what a probe said, and what was true.

    """

    subject: Subject
    run: Finished
    log: Log
    steps: list[Step]
    wanted: Wanted | None
    leave_out: tuple[str, ...] = ()
    resets: bool = False
    problems: list[str] = field(default_factory=list)
    readiness: list[Readiness] = field(default_factory=list)

    @property
    def observations(self) -> list[Observation]:
        """Each step of each position."""
        return [Observation(step.step, step.partition, step.next_offset, step.owner_epoch) for step in self.steps]

    def lost_and_duplicated(self) -> tuple[int, int]:
        """Records, rows and effects that are missing; and those that are there twice or should not be there."""
        lost, duplicated = self._records()
        if self.wanted is not None:
            found = stored(self.run)
            for table in ("detections", "matches", "dead_letters"):
                if table not in self.leave_out:
                    wanted = getattr(self.wanted, table)
                    lost += len(wanted.keys() - found[table].keys())
                    duplicated += len(found[table].keys() - wanted.keys())
        rows = archive_rows(self.run)
        if rows is not None:
            places = set(rows.select("partition", "offset").iter_rows())
            duplicated += len(rows) - len(places)
            if self.wanted is not None:
                upto = archived_upto(self.run)
                lost += sum(place[1] < upto.get(place[0], 0) for place in self.wanted.archive.keys() - places)
        return lost, duplicated

    def _records(self) -> tuple[int, int]:
        """Records in the log that no counter has, and counts that no record has."""
        if self.resets:  # then only the product's own account knows where counting begins
            accounts = reconcile(self.run.engine, self.run.settings.kafka)
            gaps = [item.gap + item.waiting for item in accounts]
        else:
            at = self.run.positions()
            gaps = [
                len(records) - sum(getattr(at[number], name) for name in _COUNTERS) if number in at else len(records)
                for number, records in self.log.items()
            ]
        return sum(max(0, gap) for gap in gaps), sum(max(0, -gap) for gap in gaps)


def collect(subject: Subject, *, compare: bool, leave_out: tuple[str, ...], resets: bool) -> Evidence:
    """Read the log and the database, and ask the reference."""
    run = Finished(subject.engine, subject.settings)
    log, at = read_log(subject.settings), run.positions()
    done = {
        number: [record for record in records if record.offset < at[number].next_offset]
        for number, records in log.items()
        if number in at
    }
    return Evidence(
        subject=subject,
        run=run,
        log=log,
        steps=read_history(subject.engine, subject.settings.kafka.group_id),
        wanted=reference_path(done, facts_of(subject.settings, subject.engine)) if compare else None,
        leave_out=leave_out,
        resets=resets,
    )


def _conservation(evidence: Evidence) -> None:
    check_conservation(evidence.run, log=evidence.log)


def _uniqueness(evidence: Evidence) -> None:
    check_uniqueness(evidence.run)


def _equality(evidence: Evidence) -> None:
    if evidence.wanted is None:
        return
    lines = database_differences(evidence.run, evidence.wanted, evidence.leave_out)
    if "archive" not in evidence.leave_out:
        lines += archive_differences(evidence.run, evidence.wanted, stopped_cleanly=True)
    if lines:
        shown = "\n  ".join(line[:400] for line in lines[:_SHOWN])
        message = f"O3 model equality: {len(lines)} differences\n  {shown}"
        raise OracleError(message)


def _positions(evidence: Evidence) -> None:
    check_positions(evidence.run, [] if evidence.resets else evidence.observations)


def _acknowledged(evidence: Evidence) -> None:
    sent = evidence.subject.sent
    places = {(number, record.offset) for number, records in evidence.log.items() for record in records}
    kept = {place: record for place, record in sent.acknowledged.items() if place not in evidence.subject.deleted}
    items = [Acknowledged(*place, record.key, record.value) for place, record in kept.items()]
    check_acknowledged(evidence.run, items, log=evidence.log)
    surplus = len(places - set(sent.acknowledged)) - len(sent.unknown) - evidence.subject.published_by_others
    if surplus > 0:
        message = f"O5 acknowledged: {surplus} records are in the log that nobody sent"
        raise OracleError(message)


def _fencing(evidence: Evidence) -> None:
    check_fencing(evidence.run, [] if evidence.resets else evidence.observations)
    if not evidence.resets:
        _each_step_follows(evidence.steps)
        if evidence.subject.is_kafka:
            _written_with_their_position(evidence)


def _each_step_follows(steps: list[Step]) -> None:
    """A commit begins where the one before ended and moves on; a claim moves nothing."""
    last: dict[tuple[str, int], Step] = {}
    for step in steps:
        place = (step.topic_id, step.partition)
        before = last.get(place)
        wrong = before is not None and step.before_offset != before.next_offset
        wrong |= step.owner_epoch != step.before_epoch and step.next_offset != step.before_offset
        wrong |= step.next_offset < step.before_offset
        if wrong:
            message = f"O6 fencing: {step} does not follow {before}"
            raise OracleError(message)
        last[place] = step


def _written_with_their_position(evidence: Evidence) -> None:
    """Every effect's row was written by the transaction that moved its partition's position over its offset."""
    moves = {
        (step.transaction_id % 2**32, step.partition): step
        for step in evidence.steps
        if step.next_offset > step.before_offset and step.transaction_id is not None
    }
    strays = []
    with evidence.subject.engine.connect() as connection:
        for table in ("detection", "exposure_match", "dead_letter"):
            statement = f'SELECT xmin::text::bigint AS written, partition, "offset" FROM {table}'  # noqa: S608
            for row in connection.execute(text(statement)):
                step = moves.get((row.written, row.partition))
                if step is None or not step.before_offset <= row.offset < step.next_offset:
                    strays.append(f"{table} {row.partition}/{row.offset}")
    if strays:
        message = f"O6 fencing: {len(strays)} rows were not written with their position, such as {strays[:3]}"
        raise OracleError(message)


def _liveness(evidence: Evidence) -> None:
    problems = list(evidence.problems)
    try:
        check_liveness(evidence.run, 0.0, evidence.readiness)
    except OracleError as error:
        problems.append(str(error))
    if problems:
        raise OracleError("; ".join(problems))


def _leaks(evidence: Evidence) -> None:
    """O8, as far as it goes here: no card number in the database, the logs, the snapshots and the archive."""
    subject = evidence.subject
    numbers = [number.encode() for number in CANARIES]
    found = set()
    with subject.engine.connect() as connection:
        for table in inspect(subject.engine).get_table_names():
            for row in connection.execute(text(f'SELECT * FROM "{table}"')):  # noqa: S608
                line = repr(tuple(row)).encode()
                found |= {f"table {table}"} if any(number in line for number in numbers) else set()
    for path in subject.folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            found |= {f"file {path.name}"} if any(number in content for number in numbers) else set()
    if found:
        message = f"O8 leak: a card number is in {sorted(found)}"
        raise OracleError(message)


def _determinism(evidence: Evidence) -> None:
    check_determinism(evidence.run)


ORACLES: Final[Mapping[str, Callable[[Evidence], None]]] = {
    "O1": _conservation,
    "O2": _uniqueness,
    "O3": _equality,
    "O4": _positions,
    "O5": _acknowledged,
    "O6": _fencing,
    "O7": _liveness,
    "O8": _leaks,
    "O10": _determinism,
}


def verdicts(evidence: Evidence, names: tuple[str, ...]) -> dict[str, str]:
    """The oracles that say something is wrong, and what."""
    said: dict[str, str] = {}
    for name in names:
        try:
            evidence.subject.note(f"asking {name}")
            ORACLES[name](evidence)
        except AssertionError as error:
            said[name] = str(error)
    return said
