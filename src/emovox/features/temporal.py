"""Zero-crossing rate and level, computed of the waveform itself.

Floats are summed once and not once for each frame that contains them: the time does not grow with the
overlap of the frames.
"""

from __future__ import annotations

from math import gcd

import numpy as np

from emovox._arrays import Doubles, Floats, Ints
from emovox.features.frames import Family, ShortTime, fixed_columns

__all__ = ["FAMILIES", "rms", "zcr"]

# Floats up to this far from zero count as zero, which is positive, as in librosa.
_SILENT = 1e-10


def zcr(
    short: ShortTime,
) -> Floats:
    """Compute the zero-crossing rate: sign changes in a frame by its samples, ``(t, 1)``, from 0 to 1.

    At both ends the samples are padded with the last value, which adds no crossing. Equals
    ``librosa.feature.zero_crossing_rate(x, frame_length=window, hop_length=hop)``.
    """
    below = short.emphasised < -_SILENT
    changes = np.zeros(below.size, dtype=np.float32)  # between a sample and the next
    changes[:-1] = below[1:] != below[:-1]
    window = short.settings.window
    last = np.minimum(_frame_starts(short) + window - 1, below.size - 1)
    within = _frame_sums(changes, short) - changes[last]  # the change after a frame's last sample is outside
    return (within / window).astype(np.float32)[:, None]


def rms(
    short: ShortTime,
) -> Floats:
    """Compute the root mean square of each frame, without taper, ``(t, 1)``; zeros at both ends.

    Equals ``librosa.feature.rms(y=x, frame_length=window, hop_length=hop)``.
    """
    energy = _frame_sums(np.square(short.emphasised), short)
    return np.sqrt(energy / short.settings.window).astype(np.float32)[:, None]


def _frame_starts(short: ShortTime) -> Ints:
    """The first sample of each frame, ``(t,)``; may be outside the samples."""
    s = short.settings
    return np.arange(short.n_frames) * s.hop - (s.window // 2 if s.centred else 0)


def _frame_sums(values: Floats, short: ShortTime) -> Doubles:
    """Sum ``values (n,)``, one a sample and 0 outside, over each frame: ``(t,)``.

    First over the longest segments of which all frames consist, then cumulatively in double precision.
    """
    s = short.settings
    starts = _frame_starts(short)
    padded = np.zeros(starts[-1] - starts[0] + s.window, dtype=np.float32)
    inside = values[: max(0, padded.size + starts[0])]
    padded[-starts[0] :][: inside.size] = inside
    length = gcd(s.window, s.hop)
    segments = padded.reshape(-1, length) @ np.ones(length, dtype=np.float32) if length > 1 else padded
    until = np.concatenate(([0.0], np.cumsum(segments.astype(np.float64))))
    first = (starts - starts[0]) // length
    sums: Doubles = until[first + s.window // length] - until[first]
    return sums


FAMILIES = (
    Family("zcr", zcr, fixed_columns("zcr"), "crossings by sample", "librosa.feature.zero_crossing_rate"),
    Family("rms", rms, fixed_columns("rms"), "full scale", "librosa.feature.rms"),
)
