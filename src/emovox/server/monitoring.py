"""Logs, metrics, and the middleware that records every request; never audio, a file's name, a key or an
address."""

from __future__ import annotations

import json
import logging
import logging.config
import os
import re
import secrets
import time
import traceback
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from emovox.server.schemas import error_document

__all__ = [
    "CONTENT_TYPE",
    "LOGGER",
    "MULTIPROCESS_VARIABLE",
    "REPEAT_S",
    "JsonLinesFormatter",
    "Metrics",
    "RepeatFilter",
    "RepeatedArguments",
    "RequestMonitor",
    "log_config",
    "log_event",
    "log_failure",
    "log_request",
]

LOGGER = "emovox.server"

REPEAT_S = 60.0
"""Time between two equal messages of asyncio."""

_log = logging.getLogger(LOGGER)


# --- logs -----------------------------------------------------------------------------------------


def log_request(number: str, **values: Any) -> None:
    """Log an answered request. ``values`` are numbers and fixed words, never what a client sent."""
    log_event("request", number=number, **values)


def log_failure(number: str, error: BaseException) -> None:
    """Log an internal error: its type and the calls that led there. Its message may quote a request."""
    calls = traceback.extract_tb(error.__traceback__)
    place = [f"{call.filename}:{call.lineno} {call.name}" for call in calls]
    log_event("fault", level=logging.ERROR, number=number, kind=type(error).__name__, place=place)


def log_event(event: str, *, level: int = logging.INFO, **values: Any) -> None:
    """Log another event, such as the end of a stream."""
    if _log.isEnabledFor(level):
        _log.log(level, event, extra={"said": {name: x for name, x in values.items() if x is not None}})


class JsonLinesFormatter(logging.Formatter):
    """Formats a record as one line of JSON; a traceback, which may quote a request, as its type only."""

    def format(self, record: logging.LogRecord) -> str:
        second = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line = {
            "time": f"{second}.{int(record.msecs):03}Z",
            "level": record.levelname.lower(),
            "process": record.process,
            "event": record.getMessage(),
            **getattr(record, "said", {}),
        }
        if record.exc_info and record.exc_info[0]:
            line["error"] = record.exc_info[0].__name__
        return json.dumps(line, ensure_ascii=False, default=str)


class RepeatFilter(logging.Filter):
    """Passes equal messages once in `REPEAT_S`, and of each only the text before the repr of an object.

    asyncio logs the object that failed, whose repr may quote a request. And it repeats itself a hundred times
    a second when no more files can be opened.
    """

    def __init__(self) -> None:
        super().__init__()
        self._logged_at: dict[str, float] = {}
        """Few: a message for each place in asyncio that complains."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = _OBJECT_REPR.split(record.getMessage(), maxsplit=1)[0].strip()
        if record.created - self._logged_at.get(text, -REPEAT_S) < REPEAT_S:
            return False
        self._logged_at[text] = record.created
        record.msg, record.args = text, ()
        return True


# Where the repr of an object begins, or the lines with its details; not "accept()".
_OBJECT_REPR = re.compile(r"[\n<'\"]|\((?!\))")


def log_config(level: str) -> dict[str, Any]:
    """Return the argument of ``logging.config.dictConfig``: our lines at ``level``, libraries from warnings
    on.

    Below that the server's libraries log addresses and queries of WebSockets (info), and their frames with
    keys in them (debug).
    """
    library_level = max(logging.getLevelName(level.upper()), logging.WARNING)
    quiet = {"handlers": ["stderr"], "level": library_level, "propagate": False}
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": f"{__name__}.JsonLinesFormatter"}},
        "filters": {"repeats": {"()": f"{__name__}.RepeatFilter"}},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}
        },
        "loggers": {
            LOGGER: {"handlers": ["stderr"], "level": level.upper(), "propagate": False},
            "asyncio": {**quiet, "filters": ["repeats"]},
            **dict.fromkeys(("uvicorn", "uvicorn.error", "websockets", "python_multipart"), quiet),
        },
    }


# --- metrics --------------------------------------------------------------------------------------

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Names the folder where several processes keep their counts, so that each can report the sum."""

