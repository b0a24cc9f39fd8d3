"""The WebSocket route for live audio: frames go to a session, its messages go back.

There is no queue: a frame is read when the one before is processed, and the next one waits in the network,
which
slows its sender down. Messages are never dropped; a client that does not read them is not served either, and
disconnected after `MAX_READ_WAIT_S`.

Sessions take turns, a piece of at most about a second of audio each, in threads of their own, so that a long
uploaded recording never delays a hop.
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

from emovox.server.limits import check_key, get_state, identify_client
from emovox.server.monitoring import log_event, log_failure
from emovox.server.schemas import Refusal, error_document
from emovox.server.session import (
    Session,
    SessionLimits,
    SessionMessage,
    SessionModel,
    SessionState,
    StartMessage,
    Work,
    advance,
    get_close_code,
)

__all__ = ["MAX_READ_WAIT_S", "SessionPool", "router", "stream"]

MAX_READ_WAIT_S = 10.0
"""Time limit for a client to read earlier messages."""

_MAX_REASON_BYTES = 123
"""Limit of a closing frame."""

router = APIRouter()


class SessionPool:
    """The live sessions of one process, and the threads that they share.

    Args:
        threads: pieces of work at a time.
        max_sessions: sessions at a time.
        limits: of each session.
    """

    def __init__(self, *, threads: int, max_sessions: int, limits: SessionLimits | None = None) -> None:
        self.limits = limits or SessionLimits()
        self._threads, self._max_sessions = threads, max_sessions
        self._executor: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        self._admitted: set[int] = set()

    def open(self) -> None:
        """Start to accept sessions."""
        self._executor = ThreadPoolExecutor(self._threads, thread_name_prefix="emovox-live")

    def close(self) -> None:
        """Finish the pieces in progress, accept no more."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown()

    @property
    def n_sessions(self) -> int:
        """Sessions that are served."""
        return len(self._admitted)

    def admit(self, session: Session) -> None:
        """Count a session until `release`.

        Raises:
            Refusal: there are too many.
        """
        with self._lock:
            if len(self._admitted) >= self._max_sessions and id(session) not in self._admitted:
                raise Refusal(
                    503, "overloaded", f"{self._max_sessions} sessions are open already; try again later"
                )
            self._admitted.add(id(session))

    def release(self, session: Session) -> None:
        """Stop counting a session."""
        with self._lock:
            self._admitted.discard(id(session))

    async def advance(self, work: Work) -> tuple[list[SessionMessage], bool]:
        """Do the next piece of ``work`` in a thread.

        Returns:
            Its messages, and whether it was the last piece.

        Raises:
            Refusal: by the work, or the server is stopping.
        """
        if self._executor is None:
            raise Refusal(503, "draining", "the server is stopping; try again in a moment")
        return await asyncio.get_running_loop().run_in_executor(self._executor, advance, work)


@router.websocket("/v1/stream")
async def stream(socket: WebSocket) -> None:
    """Serve one live session."""
    await _Connection(socket).serve()


class _Connection:
    """A WebSocket and its session."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket = socket
        self._state = get_state(socket)
        self._sessions: SessionPool = socket.app.state.sessions
        settings = self._state.settings
        self._session = Session(
            self._find_model, limits=self._sessions.limits, rules=settings.rules, notify=self._notify
        )

    async def serve(self) -> None:
        """Answer until either side closes the connection."""
        start_s = time.perf_counter()
        code, reason = 1000, None
        await self._socket.accept()
        try:
            host = self._socket.client.host if self._socket.client else None
            self._state.rate.take(identify_client(host))
            if self._socket.query_params:  # ignored, they would be taken for granted
                raise Refusal(
                    400,
                    "bad_argument",
                    f"the address has {', '.join(self._socket.query_params)[:80]!r}; options of a live "
                    "session belong to its start message",
                )
            while self._session.state is not SessionState.CLOSED:
                work, is_last = await self._receive(), False
                while not is_last:
                    messages, is_last = await self._sessions.advance(work)
                    for message in messages:
                        await self._send(message)
            await self._close(1000)
        except WebSocketDisconnect as end:
            code = end.code
        except Refusal as refusal:
            code, reason = get_close_code(refusal), refusal
            await self._refuse(refusal)
        except Exception as error:
            code, reason = 1011, Refusal(500, "internal", "an internal error; please report it")
            log_failure("stream", error)
            await self._refuse(reason)
        finally:
            self._session.close()
            self._sessions.release(self._session)
            metrics, audio_s = self._state.metrics, self._session.audio_s
            metrics.streams.set(self._sessions.n_sessions)
            metrics.audio_s.inc(audio_s)
            seconds = time.perf_counter() - start_s
            metrics.count_request("/v1/stream", "WS", code, seconds)
            if reason is not None:
                metrics.count_error(reason.code)
            why = reason and reason.code
            log_event("stream", code=code, why=why, seconds=round(seconds, 1), audio_s=round(audio_s, 1))

    def _find_model(self, start: StartMessage) -> SessionModel:
        check_key(self._state.settings.api_key, self._socket.headers, start.api_key)
        if start.webhook is not None:
            if self._state.webhooks is None:
                raise Refusal(400, "bad_argument", "webhook: the operator of this server lists no host")
            self._state.webhooks.hosts.check(start.webhook)
        name, recognizer = self._state.models.model(start.model)
        self._sessions.admit(self._session)
        self._state.metrics.streams.set(self._sessions.n_sessions)
        return SessionModel(name, recognizer)

    def _notify(self, start: StartMessage, event: SessionMessage) -> None:
        """Send an event to the webhook of the session, or of the operator; called from threads."""
        url = start.webhook or self._state.settings.webhook
        if url is not None and self._state.webhooks is not None:
            self._state.webhooks.put(url, event)

    async def _receive(self) -> Work:
        """Wait for the next frame; return the work on it, or on its absence."""
        try:
            async with asyncio.timeout(self._session.wait_s()):
                message = await self._socket.receive()
        except TimeoutError:
            return self._session.expire()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code") or 1005)
        text = message.get("text")
        return self._session.receive(message["bytes"] if text is None else text)

    async def _send(self, message: SessionMessage) -> None:
        try:
            async with asyncio.timeout(MAX_READ_WAIT_S):
                await self._socket.send_text(json.dumps(message, separators=(",", ":")))
        except TimeoutError:
            text = f"the answers were not read for {MAX_READ_WAIT_S:g} s; read them while you send"
            raise Refusal(429, "slow_reader", text) from None

    async def _refuse(self, refusal: Refusal) -> None:
        """Send the error, and close."""
        if refusal.code != "slow_reader":
            with suppress(WebSocketDisconnect, RuntimeError, Refusal):
                await self._send({"type": "error", **error_document(refusal.code, refusal.message)})
        await self._close(get_close_code(refusal), refusal.message)

    async def _close(self, code: int, reason: str = "") -> None:
        with suppress(TimeoutError, WebSocketDisconnect, RuntimeError):  # it may be closed already
            async with asyncio.timeout(1.0):
                text = reason.encode()[:_MAX_REASON_BYTES].decode(errors="ignore")
                await self._socket.close(code, text)
