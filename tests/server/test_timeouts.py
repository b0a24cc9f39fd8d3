"""Connections that keep the server waiting are closed; those that do not are left in peace."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("fastapi")
from fastapi import FastAPI, Request, WebSocket
from fastapi.responses import PlainTextResponse, StreamingResponse
from websockets.sync.client import connect

import emovox
from emovox.audio import SAMPLE_RATE
from emovox.server import server, timeouts
from emovox.server.app import create_app
from emovox.server.settings import ServerSettings
from serving import serving, until
from speech import talk, wav

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
BIG = 4_000_000


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timeouts, "HEADER_TIMEOUT_S", 0.4)
    monkeypatch.setattr(timeouts, "READ_TIMEOUT_S", 0.4)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server of answers that are slow, big or without end."""
    app = FastAPI()

    @app.get("/")
    async def brief() -> str:
        return "here"

    @app.post("/")
    async def posted(request: Request) -> str:
        return (await request.body()).decode()

    @app.get("/slow")
    async def slow() -> str:
        await asyncio.sleep(1.0)
        return "here"

    @app.get("/big")
    async def big() -> PlainTextResponse:
        return PlainTextResponse("x" * BIG)

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        async def events() -> AsyncIterator[bytes]:
            while True:
                await asyncio.sleep(0)  # once nobody is there, to send waits for nothing
                yield bytes(10_000)

        return StreamingResponse(events())

    @app.websocket("/ws")
    async def echo(socket: WebSocket) -> None:
        await socket.accept()
        await socket.send_text(await socket.receive_text())

    with serving(app, send_bytes=10_000) as (port, _):
        yield port


