"""The models inside the package keep the promises that are made of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soxr

import emovox
from emovox import audio
from emovox.bundles.registry import find
from emovox.inference.recognizer import Recognizer
from emovox.labels import EMOTIONS

EXAMPLES = Path(__file__).parents[1] / "tests" / "synthetic"
VOICES = sorted(EXAMPLES.glob("*.flac"))
MODELS = ("default", "permissive")


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> Recognizer:
    return emovox.load(request.param)


def probabilities(model: Recognizer, x: np.ndarray, rate: int = audio.SAMPLE_RATE) -> np.ndarray:
    scores = model.predict(x, sample_rate=rate, vad="off").scores
    return np.array([scores[name] for name in model.labels])


def test_they_are_small_and_say_what_they_are() -> None:
    default, permissive = (emovox.load(name).spec for name in MODELS)
    assert default.labels == EMOTIONS
    assert set(permissive.labels) == set(EMOTIONS) - {"calm"}  # neither of its corpora has calm
    assert (default.licence.commercial, permissive.licence.commercial) == (False, True)
    assert set(permissive.corpora) == {"emodb", "banglaser"}
    for name in MODELS:
        assert (find(name) / "model.onnx").stat().st_size <= 5e6
    for spec in (default, permissive):
        assert {score.metric for score in spec.scores} >= {"uar", "ece", "coverage"}
        assert all(score.protocol for score in spec.scores)


def test_no_path_of_a_machine_is_inside() -> None:
    for name in MODELS:
        model = (find(name) / "model.onnx").read_bytes()
        assert b"/home/" not in model
        assert b".py" not in model


@pytest.mark.parametrize("voice", VOICES, ids=lambda path: path.stem)
def test_a_file_is_its_samples(model: Recognizer, voice: Path) -> None:
    from_file = model.predict(voice, vad="off").scores
    assert list(from_file.values()) == pytest.approx(list(probabilities(model, audio.read(voice))), abs=1e-9)
    assert sum(from_file.values()) == pytest.approx(1)


def test_alone_is_as_inside_a_batch(model: Recognizer) -> None:
    sounds = [audio.read(voice) for voice in VOICES] + [audio.read(VOICES[0])[:4800]]
    together = model.logits(sounds)
    alone = np.concatenate([model.logits([x]) for x in sounds])
    assert np.abs(together - alone).max() < 1e-4


@pytest.mark.parametrize("gain_db", [-24, -12, 12])
def test_a_gain_changes_no_answer(model: Recognizer, gain_db: float) -> None:
    for voice in VOICES:
        x = audio.read(voice)
        x = 0.2 * x / np.abs(x).max()
        louder = probabilities(model, (x * 10 ** (gain_db / 20)).astype(np.float32))
        assert np.abs(louder - probabilities(model, x)).max() < 2e-3


def test_48_khz_stereo_is_as_16_khz_mono(model: Recognizer) -> None:
    """The sounds differ by two resamplers' filters near 8 kHz; scores may differ by 0.03, answers may not."""
    for voice in VOICES:
        x = audio.read(voice)
        up = soxr.resample(x, 16_000, 48_000, quality="VHQ").astype(np.float32)
        stereo = probabilities(model, np.stack([up, up], axis=1), 48_000)
        mono = probabilities(model, x)
        assert np.abs(stereo - mono).max() < 0.03
        assert stereo.argmax() == mono.argmax()


def test_what_surrounds_a_voice_with_silence_hardly_matters(model: Recognizer) -> None:
    for voice in VOICES:
        x = audio.read(voice)
        quiet = np.zeros(8000, np.float32)
        padded = probabilities(model, np.concatenate([quiet, x, quiet]))
        assert np.abs(padded - probabilities(model, x)).max() < 0.1


def test_voices_do_not_all_get_one_answer(model: Recognizer) -> None:
    answers = {model.labels[probabilities(model, audio.read(voice)).argmax()] for voice in VOICES}
    assert len(answers) >= 2
