"""Predictions of uploads, without a server."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

import emovox
from emovox import audio
from emovox.audio.vad import SpeechDetector
from emovox.bundles import Bundle
from emovox.inference.options import PredictOptions
from emovox.server.answers import predict_upload
from emovox.server.uploads import Upload

VOICE = Path(__file__).parents[1] / "synthetic" / "neutral.flac"


@pytest.mark.parametrize("name", ["default", "fast"])
def test_upload_is_processed_once(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One decoder, every sample once through the detector, one input of the graph, one run."""
    model = emovox.load(name)
    sound = VOICE.read_bytes()
    calls: dict[str, list[int]] = {"blocks": [], "push": [], "compute_input": [], "run": []}
    blocks, push = audio.blocks, SpeechDetector.push
    compute_input, run = Bundle.compute_input, Bundle.run

    def count_blocks(*args, **kwargs):
        calls["blocks"].append(1)
        return blocks(*args, **kwargs)

    def count_push(self, x):
        calls["push"].append(len(x))
        return push(self, x)

    def count_input(self, x):
        calls["compute_input"].append(len(x))
        return compute_input(self, x)

    def count_run(self, items, adaptation=None):
        calls["run"].append(len(items))
        return run(self, items, adaptation)

    monkeypatch.setattr(audio, "blocks", count_blocks)
    monkeypatch.setattr(SpeechDetector, "push", count_push)
    monkeypatch.setattr(Bundle, "compute_input", count_input)
    monkeypatch.setattr(Bundle, "run", count_run)
    (prediction,) = predict_upload(model, Upload("a.flac", io.BytesIO(sound)), PredictOptions())
    assert prediction.file == "a.flac"
    assert calls["blocks"] == [1]
    assert sum(calls["push"]) == round(prediction.duration_s * audio.SAMPLE_RATE)
    assert len(calls["compute_input"]) == 1
    assert calls["run"] == [1]


def test_upload_equals_array() -> None:
    model = emovox.load()
    (uploaded,) = predict_upload(model, Upload("a.flac", io.BytesIO(VOICE.read_bytes())), PredictOptions())
    alone = model.predict(audio.read(VOICE), sample_rate=audio.SAMPLE_RATE)
    np.testing.assert_allclose(list(uploaded.scores.values()), list(alone.scores.values()), atol=1e-5)
