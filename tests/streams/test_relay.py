"""The relay against a real broker and real HTTP servers on this machine."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import random
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from jsonschema_rs import Draft202012Validator
from kafka import KafkaConsumer
from pydantic import ValidationError
from sqlalchemy import Engine, insert, select
from sqlalchemy.exc import OperationalError
from test_pipeline_batches import records_of, run

from fraud.errors import ConfigurationError
from fraud.settings import KafkaSettings, WebhookEndpoint, WebhookSettings
from fraud.store.database import open_engine, read, write
from fraud.store.folding import store_detections
from fraud.store.operations import ensure_reference_set
from fraud.store.outbox import OutboxMessage, delivery_counts, due_messages
from fraud.store.tables import outbox, outbox_delivery
from streams import relay as relay_module
from streams.delivery import LONGEST_DELAY_MS, DeliveryError, Destination, Fault, message_body, retry_delay_ms
from streams.kafka import connection_options, create_topics
from streams.relay import KafkaDestination, Relay
from streams.schema_files import SCHEMA_FOLDER
from streams.simulator import Simulation
from streams.webhooks import Webhook

SECRET = "a secret of this test, long enough"
START = datetime(2023, 1, 29, tzinfo=UTC)
CARD = "v1:" + "ab" * 32


class MovedClock:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> datetime:
        return self.time

    def move(self, milliseconds: int) -> None:
        self.time += timedelta(milliseconds=milliseconds)


class Receiver:
    """A web server that answers with what `answers` holds, then with 204, and keeps what it was sent."""

    def __init__(self, answers: Sequence[int] = ()) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.answers = list(answers)
        self.gate: threading.Event | None = None
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((self.path, dict(self.headers), body))
                if receiver.gate is not None:
                    receiver.gate.wait(30)
                status = receiver.answers.pop(0) if receiver.answers else 204
                with contextlib.suppress(OSError):  # the sender may have given up
                    self.send_response(status)
                    if 300 <= status < 400:
                        self.send_header("Location", f"http://127.0.0.1:{receiver.port}/elsewhere")
                    self.send_header("Content-Length", "0")
                    self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def ids(self) -> list[str]:
        return [headers["Mimamori-Id"] for _, headers, _ in self.requests]


@pytest.fixture
def receive() -> Iterator[Callable[..., Receiver]]:
    with contextlib.ExitStack() as opened:

        def make(*answers: int) -> Receiver:
            receiver = Receiver(answers)
            opened.callback(receiver.close)
            return receiver

        yield make


@pytest.fixture
def engine(sqlite_url: str) -> Iterator[Engine]:
    opened = open_engine(sqlite_url)
    yield opened
    opened.dispose()


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


def webhook(port: int, clock: MovedClock | None = None, path: str = "/hook", **changes: Any) -> Webhook:
    endpoint = WebhookEndpoint(name="core", url=f"http://127.0.0.1:{port}{path}", secret=SECRET)  # type: ignore[arg-type]
    settings = WebhookSettings(allowed_hosts=("127.0.0.1",), endpoints=(endpoint,), **changes)
    return Webhook(endpoint, settings, clock)


def add(engine: Engine, *numbers: int, topic: str = "card.detections", **payload: Any) -> None:
    rows = [
        {
            "message_id": f"m-{number}",
            "topic": topic,
            "key": CARD,
            "payload": {"detection_id": f"m-{number}", "name": "店", **payload},
            "created_at": int(START.timestamp() * 1000),
        }
        for number in numbers
    ]
    with write(engine) as connection:
        connection.execute(insert(outbox), rows)


def relay(engine: Engine, clock: MovedClock, *destinations: Destination) -> Relay:
    made = Relay(engine, destinations, clock, random.Random(7))  # noqa: S311
    made.route()
    return made


def states(engine: Engine, destination: str = "core") -> dict[str, tuple[str, int, str | None]]:
    """Message id to status, attempts and last error."""
    columns = (outbox.c.message_id, outbox_delivery.c.status, outbox_delivery.c.attempts, outbox_delivery.c.last_error)
    statement = select(*columns).join_from(outbox, outbox_delivery).where(outbox_delivery.c.destination == destination)
    with read(engine) as connection:
        return {row.message_id: (row.status, row.attempts, row.last_error) for row in connection.execute(statement)}


def test_a_receiver_that_fails_twice_gets_the_message_in_the_end_under_one_id(
    engine: Engine, clock: MovedClock, receive: Callable[..., Receiver]
) -> None:
    receiver = receive(503, 500)
    add(engine, 1)
    hook = webhook(receiver.port, clock)
    relaying = relay(engine, clock, hook)
    assert not relaying.deliver_due(hook)
    assert states(engine) == {"m-1": ("WAITING", 1, "HTTP_503")}
    assert relaying.deliver_due(hook)  # not due yet: nothing is sent
    assert len(receiver.requests) == 1
    clock.move(1_000)
    assert not relaying.deliver_due(hook)
    clock.move(2_000)
    assert relaying.deliver_due(hook)
    assert states(engine) == {"m-1": ("DELIVERED", 3, None)}
    assert receiver.ids() == ["m-1"] * 3
    clock.move(LONGEST_DELAY_MS)
    relaying.deliver_due(hook)
    assert len(receiver.requests) == 3


def test_the_receiver_can_check_who_sent_what_and_when(
    engine: Engine, clock: MovedClock, receive: Callable[..., Receiver]
) -> None:
    receiver = receive()
    add(engine, 1)
    hook = webhook(receiver.port, clock, path="/hook?tenant=1")
    relay(engine, clock, hook).deliver_due(hook)
    ((path, headers, body),) = receiver.requests
    assert path == "/hook?tenant=1"
    assert json.loads(body) == {
        "message_id": "m-1",
        "topic": "card.detections",
        "payload": {"detection_id": "m-1", "name": "店"},
    }
    timestamp = headers["Mimamori-Timestamp"]
    assert int(timestamp) == int(START.timestamp() * 1000)
    expected = hmac.new(SECRET.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    assert headers["Mimamori-Signature"] == f"v1={expected}"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(
    engine: Engine, clock: MovedClock, receive: Callable[..., Receiver], status: int
) -> None:
    receiver = receive(status)
    add(engine, 1)
    hook = webhook(receiver.port, clock)
    assert not relay(engine, clock, hook).deliver_due(hook)
    assert [path for path, _, _ in receiver.requests] == ["/hook"]
    assert states(engine) == {"m-1": ("WAITING", 1, f"HTTP_{status}")}


def test_a_receiver_that_never_answers_is_given_up_for_now(
    engine: Engine, clock: MovedClock, receive: Callable[..., Receiver]
) -> None:
    receiver = receive()
    receiver.gate = threading.Event()
    add(engine, 1)
    hook = webhook(receiver.port, clock, timeout_seconds=0.2)
    assert not relay(engine, clock, hook).deliver_due(hook)
    receiver.gate.set()
    assert states(engine) == {"m-1": ("WAITING", 1, "TIMEOUT")}


def test_a_receiver_that_answers_one_byte_at_a_time_is_given_up_for_now(engine: Engine, clock: MovedClock) -> None:
    """No single read takes long; all of them together would."""
    ended = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def drip() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
                while not ended.wait(0.02):
                    connection.sendall(b"x")

        thread = threading.Thread(target=drip)
        thread.start()
        add(engine, 1)
        hook = webhook(listener.getsockname()[1], clock, timeout_seconds=0.3)
        assert not relay(engine, clock, hook).deliver_due(hook)
        ended.set()
        thread.join()
    assert states(engine) == {"m-1": ("WAITING", 1, "TIMEOUT")}


def test_nobody_listens(engine: Engine, clock: MovedClock) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    add(engine, 1, 2)
    hook = webhook(port, clock)
    assert not relay(engine, clock, hook).deliver_due(hook)
    # One attempt tells enough: the second message was not tried.
    assert states(engine) == {"m-1": ("WAITING", 1, "NO_ANSWER"), "m-2": ("WAITING", 0, None)}


def test_a_message_that_is_refused_lets_the_next_ones_pass(
    engine: Engine, clock: MovedClock, receive: Callable[..., Receiver]
) -> None:
    receiver = receive(422)
    add(engine, 1, 2)
    hook = webhook(receiver.port, clock)
    assert relay(engine, clock, hook).deliver_due(hook)
    assert states(engine) == {"m-1": ("WAITING", 1, "HTTP_422"), "m-2": ("DELIVERED", 1, None)}


def test_a_message_that_is_too_large_is_never_sent(
    engine: Engine, clock: MovedClock, receive: Callable[..., Receiver]
) -> None:
    receiver = receive()
    add(engine, 1, text="x" * 1_024)
    add(engine, 2)
    hook = webhook(receiver.port, clock, max_body_bytes=1_024)
    relay(engine, clock, hook).deliver_due(hook)
    assert receiver.ids() == ["m-2"]
    assert states(engine)["m-1"] == ("UNDELIVERABLE", 1, "TOO_LARGE")


@pytest.mark.parametrize(
    "url",
    [
        "https://other.example/hook",
        "https://receiver.example.evil.example/",
        "http://receiver.example/hook",  # not over plain http
        "https://user:password@receiver.example/hook",
        "ftp://receiver.example/hook",
        "https:///hook",
        "receiver.example",
    ],
)
def test_only_allowed_hosts(url: str) -> None:
    with pytest.raises(ValidationError):
        WebhookSettings.model_validate(
            {
                "allowed_hosts": ["receiver.example"],
                "endpoints": [{"name": "core", "url": url, "secret": SECRET}],
            }
        )


def test_a_webhook_made_past_the_settings_is_checked_too() -> None:
    endpoint = WebhookEndpoint(name="core", url="https://other.example/", secret=SECRET)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        Webhook(endpoint, WebhookSettings(allowed_hosts=("receiver.example",)))


@pytest.mark.parametrize("name", ["kafka", "Core", "", "core hook"])
def test_names_of_webhooks(name: str) -> None:
    with pytest.raises(ValidationError):
        WebhookEndpoint(name=name, url="https://receiver.example/", secret=SECRET)  # type: ignore[arg-type]


def test_delays_double_and_scatter_and_end_at_an_hour() -> None:
    chance = random.Random(1)  # noqa: S311
    for failures in range(1, 60):
        longest = min(LONGEST_DELAY_MS, 1_000 * 2 ** (failures - 1))
        found = {retry_delay_ms(failures, chance) for _ in range(50)}
        assert len(found) > 10
        assert longest // 2 <= min(found) <= max(found) <= longest


class Poisoned:
    """A destination that is broken in a way that nobody thought of."""

    name = "poisoned"

    def __init__(self) -> None:
        self.tried = threading.Event()

    def deliver(self, messages: Sequence[OutboxMessage]) -> Iterator[tuple[OutboxMessage, DeliveryError | None]]:
        self.tried.set()
        raise ZeroDivisionError

    def close(self) -> None:
        pass


def test_all_destinations_get_every_message_and_a_poisoned_one_stops_none(
    engine: Engine, tansu: str, receive: Callable[..., Receiver]
) -> None:
    """The whole relay, on its own threads and the machine's clock."""
    kafka = KafkaSettings(bootstrap_servers=tansu, detections_topic="relay.detections", partitions=1)
    create_topics(kafka, {kafka.detections_topic: 1})
    receiver = receive(503)
    slow = receive()
    slow.gate = threading.Event()
    add(engine, *range(5))
    endpoint = WebhookEndpoint(name="slow", url=f"http://127.0.0.1:{slow.port}/", secret=SECRET)  # type: ignore[arg-type]
    poisoned = Poisoned()
    destinations = [
        poisoned,
        Webhook(endpoint, WebhookSettings(allowed_hosts=("127.0.0.1",), endpoints=(endpoint,))),
        KafkaDestination(kafka),
        webhook(receiver.port),
    ]
    stopping = threading.Event()
    running = threading.Thread(target=Relay(engine, destinations).run, args=(stopping,))
    running.start()
    try:
        consumer = KafkaConsumer(
            kafka.detections_topic, **connection_options(kafka), auto_offset_reset="earliest", group_id=None
        )
        with contextlib.closing(consumer):
            records = []
            while len(records) < 5:
                records += [record for batch in consumer.poll(500).values() for record in batch]
        assert poisoned.tried.wait(30)
        while {status for status, _, _ in states(engine).values()} != {"DELIVERED"}:
            stopping.wait(0.05)
    finally:
        slow.gate.set()
        stopping.set()
        running.join()
    assert [dict(record.headers)["message-id"] for record in records] == [f"m-{number}".encode() for number in range(5)]
    assert [record.key for record in records] == [CARD.encode()] * 5
    assert [json.loads(record.value)["name"] for record in records] == ["店"] * 5
    with read(engine) as connection:
        counts = {(item.destination, item.status): item.deliveries for item in delivery_counts(connection)}
    assert counts["kafka", "DELIVERED"] == counts["core", "DELIVERED"] == counts["poisoned", "WAITING"] == 5


