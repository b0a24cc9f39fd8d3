"""Features of many recordings: heard, computed in several processes, kept, and given in their order.

::

    store = Store(default_root())
    for one in extract(clips_of(manifest), ["seed-full", "seed-180"], workers=2, store=store):
        one.clip.id, one.values, one.error        # a recording that fails is a row with its error
    rows = table(manifest, "seed-full")           # values (n, d), a row a clip

Whatever a set computes of a clip is computed here alone, for training as for the command ``emovox features``.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np

from emovox import _parallel, audio
from emovox._arrays import Bools, Floats
from emovox.audio import SAMPLE_RATE
from emovox.datasets.manifest import Manifest
from emovox.errors import AudioValueError, ConfigError, EmovoxError
from emovox.features import FeatureSet, feature_set
from emovox.features.blocks import frame_blocks
from emovox.features.cache import Entry, Store, Tally, content_hash, entry_key

__all__ = [
    "Change",
    "Clip",
    "Extracted",
    "FeatureTable",
    "Named",
    "Source",
    "Windows",
    "clips_of",
    "duration_s",
    "extract",
    "frames",
    "heard",
    "table",
    "windowed",
]

Named: TypeAlias = "str | os.PathLike[str]"
Source: TypeAlias = "Manifest | Iterable[Clip | Named | tuple[Named, float | None, float | None]]"
"""A manifest, clips, or paths; ``(path, start_s, end_s)`` is a stretch, ``None`` being the file's end."""


class Change(Protocol):
    """What is done to the sound of a clip before anything is computed of it; it can be pickled."""

    @property
    def name(self) -> str:
        """All that it depends on, in words: what the store knows it by."""

    def __call__(self, x: Floats, /) -> Floats:
        """The changed sound of ``x`` ``(n,)``, perhaps of another length."""


@dataclass(frozen=True, slots=True)
class Clip:
    """A recording, or a stretch of one."""

    id: str
    path: str
    start_s: float | None = None
    """``None``: from its beginning."""
    end_s: float | None = None
    """``None``: to its end."""
    change: Change | None = None
    """``None``: the sound as it is."""


@dataclass(frozen=True, slots=True)
class Windows:
    """Cut a clip into windows, each a row.

    One begins at every multiple of the hop, and the last one ends with the sound. A clip shorter than a
    window is one row, as it is.

    Raises:
        ConfigError: they do not last at least a sample, or the hop leaves out sound between them.
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
        """Samples of a window."""
        return round(self.window_s * SAMPLE_RATE)

    @property
    def hop(self) -> int:
        """Samples from one window's start to the next."""
        return round(self.hop_s * SAMPLE_RATE)

    def starts(self, n_samples: int) -> list[int]:
        """First samples of the windows of that much sound."""
        if n_samples <= self.window:
            return [0]
        last = n_samples - self.window
        return [*range(0, last, self.hop), last]


