"""Starts real processes of the command line quickly: they are forked from one that has imported the libraries already.

Importing scikit-learn and its like takes seconds, and a run starts hundreds of workers. Our own modules are imported
in each process anew, after its crash point has been put in.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final, Self

from streams.embedded import die_with_parent

# What takes long to import. None of ours, and nothing that starts threads which a fork would lose.
LIBRARIES: Final = (
    *("numpy", "numba", "scipy.special", "scipy.stats", "sklearn.ensemble", "sklearn.isotonic", "joblib", "polars"),
    *("deltalake", "sqlalchemy", "sqlalchemy.dialects.postgresql.psycopg", "psycopg", "alembic.command", "kafka"),
    *("kafka.admin", "pydantic_settings", "typer", "rich.progress", "msgspec", "structlog", "prometheus_client"),
    *("fastapi", "jinja2", "argon2"),
)
_MAIN = Path(__file__).with_name("worker_main.py")


class Process:
    """A process that a launcher has started; what `subprocess.Popen` offers of it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = threading.Event()

    def ended(self, code: int) -> None:
        """The launcher has seen its end."""
        self.returncode = code
        self._ended.set()

    def poll(self) -> int | None:
        """Its code when it has ended: negative for a signal."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; `subprocess.TimeoutExpired` when it does not come in time."""
        if not self._ended.wait(timeout):
            raise subprocess.TimeoutExpired("worker", timeout or 0.0)
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: signal.Signals) -> None:
        """Send it a signal, if it is there."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


class Launcher:
    """The process that others are forked from. To be used from the main thread."""

    def __init__(self) -> None:
        self._helper = subprocess.Popen(
            [sys.executable, str(Path(__file__))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - sets one flag, takes no lock
        )
        self._processes: dict[int, Process] = {}
        self._early: dict[int, int] = {}
        self._started = threading.Semaphore(0)
        self._lock = threading.Lock()
        self._last = 0
        self._reader = threading.Thread(target=self._read, name="launcher", daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._helper.stdin is not None
        assert self._helper.stdout is not None
        self._helper.stdin.close()
        self._helper.wait(20)
        self._reader.join(5)
        self._helper.stdout.close()

    def start(
        self,
        arguments: list[str],
        environment: dict[str, str],
        folder: Path,
        log: Path,
        limits: dict[str, int] | None = None,
    ) -> Process:
        """Start `mimamori ARGUMENTS` in a folder, output to `log`; `limits` are of `resource`, by name."""
        asked = {"arguments": arguments, "environment": environment, "folder": str(folder), "log": str(log)}
        assert self._helper.stdin is not None
        self._helper.stdin.write(json.dumps(asked | {"limits": limits or {}}) + "\n")
        self._helper.stdin.flush()
        if not self._started.acquire(timeout=120):
            message = "the launcher does not answer"
            raise RuntimeError(message)
        with self._lock:
            process = self._processes[self._last] = Process(self._last)
            if self._last in self._early:
                process.ended(self._early.pop(self._last))
        return process

    def _read(self) -> None:
        assert self._helper.stdout is not None
        for line in self._helper.stdout:
            what, pid, code = line.split()
            with self._lock:
                if what == "started":
                    self._last = int(pid)
                    self._started.release()
                elif int(pid) in self._processes:
                    self._processes.pop(int(pid)).ended(int(code))
                else:
                    self._early[int(pid)] = int(code)


# --- the launcher's own process -------------------------------------------------------------------------------------


def _serve() -> None:
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            __import__(name)
    children: set[int] = set()
    os.set_blocking(0, False)
    rest = b""
    while True:
        try:
            read = os.read(0, 1 << 20)
        except BlockingIOError:
            read = None
        if read == b"":
            break
        rest += read or b""
        *complete, rest = rest.split(b"\n")
        for line in complete:
            pid = os.fork()
            if pid == 0:
                _become(json.loads(line))
            children.add(pid)
            _say("started", pid, 0)
        for pid in list(children):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                children.discard(pid)
                _say("ended", pid, os.waitstatus_to_exitcode(status))
        if not complete:
            time.sleep(0.01)
    for pid in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _say(what: str, pid: int, code: int) -> None:
    sys.stdout.write(f"{what} {pid} {code}\n")
    sys.stdout.flush()


def _become(asked: dict[str, Any]) -> None:
    """In the child: be the command line."""
    code = 1
    try:
        die_with_parent()
        log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        null = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, null), (1, log), (2, log)):
            os.dup2(source, target)
        for name, value in asked["limits"].items():
            resource.setrlimit(getattr(resource, name), (value, value))
        os.chdir(asked["folder"])
        os.environ.update(asked["environment"])
        sys.argv = [str(_MAIN), *asked["arguments"]]
        import worker_main

        worker_main.run()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does: show it, code 1
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            threading._shutdown()  # type: ignore[attr-defined]  # what the interpreter does at its end
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    _serve()
