"""Statistics of a corpus: counts, lengths, levels, and recordings that it holds twice.

Counting needs the manifest alone. `measure_clips` opens every file once, for length, level and fingerprint.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from emovox.audio import SAMPLE_RATE, LevelMeter
from emovox.datasets.manifest import Manifest, Utterance
from emovox.datasets.overlap import Duplicate, Fingerprint, find_duplicates, fingerprint
from emovox.errors import EmovoxError

__all__ = [
    "COUNTED",
    "ClipStats",
    "CorpusStats",
    "Distribution",
    "corpus_stats",
    "measure_clips",
    "summarize",
]

COUNTED: tuple[str, ...] = ("emotion", "speaker", "sex", "language", "corpus", "intensity")
"""Fields whose values are counted."""


@dataclass(frozen=True, slots=True)
class ClipStats:
    """Measurements of one clip."""

    duration_s: float
    level_dbfs: float | None
    """Root mean square; ``None`` for digital silence."""
    peak_dbfs: float | None
    clipped: float
    """Share of samples at full scale."""
    print: Fingerprint | None


@dataclass(frozen=True, slots=True)
class Distribution:
    """The distribution of a quantity over the clips."""

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
    """Of the histogram, one more than there are counts."""
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class CorpusStats:
    """The figures of a corpus. What was not measured is ``None``; missing values count as ``unknown``."""

    root: str
    n_clips: int
    n_speakers: int
    n_texts: int
    counts: Mapping[str, Mapping[str, int]]
    """By each of ``COUNTED``: value -> clips, most frequent first."""
    ages: Distribution | None
    """Of the speakers whose age is known, in years."""
    by_sex: Mapping[str, Mapping[str, int]]
    """Emotion -> sex -> clips."""
    per_speaker: Mapping[str, Mapping[str, int]]
    """Speaker -> emotion -> clips."""
    duration_s: Distribution | None = None
    level_dbfs: Distribution | None = None
    n_clipped: int | None = None
    """Clips of which more than a thousandth of the samples are at full scale."""
    silent: tuple[str, ...] | None = None
    """Ids of clips in digital silence."""
    copies: tuple[Duplicate, ...] | None = None
    """Pairs of clips that hold the same recording."""
    failed: tuple[tuple[str, str], ...] = ()
    """Ids of clips that could not be read, and why."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def measure_clips(
    manifest: Manifest,
    *,
    fingerprints: bool = True,
    workers: int = 2,
    progress: Callable[[int], None] | None = None,
) -> tuple[dict[str, ClipStats], dict[str, str]]:
    """Measure every clip: results by id, and the reasons by id for clips that cannot be read.

    Args:
        fingerprints: compute them too, to find duplicates by; it doubles the work.
        workers: threads.
        progress: called with the number of clips done.
    """
    measured: dict[str, ClipStats] = {}
    failed: dict[str, str] = {}

    def measure(row: Utterance) -> ClipStats | str:
        try:
            sound = manifest.read(row)
        except (EmovoxError, OSError, ValueError) as error:
            return str(error) or type(error).__name__
        meter = LevelMeter()
        meter.push(sound)
        return ClipStats(
            duration_s=sound.size / SAMPLE_RATE,
            level_dbfs=meter.level_dbfs,
            peak_dbfs=meter.peak_dbfs,
            clipped=meter.clipped,
            print=fingerprint(sound) if fingerprints else None,
        )

    with ThreadPoolExecutor(max(1, workers), thread_name_prefix="emovox-measure") as pool:
        for n, (row, found) in enumerate(zip(manifest, pool.map(measure, manifest), strict=True), 1):
            if isinstance(found, str):
                failed[row.id] = found
            else:
                measured[row.id] = found
            if progress is not None:
                progress(n)
    return measured, failed


def corpus_stats(
    manifest: Manifest,
    measured: Mapping[str, ClipStats] | None = None,
    failed: Mapping[str, str] | None = None,
) -> CorpusStats:
    """Compute the figures of a corpus; those of its sound too, given the results of `measure_clips`."""
    rows = manifest.utterances
    ages = {u.speaker: u.age for u in rows if u.age is not None}
    clips = list((measured or {}).values())
    levels = [one.level_dbfs for one in clips if one.level_dbfs is not None]
    prints = {key: one.print for key, one in (measured or {}).items() if one.print is not None}
    silent = tuple(key for key, one in (measured or {}).items() if one.level_dbfs is None)
    return CorpusStats(
        root=str(manifest.root),
        n_clips=len(manifest),
        n_speakers=len(manifest.speakers),
        n_texts=len({u.text for u in rows if u.text is not None}),
        counts={name: _count(getattr(u, name) for u in rows) for name in COUNTED},
        ages=summarize(list(ages.values()), step=5),
        by_sex=_cross(rows, "emotion", "sex"),
        per_speaker=_cross(rows, "speaker", "emotion"),
        duration_s=summarize([one.duration_s for one in clips]),
        level_dbfs=summarize(levels),
        n_clipped=None if measured is None else sum(one.clipped > 0.001 for one in clips),
        silent=None if measured is None else silent,
        copies=find_duplicates(prints) if prints else None,
        failed=tuple((failed or {}).items()),
    )


def _count(values: Iterable[str | None]) -> dict[str, int]:
    found = Counter("unknown" if value is None else value for value in values)
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def _cross(rows: Sequence[Utterance], one: str, other: str) -> dict[str, dict[str, int]]:
    table: dict[str, list[str | None]] = {}
    for u in rows:
        table.setdefault(getattr(u, one), []).append(getattr(u, other))
    return {name: _count(values) for name, values in sorted(table.items())}


def summarize(values: Sequence[float], *, step: float | None = None) -> Distribution | None:
    """The distribution of ``values``; ``None`` when there are none.

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
    return Distribution(
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
    if width < 1e-9:  # all values are the same
        return 1.0
    power = 10.0 ** math.floor(math.log10(width))
    return next((m * power for m in (1, 2, 5) if m * power >= width), 10 * power)


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Linear interpolation between the two nearest values."""
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
