"""What is counted, as Prometheus reads it. No label has more values than this file knows."""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

__all__ = ["CONTENT_TYPE", "SHARED", "Metrics"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_OTHER = "other"
_METHODS = ("GET", "HEAD", "POST", "WS")
_CLOSED = (1000, 1001, 1003, 1005, 1006, 1007, 1008, 1009, 1011, 1012, 1013, 4000, 4001, 4002)
"""Codes that a WebSocket ends with, by us or a browser; a client may close with others, thousands of them."""
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SHARED = "PROMETHEUS_MULTIPROC_DIR"
"""Where several processes keep their counts, so that any can tell the sum (prometheus_client names it)."""


class Metrics:
    """The counters of one server; of several processes together when they share a folder."""

    def __init__(self) -> None:
        self._registry = mine = CollectorRegistry()
        self._requests = Counter(
            "emovox_requests", "Requests answered.", ["route", "method", "status"], registry=mine
        )
        self._seconds = Histogram(
            "emovox_request_seconds",
            "From the first byte in to the last byte out.",
            ["route"],
            buckets=_SECONDS,
            registry=mine,
        )
        self._seconds.labels(_OTHER)  # opens the file of a shared folder now, not at the first request
        self._errors = Counter(
            "emovox_errors", "Requests that were not met, by their code.", ["code"], registry=mine
        )
        self.audio_s = Counter("emovox_audio_seconds", "Sound that was judged, in seconds.", registry=mine)
        self.open = _gauge("open_requests", "Requests being received, judged or answered.", mine)
        self.taken = _gauge("judgements_taken", "Judgements that run or wait.", mine)
        self.streams = _gauge("streams", "Live streams that are open.", mine)

    def request(self, route: str | None, method: str, status: int, seconds: float) -> None:
        """Count one request; ``route`` is the template of the path, never the path itself."""
        route, method = route or _OTHER, method if method in _METHODS else _OTHER
        known = method != "WS" or status in _CLOSED
        self._requests.labels(route, method, str(status) if known else _OTHER).inc()
        self._seconds.labels(route).observe(seconds)

    def error(self, code: str) -> None:
        """Count a request that was not met; ``code`` is one of ours."""
        self._errors.labels(code).inc()

    def text(self) -> bytes:
        """All of it, in Prometheus' own format."""
        if SHARED not in os.environ:
            return generate_latest(self._registry)
        _forget_the_dead(os.environ[SHARED])
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)


def _forget_the_dead(folder: str) -> None:
    """What a process that ended says of the present is no longer so."""
    for file in Path(folder).glob("gauge_live*_*.db"):
        number = int(file.stem.rpartition("_")[2])
        if not _lives(number):
            file.unlink(missing_ok=True)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _gauge(name: str, about: str, registry: CollectorRegistry) -> Gauge:
    """Of several processes, the sum of those that live."""
    return Gauge(f"emovox_{name}", about, registry=registry, multiprocess_mode="livesum")
