"""What may a live client say, and what is it told? One conversation, without its socket.

::

    new --start--> listening --flush--> flushed --start--> listening ...
                    |     ^
                    +-----+  binary: windows and segments

    any of them --stop, a refusal, an idle client, too long a session--> closed

A frame goes in, and out comes work that is done a piece at a time: in a thread, in turn with that of others.
So a session knows nothing of sockets, loops and threads, and a test can hold all of it.
"""

from __future__ import annotations

import enum
import secrets
import threading
import time
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from numpy.typing import NDArray

from emovox.audio import SAMPLE_RATE
from emovox.bundles.record import Record, parse_json
from emovox.errors import EmovoxError, did_you_mean
from emovox.inference.options import PredictOptions
from emovox.inference.recognizer import Recognizer
from emovox.results import Segment, Window
from emovox.server.schemas import Refusal, check_overlap, refusal_for
from emovox.server.wire import ENCODINGS, wire

__all__ = ["Answer", "Limits", "Session", "Start", "State", "Voice", "Work", "advance", "close_code"]

Answer: TypeAlias = dict[str, Any]
"""What a client is told, in plain JSON types."""

Work: TypeAlias = Generator[list[Answer], None, list[Answer]]
"""Done a piece at a time by `advance`; each piece gives answers, and may raise `Refusal`."""


