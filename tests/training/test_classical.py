"""Classical models: the table, its settings, the pipeline and what it must never see."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from emovox._arrays import Floats

pytest.importorskip("sklearn")

from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import QuantileTransformer, RobustScaler
from sklearn.svm import SVC, LinearSVC

from classical_models import EXTRA, FORESTS, LABELS, labelled_rows, make_config
from emovox.errors import ConfigError, MissingExtraError
from emovox.training.classical import ESTIMATORS, ClassicalConfig, fit, make_speaker_folds
from emovox.training.classical.fitting import number_speakers
from emovox.training.classical.linear import (
    SpanClassifier,
    SpanDiscriminant,
    SpanLogisticRegression,
    rotate_to_span,
)
from emovox.training.classical.preprocessing import Imputer, RankScaler, Scaler
from emovox.training.classical.selection import Selection
from emovox.training.classical.svm import KernelSVC
from emovox.training.search import search_classifier

# --- the table ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_learns(name: str) -> None:
    pytest.importorskip(EXTRA.get(name, "sklearn"))
    x, y, speakers = labelled_rows()
    other, truth, _ = labelled_rows(seed=1)
    fitted = fit(x, y, speakers, make_config(name))
    chances = fitted.predict_proba(other)
    assert fitted.classes == ("happy", "sad", "angry"), "the canonical order"
    assert chances.shape == (len(other), 3)
    np.testing.assert_allclose(chances.sum(1), 1, atol=1e-5)
    assert (fitted.predict(other) == np.array(truth)).mean() > 0.6, "chance is a third"
    again = fit(x, y, speakers, make_config(name)).predict_proba(other)
    np.testing.assert_array_equal(chances, again, "the same seed, another answer")


def test_every_estimator_is_described() -> None:
    for name, entry in ESTIMATORS.items():
        assert entry.name == name
        assert entry.description
        assert entry.space or name == "stacking"


@pytest.mark.parametrize("name", ESTIMATORS)
def test_spaces_have_valid_parameters(name: str) -> None:
    pytest.importorskip(EXTRA.get(name, "sklearn"))
    entry, rng = ESTIMATORS[name], np.random.default_rng(0)
    for _ in range(5):
        entry.make(0, 1, **{key: one.draw(rng) for key, one in entry.space.items()})


def test_unknown_names_suggest_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'random-forest'"):
        ClassicalConfig(model="random-forrest")
    with pytest.raises(ConfigError, match="did you mean 'n_estimators'"):
        ClassicalConfig(model="extra-trees", params={"n_estimator": 3})
    with pytest.raises(ConfigError, match="did you mean 'max_depth'"):
        ClassicalConfig(model="adaboost", params={"max_dept": 3})
    with pytest.raises(ConfigError, match="did you mean 'scaler'"):
        ClassicalConfig.from_dict({"model": "svc", "scalar": "none"})
    with pytest.raises(ConfigError, match="did you mean 'count'"):
        ClassicalConfig.from_dict({"model": "svc", "select": {"method": "anova", "counts": 3}})
    with pytest.raises(ConfigError, match="did you mean 'robust'"):
        ClassicalConfig(model="svc", scaler="robus")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"clip": 0}, "clip is 0"),
        ({"class_weight": "balanced", "resample": "over"}, "expected one of them"),
        ({"calibration_folds": 1}, "at least 2"),
        ({"model": "knn", "class_weight": "balanced"}, "does not support weights"),
        ({"model": "stacking", "params": {"estimators": ["stacking"]}}, "one or more others"),
    ],
)
def test_invalid_settings_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        ClassicalConfig(**{"model": "svc", **changes})


def test_config_round_trip() -> None:
    made = make_config("svc", params={"C": 2.0}, select=Selection("anova", count=3), resample="over")
    assert ClassicalConfig.from_dict(made.to_dict()) == made


def test_invalid_parameters_are_reported() -> None:
    x, y, speakers = labelled_rows()
    for wrong in ({"kernel": "rfb"}, {"gamma": "scales"}, {"gamma": -1.0}):
        with pytest.raises(ConfigError, match=r"svc cannot be fitted: (kernel|gamma) is"):
            fit(x, y, speakers, make_config("svc", params=wrong))
    with pytest.raises(ConfigError, match=r"svc cannot be fitted: .*'C'"):
        fit(x, y, speakers, make_config("svc", params={"C": -1.0}))


@pytest.mark.parametrize("missing", ["lightgbm", "catboost"])
def test_missing_extra_is_reported(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=rf"-m pip install .*\[{missing}\]'"):
        ClassicalConfig(model=missing)


def test_classical_needs_no_torch() -> None:
    code = "import emovox.training.search, emovox.training.classical.onnx_export, sys"
    code += "; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- in the span of the rows ----------------------------------------------------------------------


def test_span_is_a_rotation() -> None:
    rows = np.random.default_rng(0).standard_normal((20, 70))
    turned, basis = rotate_to_span(rows)
    np.testing.assert_allclose(basis.T @ basis, np.eye(20), atol=1e-9)
    np.testing.assert_allclose(turned @ basis.T, rows, atol=1e-9)
    assert rotate_to_span(np.vstack([rows, rows]))[0].shape == (40, 20), "copies add no direction"


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("d", [15, 200])
def test_span_models_equal_scikit_learn(n_classes: int, d: int) -> None:
    rng = np.random.default_rng(3)
    y = np.arange(60) % n_classes
    x = rng.standard_normal((60, d)) + 0.3 * y[:, None]
    weights = rng.uniform(0.5, 2, 60)
    pairs = [
        (SpanLogisticRegression, LogisticRegression(C=0.05, tol=1e-8, max_iter=5000), weights),
        (SpanClassifier, LinearSVC(C=0.05, tol=1e-8, max_iter=50_000, dual=True), weights),
    ]
    for kind, plain, weight in pairs:
        ours, theirs = kind(plain).fit(x, y, weight), plain.fit(x, y, weight)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=2e-5)
        np.testing.assert_allclose(ours.decision_function(x), theirs.decision_function(x), atol=1e-3)
        np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
    ours, theirs = (
        SpanDiscriminant(0.3).fit(x, y),
        LinearDiscriminantAnalysis("lsqr", shrinkage=0.3).fit(x, y),
    )
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-6)


def test_normalized_rows_have_one_length() -> None:
    rng = np.random.default_rng(3)
    y = np.arange(60) % 3
    x = rng.standard_normal((60, 36)) + y[:, None]
    x[0] = 0
    rows = x * 6 / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-6)
    ours, theirs = KernelSVC(normalize=True).fit(x, y), SVC(break_ties=True).fit(rows, y)
    np.testing.assert_allclose(ours.decision_function(x), theirs.decision_function(rows), atol=2e-3)
    np.testing.assert_array_equal(ours.predict(1000 * x), ours.predict(x))


def test_few_columns_keep_their_length() -> None:
    x = np.linspace(0.1, 3, 60)[:, None]
    y = (x[:, 0] > 1.5).astype(int)
    assert (KernelSVC(normalize=True).fit(x, y).predict(x) == y).mean() > 0.95


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize(
    "params",
    [{}, {"gamma": "auto"}, {"kernel": "linear"}, {"kernel": "poly", "coef0": 1.0}, {"kernel": "sigmoid"}],
)
def test_kernel_svc_equals_scikit_learn(params: dict[str, Any], n_classes: int) -> None:
    rng = np.random.default_rng(3)
    y = np.arange(60) % n_classes
    x, weights = rng.standard_normal((60, 90)) + 0.3 * y[:, None], rng.uniform(0.5, 2, 60)
    new = rng.standard_normal((40, 90)) + 0.3 * y[:40, None]
    ours, theirs = (kind(C=0.7, **params).fit(x, y, weights) for kind in (KernelSVC, SVC))
    np.testing.assert_allclose(ours.decision_function(new), theirs.decision_function(new), atol=2e-3)
    np.testing.assert_array_equal(ours.predict(new), theirs.set_params(break_ties=True).predict(new))


# --- before the classifier ------------------------------------------------------------------------


def test_imputer_drops_constants_and_fills_gaps() -> None:
    x = np.array([[1, 5, np.nan, 1e6], [3, 5, np.nan, 1e6 + 0.06], [np.nan, 5, np.nan, 1e6]], np.float32)
    fill = Imputer().fit(x)
    assert fill.support_.tolist() == [True, False, False, False], "a constant, nothing at all, rounding"
    assert fill.transform(x).ravel().tolist() == [1, 3, 2]


def test_infinite_values_are_missing() -> None:
    x = np.array([[1, 7], [3, np.inf], [np.inf, -np.inf], [-np.inf, 7]], np.float32)
    fill = Imputer().fit(x)
    assert fill.support_.tolist() == [True, False]
    assert fill.transform(x).ravel().tolist() == [1, 3, 2, 2]
    rows, y, speakers = labelled_rows()
    rows[:3, 0] = np.inf
    fitted = fit(rows, y, speakers, make_config("logistic-regression"))
    assert np.isfinite(fitted.predict_proba(rows)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 5.0])
def test_constant_table_is_refused(value: float) -> None:
    _, y, speakers = labelled_rows()
    with pytest.raises(ConfigError, match=r"^every column is constant or missing in the 120 rows"):
        fit(np.full((120, 3), value), y, speakers, make_config("logistic-regression"))


def test_scalers_equal_scikit_learn() -> None:
    x = np.random.default_rng(0).lognormal(size=(300, 4)).astype(np.float32)
    standard = Scaler().fit(x).transform(x)
    np.testing.assert_allclose(standard.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(standard.std(0), 1, atol=1e-6)
    robust = RobustScaler(unit_variance=True).fit_transform(x)
    np.testing.assert_allclose(Scaler(robust=True).fit(x).transform(x), robust, rtol=2e-4, atol=1e-5)
    x[:, 0] = np.round(x[:, 0])  # ties
    new = np.vstack([np.random.default_rng(1).lognormal(size=(50, 4)), x[:50]]).astype(np.float32)
    ranks = QuantileTransformer(n_quantiles=100, subsample=None).fit(x.astype(np.float64)).transform(new)
    inner = (ranks > 0) & (ranks < 1)  # at its ends scikit-learn takes 0 and 1 for ties, we their middle
    ours = RankScaler().fit(x).transform(new) / np.sqrt(12) + 0.5
    np.testing.assert_allclose(ours[inner], ranks[inner], atol=1e-5)
    assert inner.mean() > 0.8


def test_outlier_is_clipped() -> None:
    x, y, speakers = labelled_rows()
    x[0, 7] = 1e9
    fitted = fit(x, y, speakers, make_config("logistic-regression", clip=5.0))
    assert np.abs(fitted.pipeline[:-1].transform(x)).max() <= 5


# --- fitting --------------------------------------------------------------------------------------


def test_folds_are_speaker_disjoint() -> None:
    _, y, speakers = labelled_rows()
    truth = np.array([LABELS.index(one) for one in y])
    groups = number_speakers(speakers)
    folds = make_speaker_folds(truth, groups, 3)
    assert len(folds) == 3
    assert sorted(np.concatenate([held for _, held in folds])) == list(range(len(y)))
    for training, held in folds:
        assert not set(groups[training]) & set(groups[held])


@pytest.mark.parametrize("name", ESTIMATORS)
def test_prediction_has_highest_probability(name: str) -> None:
    pytest.importorskip(EXTRA.get(name, "sklearn"))
    x, y, speakers = labelled_rows(shift=0.4)
    fitted = fit(x, y, speakers, make_config(name))
    best = fitted.predict_proba(x).argmax(1)
    np.testing.assert_array_equal(fitted.predict(x), np.array(fitted.classes)[best])


@pytest.mark.parametrize("labels", [LABELS[:2], LABELS])
@pytest.mark.parametrize("model", ["svc", "linear-svc"])
def test_calibration_keeps_decision(model: str, labels: tuple[str, ...]) -> None:
    x, y, speakers = labelled_rows(shift=0.4, labels=labels)
    new, *_ = labelled_rows(shift=0.4, labels=labels, seed=5)
    plain, calibrated = (fit(x, y, speakers, make_config(model, calibrate=flag)) for flag in (False, True))
    np.testing.assert_array_equal(plain.predict(new), calibrated.predict(new))
    scores = plain.pipeline.decision_function(new)
    index = scores.argmax(1) if scores.ndim == 2 else (scores > 0).astype(int)
    np.testing.assert_array_equal(calibrated.predict_proba(new).argmax(1), index)


def opposed_speakers(opposed: tuple[str, ...]) -> tuple[Floats, list[str], list[str]]:
    """Rows of two speakers, in two columns; the columns of the ``opposed`` labels differ in sign."""
    rng = np.random.default_rng(0)
    y = [*LABELS] * 40
    speakers = ["a"] * 60 + ["b"] * 60
    centres = {"sad": (3, 0), "happy": (-1, 3), "angry": (-1, -3)}
    x = np.array([centres[label] for label in y]) + rng.normal(0, 0.3, (120, 2))
    x[[label in opposed and who == "b" for label, who in zip(y, speakers, strict=True)]] *= -1
    return x.astype(np.float32), y, speakers


@pytest.mark.parametrize("model", ["svc", "linear-svc"])
def test_opposed_speakers_cost_no_label(model: str) -> None:
    """The scores of happy and angry are reversed in every calibration fold."""
    x, y, speakers = opposed_speakers(("happy", "angry"))
    fitted = fit(x, y, speakers, make_config(model, params={"C": 10.0}))
    rows = np.array([who == "a" for who in speakers])
    alone = fit(x, y, ["a", "b"] * 60, make_config(model, params={"C": 10.0}))
    assert set(fitted.predict(x[rows])) == set(LABELS)
    np.testing.assert_array_equal(fitted.predict(x), alone.predict(x))


def test_useless_calibration_is_noted() -> None:
    config = make_config("svc")
    assert "no better than by chance" in " ".join(fit(*opposed_speakers(LABELS), config).notes)
    assert fit(*opposed_speakers(()), config).notes == ()


@pytest.mark.parametrize(("normalize", "n_answers"), [(True, 3), (False, 1)])
def test_distant_rows_get_several_labels(normalize: bool, n_answers: int) -> None:
    """A tenth of the columns is far outside the training: another microphone, no silence at the ends."""
    x, y, speakers = labelled_rows(d=80)
    new, truth, _ = labelled_rows(d=80, seed=3)
    new[:, -8:] += 30
    fitted = fit(x, y, speakers, make_config("svc", params={"normalize": normalize}))
    predicted = fitted.predict(new)
    assert len(set(predicted)) == n_answers
    if normalize:
        assert (predicted == np.array(truth)).mean() > 0.4, "chance is a third"


def test_unknown_speakers_are_separate() -> None:
    x, y, _ = labelled_rows()
    assert len(set(number_speakers([None, "", "a", "a"]))) == 3
    assert fit(x, y, [None] * len(y), make_config("svc")).predict_proba(x).shape == (120, 3)


def test_one_speaker_gives_no_folds() -> None:
    x, y, _ = labelled_rows()
    with pytest.raises(ConfigError, match="record more speakers, or use a model that needs no folds"):
        fit(x, y, ["me"] * len(y), make_config("svc"))
    assert fit(x, y, ["me"] * len(y), make_config("logistic-regression")).predict_proba(x).shape == (120, 3)


def test_inconsistent_rows_are_refused() -> None:
    x, y, speakers = labelled_rows()
    with pytest.raises(ConfigError, match="expected at least two"):
        fit(x, ["sad"] * len(y), speakers, make_config("lda"))
    with pytest.raises(ConfigError, match=r"expected \(n, d\)"):
        fit(x, y[:-1], speakers, make_config("lda"))
    fitted = fit(x, y, speakers, make_config("svc", calibrate=False), columns=[f"c{j}" for j in range(40)])
    assert fitted.selected_columns[:2] == ("c0", "c1")
    with pytest.raises(ConfigError, match="no probabilities"):
        fitted.predict_proba(x)
    with pytest.raises(ConfigError, match=r"expected \(n, 40\)"):
        fitted.predict(x[:, :3])


@pytest.mark.parametrize(
    "name", [n for n, e in ESTIMATORS.items() if e.supports_weights and n not in FORESTS]
)
def test_balanced_weights_favour_rare_class(name: str) -> None:
    pytest.importorskip(EXTRA.get(name, "sklearn"))
    x, y, speakers = labelled_rows(shift=0.5)
    kept = [n for n in range(120) if y[n] != "angry" or n % 15 == 2]
    rare = (x[kept], [y[n] for n in kept], [speakers[n] for n in kept])
    if name in ("svc", "linear-svc"):  # calibration takes most of the effect back
        plain, even = (
            fit(*rare, make_config(name, params={"C": 0.01}, calibrate=False, class_weight=w))
            for w in (None, "balanced")
        )
        assert (even.predict(x) == "angry").mean() > (plain.predict(x) == "angry").mean()
        return
    plain, even = (fit(*rare, make_config(name, class_weight=w)) for w in (None, "balanced"))
    assert even.predict_proba(x)[:, 2].mean() > plain.predict_proba(x)[:, 2].mean()


@pytest.mark.parametrize(("how", "n"), [("over", 40), ("under", 8)])
def test_resampling_equalises_classes(how: str, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, speakers = labelled_rows()
    kept = [k for k in range(120) if y[k] != "angry" or k % 15 == 2]
    seen: list[int] = []
    honest = SpanDiscriminant.fit

    def spy(self: Any, x: Any, y: Any, sample_weight: Any = None) -> Any:
        seen.extend(np.bincount(y))
        return honest(self, x, y, sample_weight)

    monkeypatch.setattr(SpanDiscriminant, "fit", spy)
    fit(x[kept], [y[k] for k in kept], [speakers[k] for k in kept], make_config("lda", resample=how))
    assert seen == [n, n, n]


def test_convergence_warning_is_a_note() -> None:
    x, y, speakers = labelled_rows()
    fitted = fit(x, y, speakers, make_config("mlp", params={"max_iter": 2}))
    assert "hasn't converged" in fitted.notes[0]


# --- the canary -----------------------------------------------------------------------------------


def canary() -> tuple[Floats, NDArray[np.str_], NDArray[np.str_], dict[str, NDArray[np.int64]]]:
    """Noise, with a column that equals the label for the outer validation's and test's speakers alone.

    Scaling, selection, search or calibration that saw one of their clips would find it at once.
    """
    rng = np.random.default_rng(5)
    y = np.array(LABELS)[np.arange(240) % 3]
    speakers = np.array([f"s{n // 3 % 20}" for n in range(240)])
    parts = {
        "train": np.flatnonzero([int(s[1:]) < 12 for s in speakers]),
        "validation": np.flatnonzero([12 <= int(s[1:]) < 16 for s in speakers]),
        "test": np.flatnonzero([int(s[1:]) >= 16 for s in speakers]),
    }
    x = rng.standard_normal((240, 30)).astype(np.float32)
    held = np.concatenate([parts["validation"], parts["test"]])
    x[held, 7] = 3.0 * (np.arange(240) % 3)[held]
    return x, y, speakers, parts


def of(part: NDArray[np.int64], *columns: Any) -> Any:
    return tuple(c[part] if isinstance(c, np.ndarray) and c.ndim > 1 else list(c[part]) for c in columns)


def outcome(rows: Any, seed: int = 0) -> tuple[Any, ...]:
    """All that a search with selection and scaling inside learns from rows, as plain values."""
    chosen = make_config("svc", select=Selection("anova", count=5), scaler="standard")
    found = search_classifier(*rows, chosen, draws=4, inner_folds=3, seed=seed)
    fitted = fit(*rows, found.best)
    scale = fitted.pipeline.named_steps["scale"]
    seen = tuple((t.params, t.scores) for t in found.trials)
    return seen, fitted.selected_columns, scale.centre_.tolist(), fitted.predict_proba(rows[0]).tolist()


def test_held_out_canary_has_no_effect() -> None:
    x, y, speakers, parts = canary()
    rows = of(parts["train"], x, y, speakers)
    with_canary = outcome(rows)
    silent = x.copy()
    silent[:, 7] = np.where(np.isin(np.arange(240), parts["train"]), x[:, 7], 0)
    assert outcome(of(parts["train"], silent, y, speakers)) == with_canary, (
        "the held-out rows changed something"
    )
    assert "7" not in with_canary[1]
    leaky = np.concatenate([parts["train"], parts["test"]])
    assert "7" in outcome(of(leaky, x, y, speakers))[1], "a leak would be seen by this test"


@pytest.mark.parametrize("inner", ["selection", "scaling", "classifier"])
def test_inner_folds_exclude_held_out_speakers(inner: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # In a search, each step may be fitted on the rows of the inner training's speakers alone.
    from emovox.training.classical.selection import Selector

    x, y, speakers, parts = canary()
    rows, labels, voices = of(parts["train"], x, y, speakers)
    marked = np.concatenate([rows, number_speakers(voices)[:, None].astype(np.float32)], axis=1)
    kinds: dict[str, Any] = {"selection": Selector, "scaling": Imputer, "classifier": SpanLogisticRegression}
    kind, honest, heard = kinds[inner], kinds[inner].fit, []

    def spy(self: Any, x: Any, y: Any = None, *rest: Any) -> Any:
        heard.append(len(np.unique(np.asarray(x)[:, -1])))
        return honest(self, x, y, *rest)

    monkeypatch.setattr(kind, "fit", spy)
    chosen = make_config("logistic-regression", select=Selection("anova", ratio=1.0), scaler="none")
    search_classifier(marked, labels, voices, chosen, draws=2, inner_folds=3)
    assert heard == [8] * 6, "two draws on three folds; each was given two thirds of the twelve speakers"


@pytest.mark.parametrize(("name", "params"), [("catboost", {"depth": 99}), ("knn", {"n_neighbors": "many"})])
def test_library_errors_name_the_model(name: str, params: dict[str, Any]) -> None:
    if name == "catboost":
        pytest.importorskip("catboost")
    x, y = np.random.default_rng(0).standard_normal((8, 3)), ["sad", "happy"] * 4
    with pytest.raises(ConfigError, match=f"{name} cannot be fitted: "):
        fit(x, y, [None] * 8, ClassicalConfig(model=name, params=params))
