"""Asks a server (`emovox serve`) as one asks a `Recognizer`, and gets the same results (extra ``serve``).

::

    with Client("http://127.0.0.1:8000") as server:
        server.predict("clip.wav").label
        for segment in server.timeline("call.flac"): ...

Errors are those of the recogniser; what only a server can do wrong is a `ServerError`.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from emovox.client import rows
from emovox.client.key import authorization
from emovox.client.live import Live, live
from emovox.errors import (
    AudioDecodeError,
    AudioNotFoundError,
    AudioValueError,
    EmovoxError,
    MissingExtraError,
    ServerError,
)
from emovox.results import Prediction, Segment

if TYPE_CHECKING:
    import httpx

    from emovox.inference.adaptation import Profile

__all__ = ["Client"]

Source: TypeAlias = str | os.PathLike[str] | bytes
"""A path, or the bytes of a file."""

_LONGEST_WAIT_S = 60.0


class Client:
    """A connection to a server. May be shared between threads; close it, or use it in a ``with``.

    Args:
        url: of the server, such as ``http://127.0.0.1:8000``.
        api_key: the server's, if it asks for one.
        timeout_s: seconds of silence before a request is given up.
        retries: how often a request that found the server busy is made again, when the server says.

    Raises:
        ConfigError: the API key cannot be one.
        MissingExtraError: the extra ``serve`` is not installed.
    """

    def __init__(
        self, url: str, *, api_key: str | None = None, timeout_s: float = 60.0, retries: int = 3
    ) -> None:
        try:
            import httpx
        except ImportError:
            raise MissingExtraError("the client", "serve") from None
        self.url = url.rstrip("/")
        self._api_key = api_key
        self._retries = retries
        self._http = httpx.Client(base_url=self.url, headers=authorization(api_key), timeout=timeout_s)
        self._failures = (httpx.TransportError, httpx.InvalidURL)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.url!r})"

    def close(self) -> None:
        """Let go of the connections."""
        self._http.close()

    # ------------------------------------------------------------------------------ whole recordings

    def predict(
        self,
        source: Source,
        *,
        labels: Iterable[str] | str | None = None,
        channels: str | int = "mix",
        vad: str = "on",
        model: str | None = None,
        profile: Profile | None = None,
    ) -> Prediction:
        """Judge one recording, as `Recognizer.predict`.

        Args:
            source: a path, or the bytes of a file.
            labels, channels, vad, profile: as there.
            model: one of `models`; the server's default unless given.

        Raises:
            AudioError, LabelError, ProfileError, ConfigError: as there.
            ServerError: the server cannot be reached, or refuses.
        """
        if channels == "each":
            raise AudioValueError("predict gives one answer; for one answer a channel call predict_channels")
        return self._predict(source, _query(labels, channels, vad, model), profile)[0]

    def predict_channels(
        self,
        source: Source,
        *,
        labels: Iterable[str] | str | None = None,
        vad: str = "on",
        model: str | None = None,
        profile: Profile | None = None,
    ) -> list[Prediction]:
        """Judge each channel apart; arguments and errors are those of `predict`."""
        return self._predict(source, _query(labels, "each", vad, model), profile)

    def predict_many(
        self,
        sources: Iterable[Source],
        *,
        workers: int = 4,
        labels: Iterable[str] | str | None = None,
        channels: str | int = "mix",
        vad: str = "on",
        model: str | None = None,
        profile: Profile | None = None,
    ) -> Iterator[Prediction]:
        """Judge many recordings, ``workers`` at a time; answers come in input order.

        One that fails is a `Prediction` with ``error`` and costs no other.

        Raises:
            ServerError: while iterating, the server cannot be reached, or refuses all.
        """
        query = _query(labels, channels, vad, model)
        waiting: deque[tuple[Source, Future[list[Prediction]]]] = deque()
        with ThreadPoolExecutor(workers) as pool:
            try:
                for source in sources:
                    waiting.append((source, pool.submit(self._predict, source, query, profile)))
                    if len(waiting) > 2 * workers:
                        yield from _rows(*waiting.popleft())
                while waiting:
                    yield from _rows(*waiting.popleft())
            finally:
                for _, future in waiting:
                    future.cancel()

    def _predict(self, source: Source, query: dict[str, str], profile: Profile | None) -> list[Prediction]:
        with self._asked("POST", "/v1/predict", query, source, profile) as response:
            answer = json.loads(response.read())
        name = f"{answer['model']['name']} {answer['model']['version']}"
        return [rows.prediction(row, file=_file(source), model=name) for row in answer["predictions"]]

    # ------------------------------------------------------------------------------ along the time

    def timeline(
        self,
        source: Source,
        *,
        window_s: float | None = None,
        hop_s: float | None = None,
        labels: Iterable[str] | str | None = None,
        channels: str | int = "mix",
        vad: str = "on",
        model: str | None = None,
        profile: Profile | None = None,
    ) -> Iterator[Segment]:
        """The segments of a recording, given while the server computes them, as `Recognizer.timeline`.

        Raises:
            EmovoxError: while iterating, those of `predict`.
        """
        query = {**_query(labels, channels, vad, model), "format": "sse"}
        query |= {name: str(x) for name, x in (("window", window_s), ("hop", hop_s)) if x is not None}
        with self._asked("POST", "/v1/timeline", query, source, profile) as response:
            for kind, data in _events(response.iter_lines()):
                if kind == "segment":
                    yield rows.segment(data, file=_file(source))
                elif kind == "error":
                    raise rows.raised(data)
                elif kind == "end":
                    return
        raise ServerError("broken_off", f"{self.url}: the answer broke off; ask again")

    def stream(
        self,
        *,
        rate: int | None = None,
        encoding: str = "pcm16",
        window_s: float | None = None,
        hop_s: float | None = None,
        labels: Iterable[str] | str | None = None,
        vad: str | None = None,
        model: str | None = None,
    ) -> AbstractContextManager[Live]:
        """A live voice, for a ``with``: `emovox.client.live` on this server."""
        return live(
            self.url,
            rate=rate,
            encoding=encoding,
            window_s=window_s,
            hop_s=hop_s,
            labels=labels,
            vad=vad,
            model=model,
            api_key=self._api_key,
        )

    # ------------------------------------------------------------------------------ the server

    def models(self) -> list[dict[str, Any]]:
        """What is known of the server's models; the first is its default.

        Raises:
            ServerError: the server cannot be reached, or refuses.
        """
        with self._asked("GET", "/v1/models") as response:
            answer: dict[str, Any] = json.loads(response.read())
        return list(answer["models"])

    def health(self) -> bool:
        """Whether the server takes work. False, too, when it cannot be reached."""
        try:
            return self._http.get("/readyz").status_code == 200
        except self._failures:
            return False

    @contextmanager
    def _asked(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        source: Source | None = None,
        profile: Profile | None = None,
    ) -> Iterator[httpx.Response]:
        """An answer that is the one asked for, whose body was not read yet."""
        for attempt in range(self._retries + 1):
            with _body(source, profile) as body, self._sent(method, path, query, body) as response:
                if response.status_code == 200:
                    yield response
                    return
                error = rows.raised(_document(response), response.headers.get("retry-after"))
            if not isinstance(error, ServerError) or error.retry_after_s is None or attempt == self._retries:
                raise error
            time.sleep(min(error.retry_after_s, _LONGEST_WAIT_S))

    @contextmanager
    def _sent(
        self, method: str, path: str, query: Mapping[str, str] | None, body: Mapping[str, Any]
    ) -> Iterator[httpx.Response]:
        try:
            with self._http.stream(method, path, params=query, **body) as response:
                yield response
        except self._failures as error:
            what = str(error) or type(error).__name__
            raise ServerError(
                "unreachable", f"{self.url} does not answer: {what}; does `emovox serve` run there?"
            ) from error


# -------------------------------------------------------------------------------- what is sent


def _query(
    labels: Iterable[str] | str | None, channels: str | int, vad: str, model: str | None
) -> dict[str, str]:
    named = labels if labels is None or isinstance(labels, str) else ",".join(labels)
    query = {"labels": named, "channels": str(channels), "vad": vad, "model": model}
    return {name: value for name, value in query.items() if value is not None}


@contextmanager
def _body(source: Source | None, profile: Profile | None) -> Iterator[dict[str, Any]]:
    """What httpx sends: nothing, a recording, or a form when a profile goes with it."""
    if source is None:
        yield {}
        return
    if isinstance(source, bytes):
        yield _told(source, profile)
        return
    try:
        file = Path(source).open("rb")  # noqa: SIM115
    except FileNotFoundError:
        raise AudioNotFoundError(f"{os.fspath(source)!r}: no such file; check the path") from None
    except OSError as error:
        raise AudioDecodeError(f"{os.fspath(source)}: cannot be opened: {error.strerror or error}") from None
    with file:
        yield _told(file, profile)


def _told(sound: Any, profile: Profile | None) -> dict[str, Any]:
    if profile is None:
        return {"content": sound}
    return {"files": [("file", ("sound", sound)), ("profile", ("profile.json", profile.to_json().encode()))]}


def _file(source: Source) -> str | None:
    return None if isinstance(source, bytes) else os.fspath(source)


# -------------------------------------------------------------------------------- what is answered


def _rows(source: Source, answer: Future[list[Prediction]]) -> list[Prediction]:
    try:
        return answer.result()
    except ServerError:
        raise
    except EmovoxError as error:
        return [Prediction(label=None, file=_file(source), error=str(error))]


def _events(lines: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Server-sent events as ``(kind, data)``."""
    kind = ""
    for line in lines:
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


def _document(response: httpx.Response) -> dict[str, Any]:
    """The error document; made up where something between us and the server answered."""
    try:
        document: dict[str, Any] = json.loads(response.read())
        document["error"]["code"], document["error"]["message"]
    except (ValueError, KeyError, TypeError):
        text = f"HTTP {response.status_code} without a word of emovox's; is it the right address?"
        return {"error": {"code": "unknown", "message": text}}
    return document
