"""The harness itself: its crash points are still there, its traffic is the seed's, and its proxy does what it says."""

from __future__ import annotations

import contextlib
import importlib
import random
import socket
import socketserver
import threading
from collections.abc import Iterator

import pytest
from fault_points import POINTS
from fault_proxy import Proxy, Weather
from fault_services import Services
from fault_table import plan
from fault_traffic import CANARIES, ORDINARY, Mix, make_traffic

from fraud.pan_guard import PanGuard


@pytest.mark.parametrize("place", POINTS)
def test_what_a_crash_point_wraps_is_there(place: str) -> None:
    module, _, path = POINTS[place][0].partition(":")
    found = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    assert callable(found)


def test_schedules_have_names_of_their_own() -> None:
    names = [(item.schedule.row, item.schedule.name, item.stack) for item in plan()]
    assert len(names) == len(set(names))


def test_the_same_seed_gives_the_same_bytes(fault_services: Services) -> None:
    columns = fault_services.simulation.live.take(range(500))
    first, again, other = (make_traffic(columns, random.Random(seed), ORDINARY) for seed in (1, 1, 2))  # noqa: S311
    assert first == again
    assert first != other


def test_traffic_has_what_the_mix_says(fault_services: Services) -> None:
    columns = fault_services.simulation.live.take(range(500))
    clean = make_traffic(columns, random.Random(1), Mix(0, 0, 0, 0, 0))  # noqa: S311
    assert len(clean) == 500
    twice = make_traffic(columns, random.Random(1), Mix(0, 1, 0, 0, 0))  # noqa: S311
    assert sorted(twice) == sorted(clean * 2)


def test_canaries_are_card_numbers_of_the_portfolio() -> None:
    guard = PanGuard(["453201"], [16])
    assert all(guard.contains_pan_bytes(number.encode()) for number in CANARIES)


class _Echo(socketserver.BaseRequestHandler):
    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):
            while data := self.request.recv(4_096):
                self.server.heard.append(data)  # type: ignore[attr-defined]
                self.request.sendall(data)


@pytest.fixture
def echo() -> Iterator[socketserver.ThreadingTCPServer]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server:
        server.daemon_threads = True
        server.heard = []  # type: ignore[attr-defined]
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def _connected(proxy: Proxy) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", proxy.port), timeout=5)
    connection.settimeout(0.5)
    return connection


def test_the_proxy_passes_on_what_comes(echo: socketserver.ThreadingTCPServer) -> None:
    with Proxy(echo.server_address[1]) as proxy, _connected(proxy) as client:
        client.sendall(b"hello")
        assert client.recv(100) == b"hello"


@pytest.mark.parametrize("after_answer", [True, False])
def test_the_proxy_cuts_before_or_after_the_server_has_heard(
    echo: socketserver.ThreadingTCPServer, after_answer: bool
) -> None:
    with Proxy(echo.server_address[1]) as proxy, _connected(proxy) as client:
        proxy.set(Weather(cut_at=b"COMMIT", cut_after_answer=after_answer))
        client.sendall(b"COMMIT")
        with pytest.raises(ConnectionResetError):
            client.recv(100)
        assert echo.heard == ([b"COMMIT"] if after_answer else [])  # type: ignore[attr-defined]
        assert proxy.cuts == 1
        with _connected(proxy) as another:  # once only
            another.sendall(b"COMMIT")
            assert another.recv(100) == b"COMMIT"


def test_the_proxy_loses_answers_and_keeps_the_connection(echo: socketserver.ThreadingTCPServer) -> None:
    with Proxy(echo.server_address[1]) as proxy, _connected(proxy) as client:
        proxy.set(Weather(answers_lost=True))
        client.sendall(b"lost")
        with pytest.raises(TimeoutError):
            client.recv(100)
        proxy.set()
        client.sendall(b"heard")
        assert client.recv(100) == b"heard"


def test_deafened_connections_stay_deaf_and_new_ones_do_not(echo: socketserver.ThreadingTCPServer) -> None:
    with Proxy(echo.server_address[1]) as proxy, _connected(proxy) as old:
        old.sendall(b"one")
        assert old.recv(100) == b"one"
        proxy.deafen()
        old.sendall(b"two")
        with pytest.raises(TimeoutError):
            old.recv(100)
        with _connected(proxy) as new:
            new.sendall(b"three")
            assert new.recv(100) == b"three"


def test_refused_connections_are_reset(echo: socketserver.ThreadingTCPServer) -> None:
    with Proxy(echo.server_address[1]) as proxy, _connected(proxy) as old:
        proxy.set(Weather(refused=True))
        with pytest.raises(ConnectionError):
            old.recv(100) or _closed()
        with pytest.raises(ConnectionError), _connected(proxy) as new:
            new.recv(100) or _closed()


def _closed() -> bytes:
    raise ConnectionResetError
