"""What became of a request: counted, logged without a word of what was sent, dressed in careful headers."""

from __future__ import annotations

import secrets
import time
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emovox.server import logs
from emovox.server.metrics import Metrics
from emovox.server.schemas import error_document

__all__ = ["Watch"]

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Watch:
    """ASGI middleware around everything that HTTP asks.

    What handlers leave in ``request.state`` is told of the request: ``code`` of an error and ``audio_s``. A
    fault of ours becomes a 500 here; its place is logged, its message is not, for it may quote the request.
    """

    def __init__(self, app: ASGIApp, *, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start_s = time.perf_counter()
        number, status, n_bytes = secrets.token_hex(8), 0, 0
        state: dict[str, Any] = scope.setdefault("state", {})

        async def counted() -> Message:
            nonlocal n_bytes
            message = await receive()
            n_bytes += len(message.get("body", b""))
            return message

        async def dressed(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = number
                headers.setdefault("Cache-Control", "no-store")
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self._app(scope, counted, dressed)
        except Exception as error:
            state["code"] = "internal"
            logs.fault(number, error)
            if status:  # too late for another answer
                raise ConnectionAbortedError("the answer broke off") from None
            text = f"a fault of the server; please report it with the number {number}"
            document = error_document("internal", text)
            await JSONResponse(document, 500)(scope, counted, dressed)
        finally:
            seconds = time.perf_counter() - start_s
            route = getattr(scope.get("route"), "path", None)
            code = state.get("code")
            if code is not None:
                self._metrics.error(code)
            self._metrics.request(route, scope["method"], status, seconds)
            logs.request(
                number,
                route=route,
                status=status,
                code=code,
                ms=round(1000 * seconds, 1),
                bytes_in=n_bytes,
                audio_s=state.get("audio_s"),
            )
