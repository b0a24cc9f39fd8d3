"""Selection: the columns that tell the label are found, by every method, and chosen on the training alone."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn.feature_selection import f_classif
from sklearn.linear_model import LogisticRegression

from emovox.errors import ConfigError
from emovox.training.classical.linear import SpanLogisticRegression
from emovox.training.classical.selection import METHODS, Selection, Selector


def rows(n: int = 150, d: int = 40, n_classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Columns 3, 8 and 21 tell the label."""
    rng = np.random.default_rng(0)
    y = np.arange(n) % n_classes
    x = rng.standard_normal((n, d))
    x[:, [j for j in (3, 8, 21) if j < d]] += 1.5 * y[:, None]
    return x.astype(np.float32), y


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_finds_informative_columns(method: str, n_classes: int) -> None:
    if method == "catboost":
        pytest.importorskip("catboost")
    x, y = rows(n_classes=n_classes)
    chooser = Selector(Selection(method, count=3), seed=1).fit(x, y)
    assert np.flatnonzero(chooser.support_).tolist() == [3, 8, 21]
    np.testing.assert_array_equal(chooser.transform(x), x[:, [3, 8, 21]])
    again = Selector(Selection(method, count=3), seed=1).fit(x, y)
    np.testing.assert_array_equal(chooser.scores_, again.scores_)


def test_anova_equals_scikit_learn() -> None:
    x, y = rows()
    np.testing.assert_allclose(METHODS["anova"](x, y, 0), f_classif(x.astype(np.float64), y)[0], rtol=1e-9)
    x[:, 5] = 2.0
    x[:, 6] = y
    scores = METHODS["anova"](x, y, 0)
    assert scores[5] == 0
    assert scores.argmax() == 6


def test_permutation_score_is_lost_likelihood() -> None:
    x, y = rows(n=60, d=6)
    scores = METHODS["permutation"](x, y, 4)
    model = SpanLogisticRegression(LogisticRegression(C=1e-3, max_iter=1000)).fit(x, y)
    rng = np.random.default_rng(4)
    orders = [rng.permutation(60) for _ in range(5)]

    def likelihood(z: np.ndarray) -> float:
        return float(np.log(model.predict_proba(z)[np.arange(60), y]).mean())

    for j in (0, 3):
        costs = []
        for order in orders:
            shuffled = x.copy()
            shuffled[:, j] = x[order, j]
            costs.append(likelihood(x) - likelihood(shuffled))
        assert scores[j] == pytest.approx(np.mean(costs), abs=1e-6)


def test_count_ratio_and_threshold() -> None:
    scores = np.array([4.0, 1.0, 3.0, 0.0])
    assert Selection("anova", count=2).select(scores).tolist() == [True, False, True, False]
    assert Selection("anova", count=9).select(scores).all()
    assert Selection("anova", ratio=0.25).select(scores).tolist() == [True, False, False, False]
    assert Selection("anova", ratio=0.01).select(scores).sum() == 1, "never none"
    assert Selection("anova", threshold=1.5).select(scores).tolist() == [True, False, True, False]
    assert Selection("anova", count=1).select(np.ones(3)).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"method": "anva", "count": 3}, "did you mean 'anova'"),
        ({"method": "anova"}, "got 0 of count, ratio and threshold"),
        ({"method": "anova", "count": 3, "ratio": 0.5}, "got 2 of"),
        ({"method": "anova", "count": 0}, "at least 1"),
        ({"method": "anova", "ratio": 1.5}, "at most 1"),
        ({"method": "rfe", "count": 3}, "there are anova, permutation, catboost"),
    ],
)
def test_invalid_selections_are_refused(given: dict, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        Selection(**given)
