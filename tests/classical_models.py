"""Rows and small settings for tests of classical models."""

from __future__ import annotations

from typing import Any

import numpy as np

from emovox._arrays import Floats
from emovox.training.classical import ClassicalConfig

LABELS = ("happy", "sad", "angry")
QUICK: dict[str, dict[str, Any]] = {
    "mlp": {"hidden_layer_sizes": (16,), "max_iter": 60, "learning_rate_init": 0.02},
    "random-forest": {"n_estimators": 20},
    "extra-trees": {"n_estimators": 20},
    "gradient-boosting": {"n_estimators": 10},
    "bagging": {"n_estimators": 10},
    "adaboost": {"n_estimators": 10},
    "lightgbm": {"n_estimators": 10},
    "catboost": {"iterations": 10},
    "stacking": {
        "estimators": ["logistic-regression", "svc", {"model": "knn", "params": {"n_neighbors": 3}}]
    },
}
"""Smaller than the defaults, for tests."""
FORESTS = ("random-forest", "extra-trees", "bagging")
"""Their trees grow until every leaf is of one class, whatever a clip weighs."""
EXTRA = {"lightgbm": "lightgbm", "catboost": "catboost"}


def labelled_rows(
    n: int = 120, d: int = 40, *, seed: int = 0, shift: float = 2.0, labels: tuple[str, ...] = LABELS
) -> tuple[Floats, list[str], list[str]]:
    """Rows of which columns 0 to 4 tell the label, of ten speakers; some values are missing."""
    rng = np.random.default_rng(seed)
    index = np.arange(n) % len(labels)
    x = rng.standard_normal((n, d))
    x[:, :5] += shift * index[:, None]
    x[rng.random(x.shape) < 0.01] = np.nan
    return x.astype(np.float32), [labels[k] for k in index], [f"s{k // 3 % 10}" for k in range(n)]


def make_config(model: str, **changes: Any) -> ClassicalConfig:
    return ClassicalConfig(model=model, **{"params": QUICK.get(model, {}), **changes})
