"""Requests for look-back, written in the transaction that changes who is exposed. A job takes them up."""

from __future__ import annotations

from sqlalchemy import Connection

from fraud.store.statements import insert_ignore
from fraud.store.tables_lookback import lookback_run


def request_lookback(
    connection: Connection, compromise_event_id: str, exposure_version: int, reason: str, now: int
) -> None:
    """Have the past of an event's cards searched: those that this exposure version has added or changed.

    To be called in the transaction that makes the version, so that no change goes without its look-back. The same
    request again changes nothing. `reason` says what made the version, for example `IMPORT` or `AMENDMENT` (at most
    40 characters); `now` is in epoch milliseconds.
    """
    row = {
        "compromise_event_id": compromise_event_id,
        "exposure_version": exposure_version,
        "reason": reason[:40],
        "status": "REQUESTED",
        "coverage": {},
        "requested_at": now,
        "updated_at": now,
    }
    insert_ignore(connection, lookback_run, [row], ["compromise_event_id", "exposure_version"])
