"""A service in a child process: it never outlives the tests, and it says why where it does not come up."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from streams.embedded import die_with_parent

_START_SECONDS = 90
_STOP_SECONDS = 20


class ServiceError(Exception):
    """A service is not to be had here, or does not come up; the message says what to install or where to look."""


class ServiceProcess:
    """One server process, its log file, and the ways in which it can end."""

    def __init__(self, command: Sequence[str], log_file: Path, **options: Any) -> None:
        self._log_file = log_file
        with log_file.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - sets one flag, takes no lock
                **options,
            )

    def wait_until(self, is_up: Callable[[], bool], name: str) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                break
            if is_up():
                return
            time.sleep(0.05)
        self.end(signal.SIGKILL)
        lines = self._log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
        message = f"{name} did not come up; the end of {self._log_file}:\n" + "\n".join(lines)
        raise ServiceError(message)

    def end(self, how: signal.Signals) -> None:
        """Send a signal and wait; a server that does not hear it is killed."""
        if self._process.poll() is None:
            self._process.send_signal(how)
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def is_open(port: int) -> bool:
    """Whether anybody listens on a port of the loopback interface."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0
