"""Classical models as graphs: whatever scikit-learn answers, the bundle answers without scikit-learn."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")

import onnx
import onnxruntime as ort

from classical_models import EXTRA, QUICK, labelled_rows, make_config
from conftest import tiny_spec
from emovox.bundles import Features, Input, write_bundle
from emovox.errors import BundleError, ConfigError
from emovox.features import find_feature_set
from emovox.training.classical import ESTIMATORS, ClassicalConfig, FittedClassifier, fit
from emovox.training.classical.onnx_export import TOLERANCE, check_parity, to_onnx_classical
from emovox.training.classical.selection import Selection

RATE = 16_000


def run_graph(model: bytes, rows: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["logits"], {"features": rows.astype(np.float32)})[0])


def check_graph(fitted: FittedClassifier, seed: int = 9) -> bytes:
    """The graph of a model, held to it on training rows and on new ones with gaps and outliers."""
    known, *_ = labelled_rows(n=60)
    new, *_ = labelled_rows(n=60, seed=seed)
    new[::7] *= 100
    rows = np.concatenate([known, new, np.full((1, 40), np.nan, np.float32)])
    model = to_onnx_classical(fitted, rows)
    logits = run_graph(model, rows[:, fitted.selected])
    assert np.isfinite(logits).all()
    np.testing.assert_allclose(np.exp(logits), fitted.predict_proba(rows), atol=TOLERANCE)
    for n in (0, 61, 120):
        alone = run_graph(model, rows[n : n + 1, fitted.selected])
        np.testing.assert_allclose(np.exp(alone), np.exp(logits[n : n + 1]), atol=1e-6)
    return model


@pytest.mark.parametrize("labels", [("sad", "angry"), ("happy", "sad", "angry", "fear")])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_is_exported(name: str, labels: tuple[str, ...]) -> None:
    pytest.importorskip(EXTRA.get(name, "sklearn"))
    x, y, speakers = labelled_rows(labels=labels, shift=0.7)
    check_graph(fit(x, y, speakers, make_config(name)))


@pytest.mark.parametrize("scaler", ["standard", "robust", "quantile", "none"])
@pytest.mark.parametrize("select", [None, Selection("anova", count=7), Selection("permutation", ratio=0.3)])
def test_preprocessing_is_in_the_graph(scaler: str, select: Selection | None) -> None:
    x, y, speakers = labelled_rows(shift=0.7)
    x[:, 11] = 3.0  # constant: it goes
    x[:, 12] = np.nan
    x[:, 13] = np.round(x[:, 13])  # ties
    fitted = fit(x, y, speakers, make_config("extra-trees", scaler=scaler, select=select, clip=2.5))
    model = check_graph(fitted)
    assert not {"11", "12"} & set(fitted.selected_columns)
    assert len(fitted.selected_columns) == {None: 38, "anova": 7, "permutation": 11}[select and select.method]
    (port,) = onnx.load_from_string(model).graph.input
    assert port.type.tensor_type.shape.dim[1].dim_value == len(fitted.selected)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("svc", {"kernel": "linear", "C": 0.1}),
        ("svc", {"kernel": "poly", "degree": 2, "coef0": 1.0}),
        ("svc", {"kernel": "sigmoid", "gamma": 0.01}),
        ("svc", {"gamma": "auto"}),
        ("svc", {"normalize": False}),
        ("knn", {"weights": "uniform", "n_neighbors": 5}),
        ("mlp", {"hidden_layer_sizes": [8, 6], "activation": "tanh", "max_iter": 20}),
        ("mlp", {"hidden_layer_sizes": [8], "activation": "logistic", "max_iter": 20}),
        ("stacking", {"estimators": ["lda", "extra-trees", "linear-svc"], "passthrough": True}),
        ("bagging", {"n_estimators": 5, "max_depth": 2, "bootstrap_features": True}),
    ],
)
def test_other_settings_are_exported(name: str, params: dict[str, Any]) -> None:
    x, y, speakers = labelled_rows(shift=0.7)
    check_graph(fit(x, y, speakers, make_config(name, params=params)))


@pytest.mark.parametrize("name", ["lightgbm", "catboost", "random-forest", "adaboost"])
def test_values_at_thresholds_take_the_same_branch(name: str) -> None:
    # A gap is filled by the median, which lies between two clips just as a tree's thresholds do.
    pytest.importorskip(EXTRA.get(name, "sklearn"))
    x, y, speakers = labelled_rows(shift=0.7)
    fitted = fit(x, y, speakers, make_config(name, scaler="none"))
    between = (np.sort(x, axis=0)[1:].astype(np.float64) + np.sort(x, axis=0)[:-1]) / 2
    for rows in (between.astype(np.float32), np.where(np.eye(40, dtype=bool), np.nan, x[:40])):
        assert check_parity(fitted, to_onnx_classical(fitted, rows), rows) <= TOLERANCE


def test_unsupported_settings_are_refused() -> None:
    x, y, speakers = labelled_rows()
    with pytest.raises(BundleError, match="expected euclidean"):
        to_onnx_classical(fit(x, y, speakers, make_config("knn", params={"p": 1})), x)
    with pytest.raises(BundleError, match="the graph of model cannot be used"):
        to_onnx_classical(fit(x, y, speakers, make_config("gradient-boosting", params={"init": "zero"})), x)
    with pytest.raises(ConfigError, match="no rows"):
        to_onnx_classical(fit(x, y, speakers, make_config("lda")), x[:0])
    with pytest.raises(BundleError, match="KernelSVC cannot be exported as a graph"):
        to_onnx_classical(fit(x, y, speakers, make_config("svc", calibrate=False)), x)


def test_different_graph_is_refused() -> None:
    x, y, speakers = labelled_rows(shift=0.7)
    one = fit(x, y, speakers, make_config("lda"))
    other = fit(x, y, speakers, make_config("lda", params={"shrinkage": 0.51}))
    with pytest.raises(
        BundleError, match=r"mine: .* differ from scikit-learn's by .*; expected at most 1e-05"
    ):
        check_parity(one, to_onnx_classical(other, x), x, name="mine")


def test_export_is_deterministic() -> None:
    x, y, speakers = labelled_rows()
    one, other = (to_onnx_classical(fit(x, y, speakers, make_config("random-forest")), x) for _ in range(2))
    assert one == other


# --- from sound to answer in a process that has no scikit-learn -------------------------------------


def sounds(n: int = 24) -> list[np.ndarray]:
    """Half a second each of noise under a tone: low, middle and high."""
    rng, t = np.random.default_rng(0), np.arange(RATE // 2) / RATE
    hz = 150 * 2.0 ** (np.arange(n) % 3)
    tones = [np.sin(2 * np.pi * f * rng.uniform(0.9, 1.1) * t) for f in hz]
    return [(0.1 * tone + 0.03 * rng.standard_normal(t.size)).astype(np.float32) for tone in tones]


ALONE = """
import json, sys
import numpy as np

