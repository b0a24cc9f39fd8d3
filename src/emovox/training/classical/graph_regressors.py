"""Export of fitted regressors as one ONNX graph, checked against scikit-learn.

``features (b, d) float32 -> values (b, n_targets) float32``: imputation, scaling, clipping, regressors and
the scale of the targets are inside. The inputs are ``fitted.selected_columns``, in their order.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.ensemble import ExtraTreesRegressor, GradientBoostingRegressor, RandomForestRegressor
from sklearn.linear_model import Ridge
from sklearn.neural_network import MLPRegressor

from emovox.errors import BundleError, ConfigError
from emovox.training.classical.graph_builder import GraphBuilder
from emovox.training.classical.graph_classifiers import add_kernel, add_layers, add_sklearn_trees
from emovox.training.classical.onnx_export import add_preprocessing, run_graph
from emovox.training.classical.regression import FittedRegressor, KernelSVR

__all__ = ["TOLERANCE", "to_onnx_regressor"]

TOLERANCE = 1e-4
"""Largest difference, in standard deviations of the target in the training."""

_ALONE = 8
"""Rows that are also computed one by one."""


def to_onnx_regressor(fitted: FittedRegressor, rows: ArrayLike, *, name: str = "model") -> bytes:
    """Export fitted regressors as one ONNX graph.

    Args:
        fitted: the regressors.
        rows: ``(n, len(fitted.columns))``, on which the graph is compared with scikit-learn.
        name: for messages.

    Raises:
        BundleError: a regressor cannot be exported, or the two differ by more than `TOLERANCE`.
        ConfigError: there are no rows.
    """
    b = GraphBuilder()
    prepared = add_preprocessing(b, fitted.preprocessing, "features")
    standard = [_add_regressor(b, model, prepared) for model in fitted.models]
    joined = standard[0] if len(standard) == 1 else b.node("Concat", *standard, axis=1)
    scaled = b.node("Mul", joined, b.constant64(fitted.deviation[None]))
    values = b.to_float(b.node("Add", scaled, b.constant64(fitted.mean[None])))
    sizes = len(fitted.selected), len(fitted.targets)
    model = b.model(("features", sizes[0]), ("values", sizes[1]), values, "regressor")
    _check_parity(fitted, model, rows, name)
    return model


def _add_regressor(b: GraphBuilder, model: Any, x: str) -> str:
    """Add a fitted regressor: ``x (b, d)`` float32 -> ``(b, 1)`` float64."""
    if isinstance(model, KernelSVR):
        return b.affine(add_kernel(b, model, x), model.dual_coef_.T, model.intercept_)
    if isinstance(model, Ridge):
        return b.affine(b.to_double(x), np.reshape(model.coef_, (-1, 1)), np.reshape(model.intercept_, (-1,)))
    if isinstance(model, MLPRegressor):
        return add_layers(b, model, x)
    if isinstance(model, RandomForestRegressor | ExtraTreesRegressor | GradientBoostingRegressor):
        return add_sklearn_trees(b, model, x, "variable")
    raise BundleError(
        f"a {type(model).__name__} cannot be exported as a graph; expected a model of REGRESSORS"
    )


def _check_parity(fitted: FittedRegressor, model: bytes, rows: ArrayLike, name: str) -> None:
    x = np.asarray(rows, np.float32)
    if not len(x):
        raise ConfigError("got no rows to check the graph on; expected some")
    expected = fitted.predict(x)
    chosen = np.ascontiguousarray(x[:, fitted.selected])
    try:
        together = run_graph(model, [chosen], "values")
        alone = run_graph(model, [row[None] for row in chosen[:_ALONE]], "values")
    except Exception as error:  # onnxruntime's exceptions share no base class
        raise BundleError(
            f"the graph of {name} cannot be used: {' '.join(str(error).split())[:300]}"
        ) from error
    differences = np.concatenate([together - expected, alone - expected[: len(alone)]]) / fitted.deviation
    worst = float(np.abs(differences).max())
    if not worst <= TOLERANCE:
        raise BundleError(
            f"{name}: the exported graph's values differ from scikit-learn's by {worst:.2g} standard "
            f"deviations; expected at most {TOLERANCE:g}"
        )
