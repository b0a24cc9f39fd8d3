"""Adaptation of the embedding, the speech output and the embedding itself, with a tiny bundle."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import soundfile

import emovox
from conftest import EMBEDDING_SIZE, LABELS, tiny_adaptive_onnx, tiny_onnx, tiny_spec
from emovox.bundles import Bundle, EmbeddingAdaptation, SpeechOutput, load_bundle, read_spec, write_bundle
from emovox.cli import main
from emovox.errors import AudioValueError, BundleCorruptError, ConfigError, ProfileError
from emovox.inference.embedding import make_embedding_set
from emovox.inference.options import PredictOptions
from emovox.inference.recognizer import Recognizer
from emovox.results import Adaptation, Window
from speech import pause, talk, voice

RATE = 16_000
CLIPS = [voice(1.5, pitch_hz=pitch_hz) for pitch_hz in (100, 130, 170, 220)]


@pytest.fixture(scope="module")
def model(adaptive_bundle: Path) -> Recognizer:
    return Recognizer(load_bundle(adaptive_bundle))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with four clips of one source."""
    (tmp_path / "clips").mkdir()
    for number, clip in enumerate(CLIPS):
        soundfile.write(tmp_path / "clips" / f"{number}.wav", clip, RATE, subtype="FLOAT")
    return tmp_path / "clips"


def tone(seconds: float = 2.0, hz: float = 440.0) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * hz * t)).astype(np.float32)


def padded_clip(clip: np.ndarray) -> np.ndarray:
    return np.concatenate([pause(1.0), clip, pause(1.2)])


def embeddings(model: Recognizer, clips: list[np.ndarray]) -> np.ndarray:
    return np.stack([model.embed(clip, sample_rate=RATE) for clip in clips])


def predict_by_hand(model: Recognizer, clip: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """The probabilities of a clip with an offset, by the definition of the graph."""
    head = next(values for name, values in _initializers(tiny_adaptive_onnx()).items() if name == "head")
    return model.probabilities((model.embed(clip, sample_rate=RATE) - offset) @ head)


def _initializers(data: bytes) -> dict[str, np.ndarray]:
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(data).graph
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}


# --- profiles -------------------------------------------------------------------------------------


@pytest.mark.parametrize("emotion", [None, "neutral"])
@pytest.mark.parametrize("n_clips", [1, 3])
def test_offset_is_shrunken_mean(model: Recognizer, n_clips: int, emotion: str | None) -> None:
    adaptation = model.spec.adaptation
    assert adaptation is not None
    population = adaptation.mean if emotion is None else adaptation.neutral_mean
    profile = model.enroll(CLIPS[:n_clips], sample_rate=RATE, emotion=emotion)
    assert (profile.n_clips, profile.emotion) == (n_clips, emotion)
    weight = (n_clips - (emotion is None)) / (n_clips + 5)
    offset = weight * (embeddings(model, CLIPS[:n_clips]).mean(0) - np.array(population))
    found = model.predict(CLIPS[3], sample_rate=RATE, profile=profile)
    expected = predict_by_hand(model, CLIPS[3], offset)
    np.testing.assert_allclose(list(found.scores.values()), expected, atol=1e-4)
    assert found.adaptation == Adaptation(n_clips, weight, emotion)
    named = {} if emotion is None else {"emotion": emotion}
    assert found.to_dict()["adaptation"] == {"n_clips": n_clips, "weight": round(weight, 4), **named}
    assert Adaptation.from_dict(found.adaptation.to_dict()).emotion == emotion


def test_raw_without_clips(model: Recognizer) -> None:
    raw = model.predict(CLIPS[0], sample_rate=RATE)
    np.testing.assert_allclose(
        list(raw.scores.values()), predict_by_hand(model, CLIPS[0], np.zeros(EMBEDDING_SIZE)), atol=1e-4
    )
    profile = model.enroll(CLIPS, sample_rate=RATE)
    nothing = replace(
        profile, n_clips=0, seconds=0.0, counts=(0,) * EMBEDDING_SIZE, mean=(None,) * EMBEDDING_SIZE,
        variance=(None,) * EMBEDDING_SIZE,
    )  # fmt: skip
    assert model.predict(CLIPS[0], sample_rate=RATE, profile=nothing) == raw
    assert raw.adaptation is None
    assert "adaptation" not in raw.to_dict()