def opened(port: int) -> socket.socket:
    """A connection that holds little of an answer itself."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 10_000)
    connection.settimeout(10)
    connection.connect(("127.0.0.1", port))
    return connection


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side closes it before long, and says nothing more."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def answer(connection: socket.socket) -> bytes:
    """All of an answer; it says ``here``."""
    data = b""
    while not data.endswith(b'"here"'):
        more = connection.recv(10_000)
        assert more, data
        data += more
    return data


# ------------------------------------------------------------------------------------ headers


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_who_does_not_ask_is_let_go(port: int, said: bytes) -> None:
    with opened(port) as connection:
        connection.sendall(said)
        begun_s = time.monotonic()
        assert is_closed(connection)
        assert time.monotonic() - begun_s < 3


def test_a_byte_now_and_then_does_not_help(port: int) -> None:
    with opened(port) as connection:
        connection.settimeout(0.05)
        end_s = time.monotonic() + 5
        for i in range(100):
            try:
                connection.sendall(GET[i : i + 1] if i < 20 else b"x")
                if is_closed(connection):
                    break
            except TimeoutError:
                pass
            except OSError:
                break
        assert time.monotonic() < end_s - 2


def test_half_a_request_after_another_does_not_help(port: int) -> None:
    with opened(port) as connection:
        connection.sendall(GET)
        answer(connection)
        connection.sendall(GET[:9])  # ends uvicorn's time for what is kept alive
        begun_s = time.monotonic()
        assert is_closed(connection)
        assert time.monotonic() - begun_s < 3


def test_who_asks_is_answered_however_long_it_takes(port: int) -> None:
    with opened(port) as connection:
        connection.sendall(GET[:20])
        time.sleep(0.2)
        connection.sendall(GET[20:])
        answer(connection)
        connection.sendall(GET.replace(b"/ ", b"/slow ", 1))
        answer(connection)
        connection.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\n")
        time.sleep(0.8)
        connection.sendall(b"here")
        answer(connection)
        time.sleep(0.8)  # kept alive, for the time that uvicorn gives
        connection.sendall(GET)
        answer(connection)


def test_a_websocket_may_be_silent(port: int) -> None:
    with connect(f"ws://127.0.0.1:{port}/ws") as voice:
        time.sleep(0.8)
        voice.send("here")
        assert voice.recv() == "here"


def test_of_too_many_connections_some_are_told_and_the_others_closed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(timeouts, "N_REFUSED", 1)
    monkeypatch.setattr(timeouts, "HEADER_TIMEOUT_S", 5.0)
    with serving(FastAPI(), limit=2) as (port, running):
        connections = [opened(port) for _ in range(3)]
        assert until(lambda: len(running.server_state.connections) == 3)
        with opened(port) as one_more:
            assert is_closed(one_more)
        connections[0].sendall(GET)
        assert connections[0].recv(1000).startswith(b"HTTP/1.1 503")
        for each in connections:
            each.close()


# ------------------------------------------------------------------------------------ answers


def test_who_does_not_read_is_let_go(port: int) -> None:
    with opened(port) as connection:
        connection.sendall(GET.replace(b"/ ", b"/endless ", 1))
        time.sleep(1.5)
        data = 0
        try:
            while more := connection.recv(100_000):
                data += len(more)
        except ConnectionResetError:
            pass
        assert data < 500_000, "what had been sent by then, and no more"


def test_who_reads_slowly_gets_all(port: int) -> None:
    with opened(port) as connection:
        connection.sendall(GET.replace(b"/ ", b"/big ", 1))
        n = naps = 0
        while n < BIG:
            n += len(more := connection.recv(10_000))
            assert more
            if n > 400_000 * naps:
                naps += 1
                time.sleep(0.1)


def test_events_that_nobody_reads_hold_no_place(tiny_bundle: Path) -> None:
    model = emovox.load(tiny_bundle)
    app = create_app(ServerSettings(models=("tiny",)), lambda _: model)
    sound = wav(np.resize(talk(), 200 * SAMPLE_RATE), subtype="PCM_16")
    ask = b"POST /v1/timeline?format=sse&windows=true&hop=0.25 HTTP/1.1\r\nHost: x\r\n"
    with serving(app, send_bytes=10_000) as (port, _), opened(port) as connection:
        connection.sendall(ask + b"Content-Length: %d\r\n\r\n" % len(sound) + sound)
        assert connection.recv(12) == b"HTTP/1.1 200"
        service = app.state.shared
        assert service.concurrency.n_active == 1
        assert until(lambda: service.concurrency.n_active == 0)
        assert service.metrics.audio_s._value.get() < 200, "it was let go before its end"


# ------------------------------------------------------------------------------------ files


def test_the_server_is_run_so(monkeypatch: pytest.MonkeyPatch) -> None:
    how: dict[str, Any] = {}
    monkeypatch.setattr("uvicorn.Config", lambda app, **named: how.update(named))
    monkeypatch.setattr("uvicorn.Server", lambda config: FakeServer())
    monkeypatch.setattr(server, "_limit_connections", lambda: 321)
    server.run(ServerSettings(port=0))
    assert how["http"] is timeouts.TimeoutProtocol
    assert how["limit_concurrency"] == 321


class FakeServer:
    def run(self, sockets: list[socket.socket]) -> None:
        assert len(sockets) == 1


def test_as_many_connections_as_files_allow() -> None:
    code = """
import json, resource
from emovox.server.server import _limit_connections
found = []
for limits in ((256, 4096), (300, 1000), (64, 64)):
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    found.append([_limit_connections(), *resource.getrlimit(resource.RLIMIT_NOFILE)])
print(json.dumps(found))
"""
    pytest.importorskip("resource")
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=120)
    assert json.loads(ran.stdout) == [[2000, 4096, 4096], [800, 1000, 1000], [32, 64, 64]]


def test_asyncio_complains_in_lines_of_ours_and_seldom() -> None:
    code = """
import asyncio, logging.config, socket
from emovox.server.monitoring import log_config
logging.config.dictConfig(log_config("info"))
loop = asyncio.new_event_loop()
listener = socket.create_server(("127.0.0.1", 0))
for _ in range(100):
    what = {"exception": OSError(24, "Too many open files"), "socket": listener}
    loop.call_exception_handler({"message": "socket.accept() out of system resource", **what})
future = loop.create_future()
future.set_exception(ValueError("my secret words"))
del future
loop.call_exception_handler({"message": "Exception in callback heard('my secret words')", "handle": "secret"})
loop.close()
listener.close()
"""
    ran = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=120)
    lines = [json.loads(line) for line in ran.stderr.decode().splitlines()]
    assert [(line["level"], line["event"], line.get("error")) for line in lines] == [
        ("error", "socket.accept() out of system resource", "OSError"),
        ("error", "Future exception was never retrieved", "ValueError"),
        ("error", "Exception in callback heard", None),
    ]
    assert b"secret" not in ran.stderr
    assert b"127.0.0.1" not in ran.stderr
