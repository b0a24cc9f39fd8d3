"""How a server runs: in one process or several, on a socket, until it is told to stop."""

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
from emovox.server import logs, metrics
from emovox.server.app import create_app, factory_for
from emovox.server.loops import SharingLoop
from emovox.server.patience import Patience
from emovox.server.session import Limits
from emovox.server.settings import Settings

__all__ = ["bound", "run", "url_of"]

_MAX_CONNECTIONS = 2000
"""Of a process, idle ones too; uvicorn refuses more with a bare 503."""

_MAX_FILES = 8192
"""Open at a time in a process, where the system allows it."""

_SPARE_FILES = 200
"""Not for connections: models, recordings that lie on the disk, counts."""

_SHARING = f"{SharingLoop.__module__}:{SharingLoop.__qualname__}"
"""As uvicorn wants it: each process makes its own."""


def run(settings: Settings, *, level: str = "info", started: Callable[[str], None] | None = None) -> None:
    """Serve until SIGINT or SIGTERM; what was taken by then is finished, within ``settings.drain_s``.

    Args:
        settings: what the operator decides.
        level: of the log, on stderr, as `logging` names it.
        started: is told the address once the socket is bound.

    Raises:
        EmovoxError: the address cannot be had.
    """
    with bound(settings.host, settings.port) as listener:
        config = uvicorn.Config(
            partial(_app, settings),
            factory=True,
            workers=settings.workers,
            loop=_SHARING if settings.workers > 1 else "asyncio",
            log_config=logs.configured(level),
            log_level=None,  # as log_config says
            access_log=False,  # it names paths and addresses; we write lines of our own
            server_header=False,
            http=Patience,
            limit_concurrency=_connections(),
            ws_max_size=Limits().message_bytes,
            ws_per_message_deflate=False,  # of sound it saves little, and costs more than judging it
            timeout_graceful_shutdown=math.ceil(settings.drain_s),
        )
        url = url_of(listener)
        logs.note("listening", url=url, models=list(settings.models), workers=settings.workers)
        if not settings.is_loopback and settings.api_key is None:
            logs.note("open_to_all", level=logging.WARNING, url=url)
        if started is not None:
            started(url)
        with _shared_counts() if settings.workers > 1 else nullcontext():
            if settings.workers > 1:
                Multiprocess(config, sockets=[listener]).run()
            else:
                uvicorn.Server(config).run(sockets=[listener])


def _app(settings: Settings) -> FastAPI:
    app = create_app(settings, factory_for(settings))
    gc.collect()
    gc.freeze()  # what is loaded stays to the end; to look through it for garbage would hold live voices up
    return app


@contextmanager
def bound(host: str, port: int) -> Iterator[socket.socket]:
    """A socket at that address, which listens; closed in the end.

    Raises:
        EmovoxError: the address cannot be had.
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


def url_of(listener: socket.socket) -> str:
    """Where a browser finds it."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if listener.family is socket.AF_INET6 else f"http://{host}:{port}"


def _connections() -> int:
    """How many connections a process may hold; the limit of its open files is raised for them."""
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
def _shared_counts() -> Iterator[None]:
    """A folder where worker processes keep their counts, so that /metrics tells the sum."""
    folder = tempfile.mkdtemp(prefix="emovox-counts-")
    before = os.environ.get(metrics.SHARED)
    os.environ[metrics.SHARED] = folder  # read by prometheus_client in the processes to come
    try:
        yield
    finally:
        if before is None:
            del os.environ[metrics.SHARED]
        else:
            os.environ[metrics.SHARED] = before
        shutil.rmtree(folder, ignore_errors=True)
