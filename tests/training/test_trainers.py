"""Trainers: fit on a split, calibrate, export; the bundle predicts what the model predicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")

from emovox.bundles import write_bundle
from emovox.datasets.manifest import Manifest
from emovox.datasets.splits import Split
from emovox.errors import ConfigError
from emovox.evaluation.leakage import find_hashed_clips
from emovox.evaluation.predictions import predict_manifest
from emovox.features import find_feature_set
from emovox.inference.recognizer import load as load_model
from emovox.training.bundle_spec import find_licence
from emovox.training.classical import fit
from emovox.training.config import (
    AugmentConfig,
    ClassicalModel,
    Config,
    FeatureConfig,
    SelectionConfig,
    TuneConfig,
)
from emovox.training.inputs import SplitInputs
from emovox.training.trainers import EstimatorTrainer, ExportedModel, make_config
from voices import toy_corpus


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return toy_corpus(tmp_path_factory.mktemp("toy") / "toy")


def config(**model: Any) -> Config:
    return Config(
        name="toy",
        features=FeatureConfig(set="seed-180"),
        model=ClassicalModel(**({"name": "logistic-regression", "params": {"C": 0.1}} | model)),
    )


@pytest.fixture(scope="module")
def inputs(toy: Manifest, tmp_path_factory: pytest.TempPathFactory) -> SplitInputs:
    from emovox.datasets.split_plan import make_split

    split = make_split(toy, "speaker-kfold/4/0/1").splits[0]
    return EstimatorTrainer(config()).load(toy, split, store=tmp_path_factory.mktemp("store"))


def export(config: Config, inputs: SplitInputs) -> ExportedModel:
    trainer = EstimatorTrainer(config)
    return trainer.export(trainer.fit(inputs), inputs)


def with_split(inputs: SplitInputs, **parts: tuple[str, ...]) -> SplitInputs:
    return replace(inputs, split=replace(inputs.split, **parts))


def test_bundle_predicts_what_the_model_predicts(toy: Manifest, inputs: SplitInputs, tmp_path: Path) -> None:
    exported = export(config(), inputs)
    split = inputs.split
    write_bundle(tmp_path / "bundle", exported.model, exported.spec)
    predictions = predict_manifest(load_model(tmp_path), toy.select(split.test))  # found in a run's folder
    rows = inputs.rows(split.train)
    fitted = fit(rows.x, rows.y, rows.speakers, EstimatorTrainer(config()).classical_config)
    logits = np.log(fitted.predict_proba(inputs.rows(predictions.ids).x)) / exported.spec.temperature
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert predictions.labels == fitted.classes
    np.testing.assert_allclose(predictions.probabilities, expected, atol=2e-5)
    assert predictions.uar().value > 0.6, "the toy is learnable"
    assert exported.spec.protocol == f"{split.name}#{split.digest}"


def test_selected_columns_are_named(inputs: SplitInputs) -> None:
    exported = export(config(select=SelectionConfig(method="anova", count=12)), inputs)
    assert exported.selected is not None
    assert len(exported.selected) == 12
    assert set(exported.selected) < set(inputs.columns)


def test_test_clips_change_nothing(inputs: SplitInputs) -> None:
    wild = dict.fromkeys(inputs.split.test, np.full(180, 1e6, np.float32))
    other = replace(inputs, values={**inputs.values, **wild})
    one, two = (export(config(), some) for some in (inputs, other))
    assert one.model == two.model
    assert one.spec == two.spec


def test_spec_holds_hashes_of_the_training_clips(toy: Manifest, inputs: SplitInputs) -> None:
    split = inputs.split
    spec = export(config(), inputs).spec
    assert {*find_hashed_clips(spec.taught, toy)} == {*split.train, *split.validation}
    lost = split.train[0]
    values = {key: row for key, row in inputs.values.items() if key != lost}
    spec = export(config(), replace(inputs, values=values, errors={lost: "it is no sound"})).spec
    assert {*find_hashed_clips(spec.taught, toy)} == {*split.train[1:], *split.validation}


def test_search_uses_the_training_part_alone(inputs: SplitInputs) -> None:
    blind = {key: row for key, row in inputs.values.items() if key in inputs.split.train}
    wanted = replace(config(params={}), tune=TuneConfig(draws=3, inner_folds=2))
    found = EstimatorTrainer(wanted).search(inputs)
    again = EstimatorTrainer(wanted).search(replace(inputs, values=blind))
    assert found.best == again.best, "without the other parts, and a second time, it finds the same"
    assert len(found.trials) == 3


def test_search_uses_augmented_clips(inputs: SplitInputs) -> None:
    wanted = replace(
        config(),
        augment=AugmentConfig(copies=1, steps=({"kind": "noise", "snr_db": 0},)),
        tune=TuneConfig(draws=3),
    )
    noise = np.random.default_rng(0)
    loud = {
        key: inputs.values[key] + noise.normal(0, 300, 180).astype(np.float32) for key in inputs.split.train
    }

    def scores(augmented: tuple[Mapping[str, Any], ...]) -> Any:
        return EstimatorTrainer(wanted).search(replace(inputs, augmented=augmented)).trials[0].scores

    assert scores((loud,)) != scores(())
    assert scores(({},)) == scores(()), "augmented clips that failed change nothing"


def test_augmented_clips_are_those_of_the_training(
    toy: Manifest, inputs: SplitInputs, tmp_path: Path
) -> None:
    augment = AugmentConfig(copies=2, steps=({"kind": "noise", "snr_db": 10},))
    loaded = EstimatorTrainer(replace(config(), augment=augment)).load(toy, inputs.split, store=tmp_path)
    assert [set(clips) for clips in loaded.augmented] == [{*inputs.split.train}] * 2
    assert set(loaded.values) == set(toy.ids), "augmented clips are no clips of the split"
    x, of = loaded.augmented_rows(inputs.split.train)
    n = len(inputs.split.train)
    assert of.tolist() == [*range(n), *range(n)]
    np.testing.assert_array_equal(x[n], loaded.augmented[1][inputs.split.train[0]])


def test_calibration_uses_the_validation_part(inputs: SplitInputs) -> None:
    rest = sorted({*inputs.split.train, *inputs.split.validation})
    some = with_split(inputs, train=tuple(rest[:16]), validation=tuple(rest[16:]))
    exported = export(config(), some)
    certain = export(replace(config(), coverage=1.0), some).spec
    assert 0.25 < exported.spec.abstain.confidence < 1
    assert certain.abstain.confidence == 0
    assert certain.temperature == exported.spec.temperature != 1
    few = export(config(), with_split(some, validation=some.split.validation[:5]))
    assert (few.spec.temperature, few.spec.abstain.confidence) == (1, 0)
    assert "5 validation clips" in few.notes[-1]


def test_coverage_is_a_share() -> None:
    with pytest.raises(ConfigError, match=r"coverage is 1\.5; expected a share"):
        replace(config(), coverage=1.5)


def test_no_training_clip_could_be_read(inputs: SplitInputs) -> None:
    held: Split = inputs.split
    values = {key: row for key, row in inputs.values.items() if key not in held.train}
    with pytest.raises(ConfigError, match="training clips could be read"):
        export(config(), replace(inputs, values=values))


def test_frames_are_refused_for_estimators() -> None:
    with pytest.raises(ConfigError, match="gives frames"):
        EstimatorTrainer(replace(config(), features=FeatureConfig(set="seed-lstm"))).check()


def test_model_name_selects_estimator_or_net(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from emovox.training.config import NetModel

    def model(name: str | None, *words: str, file: Path | None = None) -> ClassicalModel | NetModel:
        return make_config(file, list(words), model=name).model

    file = tmp_path / "svm.yaml"
    file.write_text("model: {name: svc, params: {C: 10}}\n", encoding="utf-8")
    assert model("crnn", file=file) == NetModel(name="crnn"), "C is nothing to a net"
    assert model("crnn", "model.params.channels=[4]", file=file).params == {"channels": [4]}
    assert model("svc", file=file) == ClassicalModel(name="svc", params={"C": 10})
    assert model("mlp") == ClassicalModel(name="mlp"), "both tables have one"
    assert model("mlp", "model.kind=net") == NetModel(name="mlp")
    with pytest.raises(ConfigError, match="did you mean 'lstm'"):
        model("ltsm")


@pytest.mark.parametrize(
    ("corpora", "commercial", "terms"),
    [
        (("banglaser",), True, "banglaser (CC BY 4.0)"),
        (("banglaser", "ravdess"), False, "ravdess (CC BY-NC-SA 4.0)"),
        (("mine",), False, "mine (not stated)"),
    ],
)
def test_licence_combines_the_corpora(corpora: tuple[str, ...], commercial: bool, terms: str) -> None:
    licence = find_licence(corpora, find_feature_set("emovox-core"))
    assert licence.commercial is commercial
    assert terms in licence.weights


def test_licence_names_the_features() -> None:
    features = replace(find_feature_set("emovox-core"), licence="openSMILE's own")
    licence = find_licence(("banglaser",), features)
    assert (licence.commercial, licence.weights) == (
        False,
        "as its corpora: banglaser (CC BY 4.0); features: openSMILE's own",
    )
