"""A voice profile: what is learnt, how it is kept and refused, and that a stream never knows its future."""

from __future__ import annotations

import json
import os
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import LABELS, tiny_features_onnx
from emovox.bundles import Bundle, Features, Population, SpeakerNormalization, load_bundle, write_bundle
from emovox.errors import AudioError, BundleCorruptError, ConfigError, ProfileError
from emovox.features import find_feature_set
from emovox.inference.adaptation import MAX_PROFILE_BYTES, Profile, RunningStatistics
from emovox.inference.recognizer import Recognizer
from emovox.results import Window
from speaker_model import SET, SHRINK, SPEECH, TWO_VOICES, rows_of, speaker_spec
from speech import DARK, pause, talk, voice

pytest.importorskip("onnx")

RATE = 16_000


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Recognizer:
    """Long means above 6 s here."""
    folder = tmp_path_factory.mktemp("voices") / "bundle"
    write_bundle(folder, tiny_features_onnx(180), speaker_spec())
    return Recognizer(load_bundle(folder), vad="off")


@pytest.fixture(scope="module")
def me(model: Recognizer) -> Profile:
    return model.enroll(SPEECH, sample_rate=RATE)


def by_hand(model: Recognizer, x: np.ndarray, known: list[np.ndarray]) -> np.ndarray:
    """Probabilities of a clip, its voice known by some others: the formula, written out."""
    normaliser = model.spec.normaliser
    assert normaliser is not None
    mean, std = np.array(normaliser.population.mean), np.array(normaliser.population.std)
    weight = len(known) / (len(known) + SHRINK)
    if known:
        rows = rows_of(known)
        variance = weight * rows.var(0) + (1 - weight) * std**2
        mean, std = weight * rows.mean(0) + (1 - weight) * mean, np.sqrt(variance)
    z = (rows_of([x])[0] - mean) / std
    weights = np.random.default_rng(5).standard_normal((180, len(LABELS))) / 180
    return model.probabilities(np.tanh(0.01 * z) @ weights.astype(np.float32))


# ------------------------------------------------------------------------------------------ it is used


@pytest.mark.parametrize("n_known", [0, 1, 2, 3])
def test_profile_formula(model: Recognizer, n_known: int) -> None:
    x = voice(1.5, pitch_hz=140)
    known = SPEECH[:n_known]
    profile = model.enroll(known, sample_rate=RATE) if known else None
    answer = model.predict(x, sample_rate=RATE, profile=profile)
    np.testing.assert_allclose(list(answer.scores.values()), by_hand(model, x, known), atol=2e-4)


def test_profile_changes_scores(model: Recognizer, me: Profile) -> None:
    x = SPEECH[0]
    without = model.predict(x, sample_rate=RATE)
    told = model.predict(x, sample_rate=RATE, profile=me)
    assert max(abs(without.scores[k] - told.scores[k]) for k in LABELS) > 0.01
    long = np.tile(x, 8)
    assert (
        model.predict(long, sample_rate=RATE, profile=me).scores
        != model.predict(long, sample_rate=RATE).scores
    )


def test_all_methods_take_profile(model: Recognizer, me: Profile, tmp_path: Path) -> None:
    file = tmp_path / "x.wav"
    soundfile.write(file, np.stack([SPEECH[1], SPEECH[1]], 1), RATE, subtype="FLOAT")
    one = model.predict(file, profile=me)
    assert [replace(p, channel=None) for p in model.predict_channels(file, profile=me)] == [one, one]
    assert list(model.predict_many([file, file], workers=2, profile=me)) == [one, one]
    segments = list(model.timeline(talk(), sample_rate=RATE, profile=me))
    stream = model.stream(sample_rate=RATE, profile=me)
    found = stream.push(talk()) + stream.flush()
    assert [x for x in found if not isinstance(x, Window)] == segments
    assert [s.scores for s in segments] != [s.scores for s in model.timeline(talk(), sample_rate=RATE)]


# ------------------------------------------------------------------------------------------ it is learnt


