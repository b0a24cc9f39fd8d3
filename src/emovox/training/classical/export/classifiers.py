"""Each classifier of the table as operations of a graph: ``x (b, d) float32 -> probabilities (b, k)``.

Linear models, support vectors, perceptrons, neighbours, calibration and stacking are written out here, in
float64 where scikit-learn calculates in it; trees come from skl2onnx, onnxmltools and CatBoost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any

import numpy as np
from sklearn.calibration import CalibratedClassifierCV
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

from emovox.errors import BundleError
from emovox.training.classical.export import foreign
from emovox.training.classical.export.builder import Builder
from emovox.training.classical.linear import InSpan, LogisticInSpan
from emovox.training.classical.vectors import KernelSVC

__all__ = ["probabilities"]


def probabilities(b: Builder, model: Any, x: str) -> str:
    """Add a fitted classifier to the graph: ``x (b, d)`` float32 -> ``(b, k)`` float64.

    Raises:
        BundleError: there is no such translation, or its settings have none.
    """
    module = type(model).__module__.split(".")[0]
    if module in _FOREIGN:
        return _FOREIGN[module](b, model, x)
    for kind, translate in _TRANSLATIONS.items():
        if isinstance(model, kind):
            return translate(b, model, x)
    raise BundleError(
        f"a {type(model).__name__} cannot be written as a graph; expected a model of ESTIMATORS"
    )


def _scores(b: Builder, model: Any, x: str) -> str:
    """What ``decision_function`` answers: ``(b, k)`` float64, ``(b, 1)`` for two classes."""
    return _support_vectors(b, model, x) if isinstance(model, KernelSVC) else _linear(b, model, x)


# ------------------------------------------------------------------------------- scores and probabilities


def _linear(b: Builder, model: InSpan | LogisticRegression, x: str) -> str:
    return b.affine(b.to_double(x), model.coef_.T, model.intercept_)


def _logistic(b: Builder, model: InSpan | LogisticRegression, x: str) -> str:
    return _softmax(b, _linear(b, model, x), len(model.classes_))


def _softmax(b: Builder, scores: str, n_classes: int) -> str:
    """Of ``(b, k)``, or the logistic of ``(b, 1)``."""
    if n_classes > 2:
        return b.node("Softmax", scores, axis=1)
    return _both(b, b.node("Sigmoid", scores))


def _both(b: Builder, second: str) -> str:
    """Probabilities of two classes from the second's ``(b, 1)``."""
    return b.node("Concat", b.node("Sub", b.double(1), second), second, axis=1)


