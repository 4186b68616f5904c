"""Staging: a file's rows are stored in chunks, each in a transaction of its own, where nothing acts on them yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from sqlalchemy import Connection, Engine, Table, and_, delete, insert, or_, select, update

from fraud.alert_files import AlertRow, RowProblem
from fraud.compromise import CompromiseStatus
from fraud.errors import ConflictError, MimamoriError, NotFoundError
from fraud.store.compromise_records import locked_compromise_event
from fraud.store.database import write
from fraud.store.import_findings import RowOutcome, count_findings, mark_rows
from fraud.store.statements import chunks, storable_text
from fraud.store.tables import alert_file
from fraud.store.tables_cards import exposure_import, exposure_import_alias, exposure_import_row

ROWS_AT_ONCE: Final = 20_000
_REMOVED_AT_ONCE: Final = 50_000
_HOUR_MS: Final = 3_600_000
_DESERTED_MS: Final = _HOUR_MS  # without progress, the process that read the file is gone
_UNDECIDED_MS: Final = 7 * 24 * _HOUR_MS
_LISTED_MS: Final = 30 * 24 * _HOUR_MS

_IMPORT = exposure_import.c
_OUTCOMES: Final[dict[str | None, RowOutcome]] = {
    RowProblem.NOT_OURS: RowOutcome.UNKNOWN,
    RowProblem.DUPLICATE: RowOutcome.DUPLICATE,
    None: RowOutcome.CARD,
}

Progress = Callable[[int, int], None]  # rows read, lines of the file


class CardRows(Protocol):
    """What is staged: a file, or cards from elsewhere. `lines` is about how many rows there are, for progress."""

    @property
    def lines(self) -> int:
        """About how many rows there are."""

    def rows(self) -> Iterator[AlertRow]:
        """The rows, in order."""


@dataclass(frozen=True, slots=True)
class ImportView:
    """An import: what was found in it, and what became of it. `share` of its rows have been read, 0 to 1."""

    import_id: int
    compromise_event_id: str
    status: str
    provenance: str
    name: str
    sha256: str | None
    reason: str | None
    share: float
    rows: int
    counts: dict[str, Any]
    problem: str | None
    no_op: bool
    exposure_version: int | None
    created_at: int
    created_by: str
    updated_at: int
    published_at: int | None
    published_by: str | None

    @property
    def findings(self) -> dict[str, int]:
        """Finding to rows."""
        found: dict[str, int] = self.counts.get("findings", {})
        return found

    @property
    def reasons(self) -> dict[str, int]:
        """What is wrong with malformed rows, to rows."""
        found: dict[str, int] = self.counts.get("reasons", {})
        return found


def begin_import(
    connection: Connection,
    compromise_event_id: str,
    *,
    provenance: str,
    name: str,
    sha256: str,
    created_by: str,
    now: int,
    reason: str | None = None,
) -> ImportView:
    """Begin an import. Where this very content was imported for the event before, it is done at once: a no-op.

    `NotFoundError` for an unknown event, `ConflictError` for one that is closed or refuted.
    """
    event = locked_compromise_event(connection, compromise_event_id)
    before = imported_before(connection, compromise_event_id, provenance, sha256)
    if before is None and not CompromiseStatus(event.status).is_open:
        message = f"a compromise event that is {event.status} takes no cards; reopen it first"
        raise ConflictError(message)
    row: dict[str, Any] = {
        "compromise_event_id": compromise_event_id,
        "status": "STAGING",
        "provenance": provenance,
        "name": storable_text(name, 200),
        "sha256": sha256,
        "reason": reason,
        "share": 0.0,
        "rows": 0,
        "counts": {},
        "created_at": now,
        "created_by": created_by,
        "updated_at": now,
    }
    if before is not None:
        row |= {"status": "PUBLISHED", "no_op": True, "share": 1.0, **before}
    made = connection.execute(insert(exposure_import).returning(_IMPORT.import_id), row)
    return get_import(connection, made.scalar_one())


def imported_before(
    connection: Connection, compromise_event_id: str, provenance: str, sha256: str
) -> dict[str, Any] | None:
    """Rows and counts of the import that brought this content into the event; None when there is none."""
    done = select(exposure_import).where(
        _IMPORT.compromise_event_id == compromise_event_id,
        _IMPORT.provenance == provenance,
        _IMPORT.sha256 == sha256,
        _IMPORT.status == "PUBLISHED",
    )
    found = connection.execute(done.order_by(_IMPORT.import_id).limit(1)).one_or_none()
    if found is not None:
        return {"rows": found.rows, "counts": found.counts, "exposure_version": found.exposure_version}
    file = alert_file.c
    same = and_(file.compromise_event_id == compromise_event_id, file.sha256 == sha256)
    row = connection.execute(select(alert_file).where(same)).one_or_none()
    if row is None or provenance != "ALERT_FILE":
        return None
    findings = {
        "MATCHED": row.accepted,
        "ALREADY_EXPOSED": row.already_exposed,
        "DUPLICATE": row.duplicate,
        "MALFORMED": row.malformed,
        "UNKNOWN": row.unknown,
    }
    return {"rows": row.rows, "counts": {"findings": findings, "reasons": {}}}


def stage_file(engine: Engine, staged: ImportView, file: CardRows, now: Callable[[], int], progress: Progress) -> None:
    """Read a file into a staged import. When it cannot be read to its end, the import has failed and holds nothing."""
    read = 0
    try:
        for rows in chunks(file.rows(), ROWS_AT_ONCE):
            read += len(rows)
            share = min(read / max(file.lines, 1), 0.99)
            with write(engine) as connection:
                stage_rows(connection, staged.import_id, rows, read, share, now())
            progress(read, file.lines)
        with write(engine) as connection:
            finish_staging(connection, staged.import_id, now())
    except BaseException as error:
        # Only our own errors have texts that never hold a value.
        problem = str(error) if isinstance(error, MimamoriError) else "the import broke off; send the file again"
        fail_import(engine, staged.import_id, problem, now())
        raise


def stage_rows(
    connection: Connection, import_id: int, rows: Sequence[AlertRow], read: int, share: float, now: int
) -> None:
    """Store some more rows; `ConflictError` when the import has been discarded meanwhile."""
    going_on = update(exposure_import).where(_IMPORT.import_id == import_id, _IMPORT.status == "STAGING")
    if connection.execute(going_on.values(rows=read, share=share, updated_at=now)).rowcount != 1:
        message = "the import has been discarded"
        raise ConflictError(message)
    values = []
    for row in rows:
        outcome = _OUTCOMES.get(row.problem, RowOutcome.MALFORMED)
        reason = row.problem if outcome is RowOutcome.MALFORMED else None
        values.append(
            (import_id, row.line, outcome.value, reason and str(reason), row.card_ref, row.pan_last4, row.expiry, 0)
        )
    _insert_many(connection, exposure_import_row, values)
    aliases = [(import_id, alias, row.card_ref) for row in rows for alias in row.aliases]
    if aliases:
        _insert_many(connection, exposure_import_alias, aliases)


def finish_staging(connection: Connection, import_id: int, now: int) -> ImportView:
    """All rows are there: say what they are. From now on the import can be published."""
    staged = get_import(connection, import_id)
    mark_rows(connection, import_id, staged.compromise_event_id)
    counts = count_findings(connection, import_id)
    changes = {"status": "STAGED", "share": 1.0, "counts": counts, "updated_at": now}
    connection.execute(update(exposure_import).where(_IMPORT.import_id == import_id).values(**changes))
    return get_import(connection, import_id)


def get_import(connection: Connection, import_id: int) -> ImportView:
    """One import; `NotFoundError` when there is none of this number."""
    found = connection.execute(select(exposure_import).where(_IMPORT.import_id == import_id)).mappings().one_or_none()
    if found is None:
        message = "there is no import of this number"
        raise NotFoundError(message)
    return ImportView(**found)


def locked_import(connection: Connection, import_id: int) -> ImportView:
    """One import, locked until the end of the transaction."""
    connection.execute(select(_IMPORT.import_id).where(_IMPORT.import_id == import_id).with_for_update())
    return get_import(connection, import_id)


def list_imports(connection: Connection, compromise_event_id: str | None, limit: int = 100) -> list[ImportView]:
    """The latest imports, of one event where it is named."""
    statement = select(exposure_import).order_by(_IMPORT.import_id.desc()).limit(limit)
    if compromise_event_id is not None:
        statement = statement.where(_IMPORT.compromise_event_id == compromise_event_id)
    return [ImportView(**row) for row in connection.execute(statement).mappings()]


def fail_import(engine: Engine, import_id: int, problem: str, now: int) -> None:
    """The import has failed: nothing of its rows stays."""
    with write(engine) as connection:
        going_on = and_(_IMPORT.import_id == import_id, _IMPORT.status.in_(["STAGING", "STAGED"]))
        changes = {"status": "FAILED", "problem": storable_text(problem, 2_000), "updated_at": now}
        connection.execute(update(exposure_import).where(going_on).values(**changes))
    remove_rows(engine, import_id)


def remove_rows(engine: Engine, import_id: int) -> None:
    """Remove an import's rows, a part at a time."""
    rows, line = exposure_import_row, exposure_import_row.c.line
    while True:
        with write(engine) as connection:
            mine = rows.c.import_id == import_id
            part = select(line).where(mine).order_by(line).offset(_REMOVED_AT_ONCE).limit(1)
            end = connection.execute(part).scalar_one_or_none()
            connection.execute(delete(rows).where(mine, line < end) if end is not None else delete(rows).where(mine))
            if end is None:
                connection.execute(delete(exposure_import_alias).where(exposure_import_alias.c.import_id == import_id))
                return