def test_profile_file_round_trip(model: Recognizer, tmp_path: Path) -> None:
    profile = model.enroll(CLIPS, sample_rate=RATE, emotion="neutral")
    profile.save(tmp_path / "me.json")
    assert emovox.Profile.load(tmp_path / "me.json") == profile
    values = json.loads((tmp_path / "me.json").read_text())
    assert values["features"]["set"] == "embedding"
    assert len(values["mean"]) == EMBEDDING_SIZE
    assert "emotion" not in json.loads(model.enroll(CLIPS, sample_rate=RATE).to_json())


def test_profiles_merge_as_one_enrolment(model: Recognizer) -> None:
    whole = model.enroll(CLIPS, sample_rate=RATE)
    parts = model.enroll(CLIPS[:1], sample_rate=RATE).merge(model.enroll(CLIPS[1:], sample_rate=RATE))
    np.testing.assert_allclose(np.array(parts.mean, float), np.array(whole.mean, float), rtol=1e-12)
    with pytest.raises(ProfileError, match="neutral"):
        whole.merge(model.enroll(CLIPS, sample_rate=RATE, emotion="neutral"))


def test_profile_of_another_model_is_refused(model: Recognizer, tmp_path: Path) -> None:
    spec = replace(model.spec, sha256="", created="")
    write_bundle(tmp_path / "other", tiny_adaptive_onnx(seed=1), spec)
    other = Recognizer(load_bundle(tmp_path / "other")).enroll(CLIPS, sample_rate=RATE)
    with pytest.raises(ProfileError, match="enroll again with this model"):
        model.predict(CLIPS[0], sample_rate=RATE, profile=other)
    plain = Recognizer(Bundle(tiny_spec(), tiny_onnx()))
    with pytest.raises(ProfileError, match="cannot use a voice profile"):
        plain.predict(CLIPS[0], sample_rate=RATE, profile=other)
    with pytest.raises(ConfigError, match="'neutral' or None"):
        model.enroll(CLIPS, sample_rate=RATE, emotion="happy")


def test_neutral_needs_a_neutral_mean(model: Recognizer) -> None:
    assert model.spec.adaptation is not None
    spec = replace(model.spec, adaptation=replace(model.spec.adaptation, neutral_mean=None))
    unaware = Recognizer(Bundle(spec, tiny_adaptive_onnx()))
    with pytest.raises(ProfileError, match="no neutral speech"):
        unaware.enroll(CLIPS, sample_rate=RATE, emotion="neutral")
    neutral = model.enroll(CLIPS, sample_rate=RATE, emotion="neutral")
    with pytest.raises(ProfileError, match="no neutral speech"):
        unaware.predict(CLIPS[0], sample_rate=RATE, profile=neutral)


# --- invariants -----------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [999, 16_000, 10**6])
def test_adapting_stream_equals_timeline(model: Recognizer, chunk: int) -> None:
    x = talk()
    profile = model.enroll(CLIPS[:2], sample_rate=RATE, emotion="neutral")
    expected = list(model.timeline(x, sample_rate=RATE, adapt=True, profile=profile))
    assert expected
    stream = model.stream(sample_rate=RATE, adapt=True, profile=profile)
    found = [each for at in range(0, len(x), chunk) for each in stream.push(x[at : at + chunk])]
    found += stream.flush()
    assert [each for each in found if not isinstance(each, Window)] == expected
    weights = [each.adaptation.n_clips for each in expected if each.adaptation is not None]
    assert weights == sorted(weights)
    assert weights[0] >= 2
    assert expected != list(model.timeline(x, sample_rate=RATE, profile=profile))


def test_first_window_is_not_adapted(model: Recognizer) -> None:
    x = talk()
    raw = [each for each in model.stream(sample_rate=RATE).push(x) if isinstance(each, Window)]
    own = [each for each in model.stream(sample_rate=RATE, adapt=True).push(x) if isinstance(each, Window)]
    scored = [number for number, window in enumerate(raw) if window.scores]
    assert own[scored[0]] == raw[scored[0]]
    assert own[scored[-1]].scores != raw[scored[-1]].scores