_OTHER = "other"
_METHODS = ("GET", "HEAD", "POST", "WS")
# Codes with which a WebSocket is closed by us or a browser; a client may send thousands of others.
_CLOSE_CODES = (1000, 1001, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1012, 1013, 4000, 4001, 4002)
_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters for Prometheus, of one server process, or of all that share a folder.

    No label has more values than this module knows.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "emovox_requests",
            "Requests answered.",
            ["route", "method", "status"],
            registry=self._registry,
        )
        self._seconds = Histogram(
            "emovox_request_seconds",
            "From the first byte in to the last byte out.",
            ["route"],
            buckets=_BUCKETS_S,
            registry=self._registry,
        )
        self._seconds.labels(_OTHER)  # opens the file of a shared folder now, not at the first request
        self._errors = Counter(
            "emovox_errors", "Requests that failed, by error code.", ["code"], registry=self._registry
        )
        self._webhooks = Counter(
            "emovox_webhooks",
            "Events for webhooks, by what became of them.",
            ["result"],
            registry=self._registry,
        )
        self.audio_s = Counter(
            "emovox_audio_seconds", "Audio that was processed, in seconds.", registry=self._registry
        )
        self.open = self._make_gauge("open_requests", "Requests being received, processed or answered.")
        self.taken = self._make_gauge("judgements_taken", "Predictions that run or wait.")
        self.streams = self._make_gauge("streams", "Live streams that are open.")

    def _make_gauge(self, name: str, description: str) -> Gauge:
        """Of several processes, the sum of those alive."""
        return Gauge(f"emovox_{name}", description, registry=self._registry, multiprocess_mode="livesum")

    def count_request(self, route: str | None, method: str, status: int, seconds: float) -> None:
        """Count a request; ``route`` is the template of the path, never the path itself."""
        route, method = route or _OTHER, method if method in _METHODS else _OTHER
        known = method != "WS" or status in _CLOSE_CODES
        self._requests.labels(route, method, str(status) if known else _OTHER).inc()
        self._seconds.labels(route).observe(seconds)

    def count_error(self, code: str) -> None:
        """Count a request that failed with one of our codes."""
        self._errors.labels(code).inc()

    def count_webhook(self, result: str) -> None:
        """Count an event: ``sent``, ``failed``, ``refused`` or ``dropped``."""
        self._webhooks.labels(result).inc()

    def text(self) -> bytes:
        """Return all metrics in Prometheus' format."""
        if MULTIPROCESS_VARIABLE not in os.environ:
            return generate_latest(self._registry)
        for file in Path(os.environ[MULTIPROCESS_VARIABLE]).glob("gauge_live*_*.db"):
            try:  # gauges of a process that ended no longer count
                os.kill(int(file.stem.rpartition("_")[2]), 0)
            except ProcessLookupError:
                file.unlink(missing_ok=True)
            except PermissionError:
                continue
        combined = CollectorRegistry()
        MultiProcessCollector(combined)  # type: ignore[no-untyped-call]
        return generate_latest(combined)


# --- middleware -----------------------------------------------------------------------------------

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class RequestMonitor:
    """ASGI middleware that counts and logs every HTTP request, and adds headers to its answer.

    Handlers may leave ``code`` (of an error) and ``audio_s`` in ``request.state``. An internal error becomes
    a 500 here; its place is logged, not its message, which may quote the request.
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

        async def receive_counted() -> Message:
            nonlocal n_bytes
            message = await receive()
            n_bytes += len(message.get("body", b""))
            return message

        async def send_with_headers(message: Message) -> None:
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
            await self._app(scope, receive_counted, send_with_headers)
        except Exception as error:
            state["code"] = "internal"
            log_failure(number, error)
            if status:  # too late for another answer
                raise ConnectionAbortedError("the answer broke off") from None
            text = f"an internal error of the server; please report it with the number {number}"
            document = error_document("internal", text)
            await JSONResponse(document, 500)(scope, receive_counted, send_with_headers)
        finally:
            seconds = time.perf_counter() - start_s
            route = getattr(scope.get("route"), "path", None)
            code = state.get("code")
            if code is not None:
                self._metrics.count_error(code)
            self._metrics.count_request(route, scope["method"], status, seconds)
            log_request(
                number,
                route=route,
                status=status,
                code=code,
                ms=round(1000 * seconds, 1),
                bytes_in=n_bytes,
                audio_s=state.get("audio_s"),
            )


class RepeatedArguments:
    """ASGI middleware for query arguments given more than once, as HTTP libraries send lists.

    ``labels=a&labels=b`` becomes ``labels=a,b``; other arguments may be repeated with one value only.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].startswith("/v1/"):
            values: dict[str, list[str]] = {}
            for name, value in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True):
                values.setdefault(name, []).append(value)
            for name, several in values.items():
                if name == "labels":
                    values[name] = [",".join(several)]
                elif len(set(several)) > 1:
                    scope.setdefault("state", {})["code"] = "bad_argument"
                    shown = " and ".join(repr(value[:80]) for value in several[:2])
                    text = f"{name[:80]} is given more than once, as {shown}; expected one value"
                    await JSONResponse(error_document("bad_argument", text), 400)(scope, receive, send)
                    return
            if any(len(several) > 1 for several in values.values()) or "labels" in values:
                pairs = [(name, several[0]) for name, several in values.items()]
                scope["query_string"] = urlencode(pairs).encode("ascii")
        await self._app(scope, receive, send)
