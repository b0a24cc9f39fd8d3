"""The embedded models: size, labels, licence, invariants, and their answers on the examples."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soxr

import emovox
from emovox import audio
from emovox.audio.vad import HANG_S
from emovox.bundles.registry import find
from emovox.inference.recognizer import Recognizer
from emovox.inference.scorer import Scorer
from emovox.inference.windows import FRAME, AudioWindow
from emovox.labels import EMOTIONS
from emovox.results import Segment

EXAMPLES = Path(__file__).parents[1] / "tests" / "synthetic"
VOICES = sorted(EXAMPLES.glob("*.flac"))
MODELS = ("default", "fast", "permissive")
REAL = Path(__file__).parents[1] / "examples"


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest) -> Recognizer:
    return emovox.load(request.param)


def probabilities(model: Recognizer, x: np.ndarray, rate: int = audio.SAMPLE_RATE) -> np.ndarray:
    scores = model.predict(x, sample_rate=rate, vad="off").scores
    return np.array([scores[name] for name in model.labels])


def test_size_labels_and_licence() -> None:
    default, fast, permissive = (emovox.load(name).spec for name in MODELS)
    assert default.labels == fast.labels == EMOTIONS
    assert set(permissive.labels) == set(EMOTIONS) - {"calm"}  # neither of its corpora has calm
    assert (default.licence.commercial, permissive.licence.commercial) == (False, True)
    assert set(permissive.corpora) == {"emodb", "banglaser"}
    for name, most_mb in zip(MODELS, (18, 5, 18), strict=True):
        assert (find(name) / "model.onnx").stat().st_size <= most_mb * 1e6
    for spec in (default, fast, permissive):
        assert {score.metric for score in spec.scores} >= {"uar"}
        assert all(score.protocol for score in spec.scores)


def test_no_paths_inside() -> None:
    for name in MODELS:
        model = (find(name) / "model.onnx").read_bytes()
        assert b"/home/" not in model
        assert b"/work/" not in model
        assert b".py" not in model


@pytest.mark.parametrize("voice", VOICES, ids=lambda path: path.stem)
def test_file_equals_array(model: Recognizer, voice: Path) -> None:
    from_file = model.predict(voice, vad="off").scores
    assert list(from_file.values()) == pytest.approx(list(probabilities(model, audio.read(voice))), abs=1e-9)
    assert sum(from_file.values()) == pytest.approx(1)


def test_alone_equals_batch(model: Recognizer) -> None:
    sounds = [audio.read(voice) for voice in VOICES] + [audio.read(VOICES[0])[:4800]]
    together = model.logits(sounds)
    alone = np.concatenate([model.logits([x]) for x in sounds])
    assert np.abs(together - alone).max() < 1e-4


@pytest.mark.parametrize("gain_db", [-24, -12, 12])
def test_gain_changes_no_answer(model: Recognizer, gain_db: float) -> None:
    for voice in VOICES:
        x = audio.read(voice)
        x = 0.2 * x / np.abs(x).max()
        louder = probabilities(model, (x * 10 ** (gain_db / 20)).astype(np.float32))
        before = probabilities(model, x)
        # 8-bit activations are rounded anew at every level, hence not closer.
        assert np.abs(louder - before).max() < (2e-3 if model.name == "fast" else 0.03)
        assert before[louder.argmax()] > before.max() - 0.01  # but for labels that are equally likely


def test_48_khz_stereo_equals_16_khz_mono(model: Recognizer) -> None:
    """The sounds differ by two resamplers' filters near 8 kHz; scores may differ by 0.05, and only a label
    that leads by less than that may change."""
    for voice in VOICES:
        x = audio.read(voice)
        up = soxr.resample(x, 16_000, 48_000, quality="VHQ").astype(np.float32)
        stereo = probabilities(model, np.stack([up, up], axis=1), 48_000)
        mono = probabilities(model, x)
        assert np.abs(stereo - mono).max() < 0.05
        second, first = np.sort(mono)[-2:]
        assert stereo.argmax() == mono.argmax() or first - second < 0.05


def test_silence_around_speech(model: Recognizer) -> None:
    for voice in VOICES:
        x = audio.read(voice)
        quiet = np.zeros(8000, np.float32)
        plain, padded = (
            list(model.predict(y, sample_rate=audio.SAMPLE_RATE).scores.values())
            for y in (x, np.concatenate([quiet, x, quiet]))
        )
        assert plain == pytest.approx(padded, abs=0.15)  # cut to the speech, as for users


def test_silence_in_windows(model: Recognizer) -> None:
    """A window is cut to its speech where the model pools all frames: zeros in it change nothing."""
    if model.spec.speech is None:
        pytest.skip("fast takes whole windows")
    x = audio.read(VOICES[0])[:16_000]
    scorer = Scorer(model._bundle, detect_speech=False)
    flags = np.ones(16_000 // FRAME, np.bool_)
    short, long = (
        AudioWindow(0, len(sound), sound, 1.0, 0, flags, span)
        for sound, span in (
            (np.pad(x, 4800), (4800, 20_800)),
            (np.pad(x, (24_000, 8000)), (24_000, 40_000)),
        )
    )
    np.testing.assert_array_equal(scorer.score_window(short).scores, scorer.score_window(long).scores)


@pytest.mark.parametrize("seed", range(3))
def test_stream_equals_timeline(model: Recognizer, seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = np.concatenate([np.pad(audio.read(voice), (0, 20_000)) for voice in VOICES])
    expected = [s.to_dict() for s in model.timeline(x, sample_rate=16_000, adapt=model.can_adapt)]
    stream = model.stream(sample_rate=16_000, adapt=model.can_adapt)
    results, at = [], 0
    while at < len(x):
        n = int(rng.integers(1, 30_000))
        results += stream.push(x[at : at + n])
        at += n
    results += stream.flush()
    assert expected
    assert [each.to_dict() for each in results if isinstance(each, Segment)] == expected


def test_answers_differ(model: Recognizer) -> None:
    answers = {model.labels[probabilities(model, audio.read(voice)).argmax()] for voice in VOICES}
    assert len(answers) >= 2


def test_silence_around_real_speech() -> None:
    model = emovox.load()
    for clip in sorted(REAL.glob("*.opus")):
        x = audio.read(clip)
        padded = np.concatenate([np.zeros(96_000, np.float32), x, np.zeros(16_000, np.float32)])
        assert model.predict(padded, sample_rate=16_000).label == clip.stem


@pytest.mark.parametrize("clip", sorted(REAL.glob("*.opus")), ids=lambda path: path.stem)
def test_examples_are_named_after_their_label(clip: Path) -> None:
    for name in MODELS:
        assert emovox.load(name).predict(clip).label == clip.stem


@pytest.mark.parametrize("clip", sorted(REAL.glob("*.opus")), ids=lambda path: path.stem)
def test_silence_around_voice_has_no_emotion(clip: Path) -> None:
    x = audio.read(clip)
    power = np.square(x[: len(x) // FRAME * FRAME].reshape(-1, FRAME)).mean(axis=1)
    places = np.flatnonzero(power > power.max() / 10**3.5) * FRAME / audio.SAMPLE_RATE
    segments = list(emovox.load().timeline(clip))
    assert segments[0].start_s >= places[0] - 0.1
    assert segments[-1].end_s <= places[-1] + HANG_S + 0.1
    assert clip.stem in {segment.label for segment in segments}


def test_not_speech_has_no_label() -> None:
    model, rng, time_s = emovox.load(), np.random.default_rng(0), np.arange(48_000) / 16_000
    sounds = {
        "tone": 0.3 * np.sin(2 * np.pi * 440 * time_s),
        "hum": 0.2 * np.sign(np.sin(2 * np.pi * 50 * time_s)),
        "white noise": 0.1 * rng.standard_normal(48_000),
        "brown noise": np.cumsum(rng.standard_normal(48_000)) * 0.002,
        "chord": 0.1 * sum(np.sin(2 * np.pi * hz * time_s) for hz in (261.6, 329.6, 392.0)),
        "dither": np.round(rng.random(48_000) - rng.random(48_000)) / 32_768,
        "zeros": np.zeros(48_000),
    }
    for name, sound in sounds.items():
        for n in (48_000, 16_000):
            found = model.predict(sound[:n].astype(np.float32), sample_rate=16_000)
            assert (found.label, found.reason in ("no_speech", "silence")) == (None, True), name
