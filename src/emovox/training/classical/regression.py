"""Regressors of continuous targets: a table of them, and their fit on rows of features.

::

    fitted = fit_values(x, values, find_regressor("svr"), seed=0)
    fitted.predict(other)                                             # (n, n_targets)

Scaler and regressors are fitted on the given rows alone. Each target has a regressor of its own, fitted on
the rows that have a value of it, which is standardised.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor, RandomForestRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import Pipeline
from sklearn.svm import SVR

from emovox._arrays import Doubles
from emovox.errors import ConfigError, did_you_mean
from emovox.training.classical.estimators import ESTIMATORS, Estimator
from emovox.training.classical.fitting import make_preprocessing

__all__ = ["REGRESSORS", "FittedRegressor", "KernelSVR", "find_regressor", "fit_values"]

FEWEST = 3
"""Clips with a value that a regressor needs."""


class KernelSVR(SVR):  # type: ignore[misc]
    """scikit-learn's `SVR`, with the kernel coefficient ``gamma_`` that it used."""

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit on rows ``(n, d)`` without nan."""
        super().fit(X, y, sample_weight)
        self.gamma_ = self._gamma
        return self


REGRESSORS: dict[str, Estimator] = {
    entry.name: entry
    for entry in (
        Estimator(
            name="svr",
            description="support vector regression with a Gaussian kernel (Drucker et al., 1997)",
            build=lambda params: KernelSVR(**params),
            defaults={"C": 1.0, "gamma": "scale", "epsilon": 0.1},
        ),
        Estimator(
            name="ridge",
            description="linear regression with an L2 penalty (Hoerl & Kennard, 1970)",
            build=lambda params: Ridge(**params),
            defaults={"alpha": 300.0},
        ),
        Estimator(
            name="random-forest",
            description="300 trees on resampled clips (Breiman, 2001)",
            build=lambda params: RandomForestRegressor(**params),
            defaults={"n_estimators": 300, "max_features": "sqrt"},
            needs_scaling=False,
        ),
        Estimator(
            name="extra-trees",
            description="300 trees with random thresholds (Geurts et al., 2006)",
            build=lambda params: ExtraTreesRegressor(**params),
            defaults={"n_estimators": 300, "max_features": "sqrt"},
            needs_scaling=False,
        ),
        Estimator(
            name="gradient-boosting",
            description="small trees, each fitted to the errors of the previous ones (Friedman, 2001)",
            build=lambda params: GradientBoostingRegressor(**params),
            defaults={"n_estimators": 100, "max_features": "sqrt", "subsample": 0.8},
            needs_scaling=False,
        ),
        Estimator(
            name="mlp",
            description="perceptron with one hidden layer",
            build=lambda params: MLPRegressor(**params),
            defaults={"hidden_layer_sizes": (256,), "alpha": 1.0, "max_iter": 100},
        ),
    )
}
"""The regressors by name, with defaults for about a thousand clips."""


def find_regressor(name: str) -> Estimator:
    """Return the entry of ``REGRESSORS``.

    Raises:
        ConfigError: there is none of that name; the message names the nearest.
    """
    if name in REGRESSORS:
        return REGRESSORS[name]
    if name in ESTIMATORS:
        raise ConfigError(
            f"the model {name!r} predicts labels; with targets expected one of {', '.join(REGRESSORS)}, or "
            "a net"
        )
    raise ConfigError(f"no regressor {name!r}; {did_you_mean(name, REGRESSORS)}")


@dataclass(frozen=True, slots=True)
class FittedRegressor:
    """Fitted preprocessing and regressors, with the names of columns and targets."""

    targets: tuple[str, ...]
    columns: tuple[str, ...]
    """Of the input rows."""
    preprocessing: Pipeline
    models: tuple[Any, ...]
    """One regressor of the standardised values for each target."""
    mean: Doubles
    """Of the targets in the training, ``(n_targets,)``."""
    deviation: Doubles
    notes: tuple[str, ...] = ()
    """Convergence warnings of scikit-learn."""

    @property
    def selected(self) -> NDArray[np.int64]:
        """Indices of the columns that reach the regressors: those that vary."""
        return np.asarray(np.flatnonzero(self.preprocessing.named_steps["impute"].support_))

    @property
    def selected_columns(self) -> tuple[str, ...]:
        """Names of the columns that reach the regressors."""
        return tuple(self.columns[j] for j in self.selected)

    def predict(self, x: ArrayLike) -> Doubles:
        """Return values ``(n, n_targets)`` of rows ``(n, len(columns))``; nan is missing.

        Raises:
            ConfigError: the rows have another number of columns.
        """
        rows = np.asarray(x, np.float32)
        if rows.ndim != 2 or rows.shape[1] != len(self.columns):
            raise ConfigError(f"rows have the shape {rows.shape}; expected (n, {len(self.columns)})")
        prepared = self.preprocessing.transform(rows)
        standard = np.stack([model.predict(prepared) for model in self.models], axis=1)
        return np.asarray(standard * self.deviation + self.mean)


def fit_values(
    x: ArrayLike,
    values: Doubles,
    estimator: Estimator,
    *,
    targets: Sequence[str],
    columns: Sequence[str],
    params: Mapping[str, Any] | None = None,
    scaling: str | None = None,
    clip: float | None = 8.0,
    seed: int = 0,
    n_jobs: int = 1,
) -> FittedRegressor:
    """Fit a regressor of each target on training rows.

    Args:
        x: ``(n, d)``, nan where missing; used as float32.
        values: ``(n, n_targets)``; nan is missing.
        estimator: an entry of `REGRESSORS`.
        targets: names ``(n_targets,)``.
        columns: names ``(d,)``.
        params: of the regressor, where they differ from its defaults.
        scaling: ``standard``, ``robust``, ``quantile`` or ``none``; ``None``: standard, and none for trees.
        clip: limit in standard deviations of the scaled columns; ``None`` for none.
        seed: of all that is random.

    Raises:
        ConfigError: a target has too few values, or the library refuses a parameter.
    """
    rows = np.asarray(x, np.float32)
    known = ~np.isnan(values)
    for name, n in zip(targets, known.sum(0), strict=True):
        if n < FEWEST:
            raise ConfigError(f"{n} training clips have a value of {name!r}; expected {FEWEST} or more")
    used = known.any(1)
    mean = np.nanmean(values[used], axis=0)
    deviation = np.nanstd(values[used], axis=0)
    scaling = scaling or ("standard" if estimator.needs_scaling else "none")
    preprocessing = Pipeline(make_preprocessing(scaling, clip))
    models = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            preprocessing.fit(rows[used])
            prepared = preprocessing.transform(rows)
            for k in range(len(targets)):
                has = known[:, k]
                model = estimator.make(seed, n_jobs, **(params or {}))
                models.append(model.fit(prepared[has], (values[has, k] - mean[k]) / deviation[k]))
        except ConfigError:
            raise
        except Exception as error:  # the exceptions of the libraries share no base class
            raise ConfigError(f"{estimator.name} cannot be fitted: {error}") from error
    notes = [" ".join(str(w.message).split()) for w in caught if issubclass(w.category, ConvergenceWarning)]
    return FittedRegressor(
        tuple(targets),
        tuple(columns),
        preprocessing,
        tuple(models),
        mean,
        deviation,
        tuple(dict.fromkeys(notes)),
    )
