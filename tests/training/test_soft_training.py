"""Soft labels in training and scores: shares as weights of clips, and as targets of nets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")
pytest.importorskip("yaml")

import emovox
from emovox.datasets.soft_labels import set_shares
from emovox.errors import ConfigError
from emovox.evaluation import metrics
from emovox.training.classical import ClassicalConfig, fit
from voices import EMOTIONS, toy_corpus

OPTIONS: dict[str, Any] = {"protocol": "speaker-kfold/4/0/1", "seed": 3, "mlflow": "off"}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The toy corpus, as raters hear it who take a quarter of each emotion for the next one."""
    from dataclasses import replace

    root = tmp_path_factory.mktemp("soft")
    manifest = toy_corpus(root)
    soft = []
    for u in manifest:
        following = EMOTIONS[(EMOTIONS.index(u.emotion) + 1) % 4]
        soft.append(set_shares(u, {u.emotion: 0.75, following: 0.25}))
    replace(manifest, utterances=tuple(soft)).write_csv(root / "soft.csv")
    return str(root / "soft.csv")


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOVOX_CACHE", str(tmp_path_factory.getbasetemp() / "cache"))


def test_weights_equal_repeated_clips() -> None:
    """Shares of a quarter and three quarters are one clip and three clips."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)).astype(np.float32)
    # Balanced repeats, so that the scaler sees the same mean in both.
    y, z = ["angry", "sad"] * 20, ["sad", "angry"] * 20
    speakers = [f"s{n}" for n in range(40)]
    config = ClassicalConfig(model="logistic-regression", params={"C": 1.0}, scaler="none")
    weighted = fit(np.concatenate([x, x]), [*y, *z], speakers * 2, config, weights=[3.0] * 40 + [1.0] * 40)
    repeated = fit(np.concatenate([x] * 4), [*y * 3, *z], speakers * 4, config)
    assert np.allclose(weighted.predict_proba(x), repeated.predict_proba(x), atol=1e-3)


def test_models_without_weights_are_refused(data: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="soft labels are trained on as weights of clips"):
        emovox.train(data=data, model="knn", features="seed-180", output=tmp_path / "r", **OPTIONS)
    with pytest.raises(ConfigError, match="resample"):
        emovox.train(
            data=data,
            model="logistic-regression",
            features="seed-180",
            settings={"model.resample": "over"},
            output=tmp_path / "r2",
            **OPTIONS,
        )


@pytest.mark.parametrize("model", ["logistic-regression", "svc", "random-forest"])
def test_estimators_learn_the_shares(data: str, tmp_path: Path, model: str) -> None:
    lines: list[str] = []
    params = {"model.params.n_estimators": 50} if model == "random-forest" else {}
    run = emovox.train(
        data=data,
        model=model,
        features="seed-180",
        settings=params,
        output=tmp_path / "soft",
        notify=lines.append,
        **OPTIONS,
    )
    plain = str(Path(data).with_name("toy.csv"))
    hard = emovox.train(
        data=plain, model=model, features="seed-180", settings=params, output=tmp_path / "hard", **OPTIONS
    )
    assert any("training clips have soft labels" in line for line in lines)
    soft = run.metrics["scores"]["soft"]
    assert soft["n_soft"] == soft["n_clips"] == 16
    assert soft["entropy"] == pytest.approx(0.5623, abs=1e-4)
    assert soft["cross_entropy"] >= soft["entropy"]
    assert "soft" not in hard.metrics["scores"]
    document = emovox.evaluate(hard.folder, data, OPTIONS["protocol"]).document
    assert document["scores"]["soft"]["n_soft"] == 16, (
        "the same clips, of a model that was not trained on shares"
    )
    assert document["scores"]["soft"]["jensen_shannon"] != soft["jensen_shannon"]
    # The second road: from the table of answers.
    page = (run.folder / "evaluation.md").read_text()
    assert "Jensen-Shannon divergence" in page
    probabilities = run.evaluation.predictions.probabilities
    shares = np.zeros_like(probabilities)
    labels = run.evaluation.predictions.labels
    for row, true in zip(shares, run.evaluation.predictions.y_true, strict=True):
        row[labels.index(true)] = 0.75
        row[labels.index(EMOTIONS[(EMOTIONS.index(true) + 1) % 4])] = 0.25
    assert soft["cross_entropy"] == pytest.approx(metrics.soft_cross_entropy(shares, probabilities), abs=1e-5)


def test_temperature_fits_the_shares() -> None:
    """Logits that are too sure of shares of a half are softened, though the likeliest label is right."""
    from emovox.training.calibration import calibrated

    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    logits = 6.0 * np.eye(2)[labels]
    shares = 0.6 * np.eye(2)[labels] + 0.4 * np.eye(2)[1 - labels]
    found = calibrated(logits, labels, shares=shares)
    assert found.temperature == pytest.approx(6 / np.log(0.6 / 0.4), rel=0.02)
    assert calibrated(logits, labels).temperature < found.temperature


def test_net_learns_the_shares(data: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("lightning")
    settings = [
        "train.epochs=12",
        "train.batch_size=16",
        "train.tensorboard=false",
        "train.label_smoothing=0",
    ]
    runs = [
        emovox.train(
            data=file, model="gru", features="seed-lstm", settings=settings, output=tmp_path / name, **OPTIONS
        )
        for name, file in (("soft", data), ("hard", str(Path(data).with_name("toy.csv"))))
    ]
    one, two = ((run.bundle / "model.onnx").read_bytes() for run in runs)
    assert one != two, "the shares change the weights"
    soft = json.loads((runs[0].folder / "metrics.json").read_text())["scores"]["soft"]
    assert soft["cross_entropy"] < np.log(4), "better than equal shares"


def test_soft_target_of_a_batch() -> None:
    pytest.importorskip("torch")
    import torch

    from emovox.training.neural.batches import soft_targets

    shares, mask = torch.tensor([[0.6, 0.4, 0.0]]), torch.ones(1, 3, dtype=torch.bool)
    labels = torch.tensor([0])
    assert torch.equal(soft_targets(labels, mask, 0.0, shares), shares)
    smoothed = soft_targets(labels, mask, 0.3, shares)
    assert torch.allclose(smoothed, 0.7 * shares + 0.1)