def test_channels_adapt_alone(model: Recognizer) -> None:
    left, right = talk(), talk()[::-1].copy()
    both = list(model.timeline(np.stack([left, right], 1), sample_rate=RATE, channels="each", adapt=True))
    for channel, x in enumerate((left, right)):
        alone = list(model.timeline(x, sample_rate=RATE, adapt=True))
        assert [replace(s, channel=None) for s in both if s.channel == channel] == alone


def test_file_equals_array(model: Recognizer, folder: Path) -> None:
    profile = model.enroll(CLIPS, sample_rate=RATE)
    assert model.enroll(sorted(folder.iterdir())) == profile
    found = model.predict(folder / "2.wav", profile=profile)
    assert replace(found, file=None) == model.predict(CLIPS[2], sample_rate=RATE, profile=profile)
    np.testing.assert_array_equal(model.embed(folder / "2.wav"), model.embed(CLIPS[2], sample_rate=RATE))


@pytest.mark.parametrize("gain_db", [-12, 12])
def test_gain_changes_nothing(model: Recognizer, gain_db: float) -> None:
    profile = model.enroll(CLIPS, sample_rate=RATE)
    gain = np.float32(10 ** (gain_db / 20))
    noise = 0.02 * np.random.default_rng(0).standard_normal(len(CLIPS[0])).astype(np.float32)
    for clip in CLIPS:
        quiet = 0.2 * (clip + noise)  # without any noise some bands would be empty
        expected = model.predict(quiet, sample_rate=RATE, profile=profile)
        found = model.predict(gain * quiet, sample_rate=RATE, profile=profile)
        assert found.label == expected.label
        np.testing.assert_allclose(list(found.scores.values()), list(expected.scores.values()), atol=5e-3)


def test_many_equals_one(model: Recognizer, folder: Path) -> None:
    profile = model.enroll(CLIPS, sample_rate=RATE)
    files = sorted(folder.iterdir())
    expected = [model.predict(file, profile=profile) for file in files]
    assert list(model.predict_many(files, profile=profile)) == expected
    assert list(model.predict_many(files, workers=2, profile=profile)) == expected


# --- speech ---------------------------------------------------------------------------------------


def test_tone_is_not_speech(model: Recognizer) -> None:
    found = model.predict(tone(), sample_rate=RATE)
    assert (found.label, found.reason) == (None, "no_speech")
    assert set(found.scores) == set(LABELS)
    assert model.predict(CLIPS[0], sample_rate=RATE).label is not None
    assert model.predict(tone(), sample_rate=RATE, vad="off").label is not None
    long = model.predict(tone(20.0), sample_rate=RATE)
    assert (long.label, long.reason, long.scores) == (None, "no_speech", {})
    with pytest.raises(ProfileError, match="no_speech"):
        model.enroll([tone()], sample_rate=RATE)


def test_tone_has_no_segments(model: Recognizer) -> None:
    assert list(model.timeline(tone(12.0), sample_rate=RATE)) == []
    x = np.concatenate([tone(9.0), pause(1.0), np.tile(voice(3.0), 3), pause(1.0), tone(9.0)])
    segments = list(model.timeline(x, sample_rate=RATE))
    assert segments
    assert min(segment.start_s for segment in segments) > 7.5
    assert max(segment.end_s for segment in segments) < 22.0


def test_silence_around_speech_has_no_emotion(model: Recognizer) -> None:
    x = np.concatenate([np.zeros(4 * RATE, np.float32), voice(3.0), np.zeros(4 * RATE, np.float32)])
    segments = list(model.timeline(x, sample_rate=RATE))
    assert segments
    assert segments[0].start_s > 3.5
    assert segments[-1].end_s < 7.6


