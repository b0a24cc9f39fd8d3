"""From sources and a request to rows: the library is called here, and errors become rows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from emovox.cli.sources import STDIN, Source
from emovox.cli.terminal import Progress
from emovox.cli.writers import Row
from emovox.errors import EmovoxError
from emovox.results import Prediction, Segment

if TYPE_CHECKING:
    from emovox.profile import Profile
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
    profile: Profile | None = None
    adapt: bool = False


def rows(
    model: Recognizer, sources: Sequence[Source], request: Request, progress: Progress
) -> Generator[Row, None, None]:
    """The rows of all ``sources`` in order; a recording that fails is a row with its error.

    One worker gives each row as soon as it is known; several give them recording by recording.
    """
    shared = request.workers > 1 and len(sources) > 1
    done = 0
    for is_file, group in groupby(sources, key=lambda source: source.is_file):
        for judged in _shared(model, group, request) if shared and is_file else _here(model, group, request):
            for row, share in judged:
                yield row
                progress.at(done + share)
            done += 1
            progress.at(done)


_Judged = Iterable[tuple[Row, float]]


def _here(model: Recognizer, sources: Iterable[Source], request: Request) -> Iterator[_Judged]:
    for source in sources:
        yield _judged(model, source, request)


def _shared(model: Recognizer, sources: Iterable[Source], request: Request) -> Iterator[_Judged]:
    from emovox import batch

    work = partial(_worker, model, request)
    for outcome in batch.run(work, sources, workers=request.workers):
        if outcome.value is None:
            yield [(_error(outcome.item, str(outcome.error)), 1.0)]
        else:
            yield outcome.value


def _worker(model: Recognizer, request: Request) -> Callable[[Source], _Judged]:
    """The work of one process; pickling ``model`` opens it anew over there."""
    return lambda source: list(_judged(model, source, request))


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
    """The row names its file already, so the sentence need not begin with it."""
    return Prediction(label=None, file=source.name, error=problem.removeprefix(f"{source.name}: ")).to_dict()


def _stdin() -> bytes:
    if sys.stdin is None:
        raise EmovoxError("standard input is closed; pipe a recording in:  emovox predict - < clip.wav")
    if sys.stdin.isatty():
        raise EmovoxError("standard input is the keyboard; pipe a recording in:  emovox predict - < clip.wav")
    return sys.stdin.buffer.read()


def _predictions(
    model: Recognizer, sound: str | bytes, request: Request
) -> Iterator[tuple[Prediction, float]]:
    if request.channels == "each":
        for prediction in model.predict_channels(sound, labels=request.labels, profile=request.profile):
            yield prediction, 1.0
        return
    yield (
        model.predict(sound, labels=request.labels, channels=request.channels, profile=request.profile),
        1.0,
    )


def _segments(
    model: Recognizer, sound: str | bytes, request: Request
) -> Iterator[tuple[Segment | Prediction, float]]:
    """The stretches of speech; a channel in which nobody speaks gets a row that says so."""
    from emovox import audio

    info = audio.probe(sound)
    segments = model.timeline(
        sound,
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
