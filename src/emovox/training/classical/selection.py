"""Selection of columns on the training rows, as a step of the pipeline.

`Selection("anova", count=512)` is the setting, `Selector` the scikit-learn transformer, so that any split of
the rows also splits the selection.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression

from emovox._arrays import Bools, Doubles, Floats
from emovox.errors import ConfigError, MissingExtraError, did_you_mean
from emovox.features.normalization import StandardNormaliser
from emovox.training.classical.linear import SpanLogisticRegression

__all__ = ["METHODS", "Selection", "Selector", "score_columns"]


_C = 1e-3
"""Regularisation of the logistic regression that scores columns; chosen on ComParE_2016."""

_PERFECT = 1e30
"""F of a column without variance within a class."""

_ROUNDS = 5
"""Permutations per column."""


def _anova(x: Floats, y: NDArray[Any], seed: int) -> Doubles:
    """F of a one-way analysis of variance; 0 for a constant column."""
    rows = np.asarray(x, np.float64)
    members = [rows[y == one] for one in np.unique(y)]
    means = np.stack([one.mean(0) for one in members])
    sizes = np.array([[len(one)] for one in members])
    between = (sizes * np.square(means - rows.mean(0))).sum(0) / (len(members) - 1)
    within = sum(np.square(one - mean).sum(0) for one, mean in zip(members, means, strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        f = between / (within / (len(rows) - len(members)))
    return np.asarray(np.nan_to_num(f, nan=0.0, posinf=_PERFECT))


def _permutation(x: Floats, y: NDArray[Any], seed: int) -> Doubles:
    """Loss of log-likelihood of a logistic regression when a column is permuted (Breiman, 2001)."""
    model = SpanLogisticRegression(LogisticRegression(C=_C, max_iter=1000)).fit(x, y)
    coef, logits = model.coef_, np.atleast_2d(model.decision_function(x).T).T
    if len(coef) == 1:
        coef, logits = np.vstack([0 * coef, coef]), np.hstack([0 * logits, logits])
    truth = np.searchsorted(model.classes_, y)
    before = _log_likelihood(logits, truth)
    rng = np.random.default_rng(seed)
    orders = [rng.permutation(len(x)) for _ in range(_ROUNDS)]
    changes = ((x[order, j] - x[:, j])[:, None] * coef[:, j] for j in range(x.shape[1]) for order in orders)
    losses = np.array([before - _log_likelihood(logits + change, truth) for change in changes])
    return np.asarray(losses.reshape(-1, _ROUNDS).mean(1))


def _log_likelihood(logits: Doubles, truth: NDArray[np.int64]) -> float:
    z = logits - logits.max(1, keepdims=True)
    return float((z[np.arange(len(z)), truth] - np.log(np.exp(z).sum(1))).mean())


def _catboost(x: Floats, y: NDArray[Any], seed: int) -> Doubles:
    """Feature importance in 200 boosted trees (CatBoost's PredictionValuesChange)."""
    try:
        from catboost import CatBoostClassifier
    except ImportError as error:
        raise MissingExtraError("the selection 'catboost'", "catboost") from error
    model = CatBoostClassifier(
        iterations=200,
        boosting_type="Plain",
        depth=4,
        border_count=32,
        random_seed=seed,
        thread_count=1,
        rsm=min(1.0, 512 / x.shape[1]),
        verbose=False,
        allow_writing_files=False,
    )
    return np.asarray(model.fit(x, y).get_feature_importance(), np.float64)


METHODS: Mapping[str, Callable[[Floats, NDArray[Any], int], Doubles]] = {
    "anova": _anova,
    "permutation": _permutation,
    "catboost": _catboost,
}
"""Name -> ``(rows (n, d), labels (n,), seed) -> scores (d,)``, larger for more informative columns."""


def score_columns(rows: Floats, labels: Sequence[str], method: str, *, seed: int = 0) -> Doubles:
    """Score each column by a method, for display: ``(d,)``; nan for constant columns.

    Args:
        rows: training rows ``(n, d)``; they are standardised, and nan becomes the mean.
        labels: ``(n,)``.
        method: a key of `METHODS`.
        seed: of methods with random parts.

    Raises:
        ConfigError: the method is unknown.
        MissingExtraError: it needs an extra that is not installed.
    """
    known = Selection(method, count=1).method  # refuses an unknown one
    scale = StandardNormaliser.fit(rows)
    varies = np.nan_to_num(scale.std) > 0
    scores = np.full(rows.shape[1], np.nan)
    if varies.any():
        x = np.nan_to_num(scale.transform(rows)[:, varies])
        scores[varies] = METHODS[known](x, np.array(labels), seed)
    return scores


@dataclass(frozen=True, slots=True)
class Selection:
    """Setting of a selection: the best ``count``, the best ``ratio`` of all, or those over ``threshold``.

    Raises:
        ConfigError: the method is unknown, or not exactly one of the three is given, or out of range.
    """

    method: str
    count: int | None = None
    """At least 1; all columns if there are fewer."""
    ratio: float | None = None
    """Over 0, at most 1."""
    threshold: float | None = None
    """In units of the mean score: 1.0 keeps columns that are better than the average."""

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"no selection {self.method!r}; {did_you_mean(self.method, METHODS)}")
        given = [n for n in (self.count, self.ratio, self.threshold) if n is not None]
        if len(given) != 1:
            raise ConfigError(f"a selection got {len(given)} of count, ratio and threshold; expected one")
        if self.count is not None and self.count < 1:
            raise ConfigError(f"select.count is {self.count}; expected at least 1")
        if self.ratio is not None and not 0 < self.ratio <= 1:
            raise ConfigError(f"select.ratio is {self.ratio}; expected a share over 0, at most 1")

    def select(self, scores: Doubles) -> Bools:
        """Return which columns ``(d,)`` are kept by their ``scores``: one at least, the first of equals."""
        order = np.argsort(-scores, kind="stable")
        if self.threshold is not None:
            n_kept = int((scores >= self.threshold * scores.mean()).sum())
        elif self.ratio is not None:
            n_kept = round(self.ratio * len(scores))
        else:
            n_kept = self.count or 1
        kept = np.zeros(len(scores), bool)
        kept[order[: max(1, n_kept)]] = True
        return kept


class Selector(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Transformer that keeps the columns of a `Selection`."""

    def __init__(self, selection: Selection | None = None, seed: int = 0) -> None:
        self.selection = selection
        self.seed = seed

    def fit(self, X: Floats, y: NDArray[Any]) -> Self:
        """Score the columns of ``X (n, d)`` against the labels ``y (n,)`` and select.

        Raises:
            MissingExtraError: the method needs an extra that is not installed.
        """
        assert self.selection is not None
        self.scores_ = METHODS[self.selection.method](X, y, self.seed)
        self.support_ = self.selection.select(self.scores_)
        return self

    def transform(self, X: Floats) -> Floats:
        """Return the selected columns in their order."""
        return np.asarray(X)[:, self.support_]
