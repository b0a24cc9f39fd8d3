"""Live streams on a server: sound is sent, windows and segments are received (extra ``serve``)."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from emovox.client.protocol import authorization_header, error_from_document
from emovox.errors import AudioValueError, ConfigError, MissingExtraError, ServerError
from emovox.results import Segment, Window

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

__all__ = ["LiveStream", "live"]

_FRAME_BYTES = 1 << 16
"""Sent at once. Results are read in between, so that neither side ever waits for the other to read."""

_TYPES = {"pcm16": "h", "float32": "f"}
"""What `memoryview` calls the samples of an encoding."""


class LiveStream:
    """A stream on a server, with the methods of `emovox.Stream`. Use one for each speaker, from one thread.

    Opened by `live`.
    """

    def __init__(self, socket: ClientConnection, start: dict[str, Any], timeout_s: float) -> None:
        self._socket, self._timeout_s = socket, timeout_s
        self._encoding = str(start["encoding"])
        self._flushed = False
        self.duration_s: float | None = None
        """Seconds of sound that the server processed, after `flush`."""
        self._send(json.dumps(start))
        ready = self._receive(timeout_s)
        self.model: str = "{name} {version}".format(**ready["model"])
        self.labels: tuple[str, ...] = tuple(ready["labels"])
        """The emotions of its scores, in their order."""
        self.window_s: float = ready["window_s"]
        self.hop_s: float = ready["hop_s"]

    def push(self, chunk: Any) -> list[Window | Segment]:
        """Send sound; return what was received by now, which may belong to earlier chunks.

        Args:
            chunk: bytes in the encoding of the stream, cut anywhere, or an array of its samples ``(n,)``.

        Raises:
            AudioValueError: an array of another type, or the stream was flushed.
            EmovoxError: what `Recognizer.stream` would raise.
            ServerError: the server ended it, or cannot be reached any more.
        """
        if self._flushed:
            raise AudioValueError("this stream was flushed; open another one")
        view = memoryview(chunk)
        expected = _TYPES.get(self._encoding)
        if view.format not in ("B", expected) or view.ndim != 1:
            raise AudioValueError(
                f"got an array of type {view.format!r} with {view.ndim} axes; expected bytes"
                + (f", or samples (n,) of {self._encoding}" if expected else "")
            )
        # One channel of a stereo array is not contiguous, and an empty view cannot be cast.
        data = view.cast("B") if view.c_contiguous and len(view) else memoryview(view.tobytes())
        results: list[Window | Segment] = []
        for start in range(0, len(data), _FRAME_BYTES):
            self._send(bytes(data[start : start + _FRAME_BYTES]))
            try:
                while True:
                    results += _read_result(self._receive(0))
            except TimeoutError:
                continue  # Nothing more was received yet.
        return results

    def flush(self) -> list[Window | Segment]:
        """End the sound, wait for the remaining results, and return them.

        Raises:
            ServerError: as `push`, or the server did not answer in time.
        """
        if self._flushed:
            return []
        self._flushed = True
        self._send(json.dumps({"type": "flush"}))
        results: list[Window | Segment] = []
        while (message := self._receive(self._timeout_s))["type"] != "flushed":
            results += _read_result(message)
        self.duration_s = message["duration_s"]
        self._send(json.dumps({"type": "stop"}))
        return results

    def _send(self, frame: str | bytes) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            self._socket.send(frame)
        except ConnectionClosed:
            while True:  # Until the error that the server sent before it closed, or that of the close itself.
                self._receive(self._timeout_s)

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        """Return the next message.

        Raises:
            TimeoutError: with ``timeout_s`` 0, there is none yet.
            ServerError: there was none within ``timeout_s``, or the connection was closed.
        """
        from websockets.exceptions import ConnectionClosed

        try:
            message: dict[str, Any] = json.loads(self._socket.recv(timeout=timeout_s))
        except ConnectionClosed as end:
            if end.rcvd is None:
                raise ServerError("unreachable", "the connection to the server was lost") from None
            reason = end.rcvd.reason or "no reason"
            text = f"the server closed the connection ({end.rcvd.code}): {reason}"
            raise ServerError("closed", text) from None
        except TimeoutError:
            if not timeout_s:
                raise
            raise ServerError("timeout", f"the server did not answer in {timeout_s:g} s") from None
        if message["type"] == "error":
            raise error_from_document(message)
        return message


@contextmanager
def live(
    url: str,
    *,
    sample_rate: int | None = None,
    encoding: str = "pcm16",
    window_s: float | None = None,
    hop_s: float | None = None,
    labels: Iterable[str] | str | None = None,
    vad: str | None = None,
    model: str | None = None,
    adapt: bool = False,
    api_key: str | None = None,
    timeout_s: float = 30.0,
) -> Iterator[LiveStream]:
    """Open a live stream.

    Args:
        url: of the server, such as ``http://127.0.0.1:8000``.
        sample_rate: Hz of the samples; a container (``webm``) has its own.
        encoding: ``pcm16``, ``float32`` (little-endian, one channel) or ``webm``.
        window_s, hop_s, labels, vad, adapt: as `Recognizer.stream`.
        model: one of the server's; its default unless given.
        timeout_s: longest wait for an answer of the server, in seconds.

    Raises:
        EmovoxError: what `Recognizer.stream` would raise.
        ConfigError: the API key cannot be sent.
        ServerError: the server refuses, or cannot be reached.
        MissingExtraError: the extra ``serve`` is not installed.

    >>> with live("http://127.0.0.1:8000", sample_rate=16_000) as stream:         # doctest: +SKIP
    ...     for chunk in microphone:
    ...         for result in stream.push(chunk):
    ...             print(result)
    ...     print(stream.flush())
    """
    try:
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect
    except ImportError:
        raise MissingExtraError("a live stream on a server", "serve") from None
    options = {
        "type": "start",
        "encoding": encoding,
        "rate": _plain_rate(sample_rate),
        "window": _plain_seconds("window_s", window_s),
        "hop": _plain_seconds("hop_s", hop_s),
        "labels": labels if labels is None or isinstance(labels, str) else list(labels),
        "vad": vad,
        "model": model,
        "adapt": True if adapt else None,
    }
    start = {name: value for name, value in options.items() if value is not None}
    headers = authorization_header(api_key)
    address = "ws" + url.rstrip("/").removeprefix("http") + "/v1/stream"
    try:
        socket = connect(address, additional_headers=headers, compression=None, open_timeout=timeout_s)
    except (OSError, TimeoutError, WebSocketException, ValueError) as error:
        raise ServerError("unreachable", f"{url}: no emovox server answers there: {error}") from None
    with socket:
        yield LiveStream(socket, start, timeout_s)


def _plain_rate(rate: Any) -> int | None:
    """Return a plain int: JSON has none of numpy's."""
    try:
        return None if rate is None else operator.index(rate)
    except TypeError:
        raise AudioValueError(f"sample_rate is {rate!r}; expected whole Hz, such as 16000") from None


def _plain_seconds(name: str, value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        raise ConfigError(f"{name} is {value!r}; expected seconds, such as 2.0") from None


def _read_result(message: dict[str, Any]) -> list[Window | Segment]:
    """Return the result in a message, if any: newer servers may send other kinds."""
    if message["type"] == "window":
        return [Window.from_dict(message)]
    return [Segment.from_dict(message)] if message["type"] == "segment" else []
