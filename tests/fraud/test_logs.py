"""Canaries: card numbers put into logs in every way that we could think of come out masked, whoever logs them."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from fraud.logs import configure_logging, mask_card_numbers

ROOT = Path(__file__).parents[2]
PAN = "4111111111111111"
# Test numbers of all large networks, from 14 to 19 digits.
NUMBERS = (
    *(PAN, "5555555555554444", "2223003122003222", "378282246310005", "3530111333300000", "6212345678901232"),
    *("30569309025904", "6011111111111117", "6304000000000000000"),
)
KEPT = {
    "offset": 123_456_789,
    "at_ms": 1_795_423_806_702,
    "digest": "ab" * 32,
    "uuid": "0b9f5a5e-6f6c-4f0e-9d53-2f1c1d4a7e11",
}

_SCRIPT = """
import logging, sys, threading, warnings
import structlog
from fraud.logs import configure_logging

configure_logging(json_lines=sys.argv[1] == "json")
NUMBERS = {numbers!r}
PAN = NUMBERS[0]
log = structlog.get_logger("streams.canary")
library = logging.getLogger("kafka.canary")

for number in NUMBERS:
    log.info("message " + number)
    log.info(" ".join(number[at:at + 4] for at in range(0, len(number), 4)))
    log.info("-".join(number[at:at + 4] for at in range(0, len(number), 4)))
    log.info("as a value", value=number, number=int(number), real=float(number), bytes=number.encode())
log.info("wide", value=PAN.translate({{ord(str(d)): 0xFF10 + d for d in range(10)}}))
log.info("no-break spaces", value="\\u00a0".join(PAN[at:at + 4] for at in range(0, 16, 4)))
log.info("nested", value={{"a": [{{"b": (PAN, int(PAN), {{PAN: PAN, int(PAN): 1}})}}, {{PAN}}]}})
log.info("in a key", **{{"field_" + PAN: 1, PAN: 2}})
log.bind(bound=PAN).info("bound")
with structlog.contextvars.bound_contextvars(context=int(PAN)):
    log.info("in the context")

class Opaque:
    def __repr__(self):
        return f"<record {{PAN}}>"

log.info("an object", value=Opaque(), inside=[Opaque()])
log.info("inside quotes", value='{{"card": "' + PAN + '", "n": ' + PAN + "}}")
try:
    try:
        raise KeyError(PAN)
    except KeyError as error:
        error.add_note("a note with " + PAN)
        raise ValueError("a value error of " + PAN) from error
except ValueError as error:
    log.exception("an exception")
    log.warning("its text", error=str(error), errors=[error])
    library.exception("a library's exception")
library.warning("a library's message %s and %d and %r", PAN, int(PAN), PAN.encode())
library.warning("by name %(card)s", {{"card": PAN}})
library.error("with extra", extra={{"card": PAN}})
library.warning("arguments that do not fit %d", PAN)
library.warning(Opaque())
warnings.warn("a warning about " + PAN)

def fail():
    raise RuntimeError("in a thread " + PAN)

thread = threading.Thread(target=fail)
thread.start()
thread.join()

class Careless:
    def __del__(self):
        raise RuntimeError("nobody can catch this " + PAN)

Careless()
log.info("kept", **{kept!r})
raise SystemError("the end of " + PAN)
"""


def logged(tmp_path: Path, form: str) -> str:
    script = tmp_path / "canary.py"
    script.write_text(_SCRIPT.format(numbers=NUMBERS, kept=KEPT), encoding="utf-8")
    command = [sys.executable, str(script), form]
    done = subprocess.run(
        command, capture_output=True, cwd=ROOT, check=False, env={"PYTHONPATH": str(ROOT), "NO_COLOR": "1"}
    )
    assert done.returncode == 1
    assert done.stdout == b""
    return done.stderr.decode()


@pytest.mark.parametrize("form", ["json", "text"])
def test_no_card_number_leaves_by_a_log(tmp_path: Path, form: str) -> None:
    output = logged(tmp_path, form)
    # Whatever stands between the digits, and however they are written.
    read = re.sub(r"\\+[ux]([0-9a-fA-F]{4}|[0-9a-fA-F]{2})", lambda escape: chr(int(escape[1], 16)), output)
    bare = re.sub(r"[ \u00a0-]", "", read.translate({0xFF10 + digit: str(digit) for digit in range(10)}))
    for number in NUMBERS:
        assert number not in bare, "a card number got through"
    masked = output.count("••••1111")
    assert masked >= 30
    for number in NUMBERS[1:]:
        assert output.count(f"••••{number[-4:]}") >= 7


def test_every_line_is_json_even_where_a_number_was_masked(tmp_path: Path) -> None:
    lines = logged(tmp_path, "json").splitlines()
    unformatted = [line for line in lines if not line.startswith("{")]
    # The one line that could not be made tells where, and not of what.
    assert [line.split(" (")[0] for line in unformatted] == ["a log line of kafka.canary"]
    events = [json.loads(line) for line in lines if line.startswith("{")]
    assert all({"event", "level", "timestamp", "logger"} <= set(event) for event in events)
    uncaught = [event["where"] for event in events if event["event"] == "uncaught exception"]
    assert uncaught[0].startswith("Thread-1")
    assert uncaught[-1] == "main thread"
    assert len(uncaught) == 3
    assert "SystemError: the end of ••••1111" in events[-1]["exception"]
    kept = next(event for event in events if event["event"] == "kept")
    assert {name: kept[name] for name in KEPT} == KEPT  # what is no card number is what it was, numbers as numbers


def test_masking_is_the_last_step_whatever_else_is_there() -> None:
    root = logging.getLogger()
    before, level, hook = root.handlers[:], root.level, sys.excepthook
    try:
        configure_logging(json_lines=True)
        (handler,) = root.handlers
        formatter = handler.formatter
        assert isinstance(formatter, structlog.stdlib.ProcessorFormatter)
        assert formatter.processors[-1] is mask_card_numbers
        assert mask_card_numbers(None, "info", f"{PAN}".encode()) == "••••1111"
    finally:
        root.handlers[:] = before
        root.setLevel(level)
        sys.excepthook = hook
        logging.captureWarnings(False)
