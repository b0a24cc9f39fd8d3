"""Who: another length of the vocal tract, at the same pitch and tempo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from emovox._arrays import Doubles, Floats
from emovox.augment.base import Amount, Rng, Transform, drawn, fitted, level_matched, turned_down

__all__ = ["VocalTract"]

_FRAME = 512
"""32 ms at 16 kHz."""
_HOP = 128
_N_SMOOTH = 40
"""Quefrencies that make the envelope: up to 2.5 ms, the period of a voice of 400 Hz; the upper half fades."""
_MOST = 2.3
"""How far an envelope may be moved at one frequency: 20 dB, in nepers."""


@dataclass(frozen=True)
class VocalTract(Transform):
    """Formants times ``factor`` at the same pitch: a shorter vocal tract above 1, a longer one below.

    The warp of Jaitly & Hinton (ICML workshop 2013) done to the sound: each frame's spectral envelope, a
    smoothed cepstrum, is stretched along the frequency, and the harmonics stay where they are.
    """

    factor: Amount = (0.88, 1.14)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"factor": (0.5, 2.0)}

    def _changed(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        factor = drawn(self.factor, rng)
        spectra = np.fft.rfft(_frames(x) * _WINDOW, axis=1)
        moved = spectra * np.exp(_moved(np.log(np.abs(spectra) + 1e-7), factor))
        y = fitted(_overlapped(np.fft.irfft(moved, _FRAME, axis=1) * _WINDOW)[_FRAME:], len(x))
        return turned_down(level_matched(y, x).astype(np.float32))


_WINDOW = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FRAME) / _FRAME)


def _keep() -> Doubles:
    """``(_FRAME,)``: how much of each quefrency belongs to the envelope, the mirrored half included."""
    quefrency = np.minimum(np.arange(_FRAME), _FRAME - np.arange(_FRAME))
    fade = np.clip(2 * quefrency / _N_SMOOTH - 1, 0, 1)
    return np.asarray(0.5 + 0.5 * np.cos(np.pi * fade), np.float64)


_KEEP = _keep()


def _frames(x: Floats) -> Doubles:
    """``(n_frames, _FRAME)``: every sample lies in as many frames as any other."""
    padded = np.pad(x.astype(np.float64), (_FRAME, 2 * _FRAME))
    return np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]


def _overlapped(frames: Doubles) -> Doubles:
    """Frames windowed twice, added up: the squared windows sum to 1.5."""
    y = np.zeros((len(frames) - 1) * _HOP + _FRAME)
    for k, frame in enumerate(frames):
        y[k * _HOP : k * _HOP + _FRAME] += frame
    return y / 1.5


def _moved(log_size: Doubles, factor: float) -> Doubles:
    """What to add to log spectra ``(n_frames, n_bins)`` so that their envelopes are stretched."""
    cepstra = np.fft.irfft(log_size, axis=1)
    envelopes = np.fft.rfft(cepstra * _KEEP, axis=1).real
    bins = np.arange(envelopes.shape[1])
    place = np.minimum(bins / factor, bins[-1])
    low = np.minimum(place.astype(int), bins[-1] - 1)
    part = place - low
    stretched = (1 - part) * envelopes[:, low] + part * envelopes[:, low + 1]
    return np.asarray(np.clip(stretched - envelopes, -_MOST, _MOST))
