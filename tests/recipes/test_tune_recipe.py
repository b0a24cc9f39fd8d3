"""recipes/default_tune.py on made sound: alpha 0 is the frozen encoder, training resumes, checkpoints."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning")
sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

import default_tune as recipe
import torch
from default_heads import Rows

import speech
from emovox.labels import EMOTIONS
from emovox.nets.adaptive import AdaptiveConfig, AdaptiveNet
from emovox.nets.whisper import WhisperConfig, WhisperEncoder, load_encoder

FIRST = 2


def make_net(layers) -> AdaptiveNet:
    torch.manual_seed(0)
    encoder = WhisperEncoder(WhisperConfig(n_layers=4, size=64, max_frames=600, level="mel"))
    torch.nn.init.normal_(encoder.positions)
    encoder.layers = encoder.layers[: max(layers)]
    return AdaptiveNet(encoder, AdaptiveConfig(len(EMOTIONS), tuple(layers))).eval()


@pytest.fixture
def clips() -> list[np.ndarray]:
    sounds = [
        speech.voice(length_s, pitch_hz=100 + 20 * n) for n, length_s in enumerate((0.4, 0.7, 1.1, 0.5))
    ]
    return sounds * 4


@pytest.fixture
def frames(clips) -> recipe.Frames:
    net, lower = recipe.TunedNet(make_net(recipe.LAYERS), FIRST), make_net((FIRST,))
    frames = [recipe.encode_clip(x, lower, "cpu") for x in clips]
    labels = np.arange(len(clips)) % 4
    names = np.array([f"clip-{n}" for n in range(len(clips))])
    rows = Rows(
        recipe.pool_frames(net, frames, "cpu"), names, labels, names, np.array(["emodb"] * len(clips))
    )
    return recipe.Frames(rows, frames)


@pytest.fixture
def options(tmp_path, monkeypatch) -> argparse.Namespace:
    monkeypatch.setattr(recipe, "make_net", lambda checkpoint, layers, n_labels: make_net(layers))
    return argparse.Namespace(
        checkpoint=None, first=FIRST, device="cpu", precision="float32", epochs=2, rate=1e-3, crop=20
    )


def test_frames_pool_as_the_frozen_net(clips, frames) -> None:
    net = make_net(recipe.LAYERS)
    for x, pooled in zip(clips[:4], frames.rows.pooled, strict=False):
        with torch.inference_mode():
            expected = net.pool(torch.from_numpy(x)[None], torch.tensor([len(x)]))[0]
        np.testing.assert_allclose(pooled, expected, atol=1e-5)


def test_alpha_scales_what_training_adds(frames, options, tmp_path) -> None:
    net = recipe.tune(frames, frames, options, tmp_path)
    found = {}
    for alpha in (0, 0.5, 1):
        net.scale_additions(alpha)
        found[alpha] = frames.pool(net, options).pooled
    np.testing.assert_allclose(found[0], frames.rows.pooled, atol=1e-5)
    lowest, others = np.split(np.abs(found[1] - found[0]).max((0, 2, 3)), [1])
    assert lowest == 0, "the last frozen layer"
    assert others.min() > 1e-3, "the tuned layers"
    assert np.abs(found[0.5] - found[1]).max() > 1e-3
    net.scale_additions(0.5)
    recipe.save_encoder(net.merge_additions(), tmp_path / "encoder")
    merged = load_encoder(tmp_path / "encoder", level="mel")
    plain = recipe.TunedNet(AdaptiveNet(merged, AdaptiveConfig(len(EMOTIONS))), FIRST)
    np.testing.assert_allclose(frames.pool(plain, options).pooled, found[0.5], atol=1e-5)


def test_stopped_training_resumes(frames, options, tmp_path, monkeypatch) -> None:
    whole = recipe.tune(frames, frames, options, tmp_path / "whole")
    fit = recipe.fit_net
    monkeypatch.setattr(
        recipe, "fit_net", lambda *args, **kwargs: fit(*args, **kwargs, should_stop=lambda epoch: True)
    )
    recipe.tune(frames, frames, options, tmp_path / "stopped")
    monkeypatch.setattr(recipe, "fit_net", fit)
    resumed = recipe.tune(frames, frames, options, tmp_path / "stopped")
    for (name, expected), value in zip(
        whole.state_dict().items(), resumed.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(value, expected, rtol=0, atol=1e-6, msg=name)
