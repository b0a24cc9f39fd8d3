"""How loud: a gain, and peaks cut off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from emovox._arrays import Floats
from emovox.augment.base import Amount, Rng, Transform, drawn

__all__ = ["Clipping", "Gain"]


@dataclass(frozen=True)
class Gain(Transform):
    """Louder or quieter by so many dB; what would leave [-1, 1] is cut off, as a recorder would."""

    gain_db: Amount = (-12.0, 12.0)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"gain_db": (-80.0, 80.0)}

    def _changed(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        return x * np.float32(10 ** (drawn(self.gain_db, rng) / 20))


@dataclass(frozen=True)
class Clipping(Transform):
    """The loudest samples cut off, as by an overdriven input: so many per cent of them."""

    percent: Amount = (0.1, 5.0)

    LIMITS: ClassVar[Mapping[str, tuple[float, float]]] = {"percent": (0.0, 90.0)}

    def _changed(self, x: Floats, rng: Rng) -> npt.NDArray[Any]:
        rail = np.quantile(np.abs(x), 1 - drawn(self.percent, rng) / 100)
        return np.clip(x, -rail, rail) if rail > 0 else x
