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

from emovox.errors import ConfigError, MissingExtraError
from emovox.training.classical import ESTIMATORS, ClassicalConfig, fit, speaker_folds
from emovox.training.classical.fitting import speaker_numbers
from emovox.training.classical.linear import DiscriminantInSpan, InSpan, LogisticInSpan, span
from emovox.training.classical.preparing import Fill, Ranks, Scale
from emovox.training.classical.selection import Selection
from emovox.training.classical.vectors import KernelSVC
from emovox.training.search import search

LABELS = ("happy", "sad", "angry")
QUICK: dict[str, dict[str, Any]] = {
    "mlp": {"hidden_layer_sizes": (16,), "max_iter": 60, "learning_rate_init": 0.02},
    "random-forest": {"n_estimators": 20},
    "extra-trees": {"n_estimators": 20},
    "gradient-boosting": {"n_estimators": 10},
    "bagging": {"n_estimators": 10},
    "adaboost": {"n_estimators": 10},
    "lightgbm": {"n_estimators": 10},
    "catboost": {"iterations": 10},
    "stacking": {
        "estimators": ["logistic-regression", "svc", {"model": "knn", "params": {"n_neighbors": 3}}]
    },
}
"""Smaller than the defaults, for tests."""
FORESTS = ("random-forest", "extra-trees", "bagging")
"""Their trees grow until every leaf is of one class, whatever a clip weighs."""
EXTRA = {"lightgbm": "lightgbm", "catboost": "catboost"}


def clips(
    n: int = 120, d: int = 40, *, seed: int = 0, shift: float = 2.0, labels: tuple[str, ...] = LABELS
) -> tuple[Floats, list[str], list[str]]:
    """Rows of which columns 0 to 4 tell the label, of ten speakers; some values are missing."""
    rng = np.random.default_rng(seed)
    index = np.arange(n) % len(labels)
    x = rng.standard_normal((n, d))
    x[:, :5] += shift * index[:, None]
    x[rng.random(x.shape) < 0.01] = np.nan
    return x.astype(np.float32), [labels[k] for k in index], [f"s{k // 3 % 10}" for k in range(n)]


def config(model: str, **changes: Any) -> ClassicalConfig:
    return ClassicalConfig(model=model, **{"params": QUICK.get(model, {}), **changes})


# --- the table ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_estimator_learns_and_answers_probabilities(name: str) -> None:
    pytest.importorskip(EXTRA.get(name, "sklearn"))
    x, y, speakers = clips()
    other, truth, _ = clips(seed=1)
    fitted = fit(x, y, speakers, config(name))
    chances = fitted.probabilities(other)
    assert fitted.classes == ("happy", "sad", "angry"), "the canonical order"
    assert chances.shape == (len(other), 3)
    np.testing.assert_allclose(chances.sum(1), 1, atol=1e-5)
    assert (fitted.predict(other) == np.array(truth)).mean() > 0.6, "chance is a third"
    again = fit(x, y, speakers, config(name)).probabilities(other)
    np.testing.assert_array_equal(chances, again, "the same seed, another answer")


def test_every_estimator_says_what_it_is() -> None:
    for name, entry in ESTIMATORS.items():
        assert entry.name == name
        assert entry.description
        assert entry.space or name == "stacking"


@pytest.mark.parametrize("name", ESTIMATORS)
def test_spaces_and_defaults_name_real_parameters(name: str) -> None:
    pytest.importorskip(EXTRA.get(name, "sklearn"))
    entry, rng = ESTIMATORS[name], np.random.default_rng(0)
    for _ in range(5):
        entry.make(0, 1, **{key: one.draw(rng) for key, one in entry.space.items()})


