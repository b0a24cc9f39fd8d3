"""Trees, as the converters of others write them: skl2onnx, onnxmltools and CatBoost itself."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from emovox.errors import BundleError, MissingExtraError
from emovox.training.classical.export.builder import Builder

__all__ = ["catboost", "lightgbm", "sklearn_trees"]

_OPSETS = {"": 17, "ai.onnx.ml": 3}


def sklearn_trees(b: Builder, model: Any, x: str) -> str:
    """Forests, boosting, bagging: ``x (b, d)`` -> ``(b, k)`` float64.

    Raises:
        BundleError: skl2onnx has no translation of its settings.
    """
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    wanted = [("x", FloatTensorType([None, model.n_features_in_]))]
    try:
        made = convert_sklearn(model, initial_types=wanted, options={"zipmap": False}, target_opset=_OPSETS)
    except (RuntimeError, NotImplementedError, ValueError) as error:
        raise BundleError(f"a {type(model).__name__} with these settings has no graph: {error}") from error
    return b.to_double(b.built_in(made, x, "probabilities"))


def lightgbm(b: Builder, model: Any, x: str) -> str:
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
    trees = Booster(model_str=_in_float32(model.booster_.model_to_string()))
    made = convert_lightgbm(trees, initial_types=wanted, zipmap=False, target_opset=15)
    return b.to_double(b.built_in(made, x, "probabilities"))


def _in_float32(text: str) -> str:
    """LightGBM's own text with every threshold rounded down to a float32.

    It compares float32 values with float64 thresholds, a graph with float32 ones: rounded to the nearest, a
    value that lies between the two would take the other branch; rounded down it never does.
    """
    text = re.sub(r"(?m)^tree_sizes=.*\n", "", text)  # in bytes, no longer true; it is read without them
    return re.sub(r"(?m)^threshold=(.*)$", lambda line: "threshold=" + _rounded_down(line[1]), text)


def _rounded_down(numbers: str) -> str:
    exact = np.array(numbers.split(), np.float64)
    near = exact.astype(np.float32)
    low = np.where(near > exact, np.nextafter(near, np.float32(-np.inf)), near)
    return " ".join(repr(float(one)) for one in low)


def catboost(b: Builder, model: Any, x: str) -> str:
    """CatBoost: ``x (b, d)`` -> ``(b, k)`` float64."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "model.onnx"
        model.save_model(str(file), format="onnx")
        made = onnx.load(file)
    (shown,) = (node for node in made.graph.node if node.op_type == "ZipMap")
    made.graph.node.remove(shown)
    return b.to_double(b.built_in(made, x, shown.input[0]))
