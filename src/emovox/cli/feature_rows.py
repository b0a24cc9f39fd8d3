"""Recordings in, rows of features out: what ``emovox features`` does once it knows what is wanted."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count, groupby
from pathlib import Path

import numpy as np
import typer

from emovox import audio
from emovox._arrays import Doubles, Floats
from emovox.cli.feature_tables import Layout, Rows, Sheet, opened_sheet
from emovox.cli.sources import STDIN, expand
from emovox.cli.terminal import Progress, say
from emovox.errors import EmovoxError
from emovox.features import FeatureSet, extraction
from emovox.features.cache import Store, Tally
from emovox.features.extraction import Clip, Extracted, Windows

__all__ = ["LONG_S", "MANY_VALUES", "Job", "Plan", "of_manifest", "of_paths", "write"]

LONG_S = 600.0
"""Seconds from which the frames of a recording come in pieces."""

MANY_VALUES = 1 << 23
"""Features of windows, 32 MiB, from which those of a recording come one by one."""

_ABOUT = ("file", "id", "corpus", "speaker", "emotion")
"""What stands about a clip in its rows; without a manifest the file alone."""


@dataclass(frozen=True, slots=True)
class Job:
    """A clip, or why there is none."""

    about: tuple[str | None, ...]
    """What its rows say about it: as many of `_ABOUT` as are known."""
    clip: Clip | None
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be computed of what, and how."""

    jobs: tuple[Job, ...]
    sets: tuple[FeatureSet, ...]
    frames: bool
    windows: Windows | None
    workers: int
    store: Store | None

    @property
    def layout(self) -> Layout:
        """The columns that come of it."""
        about = _ABOUT if any(len(job.about) > 1 for job in self.jobs) else _ABOUT[:1]
        times = ("time_s",) if self.frames else ("start_s", "end_s")
        several = len(self.sets) > 1
        names = tuple(f"{s.name}.{c}" if several else c for s in self.sets for c in s.columns)
        return Layout(about, times, names, [s.reference() for s in self.sets])


def of_paths(paths: Sequence[str], *, recursive: bool) -> list[Job]:
    """The recordings that arguments name; one that names none is a job with a problem."""
    if STDIN in paths:
        raise typer.BadParameter("standard input cannot be read here; save the recording to a file")
    return [
        Job((source.name,), Clip(source.name, source.name) if source.is_file else None, source.problem)
        for source in expand(paths, recursive=recursive)
    ]


def of_manifest(data: Path) -> list[Job]:
    """The clips of a manifest, or of a corpus's folder."""
    from emovox.datasets.loading import Dataset

    found = Dataset.load(data)
    for line in found.notes:
        say(line)
    rows = zip(found.manifest, extraction.clips_of(found.manifest), strict=True)
    return [Job((clip.path, u.id, u.corpus, u.speaker, u.emotion), clip) for u, clip in rows]


# ------------------------------------------------------------------------------------- how it is done


def write(plan: Plan, output: Path) -> int:
    """Compute, write, count; the exit code."""
    layout = plan.layout
    counts = _Counts()
    progress = Progress(len(plan.jobs), enabled=len(plan.jobs) > 1)
    try:
        with opened_sheet(output, layout) as sheet:
            for rows in _rows(plan, layout, counts):
                _add(sheet, rows, counts, progress)
    except KeyboardInterrupt:
        progress.hide()
        kept = "" if plan.store is None else "; run it again to go on, what was computed is kept"
        say(f"interrupted; {str(output)!r} is not written{kept}")
        return 130
    progress.hide()
    for line in counts.warnings(plan.store):
        say(line)
    typer.echo(
        f"{_many(counts.n_rows, 'row')} of {len(layout.features)} features of "
        f"{_many(len(plan.jobs), 'recording')} "
        f"({counts.origin()}): {output}"
    )
    return 1 if counts.failed else 0


def _many(n: int, what: str) -> str:
    return f"{n} {what}" if n == 1 else f"{n} {what}s"


def _add(sheet: Sheet, rows: Rows, counts: _Counts, progress: Progress) -> None:
    sheet.add(rows)
    counts.n_rows += len(rows.values)
    if rows.error is not None:
        counts.failed.add(rows.clip)
        progress.hide()
        name = f"{rows.about[0]}: "  # which most errors begin with
        say(name + rows.error.removeprefix(name))
    progress.at(rows.clip + 1)


