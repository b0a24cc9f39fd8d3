"""Recordings of recipes/default_streams.py: where clips are, their states as the net averages them."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

import default_streams as recipe
import torch
from default_sounds import Clip

from emovox.audio import SAMPLE_RATE
from emovox.nets.adaptive import AdaptiveConfig, AdaptiveNet
from emovox.nets.adaptive_stream import FRAME, StreamingNet
from emovox.nets.whisper import WhisperConfig, WhisperEncoder

CLIPS = [Clip(f"made/{n}", "", "made", f"made-{n % 2}", "happy") for n in range(45)]


class Session:
    """The pooler's graph, run by torch."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        encoder = WhisperEncoder(WhisperConfig(n_layers=2, size=64, max_frames=600, level="mel"))
        encoder.positions.normal_()
        self.net = AdaptiveNet(encoder, AdaptiveConfig(3, layers=(0, 1, 2))).eval()
        self.stream = StreamingNet(self.net)

    def get_inputs(self):
        return [
            SimpleNamespace(shape=["b", "n"]),
            None,
            SimpleNamespace(shape=["b", "p", self.stream.n_columns]),
        ]

    def get_outputs(self):
        return [SimpleNamespace(shape=["b", 3, 2, 64])]

    @torch.inference_mode()
    def run(self, _, inputs):
        names = ("waveform", "lengths", "memory", "span")
        return [value.numpy() for value in self.stream.pool(*(torch.from_numpy(inputs[n]) for n in names))]


def make_clip(clip: Clip, name: str) -> np.ndarray:
    number = int(clip.id.split("/")[1])
    return np.full(SAMPLE_RATE // 2 + 999 * number, 1 + number, np.float32)


@pytest.fixture(autouse=True)
def made_sounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipe.sounds, "make_sound", make_clip)
    monkeypatch.setattr(recipe.sounds, "cut_clip", lambda x: x)


def test_frames_of_clips() -> None:
    own = CLIPS[::2]
    recordings = list(recipe.make_recordings(own))
    assert len(recordings) == len(recipe.list_recordings(CLIPS)["made-0"]) == 2
    assert sorted(clip.id for _, placed in recordings for clip, _, _ in placed) == sorted(c.id for c in own)
    for sound, placed in recordings:
        assert len(sound) % SAMPLE_RATE == 0
        for clip, start, stop in placed:
            number = int(clip.id.split("/")[1])
            assert (sound[start * FRAME : stop * FRAME] == 1 + number).all()
            assert (stop - start + 2) * FRAME >= len(make_clip(clip, "clean"))


def test_first_block_equals_clip() -> None:
    session = Session()
    sound = (0.1 * np.random.default_rng(0).standard_normal(3 * SAMPLE_RATE)).astype(np.float32)
    states, level = recipe.encode_recording(session, sound)
    assert states.shape == (3, 150, 64)
    with torch.inference_mode():
        expected = session.net.pool(torch.from_numpy(sound[None, :SAMPLE_RATE]), torch.tensor([SAMPLE_RATE]))
    np.testing.assert_allclose(recipe.pool(states[:, :50], level[:50]), expected[0], atol=1e-4)


def test_recordings_are_cached_once(tmp_path: Path) -> None:
    session = Session()
    recipe.cache_recordings(session, CLIPS[:5], tmp_path)
    files = {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()}
    assert {file.name for file in files} == {"made-0-00.npz", "made-1-00.npz"}
    recipe.cache_recordings(session, CLIPS[:5], tmp_path)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.iterdir()} == files
    found = np.load(tmp_path / "made-0-00.npz")
    assert sorted(found["ids"]) == ["made/0", "made/2", "made/4"]
    assert found["pooled"].shape == (3, 3, 2, 64)
