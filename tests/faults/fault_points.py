"""Crash points: places in the worker's way where a process is told to die, to stop or to be slow.

Nothing of this is in the product. The functions and methods that mark a place are wrapped before the command line is
imported. What to do is told by environment variables:

FAULT_POINT   the place, a key of `POINTS`
FAULT_PASSING at which passing of it, 1 is the first
FAULT_HOW     `kill` (SIGKILL to itself), `stop` (SIGSTOP to itself), `wait` (hang until killed), `raise` (an OSError)
FAULT_ARMED   a file; passings count from its creation on (without it: from the start)
FAULT_MARK    a file that the place's name is written to before anything happens, for the test to see

FAULT_METADATA_AGE_MS is the client's `metadata_max_age_ms`, whose default of five minutes is too long to wait for.
"""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

# place: what is wrapped ("module:name" or "module:class.method"), and whether it strikes before or after it.
POINTS: Final[Mapping[str, tuple[str, str]]] = {
    "after poll": ("kafka:KafkaConsumer.poll", "after with records"),
    "after decoding": ("streams.wire:Decoder.decode", "after"),
    "before the transaction": ("fraud.store.effects:commit_effects", "before"),
    "position moved, effects not written": ("fraud.store.effects:store_detections", "before"),
    "before the dead-letter rows": ("fraud.store.effects:_store_dead_letters", "before"),
    "after the dead-letter rows": ("fraud.store.effects:_store_dead_letters", "after"),
    "before COMMIT": ("fraud.store.effects:commit_effects", "after"),
    "after COMMIT": ("sqlalchemy.engine.default:DefaultDialect.do_commit", "after effects"),
    "before the Kafka commit": ("kafka:KafkaConsumer.commit_async", "before"),
    "during the Kafka commit": ("kafka:KafkaConsumer.commit_async", "a moment after"),
    "in the listener, gained": ("streams.assignment:Assignments.on_partitions_assigned", "before"),
    "in the listener, lost": ("streams.assignment:Assignments.on_partitions_revoked", "before"),
    "claimed, before the seek": ("fraud.store.effects:claim_position", "after"),
    "in the silent replay": ("streams.pipeline:Pipeline.replay", "after"),
    "before the model is loaded": ("fraud.cli.wiring:load_champion", "before"),
    "after the model is loaded": ("fraud.cli.wiring:load_champion", "after"),
    "archive file written, not committed": ("streams.archive.table:ArchiveTable.commit", "before"),
    "after the archive's commit": ("streams.archive.table:ArchiveTable.commit", "after"),
    "in the middle of a state file": ("models.files:replacing", "in the context"),
    "before a checkpoint is registered": ("fraud.store.operations:register_checkpoint", "before"),
    "after a checkpoint is registered": ("fraud.store.operations:register_checkpoint", "after"),
    "in the middle of an alert file": ("fraud.store.exposure_imports:insert_ignore", "after"),
    "before an alert file is committed": ("fraud.store.exposure:import_exposed_cards", "after"),
}

_in_effects = threading.local()  # set between the effects' statements and their COMMIT, on the thread that does both


class Striker:
    """Counts passings and strikes at the one that is told."""

    def __init__(self, place: str, passing: int, how: str, armed: Path | None, mark: Path | None) -> None:
        self._place, self._passing, self._how = place, passing, how
        self._armed, self._mark = armed, mark
        self._lock = threading.Lock()
        self._passed = 0

    def pass_by(self) -> None:
        """Called at the place. Strikes once."""
        with self._lock:
            if self._armed is not None and not self._armed.exists():
                return
            self._passed += 1
            if self._passed != self._passing:
                return
        if self._mark is not None:
            self._mark.write_text(f"{self._place}, passing {self._passing}\n", encoding="utf-8")
        if self._how == "raise":
            message = "planted: no space left"
            raise OSError(28, message)
        if self._how == "wait":
            while True:
                time.sleep(60)
        os.kill(os.getpid(), signal.SIGSTOP if self._how == "stop" else signal.SIGKILL)


def wrap(target: str, make: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Replace "module:name" or "module:class.method" by what `make` makes of it. Fails when it is not there."""
    module, _, path = target.partition(":")
    owner: Any = importlib.import_module(module)
    *classes, name = path.split(".")
    for item in classes:
        owner = getattr(owner, item)
    setattr(owner, name, make(getattr(owner, name)))


def install(environment: Mapping[str, str] = os.environ) -> None:
    """Wrap the place that the environment names; nothing when it names none."""
    if "FAULT_METADATA_AGE_MS" in environment:
        from kafka import KafkaConsumer

        KafkaConsumer.DEFAULT_CONFIG["metadata_max_age_ms"] = int(environment["FAULT_METADATA_AGE_MS"])
    place = environment.get("FAULT_POINT")
    if not place:
        return
    target, when = POINTS[place]
    files = [Path(environment[name]) if name in environment else None for name in ("FAULT_ARMED", "FAULT_MARK")]
    passing, how = int(environment.get("FAULT_PASSING", "1")), environment.get("FAULT_HOW", "kill")
    striker = Striker(place, passing, how, *files)
    if when == "after effects":
        wrap("fraud.store.effects:commit_effects", _noting_effects)
    wrap(target, lambda original: _struck(original, striker, when))
    sys.stderr.write(f"fault point: {place}, passing {passing}, {how}\n")


def _noting_effects(original: Callable[..., Any]) -> Callable[..., Any]:
    def noting(*args: Any, **kwargs: Any) -> Any:
        result = original(*args, **kwargs)
        _in_effects.now = True
        return result

    return noting


def _struck(original: Callable[..., Any], striker: Striker, when: str) -> Callable[..., Any]:
    def struck(*args: Any, **kwargs: Any) -> Any:
        if when == "before":
            striker.pass_by()
        noted = getattr(_in_effects, "now", False)
        _in_effects.now = False
        result = original(*args, **kwargs)
        if when == "after" or (when == "after with records" and result) or (when == "after effects" and noted):
            striker.pass_by()
        elif when == "a moment after":  # the request is under way by then, its answer not there
            threading.Timer(0.001, striker.pass_by).start()
        return result

    @contextmanager
    def within(*args: Any, **kwargs: Any) -> Any:
        with original(*args, **kwargs) as given:
            yield given
            striker.pass_by()  # written, and not under its name yet

    return within if when == "in the context" else struck
