"""Where: a synthetic room around the voice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from emovox._arrays import Doubles, Floats
from emovox.audio import SAMPLE_RATE
from emovox.augment.base import Amount, Rng, Transform, drawn, level_matched, turned_down

__all__ = ["Room", "impulse_response"]

_GAP_S = 0.002
"""Between the direct sound and the first echo: walls are some way off."""


@dataclass(frozen=True)
class Room(Transform):
    """Reverberation: decaying noise behind the direct sound, at the level that the sound had.

    ``rt60_s`` is how long the echoes take to fall by 60 dB, ``direct_db`` how much stronger than all of them
    the direct sound is: the nearer the microphone, the higher.
    """

    rt60_s: Amount = (0.1, 0.8)
    direct_db: Amount = (0.0, 12.0)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"rt60_s": (0.02, 10.0), "direct_db": (-40.0, 60.0)}

    def _changed(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        response = impulse_response(drawn(self.rt60_s, rng), drawn(self.direct_db, rng), rng)
        size = 1 << (len(x) + len(response) - 1).bit_length()
        wet = np.fft.irfft(np.fft.rfft(x, size) * np.fft.rfft(response, size), size)[: len(x)]
        return turned_down(level_matched(wet, x).astype(np.float32))


def impulse_response(rt60_s: float, direct_db: float, rng: Rng) -> Doubles:
    """``(n,)``: 1, a gap of 2 ms, and noise that falls by 60 dB in ``rt60_s``, until it has fallen by 80."""
    t = np.arange(round((_GAP_S + rt60_s * 80 / 60) * SAMPLE_RATE) + 1) / SAMPLE_RATE
    response = rng.standard_normal(len(t)) * 10 ** (-3 * t / rt60_s)
    response[t < _GAP_S] = 0
    response *= 10 ** (-direct_db / 20) / np.sqrt(np.sum(response**2))
    response[0] = 1
    return response
