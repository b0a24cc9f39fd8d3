"""Families taken from the waveform itself: zero crossings and level. No transform is needed.

Both count with running sums, so that the price does not grow with the overlap of the frames.
"""

from __future__ import annotations

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
    below = short.emphasised < -_SILENT
    crossings = np.concatenate(([0], np.cumsum(below[1:] != below[:-1])))  # up to and with each sample
    begin, end = _spans(short)
    last = below.size - 1
    within = crossings[np.clip(end - 1, 0, last)] - crossings[np.clip(begin, 0, last)]
    return (within / short.settings.window).astype(np.float32)[:, None]


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
    sound = short.emphasised.astype(np.float64)
    energy = np.concatenate(([0.0], np.cumsum(sound * sound)))  # before each sample; grows, never shrinks
    begin, end = _spans(short)
    within = energy[np.clip(end, 0, sound.size)] - energy[np.clip(begin, 0, sound.size)]
    return np.sqrt(within / short.settings.window).astype(np.float32)[:, None]


def _spans(short: ShortTime) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """First sample of each frame and the one behind its last; both may lie outside the sound."""
    s = short.settings
    begin = np.arange(short.n_frames) * s.hop - (s.window // 2 if s.centred else 0)
    return begin, begin + s.window


FAMILIES = (
    Family("zcr", zcr, fixed("zcr"), "crossings by sample", "librosa.feature.zero_crossing_rate"),
    Family("rms", rms, fixed("rms"), "full scale", "librosa.feature.rms"),
)
