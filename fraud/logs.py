"""Structured logs: JSON lines, or readable lines on a terminal. Whatever could be a card number is masked last."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
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
    renderer: Any = structlog.processors.JSONRenderer() if json_lines else structlog.dev.ConsoleRenderer()
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
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[_drop_internals, renderer, mask_card_numbers],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.WARNING)
    for name in ("fraud", "models", "streams"):
        logging.getLogger(name).setLevel(level)


def _drop_internals(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return structlog.stdlib.ProcessorFormatter.remove_processors_meta(_logger, _method, event)