def test_neutral_profile_warns_and_is_named(
    adaptive_bundle: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    profile = tmp_path / "me.json"
    argv = [
        "enroll",
        str(folder),
        "--model",
        str(adaptive_bundle),
        "-o",
        str(profile),
        "--emotion",
        "neutral",
    ]
    assert main(argv) == 0
    assert "neutral speech alone makes answers worse" in capsys.readouterr().err
    argv = ["predict", str(folder / "0.wav"), "--model", str(adaptive_bundle), "--profile", str(profile)]
    assert main([*argv, "--format", "json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)[0]["adaptation"]["emotion"] == "neutral"
    assert "a profile of neutral clips alone makes answers worse" in printed.err


# --- embeddings -----------------------------------------------------------------------------------


def test_embedding_of_long_recording_is_mean(model: Recognizer) -> None:
    x = np.concatenate([voice(3.0, pitch_hz=110), voice(3.0, pitch_hz=200), voice(3.0, pitch_hz=140)])
    parts = [x[at : at + 3 * RATE] for at in range(0, len(x), 3 * RATE)]
    # The detector would cut clips and windows in other places.
    found, *rows = (model.embed(sound, sample_rate=RATE, vad="off") for sound in (x, *parts))
    np.testing.assert_allclose(found, np.mean(rows, axis=0), atol=1e-5)
    assert model.embed(x[:RATE], sample_rate=RATE).dtype == np.float32
    with pytest.raises(AudioValueError, match=r"the model takes 0.5 s"):
        model.embed(x[:100], sample_rate=RATE)
    with pytest.raises(ConfigError, match="has no embedding"):
        Recognizer(Bundle(tiny_spec(), tiny_onnx())).embed(x, sample_rate=RATE)


@pytest.mark.parametrize("vad", ["on", "off"])
def test_embedding_and_prediction_get_the_same_sound(model: Recognizer, vad: Literal["on", "off"]) -> None:
    """Silence around a clip is cut from both, and is in both without the detector."""
    for padded in (padded_clip(CLIPS[0]), np.concatenate([pause(4.0), voice(9.0), pause(3.0)])):
        scores = model.predict(padded, sample_rate=RATE, vad=vad).scores
        embedding, logits = model.embed_with_logits(padded, sample_rate=RATE, vad=vad)
        np.testing.assert_array_equal(embedding, model.embed(padded, sample_rate=RATE, vad=vad))
        if len(padded) <= model.spec.clip_s * RATE:
            np.testing.assert_allclose(list(scores.values()), model.probabilities(logits), rtol=1e-6)
    cut, whole = (model.embed(padded_clip(CLIPS[0]), sample_rate=RATE, vad=v) for v in ("on", "off"))
    assert np.abs(cut - whole).max() > 1e-3


def test_long_recording_without_speech_has_no_embedding(model: Recognizer) -> None:
    with pytest.raises(AudioValueError, match="the recording lasts 20 s and no speech was found in it"):
        model.embed(tone(20.0), sample_rate=RATE)


def test_embedding_is_a_feature_set(adaptive_bundle: Path, folder: Path, tmp_path: Path) -> None:
    found = make_embedding_set(f"embedding:{adaptive_bundle}")
    assert found.columns == tuple(f"e{n}" for n in range(EMBEDDING_SIZE))
    again = pickle.loads(pickle.dumps(found))
    assert again.digest == found.digest
    np.testing.assert_array_equal(again(CLIPS[0], RATE), emovox.load(adaptive_bundle).embed(folder / "0.wav"))
    table = tmp_path / "e.csv"
    argv = ["features", str(folder), "--set", f"embedding:{adaptive_bundle}", "-o", str(table), "--no-store"]
    assert main(argv) == 0
    assert len(table.read_text().splitlines()) == 1 + len(CLIPS)


# --- the bundle -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"adaptation": EmbeddingAdaptation(mean=(0.0,))},
            "adapts 1 columns, its graph takes",
        ),
        ({"speech": SpeechOutput(threshold=0.5)}, "no output speech"),
    ],
)
def test_spec_and_graph_must_agree(changes: dict[str, Any], message: str) -> None:
    graph = tiny_adaptive_onnx() if "adaptation" in changes else tiny_onnx()
    with pytest.raises(BundleCorruptError, match=message):
        Bundle(tiny_spec(**changes), graph)


