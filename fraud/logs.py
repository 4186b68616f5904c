"""Structured logs: JSON lines, or readable lines on a terminal. Whatever could be a card number is masked last."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Mapping, MutableMapping
from types import TracebackType
from typing import Any

import structlog

from fraud.pan_guard import PanGuard

# Logs are masked under the ranges of all networks; the issuer's own prefix here only has to be a valid one.
_GUARD = PanGuard(["4000"], [16])


def mask_card_numbers(_logger: Any, _method: str, line: Any) -> str:
    """Last in the chain, on the finished line: nothing that was logged, by us or by a library, can pass it."""
    return _GUARD.redact(line.decode() if isinstance(line, bytes) else str(line))


def configure_logging(*, json_lines: bool | None = None, level: int = logging.INFO) -> None:
    """Send all logs, the libraries' too, to standard error through one chain.

    Args:
        json_lines: one JSON object a line; None decides by whether standard error is a terminal.
        level: the lowest level shown; libraries show warnings and above.

    """
    if json_lines is None:
        json_lines = not sys.stderr.isatty()
    # Not as escapes, behind which the last step could not see wide digits.
    as_json = structlog.processors.JSONRenderer(ensure_ascii=False)
    renderer: Any = as_json if json_lines else structlog.dev.ConsoleRenderer()
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = _Handler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[_drop_internals, _mask_numbers, renderer, mask_card_numbers],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("fraud", "models", "streams"):
        logging.getLogger(name).setLevel(level)
    _log_what_python_prints()


def _drop_internals(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return structlog.stdlib.ProcessorFormatter.remove_processors_meta(_logger, _method, event)


def _mask_numbers(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """Card numbers that are numbers become text, masked: masked in the finished line they would break its JSON."""
    return {name: _masked_number(value) for name, value in event.items()}


def _masked_number(value: Any) -> Any:
    if isinstance(value, dict):
        return {_masked_number(key): _masked_number(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_masked_number(item) for item in value]
    if isinstance(value, int | float) and not isinstance(value, bool):
        text = str(value)
        masked = _GUARD.redact(text)
        return value if masked == text else masked
    return value


class _Handler(logging.StreamHandler[Any]):
    """Says where a line could not be made, and never shows what it was made of, as the library would."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        error = sys.exc_info()[0]
        reason = error.__name__ if error else "unknown"
        self.stream.write(f"a log line of {record.name} ({record.filename}:{record.lineno}) failed: {reason}\n")


def _log_what_python_prints() -> None:
    """Warnings and uncaught exceptions go the way of all logs: their texts may hold what a record held."""
    logging.captureWarnings(True)

    def log_uncaught(
        kind: type[BaseException], error: BaseException | None, trace: TracebackType | None, where: str
    ) -> None:
        if issubclass(kind, KeyboardInterrupt):
            return
        uncaught = (kind, error if error is not None else kind(), trace)
        structlog.get_logger(__name__).critical("uncaught exception", where=where, exc_info=uncaught)

    sys.excepthook = lambda kind, error, trace: log_uncaught(kind, error, trace, "main thread")
    # Test runners have hooks of their own, which stay.
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = lambda args: log_uncaught(
            args.exc_type, args.exc_value, args.exc_traceback, args.thread.name if args.thread else "thread"
        )
    if sys.unraisablehook is sys.__unraisablehook__:
        sys.unraisablehook = lambda args: log_uncaught(
            args.exc_type, args.exc_value, args.exc_traceback, args.err_msg or "ignored in"
        )
