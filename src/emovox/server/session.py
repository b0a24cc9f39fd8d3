"""A live conversation between a client and a recogniser, without its socket.

::

    new --start--> active --flush--> flushed --start--> active ...
                    |   ^
                    +---+  binary: windows and segments

    any of them --stop, a refusal, an idle client, too long a session--> closed

A frame gives work that is done a piece at a time, in a thread, in turn with that of other sessions. So a
session knows nothing of sockets, event loops and threads, and can be tested alone.
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
from emovox.errors import EmovoxError, LabelError, did_you_mean
from emovox.inference.options import PredictOptions
from emovox.inference.recognizer import Recognizer
from emovox.inference.triggers import TriggerEvent, Triggers
from emovox.results import Segment, Window
from emovox.server.schemas import Refusal, check_overlap, make_refusal
from emovox.server.stream_decoder import ENCODINGS, make_decoder

__all__ = [
    "Session",
    "SessionLimits",
    "SessionMessage",
    "SessionModel",
    "SessionState",
    "StartMessage",
    "Work",
    "advance",
    "get_close_code",
]

SessionMessage: TypeAlias = dict[str, Any]
"""A message to the client, in plain JSON types."""

Work: TypeAlias = Generator[list[SessionMessage], None, list[SessionMessage]]
"""Done a piece at a time by `advance`; each piece yields messages, and may raise `Refusal`."""


MAX_RULES = 16
"""Rules of one session."""


class SessionState(enum.Enum):
    """State of a conversation."""

    NEW = "new"
    ACTIVE = "active"
    FLUSHED = "flushed"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Limits for one session."""

    message_bytes: int = 1 << 20
    """Of one frame: half a minute of 16 kHz pcm16."""
    idle_s: float = 30.0
    """Between two frames that are not empty."""
    longest_s: float = 4 * 3600.0
    """Of one recording in audio, and of a whole session by the clock."""


@dataclass(frozen=True, slots=True)
class StartMessage(Record):
    """The options of a client. ``None``: the default of the model or the server."""

    encoding: str = "pcm16"
    rate: int | None = None
    """Hz of raw samples; a container states its own."""
    window: float | None = None
    """Seconds."""
    hop: float | None = None
    """Seconds."""
    labels: tuple[str, ...] | None = None
    vad: str | None = None
    adapt: bool = False
    """Whether the model adapts to the speaker as it goes."""
    model: str | None = None
    api_key: str | None = field(default=None, repr=False)
    on: tuple[str, ...] | None = None
    """Rules whose events are returned: see `emovox.inference.triggers`."""
    webhook: str | None = field(default=None, repr=False)
    """URL that gets the events as well."""

    def _check(self) -> None:
        if self.on is not None and len(self.on) > MAX_RULES:
            raise ValueError(f"on: got {len(self.on)} rules; send at most {MAX_RULES}")
        if self.webhook is not None and not self.on:
            raise ValueError('webhook: there is no rule; send some as on, such as ["angry>0.8:2s"]')
        if self.encoding not in ENCODINGS:
            raise ValueError(
                f"encoding: got {self.encoding[:40]!r}; {did_you_mean(self.encoding, ENCODINGS)}"
            )
        if self.encoding != "webm" and self.rate is None:
            raise ValueError("rate: missing; expected the Hz of the samples, such as 16000")


@dataclass(frozen=True, slots=True)
class SessionModel:
    """The model that serves a session."""

    name: str
    """As clients call it."""
    recognizer: Recognizer


