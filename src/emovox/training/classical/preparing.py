"""What happens to a row before a classifier sees it: missing filled, columns on one scale, outliers cut.

Each step is elementary float32 arithmetic, one operation a column, which an ONNX graph repeats bit for bit:
a tree would take another branch for the last digit.
"""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from emovox._arrays import Floats
from emovox.errors import ConfigError

__all__ = ["SCALERS", "Clip", "Fill", "Ranks", "Scale", "interpolated", "rank_slopes"]


SCALERS = ("standard", "robust", "quantile", "none")
"""Mean and deviation; median and quartiles (as a deviation of normal data); ranks; as they are."""

_ROUNDING = 1e-6
"""A column that varies by less than this share of its size is constant: the rest is float32's rounding."""

_QUARTILES_IN_SD = 1.349
"""Between the quartiles of a normal distribution lie so many standard deviations."""

_N_RANKS = 100


class Fill(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Drop columns that tell nothing (missing throughout, or constant); fill missing values by the median.

    What is infinite is missing too.
    """

    def fit(self, X: Floats, y: Any = None) -> Self:
        """Learn from rows ``(n, d)``, nan where missing.

        Raises:
            ConfigError: no column tells anything.
        """
        rows = np.asarray(X, np.float64)
        rows = np.where(np.isfinite(rows), rows, np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a column without any value: its median is nan
            median, spread = np.nanmedian(rows, axis=0), np.nanmax(rows, axis=0) - np.nanmin(rows, axis=0)
            size = np.nanmax(np.abs(rows), axis=0)
        self.support_ = np.nan_to_num(spread) > _ROUNDING * np.nan_to_num(size)
        if not self.support_.any():
            raise ConfigError(f"every column is constant or missing in the {len(rows)} rows of the training")
        self.median_ = median[self.support_].astype(np.float32)
        return self

    def transform(self, X: Floats) -> Floats:
        """``(n, d) -> (n, columns kept)``, all finite."""
        rows = np.asarray(X, np.float32)[:, self.support_]
        return np.where(np.isfinite(rows), rows, self.median_)


class Scale(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """``(x - centre) / spread`` of every column; spread is a standard deviation, or what stands for one."""

    def __init__(self, robust: bool = False) -> None:
        self.robust = robust

    def fit(self, X: Floats, y: Any = None) -> Self:
        """Learn from rows ``(n, d)`` without nan."""
        rows = np.asarray(X, np.float64)
        centre, spread = rows.mean(0), rows.std(0)
        if self.robust:
            low, centre, high = np.percentile(rows, (25, 50, 75), axis=0)
            between = (high - low) / _QUARTILES_IN_SD
            spread = np.where(between > 0, between, spread)  # half of the values are equal: no quartiles
        self.centre_ = centre.astype(np.float32)
        self.spread_ = np.where(spread > 0, spread, 1).astype(np.float32)
        return self

    def transform(self, X: Floats) -> Floats:
        """``(n, d)``, in standard deviations."""
        return np.asarray((X - self.centre_) / self.spread_)


class Clip(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Cut what is further than ``limit`` standard deviations away: one wild column must not decide."""

    def __init__(self, limit: float = 8.0) -> None:
        self.limit = limit

    def fit(self, X: Floats, y: Any = None) -> Self:
        """Nothing to learn."""
        self.fitted_ = True
        return self

    def transform(self, X: Floats) -> Floats:
        """``(n, d)`` in ``[-limit, limit]``."""
        return np.asarray(np.clip(X, np.float32(-self.limit), np.float32(self.limit)))


class Ranks(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Replace a value by its rank among the training's, 0 to 1, scaled to a standard deviation of 1.

    As scikit-learn's QuantileTransformer with 100 quantiles: linear between them, and the middle of the ranks
    of a value that occurs often.
    """

    def fit(self, X: Floats, y: Any = None) -> Self:
        """Learn from rows ``(n, d)`` without nan."""
        n_ranks = min(_N_RANKS, len(X))
        self.ranks_ = np.linspace(0, 1, n_ranks, dtype=np.float32)
        quantiles = np.quantile(np.asarray(X, np.float64), np.linspace(0, 1, n_ranks), axis=0)
        self.quantiles_ = np.maximum.accumulate(quantiles).astype(np.float32)
        return self

    def transform(self, X: Floats) -> Floats:
        """``(n, d)``, evenly spread, mean 0 and deviation 1 on the training's rows."""
        out = np.empty_like(X, np.float32)
        for j in range(out.shape[1]):
            out[:, j] = interpolated(X[:, j], self.quantiles_[:, j], self.ranks_)
        return np.asarray((out - np.float32(0.5)) * np.float32(np.sqrt(12)))


def interpolated(x: Floats, quantiles: Floats, ranks: Floats) -> Floats:
    """Ranks ``(n,)`` of ``x`` ``(n,)`` among rising ``quantiles`` ``(k,)`` of known ``ranks`` ``(k,)``."""
    slopes = rank_slopes(quantiles[:, None], ranks)[:, 0]
    both = []
    for at in (np.searchsorted(quantiles, x, "left"), np.searchsorted(quantiles, x, "right")):
        at = np.maximum(at - 1, 0)
        both.append(np.clip(ranks[at] + (x - quantiles[at]) * slopes[at], 0, 1))
    return np.asarray((both[0] + both[1]) * np.float32(0.5))


def rank_slopes(quantiles: Floats, ranks: Floats) -> Floats:
    """Ranks per unit after each of the ``quantiles`` ``(k, d)``, ``(k, d)``; none after the last."""
    steps = np.diff(quantiles, axis=0)
    slopes = np.diff(ranks)[:, None] / np.where(steps > 0, steps, 1)
    return np.vstack([slopes, np.zeros_like(quantiles[:1])]).astype(np.float32)
