"""The classifiers in one table: description, defaults, search space and requirements.

::

    ESTIMATORS["svc"].make(seed=0, n_jobs=1, C=10.0)        # an unfitted scikit-learn classifier

The defaults suit about a thousand clips and some thousand standardised columns.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    ExtraTreesClassifier,
    GradientBoostingClassifier,
    RandomForestClassifier,
    StackingClassifier,
)
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

from emovox.errors import ConfigError, MissingExtraError, did_you_mean
from emovox.training.classical.linear import SpanClassifier, SpanDiscriminant, SpanLogisticRegression
from emovox.training.classical.spaces import Choice, Range, Space
from emovox.training.classical.svm import KernelSVC

__all__ = ["ESTIMATORS", "Estimator", "find_estimator"]


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """An entry of `ESTIMATORS`."""

    name: str
    description: str
    build: Callable[[Mapping[str, Any]], Any]
    """Parameters -> classifier; without any, one that lists the parameters it has."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    space: Space = field(default_factory=dict)
    """Default space of `emovox.training.search`."""
    extra: str | None = None
    """Required extra: ``pip install 'emovox[extra]'``."""
    needs_scaling: bool = True
    """Whether the scale of the columns matters; not for trees."""
    supports_weights: bool = True
    """Whether clips can be weighted, so that classes can be balanced."""
    needs_calibration: bool = False
    """Its scores are no probabilities, and are calibrated on speakers held out of the training."""
    max_columns: int | None = None
    """With more columns a fit on a thousand clips takes minutes: select columns first."""

    def make(self, seed: int = 0, n_jobs: int = 1, **params: Any) -> Any:
        """Build an unfitted classifier with ``params`` over the defaults.

        Raises:
            ConfigError: it has no parameter of that name; the message names the nearest.
            MissingExtraError: it needs an extra that is not installed.
        """
        known = _parameter_names(self._build({}))
        for name in params:
            if name not in known:
                raise ConfigError(f"{self.name} has no parameter {name!r}; {did_you_mean(name, known)}")
        model = self._build({**self.defaults, **params})
        return model.set_params(**_seed_params(model, seed, n_jobs))

    def _build(self, params: Mapping[str, Any]) -> Any:
        try:
            return self.build(params)
        except MissingExtraError:
            raise
        except ImportError as error:
            raise MissingExtraError(f"the model {self.name!r}", self.extra or "classical") from error


_RESERVED = {"random_state", "random_seed", "n_jobs", "thread_count", "estimator", "estimators", "verbose"}


def _parameter_names(model: Any) -> set[str]:
    """Parameters that users may give: its own, and those of its inner classifier by their short names."""
    own = set(inspect.signature(type(model).__init__).parameters) - {"self", "kwargs"}
    names = {name.removeprefix("estimator__") for name in {*own, *model.get_params()}}
    names = {name for name in names if "__" not in name} - _RESERVED
    return names | {"estimators"} if isinstance(model, StackingClassifier) else names


def _seed_params(model: Any, seed: int, n_jobs: int) -> dict[str, Any]:
    """Seed and number of jobs, under the names that the library has for them."""
    own = set(inspect.signature(type(model).__init__).parameters) | set(model.get_params())
    seeds = [name for name in own if name.endswith("__random_state")]
    seeds += [name for name in ("random_seed", "random_state") if name in own][:1]
    jobs = [name for name in ("thread_count", "n_jobs") if name in own][:1]  # CatBoost knows both names
    return dict.fromkeys(seeds, seed) | dict.fromkeys(jobs, n_jobs)


def _wrap(outer: Callable[..., Any], inner: Callable[..., Any]) -> Callable[[Mapping[str, Any]], Any]:
    """Builder of a classifier that contains another, with one list of parameters for both."""

    def build(params: Mapping[str, Any]) -> Any:
        model = outer(estimator=inner())
        nested = {name.removeprefix("estimator__") for name in model.get_params() if "__" in name}
        own = set(model.get_params(deep=False))
        return model.set_params(
            **{(k if k in own or k not in nested else f"estimator__{k}"): v for k, v in params.items()}
        )

    return build