def test_profile_holds_row_statistics(me: Profile) -> None:
    rows = rows_of(SPEECH)
    np.testing.assert_allclose(np.array(me.mean, float), rows.mean(0), rtol=1e-12)
    np.testing.assert_allclose(np.array(me.variance, float), rows.var(0), rtol=1e-9, atol=1e-12)
    assert me.n_clips == 3
    assert set(me.counts) == {3}
    assert me.seconds == pytest.approx(3.6)
    assert "3 clips, 3.6 s, 180 columns" in repr(me)


def test_merged_equals_joint_enrolment(model: Recognizer, me: Profile) -> None:
    parts = [model.enroll([x], sample_rate=RATE) for x in SPEECH]
    together = parts[2].merge(parts[0]).merge(parts[1])
    assert (together.n_clips, together.counts) == (me.n_clips, me.counts)
    np.testing.assert_allclose(np.array(together.mean, float), np.array(me.mean, float), rtol=1e-12)
    np.testing.assert_allclose(
        np.array(together.variance, float), np.array(me.variance, float), rtol=1e-6, atol=1e-9
    )


ROWS = st.lists(st.lists(st.floats(-1e6, 1e6) | st.just(float("nan")), min_size=3, max_size=3), max_size=6)


@given(first=ROWS, then=ROWS)
def test_statistics_with_missing_values(first: list[Any], then: list[Any]) -> None:
    features = Features(set="x", digest="0" * 16)
    sums, other = RunningStatistics("m 1", features), RunningStatistics("m 1", features)
    for into, rows in ((sums, first), (other, then)):
        for row in rows:
            into.push(np.array(row, np.float32), 1.0)
    sums.add(other.profile())
    all_rows = np.array([*first, *then], np.float32).astype(np.float64).reshape(-1, 3)
    profile = sums.profile()
    assert profile.n_clips == len(all_rows)
    for place in range(3 if len(all_rows) else 0):
        known = all_rows[~np.isnan(all_rows[:, place]), place]
        assert profile.counts[place] == len(known)
        if len(known):
            assert profile.mean[place] == pytest.approx(known.mean(), rel=1e-9, abs=1e-6)
            assert profile.variance[place] == pytest.approx(known.var(), rel=1e-6, abs=1e-3)
        else:
            assert profile.mean[place] is None
            assert profile.variance[place] is None


def test_long_recording_enrolls_windows(model: Recognizer) -> None:
    x = np.concatenate([voice(4.0), voice(4.0, pitch_hz=200), voice(2.5, pitch_hz=150)])
    window = round(model.spec.window_s * RATE)
    windows = [x[at : at + window] for at in (0, window, 2 * window)]
    profile = model.enroll([x], sample_rate=RATE)
    assert profile.n_clips == 3
    np.testing.assert_allclose(np.array(profile.mean, float), rows_of(windows).mean(0), rtol=1e-6)


def test_pauses_are_not_enrolled(model: Recognizer) -> None:
    x = np.concatenate([pause(8.0), voice(3.0), pause(7.0)])
    assert model.enroll([x], sample_rate=RATE, vad="on").n_clips == 2


@pytest.mark.parametrize(
    ("x", "reason"), [(pause(2.0), "silence"), (voice(0.2), "too_short"), (pause(30.0), "silence")]
)
def test_unusable_recordings_are_refused(model: Recognizer, x: np.ndarray, reason: str) -> None:
    with pytest.raises(ProfileError, match=f"the sound: nothing .* {reason}"):
        model.enroll([SPEECH[0], x], sample_rate=RATE, vad="on")


def test_enroll_needs_a_list(model: Recognizer, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="nothing to enroll"):
        model.enroll([])
    with pytest.raises(ConfigError, match="expected several"):
        model.enroll("me.wav")
    with pytest.raises(AudioError):
        model.enroll([tmp_path / "missing.wav"])


# ------------------------------------------------------------------------------------------ a stream learns


def windows_of(model: Recognizer, x: np.ndarray, *, adapt: bool = True, **options: Any) -> list[Window]:
    stream = model.stream(sample_rate=RATE, adapt=adapt, **options)
    return [found for found in stream.push(x) + stream.flush() if isinstance(found, Window)]


