"""Files of card reference data into the store, a part at a time: what is taken up stays, and again is the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sqlalchemy import Engine

from fraud.alert_files.references import ReferenceFile
from fraud.errors import InvalidInputError
from fraud.store.card_references import ReferenceReport, apply_reference_changes, record_reference_load
from fraud.store.database import write
from fraud.store.statements import chunks

_ROWS_AT_ONCE: Final = 5_000
_MOST_MALFORMED: Final = 0.5
_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of a file: what its changes did, and rows that were not taken, by line and reason."""

    sha256: str
    report: ReferenceReport
    malformed: int
    reasons: dict[str, int]
    malformed_rows: tuple[tuple[int, str], ...]  # the first hundred of them


def load_references(
    engine: Engine,
    open_file: Callable[[], ReferenceFile],
    *,
    name: str,
    complete: bool,
    loaded_by: str,
    now: Callable[[], int],
    progress: Callable[[int, int], None],
) -> LoadReport:
    """Take up a file of reference data, once it has been read to its end without an error.

    Each part is a transaction of its own: a crash in the middle leaves the parts before it, and the same file again
    goes on from there. `InvalidInputError` where most rows are none; nothing is taken up then.
    """
    reasons: Counter[str] = Counter()
    shown: list[tuple[int, str]] = []
    rows = 0
    checked = open_file()
    for row in checked.rows():
        rows += 1
        if row.problem is not None:
            reasons[row.problem] += 1
            if len(shown) < _SHOWN:
                shown.append((row.line, row.problem))
    malformed = reasons.total()
    if malformed > _MOST_MALFORMED * rows:
        worst = ", ".join(f"{reason} in {number:,}" for reason, number in reasons.most_common(3))
        message = f"{malformed:,} of {rows:,} rows cannot be taken ({worst}); nothing was changed"
        raise InvalidInputError(message, field="file")
    if complete and malformed:
        message = f"the file is said to name every card, and {malformed:,} of its rows cannot be read"
        raise InvalidInputError(message, field="complete")
    report = ReferenceReport()
    again = open_file()
    changes = (row.change for row in again.rows() if row.change is not None)
    for part in chunks(changes, _ROWS_AT_ONCE):
        with write(engine) as connection:
            report = report.plus(apply_reference_changes(connection, part, now()))
        progress(report.rows, again.lines)
    with write(engine) as connection:
        record_reference_load(
            connection,
            name=name,
            sha256=again.sha256,
            report=report,
            malformed=malformed,
            complete=complete,
            loaded_by=loaded_by,
            now=now(),
        )
    return LoadReport(again.sha256, report, malformed, dict(reasons), tuple(shown))