def _direct(kind: Callable[..., Any]) -> Callable[[Mapping[str, Any]], Any]:
    return lambda params: kind(**params)


_CATBOOST = {"boosting_type": "Plain", "verbose": False, "allow_writing_files": False}
"""CatBoost's default on few clips, ordered boosting, takes minutes per fit on some hundred columns."""


def _lightgbm(params: Mapping[str, Any]) -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(**{"verbosity": -1, "deterministic": True, "force_row_wise": True, **params})


def _catboost(params: Mapping[str, Any]) -> Any:
    from catboost import CatBoostClassifier

    return CatBoostClassifier(**{**_CATBOOST, **params})


def _stacking(params: Mapping[str, Any]) -> Any:
    """Stack ``estimators``: names, or ``{"model": ..., "params": {...}}``, under a logistic regression."""
    names = params.get("estimators", ("logistic-regression",))
    entries: list[dict[str, Any]] = [{"model": n} if isinstance(n, str) else dict(n) for n in names]
    if not entries or any(entry.get("model") == "stacking" for entry in entries):
        raise ConfigError(f"stacking got the estimators {list(names)}; expected one or more others")
    members = [
        (f"{n}-{entry['model']}", find_estimator(entry["model"]).make(**entry.get("params", {})))
        for n, entry in enumerate(entries)
    ]
    rest = {k: v for k, v in params.items() if k != "estimators"}
    return StackingClassifier(members, final_estimator=LogisticRegression(max_iter=1000), **rest)


_C = Range(1e-5, 1e-1, log=True)
_DEPTH = Range(2, 8, whole=True)
_LEAF = Range(1, 8, whole=True)
_RATE = Range(0.02, 0.3, log=True)
_FEATURES = Choice(("sqrt", 0.02, 0.1))

