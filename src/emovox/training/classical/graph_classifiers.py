"""The classifiers as operations of a graph: ``x (b, d) float32 -> probabilities (b, k)``.

Linear models, support vectors, perceptrons, neighbours, calibration and stacking are written out here, in
float64 where scikit-learn computes in it: the float32 of skl2onnx changes neighbours and votes. Trees come
from skl2onnx, onnxmltools and CatBoost.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import onnx
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
from sklearn.neural_network import MLPClassifier, MLPRegressor

from emovox.errors import BundleError, MissingExtraError
from emovox.training.classical.graph_builder import GraphBuilder
from emovox.training.classical.linear import SpanClassifier, SpanLogisticRegression
from emovox.training.classical.svm import SHORTEST, KernelSVC

__all__ = ["add_kernel", "add_layers", "add_probabilities", "add_sklearn_trees"]


def add_probabilities(b: GraphBuilder, model: Any, x: str) -> str:
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
        f"a {type(model).__name__} cannot be exported as a graph; expected a model of ESTIMATORS"
    )


def _add_scores(b: GraphBuilder, model: Any, x: str) -> str:
    """``decision_function``: ``(b, k)`` float64, ``(b, 1)`` for two classes."""
    return _add_support_vectors(b, model, x) if isinstance(model, KernelSVC) else _add_linear(b, model, x)


# --- linear models and perceptrons ------------------------------------------------------------------


def _add_linear(b: GraphBuilder, model: SpanClassifier | LogisticRegression, x: str) -> str:
    return b.affine(b.to_double(x), model.coef_.T, model.intercept_)


def _add_logistic(b: GraphBuilder, model: SpanClassifier | LogisticRegression, x: str) -> str:
    return _add_softmax(b, _add_linear(b, model, x), len(model.classes_))


def _add_softmax(b: GraphBuilder, scores: str, n_classes: int) -> str:
    """Softmax of ``(b, k)``, or the logistic function of ``(b, 1)``."""
    if n_classes > 2:
        return b.node("Softmax", scores, axis=1)
    return _add_two_classes(b, b.node("Sigmoid", scores))


def _add_two_classes(b: GraphBuilder, second: str) -> str:
    """Probabilities of two classes from those of the second ``(b, 1)``."""
    return b.node("Concat", b.node("Sub", b.constant64(1), second), second, axis=1)


def add_layers(b: GraphBuilder, model: MLPClassifier | MLPRegressor, x: str) -> str:
    """Add the layers of a perceptron, without the last function: ``x (b, d)`` -> ``(b, k)`` float64."""
    kinds = {"relu": "Relu", "tanh": "Tanh", "logistic": "Sigmoid", "identity": "Identity"}
    value = b.to_double(x)
    for n, (weight, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True)):
        value = b.node(kinds[model.activation], value) if n else value
        value = b.affine(value, weight, bias)
    return value


def _add_perceptron(b: GraphBuilder, model: MLPClassifier, x: str) -> str:
    return _add_softmax(b, add_layers(b, model, x), len(model.classes_))


# --- neighbours and support vectors -----------------------------------------------------------------


def _add_squared_distances(b: GraphBuilder, x: str, rows: Any) -> str:
    """``(b, n)`` float64 between ``x`` and training ``rows``."""
    wide, known = b.to_double(x), np.asarray(rows, np.float64)
    own = b.node("ReduceSum", b.node("Mul", wide, wide), b.constant([1], np.int64), keepdims=1)
    cross = b.node("MatMul", wide, b.node("Transpose", b.constant64(known), perm=[1, 0]))
    sums = b.node("Add", own, b.constant64(np.square(known).sum(1)))
    return b.node("Max", b.node("Sub", sums, b.node("Mul", b.constant64(2), cross)), b.constant64(0))


def _add_neighbours(b: GraphBuilder, model: KNeighborsClassifier, x: str) -> str:
    if model.effective_metric_ != "euclidean" or model.weights not in ("uniform", "distance"):
        raise BundleError(
            f"knn with metric {model.effective_metric_!r} and weights {model.weights!r} cannot be exported "
            "as a graph; expected euclidean (p=2), uniform or distance"
        )
    squared = _add_squared_distances(b, x, model._fit_X)
    n_neighbours = b.constant([model.n_neighbors], np.int64)
    nearest, index = b.two_outputs("TopK", squared, n_neighbours, axis=1, largest=0)
    labels = b.constant64(np.eye(len(model.classes_))[model._y])
    votes = b.node("Gather", labels, index, axis=0)  # (b, k neighbours, classes)
    if model.weights == "distance":
        closeness = b.node("Reciprocal", b.node("Max", b.node("Sqrt", nearest), b.constant64(1e-9)))
        votes = b.node("Mul", votes, b.node("Unsqueeze", closeness, b.constant([2], np.int64)))
    return _add_normalization(b, b.node("ReduceSum", votes, b.constant([1], np.int64), keepdims=0))


def _add_normalization(b: GraphBuilder, amounts: str) -> str:
    """Divide ``(b, k)`` by its sum over the classes."""
    return b.node("Div", amounts, b.node("ReduceSum", amounts, b.constant([1], np.int64), keepdims=1))


def _add_support_vectors(b: GraphBuilder, model: KernelSVC, x: str) -> str:
    """One against one, then votes of all pairs plus their confidence, as scikit-learn's ``ovr``."""
    x = _add_length_normalization(b, x, model.n_features_in_) if model.normalizes_ else x
    kernel, n_classes, machine = add_kernel(b, model, x), len(model.classes_), model.machine_
    if n_classes == 2:
        return b.affine(kernel, machine.dual_coef_.T, machine.intercept_)
    pairs = list(combinations(range(n_classes), 2))
    decisions = b.affine(kernel, _make_pair_weights(machine, pairs), machine.intercept_)
    first, second = (np.eye(n_classes)[[pair[side] for pair in pairs]] for side in (0, 1))
    won = b.to_double(b.node("GreaterOrEqual", decisions, b.constant64(0)))
    votes = b.affine(won, first - second, second.sum(0))
    confidence = b.node("MatMul", decisions, b.constant64(first - second))
    size = b.node("Add", b.node("Abs", confidence), b.constant64(1))
    return b.node("Add", votes, b.node("Div", confidence, b.node("Mul", size, b.constant64(3))))


