"""``emovox train`` with a net: a config becomes a bundle that predicts; what is wrong is refused first."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("lightning")
pytest.importorskip("onnxscript")

import emovox
from emovox.cli import main

NET = ["model.kind=net", "model.name=mlp", "model.params.layers=[8]", "features.set=seed-lstm"]
SHORT = ["train.epochs=2", "train.tensorboard=false", "train.batch_size=4"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Low and high tones, called sad and angry, in parts of their own."""
    root, rng = tmp_path_factory.mktemp("tree"), np.random.default_rng(0)
    for part in ("train", "test"):
        for emotion, hz in (("sad", 150), ("angry", 900)):
            (root / part / emotion).mkdir(parents=True)
            for n in range(4):
                t = np.arange(9600 + 800 * n) / 16000
                x = 0.4 * np.sin(2 * np.pi * hz * t) + 0.02 * rng.standard_normal(len(t))
                with wave.open(str(root / part / emotion / f"{part}{n}.wav"), "wb") as file:
                    file.setparams((1, 2, 16000, 0, "NONE", ""))
                    file.writeframes((x * 32767).astype("<i2").tobytes())
    return root


def test_a_config_of_a_net_becomes_a_bundle(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    command = ["train", *NET, *SHORT, "--data", str(tree), "-o", str(run), "--store", str(tmp_path / "s")]
    assert main([*command, "--mlflow", "off"]) == 0
    told = capsys.readouterr().err
    assert "epoch 2/2, loss" in told
    assert "test: accuracy" in told
    found = emovox.load(run).predict(next((tree / "test/angry").glob("*.wav")))
    assert set(found.scores) == {"sad", "angry"}
    assert main([*command, "--resume"]) == 2, "it is complete"
    assert "no run that was stopped" in capsys.readouterr().err
    assert not [path for path in run.rglob("*") if path.suffix in (".pkl", ".joblib", ".pt")]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("model.name=lstn", "did you mean 'lstm'"),
        ("model.params.layres=[3]", "did you mean 'layers'"),
        ("train.epcohs=3", "did you mean 'train.epochs'"),
        ("train.epochs=0", "train.epochs is 0; expected 1"),
        ("model.name=vox", "takes the waveform"),
    ],
)
def test_a_bad_config_is_refused(
    change: str, told: str, tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", *NET, change, "--data", str(tree), "-o", str(tmp_path / "x")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
