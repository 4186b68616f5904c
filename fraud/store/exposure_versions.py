"""One number for everything that people decide about cards and that the stream acts on: the exposure version.

Exposed cards carry it, and so do the patterns that a holder has confirmed. A batch runs under exactly one version.
"""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from fraud.store.statements import insert_ignore
from fraud.store.tables import exposure_version as version_row


def exposure_version(connection: Connection) -> int:
    """The version of everything together; 0 before the first change."""
    return connection.execute(select(version_row.c.version)).scalar() or 0


def next_exposure_version(connection: Connection) -> int:
    """The next version. Its row stays locked until the commit, so commit order is version order."""
    insert_ignore(connection, version_row, [{"id": 1, "version": 0}], ["id"])
    connection.execute(update(version_row).values(version=version_row.c.version + 1))
    return exposure_version(connection)