@dataclass(frozen=True, slots=True, eq=False)
class Extracted:
    """What became of one clip."""

    clip: Clip
    values: tuple[Floats, ...] = ()
    """One for each set, in their order: ``(d,)``, or ``(t, d)`` for frames or windows; empty if it failed."""
    n_samples: int | None = None
    """How long the clip is, at 16 kHz."""
    error: str | None = None
    tally: Tally = field(default_factory=Tally)


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Rows of one set, one a clip, in the order of the clips."""

    ids: tuple[str, ...]
    values: Floats
    """``(n, d)``; nan is missing, and a clip that failed is nan throughout."""
    columns: tuple[str, ...]
    errors: Mapping[str, str]
    """id -> why there are no features."""
    reference: Mapping[str, Any] = field(default_factory=dict)
    """Which set, with which parameters: ``FeatureSet.reference()``."""
    tally: Tally = field(default_factory=Tally)

    @property
    def ok(self) -> Bools:
        """Which rows have features, ``(n,)``."""
        return np.array([key not in self.errors for key in self.ids], dtype=np.bool_)


def clips_of(source: Source) -> list[Clip]:
    """The clips of a manifest, under their ids; or recordings, under their paths.

    Raises:
        ConfigError: something is neither a path nor ``(path, start_s, end_s)``.
    """
    if isinstance(source, Manifest):
        return [Clip(u.id, os.fspath(source.file(u)), u.start, u.end) for u in source]
    if isinstance(source, str | os.PathLike):
        raise ConfigError(f"got the single path {os.fspath(source)!r}; expected several, in a list")
    return [_clip(item) for item in source]


def _clip(item: Any) -> Clip:
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


def table(
    source: Source,
    features: str | FeatureSet,
    *,
    workers: int = 1,
    store: Store | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> FeatureTable:
    """One row of features a clip.

    Args:
        source: a manifest, or recordings (see `Source`).
        features: a set of the kind ``vector``, or its name.
        workers: processes.
        store: where rows are taken from that are there, and kept when they are computed.
        progress: called with how many clips are done, and of how many.

    Raises:
        ConfigError: the set is unknown, or gives frames; an argument is out of range.
        MissingExtraError: the set needs an extra that is not installed.
    """
    chosen = feature_set(features) if isinstance(features, str) else features
    if chosen.kind != "vector":
        raise ConfigError(f"the set {chosen.name!r} gives frames; a table needs a set of the kind 'vector'")
    clips = clips_of(source)
    values = np.full((len(clips), len(chosen.columns)), np.nan, np.float32)
    errors, tally = {}, Tally()
    for row, one in enumerate(extract(clips, [chosen], workers=workers, store=store)):
        tally += one.tally
        if one.error is None:
            values[row] = one.values[0]
        else:
            errors[one.clip.id] = one.error
        if progress is not None:
            progress(row + 1, len(clips))
    ids = tuple(clip.id for clip in clips)
    return FeatureTable(ids, values, chosen.columns, errors, chosen.reference(), tally)


def extract(
    clips: Iterable[Clip],
    sets: Sequence[str | FeatureSet],
    *,
    workers: int = 1,
    store: Store | None = None,
    windows: Windows | None = None,
) -> Iterator[Extracted]:
    """Compute every set of every clip; a recording is decoded once for all of them.

    Args:
        clips: read no further ahead than the workers need.
        windows: cut each clip first; then the sets have to be of the kind ``vector``.

    Raises:
        ConfigError: a set is unknown, or gives frames of windows; none was named.
        MissingExtraError: a set needs an extra that is not installed.
        EmovoxError: while iterating: a worker could not start.
    """
    chosen = tuple(feature_set(one) if isinstance(one, str) else one for one in sets)
    if not chosen:
        raise ConfigError("no set of features was named; expected at least one")
    for one in chosen:
        if windows is not None and one.kind != "vector":
            raise ConfigError(f"the set {one.name!r} gives frames; windows need a set of the kind 'vector'")
    digests = tuple(one.digest for one in chosen)
    outcomes = _parallel.map_items(partial(_Work, chosen, digests, store, windows), clips, workers=workers)
    return (_told(outcome) for outcome in outcomes)


def heard(clips: Iterable[Clip], *, workers: int = 1) -> Iterator[Extracted]:
    """The sound of every clip itself, ``(n,)`` at 16 kHz, in the place of values.

    Raises:
        EmovoxError: while iterating: a worker could not start.
    """
    return (_told(outcome) for outcome in _parallel.map_items(_Hearing, clips, workers=workers))


def duration_s(clip: Clip) -> float | None:
    """How long a clip is, as far as its file says without being decoded."""
    end_s = clip.end_s
    if end_s is None:
        try:
            end_s = audio.probe(clip.path).duration_s
        except (EmovoxError, OSError):  # whoever reads it will say why it cannot be
            return None
    return None if end_s is None else end_s - (clip.start_s or 0.0)


def frames(clip: Clip, features: FeatureSet) -> Iterator[Floats]:
    """The frames of a clip of any length, in pieces ``(t, d)``; memory does not grow with the clip.

    Raises:
        ConfigError: at once; the set gives one row, or depends on the whole of a clip: the message says which
            parameter to change.
        AudioError: while iterating: it is not sound, or begins after its end.
    """
    return frame_blocks(_blocks(clip), features)


def _told(outcome: _parallel.Outcome[Clip, _Computed]) -> Extracted:
    if outcome.value is None:
        return Extracted(outcome.item, error=outcome.error or "it failed")
    got = outcome.value
    return Extracted(outcome.item, got.values, got.n_samples, tally=got.tally)


def windowed(
    clip: Clip, sets: Sequence[FeatureSet], windows: Windows
) -> Iterator[tuple[int, int, tuple[Floats, ...]]]:
    """The windows of a clip of any length, one by one; memory does not grow with the clip.

    Yields:
        First sample, one past the last, and a row ``(d,)`` of each set.

    Raises:
        AudioError: while iterating: it is not sound, or begins after its end.
    """
    for end, x in _cut(_blocks(clip), windows):
        yield end - x.size, end, tuple(one(x, SAMPLE_RATE) for one in sets)


# ------------------------------------------------------------------------------------ one clip


@dataclass(frozen=True, slots=True, eq=False)
class _Computed:
    values: tuple[Floats, ...]
    n_samples: int
    tally: Tally


class _Work:
    """What a worker does with a clip; each process has one."""

    def __init__(
        self,
        sets: tuple[FeatureSet, ...],
        digests: tuple[str, ...],
        store: Store | None,
        windows: Windows | None,
    ) -> None:
        self._sets, self._digests = sets, digests
        self._store, self._windows = store, windows

    def __call__(self, clip: Clip) -> _Computed:
        if self._store is None:
            entries = _entries(clip, self._sets, self._windows)
            tally = Tally(made=len(entries))
        else:
            entries = self._kept(clip, self._store)
            tally = self._store.take_tally()
        return _Computed(tuple(e.values for e in entries), entries[0].n_samples, tally)

    def _kept(self, clip: Clip, store: Store) -> list[Entry]:
        before = _version(clip.path)
        keys = self._keys(clip)
        found = [store.get(key) for key in keys]
        lacking = tuple(one for one, entry in zip(self._sets, found, strict=True) if entry is None)
        made = iter(_entries(clip, lacking, self._windows) if lacking else ())
        unchanged = _version(clip.path) == before  # else what was computed is not of what was hashed
        entries = []
        for key, entry in zip(keys, found, strict=True):
            entries.append(next(made) if entry is None else entry)
            if entry is None and unchanged:
                store.put(key, entries[-1])
        return entries

    def _keys(self, clip: Clip) -> list[str]:
        content = _hash(clip.path)
        cut = f"{clip.start_s!r} {clip.end_s!r} {self._windows!r}"
        if clip.change is not None:
            cut = f"{cut} {clip.change.name}"
        return [entry_key(content, cut=cut, digest=digest) for digest in self._digests]


class _Hearing:
    """What a worker does with a clip whose sound alone is wanted."""

    def __call__(self, clip: Clip) -> _Computed:
        x = _sound(clip)
        return _Computed((x,), x.size, Tally())


def _version(path: str) -> tuple[int, ...]:
    try:
        about = Path(path).stat()
    except (OSError, ValueError):
        return ()
    return about.st_ino, about.st_size, about.st_mtime_ns


def _hash(path: str) -> str:
    try:
        return content_hash(path)
    except (OSError, ValueError):
        audio.probe(path)  # says it as the door for sound does
        raise


def _entries(clip: Clip, sets: Sequence[FeatureSet], windows: Windows | None) -> list[Entry]:
    if windows is not None:
        return _rows(clip, sets, windows)
    x = _sound(clip)
    return [Entry(one(x, SAMPLE_RATE), x.size) for one in sets]


def _sound(clip: Clip) -> Floats:
    """The clip's samples, ``(n,)``."""
    if clip.start_s is None and clip.end_s is None and clip.change is None:
        return audio.read(clip.path)
    return np.concatenate(list(_blocks(clip)))


