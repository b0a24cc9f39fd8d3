"""The same clips when the sound is worse: what changed is counted, and no clip costs another."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emovox import audio
from emovox.augment import make_rng, make_transform
from emovox.bundles import load_bundle
from emovox.cli import main
from emovox.datasets.manifest import Manifest
from emovox.errors import ConfigError, ManifestError
from emovox.evaluation import metrics
from emovox.evaluation.babble import N_BABBLE_SPEAKERS, POOL_SIZE
from emovox.evaluation.leakage import find_stamp
from emovox.evaluation.predictions import NO_LABEL, predict_manifest
from emovox.evaluation.robustness import (
    CONDITIONS,
    Condition,
    ConditionResult,
    Robustness,
    measure_robustness,
    sample_clips,
)
from emovox.evaluation.scorecard import make_scorecard
from emovox.inference.recognizer import Recognizer
from emovox.reports import evaluation_html, evaluation_markdown
from emovox.reports.evaluation import evaluation_lines
from voices import EMOTIONS, toy_corpus

FEW = tuple(c for c in CONDITIONS if c.name in ("white noise, 0 dB", "babble, 10 dB", "mp3, 16 kbit/s"))
NAMED = {c.name: c for c in CONDITIONS}


@pytest.fixture(scope="module")
def model(tiny_bundle: Path) -> Recognizer:
    return Recognizer(load_bundle(tiny_bundle), vad="off")


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return toy_corpus(tmp_path_factory.mktemp("toy"), n_speakers=3, n_takes=1)


@pytest.fixture(scope="module")
def found(model: Recognizer, manifest: Manifest) -> Robustness:
    return measure_robustness(model, manifest)


def test_every_condition_has_its_row(found: Robustness, manifest: Manifest) -> None:
    assert [row.condition for row in found.rows] == list(CONDITIONS)
    names = " ".join(NAMED)
    for wanted in (
        "white noise, 20",
        "white noise, 10",
        "white noise, 0",
        "babble, 20",
        "babble, 10",
        "babble, 0",
    ):
        assert wanted in names
    for wanted in ("telephone", "G.711", "mp3", "opus", "+12 dB", "-12 dB", "room", "clipping"):
        assert wanted in names
    for row in found.rows:
        assert row.answers.ids == manifest.ids
        assert not row.answers.errors


def test_unchanged_equals_evaluation(model: Recognizer, manifest: Manifest, found: Robustness) -> None:
    plain = predict_manifest(model, manifest)
    assert found.plain.y_pred == plain.y_pred
    np.testing.assert_array_equal(found.plain.probabilities, plain.probabilities)


@pytest.mark.parametrize("name", ["white noise, 10 dB", "room, RT60 0.5 s", "opus, 12 kbit/s", "gain -12 dB"])
def test_row_equals_changed_sound(
    model: Recognizer, manifest: Manifest, found: Robustness, name: str
) -> None:
    row = next(row for row in found.rows if row.condition.name == name)
    change = make_transform(row.condition.kind, **row.condition.settings)
    for k, u in enumerate(manifest):
        y = change(audio.read(manifest.file(u)), make_rng(0, f"{row.condition.kind}:{u.id}"))
        scores = model.predict(y, sample_rate=16_000).scores
        np.testing.assert_array_equal(row.answers.probabilities[k], [scores[n] for n in row.answers.labels])


def test_babble_is_of_other_speakers(
    model: Recognizer, manifest: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    from emovox.evaluation import babble as module

    heard: list[list[np.ndarray]] = []
    original = module.mix_babble

    def told(voices: list[np.ndarray], n: int, rng: np.random.Generator) -> np.ndarray:
        heard.append(voices)
        return original(voices, n, rng)

    monkeypatch.setattr(module, "mix_babble", told)
    measure_robustness(model, manifest, conditions=[NAMED["babble, 10 dB"]])
    own = {
        u.speaker: [audio.read(manifest.file(v)) for v in manifest if v.speaker == u.speaker]
        for u in manifest
    }
    assert len(heard) == len(manifest)
    for u, voices in zip(manifest, heard, strict=True):
        assert len(voices) == N_BABBLE_SPEAKERS
        assert not any(np.array_equal(v, mine) for v in voices for mine in own[u.speaker])
    assert POOL_SIZE >= 2 * N_BABBLE_SPEAKERS


def test_noise_levels_share_noise(manifest: Manifest) -> None:
    u = next(iter(manifest))
    x = audio.read(manifest.file(u)) / 20
    added = [
        make_transform("noise", **NAMED[f"white noise, {db} dB"].settings)(x, make_rng(0, f"noise:{u.id}"))
        - x
        for db in (20, 0)
    ]
    assert np.corrcoef(*added)[0, 1] > 0.999


def test_workers_and_seed(model: Recognizer, manifest: Manifest) -> None:
    one = measure_robustness(model, manifest, conditions=FEW)
    two = measure_robustness(model, manifest, conditions=FEW, workers=2)
    assert one.to_dict() == two.to_dict()
    for a, b in zip(one.rows, two.rows, strict=True):
        np.testing.assert_array_equal(a.answers.probabilities, b.answers.probabilities)
    other = measure_robustness(model, manifest, conditions=FEW[:1], seed=1)
    assert (other.rows[0].answers.probabilities != one.rows[0].answers.probabilities).any()


def test_figures_by_hand(found: Robustness) -> None:
    plain = found.plain
    wrong = plain.y_pred[:-3] + (NO_LABEL,) * 3
    row = ConditionResult(Condition("made", "gain"), replace(plain, y_pred=wrong), plain)
    assert row.share_changed() == 3 / len(plain)
    assert row.uar_loss().value == pytest.approx(
        metrics.uar(plain.y_true, plain.y_pred) - metrics.uar(plain.y_true, wrong)
    )
    same = ConditionResult(Condition("made", "gain"), plain, plain)
    assert (same.share_changed(), same.uar_loss().value) == (0, 0)
    assert same.to_dict()["uar"]["value"] == plain.uar().value
    json.dumps(found.to_dict(), allow_nan=False)


def test_bad_file_costs_its_row(model: Recognizer, manifest: Manifest, tmp_path: Path) -> None:
    for u in manifest:
        (tmp_path / u.path).write_bytes(manifest.file(u).read_bytes())
    bad = list(manifest)[5]
    (tmp_path / bad.path).write_text("no sound")
    damaged = Manifest(tmp_path, tuple(manifest))
    told: list[tuple[int, int]] = []
    one = measure_robustness(model, damaged, conditions=FEW[:1], progress=lambda k, n: told.append((k, n)))
    whole = measure_robustness(model, manifest, conditions=FEW[:1])
    for mine, theirs in ((one.plain, whole.plain), (one.rows[0].answers, whole.rows[0].answers)):
        assert [key for key, _ in mine.errors] == [bad.id]
        assert mine.y_pred[5] == NO_LABEL
        assert mine.y_pred[:5] + mine.y_pred[6:] == theirs.y_pred[:5] + theirs.y_pred[6:]
    assert one.to_dict()["rows"][0]["errors"][0]["id"] == bad.id
    assert told == [(k + 1, 12) for k in range(12)]


def test_unreadable_babble_clip(model: Recognizer, manifest: Manifest, tmp_path: Path) -> None:
    for u in manifest:
        (tmp_path / u.path).write_bytes(manifest.file(u).read_bytes())
    bad = next(iter(manifest))
    (tmp_path / bad.path).write_text("no sound")
    found = measure_robustness(
        model, Manifest(tmp_path, tuple(manifest)), conditions=[NAMED["babble, 10 dB"]]
    )
    assert [key for key, _ in found.rows[0].answers.errors] == [bad.id]  # the others take other voices


def test_nobody_else_to_babble(model: Recognizer, manifest: Manifest) -> None:
    alone = manifest.where(speaker="toy-0")
    found = measure_robustness(model, alone, conditions=FEW)
    assert "babble" not in {row.condition.kind for row in found.rows}
    assert len(found.rows) == 2
    assert found.notes == ("no babble: it is mixed from other speakers, and the data has one",)


def test_what_cannot_be_tried(model: Recognizer, manifest: Manifest) -> None:
    with pytest.raises(ManifestError, match="empty"):
        measure_robustness(model, Manifest(manifest.root, ()))
    with pytest.raises(ConfigError, match="no transform 'nose'; did you mean 'noise'"):
        measure_robustness(model, manifest, conditions=[Condition("x", "nose")])


def test_sample_is_even(tmp_path: Path) -> None:
    whole = toy_corpus(tmp_path, n_speakers=4, n_takes=3)
    some = sample_clips(whole, 32)
    assert some.ids == sample_clips(whole, 32).ids
    assert [key for key in whole.ids if key in some.ids] == list(some.ids)
    cells = [(u.speaker, u.emotion) for u in some]
    assert {cells.count(cell) for cell in cells} == {2}  # 16 cells of three
    assert len(set(cells)) == 4 * len(EMOTIONS)
    assert sample_clips(whole, 999).ids == whole.ids
    shuffled = Manifest(whole.root, tuple(reversed(list(whole))))
    assert set(sample_clips(shuffled, 10).ids) == set(sample_clips(whole, 10).ids)
    with pytest.raises(ManifestError, match="expected 1 or more"):
        sample_clips(whole, 0)


# ------------------------------------------------------------------------------------ pages and command


def test_the_pages_show_it(model: Recognizer, manifest: Manifest, found: Robustness) -> None:
    document = make_scorecard(
        found.plain,
        manifest,
        spec=model.spec,
        stamp=find_stamp(model.spec, manifest, found.plain.ids),
        protocol="all",
        robustness=replace(found, notes=("a <note>",)),
    )
    lines, page, text = (
        "\n".join(evaluation_lines(document)),
        evaluation_html(document),
        evaluation_markdown(document),
    )
    for row in found.rows:
        uar = f"{100 * row.answers.uar().value:.1f}"
        for shown in (lines, page, text):
            assert row.condition.name in shown
            assert uar in shown
    assert "a &lt;note&gt;" in page
    assert "a <note>" in text
    assert "UAR under each condition" in page
    without = {key: value for key, value in document.items() if key != "robustness"}
    assert "Robustness" not in evaluation_html(without) + evaluation_markdown(without)


def test_the_command(
    tiny_bundle: Path, manifest: Manifest, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "--data", manifest.root / "toy.csv", "--model", tiny_bundle, "--vad", "off"]
    out = tmp_path / "out"
    assert main([str(w) for w in (*words, "--robustness-clips", 6, "-o", out)]) == 0
    said = capfd.readouterr().out
    assert "robustness, 6 clips of 3 speakers, seed 0" in said
    document = json.loads((out / "evaluation.json").read_text())
    model = Recognizer(load_bundle(tiny_bundle), vad="off")
    mine = measure_robustness(model, sample_clips(manifest, 6)).to_dict()
    assert document["data"]["n_clips"] == 12
    for row, expected in zip(document["robustness"]["rows"], mine["rows"], strict=True):
        assert row["condition"] == expected["condition"]
        assert row["uar"]["value"] == pytest.approx(expected["uar"]["value"], abs=1e-6)
        assert row["changed"] == pytest.approx(expected["changed"], abs=1e-6)
    assert "Robustness" in (out / "evaluation.html").read_text()
    assert main([str(w) for w in words]) == 0
    assert "robustness" not in capfd.readouterr().out


def test_silenced_clip_has_no_label(
    make_bundle: Callable[..., Path], manifest: Manifest, tmp_path: Path
) -> None:
    quiet = tmp_path / "quiet"
    quiet.mkdir()
    for u in manifest:
        x = audio.read(manifest.file(u))
        soundfile.write(quiet / u.path, x / 10, 16_000, subtype="FLOAT")
    model = Recognizer(load_bundle(make_bundle()), vad="off")
    low = Condition("gain -50 dB", "gain", {"gain_db": -50.0})
    found = measure_robustness(model, Manifest(quiet, tuple(manifest)), conditions=[low])
    assert set(found.rows[0].answers.y_pred) == {NO_LABEL}
    assert NO_LABEL not in found.plain.y_pred
    assert found.rows[0].share_changed() == 1
