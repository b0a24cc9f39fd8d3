"""Client of `emovox serve` with the methods and results of `Recognizer` (extra ``serve``).

::

    with Client("http://127.0.0.1:8000") as server:
        server.predict("clip.wav").label
        for segment in server.timeline("call.flac"): ...

Errors are those of the recognizer; what only a server can do wrong is a `ServerError`.
"""

from __future__ import annotations

import json
import os
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeAlias

from emovox.client.live import LiveStream, live
from emovox.client.protocol import authorization_header, error_from_document
from emovox.errors import (
    AudioDecodeError,
    AudioNotFoundError,
    AudioValueError,
    EmovoxError,
    MissingExtraError,
    ServerError,
    TranscriptError,
)
from emovox.results import Prediction, Segment, SegmentPrediction

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
        api_key: the server's, if it requires one.
        timeout_s: seconds without any data after which a request fails.
        retries: how often a request to a busy server is repeated, after the time that the server states.

    Raises:
        ConfigError: the API key cannot be sent.
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
        self._http = httpx.Client(base_url=self.url, headers=authorization_header(api_key), timeout=timeout_s)
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
        """Close the connections."""
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
        """Predict one recording, as `Recognizer.predict`.

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
        return self._predict(source, _make_query(labels, channels, vad, model), profile)[0]

    def predict_channels(
        self,
        source: Source,
        *,
        labels: Iterable[str] | str | None = None,
        vad: str = "on",
        model: str | None = None,
        profile: Profile | None = None,
    ) -> list[Prediction]:
        """Predict each channel separately; arguments and errors are those of `predict`."""
        return self._predict(source, _make_query(labels, "each", vad, model), profile)

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
        """Predict many recordings, ``workers`` at a time; answers come in input order.

        One that fails is a `Prediction` with ``error`` and does not affect the others.

        Raises:
            ServerError: while iterating, the server cannot be reached, or refuses all.
        """
        query = _make_query(labels, channels, vad, model)

        def result(source: Source, future: Future[list[Prediction]]) -> list[Prediction]:
            try:
                return future.result()
            except ServerError:
                raise
            except EmovoxError as error:
                return [Prediction(label=None, file=_file_name(source), error=str(error))]

        waiting: deque[tuple[Source, Future[list[Prediction]]]] = deque()
        with ThreadPoolExecutor(workers) as pool:
            try:
                for source in sources:
                    waiting.append((source, pool.submit(self._predict, source, query, profile)))
                    if len(waiting) > 2 * workers:
                        yield from result(*waiting.popleft())
                while waiting:
                    yield from result(*waiting.popleft())
            finally:
                for _, future in waiting:
                    future.cancel()

    def _predict(self, source: Source, query: dict[str, str], profile: Profile | None) -> list[Prediction]:
        with self._request("POST", "/v1/predict", query, source, profile) as response:
            answer = json.loads(response.read())
        model = f"{answer['model']['name']} {answer['model']['version']}"
        return [
            replace(Prediction.from_dict(row), file=_file_name(source), model=model)
            for row in answer["predictions"]
        ]

    def predict_segments(
        self,
        source: Source,
        segments: Source,
        *,
        tier: str | None = None,
        labels: Iterable[str] | str | None = None,
        channels: str | int = "mix",
        vad: str = "on",
        model: str | None = None,
        profile: Profile | None = None,
        adapt: bool = False,
    ) -> list[SegmentPrediction]:
        """Predict the segments of a transcript or label file, as `Recognizer.predict_segments`.

        Args:
            source: the recording, a path or the bytes of a file.
            segments: the transcript or label file, likewise.
            tier: of a TextGrid or an ELAN file, the only tier to read.
            labels, channels, vad, model, profile: as in `predict`.
            adapt: whether the model adapts to each speaker.

        Raises:
            TranscriptError: the label file cannot be read.
            EmovoxError: those of `predict`.
        """
        query = _make_query(labels, channels, vad, model) | ({} if tier is None else {"tier": tier})
        query |= {"adapt": "true"} if adapt else {}
        text = segments if isinstance(segments, bytes) else _read_label_file(segments)
        with self._request("POST", "/v1/predict", query, source, profile, text) as response:
            answer = json.loads(response.read())
        name = f"{answer['model']['name']} {answer['model']['version']}"
        found = (SegmentPrediction.from_dict(row, model=name) for row in answer["predictions"])
        return [one.with_file(_file_name(source)) for one in found]

    # ------------------------------------------------------------------------------ over time

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
        adapt: bool = False,
    ) -> Iterator[Segment]:
        """Return the segments of a recording while the server computes them, as `Recognizer.timeline`.

        Raises:
            EmovoxError: while iterating, those of `predict`.
        """
        query = {**_make_query(labels, channels, vad, model), "format": "sse"}
        query |= {name: str(x) for name, x in (("window", window_s), ("hop", hop_s)) if x is not None}
        query |= {"adapt": "true"} if adapt else {}
        with self._request("POST", "/v1/timeline", query, source, profile) as response:
            for kind, data in _read_events(response.iter_lines()):
                if kind == "segment":
                    yield replace(Segment.from_dict(data), file=_file_name(source))
                elif kind == "error":
                    raise error_from_document(data)
                elif kind == "end":
                    return
        raise ServerError("broken_off", f"{self.url}: the answer is incomplete; repeat the request")

    def stream(
        self,
        *,
        sample_rate: int | None = None,
        encoding: str = "pcm16",
        window_s: float | None = None,
        hop_s: float | None = None,
        labels: Iterable[str] | str | None = None,
        vad: str | None = None,
        model: str | None = None,
        adapt: bool = False,
    ) -> AbstractContextManager[LiveStream]:
        """Open a live stream, for a ``with``: `emovox.client.live` on this server."""
        return live(
            self.url,
            sample_rate=sample_rate,
            encoding=encoding,
            window_s=window_s,
            hop_s=hop_s,
            labels=labels,
            vad=vad,
            model=model,
            adapt=adapt,
            api_key=self._api_key,
        )

    # ------------------------------------------------------------------------------ the server

    def models(self) -> list[dict[str, Any]]:
        """Describe the server's models; the first is its default.

        Raises:
            ServerError: the server cannot be reached, or refuses.
        """
        with self._request("GET", "/v1/models") as response:
            answer: dict[str, Any] = json.loads(response.read())
        return list(answer["models"])

    def health(self) -> bool:
        """Return whether the server accepts work; also false when it cannot be reached."""
        try:
            return self._http.get("/readyz").status_code == 200
        except self._failures:
            return False

    @contextmanager
    def _request(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        source: Source | None = None,
        profile: Profile | None = None,
        segments: bytes | None = None,
    ) -> Iterator[httpx.Response]:
        """Yield a response of status 200 whose body was not read yet; a busy server is asked again."""
        for attempt in range(self._retries + 1):
            try:
                with (
                    _open_body(source, profile, segments) as body,
                    self._http.stream(method, path, params=query, **body) as response,
                ):
                    if response.status_code == 200:
                        yield response
                        return
                    document = _read_error(response)
                    error = error_from_document(document, response.headers.get("retry-after"))
            except self._failures as failure:
                what = str(failure) or type(failure).__name__
                raise ServerError(
                    "unreachable", f"{self.url} does not answer: {what}; does `emovox serve` run there?"
                ) from failure
            if not isinstance(error, ServerError) or error.retry_after_s is None or attempt == self._retries:
                raise error
            time.sleep(min(error.retry_after_s, _LONGEST_WAIT_S))


# -------------------------------------------------------------------------------- requests


def _make_query(
    labels: Iterable[str] | str | None, channels: str | int, vad: str, model: str | None
) -> dict[str, str]:
    joined = labels if labels is None or isinstance(labels, str) else ",".join(labels)
    query = {"labels": joined, "channels": str(channels), "vad": vad, "model": model}
    return {name: value for name, value in query.items() if value is not None}


@contextmanager
def _open_body(
    source: Source | None, profile: Profile | None, segments: bytes | None
) -> Iterator[dict[str, Any]]:
    """Yield httpx's arguments: none, the content of a recording, or a form when more is sent."""
    if source is None:
        yield {}
        return
    try:
        # Read by httpx while it sends, so a long recording is never whole in memory.
        sound: Any = source if isinstance(source, bytes) else Path(source).open("rb")  # noqa: SIM115
    except FileNotFoundError:
        raise AudioNotFoundError(f"{_file_name(source)!r}: no such file; check the path") from None
    except OSError as error:
        raise AudioDecodeError(f"{_file_name(source)}: cannot be opened: {error.strerror or error}") from None
    try:
        if profile is None and segments is None:
            yield {"content": sound}
        else:
            # A label file of several recordings is filtered by the name of this one.
            name = "sound" if segments is None else Path(_file_name(source) or "sound").name
            files: list[Any] = [("file", (name, sound))]
            files += [] if profile is None else [("profile", ("profile.json", profile.to_json().encode()))]
            files += [] if segments is None else [("segments", ("segments", segments))]
            yield {"files": files}
    finally:
        if not isinstance(sound, bytes):
            sound.close()


def _read_label_file(path: str | os.PathLike[str]) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise TranscriptError(f"{os.fspath(path)}: cannot be read: {error.strerror or error}") from None


def _file_name(source: Source) -> str | None:
    return None if isinstance(source, bytes) else os.fspath(source)


# -------------------------------------------------------------------------------- responses


def _read_events(lines: Iterable[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield server-sent events as ``(kind, data)``."""
    kind = ""
    for line in lines:
        if line.startswith("event: "):
            kind = line.removeprefix("event: ")
        elif line.startswith("data: "):
            yield kind, json.loads(line.removeprefix("data: "))


def _read_error(response: httpx.Response) -> dict[str, Any]:
    """Return the error document, or one made here where a proxy in between answered."""
    try:
        document: dict[str, Any] = json.loads(response.read())
        document["error"]["code"], document["error"]["message"]
    except (ValueError, KeyError, TypeError):
        text = f"HTTP {response.status_code} without an emovox error document; check the address"
        return {"error": {"code": "unknown", "message": text}}
    return document
