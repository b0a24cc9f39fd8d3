"""Families taken from the waveform itself: zero crossings and level. No transform is needed.

Neither looks at a sample once for each frame that holds it: the price does not grow with the overlap.
"""

from __future__ import annotations

from math import gcd

import numpy as np
from numpy.typing import ArrayLike

from emovox._arrays import Doubles, Floats, Ints
from emovox.features.frames import Family, FrameSettings, ShortTime, fixed

__all__ = ["FAMILIES", "rms", "zcr"]

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
    changes = np.zeros(below.size, dtype=np.float32)  # between each sample and the next
    changes[:-1] = below[1:] != below[:-1]
    window = short.settings.window
    last = np.minimum(_begins(short) + window - 1, below.size - 1)
    within = _sums(changes, short) - changes[last]  # what comes after a frame's last sample is not in it
    return (within / window).astype(np.float32)[:, None]


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
    energy = _sums(np.square(short.emphasised), short)
    return np.sqrt(energy / short.settings.window).astype(np.float32)[:, None]


def _begins(short: ShortTime) -> Ints:
    """The first sample of each frame, ``(t,)``; may lie outside the sound."""
    s = short.settings
    return np.arange(short.n_frames) * s.hop - (s.window // 2 if s.centred else 0)


def _sums(values: Floats, short: ShortTime) -> Doubles:
    """Sum over each frame of ``values (n,)``, one a sample and 0 outside the sound: ``(t,)``.

    First over the longest stretches of which all frames are made, then along them in double precision.
    """
    s = short.settings
    begins = _begins(short)
    padded = np.zeros(begins[-1] - begins[0] + s.window, dtype=np.float32)
    inside = values[: max(0, padded.size + begins[0])]
    padded[-begins[0] :][: inside.size] = inside
    length = gcd(s.window, s.hop)
    stretches = padded.reshape(-1, length) @ np.ones(length, dtype=np.float32) if length > 1 else padded
    until = np.concatenate(([0.0], np.cumsum(stretches.astype(np.float64))))  # grows, never shrinks
    first = (begins - begins[0]) // length
    sums: Doubles = until[first + s.window // length] - until[first]
    return sums


FAMILIES = (
    Family("zcr", zcr, fixed("zcr"), "crossings by sample", "librosa.feature.zero_crossing_rate"),
    Family("rms", rms, fixed("rms"), "full scale", "librosa.feature.rms"),
)