def test_without_a_broker_messages_wait(engine: Engine, clock: MovedClock) -> None:
    class Down(KafkaDestination):
        """A destination whose broker was never there; the client itself takes half a minute to say so."""

        def deliver(self, messages: Sequence[OutboxMessage]) -> Iterator[tuple[OutboxMessage, DeliveryError | None]]:
            yield messages[0], DeliveryError(Fault.DESTINATION, "NO_BROKER")

    add(engine, 1, 2)
    down = Down(KafkaSettings())
    assert not relay(engine, clock, down).deliver_due(down)
    assert states(engine, "kafka") == {"m-1": ("WAITING", 1, "NO_BROKER"), "m-2": ("WAITING", 0, None)}


def test_a_detections_message_is_what_its_schema_promises(engine: Engine, simulation: Simulation) -> None:
    """From the records of the log to the bytes on the topic."""
    schema = json.loads((SCHEMA_FOLDER / "card.detections.json").read_text(encoding="utf-8"))
    effects = next(item for item in run(simulation, records_of(simulation)[:4_000], 4_000) if item.detections)
    assert all(item.fraud_probability is not None for item in effects.detections)
    # Without a model they are all alike, and the events that the cards are in are not in this database.
    made = {
        item.detection_id: replace(item, compromise_event_ids=(), fraud_probability=number / 1_000)
        for number, item in enumerate(effects.detections, 1)
    }
    with write(engine) as connection:
        reference_set_id = ensure_reference_set(connection, 0, None, "b" * 64, 1, {}, 0)
        stored = replace(effects, reference_set_id=reference_set_id, detections=tuple(made.values()))
        store_detections(connection, [stored])
    relay(engine, MovedClock(), webhook(1))
    with read(engine) as connection:
        messages = due_messages(connection, "core", 2**62, 1_000)
    validator = Draft202012Validator(schema)
    found = [json.loads(message_body(message)) for message in messages]
    assert {body["detection_id"] for body in found} == {message.message_id for message in messages} == set(made)
    for body in found:
        validator.validate(body)
        assert set(schema["properties"]) <= set(body)
        assert body["fraud_probability"] == made[body["detection_id"]].fraud_probability


