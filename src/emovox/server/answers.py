"""What is asked of a recording, and the rows that answer it. Runs in a thread; knows nothing of HTTP."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from emovox import audio
from emovox.audio import SAMPLE_RATE, Channels
from emovox.errors import EmovoxError
from emovox.inference.adaptation import Profile
from emovox.inference.recognizer import Recognizer
from emovox.inference.stream import BLOCK_S, Stream, Switch
from emovox.results import Prediction, Segment, Window
from emovox.server.schemas import Refusal, check_overlap, refusal_for
from emovox.server.uploads import Upload

__all__ = ["Asked", "Event", "Heard", "asked_of", "predictions", "timeline"]

Event: TypeAlias = tuple[str, dict[str, Any]]
"""``segment`` or ``window``, and its row."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of every recording of a request."""

    labels: str | tuple[str, ...] | None = None
    channels: Channels = "mix"
    vad: Switch = "on"
    window_s: float | None = None
    hop_s: float | None = None
    profile: Profile | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """What one more block of a recording gave."""

    events: list[Event]
    duration_s: float
    """Of all blocks so far."""
    channels: tuple[int | None, ...]
    """As rows number them."""


def asked_of(model: Recognizer, asked: Asked, profile: bytes | None = None) -> Asked:
    """``asked`` with its labels spelt out and the profile read, if the model can answer it.

    Raises:
        Refusal: a label, a window or the profile does not suit the model.
    """
    try:
        whole = replace(asked, profile=None if profile is None else Profile.from_json(profile))
        stream = _stream(model, whole)
    except EmovoxError as error:
        raise refusal_for(error) from None
    check_overlap(stream.window_s, stream.hop_s, model.spec)
    return replace(whole, labels=stream.labels)


def predictions(model: Recognizer, upload: Upload, asked: Asked) -> list[Prediction]:
    """The answers to one recording: one, or one a channel.

    Raises:
        Refusal: it cannot be judged.
    """
    how: dict[str, Any] = {"labels": asked.labels, "vad": asked.vad, "profile": asked.profile}
    try:
        if asked.channels == "each":
            found = model.predict_channels(upload.file, **how)
        else:
            found = [model.predict(upload.file, channels=asked.channels, **how)]
    except EmovoxError as error:
        raise _unnamed(refusal_for(error)) from None
    return [replace(each, file=upload.name) for each in found]


def timeline(
    model: Recognizer, upload: Upload, asked: Asked, *, max_s: float
) -> Generator[Heard, None, None]:
    """What each block of a recording gives, and last what its end does.

    Raises:
        Refusal: it cannot be judged, or not to its end.
    """
    streams: list[Stream] = []
    numbers: tuple[int | None, ...] = ()
    n = 0
    try:
        for block in audio.blocks(upload.file, channels=asked.channels, block_s=BLOCK_S, max_s=max_s):
            if not streams:
                streams = [_stream(model, asked) for _ in block]
                numbers = _numbers(asked.channels, len(block))
            n += block.shape[1]
            found = [stream.push(x) for stream, x in zip(streams, block, strict=True)]
            yield Heard(_events(upload.name, numbers, found), n / SAMPLE_RATE, numbers)
        rest = [stream.flush() for stream in streams]
        yield Heard(_events(upload.name, numbers, rest), n / SAMPLE_RATE, numbers)
    except EmovoxError as error:
        raise _unnamed(refusal_for(error)) from None


def _stream(model: Recognizer, asked: Asked) -> Stream:
    return model.stream(
        sample_rate=SAMPLE_RATE,
        window_s=asked.window_s,
        hop_s=asked.hop_s,
        labels=asked.labels,
        vad=asked.vad,
        profile=asked.profile,
    )


def _numbers(channels: Channels, n: int) -> tuple[int | None, ...]:
    if channels == "each":
        return tuple(range(n))
    return (None if channels == "mix" else int(channels),)


def _events(
    file: str | None, numbers: Sequence[int | None], found: Sequence[Sequence[Window | Segment]]
) -> list[Event]:
    pairs = zip(numbers, found, strict=True)
    return [_event(each, file, number) for number, several in pairs for each in several]


def _event(each: Window | Segment, file: str | None, channel: int | None) -> Event:
    if isinstance(each, Segment):
        return "segment", replace(each, file=file, channel=channel).to_dict()
    return "window", {"channel": channel, **each.to_dict()}


def _unnamed(refusal: Refusal) -> Refusal:
    """The row names its file already; what the door calls it says nothing."""
    text = refusal.message.removeprefix("file object: ")
    return Refusal(refusal.status, refusal.code, text)
