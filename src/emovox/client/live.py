"""A live voice, judged by a server: sound goes up, windows and segments come down (extra ``serve``)."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from emovox.client import rows
from emovox.client.key import authorization
from emovox.errors import AudioValueError, ConfigError, MissingExtraError, ServerError
from emovox.results import Segment, Window

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

__all__ = ["Live", "live"]

_PIECE_BYTES = 1 << 16
"""Sent at once. What is there is read in between, so that neither side ever waits for the other to read."""

_TYPES = {"pcm16": "h", "float32": "f"}
"""What `memoryview` calls the samples of an encoding."""


class Live:
    """A live voice. It has a state: use one for each voice, from one thread. Opened by `live`."""

    def __init__(self, socket: ClientConnection, start: dict[str, Any], timeout_s: float) -> None:
        self._socket, self._timeout_s = socket, timeout_s
        self._encoding = str(start["encoding"])
        self._is_over = False
        self.duration_s: float | None = None
        """Of the sound that the server heard, once it was flushed."""
        self._say(start)
        ready = self._answer(timeout_s)
        self.model: str = "{name} {version}".format(**ready["model"])
        self.labels: tuple[str, ...] = tuple(ready["labels"])
        """The emotions it answers, in the order of its scores."""
        self.window_s: float = ready["window_s"]
        self.hop_s: float = ready["hop_s"]

    def push(self, chunk: Any) -> list[Window | Segment]:
        """Send sound; give what has come back by now, which may be of earlier chunks.

        Args:
            chunk: bytes in the encoding of the voice, cut anywhere, or an array of its samples ``(n,)``.

        Raises:
            AudioValueError: an array of another type, or the voice was flushed.
            EmovoxError: what `Recognizer.stream` would raise.
            ServerError: the server ended it, or cannot be reached any more.
        """
        if self._is_over:
            raise AudioValueError("this voice was flushed; open another one")
        data = self._bytes(chunk)
        found: list[Window | Segment] = []
        for at in range(0, len(data), _PIECE_BYTES):
            self._send(bytes(data[at : at + _PIECE_BYTES]))
            found += self._there()
        return found

    def flush(self) -> list[Window | Segment]:
        """End the sound, wait for the rest, and give it.

        Raises:
            ServerError: as `push`, or the server did not answer in time.
        """
        if self._is_over:
            return []
        self._is_over = True
        self._say({"type": "flush"})
        found: list[Window | Segment] = []
        while (answer := self._answer(self._timeout_s))["type"] != "flushed":
            found += _results(answer)
        self.duration_s = answer["duration_s"]
        self._say({"type": "stop"})
        return found

    def _bytes(self, chunk: Any) -> memoryview:
        view = memoryview(chunk)
        wanted = _TYPES.get(self._encoding)
        if view.format not in ("B", wanted) or view.ndim != 1:
            raise AudioValueError(
                f"got an array of type {view.format!r} with {view.ndim} axes; expected bytes"
                + (f", or samples (n,) of {self._encoding}" if wanted else "")
            )
        if view.c_contiguous and len(view):
            return view.cast("B")
        return memoryview(view.tobytes())  # such as one channel of a stereo array

    def _there(self) -> list[Window | Segment]:
        """All that has come, without waiting."""
        found: list[Window | Segment] = []
        while True:
            try:
                found += _results(self._answer(0))
            except TimeoutError:
                return found

    def _say(self, message: dict[str, Any]) -> None:
        self._send(json.dumps(message))

    def _send(self, frame: str | bytes) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            self._socket.send(frame)
        except ConnectionClosed:
            self._why()

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        """The next answer. Raises TimeoutError when there is none at once, ServerError when none in time."""
        from websockets.exceptions import ConnectionClosed

        try:
            answer: dict[str, Any] = json.loads(self._socket.recv(timeout=timeout_s))
        except ConnectionClosed as end:
            raise _ended(end) from None
        except TimeoutError:
            if not timeout_s:
                raise
            raise ServerError("timeout", f"the server did not answer in {timeout_s:g} s") from None
        if answer["type"] == "error":
            raise rows.raised(answer)
        return answer

    def _why(self) -> None:
        """The connection is closed: raise what the server said before."""
        while True:
            self._answer(self._timeout_s)


@contextmanager
def live(
    url: str,
    *,
    rate: int | None = None,
    encoding: str = "pcm16",
    window_s: float | None = None,
    hop_s: float | None = None,
    labels: Iterable[str] | str | None = None,
    vad: str | None = None,
    model: str | None = None,
    api_key: str | None = None,
    timeout_s: float = 30.0,
) -> Iterator[Live]:
    """Open a live voice.

    Args:
        url: of the server, such as ``http://127.0.0.1:8000``.
        rate: Hz of the samples; a container (``webm``) knows its own.
        encoding: ``pcm16``, ``float32`` (little-endian, one channel) or ``webm``.
        window_s, hop_s, labels, vad: as `Recognizer.stream`.
        model: one of the server's; its default unless given.
        timeout_s: how long an answer that must come may take.

    Raises:
        EmovoxError: what `Recognizer.stream` would raise.
        ConfigError: the API key cannot be one.
        ServerError: the server refuses, or cannot be reached.
        MissingExtraError: the extra ``serve`` is not installed.

    >>> with live("http://127.0.0.1:8000", rate=16_000) as voice:                 # doctest: +SKIP
    ...     for chunk in microphone:
    ...         for each in voice.push(chunk):
    ...             print(each)
    ...     print(voice.flush())
    """
    try:
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect
    except ImportError:
        raise MissingExtraError("a live voice on a server", "serve") from None
    given = {
        "type": "start",
        "encoding": encoding,
        "rate": _hz(rate),
        "window": _seconds("window_s", window_s),
        "hop": _seconds("hop_s", hop_s),
        "labels": labels if labels is None or isinstance(labels, str) else list(labels),
        "vad": vad,
        "model": model,
    }
    start = {name: value for name, value in given.items() if value is not None}
    headers = authorization(api_key)
    address = "ws" + url.rstrip("/").removeprefix("http") + "/v1/stream"
    try:
        socket = connect(address, additional_headers=headers, compression=None, open_timeout=timeout_s)
    except (OSError, TimeoutError, WebSocketException, ValueError) as error:
        raise ServerError("unreachable", f"{url}: no emovox server answers there: {error}") from None
    with socket as opened:
        yield Live(opened, start, timeout_s)


def _hz(rate: Any) -> int | None:
    """A plain int: JSON knows none of numpy's."""
    try:
        return None if rate is None else operator.index(rate)
    except TypeError:
        raise AudioValueError(f"rate is {rate!r}; expected a whole number of Hz, such as 16000") from None


def _seconds(name: str, value: Any) -> float | None:
    """A plain float, likewise."""
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"{name} is {value!r}; expected seconds, such as 2.0") from None


def _results(answer: dict[str, Any]) -> list[Window | Segment]:
    """The result that an answer holds; none in one that a newer server may send."""
    if answer["type"] == "window":
        return [rows.window(answer)]
    return [rows.segment(answer)] if answer["type"] == "segment" else []


def _ended(end: Exception) -> ServerError:
    closing = getattr(end, "rcvd", None)
    if closing is None:
        return ServerError("unreachable", "the connection to the server broke off")
    return ServerError(
        "closed", f"the server closed the connection ({closing.code}): {closing.reason or 'no reason'}"
    )