def sweep_imports(engine: Engine, now: int) -> None:
    """Let go what nobody decides on or looks at any more: dry runs after a week, lists a month after publishing."""
    deserted = and_(_IMPORT.status == "STAGING", _IMPORT.updated_at < now - _DESERTED_MS)
    undecided = and_(_IMPORT.status == "STAGED", _IMPORT.updated_at < now - _UNDECIDED_MS)
    ended = and_(_IMPORT.status == "PUBLISHED", _IMPORT.published_at < now - _LISTED_MS)
    has_rows = select(1).where(exposure_import_row.c.import_id == _IMPORT.import_id).exists()
    with write(engine) as connection:
        changes = {"status": "DISCARDED", "problem": "nobody published it in time", "updated_at": now}
        connection.execute(update(exposure_import).where(or_(deserted, undecided)).values(**changes))
        left = or_(ended, _IMPORT.status.in_(["DISCARDED", "FAILED"]))
        due = connection.execute(select(_IMPORT.import_id).where(left, has_rows)).scalars().all()
    for import_id in due:
        remove_rows(engine, import_id)


def _insert_many(connection: Connection, table: Table, rows: Sequence[tuple[Any, ...]]) -> None:
    """Many rows, in the order of the table's columns, the quickest way that each database has."""
    names = ", ".join(column.name for column in table.columns)
    if connection.dialect.name == "postgresql":
        cursor = connection.connection.cursor()
        with cursor.copy(f"COPY {table.name} ({names}) FROM STDIN") as copy:
            for row in rows:
                copy.write_row(row)
        cursor.close()
        return
    places = ", ".join("?" * len(table.columns))
    connection.exec_driver_sql(f"INSERT INTO {table.name} ({names}) VALUES ({places})", list(rows))  # noqa: S608
