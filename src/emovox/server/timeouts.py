"""Time limits for slow HTTP connections ("slow loris"), which uvicorn does not have.

uvicorn's ``timeout_keep_alive`` limits the time between two requests only. It waits for ever for the headers
of a request when none or half of them arrive, and for a client to read what was written to it. Such a
connection occupies a file descriptor and, for events, one of the concurrent requests.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol as _HttpProtocol
else:  # the one of httptools where it is installed; both have the methods used here
    from uvicorn.protocols.http.auto import AutoHTTPProtocol as _HttpProtocol

__all__ = ["HEADER_TIMEOUT_S", "N_REFUSED", "READ_BYTES", "READ_TIMEOUT_S", "TimeoutProtocol"]

HEADER_TIMEOUT_S = 10.0
"""Time limit for the complete headers of a request."""

READ_TIMEOUT_S = 10.0
"""Time limit for a client to read `READ_BYTES` of an answer."""

READ_BYTES = 1 << 16
"""asyncio pauses writing when more than this is unread."""

N_REFUSED = 100
"""Connections above ``limit_concurrency`` that are answered 503; further ones are closed at once."""


class TimeoutProtocol(_HttpProtocol):
    """An HTTP connection that is closed when its client is too slow; upgraded WebSockets are exempt."""

    _header_timer: asyncio.TimerHandle | None = None
    _read_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time limit for headers."""
        super().connection_made(transport)
        if self.limit_concurrency is not None and len(self.connections) > self.limit_concurrency + N_REFUSED:
            transport.abort()
        self._watch_headers()

    def data_received(self, data: bytes) -> None:
        """Restart the time limit only when a complete request has arrived."""
        super().data_received(data)
        self._watch_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Cancel the time limits."""
        super().connection_lost(exc)
        _cancel(self._header_timer)
        _cancel(self._read_timer)

    def pause_writing(self) -> None:
        """Start the time limit for reading."""
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        """Cancel the time limit for reading."""
        super().resume_writing()
        _cancel(self._read_timer)

    def _watch_headers(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            _cancel(self._header_timer)
            self._header_timer = None
        elif self._header_timer is None:
            self._header_timer = self.loop.call_later(HEADER_TIMEOUT_S, self._abort)

    def _watch_reading(self) -> None:
        self._read_timer = self.loop.call_later(
            READ_TIMEOUT_S, self._check_reading, self.transport.get_write_buffer_size()
        )

    def _check_reading(self, before: int) -> None:
        if before - self.transport.get_write_buffer_size() < READ_BYTES:
            self._abort()
        else:
            self._watch_reading()

    def _abort(self) -> None:
        if self.transport.get_protocol() is self:  # and it has not become a WebSocket
            self.transport.abort()  # close() would wait until everything is read


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
