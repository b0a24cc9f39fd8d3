"""The one short-time transform: frames, power, mel bands, decibels. numpy only.

Frame ``t`` covers the samples ``t * hop`` to ``t * hop + n_fft`` (nothing is padded in front); the last one
is filled with zeros, so that every sample is in a frame. The window is a periodic Hann window. Mel bands
follow the HTK formula, triangles of height 1, unless asked for Slaney's (librosa's default).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from emovox._arrays import Doubles, Floats
from emovox.audio.validation import SAMPLE_RATE

__all__ = ["frames", "hz_to_mel", "log_mel", "mel_filters", "mel_to_hz", "power"]


def frames(x: ArrayLike, n_fft: int, hop: int) -> Floats:
    """Overlapping stretches of ``x (n,)``: ``(n_frames, n_fft)``, at least one.

    Raises:
        ValueError: ``x`` is not one-dimensional or empty, or a length is below 1.
    """
    sound = np.asarray(x, dtype=np.float32)
    if sound.ndim != 1 or not sound.size:
        raise ValueError(f"x has the shape {sound.shape}; expected a non-empty (n,)")
    if n_fft < 1 or hop < 1:
        raise ValueError(f"n_fft is {n_fft!r} and hop {hop!r}; expected 1 or more samples")
    n_frames = 1 + max(0, -(-(sound.size - n_fft) // hop))
    padded = np.pad(sound, (0, (n_frames - 1) * hop + n_fft - sound.size)) if n_frames else sound
    return np.lib.stride_tricks.sliding_window_view(padded, n_fft)[::hop]


def power(x: ArrayLike, *, n_fft: int, hop: int) -> Floats:
    """Power spectrum ``(n_frames, n_fft // 2 + 1)``; a full-scale sine has about 0.25 at its peak."""
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)).astype(np.float32)
    spectra = np.fft.rfft(frames(x, n_fft, hop) * window, axis=1) / max(1.0, float(window.sum()))
    return (spectra.real**2 + spectra.imag**2).astype(np.float32)


def mel_filters(
    sample_rate: int,
    n_fft: int,
    n_mels: int,
    low_hz: float,
    high_hz: float,
    *,
    scale: Literal["htk", "slaney"] = "htk",
    unit_area: bool = False,
) -> Floats:
    """Weights ``(n_mels, n_fft // 2 + 1)`` of triangular bands evenly spaced on the mel scale.

    ``scale="slaney"`` is linear up to 1 kHz and logarithmic above (the Auditory Toolbox); ``unit_area``
    divides each triangle by its area in Hz, else its height is 1.

    Raises:
        ValueError: the edges are not ``0 <= low < high <= sample_rate / 2``, or there is no band.
    """
    if n_mels < 1 or not 0 <= low_hz < high_hz <= sample_rate / 2:
        raise ValueError(
            f"{n_mels!r} bands from {low_hz!r} to {high_hz!r} Hz at {sample_rate!r} Hz; expected one band or "
            "more, and edges that rise from 0 to at most half the rate"
        )
    to_mel, to_hz = (hz_to_mel, mel_to_hz) if scale == "htk" else (_slaney_mel, _slaney_hz)
    low, high = to_mel(np.array([low_hz, high_hz], dtype=np.float64))
    edges = to_hz(np.linspace(low, high, n_mels + 2))
    hz = np.arange(n_fft // 2 + 1) * sample_rate / n_fft
    rise = (hz - edges[:-2, None]) / (edges[1:-1, None] - edges[:-2, None])
    fall = (edges[2:, None] - hz) / (edges[2:, None] - edges[1:-1, None])
    area = (edges[2:, None] - edges[:-2, None]) / 2 if unit_area else 1.0
    return (np.maximum(0, np.minimum(rise, fall)) / area).astype(np.float32)


def hz_to_mel(hz: Doubles) -> Doubles:
    """Convert Hz to mel by the formula of HTK (O'Shaughnessy)."""
    return 2595 * np.log10(1 + hz / 700)


def mel_to_hz(mel: Doubles) -> Doubles:
    """Convert mel to Hz by the formula of HTK (O'Shaughnessy)."""
    hz: Doubles = 700 * (10 ** (mel / 2595) - 1)
    return hz


_HZ_PER_MEL, _KNEE_HZ, _KNEE_MEL = 200 / 3, 1000.0, 15.0
_LOG_STEP = np.log(6.4) / 27


def _slaney_mel(hz: Doubles) -> Doubles:
    above = _KNEE_MEL + np.log(np.maximum(hz, _KNEE_HZ) / _KNEE_HZ) / _LOG_STEP
    return np.where(hz < _KNEE_HZ, hz / _HZ_PER_MEL, above)


def _slaney_hz(mel: Doubles) -> Doubles:
    above = _KNEE_HZ * np.exp(_LOG_STEP * np.maximum(mel - _KNEE_MEL, 0))
    return np.where(mel < _KNEE_MEL, mel * _HZ_PER_MEL, above)


def log_mel(
    x: ArrayLike,
    *,
    sample_rate: int = SAMPLE_RATE,
    n_mels: int = 64,
    n_fft: int = 512,
    hop: int = 160,
    low_hz: float = 50.0,
    high_hz: float | None = None,
    floor_db: float = -100.0,
) -> Floats:
    """Energy of mel bands in dB, ``(n_frames, n_mels)``, nothing below ``floor_db``.

    ``high_hz`` is half the rate unless given.
    """
    top = sample_rate / 2 if high_hz is None else high_hz
    bands = power(x, n_fft=n_fft, hop=hop) @ mel_filters(sample_rate, n_fft, n_mels, low_hz, top).T
    level: Floats = np.maximum(10 * np.log10(np.maximum(bands, 1e-30)), floor_db).astype(np.float32)
    return level
