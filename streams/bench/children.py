"""Measured parts run in processes of their own: what they are told comes on standard input, what they say is JSON."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fraud.errors import UnavailableError
from streams.embedded import die_with_parent

_END_SECONDS = 60

Progress = Callable[[int], None]


def read_task() -> dict[str, Any]:
    """In a child: what it is told to do."""
    task: dict[str, Any] = json.load(sys.stdin)
    return task


def tell(**facts: Any) -> None:
    """In a child: say something to the parent, as one line."""
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()


class Child:
    """A measuring process. `facts` are what it has told so far, the later over the earlier."""

    def __init__(self, module: str, task: Mapping[str, Any], log_file: Path) -> None:
        self._name = module.rpartition(".")[2]
        self._log_file = log_file
        self.facts: dict[str, Any] = {}
        self._unfinished = b""  # the beginning of a line whose end has not come yet
        log_file.parent.mkdir(parents=True, exist_ok=True)
        with log_file.open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - sets one flag, takes no lock
            )
        if self.process.stdin is not None:  # secrets of the settings go through a pipe, never through a file
            self.process.stdin.write(json.dumps(task).encode())
            self.process.stdin.close()

    def wait_for(self, fact: str, seconds: float, progress: Progress | None = None) -> Any:
        """Wait until the child tells `fact`, `seconds` after its last sign of life at the latest."""
        for line in self._lines(seconds):
            if progress is not None and "progress" in line:
                progress(int(line["progress"]))
            if fact in self.facts:
                return self.facts[fact]
        message = f"the bench's {self._name} process ended without a result; the end of its log:\n{self._log_end()}"
        raise UnavailableError(message)

    def end(self) -> None:
        """Wait for its end; one that does not come to it is killed."""
        try:
            self.process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()
        self.process.wait()

    def _lines(self, seconds: float) -> Iterator[dict[str, Any]]:
        """Lines as they come; the last one at the end of the process. `UnavailableError` when it falls silent."""
        pipe = self.process.stdout
        if pipe is None:
            return
        yield {}  # what was told before is there already
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            deadline = time.monotonic() + seconds
            while True:
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    message = (
                        f"the bench's {self._name} process has said nothing for {seconds:.0f} s; the end of its log:"
                    )
                    raise UnavailableError(f"{message}\n{self._log_end()}")
                data = os.read(pipe.fileno(), 65_536)
                if not data:
                    return
                deadline = time.monotonic() + seconds
                *lines, self._unfinished = (self._unfinished + data).split(b"\n")
                told = [json.loads(line) for line in lines]
                for line in told:
                    self.facts.update(line)
                yield from told

    def _log_end(self) -> str:
        lines = self._log_file.read_text(encoding="utf-8", errors="replace").splitlines()[-8:]
        return "\n".join(lines)


@contextmanager
def child(module: str, task: Mapping[str, Any], log_file: Path) -> Iterator[Child]:
    """Run `python -m module` for as long as the context lasts."""
    running = Child(module, task, log_file)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.kill()
        if running.process.stdout is not None:
            running.process.stdout.close()