def in_outbox(engine: Engine) -> set[str]:
    with read(engine) as connection:
        return set(connection.execute(select(outbox.c.message_id)).scalars())


@pytest.mark.parametrize("database", ["sqlite_url", "postgresql_url"])
def test_messages_go_when_all_destinations_have_been_done_with_them_for_as_long_as_they_are_kept(
    request: pytest.FixtureRequest, database: str, clock: MovedClock, receive: Callable[..., Receiver]
) -> None:
    engine = open_engine(request.getfixturevalue(database))
    request.addfinalizer(engine.dispose)
    good, bad = receive(), receive(503)
    add(engine, 1, 2)
    hook = webhook(good.port, clock)
    endpoint = WebhookEndpoint(name="other", url=f"http://127.0.0.1:{bad.port}/", secret=SECRET)  # type: ignore[arg-type]
    other = Webhook(endpoint, WebhookSettings(allowed_hosts=("127.0.0.1",), endpoints=(endpoint,)), clock)
    relaying = Relay(engine, [hook, other], clock, random.Random(7), keep_days=2)  # noqa: S311
    relaying.route()
    relaying.deliver_due(hook)
    relaying.deliver_due(other)  # refuses the first, and the second is not tried
    clock.move(100 * 86_400_000)
    assert relaying.remove_old() == 0  # one of the two destinations still waits, however long
    assert in_outbox(engine) == {"m-1", "m-2"}
    relaying.deliver_due(other)
    clock.move(2 * 86_400_000)
    assert relaying.remove_old() == 0  # kept for two days, and not less
    clock.move(1)
    assert relaying.remove_old() == 2
    assert in_outbox(engine) == set()
    with read(engine) as connection:
        assert connection.execute(select(outbox_delivery)).all() == []
    assert (sorted(good.ids()), sorted(bad.ids())) == (["m-1", "m-2"], ["m-1", "m-1", "m-2"])


