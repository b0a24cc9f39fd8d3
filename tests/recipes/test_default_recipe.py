"""The measurements of recipes/default.py on made-up states: corpora left out, confidence, own labels."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parents[2] / "recipes"))

import default_calls
import default_measure as measure
import default_sounds
import default_speech
from default_heads import Rows, join

import speech
from emovox import audio
from emovox.labels import EMOTIONS

EVERY = (*measure.TRAINING, *measure.TESTED_ONLY)
N_SPEAKERS, N_TAKES = 12, 8


def make_rows(corpus: str, offset: float = 1.0) -> Rows:
    """States whose mean depends on the label, moved by an offset of the corpus."""
    rng = np.random.default_rng(EVERY.index(corpus))
    moved = offset * rng.standard_normal(24)
    directions = np.random.default_rng(99).standard_normal((len(EMOTIONS), 24))
    labels = np.tile(np.repeat(np.arange(4), N_TAKES), N_SPEAKERS)
    speakers = np.repeat([f"{corpus}-{n}" for n in range(N_SPEAKERS)], 4 * N_TAKES)
    states = directions[labels] + moved + 1.5 * rng.standard_normal((len(labels), 24))
    ids = np.array([f"{corpus}/{n}" for n in range(len(labels))])
    pooled = states.reshape(len(labels), 2, 2, 6).astype(np.float32)
    return Rows(pooled, ids, labels, speakers, np.array([corpus] * len(labels)))


@pytest.fixture(scope="module")
def states() -> measure.States:
    rows = {corpus: make_rows(corpus) for corpus in EVERY}
    return measure.States(Path(), Path(), Path(), rows, {"emodb": make_rows("emodb")}, rows)


def options(**values: object) -> argparse.Namespace:
    return argparse.Namespace(**({"what": "unseen", "which": None, "l2": [0.03], "draws": 3} | values))


def test_corpora_left_out(states: measure.States) -> None:
    found = measure.report_unseen(states, options())
    assert set(found) == set(EVERY)
    for one in found.values():
        low, high = one["interval"]
        assert low <= one["clips"][0] / 100 <= high
        assert np.mean(list(one["recalls"].values())) == pytest.approx(one["clips"][0], abs=1)
    gain = [one["clips"][20] - one["clips"][0] for one in found.values()]
    assert np.mean(gain) > 1, "the offset of a corpus is what adapting removes"
    half = measure.report_unseen(states, options(what="choose"))
    assert all(one["speakers"] == N_SPEAKERS // 2 for one in half.values())


def test_head_left_out_has_not_seen_the_corpus(states: measure.States) -> None:
    changed = {corpus: rows for corpus, rows in states.train.items() if corpus != "nemo"}
    other = measure.States(
        Path(), Path(), Path(), {**changed, "nemo": make_rows("nemo", 50.0)}, {}, states.test
    )
    plain = measure.States(Path(), Path(), Path(), states.train, {}, states.test)
    np.testing.assert_array_equal(other.leave_out("nemo").weight, plain.leave_out("nemo").weight)
    some = plain.fit(measure.TRAINING, ["nemo-0"])
    rows = join([rows for corpus, rows in plain.train.items() if corpus in measure.TRAINING])
    assert np.abs(some.mean - rows.x.mean(0)).max() > 0


def test_sequences_adapt_to_the_clips_before(states: measure.States) -> None:
    embedded = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    offsets = measure.find_offsets(embedded)
    assert not offsets[:2].any(), "neither no clip nor one"
    np.testing.assert_allclose(offsets[4], 3 / 9 * embedded[:4].mean(0), atol=1e-6)
    rows = states.test["nemo"]
    chosen = measure.draw_sequence(rows, "nemo-1", 2, 0.5, np.random.default_rng(0))
    assert set(rows.speakers[chosen]) == {"nemo-1"}
    assert np.mean(rows.labels[chosen] == 2) == 0.5
    found = measure.report_sequences(states, options())["nemo"]
    assert set(found) >= {"any", "75% happy", "100% happy"}


def test_confidence_of_known_probabilities() -> None:
    labels = np.array([0, 0, 1, 1])
    probabilities = np.full((4, len(EMOTIONS)), 0.05 / 8)
    probabilities[:, 0] = 0.95
    found = measure.describe_confidence(labels, probabilities)
    assert found == {"ece": 0.45, "confidence": 0.95, "right": 0.5, "sure": 4, "right when sure": 0.5}


def test_own_labels_beat_the_corpus_left_out(states: measure.States) -> None:
    other = make_rows("ased")
    other.labels = (other.labels + 1) % 4  # what a corpus calls happy, the others call sad
    states = measure.States(Path(), Path(), Path(), states.train, {}, {**states.test, "ased": other})
    found = measure.report_finetune(states, options(which="ased"))["ased"]
    assert found["20, L2 0.03"][0] > found["5, L2 0.03"][0] > found["raw"][0] + 20
    mean, low, high = found["5, L2 0.03"]
    assert low <= mean <= high


@pytest.mark.parametrize("name", ["clipping", "telephone", "babble", "noise"])
def test_changed_sounds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = speech.voice(1.5, pitch_hz=140)
    monkeypatch.setattr(audio, "read", lambda file: x)
    clip = default_sounds.Clip("emodb/1", "1", "emodb", "emodb-1", "happy")
    y = default_sounds.make_sound(clip, name)
    assert y.shape == x.shape
    assert np.array_equal(y, default_sounds.make_sound(clip, name)), "the same in every run"
    if name == "clipping":
        assert np.mean(np.abs(y) == 1) > 0.01
    elif name == "telephone":
        power = np.abs(np.fft.rfft(y)) ** 2
        assert power[6000 * 3 // 2 :].sum() < 1e-3 * power.sum()
    else:
        added = np.square(y - x).mean()
        assert 10 * np.log10(np.square(x).mean() / added) == pytest.approx(20, abs=3)


def test_clips_are_cut_as_predict_cuts_them() -> None:
    padded = np.concatenate([speech.pause(1.5), speech.voice(1.5, pitch_hz=140), speech.pause(2.0)])
    cut = default_sounds.cut_clip(padded)
    assert 1.5 - 0.02 < len(cut) / audio.SAMPLE_RATE < 3.0, "it begins at a step of 0.02 s"
    silence = np.zeros(16_000, np.float32)
    assert len(default_sounds.cut_clip(silence)) == len(silence)


def test_long_sounds_have_one_label(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("neutral", "happy", "sad", "angry")
    clips = [
        default_calls.Clip(f"c/{n}", str(n), "c", f"c-{n // 4 % 3}", name) for n, name in enumerate(6 * names)
    ]
    monkeypatch.setattr(default_calls, "list_clips", lambda root, corpus: clips)
    # The loudness of a clip is its number, so that the sound shows which clips it was glued from.
    monkeypatch.setattr(audio, "read", lambda file: np.full(24_000, int(file) + 1, np.float32))
    monkeypatch.setattr(default_calls, "cut_clip", lambda x: x)
    sounds, labels = default_calls.make_long(tmp_path, "c", n=3)
    assert len(sounds) == 12
    for sound, label in zip(sounds, labels, strict=True):
        used = [clips[int(number) - 1] for number in np.unique(sound)]
        assert {clip.emotion for clip in used} == {EMOTIONS[label]}
        assert len({clip.speaker for clip in used}) == 1
        assert len(sound) >= 12 * audio.SAMPLE_RATE


def test_calls_know_their_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = [
        default_calls.Clip(f"c/{n}", str(n), "c", "c-0", ("happy", "sad", "fear")[n % 3]) for n in range(36)
    ]
    monkeypatch.setattr(default_calls, "list_clips", lambda root, corpus: clips)
    monkeypatch.setattr(audio, "read", lambda file: np.full(16_000, 0.1, np.float32))
    ((x, truth),) = default_calls.make_calls(tmp_path, "c")
    assert len(x) == 24 * 25_600
    assert len(truth) == len(x) // 160
    counts = np.bincount(truth + 1)
    assert counts[0] == 24 * 60
    assert counts[1 + EMOTIONS.index("happy")] == counts[1 + EMOTIONS.index("sad")] == 1200


def test_answers_paired_with_folder_of_folds(states: measure.States, tmp_path: Path) -> None:
    rows = states.test["ravdess"]
    clips = [
        (one, EMOTIONS[i], EMOTIONS[(i + (n % 4 == 0)) % 4])
        for n, (one, i) in enumerate(zip(rows.ids, rows.labels, strict=True))
    ]
    own = "".join(f"{one},{true},{true}\n" for one, true, _ in clips)
    (tmp_path / "folds-answers.csv").write_text("id,true,predicted\n" + own)
    folds = tmp_path / "vox"
    folds.mkdir()
    for n in (0, 1):  # as recipes/vox.py writes them, a file for each fold
        other = "".join(f"{one},x,{true},{answer}\n" for one, true, answer in clips[n::2])
        (folds / f"emobox-ravdess-{n}.csv").write_text("id,speaker,true,answer\n" + other)
    found = measure.report_paired(states, options(out=tmp_path, which=str(folds)))
    assert (found["difference"], found["answers changed"]) == (25, 25)


def test_answers_paired(states: measure.States, tmp_path: Path) -> None:
    rows = states.test["ravdess"]
    names = measure.name_labels(rows.labels)
    lines = [f"{i},{name},{name}" for i, name in zip(rows.ids, names, strict=True)]
    (tmp_path / "folds-answers.csv").write_text("\n".join(["id,true,predicted", *lines]))
    wrong = [line if n % 4 else line.rpartition(",")[0] + ",boredom" for n, line in enumerate(lines)]
    (tmp_path / "other.csv").write_text("\n".join(["id,true,predicted", *wrong]))
    found = measure.report_paired(states, options(out=tmp_path, which=str(tmp_path / "other.csv")))
    assert found["difference"] == found["answers changed"] == 25.0
    (tmp_path / "other.csv").write_text("\n".join(["id,true,predicted", *wrong[1:]]))
    with pytest.raises(SystemExit, match="not of the same clips"):
        measure.report_paired(states, options(out=tmp_path, which=str(tmp_path / "other.csv")))


def test_confidence_of_sources_far_away(states: measure.States) -> None:
    found = measure.report_confidence(states, options())
    assert set(found) == {*EVERY, "mean"}
    assert all(0 <= one["ece"] <= 1 and 0 <= one["ece with 20 clips"] <= 1 for one in found.values())
    raw, *adapted = measure.draw_logits(states.leave_out("banglaser"), states.tested("banglaser"))
    right = [float((each.argmax(1) == states.tested("banglaser").labels).mean()) for each in (raw, *adapted)]
    assert min(right[1:]) > right[0], "the offset of a corpus is what adapting removes"


def make_sounds(corpus: str, kinds: int, centre: float) -> Rows:
    """States around a centre; each kind, place or class lies a little elsewhere."""
    rng = np.random.default_rng(len(corpus))
    kind = np.arange(20 * kinds) % kinds
    pooled = centre + 0.2 * rng.standard_normal((len(kind), 2, 2, 6)) + 0.1 * kind[:, None, None, None]
    names = {"esc10": "esc10/{k:03d}/{n}", "synthetic": "synthetic/{n:05d}", "emospeech": "emospeech/{k}/{n}"}
    ids = np.array([names[corpus].format(k=k, n=n) for n, k in enumerate(kind)])
    speakers = np.array([f"{k:03d}" for k in kind])
    return Rows(
        pooled.astype(np.float32), ids, np.full(len(ids), -1), speakers, np.array([corpus] * len(ids))
    )


def test_sounds_of_unseen_kinds(states: measure.States, monkeypatch: pytest.MonkeyPatch) -> None:
    made = {
        ("clean", "esc10"): make_sounds("esc10", 4, 6.0),
        ("synthetic", "synthetic"): make_sounds("synthetic", default_speech.N_KINDS, 9.0),
        ("clean", "emospeech"): make_sounds("emospeech", 3, 6.0),
    }
    monkeypatch.setattr(default_speech, "read_cache", lambda root, cache, name, c: made.get((name, c)))
    halves = default_speech.split_sounds(made["clean", "esc10"])
    assert halves.tolist()[:4] == [0, 1, 0, 1]
    assert set(default_speech.split_sounds(states.test["nemo"])) == {-1}, "in both halves"
    found = default_speech.report_speech(states, options())
    assert found["esc10"]["clips"] == 80
    assert found["esc10"]["rejected"] == 100.0
    assert found["synthetic"]["passed"] == [0, 0, 0]
    assert all(found[corpus][0] < 5 for corpus in EVERY)