class State(enum.Enum):
    """Where a conversation stands."""

    NEW = "new"
    LISTENING = "listening"
    FLUSHED = "flushed"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one client may ask for."""

    message_bytes: int = 1 << 20
    """Of one frame: half a minute of 16 kHz pcm16."""
    idle_s: float = 30.0
    """Between two frames that hold anything."""
    longest_s: float = 4 * 3600.0
    """Of sound that is listened to at a stretch, and of a whole session by the clock."""


@dataclass(frozen=True, slots=True)
class Start(Record):
    """How a client wants to be heard. ``None``: as the model and the server have it."""

    encoding: str = "pcm16"
    rate: int | None = None
    """Hz of bare samples; a container knows its own."""
    window: float | None = None
    """Seconds."""
    hop: float | None = None
    """Seconds."""
    labels: tuple[str, ...] | None = None
    vad: str | None = None
    model: str | None = None
    api_key: str | None = field(default=None, repr=False)

    def _check(self) -> None:
        if self.encoding not in ENCODINGS:
            raise ValueError(
                f"encoding: got {self.encoding[:40]!r}; {did_you_mean(self.encoding, ENCODINGS)}"
            )
        if self.encoding != "webm" and self.rate is None:
            raise ValueError("rate: it is missing; the Hz of the samples, such as 16000")


@dataclass(frozen=True, slots=True)
class Voice:
    """Who will listen to a client."""

    name: str
    """Of the model, as clients call it."""
    recognizer: Recognizer


class Session:
    """One client's conversation: its frames one after the other, and all work on one to its end.

    Args:
        opened: who listens, for what a client asked; may raise `Refusal` (a wrong key, no such model).
        limits: of this client.
        clock: seconds, ever rising.
    """

    def __init__(
        self,
        opened: Callable[[Start], Voice],
        *,
        limits: Limits | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = State.NEW
        self._opened, self._clock = opened, clock
        self._limits = limits or Limits()
        self._begun_at = self._last_at = clock()
        self._lock = threading.RLock()
        self._take: _Take | None = None
        self._taken_s = 0.0

    @property
    def heard_s(self) -> float:
        """Seconds of sound since the session began."""
        return self._taken_s + (0.0 if self._take is None else self._take.heard_s)

    def receive(self, frame: str | bytes) -> Work:
        """Take a text or binary frame. Doing the work may raise `Refusal`; the session is closed then."""
        if frame:  # an empty one says nothing, so it is as good as none
            self._last_at = self._clock()
        return self._guarded(self._said(frame) if isinstance(frame, str) else self._sounded(frame))

    def wait_s(self) -> float:
        """How long the next frame may take; later it is for `expire`."""
        return max(0.0, min(self._idle_at, self._over_at) - self._clock())

    def expire(self) -> Work:
        """No frame came in time: what is left is given, and then the `Refusal` raised."""
        return self._guarded(self._expired())

    def close(self) -> None:
        """Let go of everything. Any thread may; a piece of work that is being done is done first."""
        with self._lock:
            self.state = State.CLOSED
            self._put_down()

    @property
    def _idle_at(self) -> float:
        return self._last_at + self._limits.idle_s

    @property
    def _over_at(self) -> float:
        return self._begun_at + self._limits.longest_s

    def _guarded(self, work: Work) -> Work:
        """An error closes the session, and nobody closes it in the middle of a piece."""
        while True:
            with self._lock:
                try:
                    answers = next(work)
                except StopIteration as end:
                    last: list[Answer] = end.value
                    return last
                except EmovoxError as error:
                    self.close()
                    raise refusal_for(error) from error
                except BaseException:
                    self.close()
                    raise
            yield answers

    def _put_down(self) -> None:
        take, self._take = self._take, None
        if take is not None:
            self._taken_s += take.heard_s
            take.close()

    # ------------------------------------------------------------------ what frames mean

    def _said(self, text: str) -> Work:
        values = self._message(text)
        kind = values.pop("type", None)
        if kind == "start":
            return self._start(values)
        if kind == "flush":
            return (yield from self._flush())
        if kind == "stop":
            self.close()
            return []
        raise Refusal(400, "bad_message", f"{_EXPECTED}; got a message of another type")

    def _message(self, text: str) -> dict[str, Any]:
        self._check(len(text))
        try:
            values = parse_json(text.encode(errors="replace"))
        except ValueError as error:
            raise Refusal(400, "bad_message", f"{_EXPECTED}; {error}") from None
        if not isinstance(values, dict):
            raise Refusal(400, "bad_message", f"{_EXPECTED}; got no object")
        return values

    def _start(self, values: dict[str, Any]) -> list[Answer]:
        if self.state not in (State.NEW, State.FLUSHED):
            raise Refusal(409, "out_of_order", "start: the session listens already; flush it first")
        if isinstance(values.get("labels"), str):
            values["labels"] = values["labels"].split(",")
        try:
            start = Start.from_dict(values, "start")
        except ValueError as error:
            raise Refusal(400, "bad_argument", str(error)) from None
        self._take = _Take(start, self._opened(start), self._limits.longest_s)
        self.state = State.LISTENING
        return [self._take.ready()]

    def _sounded(self, data: bytes) -> Work:
        self._check(len(data))
        if self._take is None:
            raise Refusal(409, "out_of_order", "sound came before a start; say how it is to be heard first")
        return (yield from self._take.push(data))

    def _flush(self) -> Work:
        if self._take is None:
            raise Refusal(409, "out_of_order", "flush: nothing is listened to; start first")
        answers = yield from self._take.flush()
        self._put_down()
        self.state = State.FLUSHED
        return answers

    def _expired(self) -> Work:
        if self._take is not None:
            yield (yield from self._flush())
        if self._idle_at <= self._over_at:
            raise Refusal(
                408, "idle", f"nothing came for {self._limits.idle_s:g} s; start again when there is sound"
            )
        raise _too_long(self._limits.longest_s)

    def _check(self, size: int) -> None:
        most = self._limits.message_bytes
        if size > most:
            raise Refusal(413, "too_large", f"a message of {size} bytes; send at most {most} at once")


class _Take:
    """One sound, from a start to a flush.

    Raises:
        EmovoxError: it cannot be heard as the start asks.
    """

    def __init__(self, start: Start, voice: Voice, longest_s: float) -> None:
        options = PredictOptions(
            labels=start.labels,
            vad=start.vad,  # type: ignore[arg-type]  # checked there
            window_s=start.window,
            hop_s=start.hop,
        )
        self.heard_s = 0.0
        self._voice, self._longest_s = voice, longest_s
        self._wire = wire(start.encoding, SAMPLE_RATE if start.rate is None else start.rate)
        self._stream = voice.recognizer.open_stream(options, sample_rate=self._wire.rate)
        check_overlap(self._stream.window_s, self._stream.hop_s, voice.recognizer.spec)

    def ready(self) -> Answer:
        """What the client is told at the start: all that it left to the model."""
        return {
            "type": "ready",
            "session": secrets.token_hex(8),
            "model": {"name": self._voice.name, "version": self._voice.recognizer.spec.version},
            "labels": list(self._stream.labels),
            "window_s": self._stream.window_s,
            "hop_s": self._stream.hop_s,
        }

    def push(self, data: bytes) -> Work:
        """Hear what the bytes complete."""
        return self._hear(self._wire.push(data))

    def flush(self) -> Work:
        """Hear to the end."""
        answers = yield from self._hear(self._wire.flush())
        return answers + self._rest()

    def close(self) -> None:
        """Let go of the decoder."""
        self._wire.close()

    def _hear(self, sounds: Iterable[NDArray[Any]]) -> Work:
        """Hear ``(n,)`` samples each, one a piece of work."""
        answers: list[Answer] = []
        for number, sound in enumerate(sounds):
            if number:
                yield answers
            answers = _answers(self._stream.push(sound))
            self.heard_s += len(sound) / self._wire.rate
            if self.heard_s > self._longest_s:
                yield answers + self._rest()
                raise _too_long(self._longest_s)
        return answers

    def _rest(self) -> list[Answer]:
        flushed = {"type": "flushed", "duration_s": round(self.heard_s, 3)}
        return [*_answers(self._stream.flush()), flushed]


def advance(work: Work) -> tuple[list[Answer], bool]:
    """Do the next piece; its answers, and whether it was the last."""
    try:
        return next(work), False
    except StopIteration as end:
        return end.value, True


def close_code(refusal: Refusal) -> int:
    """The code that a WebSocket is closed with."""
    if refusal.code == "too_long":
        return 4002
    return _CLOSE_CODES.get(refusal.status, 1011)


_CLOSE_CODES = {
    400: 1007,
    401: 1008,
    408: 4001,
    409: 4000,
    413: 1009,
    415: 1003,
    422: 1007,
    429: 1008,
    503: 1013,
}
"""Of HTTP -> of WebSocket: RFC 6455 and its registry; the 4000s are ours."""

_EXPECTED = 'expected {"type": "start"}, {"type": "flush"}, {"type": "stop"}, or bytes of sound'


def _answers(found: list[Window | Segment]) -> list[Answer]:
    return [{"type": "window" if isinstance(each, Window) else "segment", **each.to_dict()} for each in found]


def _too_long(longest_s: float) -> Refusal:
    return Refusal(413, "too_long", f"a session ends after {longest_s:g} s; open another one")
