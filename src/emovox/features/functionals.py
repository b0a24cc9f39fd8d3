"""Statistics over frames: a series of any length becomes one vector.

A frame is missing where its value is nan (the F0 of what is not voiced) or where the mask says so. Missing
frames take no part, and a statistic that has nothing to stand on is nan, never 0: every statistic of no
frames, the slope of one frame, skew and kurtosis of a constant.

=========== ==============================================================================================
name        meaning
=========== ==============================================================================================
mean, std   std is the population's (divided by n)
min, max    the extremes; ``range`` is max - min
q25, q75    quartiles; ``median`` lies between them, and ``p00`` to ``p100`` are percentiles (interpolated)
skew        third standardised moment (of the population, not corrected for bias)
kurtosis    fourth standardised moment less 3: 0 for a normal distribution
slope       of the least-squares line over time, per second
=========== ==============================================================================================

The definitions are those of ``numpy`` and the defaults of ``scipy.stats``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from emovox._arrays import Bools, Doubles, Floats

__all__ = ["ELEVEN", "STATISTICS", "columns", "functionals"]


ELEVEN = ("mean", "std", "min", "max", "range", "median", "q25", "q75", "skew", "kurtosis", "slope")
"""The usual eleven, in the order of their columns."""


@dataclass(frozen=True)
class _Series:
    """What the statistics share, each computed once: ``(t, d)`` values, of which ``there (t, d)`` exist."""

    values: Doubles
    there: Bools
    hop_s: float

    @cached_property
    def n(self) -> Doubles:
        """Frames that exist, nan for none: ``(d,)``."""
        n: Doubles = self.there.sum(0).astype(np.float64)
        n[n == 0] = np.nan
        return n

    @cached_property
    def ascending(self) -> Doubles:
        """Sorted over time, missing frames last."""
        return np.sort(np.where(self.there, self.values, np.nan), axis=0)

    @cached_property
    def mean(self) -> Doubles:
        return self.sum(self.values) / self.n

    @cached_property
    def range(self) -> Doubles:
        return self.percentile(100.0) - self.percentile(0.0)

    @cached_property
    def centred(self) -> Doubles:
        """Distance from the mean as a share of the range, 0 for a constant: its powers stay in bounds."""
        share = (self.values - self.mean) / np.where(self.range > 0, self.range, 1.0)
        return np.where(self.range > 0, share, 0.0)

    def sum(self, values: Doubles) -> Doubles:
        """Over the frames that exist: ``(d,)``."""
        total: Doubles = np.where(self.there, values, 0.0).sum(0)
        return total

    @cached_property
    def variance(self) -> Doubles:
        """In ranges squared."""
        return self.sum(self.squared) / self.n

    @cached_property
    def squared(self) -> Doubles:
        return self.centred * self.centred

    def standardised(self, order: Literal[3, 4]) -> Doubles:
        """Central moment over that power of the deviation; nan for a constant."""
        # Multiplied out: a general power takes as long as all the other statistics together.
        power = self.squared * (self.centred if order == 3 else self.squared)
        variance = np.where(self.variance > 0, self.variance, np.nan)
        return self.sum(power) / self.n / variance ** (order / 2)

    def percentile(self, percent: float) -> Doubles:
        if not len(self.ascending):
            return np.full(self.ascending.shape[1], np.nan)
        n = np.nan_to_num(self.n, nan=1.0)
        place = (n - 1) * (percent / 100)
        low = np.floor(place).astype(np.intp)
        high = np.ceil(place).astype(np.intp)
        column = np.arange(len(n))
        below, above = self.ascending[low, column], self.ascending[high, column]
        between: Doubles = below + (above - below) * (place - low)
        return between

    def slope(self) -> Doubles:
        time = self.hop_s * np.arange(len(self.values), dtype=np.float64)[:, None]
        time = time - self.sum(np.broadcast_to(time, self.values.shape)) / self.n
        spread = self.sum(time**2)
        return self.sum(time * self.centred) * self.range / np.where(spread > 0, spread, np.nan)


STATISTICS: Mapping[str, Callable[[_Series], Doubles]] = MappingProxyType(
    {
        "mean": lambda s: s.mean,
        "std": lambda s: np.sqrt(s.variance) * s.range,
        "min": lambda s: s.percentile(0.0),
        "max": lambda s: s.percentile(100.0),
        "range": lambda s: s.range,
        "median": lambda s: s.percentile(50.0),
        "q25": lambda s: s.percentile(25.0),
        "q75": lambda s: s.percentile(75.0),
        "skew": lambda s: s.standardised(3),
        "kurtosis": lambda s: s.standardised(4) - 3.0,
        "slope": lambda s: s.slope(),
    }
)
"""Name -> statistic. ``pNN``, a percentile, needs no entry."""


def functionals(
    values: ArrayLike,
    *,
    statistics: Iterable[str] = ELEVEN,
    mask: ArrayLike | None = None,
    hop_s: float = 1.0,
) -> Floats:
    """Statistics of each column of ``values (t, d)``, one statistic after the other: ``(n_statistics * d,)``.

    Args:
        values: frames; nan where there is none. ``(t,)`` counts as one column.
        statistics: names from `STATISTICS`, or percentiles, ``p00`` to ``p100``.
        mask: true for frames that count, ``(t,)`` or ``(t, d)``; nan never counts.
        hop_s: time from frame to frame; left at 1, the slope is per frame.

    Raises:
        ValueError: a shape does not fit, a name is unknown, a value is infinite, or the hop is not positive.
    """
    z = np.asarray(values, dtype=np.float64)
    z = z[:, None] if z.ndim == 1 else z
    if z.ndim != 2:
        raise ValueError(f"values have the shape {z.shape}; expected (t, d) or (t,)")
    if np.isinf(z).any():
        raise ValueError("values hold infinities; expected finite numbers, or nan for what is missing")
    if not 0 < hop_s < np.inf:
        raise ValueError(f"hop_s is {hop_s!r}; expected seconds above 0")
    chosen = [_statistic(name) for name in statistics]
    there = ~np.isnan(z) & _mask(mask, z.shape)
    series = _Series(np.where(there, z, 0.0), there, hop_s)
    rows = [statistic(series) for statistic in chosen]
    return np.concatenate([*rows, np.empty(0)]).astype(np.float32)


def columns(names: Iterable[str], statistics: Iterable[str] = ELEVEN) -> tuple[str, ...]:
    """The names of what `functionals` gives for columns of these names: ``mfcc1_mean``, ``mfcc2_mean``, ...

    Raises:
        ValueError: a statistic is unknown.
    """
    names, statistics = list(names), list(statistics)
    for statistic in statistics:
        _statistic(statistic)
    return tuple(f"{name}_{statistic}" for statistic in statistics for name in names)


def _statistic(name: str) -> Callable[[_Series], Doubles]:
    if name in STATISTICS:
        return STATISTICS[name]
    percent = re.fullmatch(r"p(\d\d|100)", name)
    if percent is None:
        known = ", ".join(STATISTICS)
        raise ValueError(f"unknown statistic {name!r}; expected one of {known}, or a percentile, p00 to p100")
    place = float(percent[1])
    return lambda series: series.percentile(place)


def _mask(mask: ArrayLike | None, shape: tuple[int, ...]) -> Bools:
    if mask is None:
        return np.ones(shape, dtype=bool)
    given = np.asarray(mask)
    if given.dtype != np.bool_ or given.shape not in {shape, shape[:1]}:
        raise ValueError(
            f"the mask is {given.dtype} {given.shape}; expected bool {shape[:1]} or {shape}, as the values"
        )
    return np.broadcast_to(given if given.ndim == 2 else given[:, None], shape)
