"""Regressors: fitted on the training alone, missing values left out, and the graph equals scikit-learn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")

from emovox.errors import ConfigError
from emovox.evaluation import metrics
from emovox.training.classical.graph_regressors import to_onnx_regressor
from emovox.training.classical.onnx_export import run_graph
from emovox.training.classical.regression import REGRESSORS, FittedRegressor, find_regressor, fit_values

TARGETS = ("arousal", "valence")


def make_rows(seed: int = 0, n: int = 240, d: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Rows whose first columns say the values; one column is constant, some cells are missing."""
    rng = np.random.default_rng(seed)
    x = rng.normal(5, 3, (n, d)).astype(np.float32)
    x[:, 3] = 1.5
    values = np.stack([2 * x[:, 0] + 40 + rng.normal(0, 1, n), 0.01 * x[:, 1] - 0.3], axis=1)
    x[rng.random((n, d)) < 0.02] = np.nan
    values[rng.random((n, 2)) < 0.1] = np.nan
    return x, values


def fit(name: str, x: np.ndarray, values: np.ndarray, **options: Any) -> FittedRegressor:
    columns = [f"c{j}" for j in range(x.shape[1])]
    return fit_values(x, values, find_regressor(name), targets=TARGETS, columns=columns, **options)


@pytest.mark.parametrize("name", REGRESSORS)
def test_graph_equals_estimator(name: str) -> None:
    x, values = make_rows()
    params = {"n_estimators": 20} if "trees" in name or "forest" in name or "boosting" in name else {}
    params |= {"alpha": 1.0} if name == "ridge" else {}
    fitted = fit(name, x[:160], values[:160], params=params)
    other = make_rows(1)[0]
    model = to_onnx_regressor(fitted, other)
    found = run_graph(model, [np.ascontiguousarray(other[:, fitted.selected])], "values")
    assert np.abs((found - fitted.predict(other)) / fitted.deviation).max() < 1e-4
    assert "c3" not in fitted.selected_columns
    known = ~np.isnan(values[160:])
    predicted = fitted.predict(x[160:])
    for k in range(2):
        true = values[160:, k][known[:, k]]
        assert metrics.ccc(true, predicted[:, k][known[:, k]]) > 0.4, "each target in its own unit"


@pytest.mark.parametrize("scaling", ["standard", "robust", "quantile", "none"])
def test_scalers_in_the_graph(scaling: str) -> None:
    x, values = make_rows()
    fitted = fit("svr", x, values, scaling=scaling)
    to_onnx_regressor(fitted, make_rows(2)[0])


def test_clips_without_value_do_not_train() -> None:
    x, values = make_rows()
    without = np.isnan(values).all(1)
    assert without.any()
    spoilt = x.copy()
    spoilt[without] = 1e6
    one, other = (fit("ridge", rows, values) for rows in (x, spoilt))
    assert np.array_equal(one.predict(x), other.predict(x))


def test_scale_of_a_target_does_not_matter() -> None:
    x, values = make_rows()
    one, other = fit("svr", x, values), fit("svr", x, 1000 * values - 7)
    assert np.allclose(1000 * one.predict(x) - 7, other.predict(x), rtol=1e-6, atol=1e-6)


def test_too_few_values_are_refused() -> None:
    x, values = make_rows()
    values[2:, 1] = np.nan
    with pytest.raises(ConfigError, match=r"training clips have a value of 'valence'; expected 3"):
        fit("ridge", x, values)


@pytest.mark.parametrize(
    ("name", "message"), [("svc", "predicts labels"), ("rigde", "ridge"), ("banana", "there are svr")]
)
def test_unknown_regressors_are_refused(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_regressor(name)


def test_impossible_parameters_are_refused() -> None:
    x, values = make_rows()
    with pytest.raises(ConfigError, match=r"svr cannot be fitted"):
        fit("svr", x, values, params={"C": -1.0})
    with pytest.raises(ConfigError, match="no parameter"):
        fit("svr", x, values, params={"CC": 1.0})