def test_what_nobody_has_routed_yet_is_not_old(engine: Engine, clock: MovedClock) -> None:
    add(engine, 1)
    clock.move(1_000 * 86_400_000)
    assert Relay(engine, [], clock).remove_old() == 0
    assert in_outbox(engine) == {"m-1"}


def test_the_relay_removes_old_messages_while_it_runs(engine: Engine, receive: Callable[..., Receiver]) -> None:
    """Those of 2023 are old on the machine's own clock; a new one is kept."""
    receiver = receive()
    clock, hook = MovedClock(), webhook(receiver.port)
    add(engine, 1, 2)
    relay(engine, clock, hook).deliver_due(hook)
    add(engine, 3)
    stopping = threading.Event()
    running = threading.Thread(target=Relay(engine, [hook]).run, args=(stopping,))
    running.start()
    try:
        while in_outbox(engine) != {"m-3"} or states(engine)["m-3"][0] != "DELIVERED":
            assert running.is_alive()
            stopping.wait(0.05)
    finally:
        stopping.set()
        running.join()
    assert sorted(receiver.ids()) == ["m-1", "m-2", "m-3"]


def test_a_delivery_that_could_not_be_recorded_is_made_again_under_the_same_id(
    engine: Engine, clock: MovedClock, receive: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    """At least once: the receiver has it, the database does not know."""
    receiver = receive()
    add(engine, 1, 2)
    hook = webhook(receiver.port, clock)
    relaying = relay(engine, clock, hook)
    with monkeypatch.context() as away:

        def fail(*_: Any) -> None:
            raise OperationalError("", None, Exception())

        away.setattr(relay_module, "settle_delivery", fail)
        with pytest.raises(OperationalError):
            relaying.deliver_due(hook)
    assert relaying.deliver_due(hook)
    assert receiver.ids() == ["m-1", "m-1", "m-2"]
    bodies = [body for _, headers, body in receiver.requests if headers["Mimamori-Id"] == "m-1"]
    assert bodies[0] == bodies[1]
    assert {status for status, _, _ in states(engine).values()} == {"DELIVERED"}


def test_no_proxy_of_the_environment_gets_a_message(
    engine: Engine, clock: MovedClock, receive: Callable[..., Receiver], monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, receiver = receive(), receive()
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    add(engine, 1)
    hook = webhook(receiver.port, clock)
    relay(engine, clock, hook).deliver_due(hook)
    assert (proxy.ids(), receiver.ids()) == ([], ["m-1"])