ESTIMATORS: dict[str, Estimator] = {
    entry.name: entry
    for entry in (
        Estimator(
            name="svc",
            description="support vector machine with a Gaussian kernel",
            build=_direct(KernelSVC),
            defaults={"C": 3.0, "gamma": "scale", "normalize": True},
            space={"C": Range(0.3, 100, log=True), "gamma": Choice(("scale", 3e-5, 1e-4, 3e-4, 1e-3))},
            needs_calibration=True,
        ),
        Estimator(
            name="linear-svc",
            description="linear support vector machine, one class against the rest",
            build=_wrap(SpanClassifier, LinearSVC),
            defaults={"C": 1e-4, "max_iter": 5000},
            space={"C": Range(1e-6, 1e-2, log=True)},
            needs_calibration=True,
        ),
        Estimator(
            name="mlp",
            description="perceptron with one hidden layer",
            build=_direct(MLPClassifier),
            defaults={"hidden_layer_sizes": (256,), "alpha": 1.0, "max_iter": 100},
            space={
                "hidden_layer_sizes": Choice(((64,), (256,), (512,), (256, 128))),
                "alpha": Range(1e-3, 30, log=True),
                "learning_rate_init": Range(1e-4, 3e-3, log=True),
            },
        ),
        Estimator(
            name="knn",
            description="vote of the nearest clips",
            build=_direct(KNeighborsClassifier),
            defaults={"n_neighbors": 10, "weights": "distance"},
            space={
                "n_neighbors": Range(1, 40, log=True, whole=True),
                "weights": Choice(("uniform", "distance")),
            },
            supports_weights=False,
        ),
        Estimator(
            name="random-forest",
            description="300 trees on resampled clips (Breiman, 2001)",
            build=_direct(RandomForestClassifier),
            defaults={"n_estimators": 300},
            space={"max_features": _FEATURES, "min_samples_leaf": _LEAF},
            needs_scaling=False,
        ),
        Estimator(
            name="extra-trees",
            description="300 trees with random thresholds (Geurts et al., 2006)",
            build=_direct(ExtraTreesClassifier),
            defaults={"n_estimators": 300},
            space={"max_features": _FEATURES, "min_samples_leaf": _LEAF},
            needs_scaling=False,
        ),
        Estimator(
            name="gradient-boosting",
            description="small trees, each fitted to the errors of the previous ones (Friedman, 2001)",
            build=_direct(GradientBoostingClassifier),
            defaults={"n_estimators": 100, "max_features": "sqrt", "subsample": 0.8},
            space={
                "n_estimators": Range(50, 300, whole=True),
                "learning_rate": _RATE,
                "max_depth": Range(2, 5, whole=True),
            },
            needs_scaling=False,
            max_columns=512,
        ),
        Estimator(
            name="bagging",
            description="100 trees, each on resampled clips and a tenth of the columns (Breiman, 1996)",
            build=_wrap(BaggingClassifier, DecisionTreeClassifier),
            defaults={"n_estimators": 100, "max_features": 0.1},
            space={"max_features": Range(0.02, 0.5, log=True), "min_samples_leaf": _LEAF},
            needs_scaling=False,
        ),
        Estimator(
            name="adaboost",
            description="100 shallow trees on clips weighted by past errors (Zhu et al., 2009)",
            build=_wrap(AdaBoostClassifier, DecisionTreeClassifier),
            defaults={"n_estimators": 100, "max_depth": 3},
            space={"n_estimators": Range(50, 300, whole=True), "learning_rate": _RATE, "max_depth": _DEPTH},
            needs_scaling=False,
            max_columns=512,
        ),
        Estimator(
            name="logistic-regression",
            description="multinomial logistic regression with an L2 penalty",
            build=_wrap(SpanLogisticRegression, LogisticRegression),
            defaults={"C": 1e-3, "max_iter": 1000},
            space={"C": _C},
        ),
        Estimator(
            name="lda",
            description="linear discriminant analysis with a shrunken covariance",
            build=_direct(SpanDiscriminant),
            defaults={"shrinkage": 0.8},
            space={"shrinkage": Range(0.01, 1.0, log=True)},
            supports_weights=False,
        ),
        Estimator(
            name="lightgbm",
            description="gradient boosting on histograms (Ke et al., 2017)",
            build=_lightgbm,
            defaults={"n_estimators": 150, "learning_rate": 0.1, "num_leaves": 15, "colsample_bytree": 0.3},
            space={
                "n_estimators": Range(50, 400, whole=True),
                "learning_rate": _RATE,
                "num_leaves": Range(4, 63, log=True, whole=True),
                "min_child_samples": Range(5, 40, whole=True),
            },
            extra="lightgbm",
            needs_scaling=False,
            max_columns=512,
        ),
        Estimator(
            name="catboost",
            description="gradient boosting of symmetric trees (Prokhorenkova et al., 2018)",
            build=_catboost,
            defaults={"iterations": 300, "depth": 4, "learning_rate": 0.1, "border_count": 32, "rsm": 0.3},
            space={
                "iterations": Range(100, 600, whole=True),
                "depth": Range(3, 7, whole=True),
                "learning_rate": _RATE,
            },
            extra="catboost",
            needs_scaling=False,
            max_columns=512,
        ),
        Estimator(
            name="stacking",
            description="logistic regression on the out-of-speaker predictions of other models",
            build=_stacking,
            defaults={"estimators": ("logistic-regression", "svc", "extra-trees")},
            supports_weights=False,
        ),
    )
}
"""Name -> estimator."""


def find_estimator(name: str) -> Estimator:
    """Return the estimator ``name``.

    Raises:
        ConfigError: there is none; the message names the nearest.
    """
    if name not in ESTIMATORS:
        raise ConfigError(f"no model {name!r}; {did_you_mean(name, ESTIMATORS)}")
    return ESTIMATORS[name]
