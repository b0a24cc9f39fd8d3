"""From a config to a bundle: labels and their losses, the split, and answers that are the model's own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")

from emovox.bundles import registry, write_bundle
from emovox.datasets import Dataset
from emovox.datasets.manifest import Manifest
from emovox.datasets.splits import default_protocol
from emovox.errors import ConfigError, LabelError, ProtocolError
from emovox.evaluation import leakage
from emovox.evaluation.predictions import predict_manifest
from emovox.features import find_feature_set
from emovox.features.extraction import FeatureTable, extract
from emovox.training import experiment
from emovox.training.classical import fit
from emovox.training.config import (
    AugmentConfig,
    ClassicalModel,
    Config,
    FeatureConfig,
    SelectionConfig,
    TuneConfig,
)
from emovox.training.experiment_search import searched
from voices import EMOTIONS, toy_corpus, toy_tree


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return toy_corpus(tmp_path_factory.mktemp("toy") / "toy")


@pytest.fixture(scope="module")
def rows(toy: Manifest) -> FeatureTable:
    return extract(toy, "seed-180")


def config(**model: Any) -> Config:
    return Config(
        name="toy",
        features=FeatureConfig(set="seed-180"),
        model=ClassicalModel(**({"name": "logistic-regression", "params": {"C": 0.1}} | model)),
    )


def test_the_bundle_answers_what_the_model_answers(toy: Manifest, rows: FeatureTable, tmp_path: Path) -> None:
    split = experiment.planned(toy, "speaker-kfold/4/0/1").splits[0]
    made = experiment.train(config(), toy, split, rows)
    write_bundle(tmp_path / "bundle", made.model, made.spec)
    answers = predict_manifest(registry.load(tmp_path), toy.select(split.test))  # a run holds it
    training = experiment.rows_of(rows, toy, split.train)
    fitted = fit(training.x, training.y, training.speakers, experiment.classical_config(config().model, 0))
    tested = experiment.rows_of(rows, toy, answers.ids)
    logits = np.log(fitted.predict_proba(tested.x)) / made.spec.temperature
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert answers.labels == fitted.classes
    np.testing.assert_allclose(answers.probabilities, expected, atol=2e-5)
    assert answers.uar().value > 0.6, "the toy is learnable"
    assert made.spec.protocol == f"{split.name}#{split.digest}"


def test_selected_columns_are_named(toy: Manifest, rows: FeatureTable) -> None:
    split = experiment.planned(toy, "speaker-kfold/4/0/1").splits[0]
    chosen = config(select=SelectionConfig(method="anova", count=12))
    made = experiment.train(chosen, toy, split, rows)
    assert made.selected is not None
    assert len(made.selected) == 12
    assert set(made.selected) < set(rows.columns)


def test_test_clips_change_nothing_in_the_model(toy: Manifest, rows: FeatureTable) -> None:
    split = experiment.planned(toy, "speaker-kfold/4/0/1").splits[0]
    poisoned = rows.values.copy()
    for key in split.test:
        poisoned[rows.ids.index(key)] = 1e6
    other = FeatureTable(rows.ids, poisoned, rows.columns, {}, rows.reference)
    one, two = (experiment.train(config(), toy, split, some) for some in (rows, other))
    assert one.model == two.model
    assert one.spec == two.spec


def test_the_bundle_remembers_the_clips_that_taught_it(toy: Manifest, rows: FeatureTable) -> None:
    split = experiment.planned(toy, "speaker-kfold/4/0/1").splits[0]
    spec = experiment.train(config(), toy, split, rows).spec
    assert {*leakage.find_hashed_clips(spec.taught, toy)} == {*split.train, *split.validation}
    lost = replace(rows, errors={split.train[0]: "it is no sound"})
    spec = experiment.train(config(), toy, split, lost).spec
    assert {*leakage.find_hashed_clips(spec.taught, toy)} == {*split.train[1:], *split.validation}, (
        "it taught nothing"
    )


def test_the_search_sees_the_training_alone_and_is_saved_as_a_config(
    toy: Manifest, rows: FeatureTable
) -> None:
    split = experiment.planned(toy, "speaker-kfold/4/0/1").splits[0]
    kept = {*split.train}
    values = np.where(np.isin(rows.ids, list(kept))[:, None], rows.values, np.nan)
    blind = FeatureTable(rows.ids, values.astype(np.float32), rows.columns, {}, rows.reference)
    wanted = Config(
        features=FeatureConfig(set="seed-180"),
        model=ClassicalModel(name="logistic-regression"),
        tune=TuneConfig(draws=3, inner_folds=2),
    )
    found = searched(wanted, toy, split, rows)
    again = searched(wanted, toy, split, blind)
    assert found.best == again.best, "without the other parts, and a second time, it finds the same"
    assert len(found.trials) == 3


def test_the_search_learns_from_copies_of_what_each_inner_fold_trains_on(
    toy: Manifest, rows: FeatureTable
) -> None:
    split = experiment.planned(toy, "speaker-kfold/4/0/1").splits[0]
    wanted = replace(
        config(),
        augment=AugmentConfig(copies=1, steps=({"kind": "noise", "snr_db": 0},)),
        tune=TuneConfig(draws=3),
    )
    augmentation = wanted.augmentation()
    assert augmentation is not None
    copies = extract(augmentation.clips(toy.select(split.train)), "seed-180")
    values = copies.values + np.random.default_rng(0).normal(0, 300, copies.values.shape).astype(np.float32)
    loud = FeatureTable(copies.ids, values, copies.columns, {}, copies.reference)
    plain, heard = (searched(wanted, toy, split, rows, some) for some in (None, loud))
    assert heard.trials[0].scores != plain.trials[0].scores
    unread = FeatureTable(
        copies.ids, values, copies.columns, dict.fromkeys(copies.ids, "gone"), copies.reference
    )
    assert searched(wanted, toy, split, rows, unread).trials[0].scores == plain.trials[0].scores


# --- labels ---------------------------------------------------------------------------------------


def test_labels_common_to_all_corpora_and_what_is_lost(tmp_path: Path) -> None:
    toy_corpus(tmp_path / "a", n_speakers=2, n_takes=1, name="a")
    other = toy_corpus(tmp_path / "b", n_speakers=2, n_takes=1, name="b")
    other.where(emotion=("happy", "sad")).write_csv(tmp_path / "b" / "b.csv")
    data = [str(tmp_path / "a" / "a.csv"), str(tmp_path / "b" / "b.csv")]
    problem = Dataset.load(data, labels="common")
    assert problem.manifest.emotions == ("happy", "sad")
    assert "a: dropped: neutral (2 clips)" in problem.notes
    assert problem.dropped == {"angry": 2, "neutral": 2}
    assert Dataset.load(data).manifest.emotions == tuple(sorted(EMOTIONS))
    assert Dataset.load(data, labels="angry, sad").manifest.emotions == ("angry", "sad")
    with pytest.raises(LabelError, match="at least two"):
        Dataset.load(data, labels="angry")
    with pytest.raises(LabelError, match="did you mean 'angry'"):
        Dataset.load(data, labels="angr,sad")


def test_no_data_are_an_error() -> None:
    with pytest.raises(ConfigError, match="--data"):
        Dataset.load([])


# --- splits ---------------------------------------------------------------------------------------


def test_the_usual_protocol(toy: Manifest, tmp_path: Path) -> None:
    assert default_protocol(toy) == "speaker-kfold/5/0/1"
    tree = Dataset.load([str(toy_tree(tmp_path / "mine"))]).manifest
    assert default_protocol(tree) == "given"
    alone = toy.where(speaker="toy-1")
    assert default_protocol(alone) == "random"
    assert experiment.planned(alone, None).stamp == "speaker-dependent"


def test_several_splits_are_refused_with_the_name_of_one(toy: Manifest) -> None:
    with pytest.raises(ProtocolError, match="speaker-kfold/5/0/1"):
        experiment.planned(toy, "speaker-kfold")


def test_emotions_to_tell_apart_are_asked_for_before_the_work(toy: Manifest) -> None:
    with pytest.raises(ConfigError, match="express sad; expected at least two"):
        experiment.planned(toy.where(emotion="sad"), None)


# --- what the bundle says of itself ---------------------------------------------------------------


def test_validation_clips_say_how_sure_the_model_may_be(toy: Manifest, rows: FeatureTable) -> None:
    every = experiment.planned(toy, "speaker-kfold/4/0/1").splits[0]
    rest = sorted({*every.train, *every.validation})
    held = tuple(rest[16:])
    split = replace(every, train=tuple(rest[:16]), validation=held)
    made = experiment.train(config(), toy, split, rows)
    answers = experiment.train(replace(config(), coverage=1.0), toy, split, rows).spec
    assert 0.25 < made.spec.abstain.confidence < 1
    assert answers.abstain.confidence == 0
    assert answers.temperature == made.spec.temperature != 1
    few = experiment.train(config(), toy, replace(split, validation=held[:5]), rows)
    assert (few.spec.temperature, few.spec.abstain.confidence) == (1, 0)
    assert "5 validation clips do not say how sure" in few.notes[-1]


def test_a_coverage_is_a_share() -> None:
    with pytest.raises(ConfigError, match=r"coverage is 1\.5; expected a share"):
        replace(config(), coverage=1.5)


@pytest.mark.parametrize(
    ("corpora", "commercial", "told"),
    [
        (("banglaser",), True, "banglaser (CC BY 4.0)"),
        (("banglaser", "ravdess"), False, "ravdess (CC BY-NC-SA 4.0)"),
        (("mine",), False, "mine (not stated)"),
    ],
)
def test_weights_are_bound_by_what_taught_them(corpora: tuple[str, ...], commercial: bool, told: str) -> None:
    licence = experiment.licence_of(corpora, find_feature_set("emovox-core"))
    assert licence.commercial is commercial
    assert told in licence.weights


def test_opensmile_binds_the_weights_too() -> None:
    features = replace(find_feature_set("emovox-core"), licence="openSMILE's own")
    licence = experiment.licence_of(("banglaser",), features)
    assert (licence.commercial, licence.weights) == (
        False,
        "as its corpora: banglaser (CC BY 4.0); features: openSMILE's own",
    )
