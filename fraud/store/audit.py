"""The audit log: who changed what, when and why, as rows that are only ever added.

Each entry carries the SHA-256 of itself and of the entry before it, so a changed, removed or inserted row breaks the
chain. Who can write to the database can also compute a whole new chain; so keep `AuditReport.head` somewhere else now
and then, and hand it to `verify_audit` as the anchor.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Row, insert, select, update

from fraud.errors import InvalidInputError
from fraud.pan_guard import PanGuard
from fraud.store.statements import insert_ignore, storable_text
from fraud.store.tables import audit_entry, audit_head

GENESIS: Final = "0" * 64  # the digest before the first entry
MAX_REASON: Final = 2_000
_HEAD: Final = 1
_FORMAT: Final = 1  # part of what is digested; raised when the digested fields change
_FETCHED_AT_ONCE: Final = 1_000
# Card numbers of every network are masked; the issuer's own prefix here only has to be a valid one.
_GUARD: Final = PanGuard(["4000"], [16])
_LENGTHS: Final = {"actor": 128, "action": 64, "subject": 256, "reason": MAX_REASON}


class AuditResult(StrEnum):
    """How it ended. A step outside the database is recorded before it (STARTED) and after it."""

    STARTED = "STARTED"
    DONE = "DONE"
    REFUSED = "REFUSED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One entry. `at` is epoch milliseconds UTC; `old` and `new` are plain data, {} where there is none."""

    sequence: int
    at: int
    actor: str
    action: str
    subject: str
    result: str
    reason: str
    old: dict[str, Any]
    new: dict[str, Any]
    previous_digest: str
    digest: str


@dataclass(frozen=True, slots=True)
class Anchor:
    """An entry as it was at some time: kept outside the database, it shows whether the chain up to it is the same."""

    sequence: int
    digest: str


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What `verify_audit` found: how many entries, the last one, and the first fault in words, if there is one."""

    entries: int
    head: Anchor
    fault: str | None


def append_audit(
    connection: Connection,
    *,
    actor: str,
    action: str,
    subject: str,
    now: int,
    result: AuditResult = AuditResult.DONE,
    reason: str = "",
    old: Mapping[str, Any] | None = None,
    new: Mapping[str, Any] | None = None,
) -> AuditEntry:
    """Add an entry to the end of the chain, in the caller's transaction: it is there if and only if the change is.

    Other writers wait from here to the end of that transaction, so call it last. Card numbers in texts are masked.
    `InvalidInputError` names a text that is empty or too long.
    """
    texts = {"actor": actor, "action": action, "subject": subject, "reason": reason}
    for name, text in texts.items():
        if len(text) > _LENGTHS[name] or (name != "reason" and not text):
            message = f"{name} has 1 to {_LENGTHS[name]} characters"
            raise InvalidInputError(message, field=name)
    sequence, previous_digest = _lock_head(connection)
    values: dict[str, Any] = {
        "sequence": sequence + 1,
        "at": now,
        **{name: _safe(text)[: _LENGTHS[name]] for name, text in texts.items()},
        "result": result.value,
        "old": _safe(dict(old or {})),
        "new": _safe(dict(new or {})),
        "previous_digest": previous_digest,
    }
    values["digest"] = entry_digest(values)
    connection.execute(insert(audit_entry), values)
    connection.execute(
        update(audit_head).where(audit_head.c.id == _HEAD).values(sequence=sequence + 1, digest=values["digest"])
    )
    return AuditEntry(**values)


def list_audit(
    connection: Connection, *, subject: str | None = None, action: str | None = None, limit: int = 100
) -> list[AuditEntry]:
    """The latest entries, newest first, of one subject or action where one is named."""
    statement = select(audit_entry).order_by(audit_entry.c.sequence.desc()).limit(limit)
    for column, value in ((audit_entry.c.subject, subject), (audit_entry.c.action, action)):
        if value is not None:
            statement = statement.where(column == value)
    return [_entry(row) for row in connection.execute(statement)]


def verify_audit(connection: Connection, anchor: Anchor | None = None) -> AuditReport:
    """Read the whole chain and check every digest, the end, and `anchor` if one was kept. Stops at the first fault."""
    before = Anchor(0, GENESIS)
    anchored = anchor in (None, before)
    statement = select(audit_entry).order_by(audit_entry.c.sequence)
    with connection.execute(statement.execution_options(yield_per=_FETCHED_AT_ONCE)) as rows:
        for entry in map(_entry, rows):
            fault = _fault(entry, before)
            if fault is not None:
                return AuditReport(before.sequence, before, fault)
            before = Anchor(entry.sequence, entry.digest)
            anchored = anchored or before == anchor
    head = connection.execute(select(audit_head.c.sequence, audit_head.c.digest)).one_or_none()
    fault = None
    if Anchor(*(head or (0, GENESIS))) != before:
        fault = "the end of the log is not the recorded one: entries were removed or added at the end"
    elif not anchored:
        fault = "the log does not hold the entry that was kept as anchor"
    return AuditReport(before.sequence, before, fault)


def entry_digest(values: Mapping[str, Any]) -> str:
    """Hexadecimal SHA-256 over an entry's fields, in the order of the table, as JSON without spaces, keys sorted."""
    fields = [values[column.name] for column in audit_entry.c if column.name != "digest"]
    data = json.dumps([_FORMAT, *fields], sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(data.encode()).hexdigest()


def _fault(entry: AuditEntry, before: Anchor) -> str | None:
    if entry.sequence != before.sequence + 1:
        return f"entry {before.sequence + 1} is missing"
    if entry.previous_digest != before.digest:
        return f"entry {entry.sequence} does not follow the one before it"
    values = {column.name: getattr(entry, column.name) for column in audit_entry.c}
    if entry_digest(values) != entry.digest:
        return f"entry {entry.sequence} was changed"
    return None


def _lock_head(connection: Connection) -> tuple[int, str]:
    statement = select(audit_head.c.sequence, audit_head.c.digest).where(audit_head.c.id == _HEAD).with_for_update()
    found = connection.execute(statement).one_or_none()
    if found is None:
        insert_ignore(connection, audit_head, [{"id": _HEAD, "sequence": 0, "digest": GENESIS}], ["id"])
        found = connection.execute(statement).one()
    return found.sequence, found.digest


def _safe(value: Any) -> Any:
    """Plain data as it will be read back, without card numbers in its texts."""
    if isinstance(value, str):
        return _GUARD.redact(storable_text(value, None))
    if isinstance(value, Mapping):
        return {str(_safe(str(key))): _safe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_safe(item) for item in value]
    return value


def _entry(row: Row[Any]) -> AuditEntry:
    return AuditEntry(**row._mapping)