HEAVY = {"sklearn", "scipy", "pandas", "joblib", "torch"} | {
    *("skl2onnx", "onnxmltools", "onnx", "lightgbm", "catboost"),
}

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HEAVY:
            raise ImportError(f"{name} is blocked")

sys.meta_path.insert(0, Blocked())
from emovox.bundle import load_bundle
from emovox.recognizer import Recognizer

x = list(np.load(sys.argv[1]))
print(json.dumps({one: Recognizer(load_bundle(one)).logits(x).tolist() for one in sys.argv[2:]}))
"""


def test_bundles_need_no_scikit_learn(tmp_path: Path) -> None:
    features, heard = find_feature_set("seed-180"), sounds()
    rows = np.stack([features(x) for x in heard])
    y, speakers = [("happy", "sad", "angry")[n % 3] for n in range(24)], [f"s{n // 3 % 4}" for n in range(24)]
    expected: dict[str, np.ndarray] = {}
    names = [n for n in ESTIMATORS if n not in EXTRA or pytest.importorskip(EXTRA[n])]
    for name in names:
        chosen = None if name == "lda" else Selection("anova", count=30)
        params = {**QUICK.get(name, {}), **({"min_child_samples": 2} if name == "lightgbm" else {})}
        fitted = fit(
            rows, y, speakers, ClassicalConfig(model=name, params=params, select=chosen), features.columns
        )
        spec = tiny_spec(
            fitted.classes,
            name=name,
            input=Input(
                kind="vector", features=Features(**features.reference(), columns=fitted.selected_columns)
            ),
        )
        write_bundle(tmp_path / name, to_onnx_classical(fitted, rows), spec)
        expected[str(tmp_path / name)] = fitted.predict_proba(rows)
    np.save(tmp_path / "sounds.npy", np.stack(heard))
    done = subprocess.run(
        [sys.executable, "-c", ALONE, str(tmp_path / "sounds.npy"), *expected],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert len(told) == len(ESTIMATORS)
    for where, chances in expected.items():
        np.testing.assert_allclose(np.exp(told[where]), chances, atol=1e-5, err_msg=where)
        assert np.ptp(chances, axis=0).max() > 0.02, f"{where} answers every sound the same"
