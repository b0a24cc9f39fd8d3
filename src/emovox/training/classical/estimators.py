"""The classifiers, in one table: what each is, its defaults, what is worth searching, what it needs.

::

    ESTIMATORS["svc"].make(seed=0, n_jobs=1, C=10.0)        # an unfitted scikit-learn classifier

The defaults are for a thousand clips and some thousand columns on standard scale.
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
from emovox.training.classical.linear import DiscriminantInSpan, InSpan, LogisticInSpan
from emovox.training.classical.spaces import Choice, Range, Space
from emovox.training.classical.vectors import KernelSVC

__all__ = ["ESTIMATORS", "Estimator", "find_estimator"]


@dataclass(frozen=True, kw_only=True)
class Estimator:
    """A readable entry of `ESTIMATORS`."""

    name: str
    description: str
    build: Callable[[Mapping[str, Any]], Any]
    """Parameters -> the classifier; without them, the one whose parameters there are."""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    space: Space = field(default_factory=dict)
    """What `emovox.training.search` searches."""
    extra: str | None = None
    """What has to be installed: ``pip install 'emovox[extra]'``."""
    scales: bool = True
    """It matters to it how large its columns are; trees do not care."""
    weighs: bool = True
    """It can be told that some clips count more, so that classes can be balanced."""
    calibrated: bool = False
    """Its scores are no probabilities: they are made such on speakers held out of the training."""
    max_columns: int | None = None
    """With more columns it takes minutes a fit on a thousand clips: select first."""

    def make(self, seed: int = 0, n_jobs: int = 1, **params: Any) -> Any:
        """An unfitted classifier with ``params`` over the defaults.

        Raises:
            ConfigError: it has no parameter of that name; the message names the nearest.
            MissingExtraError: it needs an extra that is not installed.
        """
        known = _names(self._built({}))
        for name in params:
            if name not in known:
                raise ConfigError(f"{self.name} has no parameter {name!r}; {did_you_mean(name, known)}")
        made = self._built({**self.defaults, **params})
        return made.set_params(**_seeded(made, seed, n_jobs))

    def _built(self, params: Mapping[str, Any]) -> Any:
        try:
            return self.build(params)
        except MissingExtraError:
            raise
        except ImportError as error:
            raise MissingExtraError(f"the model {self.name!r}", self.extra or "classical") from error


_SET_HERE = {"random_state", "random_seed", "n_jobs", "thread_count", "estimator", "estimators", "verbose"}


def _names(made: Any) -> set[str]:
    """Parameters that may be given: its own, and those of the classifier inside it by their short names."""
    own = set(inspect.signature(type(made).__init__).parameters) - {"self", "kwargs"}
    found = {name.removeprefix("estimator__") for name in {*own, *made.get_params()}}
    found = {name for name in found if "__" not in name} - _SET_HERE
    return found | {"estimators"} if isinstance(made, StackingClassifier) else found


def _seeded(made: Any, seed: int, n_jobs: int) -> dict[str, Any]:
    """Seed and number of jobs, under whatever names it has for them."""
    own = set(inspect.signature(type(made).__init__).parameters) | set(made.get_params())
    seeds = [name for name in own if name.endswith("__random_state")]
    seeds += [name for name in ("random_seed", "random_state") if name in own][:1]
    jobs = [name for name in ("thread_count", "n_jobs") if name in own][:1]  # CatBoost knows both names
    return dict.fromkeys(seeds, seed) | dict.fromkeys(jobs, n_jobs)


def _around(outer: Callable[..., Any], inner: Callable[..., Any]) -> Callable[[Mapping[str, Any]], Any]:
    """Of a classifier around another one, with one list of parameters for both."""

    def build(params: Mapping[str, Any]) -> Any:
        made = outer(estimator=inner())
        nested = {name.removeprefix("estimator__") for name in made.get_params() if "__" in name}
        own = set(made.get_params(deep=False))
        return made.set_params(
            **{(k if k in own or k not in nested else f"estimator__{k}"): v for k, v in params.items()}
        )

    return build


def _plain(kind: Callable[..., Any]) -> Callable[[Mapping[str, Any]], Any]:
    return lambda params: kind(**params)


_CATBOOST = {"boosting_type": "Plain", "verbose": False, "allow_writing_files": False}
"""Its default on few clips, ordered boosting, takes minutes a fit on some hundred columns."""


def _lightgbm(params: Mapping[str, Any]) -> Any:
    from lightgbm import LGBMClassifier

    return LGBMClassifier(**{"verbosity": -1, "deterministic": True, "force_row_wise": True, **params})


def _catboost(params: Mapping[str, Any]) -> Any:
    from catboost import CatBoostClassifier

    return CatBoostClassifier(**{**_CATBOOST, **params})


def _stacking(params: Mapping[str, Any]) -> Any:
    """A logistic regression of the answers of ``estimators``: names, or ``{"model": ..., "params": {}}``."""
    names = params.get("estimators", ("logistic-regression",))
    described: list[dict[str, Any]] = [{"model": n} if isinstance(n, str) else dict(n) for n in names]
    if not described or any(one.get("model") == "stacking" for one in described):
        raise ConfigError(f"stacking got the estimators {list(names)}; expected one or more others")
    members = [
        (f"{n}-{one['model']}", find_estimator(one["model"]).make(**one.get("params", {})))
        for n, one in enumerate(described)
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
            description="support vectors with a Gaussian kernel",
            build=_plain(KernelSVC),
            defaults={"C": 3.0, "gamma": "scale"},
            space={"C": Range(0.3, 100, log=True), "gamma": Choice(("scale", 3e-5, 1e-4, 3e-4, 1e-3))},
            calibrated=True,
        ),
        Estimator(
            name="linear-svc",
            description="a linear support vector machine, one class against the rest",
            build=_around(InSpan, LinearSVC),
            defaults={"C": 1e-4, "max_iter": 5000},
            space={"C": Range(1e-6, 1e-2, log=True)},
            calibrated=True,
        ),
        Estimator(
            name="mlp",
            description="a perceptron with one hidden layer",
            build=_plain(MLPClassifier),
            defaults={"hidden_layer_sizes": (256,), "alpha": 1.0, "max_iter": 100},
            space={
                "hidden_layer_sizes": Choice(((64,), (256,), (512,), (256, 128))),
                "alpha": Range(1e-3, 30, log=True),
                "learning_rate_init": Range(1e-4, 3e-3, log=True),
            },
        ),
        Estimator(
            name="knn",
            description="the vote of the nearest clips",
            build=_plain(KNeighborsClassifier),
            defaults={"n_neighbors": 10, "weights": "distance"},
            space={
                "n_neighbors": Range(1, 40, log=True, whole=True),
                "weights": Choice(("uniform", "distance")),
            },
            weighs=False,
        ),
        Estimator(
            name="random-forest",
            description="300 trees on resampled clips (Breiman, 2001)",
            build=_plain(RandomForestClassifier),
            defaults={"n_estimators": 300},
            space={"max_features": _FEATURES, "min_samples_leaf": _LEAF},
            scales=False,
        ),
        Estimator(
            name="extra-trees",
            description="300 trees with random thresholds (Geurts et al., 2006)",
            build=_plain(ExtraTreesClassifier),
            defaults={"n_estimators": 300},
            space={"max_features": _FEATURES, "min_samples_leaf": _LEAF},
            scales=False,
        ),
        Estimator(
            name="gradient-boosting",
            description="small trees, each on what the ones before got wrong (Friedman, 2001)",
            build=_plain(GradientBoostingClassifier),
            defaults={"n_estimators": 100, "max_features": "sqrt", "subsample": 0.8},
            space={
                "n_estimators": Range(50, 300, whole=True),
                "learning_rate": _RATE,
                "max_depth": Range(2, 5, whole=True),
            },
            scales=False,
            max_columns=512,
        ),
        Estimator(
            name="bagging",
            description="100 trees, each on resampled clips and a tenth of the columns (Breiman, 1996)",
            build=_around(BaggingClassifier, DecisionTreeClassifier),
            defaults={"n_estimators": 100, "max_features": 0.1},
            space={"max_features": Range(0.02, 0.5, log=True), "min_samples_leaf": _LEAF},
            scales=False,
        ),
        Estimator(
            name="adaboost",
            description="100 shallow trees on clips weighted by past errors (Zhu et al., 2009)",
            build=_around(AdaBoostClassifier, DecisionTreeClassifier),
            defaults={"n_estimators": 100, "max_depth": 3},
            space={"n_estimators": Range(50, 300, whole=True), "learning_rate": _RATE, "max_depth": _DEPTH},
            scales=False,
            max_columns=512,
        ),
        Estimator(
            name="logistic-regression",
            description="multinomial logistic regression with an L2 penalty",
            build=_around(LogisticInSpan, LogisticRegression),
            defaults={"C": 1e-3, "max_iter": 1000},
            space={"C": _C},
        ),
        Estimator(
            name="lda",
            description="linear discriminants with a shrunken covariance",
            build=_plain(DiscriminantInSpan),
            defaults={"shrinkage": 0.8},
            space={"shrinkage": Range(0.01, 1.0, log=True)},
            weighs=False,
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
            scales=False,
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
            scales=False,
            max_columns=512,
        ),
        Estimator(
            name="stacking",
            description="a logistic regression of what others answer for speakers not trained on",
            build=_stacking,
            defaults={"estimators": ("logistic-regression", "svc", "extra-trees")},
            weighs=False,
        ),
    )
}
"""Name -> estimator."""


def find_estimator(name: str) -> Estimator:
    """The estimator of that name.

    Raises:
        ConfigError: there is none; the message names the nearest.
    """
    if name not in ESTIMATORS:
        raise ConfigError(f"no model {name!r}; {did_you_mean(name, ESTIMATORS)}")
    return ESTIMATORS[name]
