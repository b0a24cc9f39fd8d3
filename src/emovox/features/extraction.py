"""Features of many recordings: decode, compute in several processes, cache, return in input order.

::

    table = extract(["a.wav", "b.wav"], "emovox-core")      # table.values (n, d), table.columns (d,)
    for one in iter_features(list_clips(dataset), ["seed-full", "seed-180"], workers=2, cache=cache):
        one.clip.id, one.values, one.error                  # a recording that fails has an error

Training and the command ``emovox features`` compute features through this module alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np

from emovox import _parallel, audio
from emovox._arrays import Bools, Doubles, Floats
from emovox.audio import SAMPLE_RATE
from emovox.errors import ConfigError, EmovoxError
from emovox.features.blocks import frame_blocks
from emovox.features.cache import CachedFeatures, CacheStats, FeatureCache, cache_key, hash_file
from emovox.features.feature_set import FeatureSet, find_feature_set

__all__ = [
    "Clip",
    "ClipChange",
    "ClipFeatures",
    "ClipRows",
    "ClipSource",
    "FeatureTable",
    "Windows",
    "extract",
    "iter_features",
    "iter_frames",
    "iter_rows",
    "list_clips",
    "read_clip",
    "read_clips",
]


# From this duration on, the frames of a recording are computed in blocks.
LONG_S = 600.0
# From this many values on (32 MiB), the windows of a recording are computed one by one.
MANY_VALUES = 1 << 23


# --- clips -------------------------------------------------------------------------------------------


class ClipChange(Protocol):
    """A change to the samples of a clip before features are computed; it can be pickled."""

    @property
    def name(self) -> str:
        """Everything that the change depends on: part of the cache key."""

    def __call__(self, x: Floats, /) -> Floats:
        """Return the changed samples of ``x (n,)``, perhaps of another length."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording, or a part of one."""

    id: str
    path: str
    start_s: float | None = None
    """``None``: from the beginning."""
    end_s: float | None = None
    """``None``: to the end."""
    change: ClipChange | None = None
    """``None``: the samples as they are."""


@runtime_checkable
class HasClips(Protocol):
    """A dataset that lists its clips, such as `emovox.datasets.Manifest`."""

    def clips(self) -> Iterable[tuple[str, str | os.PathLike[str], float | None, float | None]]:
        """Yield ``(id, file, start_s, end_s)`` of each clip."""


PathLike: TypeAlias = "str | os.PathLike[str]"
ClipSource: TypeAlias = "HasClips | Iterable[Clip | PathLike | tuple[PathLike, float | None, float | None]]"
"""A dataset, or an iterable of clips, paths, or ``(path, start_s, end_s)``; ``None`` is the file's end."""


def list_clips(source: ClipSource) -> list[Clip]:
    """List the clips of a dataset under their ids, or recordings under their paths.

    Raises:
        ConfigError: an element is neither a path nor ``(path, start_s, end_s)``.
    """
    if isinstance(source, HasClips):
        return [Clip(key, os.fspath(file), start_s, end_s) for key, file, start_s, end_s in source.clips()]
    if isinstance(source, str | os.PathLike):
        raise ConfigError(f"got the single path {os.fspath(source)!r}; expected several, in a list")
    return [_make_clip(item) for item in source]


def _make_clip(item: Any) -> Clip:
    if isinstance(item, Clip):
        return item
    path, start_s, end_s = item if isinstance(item, tuple) and len(item) == 3 else (item, None, None)
    if not isinstance(path, str | os.PathLike):
        raise ConfigError(f"got {item!r}; expected a path, or (path, start_s, end_s)")
    name = str(os.fspath(path))
    if start_s is None and end_s is None:
        return Clip(name, name)
    until = "" if end_s is None else f",{end_s:g}"
    return Clip(f"{name}#t={start_s or 0:g}{until}", name, start_s, end_s)  # as in W3C Media Fragments


