"""Pitch class features: chroma and tonnetz, from the short-time transform.

Definitions are those of librosa 0.11 (McFee et al., 2015). The tuning is fixed by default: an estimate
depends on the whole recording, so that a block of it would differ from the whole. Digital silence gives 0, as
there.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from emovox._arrays import Floats, Ints
from emovox.errors import ConfigError
from emovox.features.frames import (
    Family,
    ShortTime,
    fixed_columns,
    number_columns,
    safe_divisors,
)

__all__ = ["FAMILIES", "chroma", "estimate_tuning", "tonnetz"]

_PITCH_CLASSES = ("c", "cs", "d", "ds", "e", "f", "fs", "g", "gs", "a", "as", "b")


def chroma(
    short: ShortTime,
    *,
    n_chroma: int = 12,
    tuning: float | None = 0.0,
) -> Floats:
    """Compute the power by pitch class, relative to each frame's largest, ``(t, n_chroma)``, from 0 to 1.

    ``librosa.feature.chroma_stft``; from C upwards. ``tuning`` is the deviation from A = 440 Hz in pitch
    classes; ``None`` estimates it from the whole recording, as librosa does.

    Raises:
        ConfigError: ``n_chroma`` is below 1.
    """
    if n_chroma < 1:
        raise ConfigError(f"n_chroma is {n_chroma!r}; expected 1 or more")

    def compute() -> Floats:
        n_fft = short.settings.n_fft
        bend = estimate_tuning(short, bins_per_octave=n_chroma) if tuning is None else tuning
        raw = short.power @ _chroma_bank(short.sample_rate, n_fft, n_chroma, float(bend)).T
        relative: Floats = raw / safe_divisors(raw.max(axis=1, keepdims=True))
        return relative

    classes: Floats = short.cached(("chroma", n_chroma, tuning), compute)
    return classes


def tonnetz(
    short: ShortTime,
    *,
    tuning: float | None = 0.0,
) -> Floats:
    """Map the pitch classes to three circles of intervals, ``(t, 6)`` (Harte et al., 2006).

    ``librosa.feature.tonnetz`` of the chroma of the short-time transform, not of a constant-Q one.
    """
    classes = chroma(short, tuning=tuning)
    share = classes / safe_divisors(classes.sum(axis=1, keepdims=True))
    position: Floats = np.matmul(share, _circles())
    return position


def estimate_tuning(short: ShortTime, *, bins_per_octave: int = 12, resolution: float = 0.01) -> float:
    """Estimate how far the strong partials of a recording are off the tempered scale, in bins (-0.5 to 0.5).

    Peaks between 150 and 4000 Hz in each frame's power, above a tenth of its largest, refined by a parabola;
    of those above the median the commonest deviation (``librosa.estimate_tuning`` of the power). 0 without
    a peak. For speech, which is not tuned, the estimate means little: many deviations are about as common.
    """
    bins, left, here, right = _peaks(short)
    if not bins.size:
        return 0.0
    bend, slope = right + left - 2 * here, (right - left) / 2
    shift = np.where(np.abs(slope) < np.abs(bend), -slope / np.where(bend == 0, 1, bend), 0)
    height = here + slope * shift / 2
    hz = (bins + shift) * (short.sample_rate / short.settings.n_fft)
    octaves = np.log2(hz[height >= np.median(height)] / (440 / 16))
    off = np.mod(bins_per_octave * octaves, 1)
    counts, edges = np.histogram(
        np.where(off >= 0.5, off - 1, off), np.linspace(-0.5, 0.5, round(1 / resolution) + 1)
    )
    return float(edges[np.argmax(counts)])


def _peaks(short: ShortTime) -> tuple[Ints, Floats, Floats, Floats]:
    """Bins of the strong peaks of all frames, and the power below, at and above each of them."""
    power, hz = short.power, short.hz
    first, end = np.searchsorted(hz, [150, min(4000.0, short.sample_rate / 2)])
    first, end = max(int(first), 1), min(int(end), hz.size - 1)
    here = power[:, first:end]
    peak = here > np.float32(0.1) * power.max(axis=1, keepdims=True)
    peak &= here > power[:, first - 1 : end - 1]
    peak &= here >= power[:, first + 1 : end + 1]
    frame, bins = np.divmod(np.flatnonzero(peak), max(1, end - first))
    bins += first
    index, flat = frame * hz.size + bins, power.ravel()
    return bins, flat[index - 1], flat[index], flat[index + 1]


@lru_cache(maxsize=1)
def _circles() -> Floats:
    """Position of each pitch class on the circles of fifths, minor and major thirds, ``(12, 6)``."""
    angle = np.arange(12)[:, None] * np.array([7 / 6, 7 / 6, 3 / 2, 3 / 2, 2 / 3, 2 / 3])
    angle[:, ::2] -= 0.5
    radius = np.array([1, 1, 1, 1, 0.5, 0.5])
    circles: Floats = (radius * np.cos(np.pi * angle)).astype(np.float32)
    return circles


@lru_cache(maxsize=32)
def _chroma_bank(rate: int, n_fft: int, n_chroma: int, tuning: float) -> Floats:
    """Weights ``(n_chroma, n_fft // 2 + 1)``: bumps around each pitch class (Ellis, 2007), C first.

    Bins are weighted by a Gaussian over the octaves, centred at the fifth and two octaves wide.
    """
    reference_hz = 440 * 2 ** (tuning / n_chroma) / 16
    pitch = n_chroma * np.log2(np.arange(1, n_fft) * (rate / n_fft) / reference_hz)
    pitch = np.concatenate(([pitch[0] - 1.5 * n_chroma], pitch))  # the bin at 0 Hz has no pitch: far below
    width = np.append(np.maximum(np.diff(pitch), 1.0), 1.0)
    half = np.round(n_chroma / 2)
    distance = np.mod(pitch - np.arange(n_chroma)[:, None] + half + 10 * n_chroma, n_chroma) - half
    weights = np.exp(-0.5 * (2 * distance / width) ** 2)
    weights /= np.linalg.norm(weights, axis=0)
    weights *= np.exp(-0.5 * ((pitch / n_chroma - 5.0) / 2.0) ** 2)
    bank: Floats = np.roll(weights, -3 * (n_chroma // 12), axis=0)[:, : n_fft // 2 + 1].astype(np.float32)
    return bank


def _chroma_columns(n_chroma: int = 12, **_: Any) -> tuple[str, ...]:
    if n_chroma == 12:
        return tuple(f"chroma_{name}" for name in _PITCH_CLASSES)
    return number_columns("chroma", n_chroma)


FAMILIES = (
    Family("chroma", chroma, _chroma_columns, "of the frame's largest", "librosa.feature.chroma_stft"),
    Family(
        "tonnetz",
        tonnetz,
        fixed_columns(
            "fifth_x", "fifth_y", "minor_third_x", "minor_third_y", "major_third_x", "major_third_y"
        ),
        "radius 1 and 0.5",
        "librosa.feature.tonnetz of chroma",
    ),
)
