"""Comparisons: the choice is written before a test is answered, what is done is kept, runs are equal."""

from __future__ import annotations

import json
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")

from emovox.datasets.manifest import Manifest
from emovox.errors import ConfigError, EmovoxError
from emovox.evaluation import metrics
from emovox.features.extraction import FeatureTable, extract
from emovox.reports import comparison_html, comparison_markdown
from emovox.training import comparison
from emovox.training.bench import plan
from emovox.training.classical import ESTIMATORS
from emovox.training.comparison import Comparison, System, cells, comparison_document, compute, models_of, run
from emovox.training.config import ComparisonConfig, TuneConfig
from voices import toy_corpus

SMALL = ComparisonConfig(models=("knn", "lda"), features=("seed-180",))


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return toy_corpus(tmp_path_factory.mktemp("toy") / "toy", n_speakers=10)


@pytest.fixture(scope="module")
def rows(toy: Manifest) -> FeatureTable:
    return extract(toy, "seed-180")


def made(
    toy: Manifest, rows: FeatureTable, config: ComparisonConfig = SMALL, protocol: str = "speaker-kfold/3"
) -> Comparison:
    return Comparison(config, (plan(toy, protocol, corpus="toy"),), {"seed-180": rows})


class Watched:
    """Remembers which cells were fitted, and whether anything had been chosen by then."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
        self.done: list[tuple[str, str, str, bool]] = []
        work = cells._work

        def watched(cell: cells.Cell) -> cells.Answers:
            chosen = (home / "chosen.json").exists()
            self.done.append((cell.part, cell.split, cell.system.model, chosen))
            return work(cell)

        monkeypatch.setattr(cells, "_work", watched)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Watched:
    return Watched(monkeypatch, tmp_path)


def test_one_is_chosen_before_any_test_is_answered(
    toy: Manifest, rows: FeatureTable, tmp_path: Path, watched: Watched
) -> None:
    (one,) = compute(made(toy, rows), tmp_path)
    assert len(watched.done) == 12, "two systems, three folds, validation and test"
    assert all(chosen == (part == "test") for part, _, _, chosen in watched.done)
    (named,) = json.loads((tmp_path / "chosen.json").read_text())
    scores = named["validation_uar"]
    assert named["chosen"] == {"features": "seed-180", "model": one.chosen.model}
    assert scores[str(one.chosen)] == max(scores.values())


def test_what_is_done_is_kept_and_what_changed_is_not(
    toy: Manifest, rows: FeatureTable, tmp_path: Path, watched: Watched
) -> None:
    compute(made(toy, rows), tmp_path)
    watched.done.clear()
    compute(made(toy, rows), tmp_path)
    assert watched.done == []
    compute(made(toy, rows, replace(SMALL, params={"knn": {"n_neighbors": 3}})), tmp_path)
    assert {model for _, _, model, _ in watched.done} == {"knn"}
    watched.done.clear()
    values = rows.values.copy()
    values[0, 0] += 1
    compute(made(toy, FeatureTable(rows.ids, values, rows.columns, {}, rows.reference)), tmp_path)
    assert len(watched.done) == 12, "other numbers are other cells"


def test_other_defaults_are_other_cells(
    toy: Manifest, rows: FeatureTable, tmp_path: Path, watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    compute(made(toy, rows), tmp_path)
    watched.done.clear()
    knn = replace(ESTIMATORS["knn"], defaults={"n_neighbors": 3})
    monkeypatch.setitem(ESTIMATORS, "knn", knn)
    compute(made(toy, rows), tmp_path)
    assert {model for _, _, model, _ in watched.done} == {"knn"}, "nothing was typed otherwise"


def test_a_killed_comparison_goes_on(
    toy: Manifest, rows: FeatureTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = comparison_document(made(toy, rows), compute(made(toy, rows), tmp_path / "whole"))
    work, count = cells._work, iter(range(5))

    def until_killed(cell: cells.Cell) -> cells.Answers:
        if next(count, None) is None:
            raise KeyboardInterrupt
        return work(cell)

    with monkeypatch.context() as patched:
        patched.setattr(cells, "_work", until_killed)
        with pytest.raises(KeyboardInterrupt):
            compute(made(toy, rows), tmp_path / "killed")
    told: list[str] = []
    results = compute(made(toy, rows), tmp_path / "killed", tell=told.append)
    assert told[0] == "5 of 6 fits are there from before"
    assert comparison_document(made(toy, rows), results) == whole


def test_one_worker_is_two(toy: Manifest, rows: FeatureTable, tmp_path: Path) -> None:
    compared = made(toy, rows, protocol="speaker-kfold/3/0/1")
    one = compute(compared, tmp_path / "1")
    two = compute(compared, tmp_path / "2", workers=2)
    assert comparison_document(compared, one) == comparison_document(compared, two)


def test_a_worker_that_dies_is_told(
    toy: Manifest, rows: FeatureTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Pool:
        """Whatever is submitted, its process dies."""

        def __init__(self, *_: object, **__: object) -> None: ...

        def submit(self, *_: object) -> Future[object]:
            lost: Future[object] = Future()
            lost.set_exception(BrokenProcessPool("gone"))
            return lost

        def shutdown(self, **_: object) -> None: ...

    monkeypatch.setattr(cells, "ProcessPoolExecutor", Pool)
    with pytest.raises(EmovoxError, match="start the comparison again"):
        compute(made(toy, rows), tmp_path, workers=2)


def test_the_figures_are_those_of_the_answers(toy: Manifest, rows: FeatureTable, tmp_path: Path) -> None:
    compared = made(toy, rows)
    (one,) = compute(compared, tmp_path)
    document = comparison_document(compared, [one])["protocols"][0]
    answers = {key: given for a in one.test[one.chosen] for key, given in zip(a.ids, a.answers, strict=True)}
    assert set(answers) == set(toy.ids), "every clip is tested once"
    expected = metrics.uar([toy[key].emotion for key in answers], list(answers.values()))
    assert document["headline"]["uar"] == pytest.approx(expected, abs=1e-6)
    assert document["headline"]["low"] <= expected <= document["headline"]["high"]
    other = next(row for row in document["systems"] if row["model"] != one.chosen.model)
    assert other["against_chosen"]["value"] == pytest.approx(other["test"]["uar"] - expected, abs=2e-6)
    assert document["each_fold_its_own"]["n_clips"] == len(toy)
    page = comparison_html(comparison_document(compared, [one]))
    assert f"{one.chosen.model} on seed-180 (chosen)" in page
    assert "strict" in comparison_markdown(comparison_document(compared, [one]))


def test_the_test_part_learns_from_training_and_validation(
    toy: Manifest, rows: FeatureTable, tmp_path: Path
) -> None:
    asked: dict[str, tuple[int, ...]] = {}
    compared = made(toy, rows, replace(SMALL, models=("knn",)), "speaker-kfold/3/0/1")
    for part, refit in (("both", True), ("training", False)):
        run = comparison.run
        first = list(run._first(compared, tmp_path / part))
        (one,) = cells.worked(first, workers=1, tell=lambda line: None)
        again = replace(compared, config=replace(compared.config, refit=refit))
        (second,) = run._second(again, first, [one])
        asked[part] = second.training
    split = compared.plans[0].splits[0]
    assert len(asked["training"]) == len(split.train)
    assert {rows.ids[n] for n in asked["both"]} == {*split.train, *split.validation}


def test_a_canary_of_the_test_speakers_is_worth_nothing(
    toy: Manifest, rows: FeatureTable, tmp_path: Path
) -> None:
    """A column that is the label, for tested and validating speakers alone: who looks there finds it."""
    compared = made(
        toy,
        rows,
        replace(
            SMALL,
            models=("logistic-regression",),
            search=("logistic-regression",),
            tune=TuneConfig(draws=2, inner_folds=2),
            refit=False,
        ),
        "speaker-kfold/3/0/1",
    )
    split = compared.plans[0].splits[0]
    labels = np.array([sorted(toy.emotions).index(toy[key].emotion) for key in rows.ids], np.float32)
    noise = np.random.default_rng(0).permutation(labels)
    canary = np.where(np.isin(rows.ids, split.train), noise, labels)[:, None]
    columns = (*rows.columns, "canary")
    sung = FeatureTable(rows.ids, np.hstack([rows.values, canary]), columns, {}, rows.reference)
    (plain,) = compute(compared, tmp_path / "plain")
    (with_it,) = compute(replace(compared, tables={"seed-180": sung}), tmp_path / "sung")
    system = plain.chosen
    assert with_it.validation[system][0].config == plain.validation[system][0].config
    same = [
        a == b for a, b in zip(plain.test[system][0].answers, with_it.test[system][0].answers, strict=True)
    ]
    assert np.mean(same) > 0.9, "a column of noise in the training weighs next to nothing in the test"


def test_a_failed_clip_is_wrong_and_not_trained_on(toy: Manifest, rows: FeatureTable, tmp_path: Path) -> None:
    lost = toy.ids[0]
    values = rows.values.copy()
    values[rows.ids.index(lost)] = np.nan
    broken = FeatureTable(rows.ids, values, rows.columns, {lost: "it is noise"}, rows.reference)
    compared = made(toy, broken)
    (one,) = compute(compared, tmp_path)
    document = comparison_document(compared, [one])
    assert document["data"]["unread"] == {lost: "it is noise"}
    assert document["protocols"][0]["headline"]["n_clips"] == len(toy), "it is judged, as wrong"
    assert all(lost not in a.ids for answers in one.test.values() for a in answers)


def test_a_system_that_cannot_be_fitted_is_a_row(toy: Manifest, rows: FeatureTable, tmp_path: Path) -> None:
    names = {"stacking": {"estimators": ["knn", "lda"]}}
    config = replace(SMALL, models=("knn", "stacking"), params=names)
    few = toy.where(speaker=tuple(toy.speakers[:4]))
    compared = Comparison(config, (plan(few, "speaker-kfold/2", corpus="toy"),), {"seed-180": rows})
    (one,) = compute(compared, tmp_path)
    document = comparison_document(compared, [one])["protocols"][0]
    failed = [row["model"] for row in document["systems"] if row["error"]]
    assert failed == ["stacking"], "one training speaker cannot be parted"
    assert one.chosen == System("seed-180", "knn")
    assert "stacking on seed-180" in comparison_markdown(comparison_document(compared, [one]))


def test_names_of_models() -> None:
    every = models_of(["all"])
    assert {"svc", "knn", "lda"} <= set(every)
    assert "stacking" not in every
    assert models_of(["lda", "lda", "svc"]) == ("lda", "svc")
    with pytest.raises(ConfigError, match="did you mean 'adaboost'"):
        models_of(["adabost"])


def test_slow_boosters_get_few_columns(toy: Manifest, rows: FeatureTable, tmp_path: Path) -> None:
    wide = FeatureTable(
        rows.ids, np.tile(rows.values, 4), tuple(f"{n}" for n in range(720)), {}, rows.reference
    )
    compared: Any = made(toy, wide, replace(SMALL, models=("adaboost", "knn")))
    limits = {c.system.model: c.config.select for c in comparison.run._first(compared, tmp_path)}
    assert limits["knn"] is None
    assert limits["adaboost"].count == 512


def test_balanced_weights_reach_those_that_can_weigh(
    toy: Manifest, rows: FeatureTable, tmp_path: Path
) -> None:
    made_of = [run._classical(ComparisonConfig(class_weight="balanced"), name, 10) for name in ("svc", "lda")]
    assert [one.class_weight for one in made_of] == ["balanced", None]
