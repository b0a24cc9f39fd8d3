"""Functionals: statistics over frames, which turn a series of any length into one vector.

A frame is missing where its value is nan (the F0 of an unvoiced frame) or where the mask is false. Missing
frames are left out, and an undefined statistic is nan, never 0: every statistic of no frames, the slope of
one frame, skew and kurtosis of a constant.

=========== ==============================================================================================
name        meaning
=========== ==============================================================================================
mean, std   std is the population's (divided by n)
min, max    the extremes; ``range`` is max - min
q25, q75    quartiles; ``median`` is between them, and ``p00`` to ``p100`` are percentiles (interpolated)
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

__all__ = ["ELEVEN", "STATISTICS", "functional_names", "functionals", "moments"]


ELEVEN = ("mean", "std", "min", "max", "range", "median", "q25", "q75", "skew", "kurtosis", "slope")
"""The usual eleven, in the order of their columns."""


@dataclass(frozen=True)
class _Series:
    """Intermediate results of the statistics of ``(t, d)`` values, each computed once."""

    values: Doubles
    valid: Bools
    hop_s: float

    @cached_property
    def n(self) -> Doubles:
        """Frames that exist, nan for none: ``(d,)``."""
        n: Doubles = self.valid.sum(0).astype(np.float64)
        n[n == 0] = np.nan
        return n

    @cached_property
    def ascending(self) -> Doubles:
        """Sorted over time, missing frames last."""
        return np.sort(np.where(self.valid, self.values, np.nan), axis=0)

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
        total: Doubles = np.where(self.valid, values, 0.0).sum(0)
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
        rank = (n - 1) * (percent / 100)
        low = np.floor(rank).astype(np.intp)
        high = np.ceil(rank).astype(np.intp)
        column = np.arange(len(n))
        below, above = self.ascending[low, column], self.ascending[high, column]
        between: Doubles = below + (above - below) * (rank - low)
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
    """Compute statistics of each column of ``values (t, d)``, one after the other: ``(n_statistics * d,)``.

    Args:
        values: frames; nan is missing. ``(t,)`` is one column.
        statistics: names from `STATISTICS`, or percentiles, ``p00`` to ``p100``.
        mask: true for frames that are included, ``(t,)`` or ``(t, d)``; nan never is.
        hop_s: time from frame to frame; at 1 the slope is per frame.

    Raises:
        ValueError: a shape does not fit, a name is unknown, a value is infinite, or the hop is not positive.
    """
    z = np.asarray(values, dtype=np.float64)
    z = z[:, None] if z.ndim == 1 else z
    if z.ndim != 2:
        raise ValueError(f"values have the shape {z.shape}; expected (t, d) or (t,)")
    if np.isinf(z).any():
        raise ValueError("values contain infinity; expected finite numbers, or nan where missing")
    if not 0 < hop_s < np.inf:
        raise ValueError(f"hop_s is {hop_s!r}; expected seconds above 0")
    chosen = [_find_statistic(name) for name in statistics]
    valid = ~np.isnan(z) & _expand_mask(mask, z.shape)
    series = _Series(np.where(valid, z, 0.0), valid, hop_s)
    rows = [statistic(series) for statistic in chosen]
    return np.concatenate([*rows, np.empty(0)]).astype(np.float32)


def functional_names(names: Iterable[str], statistics: Iterable[str] = ELEVEN) -> tuple[str, ...]:
    """Return the names of the values of `functionals`: ``mfcc1_mean``, ``mfcc2_mean``, ...

    Raises:
        ValueError: a statistic is unknown.
    """
    names, statistics = list(names), list(statistics)
    for statistic in statistics:
        _find_statistic(statistic)
    return tuple(f"{name}_{statistic}" for statistic in statistics for name in names)


def moments(values: ArrayLike) -> Doubles:
    """Compute mean and deviation of each column of ``(t, d)`` without nan: ``(2 * d,)``, nan for no values.

    Faster than `functionals` for these two, which `emovox-core` takes of many small arrays.
    """
    x = np.asarray(values, dtype=np.float64)
    valid = ~np.isnan(x)
    n = valid.sum(0).astype(np.float64)
    n[n == 0] = np.nan
    mean = np.where(valid, x, 0.0).sum(0) / n
    off = np.where(valid, x - mean, 0.0)
    return np.concatenate([mean, np.sqrt(np.einsum("td,td->d", off, off) / n)])


def _find_statistic(name: str) -> Callable[[_Series], Doubles]:
    if name in STATISTICS:
        return STATISTICS[name]
    percent = re.fullmatch(r"p(\d\d|100)", name)
    if percent is None:
        known = ", ".join(STATISTICS)
        raise ValueError(f"unknown statistic {name!r}; expected one of {known}, or a percentile, p00 to p100")
    rank = float(percent[1])
    return lambda series: series.percentile(rank)


def _expand_mask(mask: ArrayLike | None, shape: tuple[int, ...]) -> Bools:
    if mask is None:
        return np.ones(shape, dtype=bool)
    given = np.asarray(mask)
    if given.dtype != np.bool_ or given.shape not in {shape, shape[:1]}:
        raise ValueError(
            f"the mask is {given.dtype} {given.shape}; expected bool {shape[:1]} or {shape}, as of the values"
        )
    return np.broadcast_to(given if given.ndim == 2 else given[:, None], shape)
