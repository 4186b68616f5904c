"""Signed webhooks: one POST a message, to hosts that the settings allow, without redirects and without patience.

Of an answer only the status is looked at; its body is not read, so it cannot get into a log.
"""

from __future__ import annotations

import hmac
import json
import socket
import ssl
import threading
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Final
from urllib.parse import urlsplit

from fraud.clock import Clock, SystemClock, now_ms
from fraud.errors import ConfigurationError
from fraud.settings import WebhookEndpoint, WebhookSettings
from fraud.store.outbox import OutboxMessage
from streams.delivery import DeliveryError, Fault

SIGNATURE_VERSION: Final = "v1"
# Nothing is wrong with the message: the receiver, or the way to it, cannot take any now.
_RECEIVER_STATUS: Final = frozenset({401, 403, 404, 405, 407, 408, 425, 429})


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """The value of `Mimamori-Signature`: `v1=` and the hexadecimal HMAC-SHA-256 of "{timestamp}.{body}"."""
    return f"{SIGNATURE_VERSION}={hmac.digest(secret.encode(), f'{timestamp}.'.encode() + body, 'sha256').hex()}"


class Webhook:
    """One receiver. `ConfigurationError` when its host is not one that the settings allow."""

    def __init__(self, endpoint: WebhookEndpoint, settings: WebhookSettings, clock: Clock | None = None) -> None:
        parts = urlsplit(endpoint.url)
        if parts.hostname is None or parts.hostname not in settings.allowed_hosts:
            message = f"the host of webhook {endpoint.name} is not in webhooks.allowed_hosts"
            raise ConfigurationError(message)
        self.name = endpoint.name
        self._secure = parts.scheme == "https"
        self._address = (parts.hostname, parts.port)
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._secret = endpoint.secret
        self._settings = settings
        self._clock = clock or SystemClock()

    def deliver(self, messages: Sequence[OutboxMessage]) -> Iterator[tuple[OutboxMessage, DeliveryError | None]]:
        """Send each message by itself; after a fault of the receiver the rest is left for later."""
        for message in messages:
            try:
                self._post(message)
            except DeliveryError as error:
                yield message, error
                if error.fault is Fault.DESTINATION:
                    return
            else:
                yield message, None

    def close(self) -> None:
        """Nothing is kept open between messages."""

    def _post(self, message: OutboxMessage) -> None:
        content = {"message_id": message.message_id, "topic": message.topic, "payload": message.payload}
        body = json.dumps(content, separators=(",", ":")).encode()
        if len(body) > self._settings.max_body_bytes:
            raise DeliveryError(Fault.PERMANENT, "TOO_LARGE")
        timestamp = str(now_ms(self._clock))
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "mimamori",
            "Mimamori-Id": message.message_id,
            "Mimamori-Timestamp": timestamp,
            "Mimamori-Signature": signature(self._secret.get_secret_value(), timestamp, body),
        }
        try:
            status = self._status(body, headers)
        except TimeoutError:
            raise DeliveryError(Fault.DESTINATION, "TIMEOUT") from None
        except ssl.SSLError:
            raise DeliveryError(Fault.DESTINATION, "TLS") from None
        except (OSError, HTTPException):
            raise DeliveryError(Fault.DESTINATION, "NO_ANSWER") from None
        if not 200 <= status < 300:
            of_receiver = status < 400 or status >= 500 or status in _RECEIVER_STATUS
            raise DeliveryError(Fault.DESTINATION if of_receiver else Fault.MESSAGE, f"HTTP_{status}")

    def _status(self, body: bytes, headers: dict[str, str]) -> int:
        """The status of the answer; `TimeoutError` when all of it together takes too long."""
        connection = self._connection()
        late = threading.Event()

        def cut() -> None:
            late.set()
            if connection.sock is not None:
                # Below TLS, which another thread may be reading. Waking that thread up is the purpose.
                socket.socket.shutdown(connection.sock, socket.SHUT_RDWR)

        # The socket's own limit is for each read alone: who sends a byte now and then would never reach it.
        deadline = threading.Timer(self._settings.timeout_seconds, cut)
        deadline.daemon = True
        deadline.start()
        try:
            connection.request("POST", self._path, body=body, headers=headers)
            status = connection.getresponse().status
        except (OSError, HTTPException):
            if late.is_set():
                raise TimeoutError from None
            raise
        finally:
            deadline.cancel()
            connection.close()
        if late.is_set():  # what was cut off can look like a whole answer
            raise TimeoutError
        return status

    def _connection(self) -> HTTPConnection:
        host, port = self._address
        timeout = self._settings.timeout_seconds
        if self._secure:
            return HTTPSConnection(host, port, timeout=timeout, context=ssl.create_default_context())
        return HTTPConnection(host, port, timeout=timeout)


def make_webhooks(settings: WebhookSettings) -> list[Webhook]:
    """All receivers of the settings."""
    return [Webhook(endpoint, settings) for endpoint in settings.endpoints]