def _blocks(clip: Clip) -> Iterator[Floats]:
    """The clip's samples in blocks ``(n,)``; a change alone needs all of them at once.

    Raises:
        AudioError: it is not sound, or begins after its end.
    """
    if clip.change is None:
        yield from _unchanged(clip)
    else:
        yield clip.change(np.concatenate(list(_unchanged(clip))))


def _unchanged(clip: Clip) -> Iterator[Floats]:
    """As `_blocks`, whatever the clip's change; nothing outside of the clip is kept in memory."""
    first = round((clip.start_s or 0.0) * SAMPLE_RATE)
    end = None if clip.end_s is None else round(clip.end_s * SAMPLE_RATE)
    at, heard = 0, 0
    for block in audio.blocks(clip.path):
        part = block[0][max(0, first - at) : None if end is None else max(0, end - at)]
        at += block.shape[1]
        if part.size:
            heard += part.size
            yield part
        if end is not None and at >= end:
            break
    if not heard:
        until = "its end" if clip.end_s is None else f"{clip.end_s:g} s"
        raise AudioValueError(
            f"{clip.path}: no sound from {clip.start_s or 0.0:g} s to {until}; "
            f"it lasts {at / SAMPLE_RATE:g} s"
        )


def _rows(clip: Clip, sets: Sequence[FeatureSet], windows: Windows) -> list[Entry]:
    rows: list[list[Floats]] = [[] for _ in sets]
    n_samples = 0
    for _, end, values in windowed(clip, sets, windows):
        n_samples = end
        for row, value in zip(rows, values, strict=True):
            row.append(value)
    return [Entry(np.stack(row), n_samples) for row in rows]


def _cut(blocks: Iterable[Floats], windows: Windows) -> Iterator[tuple[int, Floats]]:
    """``(one past its last sample, samples)`` of each window, holding no more than a window and a block."""
    held = np.zeros(0, np.float32)
    first, due = 0, 0  # of what is held, and of the next window
    for block in blocks:
        held = np.concatenate([held, block])
        # A window is certain once a sample beyond it is there; else it may be the last one.
        while due + windows.window < first + held.size:
            yield due + windows.window, held[due - first : due - first + windows.window]
            due += windows.hop
        keep = max(0, min(due, first + held.size - windows.window) - first)
        held, first = held[keep:], first + keep
    n = first + held.size
    yield n, held[max(0, held.size - windows.window) :]