def _add_length_normalization(b: GraphBuilder, x: str, n_columns: int) -> str:
    """Scale rows ``(b, d)`` to the length ``sqrt(d)``, in float64, and round them to float32."""
    wide = b.to_double(x)
    squares = b.node("ReduceSum", b.node("Mul", wide, wide), b.constant([1], np.int64), keepdims=1)
    length = b.node("Sqrt", b.node("Div", squares, b.constant64(n_columns)))
    return b.to_float(b.node("Div", wide, b.node("Max", length, b.constant64(SHORTEST))))


def _make_pair_weights(model: Any, pairs: list[tuple[int, int]]) -> Any:
    """Weights ``(n support vectors, n pairs)``; libsvm stores those of a class against all others."""
    of_class = np.repeat(np.arange(len(model.classes_)), model.n_support_)
    dual = np.asarray(model.dual_coef_, np.float64)
    weights = np.zeros((dual.shape[1], len(pairs)))
    for n, (i, j) in enumerate(pairs):
        weights[of_class == i, n] = dual[j - 1, of_class == i]
        weights[of_class == j, n] = dual[i, of_class == j]
    return weights


def add_kernel(b: GraphBuilder, model: Any, x: str) -> str:
    """Add the kernel of a support vector machine: ``x (b, d)`` -> ``(b, n support vectors)`` float64."""
    if model.kernel == "rbf":
        return b.node(
            "Exp",
            b.node("Mul", _add_squared_distances(b, x, model.support_vectors_), b.constant64(-model.gamma_)),
        )
    product = b.node(
        "MatMul", b.to_double(x), b.node("Transpose", b.constant64(model.support_vectors_), perm=[1, 0])
    )
    if model.kernel == "linear":
        return product
    inner = b.node("Add", b.node("Mul", product, b.constant64(model.gamma_)), b.constant64(model.coef0))
    return (
        b.node("Pow", inner, b.constant64(model.degree)) if model.kernel == "poly" else b.node("Tanh", inner)
    )


# --- calibration and stacking -----------------------------------------------------------------------


def _add_calibrated(b: GraphBuilder, model: CalibratedClassifierCV, x: str) -> str:
    """Softmax of the scores over one temperature; one model, calibrated out of fold."""
    (calibrated,) = model.calibrated_classifiers_
    (temperature,) = calibrated.calibrators
    scores = _add_scores(b, calibrated.estimator, x)
    if len(model.classes_) == 2:  # the logits of scikit-learn are the score and its negative
        scores = b.node("Concat", b.node("Neg", scores), scores, axis=1)
    return b.node("Softmax", b.node("Mul", scores, b.constant64(float(temperature.beta_))), axis=1)