def _perceptron(b: Builder, model: MLPClassifier, x: str) -> str:
    kinds = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid", "identity": "Identity"}
    value = b.to_double(x)
    for n, (weight, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        value = b.node(kinds[model.activation], value) if n else value
        value = b.affine(value, weight, bias)
    return _softmax(b, value, len(model.classes_))


# ------------------------------------------------------------------------------------- of known clips


def _squared_distances(b: Builder, x: str, rows: Any) -> str:
    """``(b, n)`` float64 between ``x`` and known ``rows``."""
    wide, known = b.to_double(x), np.asarray(rows, np.float64)
    own = b.node("ReduceSum", b.node("Mul", wide, wide), b.number([1], np.int64), keepdims=1)
    cross = b.node("MatMul", wide, b.node("Transpose", b.double(known), perm=[1, 0]))
    sums = b.node("Add", own, b.double(np.square(known).sum(1)))
    return b.node("Max", b.node("Sub", sums, b.node("Mul", b.double(2), cross)), b.double(0))


def _neighbours(b: Builder, model: KNeighborsClassifier, x: str) -> str:
    if model.effective_metric_ != "euclidean" or model.weights not in ("uniform", "distance"):
        raise BundleError(
            f"knn with metric {model.effective_metric_!r} and weights {model.weights!r} cannot be written as "
            "a graph; expected euclidean (p=2), uniform or distance"
        )
    squared = _squared_distances(b, x, model._fit_X)
    n_neighbours = b.number([model.n_neighbors], np.int64)
    nearest, index = b.pair("TopK", squared, n_neighbours, axis=1, largest=0)
    labels = b.double(np.eye(len(model.classes_))[model._y])
    votes = b.node("Gather", labels, index, axis=0)  # (b, k neighbours, classes)
    if model.weights == "distance":
        closeness = b.node("Reciprocal", b.node("Max", b.node("Sqrt", nearest), b.double(1e-9)))
        votes = b.node("Mul", votes, b.node("Unsqueeze", closeness, b.number([2], np.int64)))
    return _shares(b, b.node("ReduceSum", votes, b.number([1], np.int64), keepdims=0))


def _shares(b: Builder, amounts: str) -> str:
    """``(b, k)`` divided by its sum over the classes."""
    return b.node("Div", amounts, b.node("ReduceSum", amounts, b.number([1], np.int64), keepdims=1))


def _support_vectors(b: Builder, model: KernelSVC, x: str) -> str:
    """One against one, then the votes of all pairs with their confidences, as scikit-learn's ``ovr``."""
    kernel, n_classes, machine = _kernel(b, model, x), len(model.classes_), model.machine_
    if n_classes == 2:
        return b.affine(kernel, machine.dual_coef_.T, machine.intercept_)
    pairs = list(combinations(range(n_classes), 2))
    decisions = b.affine(kernel, _pairwise(machine, pairs), machine.intercept_)
    first, second = (np.eye(n_classes)[[pair[side] for pair in pairs]] for side in (0, 1))
    won = b.to_double(b.node("GreaterOrEqual", decisions, b.double(0)))
    votes = b.affine(won, first - second, second.sum(0))
    confidence = b.node("MatMul", decisions, b.double(first - second))
    size = b.node("Add", b.node("Abs", confidence), b.double(1))
    return b.node("Add", votes, b.node("Div", confidence, b.node("Mul", size, b.double(3))))


def _pairwise(model: Any, pairs: list[tuple[int, int]]) -> Any:
    """Weights ``(n support vectors, n pairs)``: libsvm keeps, for each class, those against every other."""
    of_class = np.repeat(np.arange(len(model.classes_)), model.n_support_)
    dual = np.asarray(model.dual_coef_, np.float64)
    weights = np.zeros((dual.shape[1], len(pairs)))
    for n, (i, j) in enumerate(pairs):
        weights[of_class == i, n] = dual[j - 1, of_class == i]
        weights[of_class == j, n] = dual[i, of_class == j]
    return weights


def _kernel(b: Builder, model: KernelSVC, x: str) -> str:
    """``(b, n support vectors)`` float64."""
    if model.kernel == "rbf":
        return b.node(
            "Exp", b.node("Mul", _squared_distances(b, x, model.support_vectors_), b.double(-model.gamma_))
        )
    product = b.node(
        "MatMul", b.to_double(x), b.node("Transpose", b.double(model.support_vectors_), perm=[1, 0])
    )
    if model.kernel == "linear":
        return product
    inner = b.node("Add", b.node("Mul", product, b.double(model.gamma_)), b.double(model.coef0))
    return b.node("Pow", inner, b.double(model.degree)) if model.kernel == "poly" else b.node("Tanh", inner)


# ------------------------------------------------------------------------------------- around others


def _calibrated(b: Builder, model: CalibratedClassifierCV, x: str) -> str:
    """Platt's logistic of each class's score, and shares of their sum (one model, calibrated out of fold)."""
    (one,) = model.calibrated_classifiers_
    slopes = [[c.a_ for c in one.calibrators]]
    offsets = [c.b_ for c in one.calibrators]
    scores = _scores(b, one.estimator, x)
    raised = b.node("Add", b.node("Mul", scores, b.double(slopes)), b.double(offsets))
    chances = b.node("Sigmoid", b.node("Neg", raised))
    return _both(b, chances) if len(offsets) == 1 else _shares(b, chances)


def _stacking(b: Builder, model: StackingClassifier, x: str) -> str:
    told = []
    for one, method in zip(model.estimators_, model.stack_method_, strict=True):
        answer = _scores(b, one, x) if method == "decision_function" else probabilities(b, one, x)
        if method == "predict_proba" and len(model.classes_) == 2:  # the other is its complement
            answer = b.node("Gather", answer, b.number([1], np.int64), axis=1)
        told.append(answer)
    told += [b.to_double(x)] if model.passthrough else []
    seen = b.node("Concat", *told, axis=1)
    final = model.final_estimator_
    scores = b.affine(seen, final.coef_.T, final.intercept_)
    return _softmax(b, scores, len(final.classes_))


_Translation = Callable[[Builder, Any, str], str]

_TRANSLATIONS: Mapping[type, _Translation] = {
    LogisticInSpan: _logistic,
    LogisticRegression: _logistic,
    MLPClassifier: _perceptron,
    KNeighborsClassifier: _neighbours,
    CalibratedClassifierCV: _calibrated,
    StackingClassifier: _stacking,
    **dict.fromkeys(
        (
            RandomForestClassifier,
            ExtraTreesClassifier,
            GradientBoostingClassifier,
            BaggingClassifier,
            AdaBoostClassifier,
        ),
        foreign.sklearn_trees,
    ),
}

_FOREIGN: Mapping[str, _Translation] = {"lightgbm": foreign.lightgbm, "catboost": foreign.catboost}