def test_stream_learns_from_past_windows(model: Recognizer) -> None:
    x = np.concatenate([voice(4.0), voice(4.0, pitch_hz=220, formants_hz=DARK), voice(3.0, pitch_hz=160)])
    learnt: list[np.ndarray] = []
    learnt_to = 0
    for window in windows_of(model, x):
        start, end = round(window.start_s * RATE), round(window.end_s * RATE)
        expected = by_hand(model, x[start:end], learnt)
        np.testing.assert_allclose(list(window.scores.values()), expected, atol=5e-4)
        if start >= learnt_to:
            learnt.append(x[start:end])
            learnt_to = end
    assert len(learnt) >= 3


@settings(max_examples=15)
@given(cut_s=st.floats(1.0, 7.5), seed=st.integers(0, 9))
def test_adaptation_is_causal(model: Recognizer, cut_s: float, seed: int) -> None:
    x = TWO_VOICES
    other = x.copy()
    cut = round(cut_s * RATE)
    other[cut:] = np.random.default_rng(seed).uniform(-0.5, 0.5, len(x) - cut)
    a, b = windows_of(model, x), windows_of(model, other)
    before = [w for w in a if w.end_s <= cut_s]
    assert before == [w for w in b if w.end_s <= cut_s]
    assert before or cut_s < 1.5
    assert a != b


@settings(max_examples=15)
@given(sizes=st.lists(st.integers(1, 50_000), min_size=1, max_size=5))
def test_adaptation_ignores_chunking(model: Recognizer, sizes: list[int]) -> None:
    x = TWO_VOICES
    stream, found, at = model.stream(sample_rate=RATE, adapt=True), [], 0
    for size in [*sizes, len(x)]:
        found += stream.push(x[at : at + size])
        at += size
    found += stream.flush()
    assert [w for w in found if isinstance(w, Window)] == windows_of(model, x)


def test_stream_starts_from_profile(model: Recognizer, me: Profile) -> None:
    x = np.tile(SPEECH[0], 6)
    told = windows_of(model, x, adapt=False, profile=me)
    both = windows_of(model, x, profile=me)
    assert both[0] == told[0]
    assert both[1:] != told[1:]
    assert windows_of(model, x)[0] == windows_of(model, x, adapt=False)[0]


def test_channels_adapt_separately(model: Recognizer) -> None:
    left, right = np.tile(SPEECH[0], 8), np.tile(SPEECH[2], 8)
    both = list(
        model.timeline(
            np.stack([left, right], 1), sample_rate=RATE, channels="each", adapt=True, labels="happy,sad"
        )
    )
    for channel, x in enumerate((left, right)):
        alone = list(model.timeline(x, sample_rate=RATE, adapt=True, labels="happy,sad"))
        assert [replace(s, channel=None) for s in both if s.channel == channel] == alone


# ------------------------------------------------------------------------------------------ it is kept


def test_profile_round_trip(me: Profile, tmp_path: Path) -> None:
    file = tmp_path / "me.json"
    me.save(file)
    assert Profile.load(file) == me
    assert [path.name for path in tmp_path.iterdir()] == ["me.json"]
    me.save(file)  # replaced, not refused


