"""``emovox train`` with a net: a config becomes a bundle that predicts; what is wrong is refused first."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lightning")
pytest.importorskip("onnxscript")

import emovox
from emovox.cli import main
from emovox.training.config import read_config
from voices import tones

NET = ["model.kind=net", "model.name=mlp", "model.params.layers=[8]", "features.set=seed-lstm"]
SHORT = ["train.epochs=2", "train.tensorboard=false", "train.batch_size=4"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tones(tmp_path_factory.mktemp("tree"))


def test_a_config_of_a_net_becomes_a_bundle(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    command = ["train", *NET, *SHORT, "--data", str(tree), "-o", str(run), "--store", str(tmp_path / "s")]
    assert main([*command, "--mlflow", "off"]) == 0
    told = capsys.readouterr().err
    assert "epoch 2/2, loss" in told
    assert "test: accuracy" in told
    assert "loss" in told.partition("test: accuracy")[2]
    page = (run / "evaluation.html").read_text()
    assert ">Training<" in page
    curves = json.loads((run / "evaluation.json").read_text())["training"]
    assert [row["number"] for row in curves["epochs"]] == [1, 2]
    assert f"the weights of epoch {curves['kept']} are kept" in page
    model = emovox.load(run)
    assert set(model.predict(next((tree / "test/angry").glob("*.wav"))).scores) == {"sad", "angry"}
    assert len(model.spec.taught) == 8 * len([*(tree / "train").rglob("*.wav")]), "it remembers its clips"
    assert main([*command, "--resume"]) == 2, "it is complete"
    assert "no run that was stopped" in capsys.readouterr().err
    assert not [path for path in run.rglob("*") if path.suffix in (".pkl", ".joblib", ".pt")]


def test_a_search_of_settings_goes_on_and_its_best_is_a_config(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("optuna")
    run = tmp_path / "tuned"
    command = ["tune", *NET, *SHORT, "--data", str(tree), "--protocol", "random", "--mlflow", "off"]
    command += ["--store", str(tmp_path / "s"), "--method", "optuna", "--draws", "2", "-o", str(run)]
    space = ["tune.space.dropout=[0.1, 0.2]", "tune.space.train.learning_rate={low: 0.001, high: 0.01}"]
    assert main([*command, *space]) == 0
    assert "trial 1: UAR" in capsys.readouterr().err
    first = json.loads((run / "trials.json").read_text())
    assert [len(trial["epochs"]) for trial in first] == [2, 2]
    (run / "metrics.json").unlink()  # as if it had been killed before the end
    assert main([*command, *space]) == 0
    assert "resuming" in capsys.readouterr().err
    assert json.loads((run / "trials.json").read_text()) == first
    best = read_config(run / "best.yaml")
    assert best.model.name == "mlp"
    assert best.model.params["layers"] == [8]
    assert main([*command, "tune.space.dropuot=[1]", "-o", str(tmp_path / "x")]) == 2
    assert "did you mean 'dropout'" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("model.name=lstn", "did you mean 'lstm'"),
        ("model.params.layres=[3]", "did you mean 'layers'"),
        ("train.epcohs=3", "did you mean 'train.epochs'"),
        ("train.epochs=0", "train.epochs is 0; expected 1"),
        ("model.name=vox", "no setting 'layers'"),
    ],
)
def test_a_bad_config_is_refused(
    change: str, told: str, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *NET, change, "--data", str(tree), "-o", str(tmp_path / "x")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_clip_sets_hold_augmented_training_clips(tree: Path, tmp_path: Path) -> None:
    from emovox.datasets.loading import Dataset
    from emovox.datasets.split_plan import make_split
    from emovox.training.trainers import NetTrainer, make_clip_sets

    steps = ["augment.copies=2", "augment.steps=[{kind: noise, snr_db: 10}]"]
    config = read_config(None, [*NET, *steps, f"data=[{tree}]"])
    manifest = Dataset.load(config.data).manifest
    split = make_split(manifest, config.protocol).splits[0]
    inputs = NetTrainer(config).load(manifest, split, store=tmp_path)
    labels, training, validation = make_clip_sets(inputs)
    assert (len(training), len(training.variants)) == (len(split.train), 3)
    assert validation is not None
    assert len(validation.variants) == 1
    assert set(inputs.values) == set(manifest.ids), "augmented clips are no clips of the split"
    for original, *augmented in zip(*training.variants, strict=True):
        assert all(np.abs(clip - original).max() > 1e-3 for clip in augmented)
        assert np.abs(augmented[0] - augmented[1]).max() > 1e-3
    assert labels == ("sad", "angry")