def read_clip(clip: Clip) -> Floats:
    """Read the samples of a clip, ``(n,)`` at 16 kHz, with its change applied.

    Raises:
        AudioError: the recording cannot be decoded, or the clip begins after its end.
    """
    if clip.start_s is None and clip.end_s is None and clip.change is None:
        return audio.read(clip.path)
    return np.concatenate(list(_read_blocks(clip)))


def _read_blocks(clip: Clip) -> Iterator[Floats]:
    """Yield the samples of a clip in blocks ``(n,)``; a change needs all of them at once.

    Raises:
        AudioError: the recording cannot be decoded, or the clip begins after its end.
    """
    blocks = audio.span_blocks(clip.path, clip.start_s, clip.end_s)
    if clip.change is None:
        yield from blocks
    else:
        yield clip.change(np.concatenate(list(blocks)))


# --- windows -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of a clip, one row each.

    A window begins at every multiple of the hop; the last one ends with the clip. A clip shorter than a
    window is one row.

    Raises:
        ConfigError: a length is below one sample, or the hop skips samples between windows.
    """

    window_s: float
    hop_s: float

    def __post_init__(self) -> None:
        if not (np.isfinite(self.window_s) and 1 / SAMPLE_RATE <= self.hop_s <= self.window_s):
            raise ConfigError(
                f"window {self.window_s!r} s, hop {self.hop_s!r} s; expected 0 < hop <= window, "
                "else the sound between windows is lost"
            )

    @property
    def window(self) -> int:
        """Floats of a window."""
        return round(self.window_s * SAMPLE_RATE)

    @property
    def hop(self) -> int:
        """Floats from the start of one window to the next."""
        return round(self.hop_s * SAMPLE_RATE)

    def starts(self, n_samples: int) -> list[int]:
        """Return the first sample of each window of a clip of that length."""
        if n_samples <= self.window:
            return [0]
        last = n_samples - self.window
        return [*range(0, last, self.hop), last]


def iter_windows(
    clip: Clip, sets: Sequence[FeatureSet], windows: Windows
) -> Iterator[tuple[int, int, tuple[Floats, ...]]]:
    """Compute the windows of a clip of any length, one by one, in bounded memory.

    Yields:
        First sample, one past the last, and a row ``(d,)`` of each set.

    Raises:
        AudioError: while iterating: the recording cannot be decoded, or the clip begins after its end.
    """
    for start, x in _cut_windows(_read_blocks(clip), windows):
        yield start, start + x.size, tuple(one(x, SAMPLE_RATE) for one in sets)


def _cut_windows(blocks: Iterable[Floats], windows: Windows) -> Iterator[tuple[int, Floats]]:
    """Yield the first sample and the samples of each window, with a window and a block in memory."""
    held = np.zeros(0, np.float32)
    first = due = 0  # sample number of held[0], and of the next window's start
    for block in blocks:
        held = np.concatenate([held, block])
        # Only a sample beyond a window shows that it is not the last one, which ends with the clip.
        while due + windows.window < first + held.size:
            yield due, held[due - first : due - first + windows.window]
            due += windows.hop
        drop = max(0, min(due, first + held.size - windows.window) - first)
        held, first = held[drop:], first + drop
    last = max(0, held.size - windows.window)
    yield first + last, held[last:]


def iter_frames(clip: Clip, features: FeatureSet) -> Iterator[Floats]:
    """Compute the frames of a clip of any length in blocks ``(t, d)``, in bounded memory.

    Raises:
        ConfigError: at once: the set gives one row a clip, or depends on the whole clip; the message names
            the parameter to change.
        AudioError: while iterating: the recording cannot be decoded, or the clip begins after its end.
    """
    return frame_blocks(_read_blocks(clip), features)


# --- one clip after the other ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class ClipFeatures:
    """The features of one clip, or why there are none."""

    clip: Clip
    values: tuple[Floats, ...] = ()
    """One for each set, in their order: ``(d,)``, or ``(t, d)`` for frames or windows; empty on failure."""
    n_samples: int | None = None
    """Length of the clip at 16 kHz."""
    error: str | None = None
    stats: CacheStats = field(default_factory=CacheStats)


def iter_features(
    clips: Iterable[Clip],
    sets: Sequence[str | FeatureSet],
    *,
    workers: int = 1,
    cache: FeatureCache | None = None,
    windows: Windows | None = None,
) -> Iterator[ClipFeatures]:
    """Compute every set of every clip, in order; a recording is decoded once for all sets.

    Args:
        clips: consumed no further ahead than the workers need.
        sets: names, or sets.
        workers: number of processes.
        cache: where features are looked up and stored.
        windows: split each clip; the sets then have to be of the kind ``vector``.

    Raises:
        ConfigError: a set is unknown, gives frames of windows, or ``sets`` is empty.
        MissingExtraError: a set requires an extra that is not installed.
        EmovoxError: while iterating: a worker could not start.
    """
    chosen = tuple(find_feature_set(one) if isinstance(one, str) else one for one in sets)
    if not chosen:
        raise ConfigError("no feature set was given; expected at least one")
    for one in chosen:
        if windows is not None and one.kind != "vector":
            raise ConfigError(f"the set {one.name!r} gives frames; windows need a set of the kind 'vector'")
    digests = tuple(one.digest for one in chosen)
    factory = partial(_ClipWorker, chosen, digests, cache, windows)
    return map(_unpack_outcome, _parallel.map_items(factory, clips, workers=workers))


def read_clips(clips: Iterable[Clip], *, workers: int = 1) -> Iterator[ClipFeatures]:
    """Read the samples of every clip, ``(n,)`` at 16 kHz, in place of features.

    Raises:
        EmovoxError: while iterating: a worker could not start.
    """
    return map(_unpack_outcome, _parallel.map_items(_SampleReader, clips, workers=workers))


@dataclass(frozen=True, slots=True, eq=False)
class _Computed:
    values: tuple[Floats, ...]
    n_samples: int
    stats: CacheStats


def _unpack_outcome(outcome: _parallel.Outcome[Clip, _Computed]) -> ClipFeatures:
    if outcome.value is None:
        return ClipFeatures(outcome.item, error=outcome.error or "failed without a message")
    done = outcome.value
    return ClipFeatures(outcome.item, done.values, done.n_samples, stats=done.stats)


class _SampleReader:
    """The work of a process of `read_clips`."""

    def __call__(self, clip: Clip) -> _Computed:
        x = read_clip(clip)
        return _Computed((x,), x.size, CacheStats())


class _ClipWorker:
    """The work of a process of `iter_features`."""

    def __init__(
        self,
        sets: tuple[FeatureSet, ...],
        digests: tuple[str, ...],
        cache: FeatureCache | None,
        windows: Windows | None,
    ) -> None:
        self._sets, self._digests = sets, digests
        self._cache, self._windows = cache, windows

    def __call__(self, clip: Clip) -> _Computed:
        if self._cache is None:
            entries = self._compute(clip, self._sets)
            stats = CacheStats(made=len(entries))
        else:
            entries = self._look_up(clip, self._cache)
            stats = self._cache.take_stats()
        return _Computed(tuple(entry.values for entry in entries), entries[0].n_samples, stats)

    def _compute(self, clip: Clip, sets: Sequence[FeatureSet]) -> list[CachedFeatures]:
        if self._windows is None:
            x = read_clip(clip)
            return [CachedFeatures(one(x, SAMPLE_RATE), x.size) for one in sets]
        rows: list[list[Floats]] = [[] for _ in sets]
        n_samples = 0
        for _, n_samples, values in iter_windows(clip, sets, self._windows):  # noqa: B007 - the last end
            for row, value in zip(rows, values, strict=True):
                row.append(value)
        return [CachedFeatures(np.stack(row), n_samples) for row in rows]

    def _look_up(self, clip: Clip, cache: FeatureCache) -> list[CachedFeatures]:
        before = _file_version(clip.path)
        keys = self._keys(clip)
        found = [cache.get(key) for key in keys]
        missing = tuple(one for one, entry in zip(self._sets, found, strict=True) if entry is None)
        computed = iter(self._compute(clip, missing) if missing else ())
        # A file that was replaced meanwhile was hashed in one version and decoded in the other.
        unchanged = _file_version(clip.path) == before
        entries = []
        for key, entry in zip(keys, found, strict=True):
            entries.append(next(computed) if entry is None else entry)
            if entry is None and unchanged:
                cache.put(key, entries[-1])
        return entries

    def _keys(self, clip: Clip) -> list[str]:
        try:
            content = hash_file(clip.path)
        except (OSError, ValueError):
            audio.probe(clip.path)  # raises the error of a recording that cannot be read
            raise
        cut = f"{clip.start_s!r} {clip.end_s!r} {self._windows!r}"
        if clip.change is not None:
            cut = f"{cut} {clip.change.name}"
        return [cache_key(content, cut=cut, digest=digest) for digest in self._digests]


def _file_version(path: str) -> tuple[int, ...]:
    try:
        stat = Path(path).stat()
    except (OSError, ValueError):
        return ()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns


# --- rows and tables ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class ClipRows:
    """Rows of one clip: all of them, or the next ones of a long clip."""

    index: int
    """Position of the clip in the input."""
    times: Doubles
    """``(n, 2)``: start and end in seconds; ``(n, 1)`` for frames: time of each frame."""
    values: Floats
    """``(n, d)``; nan is missing."""
    error: str | None = None
    """Why the clip has no features; it then has one row of nan."""
    stats: CacheStats = field(default_factory=CacheStats)


def iter_rows(
    clips: Iterable[Clip],
    sets: Sequence[FeatureSet],
    *,
    frames: bool = False,
    windows: Windows | None = None,
    workers: int = 1,
    cache: FeatureCache | None = None,
) -> Iterator[ClipRows]:
    """Compute rows of features with their times, clip by clip; long clips come in several pieces.

    Long clips (frames or windows beyond `LONG_S` or `MANY_VALUES`) are computed in bounded memory, and are
    not cached.

    Args:
        clips: in the order of the rows.
        sets: with ``frames`` one set of frames, else sets of the kind ``vector``.
        frames: one row a frame.
        windows: one row a window.
        workers: number of processes.
        cache: where features are looked up and stored.

    Raises:
        ConfigError: as `iter_features`.
        MissingExtraError: a set requires an extra that is not installed.
    """
    n_columns = sum(len(one.columns) for one in sets)
    n_times = 1 if frames else 2
    hop_s = sets[0].hop_s or np.nan

    def frame_times(clip: Clip, first: int, n: int) -> Doubles:
        return (clip.start_s or 0.0) + hop_s * np.arange(first, first + n, dtype=np.float64)[:, None]

    def row_times(one: ClipFeatures, n_rows: int) -> Doubles:
        if frames:
            return frame_times(one.clip, 0, n_rows)
        start_s, n_samples = one.clip.start_s or 0.0, one.n_samples or 0
        if windows is None:
            return np.array([[start_s, start_s + n_samples / SAMPLE_RATE]])
        starts = np.array(windows.starts(n_samples))
        ends = np.minimum(starts + windows.window, n_samples)
        return start_s + np.stack([starts, ends], axis=1) / SAMPLE_RATE

    def pieces(clip: Clip) -> Iterator[tuple[Doubles, Floats]]:
        if windows is not None:
            for start, end, values in iter_windows(clip, sets, windows):
                yield (
                    (clip.start_s or 0.0) + np.array([[start, end]]) / SAMPLE_RATE,
                    np.concatenate(values)[None],
                )
            return
        n_done = 0
        for block in iter_frames(clip, sets[0]):
            yield frame_times(clip, n_done, len(block)), block
            n_done += len(block)

    def failed(index: int, error: str) -> ClipRows:
        nothing = np.full((1, n_columns), np.nan, np.float32)
        return ClipRows(index, np.full((1, n_times), np.nan), nothing, error)

    def is_long(clip: Clip) -> bool:
        if not (frames or windows):
            return False
        duration_s = _duration_s(clip) or 0.0
        return (
            duration_s >= LONG_S if windows is None else duration_s / windows.hop_s * n_columns >= MANY_VALUES
        )

    index = 0
    for long, group in groupby(clips, is_long):
        if not long:
            for one in iter_features(group, sets, workers=workers, cache=cache, windows=windows):
                if one.error is None:
                    values = np.concatenate([np.atleast_2d(v) for v in one.values], axis=1)
                    yield ClipRows(index, row_times(one, len(values)), values, stats=one.stats)
                else:
                    yield failed(index, one.error)
                index += 1
            continue
        for clip in group:
            stats = CacheStats(made=len(sets))
            try:
                for times, values in pieces(clip):
                    yield ClipRows(index, times, values, stats=stats)
                    stats = CacheStats()
            except EmovoxError as error:
                yield failed(index, str(error))
            index += 1


def _duration_s(clip: Clip) -> float | None:
    """Duration of a clip as far as its file states it without being decoded."""
    end_s = clip.end_s
    if end_s is None:
        try:
            end_s = audio.probe(clip.path).duration_s
        except (EmovoxError, OSError):  # reported when the clip is read
            return None
    return None if end_s is None else end_s - (clip.start_s or 0.0)


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Rows of one feature set, in the order of the clips."""

    ids: tuple[str, ...]
    """The clip of each row, ``(n,)``."""
    values: Floats
    """``(n, d)``; nan is missing, and a clip that failed is nan throughout."""
    columns: tuple[str, ...]
    errors: Mapping[str, str]
    """id -> why there are no features."""
    reference: Mapping[str, Any] = field(default_factory=dict)
    """The set and its parameters: `FeatureSet.reference`."""
    stats: CacheStats = field(default_factory=CacheStats)
    times: Doubles | None = None
    """``(n, 2)``: start and end of each row in its recording, in seconds."""

    @property
    def ok(self) -> Bools:
        """Which rows have features, ``(n,)``."""
        return np.array([key not in self.errors for key in self.ids], dtype=np.bool_)


