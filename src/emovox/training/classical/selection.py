"""Which columns are worth keeping? Chosen on the training rows alone, as a step of the pipeline.

``Selection("anova", count=512)`` says how; `Select` is the scikit-learn transformer that does it, so that
whoever splits the rows splits the choice of columns with them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.feature_selection import mutual_info_classif
from sklearn.linear_model import LogisticRegression

from emovox._arrays import Bools, Doubles, Floats
from emovox.errors import ConfigError, MissingExtraError, did_you_mean
from emovox.features.normalization import Standard
from emovox.training.classical.linear import LogisticInSpan

__all__ = ["METHODS", "Select", "Selection", "column_scores"]


_C = 1e-3
"""Of the logistic regression that judges columns; found on ComParE_2016 (docs, `levers`)."""

_PERFECT = 1e30
"""F of a column that never varies within a class."""

_ROUNDS = 5
"""How often a column is permuted."""

_DROPPED = 0.2
"""Share of the columns that one round of recursive elimination takes away."""


def _anova(x: Floats, y: NDArray[Any], seed: int) -> Doubles:
    """F of a one-way analysis of variance; 0 where a column says nothing."""
    rows = np.asarray(x, np.float64)
    members = [rows[y == one] for one in np.unique(y)]
    means = np.stack([one.mean(0) for one in members])
    sizes = np.array([[len(one)] for one in members])
    between = (sizes * np.square(means - rows.mean(0))).sum(0) / (len(members) - 1)
    within = sum(np.square(one - mean).sum(0) for one, mean in zip(members, means, strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        f = between / (within / (len(rows) - len(members)))
    return np.asarray(np.nan_to_num(f, nan=0.0, posinf=_PERFECT))


def _mutual_information(x: Floats, y: NDArray[Any], seed: int) -> Doubles:
    """Nats between a column and the label, by nearest neighbours (Ross, 2014)."""
    return np.asarray(mutual_info_classif(x, y, random_state=seed))


def _permutation(x: Floats, y: NDArray[Any], seed: int) -> Doubles:
    """How much log-likelihood of logistic regression goes when a column is shuffled (Breiman, 2001)."""
    model = LogisticInSpan(LogisticRegression(C=_C, max_iter=1000)).fit(x, y)
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


def _recursive_elimination(x: Floats, y: NDArray[Any], seed: int) -> Doubles:
    """The round in which a column went: the fifth of least weight goes, and the rest is fitted again."""
    scores = np.zeros(x.shape[1])
    left, n_round = np.arange(x.shape[1]), 0
    while len(left):
        model = LogisticInSpan(LogisticRegression(C=_C, max_iter=1000)).fit(x[:, left], y)
        weight = np.square(model.coef_).sum(0)
        order = np.argsort(weight, kind="stable")
        n_gone = max(1, int(_DROPPED * len(left)))
        # Within a round the weight decides: it lies between this round's number and the next one's.
        scores[left] = n_round + weight / (weight.max() + 1e-300) * 0.999
        left, n_round = np.sort(left[order[n_gone:]]), n_round + 1
    return scores


def _catboost(x: Floats, y: NDArray[Any], seed: int) -> Doubles:
    """How much the answers of 200 boosted trees change with a column (CatBoost's PredictionValuesChange)."""
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
    "mutual-information": _mutual_information,
    "permutation": _permutation,
    "rfe": _recursive_elimination,
    "catboost": _catboost,
}
"""Name -> ``(rows (n, d), labels (n,), seed) -> scores (d,)``, larger for columns that matter more."""


def column_scores(rows: Floats, labels: Sequence[str], method: str, *, seed: int = 0) -> Doubles:
    """What a method says of each column, to look at: ``(d,)``; nan where a column is constant.

    Args:
        rows: of the training alone, ``(n, d)``; they are brought to one scale, nan becomes the mean.
        labels: ``(n,)``.

    Raises:
        ConfigError: the method is unknown.
        MissingExtraError: it needs an extra that is not installed.
    """
    chosen = Selection(method, count=1).method  # refuses an unknown one
    scale = Standard.fit(rows)
    varies = np.nan_to_num(scale.std) > 0
    scores = np.full(rows.shape[1], np.nan)
    if varies.any():
        x = np.nan_to_num(scale.transform(rows)[:, varies])
        scores[varies] = METHODS[chosen](x, np.array(labels), seed)
    return scores


@dataclass(frozen=True, slots=True)
class Selection:
    """How columns are chosen: the best ``count``, the best ``ratio`` of all, or those over ``threshold``.

    Raises:
        ConfigError: the method is unknown, or not exactly one of the three is given, or out of range.
    """

    method: str
    count: int | None = None
    """At least 1; all columns where there are fewer."""
    ratio: float | None = None
    """Over 0, at most 1."""
    threshold: float | None = None
    """In units of the mean score over all columns: 1.0 keeps what is better than the average."""

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
        if self.threshold is not None and self.method == "rfe":
            raise ConfigError("rfe ranks columns, it does not score them: give count or ratio, no threshold")

    def chosen(self, scores: Doubles) -> Bools:
        """Which columns ``(d,)`` stay, of their ``scores``; always one at least, the first of equals."""
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


class Select(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Keep the columns that a `Selection` chooses on the rows it is fitted on."""

    def __init__(self, selection: Selection | None = None, seed: int = 0) -> None:
        self.selection = selection
        self.seed = seed

    def fit(self, X: Floats, y: NDArray[Any]) -> Self:
        """Score the columns of ``X`` ``(n, d)`` against the labels ``y`` ``(n,)``, and choose.

        Raises:
            MissingExtraError: the method needs an extra that is not installed.
        """
        assert self.selection is not None
        self.scores_ = METHODS[self.selection.method](X, y, self.seed)
        self.support_ = self.selection.chosen(self.scores_)
        return self

    def transform(self, X: Floats) -> Floats:
        """The chosen columns, in their old order."""
        return np.asarray(X)[:, self.support_]