def test_unknown_names_are_refused_with_the_nearest() -> None:
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
        ({"model": "knn", "class_weight": "balanced"}, "cannot weigh clips"),
        ({"model": "stacking", "params": {"estimators": ["stacking"]}}, "one or more others"),
    ],
)
def test_impossible_settings_are_refused(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        ClassicalConfig(**{"model": "svc", **changes})


def test_a_config_survives_plain_types() -> None:
    made = config("svc", params={"C": 2.0}, select=Selection("anova", count=3), resample="over")
    assert ClassicalConfig.from_dict(made.to_dict()) == made


def test_values_that_scikit_learn_refuses_are_a_sentence() -> None:
    x, y, speakers = clips()
    for wrong in ({"kernel": "rfb"}, {"gamma": "scales"}, {"gamma": -1.0}):
        with pytest.raises(ConfigError, match=r"svc cannot be fitted: (kernel|gamma) is"):
            fit(x, y, speakers, config("svc", params=wrong))
    with pytest.raises(ConfigError, match=r"svc cannot be fitted: .*'C'"):
        fit(x, y, speakers, config("svc", params={"C": -1.0}))


@pytest.mark.parametrize("missing", ["lightgbm", "catboost"])
def test_a_missing_extra_is_the_sentence_that_installs_it(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=rf"pip install 'emovox\[{missing}\]'"):
        ClassicalConfig(model=missing)


def test_no_torch() -> None:
    code = (
        "import emovox.training.search, emovox.training.classical.export, sys; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


# --- in the span of the rows ----------------------------------------------------------------------


def test_the_span_is_a_rotation() -> None:
    rows = np.random.default_rng(0).standard_normal((20, 70))
    turned, basis = span(rows)
    np.testing.assert_allclose(basis.T @ basis, np.eye(20), atol=1e-9)
    np.testing.assert_allclose(turned @ basis.T, rows, atol=1e-9)
    assert span(np.vstack([rows, rows]))[0].shape == (40, 20), "copies add no direction"


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("d", [15, 200])
def test_linear_models_in_the_span_are_scikit_learns(n_classes: int, d: int) -> None:
    rng = np.random.default_rng(3)
    y = np.arange(60) % n_classes
    x = rng.standard_normal((60, d)) + 0.3 * y[:, None]
    weights = rng.uniform(0.5, 2, 60)
    pairs = [
        (LogisticInSpan, LogisticRegression(C=0.05, tol=1e-8, max_iter=5000), weights),
        (InSpan, LinearSVC(C=0.05, tol=1e-8, max_iter=50_000, dual=True), weights),
    ]
    for kind, plain, weight in pairs:
        ours, theirs = kind(plain).fit(x, y, weight), plain.fit(x, y, weight)
        np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=2e-5)
        np.testing.assert_allclose(ours.decision_function(x), theirs.decision_function(x), atol=1e-3)
        np.testing.assert_array_equal(ours.predict(x), theirs.predict(x))
    ours, theirs = (
        DiscriminantInSpan(0.3).fit(x, y),
        LinearDiscriminantAnalysis("lsqr", shrinkage=0.3).fit(x, y),
    )
    np.testing.assert_allclose(ours.predict_proba(x), theirs.predict_proba(x), atol=1e-6)


@pytest.mark.parametrize("n_classes", [2, 4])
@pytest.mark.parametrize(
    "params",
    [{}, {"gamma": "auto"}, {"kernel": "linear"}, {"kernel": "poly", "coef0": 1.0}, {"kernel": "sigmoid"}],
)
def test_support_vectors_are_scikit_learns(params: dict[str, Any], n_classes: int) -> None:
    rng = np.random.default_rng(3)
    y = np.arange(60) % n_classes
    x, weights = rng.standard_normal((60, 90)) + 0.3 * y[:, None], rng.uniform(0.5, 2, 60)
    new = rng.standard_normal((40, 90)) + 0.3 * y[:40, None]
    ours, theirs = (kind(C=0.7, **params).fit(x, y, weights) for kind in (KernelSVC, SVC))
    np.testing.assert_allclose(ours.decision_function(new), theirs.decision_function(new), atol=2e-3)
    np.testing.assert_array_equal(ours.predict(new), theirs.predict(new))


# --- before the classifier ------------------------------------------------------------------------


def test_columns_that_tell_nothing_go_and_gaps_are_filled() -> None:
    x = np.array([[1, 5, np.nan, 1e6], [3, 5, np.nan, 1e6 + 0.06], [np.nan, 5, np.nan, 1e6]], np.float32)
    fill = Fill().fit(x)
    assert fill.support_.tolist() == [True, False, False, False], "a constant, nothing at all, rounding"
    assert fill.transform(x).ravel().tolist() == [1, 3, 2]


def test_what_is_infinite_is_missing() -> None:
    x = np.array([[1, 7], [3, np.inf], [np.inf, -np.inf], [-np.inf, 7]], np.float32)
    fill = Fill().fit(x)
    assert fill.support_.tolist() == [True, False]
    assert fill.transform(x).ravel().tolist() == [1, 3, 2, 2]
    rows, y, speakers = clips()
    rows[:3, 0] = np.inf
    fitted = fit(rows, y, speakers, config("logistic-regression"))
    assert np.isfinite(fitted.probabilities(rows)).all()


@pytest.mark.parametrize("value", [np.nan, np.inf, 5.0])
def test_a_table_that_tells_nothing_is_refused_with_the_cause(value: float) -> None:
    _, y, speakers = clips()
    with pytest.raises(ConfigError, match=r"^every column is constant or missing in the 120 rows"):
        fit(np.full((120, 3), value), y, speakers, config("logistic-regression"))


def test_scalers_are_scikit_learns() -> None:
    x = np.random.default_rng(0).lognormal(size=(300, 4)).astype(np.float32)
    standard = Scale().fit(x).transform(x)
    np.testing.assert_allclose(standard.mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(standard.std(0), 1, atol=1e-6)
    robust = RobustScaler(unit_variance=True).fit_transform(x)
    np.testing.assert_allclose(Scale(robust=True).fit(x).transform(x), robust, rtol=2e-4, atol=1e-5)
    x[:, 0] = np.round(x[:, 0])  # ties
    new = np.vstack([np.random.default_rng(1).lognormal(size=(50, 4)), x[:50]]).astype(np.float32)
    ranks = QuantileTransformer(n_quantiles=100, subsample=None).fit(x.astype(np.float64)).transform(new)
    inner = (ranks > 0) & (ranks < 1)  # at its ends scikit-learn takes 0 and 1 for ties, we their middle
    ours = Ranks().fit(x).transform(new) / np.sqrt(12) + 0.5
    np.testing.assert_allclose(ours[inner], ranks[inner], atol=1e-5)
    assert inner.mean() > 0.8


def test_a_wild_value_is_clipped() -> None:
    x, y, speakers = clips()
    x[0, 7] = 1e9
    fitted = fit(x, y, speakers, config("logistic-regression", clip=5.0))
    assert np.abs(fitted.pipeline[:-1].transform(x)).max() <= 5


# --- fitting --------------------------------------------------------------------------------------


def test_speakers_are_never_on_both_sides() -> None:
    _, y, speakers = clips()
    truth = np.array([LABELS.index(one) for one in y])
    groups = speaker_numbers(speakers)
    folds = speaker_folds(truth, groups, 3)
    assert len(folds) == 3
    assert sorted(np.concatenate([held for _, held in folds])) == list(range(len(y)))
    for training, held in folds:
        assert not set(groups[training]) & set(groups[held])


def test_unknown_speakers_are_parted_clip_by_clip() -> None:
    x, y, _ = clips()
    assert len(set(speaker_numbers([None, "", "a", "a"]))) == 3
    assert fit(x, y, [None] * len(y), config("svc")).probabilities(x).shape == (120, 3)


def test_one_speaker_cannot_be_parted() -> None:
    x, y, _ = clips()
    with pytest.raises(ConfigError, match="record more speakers, or take a model that needs no parts"):
        fit(x, y, ["me"] * len(y), config("svc"))
    assert fit(x, y, ["me"] * len(y), config("logistic-regression")).probabilities(x).shape == (120, 3)


def test_what_does_not_fit_together_is_refused() -> None:
    x, y, speakers = clips()
    with pytest.raises(ConfigError, match="expected at least two"):
        fit(x, ["sad"] * len(y), speakers, config("lda"))
    with pytest.raises(ConfigError, match=r"expected \(n, d\)"):
        fit(x, y[:-1], speakers, config("lda"))
    fitted = fit(x, y, speakers, config("svc", calibrate=False), columns=[f"c{j}" for j in range(40)])
    assert fitted.selected_columns[:2] == ("c0", "c1")
    with pytest.raises(ConfigError, match="no probabilities"):
        fitted.probabilities(x)
    with pytest.raises(ConfigError, match=r"expected \(n, 40\)"):
        fitted.predict(x[:, :3])


@pytest.mark.parametrize("name", [n for n, e in ESTIMATORS.items() if e.weighs and n not in FORESTS])
def test_balanced_classes_help_the_rare_one(name: str) -> None:
    pytest.importorskip(EXTRA.get(name, "sklearn"))
    x, y, speakers = clips(shift=0.5)
    kept = [n for n in range(120) if y[n] != "angry" or n % 15 == 2]
    rare = (x[kept], [y[n] for n in kept], [speakers[n] for n in kept])
    if name in ("svc", "linear-svc"):  # calibration takes most of the effect back
        plain, even = (
            fit(*rare, config(name, params={"C": 0.01}, calibrate=False, class_weight=w))
            for w in (None, "balanced")
        )
        assert (even.predict(x) == "angry").mean() > (plain.predict(x) == "angry").mean()
        return
    plain, even = (fit(*rare, config(name, class_weight=w)) for w in (None, "balanced"))
    assert even.probabilities(x)[:, 2].mean() > plain.probabilities(x)[:, 2].mean()


@pytest.mark.parametrize(("how", "n"), [("over", 40), ("under", 8)])
def test_resampling_makes_classes_equal(how: str, n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, speakers = clips()
    kept = [k for k in range(120) if y[k] != "angry" or k % 15 == 2]
    seen: list[int] = []
    honest = DiscriminantInSpan.fit

    def spy(self: Any, x: Any, y: Any, sample_weight: Any = None) -> Any:
        seen.extend(np.bincount(y))
        return honest(self, x, y, sample_weight)

    monkeypatch.setattr(DiscriminantInSpan, "fit", spy)
    fit(x[kept], [y[k] for k in kept], [speakers[k] for k in kept], config("lda", resample=how))
    assert seen == [n, n, n]


def test_what_scikit_learn_warns_of_is_a_note() -> None:
    x, y, speakers = clips()
    fitted = fit(x, y, speakers, config("mlp", params={"max_iter": 2}))
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
    chosen = config("svc", select=Selection("anova", count=5), scaler="standard")
    found = search(*rows, chosen, draws=4, inner_folds=3, seed=seed)
    fitted = fit(*rows, found.best)
    scale = fitted.pipeline.named_steps["scale"]
    seen = tuple((t.params, t.scores) for t in found.trials)
    return seen, fitted.selected_columns, scale.centre_.tolist(), fitted.probabilities(rows[0]).tolist()


def test_a_canary_in_validation_and_test_is_never_heard() -> None:
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
def test_an_inner_fold_never_hears_its_own_held_out_speakers(
    inner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In a search, each step may be fitted on the rows of the inner training's speakers alone.
    from emovox.training.classical.selection import Select

    x, y, speakers, parts = canary()
    rows, labels, voices = of(parts["train"], x, y, speakers)
    marked = np.concatenate([rows, speaker_numbers(voices)[:, None].astype(np.float32)], axis=1)
    kinds: dict[str, Any] = {"selection": Select, "scaling": Fill, "classifier": LogisticInSpan}
    kind, honest, heard = kinds[inner], kinds[inner].fit, []

    def spy(self: Any, x: Any, y: Any = None, *rest: Any) -> Any:
        heard.append(len(np.unique(np.asarray(x)[:, -1])))
        return honest(self, x, y, *rest)

    monkeypatch.setattr(kind, "fit", spy)
    chosen = config("logistic-regression", select=Selection("anova", ratio=1.0), scaler="none")
    search(marked, labels, voices, chosen, draws=2, inner_folds=3)
    assert heard == [8] * 6, "two draws on three folds; each was given two thirds of the twelve speakers"


@pytest.mark.parametrize(("name", "params"), [("catboost", {"depth": 99}), ("knn", {"n_neighbors": "many"})])
def test_a_value_that_a_library_refuses_is_a_named_error(name: str, params: dict[str, Any]) -> None:
    if name == "catboost":
        pytest.importorskip("catboost")
    x, y = np.random.default_rng(0).standard_normal((8, 3)), ["sad", "happy"] * 4
    with pytest.raises(ConfigError, match=f"{name} cannot be fitted: "):
        fit(x, y, [None] * 8, ClassicalConfig(model=name, params=params))
