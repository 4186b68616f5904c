"""The audit chain: what breaks it, and that writers at once still make one."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, delete, insert, select, update

from fraud.errors import InvalidInputError
from fraud.store.audit import Anchor, AuditResult, append_audit, entry_digest, list_audit, verify_audit
from fraud.store.database import read, write
from fraud.store.tables import audit_entry, audit_head

NOW = 1_675_000_000_000
PAN = "4111111111111111"


def append(engine: Engine, number: int, **changes: Any) -> None:
    with write(engine) as connection:
        values = {"actor": "hanako", "action": "test", "subject": f"thing-{number}", "new": {"number": number}}
        append_audit(connection, now=NOW + number, **(values | changes))


def fault(engine: Engine, anchor: Anchor | None = None) -> str | None:
    with read(engine) as connection:
        return verify_audit(connection, anchor).fault


def test_a_log_that_nobody_touched_verifies(engine: Engine) -> None:
    assert fault(engine) is None
    append(engine, 1, reason="because", old={"list": [1, 2.5, None, True], "text": "店\x00\ud800"})
    append(engine, 2, result=AuditResult.REFUSED)
    append(engine, 3)
    with read(engine) as connection:
        report = verify_audit(connection)
        entries = list_audit(connection)
    assert (report.entries, report.fault) == (3, None)
    assert [entry.sequence for entry in entries] == [3, 2, 1]
    assert entries[0].digest == report.head.digest
    assert entries[1].result == "REFUSED"


def test_entries_are_found_by_subject_and_action(engine: Engine) -> None:
    append(engine, 1)
    append(engine, 2, action="other")
    append(engine, 3, subject="thing-1", action="other")
    with read(engine) as connection:
        assert [entry.sequence for entry in list_audit(connection, subject="thing-1")] == [3, 1]
        assert [entry.sequence for entry in list_audit(connection, subject="thing-1", action="other")] == [3]
        assert [entry.sequence for entry in list_audit(connection, limit=2)] == [3, 2]


def _change(**changes: Any) -> Callable[[Connection], object]:
    return lambda connection: connection.execute(
        update(audit_entry).where(audit_entry.c.sequence == 2).values(**changes)
    )


def _remove(sequence: int) -> Callable[[Connection], object]:
    return lambda connection: connection.execute(delete(audit_entry).where(audit_entry.c.sequence == sequence))


def _rewrite_one_digest(connection: Connection) -> None:
    row = dict(connection.execute(select(audit_entry).where(audit_entry.c.sequence == 2)).mappings().one())
    row["actor"] = "somebody-else"
    row["digest"] = entry_digest(row)
    connection.execute(update(audit_entry).where(audit_entry.c.sequence == 2).values(row))


def _add_at_the_end(connection: Connection) -> None:
    row = dict(connection.execute(select(audit_entry).where(audit_entry.c.sequence == 3)).mappings().one())
    row |= {"sequence": 4, "previous_digest": row["digest"]}
    row["digest"] = entry_digest(row)
    connection.execute(insert(audit_entry).values(row))


@pytest.mark.parametrize(
    ("tamper", "found"),
    [
        (_change(actor="somebody-else"), "entry 2 was changed"),
        (_change(at=NOW), "entry 2 was changed"),
        (_change(action="nothing"), "entry 2 was changed"),
        (_change(subject="thing-9"), "entry 2 was changed"),
        (_change(result="FAILED"), "entry 2 was changed"),
        (_change(reason="none"), "entry 2 was changed"),
        (_change(old={"number": 1}), "entry 2 was changed"),
        (_change(new={"number": 3}), "entry 2 was changed"),
        (_change(previous_digest="0" * 64), "entry 2 does not follow"),
        (_change(digest="0" * 64), "entry 2 was changed"),
        (_remove(1), "entry 1 is missing"),
        (_remove(2), "entry 2 is missing"),
        (_remove(3), "the end of the log"),
        (_rewrite_one_digest, "entry 3 does not follow"),
        (_add_at_the_end, "the end of the log"),
    ],
)
def test_tampering_is_found(engine: Engine, tamper: Callable[[Connection], object], found: str) -> None:
    for number in (1, 2, 3):
        append(engine, number)
    assert fault(engine) is None
    with write(engine) as connection:
        tamper(connection)
    assert (fault(engine) or "").startswith(found)


def test_a_log_that_was_cut_and_closed_again_is_found_by_an_anchor(engine: Engine) -> None:
    for number in (1, 2, 3):
        append(engine, number)
    with read(engine) as connection:
        anchor = verify_audit(connection).head
    with write(engine) as connection:
        _remove(3)(connection)
        before = connection.execute(select(audit_entry.c.digest).where(audit_entry.c.sequence == 2)).scalar_one()
        connection.execute(update(audit_head).values(sequence=2, digest=before))
    assert fault(engine) is None  # nothing inside the database can tell
    assert fault(engine, anchor) is not None
    append(engine, 4)
    assert fault(engine, anchor) is not None  # another third entry


def test_an_anchor_that_still_holds(engine: Engine) -> None:
    append(engine, 1)
    with read(engine) as connection:
        anchor = verify_audit(connection).head
    append(engine, 2)
    assert fault(engine, anchor) is None


def test_writers_at_once_make_one_chain(engine: Engine) -> None:
    writers, each = 6, 8
    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(lambda writer: [append(engine, writer * 100 + number) for number in range(each)], range(writers)))
    with read(engine) as connection:
        report = verify_audit(connection)
    assert (report.entries, report.fault) == (writers * each, None)


def test_an_entry_is_there_only_with_its_change(engine: Engine) -> None:
    append(engine, 1)

    def change_and_fail() -> None:
        with write(engine) as connection:
            append_audit(connection, actor="hanako", action="test", subject="thing", now=NOW)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        change_and_fail()
    append(engine, 2)
    with read(engine) as connection:
        assert verify_audit(connection).entries == 2
    assert fault(engine) is None


def test_card_numbers_are_masked(engine: Engine) -> None:
    append(
        engine, 1, reason=f"the holder read {PAN} to me", old={"note": [f"{PAN[:4]} {PAN[4:8]} {PAN[8:12]} {PAN[12:]}"]}
    )
    with read(engine) as connection:
        (entry,) = list_audit(connection)
        assert verify_audit(connection).fault is None
    assert PAN not in entry.reason
    assert PAN not in str(entry.old).replace(" ", "")
    assert entry.reason.endswith("1111 to me")


@pytest.mark.parametrize(("field", "value"), [("actor", ""), ("subject", "x" * 257), ("reason", "x" * 2_001)])
def test_texts_have_bounds(engine: Engine, field: str, value: str) -> None:
    with pytest.raises(InvalidInputError) as error:
        append(engine, 1, **{field: value})
    assert error.value.field == field