def test_profile_holds_no_sound(me: Profile) -> None:
    told = json.loads(me.to_json())
    assert set(told) == {
        *("schema", "model", "features", "n_clips", "seconds", "counts", "mean", "variance"),
    }
    assert all(len(told[key]) == 180 for key in ("counts", "mean", "variance"))
    assert told["features"] == {**find_feature_set(SET).reference(), "columns": None}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"schema": 2}, "schema: 2, expected 1; update emovox"),
        ({"n_clips": -1}, "expected 0 or more"),
        ({"counts": [1]}, "180 means"),
        ({"counts": [4] * 180}, "expected 0 to n_clips, 3"),
        ({"mean": [None] * 180}, "belong to a count"),
        ({"variance": [-1.0] * 180}, "expected 0 to"),
        ({"variance": [1e300] * 180}, "expected 0 to"),
        ({"mean": [1e300] * 180}, r"mean\.0: 1e\+300; expected"),
        ({"mean": ["a"] * 180}, r"mean\.0: expected a finite number"),
        ({"sound": []}, "sound: unknown key"),
        ({"features": {"set": SET, "digest": "0" * 16, "columns": ["a"]}}, "names 1 columns"),
    ],
)
def test_wrong_profile_names_key(me: Profile, tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    file = tmp_path / "me.json"
    file.write_text(json.dumps(json.loads(me.to_json()) | changes))
    with pytest.raises(ProfileError, match=rf"me\.json: it is no voice profile: .*{told}"):
        Profile.load(file)


def test_extreme_profile_gives_finite_scores(model: Recognizer, me: Profile) -> None:
    wild = {"mean": [1e18, -1e18] * 90, "variance": [1e36, 0.0] * 90, "counts": [1] * 180}
    profile = Profile.from_json(json.dumps(json.loads(me.to_json()) | wild))
    answer = model.predict(SPEECH[0], sample_rate=RATE, profile=profile.merge(me))
    assert sum(answer.scores.values()) == pytest.approx(1)


def test_damaged_profile_fuzz(me: Profile) -> None:
    text = me.to_json().encode()
    n_refused = 0
    for case in range(400):
        rng = random.Random(case)
        out = bytearray(text)
        for _ in range(rng.choice([1, 2, 8])):
            out[rng.randrange(len(out))] = rng.randrange(256)
        if case % 3 == 0:
            del out[rng.randrange(len(out)) :]
        try:
            Profile.from_json(bytes(out))
        except ProfileError as error:
            n_refused += "no voice profile" in str(error)
    assert n_refused > 200


@given(text=st.binary(max_size=50) | st.text(max_size=20))
def test_any_text_is_refused(text: bytes | str) -> None:
    with pytest.raises(ProfileError):
        Profile.from_json(text)


def test_unreadable_profile_files(tmp_path: Path) -> None:
    big = tmp_path / "big.json"
    big.touch()
    os.truncate(big, MAX_PROFILE_BYTES + 1)
    os.mkfifo(tmp_path / "pipe")
    for name, told in (
        ("missing.json", "cannot be read"),
        ("big.json", "bytes"),
        ("pipe", "regular"),
        (".", "regular"),
    ):
        with pytest.raises(ProfileError, match=told):
            Profile.load(tmp_path / name)
    with pytest.raises(ProfileError, match="cannot be read"):
        Profile.load("a\0b")


def test_save_into_missing_folder(me: Profile, tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="cannot be written"):
        me.save(tmp_path / "nowhere" / "me.json")


# ------------------------------------------------------------------------------------------ it is refused


def test_model_without_adaptation(me: Profile, tiny_bundle: Path) -> None:
    waveform = Recognizer(load_bundle(tiny_bundle))
    vector = Recognizer(Bundle(speaker_spec(normaliser=None), tiny_features_onnx(180)))
    for model in (waveform, vector):
        for refused in (
            lambda m=model: m.predict(SPEECH[0], sample_rate=RATE, profile=me),
            lambda m=model: m.predict_many([], profile=me),
            lambda m=model: m.timeline(SPEECH[0], sample_rate=RATE, profile=me),
            lambda m=model: m.stream(sample_rate=RATE, adapt=True),
            lambda m=model: m.enroll(SPEECH, sample_rate=RATE),
        ):
            with pytest.raises(ProfileError, match="cannot use a voice profile"):
                refused()


def test_profile_of_other_features(model: Recognizer, me: Profile) -> None:
    other = replace(me, features=replace(me.features, digest="0" * 16))
    fewer = replace(me, counts=me.counts[1:], mean=me.mean[1:], variance=me.variance[1:])
    for profile in (other, fewer):
        with pytest.raises(ProfileError, match="enroll again with this model"):
            model.predict(SPEECH[0], sample_rate=RATE, profile=profile)
        with pytest.raises(ProfileError, match="enroll again"):
            model.stream(sample_rate=RATE, adapt=True, profile=profile)
    with pytest.raises(ProfileError, match="enroll both with the same model"):
        me.merge(other)


def test_population_of_other_columns() -> None:
    normaliser = SpeakerNormalization(
        kind="speaker", shrink=5, population=Population(mean=(0.0,), std=(1.0,))
    )
    with pytest.raises(BundleCorruptError, match="knows 1 columns, its features have 180"):
        Bundle(speaker_spec(normaliser=normaliser), tiny_features_onnx(180))