def test_older_specs_have_no_new_keys(adaptive_bundle: Path, tiny_bundle: Path) -> None:
    assert not {"adaptation", "speech"} & set(json.loads((tiny_bundle / "spec.json").read_text()))
    spec = read_spec(adaptive_bundle)
    assert spec.speech == SpeechOutput(threshold=0.5)
    assert spec.adaptation is not None
    assert spec.adaptation.shrinkage == 5.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EmbeddingAdaptation(mean=()), "mean: it is empty"),
        (lambda: EmbeddingAdaptation(mean=(0.0,), neutral_mean=(0.0, 1.0)), "neutral_mean: 2 values"),
        (lambda: EmbeddingAdaptation(mean=(0.0,), shrinkage=0.0), "shrinkage: 0"),
        (lambda: SpeechOutput(threshold=2.0), "threshold: 2"),
    ],
)
def test_impossible_spec_values(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


# --- commands -------------------------------------------------------------------------------------


def rows_of(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_folder_adapts_in_two_passes(
    adaptive_bundle: Path, model: Recognizer, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(folder / "9.wav", tone(), RATE)  # is predicted, and teaches nothing
    argv = ["predict", str(folder), "--model", str(adaptive_bundle), "--adapt", "-f", "jsonl"]
    assert main(argv) == 0
    rows = rows_of(capsys)
    profile = model.enroll(sorted(folder.glob("[0-3].wav")))
    expected = [model.predict(file, profile=profile) for file in sorted(folder.iterdir())]
    for row, one in zip(rows, expected, strict=True):
        assert row["adaptation"] == {"n_clips": 4, "weight": 0.3333}
        assert row["label"] == one.label
        np.testing.assert_allclose(list(row["scores"].values()), list(one.scores.values()), atol=1e-5)
    assert main([*argv, "--workers", "2"]) == 0
    assert rows_of(capsys) == rows


def test_enroll_neutral_and_predict(
    adaptive_bundle: Path, model: Recognizer, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "me.json"
    argv = ["enroll", str(folder), "-o", str(file), "--model", str(adaptive_bundle), "--emotion", "neutral"]
    assert main(argv) == 0
    capsys.readouterr()
    clip = str(folder / "1.wav")
    argv = ["predict", clip, "--model", str(adaptive_bundle), "--profile", str(file), "-f", "jsonl"]
    assert main(argv) == 0
    (row,) = rows_of(capsys)
    profile = model.enroll(sorted(folder.iterdir()), emotion="neutral")
    expected = model.predict(clip, profile=profile).to_dict()
    assert row["adaptation"] == expected["adaptation"]
    np.testing.assert_allclose(list(row["scores"].values()), list(expected["scores"].values()), atol=1e-5)


def test_timeline_adapts(
    adaptive_bundle: Path, model: Recognizer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soundfile.write(tmp_path / "call.wav", talk(), RATE, subtype="FLOAT")
    argv = ["predict", str(tmp_path / "call.wav"), "--model", str(adaptive_bundle), "--timeline", "--adapt"]
    assert main([*argv, "-f", "jsonl"]) == 0
    options = PredictOptions(timeline=True, adapt=True)
    assert rows_of(capsys) == [row.to_dict() for row, _ in model.results(tmp_path / "call.wav", options)]


def test_large_folder_gets_a_hint(
    adaptive_bundle: Path, tiny_bundle: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def hints(model: Path, *options: str) -> int:
        assert main(["predict", str(folder), "--model", str(model), *options]) == 0
        return capsys.readouterr().err.count("--adapt")

    assert hints(adaptive_bundle) == 0  # few clips
    for number in range(10, 26):
        soundfile.write(folder / f"{number}.wav", CLIPS[0][:8000], RATE)
    assert hints(adaptive_bundle) == 1
    assert hints(adaptive_bundle, "--adapt") == 0
    assert hints(tiny_bundle) == 0  # it cannot adapt


def test_standard_input_is_read_once(adaptive_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["predict", "-", "--model", str(adaptive_bundle), "--adapt"]) == 2
    assert "read once" in capsys.readouterr().err
