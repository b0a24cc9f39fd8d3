"""Nets of continuous targets, with labels and without: loss, training, graph and answers."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning")
pytest.importorskip("onnxscript")
pytest.importorskip("yaml")

import torch

import emovox
from emovox.bundles import read_spec
from emovox.evaluation import metrics
from emovox.training.neural.batches import Batch, concordance_loss, mix_clips
from emovox.training.neural.curves import Epoch, find_score, read_curves, write_curves
from voices import EMOTIONS, toy_corpus

OPTIONS: dict[str, Any] = {"protocol": "speaker-kfold/4/0/1", "seed": 3, "mlflow": "off"}
NET = ["train.epochs=3", "train.batch_size=16", "train.tensorboard=false", "model.params.dropout=0.0"]


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Emotions, and a value that rises with the pitch of each; every seventh is missing."""
    root = tmp_path_factory.mktemp("values")
    manifest = toy_corpus(root)
    file = root / "values.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["file", "speaker", "emotion", "arousal"])
        for n, u in enumerate(manifest):
            value = "" if n % 7 == 3 else 10 + 5 * EMOTIONS.index(u.emotion)
            rows.writerow([u.path, u.speaker, u.emotion, value])
    return file


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOVOX_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def train(table: Path, output: Path, *settings: str, **options: Any) -> emovox.TrainingRun:
    return emovox.train(
        data=str(table), targets="arousal", settings=[*NET, *settings], output=output, **OPTIONS, **options
    )


def test_loss_equals_metric() -> None:
    rng = np.random.default_rng(0)
    true, predicted = rng.normal(size=(2, 40, 3)).astype(np.float32)
    expected = np.mean([1 - metrics.ccc(true[:, k], predicted[:, k]) for k in range(3)])
    loss = concordance_loss(torch.from_numpy(predicted), torch.from_numpy(true))
    assert float(loss) == pytest.approx(expected, abs=1e-4)


def test_missing_values_have_no_gradient() -> None:
    true = torch.tensor([[0.0, torch.nan], [1.0, torch.nan], [torch.nan, 2.0]])
    predicted = torch.zeros(3, 2, requires_grad=True)
    loss = concordance_loss(predicted, true)
    loss.backward()
    assert predicted.grad is not None
    assert torch.isfinite(predicted.grad).all()
    assert predicted.grad[2].abs().sum() == 0, "its first value is missing, its second the only one"
    assert predicted.grad[:2, 0].abs().sum() > 0


def test_nothing_known_costs_nothing() -> None:
    predicted = torch.ones(4, 1, requires_grad=True)
    loss = concordance_loss(predicted, torch.full((4, 1), torch.nan))
    loss.backward()
    assert float(loss.detach()) == 0
    assert predicted.grad is not None
    assert float(predicted.grad.abs().sum()) == 0


def test_mixup_blends_values() -> None:
    x, ones = torch.randn(2, 5), torch.ones(2)
    values = torch.tensor([[1.0, torch.nan], [3.0, 5.0]])
    batch = Batch(x, ones, torch.eye(2), torch.ones(2, 2, dtype=torch.bool), ones, values)
    mixed = mix_clips(batch, torch.tensor([0.75, 1.0]), torch.tensor([1, 0]))
    assert mixed.values is not None
    assert float(mixed.values[0, 0]) == 1.5
    assert bool(mixed.values[:, 1].isnan().all())


def test_curves_name_both_scores(tmp_path: Path) -> None:
    write_curves(tmp_path, [Epoch(1, 2, 1.0, 0.5, 0.4, 1e-3, 0.1), Epoch(2, 2, 1.0, 0.5, 0.3, 1e-3, 0.1)])
    assert "ccc" not in (tmp_path / "curves.csv").read_text()
    assert read_curves(tmp_path)["kept"] == 1
    write_curves(
        tmp_path, [Epoch(1, 2, 1.0, 0.5, 0.4, 1e-3, 0.1, 0.1), Epoch(2, 2, 1.0, 0.5, 0.3, 1e-3, 0.1, 0.5)]
    )
    assert read_curves(tmp_path)["kept"] == 2
    assert "UAR 30.0%, CCC 0.500" in Epoch(2, 2, 1.0, 0.5, 0.3, 1e-3, 0.1, 0.5).line()
    assert find_score(None, None) is None


def test_net_of_labels_and_values(table: Path, tmp_path: Path) -> None:
    run = train(table, tmp_path / "both", "train.epochs=20", model="gru", features="seed-lstm")
    spec = read_spec(run.bundle)
    assert (spec.schema, len(spec.labels), spec.target_names) == (2, 4, ("arousal",))
    assert [score.metric for score in spec.scores] == ["uar", "ccc arousal"]
    assert run.metrics["scores"]["uar"]["value"] > 0.4
    assert run.metrics["values"][0]["ccc"]["value"] > 0.4, "values in their unit, not standardised"
    clip = table.parent / "0-angry-0.wav"
    found = run.recognizer().predict(clip)
    assert found.values is not None
    assert 5 < found.values["arousal"] < 30
    assert sum(found.scores.values()) == pytest.approx(1)
    assert str(found).endswith(f"arousal {found.values['arousal']:.2f}")
    only = run.recognizer().predict(clip, labels="angry,sad")
    assert only.values == found.values
    header = (run.folder / "answers.csv").read_text().splitlines()[0]
    assert header.endswith("_prob,arousal_true,arousal_value")
    document = json.loads((run.folder / "evaluation.json").read_text())
    assert document["training"]["epochs"][0]["ccc"] is not None
    page = (run.folder / "evaluation.html").read_text()
    assert "Confusion" in page
    assert "validation CCC" in page
    # On data without the column, the labels alone are evaluated.
    plain = emovox.evaluate(run.folder, table.parent / "toy.csv")
    assert "values" not in plain.document


def test_net_of_values_alone(table: Path, tmp_path: Path) -> None:
    run = train(table, tmp_path / "alone", "model.kind=net", "train.mixup=0.2", labels="none", model="gru")
    spec = read_spec(run.bundle)
    assert (spec.labels, spec.target_names) == ((), ("arousal",))
    assert run.metrics["scores"] == {}
    assert run.metrics["validation_ccc"]["arousal"] is not None
    assert run.recognizer().predict(table.parent / "0-sad-0.wav").values is not None


def test_same_seed_same_model(table: Path, tmp_path: Path) -> None:
    runs = [train(table, tmp_path / name, labels="none", model="gru", features="seed-lstm") for name in "ab"]
    one, two = ((run.bundle / "model.onnx").read_bytes() for run in runs)
    assert one == two


def test_encoder_of_waveforms(table: Path, tmp_path: Path) -> None:
    """A net whose graph takes the waveform also returns both."""
    from emovox.nets.vox import Vox, VoxConfig
    from emovox.training.export import ValueScale, to_onnx

    net = Vox(VoxConfig(n_labels=3)).eval()
    sounds = [np.random.default_rng(n).normal(0, 0.1, 16_000 + 4000 * n).astype(np.float32) for n in range(3)]
    to_onnx(net, sounds, scale=ValueScale(2, np.array([30.0]), np.array([10.0])))
