"""What a parameter may be when it is searched for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

__all__ = ["Choice", "Range", "Space", "draw"]


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from ``low`` to ``high``, both included."""

    low: float
    high: float
    log: bool = False
    """Evenly on a logarithmic scale."""
    whole: bool = False
    """Whole numbers only."""

    def draw(self, rng: np.random.Generator) -> float | int:
        """One of them by chance."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        value = float(rng.uniform(low, high))
        value = min(self.high, max(self.low, math.exp(value) if self.log else value))
        return round(value) if self.whole else value


@dataclass(frozen=True, slots=True)
class Choice:
    """One of ``values``, each of them of JSON's types."""

    values: tuple[Any, ...]

    def draw(self, rng: np.random.Generator) -> Any:
        """One of them by chance."""
        return self.values[int(rng.integers(len(self.values)))]


Space = Mapping[str, Range | Choice]
"""Parameter -> what it may be."""


def draw(space: Space, rng: np.random.Generator) -> dict[str, Any]:
    """A value for every parameter of a space, by chance."""
    return {name: one.draw(rng) for name, one in space.items()}
