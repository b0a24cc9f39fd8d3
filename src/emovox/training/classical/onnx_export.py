"""Export of a fitted classical model as one ONNX graph, checked against scikit-learn.

``features (b, d) float32 -> logits (b, n_labels) float32``: imputation, scaling, clipping, classifier and
calibration are inside; the logits are logarithms of scikit-learn's probabilities. The inputs are
``fitted.selected_columns``, in their order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.pipeline import Pipeline

from emovox._arrays import Doubles, Floats
from emovox._telemetry import disable_telemetry
from emovox.errors import BundleError, ConfigError
from emovox.training.classical.fitting import FittedClassifier
from emovox.training.classical.graph_builder import GraphBuilder
from emovox.training.classical.graph_classifiers import add_probabilities
from emovox.training.classical.preprocessing import Clipper, RankScaler, Scaler, rank_slopes

__all__ = [
    "FLOOR",
    "TOLERANCE",
    "add_preprocessing",
    "check_parity",
    "count_parameters",
    "run_graph",
    "to_onnx_classical",
]

TOLERANCE = 1e-5
"""Largest difference of probabilities."""

FLOOR = 1e-12
"""Probabilities are at least this, so that logits are finite."""


def to_onnx_classical(fitted: FittedClassifier, rows: ArrayLike, *, name: str = "model") -> bytes:
    """Export a fitted model as one ONNX graph.

    Args:
        fitted: the model.
        rows: ``(n, len(fitted.columns))``, on which the graph is compared with scikit-learn.
        name: for messages.

    Raises:
        BundleError: the model cannot be exported, or the two differ by more than 1e-5.
        ConfigError: there are no rows, or the model was fitted without probabilities.
        MissingExtraError: the export needs an extra that is not installed.
    """
    b = GraphBuilder()
    prepared = add_preprocessing(b, fitted.pipeline, "features")
    chances = add_probabilities(b, fitted.pipeline.named_steps["classify"], prepared)
    logits = b.to_float(b.node("Log", b.node("Max", chances, b.constant64(FLOOR))))
    sizes = len(fitted.selected), len(fitted.classes)
    model = b.model(("features", sizes[0]), ("logits", sizes[1]), logits, "classical")
    check_parity(fitted, model, rows, name=name)
    return model


def check_parity(fitted: FittedClassifier, model: bytes, rows: ArrayLike, *, name: str = "model") -> float:
    """Return the largest difference between the probabilities of scikit-learn and the graph.

    Rows are computed alone and together.

    Raises:
        BundleError: it is above 1e-5, or the graph does not run.
        ConfigError: there are no rows.
    """
    x = np.asarray(rows, np.float32)
    if not len(x):
        raise ConfigError("got no rows to check the graph on; expected some")
    expected = fitted.predict_proba(x)
    chosen = np.ascontiguousarray(x[:, fitted.selected])
    try:
        together = np.exp(run_graph(model, [chosen], "logits"))
        alone = np.exp(run_graph(model, [row[None] for row in chosen[:_ALONE]], "logits"))
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise BundleError(
            f"the graph of {name} cannot be used: {' '.join(str(error).split())[:300]}"
        ) from error
    worst = max(float(np.abs(together - expected).max()), float(np.abs(alone - expected[: len(alone)]).max()))
    if not worst <= TOLERANCE:
        raise BundleError(
            f"{name}: the exported graph's probabilities differ from scikit-learn's by {worst:.2g}; "
            f"expected at most {TOLERANCE:g}"
        )
    return worst


def count_parameters(model: bytes) -> int:
    """Count the floating-point numbers of a graph: scalers, weights, trees, support vectors."""
    import onnx

    graph = onnx.load_from_string(model).graph
    attributes = [one for node in graph.node for one in node.attribute]
    tensors = [*graph.initializer, *(one.t for one in attributes if one.HasField("t"))]
    real = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
    held: int = sum(math.prod(one.dims) for one in tensors if one.data_type in real)
    return held + sum(len(one.floats) for one in attributes)


_ALONE = 8
"""Rows that are also computed one by one."""


def run_graph(model: bytes, batches: list[Floats], output: str) -> Doubles:
    """Run a graph on batches of rows; return the output of all rows in float64."""
    disable_telemetry()
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    answers = [session.run([output], {"features": batch})[0] for batch in batches]
    return np.asarray(np.concatenate(answers).astype(np.float64))


# --- preprocessing ----------------------------------------------------------------------------------


def add_preprocessing(b: GraphBuilder, pipeline: Pipeline, x: str) -> str:
    """Add the steps before the estimator to ``x (b, d)``, for the selected columns alone."""
    steps = dict(pipeline.named_steps)
    selector = steps.pop("select", None)
    kept = slice(None) if selector is None else np.flatnonzero(selector.support_)
    missing = b.node("Or", b.node("IsNaN", x), b.node("IsInf", x))  # as `Imputer` does
    value = b.node("Where", missing, b.constant(steps["impute"].median_[kept]), x)
    for step in steps.values():
        value = _add_step(b, step, kept, value)
    return value


def _add_step(b: GraphBuilder, step: Any, kept: Any, x: str) -> str:
    if isinstance(step, Scaler):
        centred = b.node("Sub", x, b.constant(step.centre_[kept]))
        return b.node("Div", centred, b.constant(step.spread_[kept]))
    if isinstance(step, Clipper):
        return b.node("Clip", x, b.constant(-step.limit), b.constant(step.limit))
    if isinstance(step, RankScaler):
        return _add_ranks(b, step.quantiles_[:, kept], step.ranks_, x)
    return x


def _add_ranks(b: GraphBuilder, quantiles: Floats, ranks: Floats, x: str) -> str:
    """Add `preprocessing.interpolate_ranks`, operation by operation."""
    known, slopes = b.constant(quantiles), b.constant(rank_slopes(quantiles, ranks))
    wide, one = b.node("Unsqueeze", x, b.constant([1], np.int64)), b.constant(1, np.int64)
    sides = []
    for below in ("Greater", "GreaterOrEqual"):
        counted = b.to_int(b.node(below, wide, known))  # (b, quantiles, d)
        count = b.node("ReduceSum", counted, b.constant([1], np.int64), keepdims=0)
        at = b.node("Max", b.node("Sub", count, one), b.constant(0, np.int64))
        start = b.node("GatherElements", known, at, axis=0)
        rise = b.node("Mul", b.node("Sub", x, start), b.node("GatherElements", slopes, at, axis=0))
        rank = b.node("Add", b.node("Gather", b.constant(ranks), at, axis=0), rise)
        sides.append(b.node("Clip", rank, b.constant(0), b.constant(1)))
    middle = b.node("Mul", b.node("Add", *sides), b.constant(0.5))
    return b.node("Mul", b.node("Sub", middle, b.constant(0.5)), b.constant(np.sqrt(12)))
