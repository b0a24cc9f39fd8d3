"""Families taken from the waveform itself: zero crossings and level. No transform is needed.

Neither looks at a sample once for each frame that holds it: the price does not grow with the overlap.
"""

from __future__ import annotations

from math import gcd

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emovox.features.frames import Family, FrameSettings, ShortTime, fixed

__all__ = ["FAMILIES", "rms", "zcr"]

Floats = NDArray[np.float32]
_SILENT = 1e-10
"""Samples up to this far from zero count as zero, which is positive, as in librosa."""


def zcr(
    x: ArrayLike,
    sample_rate: int,
    *,
    settings: FrameSettings | None = None,
    shared: ShortTime | None = None,
) -> Floats:
    """Zero-crossing rate: changes of sign within a frame by its samples, ``(t, 1)``, from 0 to 1.

    Beyond both ends the sound is held at its last value, which crosses nothing. Equals
    ``librosa.feature.zero_crossing_rate(x, frame_length=window, hop_length=hop)``.
    """
    short = ShortTime.of(x, sample_rate, settings=settings, shared=shared)
    s = short.settings
    below = short.emphasised < -_SILENT
    crossings = np.flatnonzero(below[1:] != below[:-1])  # each by the sample before it
    begin = np.arange(short.n_frames) * s.hop - (s.window // 2 if s.centred else 0)
    within = np.searchsorted(crossings, begin + s.window - 1) - np.searchsorted(crossings, begin)
    return (within / s.window).astype(np.float32)[:, None]


def rms(
    x: ArrayLike,
    sample_rate: int,
    *,
    settings: FrameSettings | None = None,
    shared: ShortTime | None = None,
) -> Floats:
    """Root of the mean square of each frame, no taper, ``(t, 1)``, in the unit of the sound.

    Zeros stand beyond both ends. Equals ``librosa.feature.rms(y=x, frame_length=window, hop_length=hop)``.
    """
    short = ShortTime.of(x, sample_rate, settings=settings, shared=shared)
    s = short.settings
    # The longest stretches of which every frame is whole ones: their energies are added up.
    length = gcd(s.window, s.hop)
    padded = np.zeros((short.n_frames - 1) * s.hop + s.window, dtype=np.float32)
    before = s.window // 2 if s.centred else 0
    sound = short.emphasised[: max(0, padded.size - before)]
    padded[before : before + sound.size] = sound
    stretches = padded.reshape(-1, length)
    energy = np.einsum("ij,ij->i", stretches, stretches)
    until = np.concatenate(([0.0], np.cumsum(energy, dtype=np.float64)))  # grows, never shrinks
    begin = np.arange(short.n_frames) * (s.hop // length)
    within = until[begin + s.window // length] - until[begin]
    return np.sqrt(within / s.window).astype(np.float32)[:, None]


FAMILIES = (
    Family("zcr", zcr, fixed("zcr"), "crossings by sample", "librosa.feature.zero_crossing_rate"),
    Family("rms", rms, fixed("rms"), "full scale", "librosa.feature.rms"),
)
