"""Look-back as a job that never ends: it takes up what imports and amendments ask for."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, Engine

from fraud.clock import Clock
from fraud.policy import Policy
from fraud.settings import Settings
from streams.archive import ArchiveTable
from streams.jobs import JobContext
from streams.lookback.running import Lookbacks


def run_lookbacks(
    context: JobContext,
    load_policy: Callable[[Settings], Policy],
    make_clock: Callable[[Settings, Engine], Clock],
) -> bool:
    """Search until the process stops. What is done is in the tables of the runs, not in the job's own progress."""

    def fence(connection: Connection) -> None:
        context.save(connection, {})

    Lookbacks(
        context.engine,
        context.settings,
        ArchiveTable.from_settings(context.settings),
        lambda: load_policy(context.settings),
        make_clock(context.settings, context.engine),
        context.stopping,
        fence,
    ).run()
    return False
