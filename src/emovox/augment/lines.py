"""Through what: a band, a telephone, a microphone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import soxr

from emovox._arrays import Floats
from emovox.audio import SAMPLE_RATE
from emovox.augment.base import (
    Amount,
    Rng,
    Transform,
    bins_hz,
    drawn,
    filtered,
    fitted,
    level_matched,
    turned_down,
)

__all__ = ["Band", "Microphone", "Telephone", "at_8_khz"]


@dataclass(frozen=True)
class Band(Transform):
    """Only what lies between two frequencies, which are 3 dB down; 36 dB an octave below, 72 above."""

    low_hz: Amount = (20.0, 250.0)
    high_hz: Amount = (3400.0, 7500.0)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {
        "low_hz": (1.0, 2000.0),
        "high_hz": (300.0, 8000.0),
    }

    def _changed(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        low, high = drawn(self.low_hz, rng), drawn(self.high_hz, rng)
        hz = np.maximum(bins_hz(len(x)), 1.0)
        rise, fall = 1 / (1 + (low / hz) ** 12), 1 / (1 + (hz / high) ** 24)
        return filtered(x, np.sqrt(rise * fall))


@dataclass(frozen=True)
class Telephone(Transform):
    """The band of a telephone, 300 to 3400 Hz, at 8 kHz and back; without its coding, which is ``g711``."""

    def _changed(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        return at_8_khz(Band(300.0, 3400.0)(x, rng))


@dataclass(frozen=True)
class Microphone(Transform):
    """A smooth random frequency response at the level that the sound had: a tilt and three broad bumps."""

    depth_db: Amount = 6.0

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"depth_db": (0.0, 24.0)}

    def _changed(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        depth_db = drawn(self.depth_db, rng)
        octave = np.log2(np.maximum(bins_hz(len(x)), 50.0) / 1000.0)
        response_db = rng.uniform(-depth_db, depth_db) / 3 * octave
        for _ in range(3):
            centre, width = rng.uniform(-4, 3), rng.uniform(0.5, 1.5)
            bump = np.exp(-0.5 * ((octave - centre) / width) ** 2)
            response_db += rng.uniform(-depth_db, depth_db) * bump
        y = filtered(x, 10 ** (response_db / 20))
        return turned_down(level_matched(y, x).astype(np.float32))


def at_8_khz(x: Floats) -> Floats:
    """``x`` at 8 kHz and back at 16, ``(n,)``: nothing above 4 kHz is left."""
    low = soxr.resample(x, SAMPLE_RATE, 8000, quality="HQ")
    return fitted(soxr.resample(low, 8000, SAMPLE_RATE, quality="HQ"), len(x)).astype(np.float32)