def _add_stacking(b: GraphBuilder, model: StackingClassifier, x: str) -> str:
    inputs = []
    for member, method in zip(model.estimators_, model.stack_method_, strict=True):
        output = (
            _add_scores(b, member, x) if method == "decision_function" else add_probabilities(b, member, x)
        )
        if method == "predict_proba" and len(model.classes_) == 2:  # the other one is its complement
            output = b.node("Gather", output, b.constant([1], np.int64), axis=1)
        inputs.append(output)
    inputs += [b.to_double(x)] if model.passthrough else []
    final = model.final_estimator_
    scores = b.affine(b.node("Concat", *inputs, axis=1), final.coef_.T, final.intercept_)
    return _add_softmax(b, scores, len(final.classes_))


# --- trees -------------------------------------------------------------------------------------------


def add_sklearn_trees(b: GraphBuilder, model: Any, x: str, output: str = "probabilities") -> str:
    """Add a forest, boosting or bagging: ``x (b, d)`` -> ``(b, k)`` float64.

    Args:
        output: skl2onnx's name of it; ``variable`` of a regressor.

    Raises:
        BundleError: skl2onnx has no translation of its settings.
    """
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    wanted = [("x", FloatTensorType([None, model.n_features_in_]))]
    options = {"zipmap": False} if output == "probabilities" else None
    try:
        model_proto = convert_sklearn(
            model, initial_types=wanted, options=options, target_opset={"": 17, "ai.onnx.ml": 3}
        )
    except (RuntimeError, NotImplementedError, ValueError) as error:
        raise BundleError(f"a {type(model).__name__} with these settings has no graph: {error}") from error
    return b.to_double(b.embed(model_proto, x, output))


def _add_lightgbm(b: GraphBuilder, model: Any, x: str) -> str:
    """LightGBM: ``x (b, d)`` -> ``(b, k)`` float64.

    Raises:
        MissingExtraError: onnxmltools is not installed.
    """
    try:
        from lightgbm import Booster
        from onnxmltools import convert_lightgbm
        from onnxmltools.convert.common.data_types import FloatTensorType
    except ImportError as error:
        raise MissingExtraError("writing LightGBM as a graph", "lightgbm") from error
    wanted = [("x", FloatTensorType([None, model.n_features_in_]))]
    trees = Booster(model_str=_round_thresholds(model.booster_.model_to_string()))
    model_proto = convert_lightgbm(trees, initial_types=wanted, zipmap=False, target_opset=15)
    return b.to_double(b.embed(model_proto, x, "probabilities"))


def _round_thresholds(text: str) -> str:
    """Round every threshold in LightGBM's text format down to a float32.

    LightGBM compares float32 values with float64 thresholds, a graph with float32 ones: rounded to nearest, a
    value between the two would take the other branch; rounded down it never does.
    """
    text = re.sub(r"(?m)^tree_sizes=.*\n", "", text)  # in bytes, no longer true; it is optional
    return re.sub(r"(?m)^threshold=(.*)$", lambda line: "threshold=" + _round_down(line[1]), text)


def _round_down(numbers: str) -> str:
    exact = np.array(numbers.split(), np.float64)
    near = exact.astype(np.float32)
    low = np.where(near > exact, np.nextafter(near, np.float32(-np.inf)), near)
    return " ".join(repr(float(one)) for one in low)


def _add_catboost(b: GraphBuilder, model: Any, x: str) -> str:
    """CatBoost: ``x (b, d)`` -> ``(b, k)`` float64."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        model.save_model(str(file), format="onnx")
        model_proto = onnx.load(file)
    (zip_map,) = (node for node in model_proto.graph.node if node.op_type == "ZipMap")
    model_proto.graph.node.remove(zip_map)
    return b.to_double(b.embed(model_proto, x, zip_map.input[0]))


# --- table -------------------------------------------------------------------------------------------

_Translation = Callable[[GraphBuilder, Any, str], str]

_TRANSLATIONS: Mapping[type, _Translation] = {
    SpanLogisticRegression: _add_logistic,
    LogisticRegression: _add_logistic,
    MLPClassifier: _add_perceptron,
    KNeighborsClassifier: _add_neighbours,
    CalibratedClassifierCV: _add_calibrated,
    StackingClassifier: _add_stacking,
    **dict.fromkeys(
        (
            RandomForestClassifier,
            ExtraTreesClassifier,
            GradientBoostingClassifier,
            BaggingClassifier,
            AdaBoostClassifier,
        ),
        add_sklearn_trees,
    ),
}

_FOREIGN: Mapping[str, _Translation] = {"lightgbm": _add_lightgbm, "catboost": _add_catboost}
