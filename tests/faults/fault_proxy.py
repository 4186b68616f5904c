"""A TCP proxy on the loopback interface that can be slow, deaf, dead, or cut a connection at the worst moment."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Self

_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Weather:
    """How the network is. The default is fine weather.

    Args:
        delay_seconds: each chunk waits so long, in either direction.
        requests_lost: what clients send is taken and forgotten.
        answers_lost: what the server sends is taken and forgotten; with both, connections are half open.
        refused: new connections are reset, and those that there are.
        cut_at: bytes of a client at whose sight the connection is cut, once; None: never.
        cut_after_answer: the cut waits until the server has answered those bytes, and the answer is lost; otherwise the
            bytes never reach the server. Either way the client cannot tell what has happened.

    """

    delay_seconds: float = 0.0
    requests_lost: bool = False
    answers_lost: bool = False
    refused: bool = False
    cut_at: bytes | None = None
    cut_after_answer: bool = True


FINE = Weather()
HALF_OPEN = Weather(requests_lost=True, answers_lost=True)


class Proxy:
    """Passes connections on from `port` (0: a free one) to `target_port`, under a weather that may change."""

    def __init__(self, target_port: int, port: int = 0) -> None:
        self._target = target_port
        self._asked = port
        self.weather = FINE
        self._loop = asyncio.new_event_loop()
        self._open: set[asyncio.StreamWriter] = set()
        self._deaf: set[asyncio.StreamWriter] = set()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"proxy to {target_port}", daemon=True)
        self.port = port
        self.cuts = 0

    def __enter__(self) -> Self:
        self._thread.start()
        self._started.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._reset_all)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def set(self, weather: Weather = FINE, *, reset: bool = False) -> None:
        """Change the weather, for open connections too; `reset` also resets those that there are."""
        self.weather = weather
        if reset or weather.refused:
            self._call(self._reset_all)

    def deafen(self) -> None:
        """Whatever goes over the connections that there are is forgotten from now on; new ones are as the weather."""
        self._call(lambda: self._deaf.update(self._open))

    def _call(self, what: Callable[[], None]) -> None:
        done = threading.Event()

        def call() -> None:
            what()
            done.set()

        self._loop.call_soon_threadsafe(call)
        done.wait(5)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", self._asked))
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    def _reset_all(self) -> None:
        for writer in list(self._open):
            _reset(writer)
        self._open.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.weather.refused:
            _reset(writer)
            return
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            _reset(writer)
            return
        both = {writer, server_writer}
        self._open |= both
        cutting = asyncio.Event()
        try:
            await asyncio.gather(
                self._pump(reader, server_writer, cutting, both, from_client=True),
                self._pump(server_reader, writer, cutting, both, from_client=False),
            )
        finally:
            self._open -= both
            self._deaf -= both
            for end in both:
                with contextlib.suppress(Exception):
                    end.close()

    async def _pump(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        cutting: asyncio.Event,
        both: set[asyncio.StreamWriter],
        *,
        from_client: bool,
    ) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            while data := await reader.read(_CHUNK):
                weather = self.weather
                if not from_client and cutting.is_set():
                    self._cut(both)
                    return
                if weather.delay_seconds:
                    await asyncio.sleep(weather.delay_seconds)
                if from_client and weather.cut_at is not None and weather.cut_at in data:
                    self.weather = replace(weather, cut_at=None)
                    if not weather.cut_after_answer:
                        self._cut(both)
                        return
                    cutting.set()
                if writer in self._deaf or (weather.requests_lost if from_client else weather.answers_lost):
                    continue
                writer.write(data)
                await writer.drain()
        # Half closing is beyond what the protocols here use: one end's end is the other's.
        with contextlib.suppress(OSError):
            writer.close()

    def _cut(self, both: set[asyncio.StreamWriter]) -> None:
        self.cuts += 1
        for end in both:
            _reset(end)


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close with a reset, so that the peer learns of it at once and what was under way is lost."""
    with contextlib.suppress(OSError):
        raw: Any = writer.get_extra_info("socket")
        if raw is not None:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport: Any = writer.transport
    transport.abort()
