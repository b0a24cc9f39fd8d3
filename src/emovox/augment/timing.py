"""When: moved, cut out, played faster or slower with the pitch along."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import soxr

from emovox._arrays import Floats
from emovox.audio import SAMPLE_RATE
from emovox.augment.base import Amount, Rng, Transform, drawn

__all__ = ["Crop", "Shift", "Speed"]


@dataclass(frozen=True)
class Shift(Transform):
    """Later (or, below 0, earlier) by so many seconds; silence fills the gap, or what fell off (``wrap``)."""

    shift_s: Amount = (-0.2, 0.2)
    wrap: bool = False

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"shift_s": (-3600.0, 3600.0)}

    def _changed(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        n = round(drawn(self.shift_s, rng) * SAMPLE_RATE)
        if self.wrap:
            return np.roll(x, n)
        y = np.zeros_like(x)
        if abs(n) < len(x):
            y[max(n, 0) : len(x) + min(n, 0)] = x[max(-n, 0) : len(x) - max(n, 0)]
        return y


@dataclass(frozen=True)
class Crop(Transform):
    """A stretch from anywhere, of at least ``shortest_s`` seconds and ``least_percent`` of the whole."""

    shortest_s: float = 1.2
    least_percent: float = 50.0

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {
        "shortest_s": (0.01, 3600.0),
        "least_percent": (0.0, 100.0),
    }

    def _changed(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        low = max(round(self.shortest_s * SAMPLE_RATE), int(self.least_percent / 100 * len(x)))
        if low >= len(x):
            return x
        n = int(rng.integers(low, len(x) + 1))
        start = int(rng.integers(0, len(x) - n + 1))
        return x[start : start + n]


@dataclass(frozen=True)
class Speed(Transform):
    """Played so many times as fast: tempo, pitch and formants move together (Ko et al., 2015).

    The length is divided by ``factor``.
    """

    factor: Amount = (0.9, 1.1)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"factor": (0.25, 4.0)}

    def _changed(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        factor = drawn(self.factor, rng)
        y = np.asarray(soxr.resample(x, SAMPLE_RATE * factor, SAMPLE_RATE, quality="HQ"), np.float32)
        return y if len(y) else x  # a sample or two, played faster, would be nothing
