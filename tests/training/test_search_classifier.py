"""`search_classifier`: reproducible, resumable, interruptible, and never worse than the defaults."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

import emovox.training.search.classifiers
from emovox.errors import ConfigError
from emovox.training.classical import ClassicalConfig, FittedClassifier
from emovox.training.classical.spaces import Choice, Range, draw
from emovox.training.search import AugmentedRows, Method, SearchResult, Trial, search_classifier


def clips() -> tuple[np.ndarray, list[str], list[str]]:
    rng = np.random.default_rng(2)
    k = np.arange(180) % 3
    x = rng.standard_normal((180, 12)) + 0.3 * k[:, None] * rng.standard_normal(12)
    return (
        x.astype(np.float32),
        [("sad", "happy", "angry")[one] for one in k],
        [f"s{n // 6 % 15}" for n in range(180)],
    )


def found(method: Method = "random", data: Any = None, **changes: Any) -> SearchResult[Any]:
    return search_classifier(
        *(data or clips()),
        ClassicalConfig(model="logistic-regression"),
        method=method,
        **{"draws": 9, **changes},
    )


def summarize(result: SearchResult[Any]) -> list[Any]:
    """What a search found, without the clock."""
    return [result.best, [(t.number, t.params, t.scores, t.complete, t.n_speakers) for t in result.trials]]


@pytest.mark.parametrize("method", ["random", "halving", "optuna"])
def test_same_seed_gives_same_search(method: Method) -> None:
    if method == "optuna":
        pytest.importorskip("optuna")
    one = found(method)
    assert summarize(one) == summarize(found(method))
    assert [t.params for t in one.trials] != [t.params for t in found(method, seed=1).trials]
    assert one.trials[0].params == {}, "the defaults first"
    defaults = next(t for t in one.trials if t.number == 0 and t.complete)
    assert one.score >= (defaults.score or 1.0)
    assert one.score == max(t.score or 0 for t in one.trials if t.complete)
    assert one.curve[-1] == one.score
    best = next(t for t in one.trials if t.complete and t.score == one.score)
    assert one.best.params == best.params
    assert one.best.calibrate, "only the search goes without"


def test_random_evaluates_all_folds() -> None:
    result = found(inner_folds=4)
    assert len(result.trials) == 9
    assert {len(t.scores) for t in result.trials} == {4}
    assert all(t.complete for t in result.trials)
    assert len({str(t.params) for t in result.trials}) == 9


def test_augmented_rows_follow_their_source(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, speakers = clips()
    x[:, 0] = np.arange(180)  # so that a row says which it is
    of = np.repeat(np.arange(0, 180, 2), 2)  # two copies of every second row
    changed = x[of] + np.eye(12, dtype=np.float32)[0] * 1000
    fits, evaluated = 0, set()
    fit, predict = emovox.training.search.classifiers.fit, FittedClassifier.predict

    def fitted(
        rows: np.ndarray, labels: list[str], names: list[str], config: ClassicalConfig
    ) -> FittedClassifier:
        nonlocal fits
        fits += 1
        number, is_copy = rows[:, 0].astype(int) % 1000, rows[:, 0] >= 1000
        assert sorted(number[is_copy]) == sorted(of[np.isin(of, number[~is_copy])])
        assert labels == [y[n] for n in number]
        assert len({*names}) == len({(name, speakers[n]) for name, n in zip(names, number, strict=True)})
        return fit(rows, labels, names, config)

    def predicted(self: FittedClassifier, rows: np.ndarray) -> Any:
        evaluated.update(rows[:, 0].astype(int))
        return predict(self, rows)

    monkeypatch.setattr(emovox.training.search.classifiers, "fit", fitted)
    monkeypatch.setattr(FittedClassifier, "predict", predicted)
    found(data=(x, y, speakers), augmented=AugmentedRows(changed, of), draws=3)
    assert fits == 9
    assert evaluated == set(range(180)), "every row was held out, and no copy"


def test_augmented_rows_change_the_study(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    study, x = tmp_path / "study.db", clips()[0]
    plain = found("optuna", study=study, draws=3)
    more = found("optuna", study=study, draws=3, augmented=AugmentedRows(x[:90] + 1, np.arange(90)))
    assert [t.scores for t in more.trials] != [t.scores for t in plain.trials]


def test_halving_uses_more_speakers_for_fewer_draws() -> None:
    result = found("halving", draws=9)
    rounds: dict[int, list[Trial]] = {}
    for trial in result.trials:
        rounds.setdefault(trial.n_speakers, []).append(trial)
    sizes = sorted(rounds)
    assert len(sizes) >= 2
    assert [t.number for t in rounds[sizes[0]]][:3] == [0, 1, 2]
    assert len(rounds[sizes[-1]]) < len(rounds[sizes[0]])
    assert [all(t.complete for t in rounds[n]) for n in sizes][-1]
    assert not any(t.complete for t in rounds[sizes[0]]), "evaluated on a part of the speakers, it cannot win"
    assert sizes[-1] == 10, "two thirds of fifteen"


def test_halving_keeps_enough_clips() -> None:
    x = clips()[0]
    y = [("sad", "happy")[n % 2] if n % 30 else "angry" for n in range(len(x))]
    config = ClassicalConfig(model="knn")
    result = search_classifier(x, y, [None] * len(y), config, method="halving", draws=9)
    fewest = min(t.n_speakers or 0 for t in result.trials)
    assert 48 <= fewest < 120, "each nameless clip counts as a speaker"
    assert all(t.scores for t in result.trials), "and each round has neighbours and classes enough"


def neighbours(values: tuple[int, ...], method: Method = "random", **params: Any) -> SearchResult[Any]:
    config = ClassicalConfig(model="knn", params=params)
    return search_classifier(*clips(), config, method=method, draws=4, space={"n_neighbors": Choice(values)})


@pytest.mark.parametrize("method", ["random", "halving", "optuna"])
def test_failed_trial_has_no_score(method: Method) -> None:
    if method == "optuna":
        pytest.importorskip("optuna")
    result = neighbours((500,), method)  # more than there are clips: knn fits, and cannot answer
    assert result.params == {}
    failed = [t for t in result.trials if t.number]
    assert failed
    assert {(t.score, t.complete) for t in failed} == {(None, False)}


def test_failing_defaults_end_the_search() -> None:
    with pytest.raises(ConfigError, match=r"knn cannot predict: .*n_neighbors"):
        neighbours((3,), n_neighbors=500)


def test_optuna_prunes_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna")
    whole = found("optuna", draws=12)
    assert any(not t.complete and 0 < len(t.scores) < 3 for t in whole.trials), "none was given up"
    file, seen = tmp_path / "study.db", []
    found("optuna", draws=5, study=file)
    again = found("optuna", draws=12, study=file, on_trial=seen.append)
    assert summarize(again) == summarize(whole), "resumed, it found something else than uninterrupted"
    assert [t.number for t in seen] == list(range(12))
    monkeypatch.setattr(emovox.training.search.classifiers, "fit", None)
    assert summarize(found("optuna", draws=12, study=file)) == summarize(whole)


def test_optuna_resumes_after_interrupted_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("optuna")
    stop_after(monkeypatch, 11)
    partial = found("optuna", study=tmp_path / "s.db")
    assert partial.interrupted
    assert 0 < len(partial.trials) < 9
    monkeypatch.undo()
    assert summarize(found("optuna", study=tmp_path / "s.db")) == summarize(found("optuna"))


def test_other_clips_change_the_study(tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    x, y, speakers = clips()
    config = ClassicalConfig(model="lda")
    one = search_classifier(x, y, speakers, config, method="optuna", draws=2, study=tmp_path / "s.db")
    other = search_classifier(
        x + 1e-3, y, speakers, config, method="optuna", draws=2, study=tmp_path / "s.db"
    )
    assert one.trials[0].seconds != other.trials[0].seconds


def stop_after(monkeypatch: pytest.MonkeyPatch, n_fits: int) -> None:
    """Ctrl-C in the fit after ``n_fits``."""
    original, fits = emovox.training.search.classifiers.fit, []

    def fit(*given: Any) -> Any:
        fits.append(1)
        if len(fits) > n_fits:
            raise KeyboardInterrupt
        return original(*given)

    monkeypatch.setattr(emovox.training.search.classifiers, "fit", fit)


def test_interrupted_search_keeps_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = found()
    stop_after(monkeypatch, 10)
    partial = found()
    assert partial.interrupted
    assert not whole.interrupted
    assert summarize(partial)[1] == summarize(whole)[1][:3]
    stop_after(monkeypatch, 1)
    with pytest.raises(KeyboardInterrupt):
        found()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"method": "grid"}, "there are random, halving, optuna"),
        ({"draws": 0}, "at least 1"),
        ({"inner_folds": 1}, "at least 2"),
        ({"space": {}}, "no parameters to search"),
        ({"study": "x.db"}, "only optuna keeps a study"),
    ],
)
def test_invalid_searches_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        found(**changes)


def test_too_few_speakers_are_refused() -> None:
    x, y, _ = clips()
    with pytest.raises(ConfigError, match="record more speakers"):
        search_classifier(x, y, ["me"] * len(y), ClassicalConfig(model="lda"))


def test_ranges_draw_within_bounds() -> None:
    rng = np.random.default_rng(0)
    wide = [Range(1e-5, 1e-1, log=True).draw(rng) for _ in range(400)]
    assert 1e-5 <= min(wide) < 1e-4
    assert 1e-2 < max(wide) <= 1e-1
    assert np.log10(wide).mean() == pytest.approx(-3, abs=0.2), "evenly by its logarithm"
    assert {Range(1, 3, whole=True).draw(rng) for _ in range(60)} == {1, 2, 3}
    assert all(isinstance(Range(1, 40, log=True, whole=True).draw(rng), int) for _ in range(5))
    assert {Choice(("a", "b")).draw(rng) for _ in range(30)} == {"a", "b"}
    assert draw({"C": Range(2, 2)}, rng) == {"C": 2}
