"""The worker's own HTTP server: `/metrics`, `/healthz/live` and `/healthz/ready`. It answers GET and nothing else.

Live is about the loop alone: a broker or a database that is away must not get the worker killed. Ready is about all of
it.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

from sqlalchemy import Engine, literal, select
from sqlalchemy.exc import SQLAlchemyError

from fraud.errors import ConfigurationError
from fraud.settings import MonitoringSettings
from fraud.store.database import read
from streams.metrics import CONTENT_TYPE
from streams.observer import MetricsObserver

_REMEMBERED_SECONDS: Final = 1.0  # an answer about the database; however often one asks
_REQUEST_SECONDS: Final = 5.0
_JSON: Final = "application/json"


class Health:
    """What the probes say."""

    def __init__(self, observer: MetricsObserver, engine: Engine) -> None:
        self.observer = observer
        self._engine = engine
        self._lock = threading.Lock()
        self._asked_at: float | None = None
        self._reachable = False

    def live(self) -> list[str]:
        """Why the worker is not alive; empty when it is."""
        return [] if self.observer.live() else ["the loop stands still"]

    def ready(self) -> list[str]:
        """Why the worker is not ready; empty when it is."""
        away = [] if self._database_answers() else ["the database does not answer"]
        return [*away, *self.live(), *self.observer.not_ready_because()]

    def _database_answers(self) -> bool:
        with self._lock:
            if self._asked_at is None or time.monotonic() - self._asked_at >= _REMEMBERED_SECONDS:
                try:
                    with read(self._engine) as connection:
                        connection.execute(select(literal(1)))
                    self._reachable = True
                except SQLAlchemyError:
                    self._reachable = False
                self._asked_at = time.monotonic()
            return self._reachable


@contextmanager
def monitoring_server(settings: MonitoringSettings, health: Health) -> Iterator[tuple[str, int] | None]:
    """Serve metrics and probes for as long as the context lasts; gives host and port, or None when it is off.

    `ConfigurationError` when the address is taken or is not this machine's.
    """
    if settings.port is None:
        yield None
        return
    routes: dict[str, Callable[[], tuple[HTTPStatus, str, bytes]]] = {
        "/metrics": lambda: (HTTPStatus.OK, CONTENT_TYPE, health.observer.metrics.expose()),
        "/healthz/live": lambda: _probe(health.live()),
        "/healthz/ready": lambda: _probe(health.ready()),
    }

    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_SECONDS
        server_version = "mimamori"
        sys_version = ""

        def do_GET(self) -> None:
            route = routes.get(self.path.partition("?")[0])
            status, content_type, body = route() if route else (HTTPStatus.NOT_FOUND, _JSON, b"{}")
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
            """Probes come every few seconds; none is worth a line."""

    try:
        server = ThreadingHTTPServer((settings.host, settings.port), Handler)
    except OSError as error:
        message = "monitoring.host and monitoring.port cannot be listened on: taken, or not this machine's"
        raise ConfigurationError(message) from error
    thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="monitoring", daemon=True)
    thread.start()
    try:
        yield settings.host, server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _probe(reasons: list[str]) -> tuple[HTTPStatus, str, bytes]:
    status = HTTPStatus.SERVICE_UNAVAILABLE if reasons else HTTPStatus.OK
    return status, _JSON, json.dumps({"status": "failing" if reasons else "ok", "reasons": reasons}).encode()
