"""Child processes that never outlive the command that started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fraud.errors import UnavailableError
from streams.embedded import die_with_parent

_STOP_SECONDS = 25


@contextmanager
def child(arguments: list[str], environment: Mapping[str, str], log_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `mimamori ARGUMENTS` for as long as the context lasts; SIGTERM at the end, SIGKILL if that is not heard.

    It gets a session of its own, so that Ctrl-C on the terminal reaches the parent alone, which then ends things in
    order.
    """
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("ab") as log:
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-m", "fraud.cli", *arguments],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - sets one flag, takes no lock
        )
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(timeout=_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def check_alive(process: subprocess.Popen[bytes], name: str, log_file: Path) -> None:
    """Raise with the end of its log if the child has ended."""
    if process.poll() is None:
        return
    lines = log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-5:]
    message = f"{name} ended with code {process.returncode}; the end of {log_file}:\n" + "\n".join(lines)
    raise UnavailableError(message)


def wait_until_up(url: str, process: subprocess.Popen[bytes], log_file: Path, seconds: float = 60) -> None:
    """Wait until a page of our own server answers."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        check_alive(process, "the API", log_file)
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - our own address
                return
        except OSError:
            time.sleep(0.2)
    message = f"the API did not come up within {seconds:.0f} s; see {log_file}"
    raise UnavailableError(message)
