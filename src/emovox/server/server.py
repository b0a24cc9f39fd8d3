"""Run the server: one process or several, on a socket, until a signal stops it."""

from __future__ import annotations

import gc
import logging
import math
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial

import uvicorn
from fastapi import FastAPI
from uvicorn.supervisors import Multiprocess

from emovox.errors import EmovoxError
from emovox.server.app import create_app, make_factory
from emovox.server.monitoring import MULTIPROCESS_VARIABLE, log_config, log_event
from emovox.server.session import SessionLimits
from emovox.server.settings import ServerSettings
from emovox.server.timeouts import TimeoutProtocol

__all__ = ["format_url", "open_listener", "run"]

_MAX_CONNECTIONS = 2000
"""Per process, including idle ones; uvicorn answers 503 above it."""

_MAX_FILES = 8192
"""Open files per process, where the system allows it."""

_SPARE_FILES = 200
"""Files reserved for models, spooled uploads and counters."""


def run(
    settings: ServerSettings, *, level: str = "info", on_start: Callable[[str], None] | None = None
) -> None:
    """Serve until SIGINT or SIGTERM; requests in progress are finished within ``settings.drain_s``.

    Args:
        settings: set by the operator.
        level: of the log, on stderr, as `logging` names it.
        on_start: called with the URL once the socket is bound.

    Raises:
        EmovoxError: the address cannot be used.
    """
    with open_listener(settings.host, settings.port) as listener:
        config = uvicorn.Config(
            partial(_create_frozen_app, settings),
            factory=True,
            workers=settings.workers,
            loop="asyncio",
            log_config=log_config(level),
            log_level=None,  # see log_config
            access_log=False,  # it contains paths and addresses; we write our own lines
            server_header=False,
            http=TimeoutProtocol,
            limit_concurrency=_limit_connections(),
            ws_max_size=SessionLimits().message_bytes,
            ws_per_message_deflate=False,  # it saves little for audio, and costs more than predicting
            timeout_graceful_shutdown=math.ceil(settings.drain_s),
        )
        url = format_url(listener)
        log_event("listening", url=url, models=list(settings.models), workers=settings.workers)
        if not settings.is_loopback and settings.api_key is None:
            log_event("open_to_all", level=logging.WARNING, url=url)
        if on_start is not None:
            on_start(url)
        with _shared_counters() if settings.workers > 1 else nullcontext():
            if settings.workers > 1:
                Multiprocess(config, sockets=[listener]).run()
            else:
                uvicorn.Server(config).run(sockets=[listener])


def _create_frozen_app(settings: ServerSettings) -> FastAPI:
    app = create_app(settings, make_factory(settings))
    gc.collect()
    gc.freeze()  # loaded objects stay to the end; collecting among them would delay live sessions
    return app


@contextmanager
def open_listener(host: str, port: int) -> Iterator[socket.socket]:
    """Open a listening socket, closed when the context is left.

    Raises:
        EmovoxError: the address cannot be used.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.create_server(address[:2], family=family, backlog=512)
    except OSError as error:
        raise EmovoxError(
            f"cannot listen on {host} port {port}: {error.strerror or error}; choose another --host or --port"
        ) from error
    with listener:
        listener.set_inheritable(True)
        yield listener


def format_url(listener: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family is socket.AF_INET6 else f"http://{host}:{port}"


def _limit_connections() -> int:
    """Return how many connections a process may hold; raises its limit of open files for them."""
    try:
        import resource
    except ImportError:  # Windows, which has no such limit
        return _MAX_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MAX_FILES if hard == resource.RLIM_INFINITY else min(hard, _MAX_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):  # a container may forbid it
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
            soft = most
    if soft == resource.RLIM_INFINITY:
        return _MAX_CONNECTIONS
    return min(_MAX_CONNECTIONS, max(soft - _SPARE_FILES, soft // 2))


@contextmanager
def _shared_counters() -> Iterator[None]:
    """Provide a folder where worker processes keep their counters, so that /metrics returns the sum."""
    folder = tempfile.mkdtemp(prefix="emovox-counters-")
    before = os.environ.get(MULTIPROCESS_VARIABLE)
    os.environ[MULTIPROCESS_VARIABLE] = folder  # read by prometheus_client in the processes to come
    try:
        yield
    finally:
        if before is None:
            del os.environ[MULTIPROCESS_VARIABLE]
        else:
            os.environ[MULTIPROCESS_VARIABLE] = before
        shutil.rmtree(folder, ignore_errors=True)
