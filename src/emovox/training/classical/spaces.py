"""Search spaces: the values that a parameter may take."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from emovox.errors import ConfigError

__all__ = ["Choice", "Range", "Space", "draw", "endpoints", "read_space"]


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from ``low`` to ``high``, both included."""

    low: float
    high: float
    log: bool = False
    """Uniform on a logarithmic scale."""
    whole: bool = False
    """Whole numbers only."""

    def draw(self, rng: np.random.Generator) -> float | int:
        """Draw a value."""
        low, high = (math.log(self.low), math.log(self.high)) if self.log else (self.low, self.high)
        value = float(rng.uniform(low, high))
        value = min(self.high, max(self.low, math.exp(value) if self.log else value))
        return round(value) if self.whole else value


@dataclass(frozen=True, slots=True)
class Choice:
    """One of ``values``, each of a JSON type."""

    values: tuple[Any, ...]

    def draw(self, rng: np.random.Generator) -> Any:
        """Draw a value."""
        return self.values[int(rng.integers(len(self.values)))]


Space = Mapping[str, Range | Choice]
"""Parameter -> its values."""


def draw(space: Space, rng: np.random.Generator) -> dict[str, Any]:
    """Draw a value for every parameter of a space."""
    return {name: one.draw(rng) for name, one in space.items()}


def endpoints(one: Range | Choice) -> tuple[Any, ...]:
    """Return the values whose validity implies that of all: both ends of a range, or each of a list."""
    if isinstance(one, Choice):
        return one.values
    return (round(one.low), round(one.high)) if one.whole else (one.low, one.high)


def read_space(given: Mapping[str, Any]) -> Space:
    """Read a space of YAML: ``C: {low: 0.1, high: 10, log: true}`` or ``weights: [uniform, distance]``.

    A range between whole numbers has whole numbers only, unless ``whole: false``.

    Raises:
        ConfigError: an entry is neither a range nor a list of values.
    """
    return {name: _read_entry(name, value) for name, value in given.items()}


def _read_entry(name: str, value: Any) -> Range | Choice:
    if isinstance(value, list | tuple) and value:
        return Choice(tuple(tuple(one) if isinstance(one, list) else one for one in value))
    if isinstance(value, Mapping) and {"low", "high"} <= value.keys() <= {"low", "high", "log", "whole"}:
        low, high = value["low"], value["high"]
        are_whole = isinstance(low, int) and isinstance(high, int)
        log, whole = value.get("log", False), value.get("whole", are_whole)
        is_valid = all(map(_is_number, (low, high))) and all(isinstance(one, bool) for one in (log, whole))
        if is_valid and low <= high and not (log and low <= 0):
            return Range(low, high, log, whole)
    raise ConfigError(
        f"the space of {name!r} is {value!r}; expected a list of values, or a range such as "
        "{low: 0.1, high: 10, log: true}, low at most high, and over 0 with log"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