class Session:
    """The conversation with one client: frames are processed one after the other.

    Args:
        find_model: returns the model for a start message; may raise `Refusal` (a wrong key, no such model).
        limits: of this session.
        rules: of sessions that name none; their events go to ``notify`` alone.
        notify: called with the start message and each event, from the thread of the work; returns at once.
        clock: monotonic seconds.
    """

    def __init__(
        self,
        find_model: Callable[[StartMessage], SessionModel],
        *,
        limits: SessionLimits | None = None,
        rules: tuple[str, ...] = (),
        notify: Callable[[StartMessage, SessionMessage], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = SessionState.NEW
        self._rules, self._notify = rules, notify
        self._find_model, self._clock = find_model, clock
        self._limits = limits or SessionLimits()
        self._started_at = self._last_at = clock()
        self._lock = threading.RLock()
        self._recording: _LiveRecording | None = None
        self._finished_s = 0.0

    @property
    def audio_s(self) -> float:
        """Seconds of audio since the session began."""
        return self._finished_s + (0.0 if self._recording is None else self._recording.audio_s)

    def receive(self, frame: str | bytes) -> Work:
        """Accept a text or binary frame. The work may raise `Refusal`, which closes the session."""
        if frame:  # an empty frame does not count as activity
            self._last_at = self._clock()
        return self._guard(
            self._process_text(frame) if isinstance(frame, str) else self._process_audio(frame)
        )

    def wait_s(self) -> float:
        """Return how long to wait for the next frame before calling `expire`."""
        return max(0.0, min(self._idle_deadline, self._end_deadline) - self._clock())

    def expire(self) -> Work:
        """End a session without frames: flush the recording, then raise `Refusal`."""
        return self._guard(self._process_expiry())

    def close(self) -> None:
        """Release everything, from any thread; waits for a piece of work in progress."""
        with self._lock:
            self.state = SessionState.CLOSED
            self._close_recording()

    @property
    def _idle_deadline(self) -> float:
        return self._last_at + self._limits.idle_s

    @property
    def _end_deadline(self) -> float:
        return self._started_at + self._limits.longest_s

    def _guard(self, work: Work) -> Work:
        """Close the session on errors; hold the lock during each piece."""
        while True:
            with self._lock:
                try:
                    answers = next(work)
                except StopIteration as end:
                    last: list[SessionMessage] = end.value
                    return last
                except EmovoxError as error:
                    self.close()
                    raise make_refusal(error) from error
                except BaseException:
                    self.close()
                    raise
            yield answers

    def _close_recording(self) -> None:
        recording, self._recording = self._recording, None
        if recording is not None:
            self._finished_s += recording.audio_s
            recording.close()

    # --- frames ---

    def _process_text(self, text: str) -> Work:
        values = self._parse(text)
        kind = values.pop("type", None)
        if kind == "start":
            return self._start(values)
        if kind == "flush":
            return (yield from self._flush())
        if kind == "stop":
            self.close()
            return []
        raise Refusal(400, "bad_message", f"{_EXPECTED}; got another type of message")

    def _parse(self, text: str) -> dict[str, Any]:
        self._check_size(len(text))
        try:
            values = parse_json(text.encode(errors="replace"))
        except ValueError as error:
            raise Refusal(400, "bad_message", f"{_EXPECTED}; {error}") from None
        if not isinstance(values, dict):
            raise Refusal(400, "bad_message", f"{_EXPECTED}; got another JSON type")
        return values

    def _start(self, values: dict[str, Any]) -> list[SessionMessage]:
        if self.state not in (SessionState.NEW, SessionState.FLUSHED):
            raise Refusal(409, "out_of_order", "start: a recording is in progress; flush it first")
        if isinstance(values.get("labels"), str):
            values["labels"] = values["labels"].split(",")
        try:
            start = StartMessage.from_dict(values, "start")
        except ValueError as error:
            raise Refusal(400, "bad_argument", str(error)) from None
        self._recording = _LiveRecording(
            start, self._find_model(start), self._limits.longest_s, rules=self._rules, notify=self._notify
        )
        self.state = SessionState.ACTIVE
        return [self._recording.ready()]

    def _process_audio(self, data: bytes) -> Work:
        self._check_size(len(data))
        if self._recording is None:
            raise Refusal(409, "out_of_order", "audio arrived before a start message")
        return (yield from self._recording.push(data))

    def _flush(self) -> Work:
        if self._recording is None:
            raise Refusal(409, "out_of_order", "flush: no recording is in progress; start first")
        answers = yield from self._recording.flush()
        self._close_recording()
        self.state = SessionState.FLUSHED
        return answers

    def _process_expiry(self) -> Work:
        if self._recording is not None:
            yield (yield from self._flush())
        if self._idle_deadline <= self._end_deadline:
            raise Refusal(
                408, "idle", f"no data for {self._limits.idle_s:g} s; start again when there is audio"
            )
        raise _make_length_refusal(self._limits.longest_s)

    def _check_size(self, size: int) -> None:
        most = self._limits.message_bytes
        if size > most:
            raise Refusal(413, "too_large", f"a message of {size} bytes; send at most {most} at once")


class _LiveRecording:
    """One recording, from a start to a flush.

    Raises:
        EmovoxError: the options of the start cannot be met.
    """

    def __init__(
        self,
        start: StartMessage,
        model: SessionModel,
        longest_s: float,
        *,
        rules: tuple[str, ...],
        notify: Callable[[StartMessage, SessionMessage], None] | None,
    ) -> None:
        options = PredictOptions(
            labels=start.labels,
            vad=start.vad,  # type: ignore[arg-type]  # checked there
            window_s=start.window,
            hop_s=start.hop,
            adapt=start.adapt,
        )
        self.audio_s = 0.0
        self._model, self._longest_s = model, longest_s
        self._decoder = make_decoder(start.encoding, SAMPLE_RATE if start.rate is None else start.rate)
        self._stream = model.recognizer.open_stream(options, sample_rate=self._decoder.rate)
        check_overlap(self._stream.window_s, self._stream.hop_s, model.recognizer.spec)
        self._start, self._notify, self._id = start, notify, secrets.token_hex(8)
        if start.on is None:  # the operator's rules, as far as the session has their labels
            rules = tuple(rule for rule in rules if _is_known(rule, self._stream.labels))
        self._triggers = Triggers(rules if start.on is None else start.on, self._stream.labels)

    def ready(self) -> SessionMessage:
        """Return the message that confirms the start, with all defaults filled in."""
        return {
            "type": "ready",
            "session": self._id,
            "model": {"name": self._model.name, "version": self._model.recognizer.spec.version},
            "labels": list(self._stream.labels),
            **({"targets": list(targets)} if (targets := self._model.recognizer.targets) else {}),
            "window_s": self._stream.window_s,
            "hop_s": self._stream.hop_s,
        }

    def push(self, data: bytes) -> Work:
        """Process the samples that the bytes complete."""
        return self._process(self._decoder.push(data))

    def flush(self) -> Work:
        """Process the rest."""
        answers = yield from self._process(self._decoder.flush())
        return answers + self._finish()

    def close(self) -> None:
        """Close the decoder, and end the events of a recording that was not flushed."""
        self._decoder.close()
        self._report(self._triggers.flush())

    def _process(self, sounds: Iterable[NDArray[Any]]) -> Work:
        """Process arrays of shape ``(n,)``, one per piece of work."""
        answers: list[SessionMessage] = []
        for number, sound in enumerate(sounds):
            if number:
                yield answers
            answers = self._format(self._stream.push(sound))
            self.audio_s += len(sound) / self._decoder.rate
            if self.audio_s > self._longest_s:
                yield answers + self._finish()
                raise _make_length_refusal(self._longest_s)
        return answers

    def _finish(self) -> list[SessionMessage]:
        flushed = {"type": "flushed", "duration_s": round(self.audio_s, 3)}
        return [*self._format(self._stream.flush(), is_last=True), flushed]

    def _format(self, found: list[Window | Segment], *, is_last: bool = False) -> list[SessionMessage]:
        """Return the messages of results and of the events in them; events go to ``notify`` as well."""
        messages: list[SessionMessage] = [
            {"type": "window" if isinstance(each, Window) else "segment", **each.to_dict()} for each in found
        ]
        events = self._report(self._triggers.push(found) + (self._triggers.flush() if is_last else []))
        return messages if self._start.on is None else messages + events

    def _report(self, events: list[TriggerEvent]) -> list[SessionMessage]:
        """Send events to ``notify``; return their messages to the client."""
        messages: list[SessionMessage] = [{"type": "trigger", **event.to_dict()} for event in events]
        if self._notify is not None:
            for message in messages:
                self._notify(self._start, {**message, "session": self._id, "model": self._model.name})
        return messages


def advance(work: Work) -> tuple[list[SessionMessage], bool]:
    """Do the next piece; return its messages, and whether it was the last."""
    try:
        return next(work), False
    except StopIteration as end:
        return end.value, True


def get_close_code(refusal: Refusal) -> int:
    """Return the code with which a WebSocket is closed."""
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
"""HTTP status -> WebSocket code: RFC 6455 and its registry; the 4000s are ours."""

_EXPECTED = 'expected {"type": "start"}, {"type": "flush"}, {"type": "stop"}, or bytes of audio'


def _is_known(rule: str, labels: tuple[str, ...]) -> bool:
    try:
        Triggers([rule], labels)
    except LabelError:
        return False
    return True


def _make_length_refusal(longest_s: float) -> Refusal:
    return Refusal(413, "too_long", f"a session ends after {longest_s:g} s; open another one")
