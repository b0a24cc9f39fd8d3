"""A real server on loopback, for the length of a test."""

from __future__ import annotations

import gc
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from emovox.server.timeouts import TimeoutProtocol


def until(holds: Callable[[], bool], limit_s: float = 10.0) -> bool:
    """Whether it holds in time; what nobody holds any more is collected while we wait."""
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        if holds():
            return True
        began_s = time.monotonic()
        gc.collect()
        # In a process full of other tests' modules that takes a second, in which no other thread runs.
        time.sleep(0.02 + 4 * (time.monotonic() - began_s))
    return False


@contextmanager
def serving(
    app: FastAPI, *, send_bytes: int | None = None, limit: int | None = None
) -> Iterator[tuple[int, uvicorn.Server]]:
    """The port of a server on loopback, in a thread.

    ``send_bytes``: what the kernel holds of an answer; ``limit``: of connections.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        if send_bytes is not None:  # those that it accepts inherit it
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_bytes)
        config = uvicorn.Config(
            app,
            http=TimeoutProtocol,
            limit_concurrency=limit,
            log_level="critical",
            ws_per_message_deflate=False,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            assert until(lambda: server.started, 60)
            yield listener.getsockname()[1], server
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive()
