"""The encoder of recipes/default_chunks.py: clips as the net pools them, blocks that see nothing later."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

import default_chunks as recipe
import torch

from emovox.audio import SAMPLE_RATE
from emovox.nets.adaptive import AdaptiveConfig, AdaptiveNet
from emovox.nets.whisper import WhisperConfig, WhisperEncoder


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    encoder = WhisperEncoder(WhisperConfig(n_layers=2, size=64, max_frames=600, level="mel"))
    encoder.positions.normal_()
    return AdaptiveNet(encoder, AdaptiveConfig(3, layers=(1, 2))).eval()


@pytest.fixture
def sound():
    return (0.1 * np.random.default_rng(0).standard_normal(4 * SAMPLE_RATE)).astype(np.float32)


@torch.inference_mode()
def test_clip_alone_equals_net(net, sound) -> None:
    states, mel = (encoder := recipe.ChunkEncoder(net)).encode(sound, "alone")
    expected = net.pool(torch.from_numpy(sound)[None], torch.tensor([len(sound)]))[0]
    np.testing.assert_allclose(encoder.pool(states, mel, 0, states.shape[1]), expected, atol=1e-4)


@torch.inference_mode()
@pytest.mark.parametrize("way", ["blocks", "around"])
def test_blocks_do_not_see_later_sound(net, sound, way) -> None:
    encoder = recipe.ChunkEncoder(net)
    sound[0] = 0.9  # the loudest value is in the first block, so the gain is the same
    other = sound.copy()
    other[2 * SAMPLE_RATE + 800 :] *= 0.5
    first, second = (encoder.encode(x, way)[0] for x in (sound, other))
    torch.testing.assert_close(first[:, :100], second[:, :100])
    assert not torch.allclose(first[:, 110:], second[:, 110:])


@torch.inference_mode()
def test_positions_start_anew_after_three_seconds(net, sound) -> None:
    encoder = recipe.ChunkEncoder(net)
    growing, around = (encoder.encode(sound, way)[0] for way in ("blocks", "around"))
    torch.testing.assert_close(growing[:, :150], around[:, :150])
    assert not torch.allclose(growing[:, 150:], around[:, 150:])
