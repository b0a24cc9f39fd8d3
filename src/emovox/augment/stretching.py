"""Tempo without pitch, and pitch without tempo.

Tempo is changed by WSOLA (Verhelst & Roelands, ICASSP 1993): the sound is cut into overlapping pieces, and
each next piece is taken near its place at the new tempo where it best continues the last one. On speech it
leaves neither the smear of a phase vocoder nor a wrong pitch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import soxr

from emovox._arrays import Floats
from emovox.audio import SAMPLE_RATE
from emovox.augment.base import Amount, Rng, Transform, drawn, fitted

__all__ = ["Pitch", "Stretch", "at_tempo"]

_PIECE = 640
"""40 ms: two periods of the deepest voice."""
_HOP = _PIECE // 2
_REACH = 240
"""15 ms: how far from its place a piece may be taken, a period of the deepest voice either way."""


@dataclass(frozen=True)
class Stretch(Transform):
    """So many times as fast at the same pitch; the length is divided by ``tempo``."""

    tempo: Amount = (0.8, 1.25)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"tempo": (0.25, 4.0)}

    def _changed(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        return at_tempo(x, drawn(self.tempo, rng))


@dataclass(frozen=True)
class Pitch(Transform):
    """Higher by so many semitones (below 0, lower) in the same time; formants move along."""

    semitones: Amount = (-3.0, 3.0)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"semitones": (-24.0, 24.0)}

    def _changed(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        ratio = 2 ** (drawn(self.semitones, rng) / 12)
        longer = at_tempo(x, 1 / ratio)
        return fitted(soxr.resample(longer, SAMPLE_RATE * ratio, SAMPLE_RATE, quality="HQ"), len(x))


def at_tempo(x: Floats, tempo: float) -> Floats:
    """``x`` ``(n,)`` so many times as fast, its pitch kept: ``(round(n / tempo),)``, at least one sample."""
    n = max(1, round(len(x) / tempo))
    padded = np.pad(x, (_HOP + _REACH, 2 * _PIECE + _REACH))
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_PIECE) / _PIECE)  # overlapped by half it sums to 1
    y = np.zeros(n + 2 * _PIECE)
    start = _REACH  # in `padded`, of the last piece taken
    for k in range(n // _HOP + 2):
        wanted = min(_REACH + round(k * _HOP * tempo), len(padded) - _PIECE - _REACH)
        start = wanted if k == 0 else wanted + _best(padded, wanted, start + _HOP)
        y[k * _HOP : k * _HOP + _PIECE] += window * padded[start : start + _PIECE]
    return y[_HOP : _HOP + n].astype(np.float32)


def _best(x: Floats, wanted: int, follows: int) -> int:
    """How far from ``wanted`` the piece lies that is most like the one at ``follows``, after the last."""
    follows = min(follows, len(x) - _PIECE)
    near = x[wanted - _REACH : wanted + _REACH + _PIECE].astype(np.float64)
    likeness = np.correlate(near, x[follows : follows + _PIECE].astype(np.float64), "valid")
    powers = np.concatenate([[0.0], np.cumsum(near**2)])
    energy = powers[_PIECE:] - powers[:-_PIECE]
    score = likeness / np.sqrt(np.maximum(energy, 1e-9))
    return int(score.argmax()) - _REACH if score.max() > 0 else 0
