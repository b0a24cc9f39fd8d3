"""How a fitted classical model becomes a graph: all that comes after the features, held to scikit-learn's.

``features (b, d) float32 -> logits (b, n_labels) float32``: missing values (nan), scaling, clipping, the
classifier and its calibration are inside; the logits are logarithms of scikit-learn's own probabilities. The
graph takes ``fitted.selected_columns`` alone, in their order.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from emovox._arrays import Doubles, Floats
from emovox._telemetry import keep_quiet
from emovox.errors import BundleError, ConfigError
from emovox.training.classical import Fitted
from emovox.training.classical.export.builder import Builder
from emovox.training.classical.export.classifiers import probabilities
from emovox.training.classical.preparing import Clip, Ranks, Scale, rank_slopes

__all__ = ["FLOOR", "TOLERANCE", "check_parity", "n_numbers", "to_onnx_classical"]

TOLERANCE = 1e-5
"""Of probabilities."""

FLOOR = 1e-12
"""Probabilities below are taken for this one, so that logits are finite."""


def to_onnx_classical(fitted: Fitted, rows: ArrayLike, *, name: str = "model") -> bytes:
    """Write a fitted model as one ONNX graph.

    Args:
        rows: ``(n, len(fitted.columns))``, on which the graph must answer what scikit-learn answers.

    Raises:
        BundleError: the model has no translation, or the two differ by more than 1e-5.
        ConfigError: no rows are given, or it was fitted without probabilities.
        MissingExtraError: the translation needs an extra that is not installed.
    """
    b = Builder()
    prepared = _prepared(b, fitted)
    chances = probabilities(b, fitted.pipeline.named_steps["classify"], prepared)
    logits = b.to_float(b.node("Log", b.node("Max", chances, b.double(FLOOR))))
    sizes = len(fitted.selected), len(fitted.classes)
    model = b.model(("features", sizes[0]), ("logits", sizes[1]), logits, "classical")
    check_parity(fitted, model, rows, name=name)
    return model


def check_parity(fitted: Fitted, model: bytes, rows: ArrayLike, *, name: str = "model") -> float:
    """Largest difference between scikit-learn's and the graph's probabilities, over rows alone and together.

    Raises:
        BundleError: it is above 1e-5, or the graph does not run.
        ConfigError: there are no rows.
    """
    x = np.asarray(rows, np.float32)
    if not len(x):
        raise ConfigError("got no rows to check the graph on; expected some")
    expected = fitted.probabilities(x)
    chosen = np.ascontiguousarray(x[:, fitted.selected])
    try:
        together = _run(model, [chosen])
        alone = _run(model, [row[None] for row in chosen[:_ALONE]])
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


def n_numbers(model: bytes) -> int:
    """How many floating-point numbers a graph holds: scalers, weights, trees, support vectors."""
    import onnx

    graph = onnx.load_from_string(model).graph
    attributes = [one for node in graph.node for one in node.attribute]
    tensors = [*graph.initializer, *(one.t for one in attributes if one.HasField("t"))]
    real = (onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE)
    held: int = sum(math.prod(one.dims) for one in tensors if one.data_type in real)
    return held + sum(len(one.floats) for one in attributes)


_ALONE = 8
"""Rows that are also asked for one by one."""


def _run(model: bytes, batches: list[Floats]) -> Doubles:
    keep_quiet()
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    answers = [session.run(["logits"], {"features": batch})[0] for batch in batches]
    return np.asarray(np.exp(np.concatenate(answers).astype(np.float64)))


# ----------------------------------------------------------------------- what comes before the classifier


def _prepared(b: Builder, fitted: Fitted) -> str:
    """The steps before the classifier, on the selected columns alone."""
    steps = dict(fitted.pipeline.named_steps)
    chooser = steps.pop("select", None)
    kept = slice(None) if chooser is None else np.flatnonzero(chooser.support_)
    missing = b.node("Or", b.node("IsNaN", "features"), b.node("IsInf", "features"))  # as Fill has it
    value = b.node("Where", missing, b.number(steps["fill"].median_[kept]), "features")
    for step in steps.values():
        value = _step(b, step, kept, value)
    return value


def _step(b: Builder, step: Any, kept: Any, x: str) -> str:
    if isinstance(step, Scale):
        centred = b.node("Sub", x, b.number(step.centre_[kept]))
        return b.node("Div", centred, b.number(step.spread_[kept]))
    if isinstance(step, Clip):
        return b.node("Clip", x, b.number(-step.limit), b.number(step.limit))
    if isinstance(step, Ranks):
        return _ranks(b, step.quantiles_[:, kept], step.ranks_, x)
    return x


def _ranks(b: Builder, quantiles: Floats, ranks: Floats, x: str) -> str:
    """`emovox.training.classical.preparing.interpolated`, operation by operation."""
    known, slopes = b.number(quantiles), b.number(rank_slopes(quantiles, ranks))
    wide, one = b.node("Unsqueeze", x, b.number([1], np.int64)), b.number(1, np.int64)
    both = []
    for below in ("Greater", "GreaterOrEqual"):
        counted = b.to_int(b.node(below, wide, known))  # (b, quantiles, d)
        count = b.node("ReduceSum", counted, b.number([1], np.int64), keepdims=0)
        at = b.node("Max", b.node("Sub", count, one), b.number(0, np.int64))
        start = b.node("GatherElements", known, at, axis=0)
        rise = b.node("Mul", b.node("Sub", x, start), b.node("GatherElements", slopes, at, axis=0))
        rank = b.node("Add", b.node("Gather", b.number(ranks), at, axis=0), rise)
        both.append(b.node("Clip", rank, b.number(0), b.number(1)))
    middle = b.node("Mul", b.node("Add", *both), b.number(0.5))
    return b.node("Mul", b.node("Sub", middle, b.number(0.5)), b.number(np.sqrt(12)))
