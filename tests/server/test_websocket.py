"""Live voices over a WebSocket: the answers of the library, in every kind of end, and nothing left behind."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import socket as sockets
import struct
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("fastapi")

from fastapi import FastAPI
from fastapi.testclient import TestClient
from starlette.testclient import WebSocketTestSession
from starlette.websockets import WebSocketDisconnect

import emovox
from emovox.inference.recognizer import Recognizer
from emovox.server import monitoring
from emovox.server import websocket as live_socket
from emovox.server.app import create_app
from emovox.server.schemas import Refusal
from emovox.server.session import Session, get_close_code
from emovox.server.settings import ServerSettings
from emovox.server.websocket import SessionPool
from serving import serving, until

RATE = 16_000
START: dict[str, Any] = {"type": "start", "rate": RATE, "encoding": "pcm16"}
FLUSH = '{"type": "flush"}'


def talk() -> np.ndarray:
    """Six seconds of int16: a buzzing vowel, a pause, another."""
    t = np.arange(round(2.4 * RATE)) / RATE
    vowels = [sum(np.sin(2 * np.pi * hz * k * t) / k for k in range(1, 20)) for hz in (120, 190)]
    wide = 0.55 - 0.45 * np.cos(2 * np.pi * 4 * t)
    x = np.concatenate([vowels[0] * wide, np.zeros(round(1.2 * RATE)), vowels[1] * wide])
    return np.rint(9000 * x / np.abs(x).max()).astype("<i2")


TALK = talk()


@pytest.fixture(scope="module")
def model(tiny_bundle: Path) -> Recognizer:
    return emovox.load(tiny_bundle)


@pytest.fixture(scope="module")
def make_app(model: Recognizer) -> Callable[..., FastAPI]:
    return lambda **named: create_app(ServerSettings(**named), lambda name: model)


@pytest.fixture(scope="module")
def client(make_app: Callable[..., FastAPI]) -> Iterator[TestClient]:
    with TestClient(make_app()) as client:
        yield client


def rows(answers: list[dict[str, Any]], kind: str = "segment") -> list[dict[str, Any]]:
    return [{k: v for k, v in each.items() if k != "type"} for each in answers if each["type"] == kind]


def timeline(model: Recognizer, x: np.ndarray) -> list[dict[str, Any]]:
    return json.loads(json.dumps([each.to_dict() for each in model.timeline(x, sample_rate=RATE)]))  # type: ignore[no-any-return]


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def heard(socket: WebSocketTestSession, messages: list[bytes]) -> list[dict[str, Any]]:
    """All answers to a whole sound."""
    socket.send_text(json.dumps(START))
    for message in messages:
        socket.send_bytes(message)
    socket.send_text(FLUSH)
    answers = [socket.receive_json()]
    while answers[-1]["type"] != "flushed":
        answers.append(socket.receive_json())
    return answers


def ended(socket: WebSocketTestSession) -> tuple[int, str]:
    """The code that it is closed with, and the error before."""
    answer: dict[str, Any] = {}
    with pytest.raises(WebSocketDisconnect) as caught:  # noqa: PT012  # any number of answers may come first
        while True:
            answer = socket.receive_json()
    assert answer["type"] == "error"
    assert answer["error"]["message"].startswith(caught.value.reason[:100])
    return caught.value.code, answer["error"]["code"]


def gauge(client: TestClient, name: str) -> float:
    lines = client.get("/metrics").text.splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))


# ------------------------------------------------------------------ the same answers


@settings(max_examples=6)
@given(cuts=st.lists(st.integers(0, 10**6), max_size=20))
def test_any_messages_are_the_timeline(client: TestClient, model: Recognizer, cuts: list[int]) -> None:
    with client.websocket_connect("/v1/stream") as socket:
        answers = heard(socket, pieces(TALK.tobytes(), cuts))
        socket.send_text('{"type": "stop"}')
        assert socket.receive()["code"] == 1000
    wanted = timeline(model, TALK)
    assert rows(answers) == wanted
    assert len(wanted) >= 2
    assert answers[0]["model"] == {"name": "default", "version": model.spec.version}
    assert answers[-1]["duration_s"] == 6.0


def test_many_voices_at_once(client: TestClient, model: Recognizer) -> None:
    with ExitStack() as stack:
        sockets = [stack.enter_context(client.websocket_connect("/v1/stream")) for _ in range(8)]
        found: dict[int, list[dict[str, Any]]] = {}
        threads = [
            threading.Thread(
                target=lambda n=n, s=s: found.update({n: heard(s, pieces(TALK.tobytes(), [n * 1000 + 1]))})
            )
            for n, s in enumerate(sockets)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert gauge(client, "emovox_streams") == 8
    wanted = timeline(model, TALK)
    assert [rows(found[n]) for n in range(8)] == [wanted] * 8


# ------------------------------------------------------------------ ends


def test_a_refusal_says_why_and_closes(client: TestClient) -> None:
    for frames, code, word in [
        ([b"\0\0"], 4000, "out_of_order"),
        ([json.dumps({**START, "encoding": "mp3"})], 1007, "bad_argument"),
        ([json.dumps({**START, "\ud800": 1})], 1007, "bad_argument"),
        ([json.dumps({**START, "hop": 0.1})], 1007, "bad_argument"),
        ([json.dumps({**START, "labels": "joy,nonsense"})], 1007, "bad_label"),
        ([json.dumps({**START, "model": "other"})], 1007, "unknown_model"),
        ([json.dumps(START), bytes((1 << 20) + 2)], 1009, "too_large"),
        ([json.dumps({**START, "encoding": "float32"}), b"\xff" * 8], 1007, "unusable_sound"),
    ]:
        with client.websocket_connect("/v1/stream") as socket:
            for frame in frames:
                socket.send_text(frame) if isinstance(frame, str) else socket.send_bytes(frame)
            assert ended(socket) == (code, word)


@pytest.mark.parametrize(
    ("headers", "given"),
    [
        ({"Authorization": "Bearer secret"}, {}),
        ({"X-API-Key": "secret"}, {}),
        ({}, {"api_key": "secret"}),
        ({}, {}),
        ({}, {"api_key": "Secret"}),
        ({}, {"api_key": "sécret"}),
    ],
)
def test_the_key_comes_by_header_or_first_frame(
    make_app: Callable[..., FastAPI], headers: dict[str, str], given: dict[str, str]
) -> None:
    fits = "secret" in (*given.values(), *(value.split()[-1] for value in headers.values()))
    with (
        TestClient(make_app(api_key="secret")) as client,
        client.websocket_connect("/v1/stream", headers=headers) as socket,
    ):
        socket.send_text(json.dumps(START | given))
        if fits:
            assert socket.receive_json()["type"] == "ready"
        else:
            assert ended(socket) == (1008, "unauthorized")


def test_no_more_voices_than_places(make_app: Callable[..., FastAPI]) -> None:
    with TestClient(make_app(max_streams=1)) as client:
        with client.websocket_connect("/v1/stream") as first:
            first.send_text(json.dumps(START))
            assert first.receive_json()["type"] == "ready"
            with client.websocket_connect("/v1/stream") as second:
                second.send_text(json.dumps(START))
                assert ended(second) == (1013, "overloaded")
        with client.websocket_connect("/v1/stream") as third:
            assert heard(third, [TALK.tobytes()])[0]["type"] == "ready"


def test_who_asks_too_often_waits(make_app: Callable[..., FastAPI]) -> None:
    with TestClient(make_app(rate=1)) as client:
        with client.websocket_connect("/v1/stream") as socket:
            heard(socket, [])
        with client.websocket_connect("/v1/stream") as socket:
            assert ended(socket) == (1008, "too_many_requests")


def test_an_idle_client_gets_the_rest(make_app: Callable[..., FastAPI]) -> None:
    app = make_app(stream_idle_s=0.3)
    with TestClient(app) as client, client.websocket_connect("/v1/stream") as socket:
        socket.send_text(json.dumps(START))
        socket.send_bytes(TALK[: 2 * RATE].tobytes())
        kinds = [socket.receive_json()["type"] for _ in range(5)]
        assert kinds == ["ready", "window", "window", "segment", "flushed"]
        assert ended(socket) == (4001, "idle")


def test_a_fault_of_ours_tells_nothing(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("secret words")

    monkeypatch.setattr(Recognizer, "open_stream", broken)
    with client.websocket_connect("/v1/stream") as socket:
        socket.send_text(json.dumps(START))
        assert ended(socket) == (1011, "internal")
    assert "secret" not in caplog.text
    assert any("ZeroDivisionError" in str(record.__dict__) for record in caplog.records)


def test_ends_are_counted_and_logged_without_sound_or_key(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "emovox.server"):
        before = gauge(client, "emovox_audio_seconds_total")
        with client.websocket_connect("/v1/stream", headers={"X-API-Key": "secret"}) as socket:
            heard(socket, [TALK.tobytes()])
            heard(socket, [TALK.tobytes()])
            socket.send_text('{"type": "stop"}')
            socket.receive()
    assert gauge(client, "emovox_audio_seconds_total") == before + 12
    (record,) = [each for each in caplog.records if each.name == "emovox.server" and each.msg == "stream"]
    assert record.__dict__["said"] == {
        "code": 1000,
        "seconds": record.__dict__["said"]["seconds"],
        "audio_s": 12.0,
    }
    assert "secret" not in str([each.__dict__ for each in caplog.records])


def test_codes_that_a_client_makes_up_are_counted_together(client: TestClient) -> None:
    for code in (1000, 1001, 3000, 4321, 4999):
        with client.websocket_connect("/v1/stream") as socket:
            socket.send_text(json.dumps(START))
            socket.receive_json()
            socket.close(code)
    lines = [line for line in client.get("/metrics").text.splitlines() if 'method="WS"' in line]
    counted = {line.split('status="')[1].split('"')[0] for line in lines}
    assert "other" in counted
    assert not {"3000", "4321", "4999"} & counted


def test_all_codes_of_ours_are_counted_each() -> None:
    ours = {get_close_code(Refusal(status, "x", "x")) for status in range(400, 600)} | {1000, 1012}
    ours.add(get_close_code(Refusal(413, "too_long", "x")))
    assert ours <= set(monitoring._CLOSE_CODES)


# ------------------------------------------------------------------ nothing is left


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[Session]]:
    """Weak references to all sessions from now on."""
    seen: list[weakref.ref[Session]] = []

    def noted(*args: Any, **named: Any) -> Session:
        session = Session(*args, **named)
        seen.append(weakref.ref(session))
        return session

    monkeypatch.setattr(live_socket, "Session", noted)
    return seen


def test_a_client_that_leaves_frees_its_state(
    client: TestClient, sessions: list[weakref.ref[Session]]
) -> None:
    for _ in range(3):
        with client.websocket_connect("/v1/stream") as socket:
            socket.send_text(json.dumps(START))
            socket.send_bytes(TALK.tobytes())
            assert socket.receive_json()["type"] == "ready"
    del socket  # it holds the whole conversation, on the client's side of this process
    assert len(sessions) == 3
    assert until(lambda: not any(each() for each in sessions))
    assert gauge(client, "emovox_streams") == 0


def test_a_client_that_does_not_read_is_let_go(
    make_app: Callable[..., FastAPI], sessions: list[weakref.ref[Session]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_socket, "MAX_READ_WAIT_S", 0.2)
    app = make_app()
    scope = {"type": "websocket", "path": "/v1/stream", "headers": [], "query_string": b"", "app": app}
    sent: list[dict[str, Any]] = []
    frames = [json.dumps(START), *[TALK.tobytes()] * 100]

    async def receive() -> dict[str, Any]:
        if not sent:
            return {"type": "websocket.connect"}
        frame = frames.pop(0)
        return {"type": "websocket.receive", "text" if isinstance(frame, str) else "bytes": frame}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)
        if len(sent) > 5:  # the network is full now
            await asyncio.Event().wait()

    async def run() -> None:
        async with app.router.lifespan_context(app):
            await asyncio.wait_for(app(scope, receive, send), 10)

    asyncio.run(run())
    assert len(sent) == 7, "one answer that was not read, and the closing frame"
    assert sent[-1] == {"type": "websocket.close", "code": 1008, "reason": sent[-1]["reason"]}
    assert len(frames) > 90, "it is not listened to either"
    assert until(lambda: not any(each() for each in sessions))


def test_voices_take_turns(model: Recognizer) -> None:
    order: list[str] = []

    def work(name: str) -> Any:
        for _ in range(20):
            order.append(name)
            yield []
        return []

    async def drain(live: SessionPool, name: str) -> None:
        pieces = work(name)
        while not (await live.advance(pieces))[1]:
            pass

    async def run() -> None:
        live = SessionPool(threads=1, max_sessions=2)
        live.open()
        await asyncio.gather(drain(live, "a"), drain(live, "b"))
        live.close()

    asyncio.run(run())
    assert "".join(order).replace("ab", "") == "", "neither waits for the whole of the other"


# ------------------------------------------------------------------ a real server


def test_a_real_server(
    make_app: Callable[..., FastAPI], model: Recognizer, sessions: list[weakref.ref[Session]]
) -> None:
    from websockets.exceptions import ConnectionClosed
    from websockets.sync.client import connect

    app = make_app()
    wanted = timeline(model, TALK)
    dice = np.random.default_rng(0)
    with serving(app) as (port, server):
        url = f"ws://127.0.0.1:{port}/v1/stream"
        for n_cuts in (0, 3, 40, 300):
            with connect(url) as socket:
                socket.send(json.dumps(START))
                for message in pieces(TALK.tobytes(), dice.integers(0, 10**6, n_cuts).tolist()):
                    socket.send(message)
                socket.send(FLUSH)
                answers = [json.loads(socket.recv())]
                while answers[-1]["type"] != "flushed":
                    answers.append(json.loads(socket.recv()))
            assert rows(answers) == wanted

        # A client that is gone without a word: its socket is reset in the middle of a sound.
        with connect(url) as socket:
            socket.send(json.dumps(START))
            socket.recv()
            socket.send(TALK.tobytes())
            assert app.state.sessions.n_sessions == 1
            socket.socket.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
            socket.socket.shutdown(sockets.SHUT_RD)
            socket.socket.close()
        assert until(lambda: app.state.sessions.n_sessions == 0)
        assert until(lambda: not any(each() for each in sessions))

        # A server that is told to stop says so.
        with connect(url) as socket:
            socket.send(json.dumps(START))
            socket.recv()
            server.should_exit = True
            with pytest.raises(ConnectionClosed) as caught:
                socket.recv(timeout=10)
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1012


@pytest.mark.parametrize("query", ["labels=happy&labels=sad", "rate=8000"])
def test_options_in_the_address_are_refused(client: TestClient, query: str) -> None:
    with client.websocket_connect(f"/v1/stream?{query}") as socket:
        answer = socket.receive_json()
    assert answer["error"]["code"] == "bad_argument"
    assert "belong to its start message" in answer["error"]["message"]
