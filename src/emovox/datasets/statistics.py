"""What is in a corpus: how much of what, by whom, how long, how loud, and what is in it twice.

Counting needs the manifest alone. ``hear`` opens every file once, for length, level and fingerprint.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from emovox.audio import SAMPLE_RATE, LevelMeter, read
from emovox.datasets.manifest import Manifest, Utterance
from emovox.datasets.overlap import Copy, Fingerprint, find_copies, fingerprint
from emovox.errors import EmovoxError

__all__ = ["BY", "Heard", "Spread", "Stats", "hear", "spread", "stats"]

BY: tuple[str, ...] = ("emotion", "speaker", "sex", "language", "corpus", "intensity")
"""What utterances are counted by."""


@dataclass(frozen=True, slots=True)
class Heard:
    """What one clip sounds like."""

    duration_s: float
    level_dbfs: float | None
    """Root mean square; ``None`` for digital silence."""
    peak_dbfs: float | None
    clipped: float
    """Share of samples at the rail."""
    print: Fingerprint | None


@dataclass(frozen=True, slots=True)
class Spread:
    """How a quantity is spread over the clips."""

    n: int
    total: float
    mean: float
    low: float
    """The smallest value."""
    p5: float
    median: float
    p95: float
    high: float
    """The largest value."""
    edges: tuple[float, ...]
    """Of the histogram, one more than it has counts."""
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Stats:
    """The figures of a corpus. What nobody measured is ``None``; what is not known counts as ``unknown``."""

    root: str
    n_clips: int
    n_speakers: int
    n_texts: int
    counts: Mapping[str, Mapping[str, int]]
    """By each of ``BY``: value -> clips, most frequent first."""
    ages: Spread | None
    """Of the speakers whose age is known, in years."""
    by_sex: Mapping[str, Mapping[str, int]]
    """Emotion -> sex -> clips."""
    per_speaker: Mapping[str, Mapping[str, int]]
    """Speaker -> emotion -> clips."""
    duration_s: Spread | None = None
    level_dbfs: Spread | None = None
    n_clipped: int | None = None
    """Clips of which more than a thousandth of the samples stand at the rail."""
    silent: tuple[str, ...] | None = None
    """Ids of clips in digital silence."""
    copies: tuple[Copy, ...] | None = None
    """Pairs of clips that hold the same recording."""
    failed: tuple[tuple[str, str], ...] = ()
    """Ids of clips that could not be read, and why."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def hear(
    manifest: Manifest,
    *,
    fingerprints: bool = True,
    workers: int = 2,
    progress: Callable[[int], None] | None = None,
) -> tuple[dict[str, Heard], dict[str, str]]:
    """Listen to every clip: findings by id, and for those that cannot be read the reason by id.

    Args:
        fingerprints: take them too, to find copies by; it doubles the work.
        workers: threads.
        progress: told how many clips are done.
    """
    heard: dict[str, Heard] = {}
    failed: dict[str, str] = {}

    def one(row: Utterance) -> Heard | str:
        try:
            return _listen(manifest, row, fingerprints)
        except (EmovoxError, OSError, ValueError) as error:
            return str(error) or type(error).__name__

    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="emovox-hear") as pool:
        for n, (row, found) in enumerate(zip(manifest, pool.map(one, manifest), strict=True), 1):
            if isinstance(found, str):
                failed[row.id] = found
            else:
                heard[row.id] = found
            if progress is not None:
                progress(n)
    return heard, failed


def _listen(manifest: Manifest, row: Utterance, fingerprints: bool) -> Heard:
    sound = read(manifest.file(row))
    start = round((row.start or 0.0) * SAMPLE_RATE)
    sound = sound[start : None if row.end is None else round(row.end * SAMPLE_RATE)]
    if not sound.size:
        raise ValueError(f"the clip begins at {row.start} s, after the end of its file")
    meter = LevelMeter()
    meter.push(sound)
    return Heard(
        duration_s=sound.size / SAMPLE_RATE,
        level_dbfs=meter.level_dbfs,
        peak_dbfs=meter.peak_dbfs,
        clipped=meter.clipped,
        print=fingerprint(sound) if fingerprints else None,
    )


def stats(
    manifest: Manifest, heard: Mapping[str, Heard] | None = None, failed: Mapping[str, str] | None = None
) -> Stats:
    """The figures of a corpus; those of its sound too, if ``hear`` has listened."""
    rows = manifest.utterances
    ages = {u.speaker: u.age for u in rows if u.age is not None}
    sound = None if heard is None else list(heard.values())
    prints = {key: one.print for key, one in (heard or {}).items() if one.print is not None}
    return Stats(
        root=str(manifest.root),
        n_clips=len(manifest),
        n_speakers=len(manifest.speakers),
        n_texts=len({u.text for u in rows if u.text is not None}),
        counts={name: _counted(getattr(u, name) for u in rows) for name in BY},
        ages=spread(list(ages.values()), step=5),
        by_sex=_crossed(rows, "emotion", "sex"),
        per_speaker=_crossed(rows, "speaker", "emotion"),
        duration_s=None if sound is None else spread([one.duration_s for one in sound]),
        level_dbfs=None
        if sound is None
        else spread([one.level_dbfs for one in sound if one.level_dbfs is not None]),
        n_clipped=None if sound is None else sum(one.clipped > 0.001 for one in sound),
        silent=None if heard is None else tuple(key for key, one in heard.items() if one.level_dbfs is None),
        copies=find_copies(prints) if prints else None,
        failed=tuple((failed or {}).items()),
    )


def _counted(values: Iterable[str | None]) -> dict[str, int]:
    found = Counter("unknown" if value is None else value for value in values)
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def _crossed(rows: Sequence[Utterance], one: str, other: str) -> dict[str, dict[str, int]]:
    table: dict[str, list[str | None]] = {}
    for u in rows:
        table.setdefault(getattr(u, one), []).append(getattr(u, other))
    return {name: _counted(values) for name, values in sorted(table.items())}


def spread(values: Sequence[float], *, step: float | None = None) -> Spread | None:
    """How ``values`` are spread; ``None`` when there are none.

    Args:
        step: width of the histogram's bars; about twenty of a round width unless given.
    """
    if not values:
        return None
    ordered = sorted(float(value) for value in values)
    width = step or _round_width((ordered[-1] - ordered[0]) / 20)
    first = math.floor(ordered[0] / width)
    counts = Counter(math.floor(value / width) - first for value in ordered)
    n_bars = max(counts) + 1
    return Spread(
        n=len(ordered),
        total=math.fsum(ordered),
        mean=statistics.fmean(ordered),
        low=ordered[0],
        p5=_quantile(ordered, 0.05),
        median=_quantile(ordered, 0.5),
        p95=_quantile(ordered, 0.95),
        high=ordered[-1],
        edges=tuple(round((first + n) * width, 9) for n in range(n_bars + 1)),
        counts=tuple(counts[n] for n in range(n_bars)),
    )


def _round_width(width: float) -> float:
    """The next 1, 2 or 5 times a power of ten."""
    if width < 1e-9:  # all the same, or nothing that could be told apart
        return 1.0
    power = 10.0 ** math.floor(math.log10(width))
    return next((m * power for m in (1, 2, 5) if m * power >= width), 10 * power)


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Between the two nearest values, in proportion."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
