"""What a parameter may be when it is searched for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from emovox.errors import ConfigError

__all__ = ["Choice", "Range", "Space", "draw", "ends", "read_space"]


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


def ends(one: Range | Choice) -> tuple[Any, ...]:
    """The values of a parameter that have to be possible, if all are to be: both ends, or each of a list."""
    if isinstance(one, Choice):
        return one.values
    return (round(one.low), round(one.high)) if one.whole else (one.low, one.high)


def read_space(given: Mapping[str, Any]) -> Space:
    """A space as YAML has it: ``C: {low: 0.1, high: 10, log: true}`` or ``weights: [uniform, distance]``.

    A range whose ends are whole numbers holds whole numbers only; ``whole: false`` says otherwise.

    Raises:
        ConfigError: an entry is neither a range nor a list of values.
    """
    return {name: _entry(name, value) for name, value in given.items()}


def _entry(name: str, value: Any) -> Range | Choice:
    if isinstance(value, list | tuple) and value:
        return Choice(tuple(tuple(one) if isinstance(one, list) else one for one in value))
    if isinstance(value, Mapping) and {"low", "high"} <= value.keys() <= {"low", "high", "log", "whole"}:
        low, high = value["low"], value["high"]
        are_whole = isinstance(low, int) and isinstance(high, int)
        log, whole = value.get("log", False), value.get("whole", are_whole)
        are_right = all(map(_is_number, (low, high))) and all(isinstance(one, bool) for one in (log, whole))
        if are_right and low <= high and not (log and low <= 0):
            return Range(low, high, log, whole)
    raise ConfigError(
        f"the space of {name!r} is {value!r}; expected a list of values, or a range such as "
        "{low: 0.1, high: 10, log: true}, low at most high, and over 0 with log"
    )


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
