"""From sources and a request to rows: the library is called here, and errors become rows."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby
from typing import TYPE_CHECKING

from emovox.cli.sources import STDIN, Source
from emovox.cli.terminal import Progress
from emovox.cli.writers import Row
from emovox.errors import EmovoxError
from emovox.inference.options import Request, answers
from emovox.results import Prediction

if TYPE_CHECKING:
    from emovox.inference.recognizer import Recognizer

__all__ = ["rows"]


def rows(
    model: Recognizer, sources: Sequence[Source], request: Request, progress: Progress, *, workers: int = 1
) -> Generator[Row, None, None]:
    """The rows of all ``sources`` in order; a recording that fails is a row with its error.

    One worker gives each row as soon as it is known; several give them recording by recording.
    """
    shared = workers > 1 and len(sources) > 1
    done = 0
    for is_file, group in groupby(sources, key=lambda source: source.is_file):
        work = partial(_shared, workers=workers) if shared and is_file else _here
        for judged in work(model, group, request):
            for row, share in judged:
                yield row
                progress.at(done + share)
            done += 1
            progress.at(done)


_Judged = Iterable[tuple[Row, float]]


def _here(model: Recognizer, sources: Iterable[Source], request: Request) -> Iterator[_Judged]:
    for source in sources:
        yield _judged(model, source, request)


def _shared(
    model: Recognizer, sources: Iterable[Source], request: Request, workers: int
) -> Iterator[_Judged]:
    from emovox import _parallel

    work = partial(_worker, model, request)
    for outcome in _parallel.map_items(work, sources, workers=workers):
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
        for answer, share in answers(model, sound, request):
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
