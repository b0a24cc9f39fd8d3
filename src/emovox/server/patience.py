"""How long is a client waited for? uvicorn's HTTP connections, given an end where they have none.

uvicorn waits for ever for the headers of a request, when none come or half of them, and for a client to read
what was written to it. Such a connection costs a file; if it is of events, a place in the room, too.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uvicorn.protocols.http.h11_impl import H11Protocol as _Http
else:  # that of httptools where it is installed; what is used of them here both have
    from uvicorn.protocols.http.auto import AutoHTTPProtocol as _Http

__all__ = ["HEADERS_S", "READ_BYTES", "READ_S", "TOLD", "Patience"]

HEADERS_S = 10.0
"""How long a connection may be without the whole headers of a request."""

READ_S = 10.0
"""How long a client may take to read `READ_BYTES` of an answer."""

READ_BYTES = 1 << 16
"""asyncio asks for a pause when more than this waits to be read."""

TOLD = 100
"""Connections above ``limit_concurrency`` that are answered 503; further ones are closed without a word."""


class Patience(_Http):
    """A connection that is closed when its client keeps it waiting. Not one that has become a WebSocket."""

    _unasked: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As uvicorn's, and the time for headers begins."""
        super().connection_made(transport)
        if self.limit_concurrency is not None and len(self.connections) > self.limit_concurrency + TOLD:
            transport.abort()
        self._expect_headers()

    def data_received(self, data: bytes) -> None:
        """As uvicorn's; what is no request, or not a whole one, does not renew the time."""
        super().data_received(data)
        self._expect_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """As uvicorn's, and nothing is waited for."""
        super().connection_lost(exc)
        _stop(self._unasked)
        _stop(self._unread)

    def pause_writing(self) -> None:
        """As uvicorn's, and the time for reading begins."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """As uvicorn's: enough was read."""
        super().resume_writing()
        _stop(self._unread)

    def _expect_headers(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            _stop(self._unasked)
            self._unasked = None
        elif self._unasked is None:
            self._unasked = self.loop.call_later(HEADERS_S, self._hang_up)

    def _expect_reading(self) -> None:
        self._unread = self.loop.call_later(READ_S, self._read_on, self.transport.get_write_buffer_size())

    def _read_on(self, before: int) -> None:
        if before - self.transport.get_write_buffer_size() < READ_BYTES:
            self._hang_up()
        else:
            self._expect_reading()

    def _hang_up(self) -> None:
        if self.transport.get_protocol() is self:  # and it has not become a WebSocket
            self.transport.abort()  # to close it would wait until all was read


def _stop(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
