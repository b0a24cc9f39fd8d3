"""From sources and a request to rows: the library is called here, and errors become rows."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from emovox.cli.sources import STDIN, Source
from emovox.cli.terminal import Progress
from emovox.cli.writers import Row
from emovox.errors import EmovoxError
from emovox.results import Prediction, Segment

if TYPE_CHECKING:
    from emovox.recognizer import Recognizer

__all__ = ["Channels", "Request", "rows"]

Channels = Literal["mix", "each"] | int


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked of every recording."""

    channels: Channels = "mix"
    labels: tuple[str, ...] | None = None
    timeline: bool = False
    window_s: float | None = None
    hop_s: float | None = None
    workers: int = 1


def rows(
    model: Recognizer, sources: Sequence[Source], request: Request, progress: Progress
) -> Generator[Row, None, None]:
    """The rows of all ``sources`` in order; a recording that fails is a row with its error."""
    many = not request.timeline and request.channels != "each"
    done = 0
    for kind, group in groupby(sources, key=_kind):
        if many and kind == "file":
            names = [source.name for source in group]
            for prediction in model.predict_many(
                names, workers=request.workers, labels=request.labels, channels=request.channels
            ):
                yield prediction.to_dict()
                done += 1
                progress.at(done)
            continue
        for source in group:
            for row, share in _judged(model, source, request):
                yield row
                progress.at(done + share)
            done += 1


def _kind(source: Source) -> str:
    return "problem" if source.problem else "stdin" if source.name == STDIN else "file"


def _judged(model: Recognizer, source: Source, request: Request) -> Iterator[tuple[Row, float]]:
    """The rows of one source, each with the share of it that is done; an error becomes the last row."""
    if source.problem:
        yield _error(source, source.problem), 1.0
        return
    try:
        sound = _stdin() if source.name == STDIN else source.name
        for answer, share in (_segments if request.timeline else _predictions)(model, sound, request):
            yield replace(answer, file=source.name).to_dict(), share
    except (EmovoxError, OSError) as error:
        yield _error(source, str(error)), 1.0
    except Exception as error:  # a fault of ours must not cost the other recordings
        yield _error(source, f"internal error, please report it: {type(error).__name__}: {error}"), 1.0


def _error(source: Source, problem: str) -> Row:
    return Prediction(label=None, file=source.name, error=problem).to_dict()


def _stdin() -> bytes:
    if sys.stdin.isatty():
        raise EmovoxError(
            "standard input is the keyboard; pipe a recording in:  cat clip.wav | emovox predict -"
        )
    return sys.stdin.buffer.read()


def _predictions(
    model: Recognizer, sound: str | bytes, request: Request
) -> Iterator[tuple[Prediction, float]]:
    if request.channels == "each":
        for prediction in model.predict_channels(sound, labels=request.labels):
            yield prediction, 1.0
    else:
        yield model.predict(sound, labels=request.labels, channels=request.channels), 1.0


def _segments(
    model: Recognizer, sound: str | bytes, request: Request
) -> Iterator[tuple[Segment | Prediction, float]]:
    """The stretches of speech of every wanted channel, in the order of their starts."""
    from emovox import audio

    info = audio.probe(sound)
    wanted = range(info.n_channels) if request.channels == "each" else (request.channels,)
    lines = [_line(model, sound, request, channel, info.duration_s) for channel in wanted]
    for answer in heapq.merge(*lines, key=_start_s):
        yield answer, _start_s(answer) / info.duration_s if info.duration_s else 1.0


def _line(
    model: Recognizer, sound: str | bytes, request: Request, channel: Channels, duration_s: float | None
) -> Iterator[Segment | Prediction]:
    """One channel's segments, or a row that says that nobody speaks: no recording goes missing."""
    number = channel if isinstance(channel, int) else None
    count = 0
    for segment in model.timeline(
        sound, window_s=request.window_s, hop_s=request.hop_s, labels=request.labels, channels=channel
    ):
        count += 1
        yield replace(segment, channel=number)
    if not count:
        yield Prediction(label=None, reason="no_speech", duration_s=duration_s, channel=number)


def _start_s(answer: Segment | Prediction) -> float:
    return answer.start_s if isinstance(answer, Segment) else 0.0
