"""What is asked of every recording, and the answers that become its rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Literal, TypeAlias

from emovox.audio import SAMPLE_RATE
from emovox.results import Prediction, Segment

if TYPE_CHECKING:
    from emovox._arrays import Floats
    from emovox.inference.adaptation import Profile
    from emovox.inference.recognizer import Recognizer

__all__ = ["Channels", "Request", "Sound", "answers"]

Channels = Literal["mix", "each"] | int
Sound: TypeAlias = "str | bytes | BinaryIO | Floats"
"""A path, the bytes of a file, a binary file object, or samples ``(n,)`` at 16 kHz."""


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of every recording."""

    channels: Channels = "mix"
    labels: tuple[str, ...] | None = None
    timeline: bool = False
    window_s: float | None = None
    hop_s: float | None = None
    profile: Profile | None = None
    adapt: bool = False


def answers(
    model: Recognizer, sound: Sound, request: Request
) -> Iterator[tuple[Segment | Prediction, float]]:
    """What becomes the rows of one recording, each with the share of it that is done then.

    Raises:
        EmovoxError: while iterating, as `Recognizer.predict` and `Recognizer.timeline`.
    """
    return (_segments if request.timeline else _predictions)(model, sound, request)


def _rate(sound: Sound) -> int | None:
    """Samples are at 16 kHz; a file knows its own rate."""
    return SAMPLE_RATE if hasattr(sound, "__array__") else None


def _predictions(model: Recognizer, sound: Sound, request: Request) -> Iterator[tuple[Prediction, float]]:
    rate = _rate(sound)
    if request.channels == "each":
        several = model.predict_channels(
            sound, sample_rate=rate, labels=request.labels, profile=request.profile
        )
        for prediction in several:
            yield prediction, 1.0
        return
    yield (
        model.predict(
            sound,
            sample_rate=rate,
            labels=request.labels,
            channels=request.channels,
            profile=request.profile,
        ),
        1.0,
    )


def _segments(
    model: Recognizer, sound: Sound, request: Request
) -> Iterator[tuple[Segment | Prediction, float]]:
    """The stretches of speech; a channel in which nobody speaks gets a row that says so."""
    from emovox import audio

    info = audio.probe(sound, sample_rate=_rate(sound))
    segments = model.timeline(
        sound,
        sample_rate=_rate(sound),
        window_s=request.window_s,
        hop_s=request.hop_s,
        labels=request.labels,
        channels=request.channels,
        profile=request.profile,
        adapt=request.adapt,
    )
    heard: set[int | None] = set()
    for segment in segments:
        heard.add(segment.channel)
        yield segment, min(segment.end_s / info.duration_s, 1.0) if info.duration_s else 0.0
    for channel in _channels(request, info.n_channels):
        if channel not in heard:
            yield Prediction(None, reason="no_speech", duration_s=info.duration_s, channel=channel), 1.0


def _channels(request: Request, n_channels: int) -> Sequence[int | None]:
    """What rows say about their channel."""
    if request.channels == "each":
        return range(n_channels)
    return [None if request.channels == "mix" else request.channels]
