"""How does a live voice come over a WebSocket? Its frames go to a session, the answers back.

Nothing waits here: a message is read when the one before was worked on, and the next one stays in the network
until then, which slows its sender down. Answers are never dropped; a client that does not read them is not
listened to either, and after `SLOW_S` is let go.

Voices take turns, a piece of at most about a second of sound each, in threads of their own: a long recording
that somebody uploads never stands before a hop.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from fastapi import APIRouter
from starlette.websockets import WebSocket, WebSocketDisconnect

from emovox.server import logs
from emovox.server.limits import check_key, client_of
from emovox.server.schemas import Refusal, error_document
from emovox.server.service import service_of
from emovox.server.session import Answer, Limits, Session, Start, State, Voice, Work, advance, close_code

__all__ = ["SLOW_S", "Live", "live_of", "router", "stream"]

SLOW_S = 10.0
"""How long an answer may wait for a client to read those before it."""

_REASON_BYTES = 123
"""The most that a closing frame holds."""

router = APIRouter()


class Live:
    """The live voices of one process.

    Args:
        threads: pieces of work at a time.
        places: voices at a time.
        limits: of each client.
    """

    def __init__(self, *, threads: int, places: int, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self._threads, self._places = threads, places
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._seated: set[int] = set()

    def open(self) -> None:
        """Begin to take voices."""
        self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="emovox-live")

    def close(self) -> None:
        """Finish the pieces that were begun, take no more."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    @property
    def n_voices(self) -> int:
        """How many are listened to."""
        return len(self._seated)

    def seat(self, session: Session) -> None:
        """A place for a voice; `leave` gives it back.

        Raises:
            Refusal: all are taken.
        """
        with self._lock:
            if len(self._seated) >= self._places and id(session) not in self._seated:
                raise Refusal(
                    503, "overloaded", f"{self._places} voices are listened to already; come again later"
                )
            self._seated.add(id(session))

    def leave(self, session: Session) -> None:
        """Give the place back, if there was one."""
        with self._lock:
            self._seated.discard(id(session))

    async def do(self, work: Work) -> tuple[list[Answer], bool]:
        """The next piece of ``work``, in a thread: its answers, and whether it was the last.

        Raises:
            Refusal: as the work does, or the server is stopping.
        """
        if self._pool is None:
            raise Refusal(503, "draining", "the server is stopping; come again in a moment")
        return await asyncio.get_running_loop().run_in_executor(self._pool, advance, work)


def live_of(socket: WebSocket) -> Live:
    """The live voices of the server that a WebSocket came to."""
    live: Live = socket.app.state.live
    return live


@router.websocket("/v1/stream")
async def stream(socket: WebSocket) -> None:
    """One session, from its first frame to its last."""
    await _Connection(socket).serve()


class _Connection:
    """A socket, and the session behind it."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._service, self._live = service_of(socket), live_of(socket)
        self._session = Session(self._opened, limits=self._live.limits)

    async def serve(self) -> None:
        """Answer until either side ends it, and leave nothing behind."""
        begun_s = time.perf_counter()
        code, why = 1000, None
        await self._socket.accept()
        try:
            self._service.rates.take(client_of(self._socket.client.host if self._socket.client else None))
            await self._converse()
            await self._close(1000)
        except WebSocketDisconnect as end:
            code = end.code
        except Refusal as refusal:
            code, why = close_code(refusal), refusal
            await self._refuse(refusal)
        except Exception as error:
            code, why = 1011, Refusal(500, "internal", "a fault of the server; please report it")
            logs.fault("stream", error)
            await self._refuse(why)
        finally:
            self._session.close()
            self._live.leave(self._session)
            self._count(code, why, time.perf_counter() - begun_s)

    def _opened(self, start: Start) -> Voice:
        service = self._service
        check_key(service.settings.api_key, self._socket.headers, start.api_key)
        name, recognizer = service.engine.model(start.model)
        self._live.seat(self._session)
        service.metrics.streams.set(self._live.n_voices)
        return Voice(name, recognizer)

    async def _converse(self) -> None:
        while self._session.state is not State.CLOSED:
            work, is_last = await self._next(), False
            while not is_last:
                answers, is_last = await self._live.do(work)
                for answer in answers:
                    await self._send(answer)

    async def _next(self) -> Work:
        """Work on the next frame, or on its absence."""
        try:
            async with asyncio.timeout(self._session.wait_s()):
                message = await self._socket.receive()
        except TimeoutError:
            return self._session.expire()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code") or 1005)
        text = message.get("text")
        return self._session.receive(message["bytes"] if text is None else text)

    async def _send(self, answer: Answer) -> None:
        try:
            async with asyncio.timeout(SLOW_S):
                await self._socket.send_text(json.dumps(answer, separators=(",", ":")))
        except TimeoutError:
            message = f"the answers were not read for {SLOW_S:g} s; read them while you send"
            raise Refusal(429, "slow_reader", message) from None

    async def _refuse(self, refusal: Refusal) -> None:
        """Say why, and close."""
        if refusal.code != "slow_reader":
            with suppress(WebSocketDisconnect, RuntimeError, Refusal):
                await self._send({"type": "error", **error_document(refusal.code, refusal.message)})
        await self._close(close_code(refusal), refusal.message)

    async def _close(self, code: int, reason: str = "") -> None:
        with suppress(TimeoutError, WebSocketDisconnect, RuntimeError):  # it may have gone in the meantime
            async with asyncio.timeout(1.0):
                await self._socket.close(code, reason.encode()[:_REASON_BYTES].decode(errors="ignore"))

    def _count(self, code: int, why: Refusal | None, seconds: float) -> None:
        """Tell metrics and log how it ended."""
        metrics, heard_s = self._service.metrics, self._session.heard_s
        metrics.streams.set(self._live.n_voices)
        metrics.audio_s.inc(heard_s)
        metrics.request("/v1/stream", "WS", code, seconds)
        if why is not None:
            metrics.error(why.code)
        logs.note(
            "stream", code=code, why=why and why.code, seconds=round(seconds, 1), audio_s=round(heard_s, 1)
        )