def extract(
    source: ClipSource,
    features: str | FeatureSet = "emovox-core",
    *,
    windows: Windows | None = None,
    workers: int = 1,
    cache: FeatureCache | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureTable:
    """Compute one row of features for each recording, or for each window of it.

    Args:
        source: a dataset, or an iterable of paths, ``(path, start_s, end_s)`` or clips.
        features: a set of the kind ``vector`` (`emovox.features.SETS` lists them), or its name.
        windows: one row a window instead of one a recording.
        workers: number of processes.
        cache: where features are looked up and stored, such as ``FeatureCache(default_folder())``.
        progress: called with the number of clips done and their total.

    Returns:
        A table with ``columns (d,)`` and ``values (n, d)``. A recording that fails is a row of nan, and its
        error is in ``errors``.

    Raises:
        ConfigError: the set is unknown or gives frames, or an argument is out of range.
        MissingExtraError: the set requires an extra that is not installed.
    """
    chosen = find_feature_set(features) if isinstance(features, str) else features
    if chosen.kind != "vector":
        raise ConfigError(f"the set {chosen.name!r} gives frames; a table needs a set of the kind 'vector'")
    clips = list_clips(source)
    ids: list[str] = []
    values = np.empty((len(clips), len(chosen.columns)), np.float32)  # grows if there are windows
    times = [np.empty((0, 2))]
    errors, stats = {}, CacheStats()
    for rows in iter_rows(clips, [chosen], windows=windows, workers=workers, cache=cache):
        clip = clips[rows.index]
        n = len(ids)
        ids += [clip.id] * len(rows.values)
        if len(ids) > len(values):
            values.resize((2 * len(ids), values.shape[1]), refcheck=False)
        values[n : len(ids)] = rows.values
        times.append(rows.times)
        stats += rows.stats
        if rows.error is not None:
            errors[clip.id] = rows.error
        if progress is not None:
            progress(rows.index + 1, len(clips))
    return FeatureTable(
        tuple(ids),
        values[: len(ids)],
        chosen.columns,
        errors,
        chosen.reference(),
        stats,
        np.concatenate(times),
    )
