"""Preprocessing of rows: missing values imputed, columns scaled, outliers clipped.

Each step is elementary float32 arithmetic that an ONNX graph repeats bit for bit, since a tree may take
another branch because of the last digit.
"""

from __future__ import annotations

import warnings
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from emovox._arrays import Floats
from emovox.errors import ConfigError

__all__ = ["SCALERS", "Clipper", "Imputer", "RankScaler", "Scaler", "interpolate_ranks", "rank_slopes"]


SCALERS = ("standard", "robust", "quantile", "none")
"""Mean and deviation; median and interquartile range; ranks; no scaling."""

_ROUNDING = 1e-6
"""A column that varies by less than this share of its magnitude is constant but for rounding."""

_QUARTILES_IN_SD = 1.349
"""Interquartile range of a normal distribution, in standard deviations."""

_N_RANKS = 100


class Imputer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Drop constant and wholly missing columns; replace missing (nan, infinite) values by the median."""

    def fit(self, X: Floats, y: Any = None) -> Self:
        """Fit on rows ``(n, d)``, nan where missing.

        Raises:
            ConfigError: every column is constant or missing.
        """
        rows = np.asarray(X, np.float64)
        rows = np.where(np.isfinite(rows), rows, np.nan)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # the median of a wholly missing column is nan
            median, spread = np.nanmedian(rows, axis=0), np.nanmax(rows, axis=0) - np.nanmin(rows, axis=0)
            size = np.nanmax(np.abs(rows), axis=0)
        self.support_ = np.nan_to_num(spread) > _ROUNDING * np.nan_to_num(size)
        if not self.support_.any():
            raise ConfigError(f"every column is constant or missing in the {len(rows)} rows of the training")
        self.median_ = median[self.support_].astype(np.float32)
        return self

    def transform(self, X: Floats) -> Floats:
        """Return ``(n, columns kept)``, all finite."""
        rows = np.asarray(X, np.float32)[:, self.support_]
        return np.where(np.isfinite(rows), rows, self.median_)


class Scaler(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Scale each column to ``(x - centre) / spread``: mean and deviation, or median and quartiles."""

    def __init__(self, robust: bool = False) -> None:
        self.robust = robust

    def fit(self, X: Floats, y: Any = None) -> Self:
        """Fit on rows ``(n, d)`` without nan."""
        rows = np.asarray(X, np.float64)
        centre, spread = rows.mean(0), rows.std(0)
        if self.robust:
            low, centre, high = np.percentile(rows, (25, 50, 75), axis=0)
            between = (high - low) / _QUARTILES_IN_SD
            spread = np.where(between > 0, between, spread)  # 0 if half of the values are equal
        self.centre_ = centre.astype(np.float32)
        self.spread_ = np.where(spread > 0, spread, 1).astype(np.float32)
        return self

    def transform(self, X: Floats) -> Floats:
        """Return ``(n, d)`` in standard deviations."""
        return np.asarray((X - self.centre_) / self.spread_)


class Clipper(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Clip values to ``limit`` standard deviations, so that one outlier does not decide."""

    def __init__(self, limit: float = 8.0) -> None:
        self.limit = limit

    def fit(self, X: Floats, y: Any = None) -> Self:
        """Return self; nothing is fitted."""
        self.fitted_ = True
        return self

    def transform(self, X: Floats) -> Floats:
        """Return ``(n, d)`` in ``[-limit, limit]``."""
        return np.asarray(np.clip(X, np.float32(-self.limit), np.float32(self.limit)))


class RankScaler(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Replace a value by its rank in the training, 0 to 1, scaled to a standard deviation of 1.

    It follows scikit-learn's QuantileTransformer with 100 quantiles: linear between them, and the middle of
    the ranks of tied values.
    """

    def fit(self, X: Floats, y: Any = None) -> Self:
        """Fit on rows ``(n, d)`` without nan."""
        n_ranks = min(_N_RANKS, len(X))
        self.ranks_ = np.linspace(0, 1, n_ranks, dtype=np.float32)
        quantiles = np.quantile(np.asarray(X, np.float64), np.linspace(0, 1, n_ranks), axis=0)
        self.quantiles_ = np.maximum.accumulate(quantiles).astype(np.float32)
        return self

    def transform(self, X: Floats) -> Floats:
        """Return ``(n, d)``: uniform, with mean 0 and deviation 1 on the training rows."""
        out = np.empty_like(X, np.float32)
        for j in range(out.shape[1]):
            out[:, j] = interpolate_ranks(X[:, j], self.quantiles_[:, j], self.ranks_)
        return np.asarray((out - np.float32(0.5)) * np.float32(np.sqrt(12)))


def interpolate_ranks(x: Floats, quantiles: Floats, ranks: Floats) -> Floats:
    """Return the ranks ``(n,)`` of ``x (n,)`` between rising ``quantiles (k,)`` with ``ranks (k,)``."""
    slopes = rank_slopes(quantiles[:, None], ranks)[:, 0]
    sides = []
    for at in (np.searchsorted(quantiles, x, "left"), np.searchsorted(quantiles, x, "right")):
        at = np.maximum(at - 1, 0)
        sides.append(np.clip(ranks[at] + (x - quantiles[at]) * slopes[at], 0, 1))
    return np.asarray((sides[0] + sides[1]) * np.float32(0.5))


def rank_slopes(quantiles: Floats, ranks: Floats) -> Floats:
    """Return the slopes ``(k, d)`` of the ranks after each of the ``quantiles (k, d)``; 0 after the last."""
    steps = np.diff(quantiles, axis=0)
    slopes = np.diff(ranks)[:, None] / np.where(steps > 0, steps, 1)
    return np.vstack([slopes, np.zeros_like(quantiles[:1])]).astype(np.float32)