class _Counts:
    """What is told at the end."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.failed: set[int] = set()
        self.n_rows = 0

    def origin(self) -> str:
        """Where the features came from."""
        failed = f", {_many(len(self.failed), 'recording')} failed" if self.failed else ""
        return f"{self.tally.made} computed, {self.tally.found} from the store{failed}"

    def warnings(self, store: Store | None) -> Iterator[str]:
        """What was wrong with the store, which costs time and nothing else."""
        where = "" if store is None else f" {str(store.root)!r}"
        if self.tally.corrupt:
            yield f"{self.tally.corrupt} entries of the store{where} were damaged, and computed again"
        if self.tally.unwritten:
            yield (
                f"{self.tally.unwritten} entries could not be kept in the store{where}: is the disk full, or "
                "may it not be written to?"
            )


def _rows(plan: Plan, layout: Layout, counts: _Counts) -> Iterator[Rows]:
    """The rows of all jobs in their order; long recordings' frames come in pieces."""
    numbers = count()
    in_pieces = groupby(plan.jobs, lambda job: _is_long(plan, len(layout.features), job.clip))
    for long, some in in_pieces:
        rows = _streamed if long else _extracted
        yield from rows(plan, list(some), layout, counts, lambda: next(numbers))


def _extracted(
    plan: Plan, jobs: Sequence[Job], layout: Layout, counts: _Counts, number: Callable[[], int]
) -> Iterator[Rows]:
    clips = (job.clip for job in jobs if job.clip is not None)
    got = extraction.extract(clips, plan.sets, workers=plan.workers, store=plan.store, windows=plan.windows)
    for job in jobs:
        one = None if job.clip is None else next(got)
        if one is None or one.error is not None:
            yield _failed(job, layout, number(), job.problem if one is None else one.error)
            continue
        counts.tally += one.tally
        values = np.concatenate([np.atleast_2d(v) for v in one.values], axis=1)
        yield Rows(number(), job.about, _times(plan, one, len(values)), values)


def _is_long(plan: Plan, n_columns: int, clip: Clip | None) -> bool:
    """Whether all rows of a recording at once would be too much."""
    if clip is None or not (plan.frames or plan.windows):
        return False
    seconds = extraction.duration_s(clip) or 0.0
    if plan.windows is None:
        return seconds >= LONG_S
    return seconds / plan.windows.hop_s * n_columns >= MANY_VALUES


def _streamed(
    plan: Plan, jobs: Sequence[Job], layout: Layout, counts: _Counts, number: Callable[[], int]
) -> Iterator[Rows]:
    """Rows of long recordings, in bounded memory; they are not kept."""
    for job in jobs:
        assert job.clip is not None
        clip = number()
        try:
            for times, values in _pieces(plan, job.clip):
                yield Rows(clip, job.about, times, values)
        except EmovoxError as error:
            yield _failed(job, layout, clip, str(error))
        else:
            counts.tally += Tally(made=len(plan.sets))


def _pieces(plan: Plan, clip: Clip) -> Iterator[tuple[Doubles, Floats]]:
    """Times and values of some rows after the other."""
    if plan.windows is not None:
        begin_s = clip.start_s or 0.0
        for start, end, values in extraction.windowed(clip, plan.sets, plan.windows):
            yield begin_s + np.array([[start, end]]) / audio.SAMPLE_RATE, np.concatenate(values)[None]
        return
    n_done = 0
    for frames in extraction.frames(clip, plan.sets[0]):
        yield _frame_times(plan, clip, n_done, len(frames)), frames
        n_done += len(frames)


def _failed(job: Job, layout: Layout, clip: int, error: str | None) -> Rows:
    times = np.full((1, len(layout.times)), np.nan)
    values = np.full((1, len(layout.features)), np.nan, np.float32)
    return Rows(clip, job.about, times, values, error or "it failed")


def _times(plan: Plan, one: Extracted, n_rows: int) -> Doubles:
    if plan.frames:
        return _frame_times(plan, one.clip, 0, n_rows)
    start_s, n_samples = one.clip.start_s or 0.0, one.n_samples or 0
    if plan.windows is None:
        return np.array([[start_s, start_s + n_samples / audio.SAMPLE_RATE]])
    starts = np.array(plan.windows.starts(n_samples))
    ends = np.minimum(starts + plan.windows.window, n_samples)
    return start_s + np.stack([starts, ends], axis=1) / audio.SAMPLE_RATE


def _frame_times(plan: Plan, clip: Clip, first: int, n_rows: int) -> Doubles:
    hop_s = plan.sets[0].hop_s or np.nan
    return (clip.start_s or 0.0) + hop_s * np.arange(first, first + n_rows, dtype=np.float64)[:, None]
