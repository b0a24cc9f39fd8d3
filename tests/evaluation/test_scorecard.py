"""Evaluations: the figures are those of the answers, the stamp cannot be talked away, the file is stable."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import emovox
from emovox.bundles import registry
from emovox.cli import main
from emovox.datasets import splits as protocols
from emovox.datasets.loading import Dataset
from emovox.datasets.manifest import Manifest, Utterance
from emovox.datasets.protocols import make_splits, write_splits
from emovox.errors import ManifestError
from emovox.evaluation import leakage, metrics
from emovox.evaluation.leakage import find_stamp
from emovox.evaluation.predictions import NO_LABEL, Predictions, predict_manifest
from emovox.evaluation.scorecard import make_scorecard
from emovox.labels import label_map

GOLDEN = Path(__file__).parents[1] / "golden"
LABELS = ("neutral", "happy", "sad", "angry", "fear")
N_SPEAKERS = 12


def clip(speaker: int, emotion: int, take: int) -> np.ndarray:
    """Half a second or more of three tones, their places and strengths by emotion, speaker and take."""
    t = np.arange(8000 + 800 * take + 160 * speaker) / 16_000
    hz = 140 * 1.7**emotion * (1 + 0.03 * speaker)
    sound = sum(np.sin(2 * np.pi * hz * k * t + k) / (k + 0.3 * take) for k in (1, 2, 3.5))
    return (0.1 * sound * (1 + 0.3 * np.sin(2 * np.pi * 4 * t))).astype(np.float32)


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """Twelve invented speakers, five emotions, two takes; the manifest lies beside the sound."""
    root = tmp_path_factory.mktemp("toy")
    rows = []
    for s in range(N_SPEAKERS):
        for e, emotion in enumerate(LABELS):
            for take in range(2):
                name = f"{s:02}-{emotion}-{take}"
                soundfile.write(root / f"{name}.wav", clip(s, e, take), 16_000)
                rows.append(
                    Utterance(
                        id=f"toy/{name}",
                        path=f"{name}.wav",
                        corpus="toy",
                        speaker=f"toy-{s:02}",
                        emotion=emotion,
                        original=emotion,
                        sex=("female", "male")[s % 2],
                        age=20 + 5 * s if s else None,
                        language="en",
                        text=f"toy-{take}",
                    )
                )
    manifest = Manifest(root, tuple(rows))
    manifest.write_csv(root / "manifest.csv")
    return manifest


@pytest.fixture(scope="session")
def answers(toy: Manifest, tiny_bundle: Path) -> Predictions:
    return predict_manifest(emovox.load(tiny_bundle), toy)


def document_of(answers: Predictions, toy: Manifest, tiny_bundle: Path, **options: Any) -> dict[str, Any]:
    spec = emovox.load(tiny_bundle).spec
    return make_scorecard(
        answers, toy, spec=spec, stamp=find_stamp(spec, toy, answers.ids), **{"protocol": "all", **options}
    )


# --- answers --------------------------------------------------------------------------------------


def test_scorecard_predictions_equal_recognizer(
    answers: Predictions, toy: Manifest, tiny_bundle: Path
) -> None:
    model = emovox.load(tiny_bundle)
    for i in range(0, len(toy), 17):
        prediction = model.predict(toy.file(toy.utterances[i]))
        assert answers.y_pred[i] == prediction.label
        assert answers.probabilities[i].tolist() == [prediction.scores[name] for name in LABELS]
    assert len(set(answers.y_pred)) > 2, "a constant answer would test little"


def test_segment_equals_file(toy: Manifest, tiny_bundle: Path, tmp_path: Path) -> None:
    one, two = (soundfile.read(toy.file(toy.utterances[i]), dtype="float32")[0] for i in (0, 27))
    soundfile.write(tmp_path / "both.wav", np.concatenate([one, two]), 16_000)
    cut = len(one) / 16_000
    rows = (
        replace(toy.utterances[0], path="both.wav", end=cut),
        replace(toy.utterances[27], path="both.wav", start=cut),
    )
    stretched = predict_manifest(emovox.load(tiny_bundle), Manifest(tmp_path, rows))
    alone = predict_manifest(emovox.load(tiny_bundle), toy.select([toy.ids[0], toy.ids[27]]))
    np.testing.assert_allclose(stretched.probabilities, alone.probabilities, atol=1e-6)


def test_unreadable_clip_is_wrong(toy: Manifest, tiny_bundle: Path) -> None:
    rows = (replace(toy.utterances[0], path="gone.wav"), *toy.utterances[1:30])
    broken = predict_manifest(emovox.load(tiny_bundle), Manifest(toy.root, rows))
    assert broken.y_pred[0] == NO_LABEL
    assert [key for key, _ in broken.errors] == [toy.ids[0]]
    assert "gone.wav" in broken.errors[0][1]
    document = document_of(broken, toy, tiny_bundle)
    assert document["confusion"]["answered"][-1] == NO_LABEL
    assert document["scores"]["n_unanswered"] == 1
    assert document["errors"][0]["id"] == toy.ids[0]
    assert broken.where(lambda i: i > 0).errors == ()
    assert Predictions.concatenate([broken.where(lambda i: i > 0), broken]).errors == broken.errors


def test_the_csv_holds_every_answer(answers: Predictions) -> None:
    rows = list(csv.DictReader(io.StringIO(answers.to_csv())))
    assert [row["id"] for row in rows] == list(answers.ids)
    assert [row["answer"] for row in rows] == list(answers.y_pred)
    table = [[float(row[f"{name}_prob"]) for name in LABELS] for row in rows]
    np.testing.assert_allclose(table, answers.probabilities, atol=5e-7)


# --- the document ---------------------------------------------------------------------------------


def test_figures_equal_scikit_learns(answers: Predictions, toy: Manifest, tiny_bundle: Path) -> None:
    from sklearn import metrics as sk

    scores = document_of(answers, toy, tiny_bundle)["scores"]
    true, pred, probs = answers.y_true, answers.y_pred, answers.probabilities
    order = sorted(range(5), key=lambda n: LABELS[n])
    expected = {
        "macro_f1": sk.f1_score(true, pred, average="macro", labels=LABELS, zero_division=0),
        "weighted_f1": sk.f1_score(true, pred, average="weighted", labels=LABELS, zero_division=0),
        "log_loss": sk.log_loss(true, probs[:, order], labels=sorted(LABELS)),
        "auc": sk.roc_auc_score(
            true, probs[:, order], multi_class="ovr", average="macro", labels=sorted(LABELS)
        ),
    }
    assert scores["uar"]["value"] == pytest.approx(sk.balanced_accuracy_score(true, pred), abs=1e-6)
    assert scores["wa"]["value"] == pytest.approx(sk.accuracy_score(true, pred), abs=1e-6)
    for name, value in expected.items():
        assert scores[name] == pytest.approx(value, abs=1e-6), name


def test_tables_count_every_clip_once(answers: Predictions, toy: Manifest, tiny_bundle: Path) -> None:
    document = document_of(answers, toy, tiny_bundle)
    n = len(toy)
    assert sum(map(sum, document["confusion"]["counts"])) == n
    assert sum(row["n"] for row in document["classes"]) == n
    assert sum(row["n_answers"] for row in document["classes"]) == n
    assert sum(row["n"] for row in document["reliability"]) == n
    assert sum(row["n_clips"] for row in document["speakers"]) == n
    for one in document["groups"]:
        assert sum(row["n_clips"] for row in one["rows"]) == n
        assert sum(row["n_speakers"] for row in one["rows"]) == N_SPEAKERS
    hits = sum(document["confusion"]["counts"][k][k] for k in range(5))
    assert document["scores"]["wa"]["value"] == pytest.approx(hits / n, abs=1e-6)
    last = document["risk_coverage"]["points"][-1]
    assert last["coverage"] == 1
    assert last["risk"] == pytest.approx(1 - hits / n, abs=1e-6)
    assert len(document["risk_coverage"]["points"]) <= 100


def test_groups_table(answers: Predictions, toy: Manifest, tiny_bundle: Path) -> None:
    groups = {one["by"]: one for one in document_of(answers, toy, tiny_bundle)["groups"]}
    by_sex = {row["group"]: row["uar"] for row in groups["sex"]["rows"]}
    for sex in by_sex:
        part = answers.where(lambda i, sex=sex: toy.utterances[i].sex == sex)
        assert by_sex[sex] == pytest.approx(metrics.uar(part.y_true, part.y_pred), abs=1e-6)
    assert groups["sex"]["gap"] == pytest.approx(abs(by_sex["female"] - by_sex["male"]), abs=2e-6)
    bands = [row["group"] for row in groups["age"]["rows"]]
    assert bands == ["18 to 29", "30 to 44", "45 to 59", "60 and over", None], "speaker 0 has no age"
    assert groups["language"]["gap"] is None


def test_no_interval_under_ten_speakers(answers: Predictions, toy: Manifest, tiny_bundle: Path) -> None:
    few = answers.where(lambda i: answers.speakers[i] < "toy-09")
    document = document_of(few, toy, tiny_bundle)
    assert document["scores"]["uar"]["low"] is None
    assert len(document["speakers"]) == 9
    whole = document_of(answers, toy, tiny_bundle)["scores"]["uar"]
    assert whole["low"] < whole["value"] < whole["high"]


def test_splits_get_a_row_each(answers: Predictions, toy: Manifest, tiny_bundle: Path) -> None:
    folds = make_splits(toy, "speaker-kfold/3")
    document = document_of(answers, toy, tiny_bundle, protocol="speaker-kfold/3", splits=folds)
    assert [row["split"] for row in document["splits"]] == [fold.name for fold in folds]
    assert sum(row["n_clips"] for row in document["splits"]) == len(toy)
    first = answers.where(lambda i: answers.ids[i] in folds[0].test)
    assert document["splits"][0]["uar"] == pytest.approx(metrics.uar(first.y_true, first.y_pred), abs=1e-6)


def test_document_without_scores(toy: Manifest, tiny_bundle: Path) -> None:
    few = toy.utterances[:3]
    nothing = Predictions(
        ids=tuple(u.id for u in few),
        labels=LABELS,
        y_true=tuple(u.emotion for u in few),
        y_pred=(NO_LABEL,) * 3,
        speakers=tuple(u.speaker for u in few),
        corpora=("toy",) * 3,
        probabilities=np.full((3, 5), math.nan),
        abstained=np.ones(3, bool),
    )
    document = document_of(nothing, toy, tiny_bundle)
    assert document["scores"]["uar"]["value"] == 0
    assert (
        document["scores"]["ece"] is document["scores"]["auc"] is document["scores"]["answered_uar"] is None
    )
    assert document["reliability"] == []
    assert document["risk_coverage"]["now"] == {"coverage": 0.0, "risk": None}
    json.dumps(document, allow_nan=False)


def judged_by_hand() -> tuple[Predictions, Manifest]:
    """Answers that no model gave, out of a fixed rule: no platform can change them."""
    rows, true, pred, probs = [], [], [], []
    for n in range(120):
        emotion = LABELS[n % 5]
        weights = np.array([1.0 + ((n * 7 + k * 13) % 11) for k in range(5)]) / 64
        weights[(n + (n % 7 == 0) + 2 * (n % 11 == 0)) % 5] += 1 - weights.sum()
        true.append(emotion)
        pred.append(LABELS[int(weights.argmax())])
        probs.append(weights)
        rows.append(
            Utterance(
                id=f"hand/{n}",
                path=f"{n}.wav",
                corpus="hand",
                speaker=f"hand-{n % 12:02}",
                emotion=emotion,
                original=emotion,
                sex=("female", "male", None)[n % 3],
                age=(16, 25, 40, 70)[n % 4],
                language=("de", "en")[n % 2],
            )
        )
    manifest = Manifest(Path(), tuple(rows))
    table = np.array(probs)
    done = Predictions(
        ids=manifest.ids,
        labels=LABELS,
        y_true=tuple(true),
        y_pred=tuple(pred),
        speakers=tuple(u.speaker for u in rows),
        corpora=("hand",) * 120,
        probabilities=table,
        abstained=table.max(axis=1) < 0.5,
    )
    return done, manifest


def without_the_model(document: dict[str, Any]) -> dict[str, Any]:
    """What does not hang on versions of emovox and of the library that writes ONNX files."""
    return {**document, "model": {**document["model"], "sha256": ""}, "emovox": "x"}


def test_golden_document(tiny_bundle: Path) -> None:
    done, manifest = judged_by_hand()
    spec = emovox.load(tiny_bundle).spec
    folds = make_splits(manifest, "speaker-kfold/3")
    document = without_the_model(
        make_scorecard(
            done,
            manifest,
            spec=spec,
            stamp=find_stamp(spec, manifest, done.ids),
            protocol="speaker-kfold/3",
            splits=folds,
            settings={"left_out": {"disgust": 3}},
        )
    )
    text = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
    assert text == (GOLDEN / "evaluation.json").read_text(encoding="utf-8")


def close(a: Any, b: Any, where: str = "") -> None:
    """Equal, floats within what other processors may compute."""
    if isinstance(a, dict) and isinstance(b, dict):
        assert a.keys() == b.keys(), where
        for key in a:
            close(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list) and isinstance(b, list):
        assert len(a) == len(b), where
        for n, (x, y) in enumerate(zip(a, b, strict=True)):
            close(x, y, f"{where}.{n}")
    else:
        assert a == (pytest.approx(b, abs=2e-4) if isinstance(b, float) else b), where


def test_golden_evaluation_through_the_command(
    toy: Manifest, tiny_bundle: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    texts = []
    for workers in ("1", "2"):
        out = tmp_path / workers
        argv = ["evaluate", "--model", str(tiny_bundle), "--data", str(toy.root), "-o", str(out)]
        assert main([*argv, "--workers", workers]) == 0
        texts.append((out / "evaluation.json").read_text(encoding="utf-8"))
    assert texts[0] == texts[1], "the same answers must give the same bytes"
    expected = json.loads((GOLDEN / "evaluation_of_tiny.json").read_text(encoding="utf-8"))
    close(without_the_model(json.loads(texts[0])), expected)


# --- the stamp ------------------------------------------------------------------------------------


@pytest.fixture
def spec_of(make_bundle: Callable[..., Path]) -> Callable[..., Any]:
    return lambda **changes: emovox.load(make_bundle(**changes)).spec


def test_foreign_clips_are_strict(toy: Manifest, spec_of: Callable[..., Any]) -> None:
    found = find_stamp(spec_of(corpora=("ravdess",)), toy, toy.ids)
    assert found.stamp == "strict"
    assert "ravdess" in found.reasons[0]


@pytest.mark.parametrize(
    "protocol",
    [
        "held-out speakers: see scores",
        "strict",
        "loso/nobody",
        "speaker-kfold/3/0/1",
        "random/0.25/0",
        "emobox/toy/1",
        "file/mine",
        "speaker-kfold/3/0/1#0123456789abcdef",
    ],
)
def test_protocol_words_prove_nothing(toy: Manifest, spec_of: Callable[..., Any], protocol: str) -> None:
    tested = make_splits(toy, "speaker-kfold/3/0/1")[0].test
    found = find_stamp(spec_of(corpora=("ravdess", "toy"), protocol=protocol), toy, tested)
    assert found.stamp == "contaminated"
    assert "trained on toy" in found.reasons[0]


def test_unknown_training_is_contaminated(toy: Manifest, spec_of: Callable[..., Any]) -> None:
    assert find_stamp(spec_of(corpora=()), toy, toy.ids).stamp == "contaminated"


def test_held_out_split_is_accepted(toy: Manifest, spec_of: Callable[..., Any]) -> None:
    split = make_splits(toy, "speaker-kfold/3/0/1")[0]
    spec = spec_of(corpora=("toy",), protocol=f"{split.name}#{split.digest}")
    found = find_stamp(spec, toy, split.test)
    assert found.stamp == split.stamp == "text-shared"
    partly = find_stamp(spec, toy, [*split.test, split.train[0]])
    assert partly.stamp == "contaminated"
    assert f"1 of the {len(split.test) + 1} clips" in partly.reasons[0]
    assert find_stamp(spec, toy, [*split.test, split.validation[0]]).stamp == "contaminated"


def test_absent_held_out_speakers(toy: Manifest, spec_of: Callable[..., Any]) -> None:
    spec = spec_of(corpora=("toy", "elsewhere"), protocol="speakers/elsewhere-7,toy-03")
    mine = toy.where(speaker="toy-03").ids
    assert find_stamp(spec, toy, mine).stamp in ("strict", "text-shared")
    assert find_stamp(spec, toy, toy.where(speaker="toy-04").ids).stamp == "contaminated"
    absent = spec_of(corpora=("toy", "elsewhere"), protocol="speakers/elsewhere-7")
    assert find_stamp(absent, toy, mine).stamp == "contaminated"


def test_named_speakers_need_no_digest(toy: Manifest, spec_of: Callable[..., Any]) -> None:
    spec = spec_of(corpora=("toy",), protocol="speakers/toy-03,toy-05")
    tested = [u.id for u in toy if u.speaker in ("toy-03", "toy-05")]
    assert find_stamp(spec, toy, tested).stamp == "text-shared"
    assert find_stamp(spec, toy, tested[:4]).stamp == "text-shared"
    assert find_stamp(spec, toy, toy.ids).stamp == "contaminated"
    silent = Manifest(toy.root, tuple(replace(u, text=None) for u in toy))
    assert find_stamp(spec, silent, tested).stamp == "strict"


def test_random_split_is_speaker_dependent(toy: Manifest, spec_of: Callable[..., Any]) -> None:
    split = protocols.random_split(toy)
    spec = spec_of(corpora=("toy",), protocol=f"{split.name}#{split.digest}")
    found = find_stamp(spec, toy, split.test)
    assert found.stamp == "speaker-dependent"
    assert "of its 12 speakers" in found.reasons[1]


def test_split_file_is_known(toy: Manifest, spec_of: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text(
        "speaker,part\n" + "".join(f"toy-{n:02},{'train' if n < 9 else 'test'}\n" for n in range(12))
    )
    (split,) = make_splits(toy, str(file))
    spec = spec_of(corpora=("toy",), protocol=f"file/mine#{split.digest}")
    assert find_stamp(spec, toy, split.test, known=(split,)).stamp == "text-shared"
    assert find_stamp(spec, toy, split.test).stamp == "contaminated", "without the file nothing can be shown"


def test_digest_under_any_name(toy: Manifest, spec_of: Callable[..., Any], tmp_path: Path) -> None:
    made = make_splits(toy, "speaker-kfold/3/0/1")
    (split,) = make_splits(toy, str(write_splits(tmp_path / "split.csv", made)))
    spec = spec_of(corpora=("toy",), protocol=f"{made[0].name}#{made[0].digest}")
    other = make_splits(toy, "speaker-kfold/3/1/1")
    assert split.name != made[0].name
    part = toy.where(emotion=("angry", "sad", "happy"))  # the fold cannot be made again of these alone
    tested = [key for key in split.test if key in part.by_id]
    assert find_stamp(spec, toy, tested, known=(split,)).stamp == "text-shared"
    theirs = spec_of(corpora=("toy",), protocol=f"file/gone#{split.digest}")
    assert find_stamp(theirs, toy, tested, known=(split,)).stamp == "text-shared"
    assert find_stamp(theirs, toy, tested, known=other).stamp == "contaminated"


def test_split_of_relabelled_clips(toy: Manifest, spec_of: Callable[..., Any]) -> None:
    asked = Dataset(toy).relabel(labels=("angry", "sad")).manifest
    split = make_splits(asked, "speaker-kfold/3/0/1")[0]
    spec = spec_of(corpora=("toy",), protocol=f"{split.name}#{split.digest}")
    assert find_stamp(spec, toy, split.test, relabelled=asked).stamp == "text-shared"
    assert find_stamp(spec, toy, [*split.test, split.train[0]], relabelled=asked).stamp == "contaminated"
    assert find_stamp(spec, toy, split.test).stamp == "contaminated", "of all clips it is another one"


def test_training_files_under_any_name(toy: Manifest, spec_of: Callable[..., Any]) -> None:
    split = make_splits(toy, "speaker-kfold/3/0/1")[0]
    taught = leakage.pack_hashes(toy.select([*split.train, *split.validation]))
    spec = spec_of(corpora=("mine",), taught=taught, protocol=f"given#{split.digest}")
    renamed = Manifest(toy.root, tuple(replace(u, id=f"sub/{u.id}", corpus="sub") for u in toy))
    found = find_stamp(spec, renamed, renamed.ids)
    assert found.stamp == "contaminated"
    n = len(split.train) + len(split.validation)
    assert found.reasons[0].startswith(f"{n} of the {len(toy)} clips are files that the model was trained or")
    held = find_stamp(spec, renamed, [f"sub/{key}" for key in split.test])
    assert held.stamp == "strict"
    assert f"none of the {len(split.test)} clips is a file that it was trained" in held.reasons[1]
    ours = spec_of(corpora=("toy",), taught=taught, protocol=f"{split.name}#{split.digest}")
    assert find_stamp(ours, toy, split.test).stamp == "text-shared", (
        "a memory makes nothing worse that is held out"
    )


def test_uncompared_names_are_not_strict(toy: Manifest, spec_of: Callable[..., Any]) -> None:
    found = find_stamp(spec_of(corpora=("mine", "emodb")), toy, toy.ids)
    assert found.stamp == "unverified"
    assert "the recordings were not compared" in found.reasons[1]
    assert found.reasons[1].endswith("mine is no corpus that emovox knows")
    assert len(find_stamp(spec_of(corpora=("emodb",)), toy, toy.ids).reasons) == 1, (
        "its clips are known by name"
    )


def test_hashes_of_segments(toy: Manifest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = toy.utterances[0]
    cut = [replace(whole, id=f"toy/{n}", start=0.1 * n, end=0.1 * n + 0.1) for n in range(3)]
    rows = Manifest(toy.root, (whole, *cut))
    assert len({*leakage.hash_clips(rows).values()}) == 4, "another stretch is another clip"
    again = replace(whole, id="toy/again", start=0.0)
    gone = replace(whole, id="toy/gone", path="gone.wav")
    taught = leakage.pack_hashes(Manifest(toy.root, (whole, gone)))
    assert len(taught) == 8
    assert leakage.find_hashed_clips(taught, Manifest(toy.root, (*rows, again, gone))) == (
        whole.id,
        "toy/again",
    )
    assert leakage.find_hashed_clips("", toy) == ()
    monkeypatch.setattr(leakage, "MAX_HASHED_CLIPS", len(toy))
    assert len(leakage.pack_hashes(toy)) == 8 * len(toy)
    monkeypatch.setattr(leakage, "MAX_HASHED_CLIPS", len(toy) - 1)
    assert leakage.pack_hashes(toy) == "", "of too many nothing is remembered"


def test_songs_share_speakers(toy: Manifest, spec_of: Callable[..., Any]) -> None:
    sung = Manifest(toy.root, tuple(replace(u, corpus="ravdess_song") for u in toy))
    found = find_stamp(spec_of(corpora=("ravdess",)), sung, sung.ids)
    assert found.stamp == "speaker-dependent"
    assert "ravdess_song" in found.reasons[0]


def test_renamed_corpus_is_contaminated(toy: Manifest, spec_of: Callable[..., Any], tmp_path: Path) -> None:
    for name in ("OAF_back_angry", "OAF_back_happy", "YAF_bar_sad"):
        (tmp_path / "all" / "tess" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "all" / "tess" / f"{name}.wav").write_bytes(b"x")
    opened = Dataset.load(tmp_path / "all").manifest
    assert opened.corpora == ("all",), "read by the ends of the names"
    found = find_stamp(spec_of(corpora=("tess",)), opened, opened.ids)
    assert found.stamp == "contaminated"
    assert "emovox evaluate --corpus tess" in found.reasons[0]
    assert find_stamp(spec_of(corpora=("emodb",)), opened, opened.ids).stamp == "strict"
    turned = Manifest(opened.root, tuple(replace(u, emotion="calm") for u in opened))
    assert find_stamp(spec_of(corpora=("tess",)), turned, turned.ids).stamp == "strict", (
        "same names by chance"
    )
    poured = Manifest(toy.root, (*toy, replace(opened.utterances[0], corpus="toy")))
    found = find_stamp(spec_of(corpora=("tess",)), poured, poured.ids)
    assert found.stamp == "contaminated", "a corpus poured together with others"
    assert f"1 of the {len(poured)} clips" in found.reasons[0]


def test_table_of_named_corpus(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for name in ("03a01Fa", "08a02Wb"):
        (tmp_path / "a" / f"{name}.wav").write_bytes(b"x")
    (tmp_path / "list.csv").write_text("path,emotion\na/03a01Fa.wav,happy\na/08a02Wb.wav,angry\n")
    found = Dataset.load(tmp_path / "list.csv", corpus="emodb").manifest
    assert found.corpora == ("emodb",)
    assert found.speakers == ("emodb-03", "emodb-08")


def test_foreign_clips_are_no_training(toy: Manifest, spec_of: Callable[..., Any]) -> None:
    other = tuple(
        replace(u, id=f"mine/{u.id[4:]}", corpus="mine", speaker=u.speaker.replace("toy", "mine"), text=None)
        for u in toy
    )
    both = Manifest(toy.root, (*toy, *other))
    spec = spec_of(corpora=("toy",), protocol="speakers/toy-03")
    held = [u.id for u in both if u.speaker == "toy-03" or u.corpus == "mine"]
    assert find_stamp(spec, both, held).stamp == "text-shared"
    count = find_stamp(spec, both, both.ids).reasons[0]
    assert f"{len(toy) - len(toy.where(speaker='toy-03'))} of the {len(both)} clips" in count
    alone = both.keep(lambda u: u.id in held)
    found = find_stamp(spec, alone, toy.where(speaker="toy-03").ids)
    assert found.stamp == "text-shared", "without the training clips, sentences cannot be ruled out"


def test_absent_speakers_are_reported(toy: Manifest, spec_of: Callable[..., Any]) -> None:
    found = find_stamp(spec_of(corpora=("toy",), protocol="speakers/x-1,x-2"), toy, toy.ids)
    assert "none of the speakers that it held out" in found.reasons[-1]


@pytest.mark.corpora
def test_default_model_stamp() -> None:
    corpora = os.environ.get("EMOVOX_CORPORA")
    known = [one for one in registry.models() if one.name == "default"]
    if not corpora or not known:
        pytest.skip("EMOVOX_CORPORA is unset, or the default model is not there")
    manifest = Dataset.load(Path(corpora) / "ravdess").manifest
    found = find_stamp(known[0].spec, manifest, manifest.ids)
    assert found.stamp == "contaminated"
    assert "ravdess" in found.reasons[0] or "trains or validates" in found.reasons[0]


# --- data -----------------------------------------------------------------------------------------


def test_data_manifest_or_folder(toy: Manifest) -> None:
    for found in (
        Dataset.load(toy.root),
        Dataset.load(toy.root / "manifest.csv"),
        Dataset.load(toy.root, corpus="toy"),
    ):
        assert found.manifest.ids == toy.ids
        assert (found.n_unread, found.notes) == (0, ())
    with pytest.raises(ManifestError, match="only of toy"):
        Dataset.load(toy.root, corpus="ravdess")
    with pytest.raises(ManifestError, match="there is no"):
        Dataset.load(toy.root / "none.csv")


def test_corpus_by_folder_name(tmp_path: Path) -> None:
    for name in ("RAVDESS", "misc"):
        folder = tmp_path / name / "Actor_01"
        folder.mkdir(parents=True)
        (folder / "03-01-05-01-01-01-01.wav").write_bytes(b"x")
    assert Dataset.load(tmp_path / "RAVDESS").manifest.corpora == ("ravdess",)
    assert Dataset.load(tmp_path / "RAVDESS" / "Actor_01").manifest.corpora == ("ravdess",)
    assert Dataset.load(tmp_path / "misc", corpus="ravdess").manifest.corpora == ("ravdess",)
    with pytest.raises(ManifestError, match="data prepare NAME"):
        Dataset.load(tmp_path / "misc")


def test_missing_files_are_reported(tmp_path: Path) -> None:
    folder = tmp_path / "RAVDESS" / "Actor_01"
    folder.mkdir(parents=True)
    (folder / "03-01-05-01-01-01-01.wav").write_bytes(b"x")
    (folder / "strange.wav").write_bytes(b"x")
    found = Dataset.load(tmp_path / "RAVDESS")
    assert found.n_unread == 1439 + 1
    assert any("strange.wav" in note for note in found.notes)


def test_lost_rows_are_reported(toy: Manifest) -> None:
    file = toy.root / "plain.csv"
    names = [u.path for u in toy.utterances[:3]]
    file.write_text(f"path,emotion\n{names[0]},happy\n{names[1]},flummoxed\n{names[2]},\n")
    with pytest.raises(ManifestError, match=r"1 of 3 rows .* line 4: it names no emotion.*--drop-unknown"):
        Dataset.load(file)
    found = Dataset.load(file, drop_unknown=True)
    assert [u.emotion for u in found.manifest] == ["happy", "flummoxed"]
    assert found.n_unread == 1
    assert any("flummoxed" in note for note in found.notes)


def test_folding_report(toy: Manifest) -> None:
    calm = Manifest(
        toy.root, tuple(replace(u, emotion="calm") if u.emotion == "happy" else u for u in toy.utterances)
    )
    question = Dataset(calm).relabel(mapping=label_map("4"), labels=("neutral", "sad"))
    assert question.merged == {"neutral": ("calm", "neutral")}
    assert question.dropped == {"angry": 24, "fear": 24}
    assert question.manifest.counts("emotion") == {"neutral": 48, "sad": 24}
    with pytest.raises(ManifestError, match="no clip is left"):
        Dataset(toy).relabel(labels=("boredom",))


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tiny_bundle: Path) -> Callable[..., tuple[int, str, str]]:
    def call(*argv: str | Path, model: Path = tiny_bundle) -> tuple[int, str, str]:
        capfd.readouterr()
        code = main(["evaluate", "--model", str(model), *map(str, argv)])
        said = capfd.readouterr()
        return code, said.out, said.err

    return call


def test_command_prints_stamp_and_score(run: Callable[..., Any], toy: Manifest, answers: Predictions) -> None:
    code, out, err = run("--data", toy.root)
    assert (code, err) == (0, "")
    assert "stamp     unverified" in out
    assert f"UAR       {100 * answers.uar().value:.1f} [" in out


def test_command_stamps_training_data(
    run: Callable[..., Any], toy: Manifest, make_bundle: Callable[..., Path]
) -> None:
    model = make_bundle(corpora=("toy", "emodb"), protocol="held-out speakers")
    code, out, _ = run("--data", toy.root, "--format", "json", model=model)
    found = json.loads(out)["stamp"]
    assert (code, found["stamp"]) == (0, "contaminated")
    assert "the model was trained on toy, from which 120 of 120 clips come" in found["reasons"]


def test_command_tests_protocol_speakers(run: Callable[..., Any], toy: Manifest) -> None:
    code, out, _ = run("--data", toy.root, "--protocol", "speakers/toy-01,toy-02", "--format", "json")
    document = json.loads(out)
    assert (code, document["data"]["n_clips"], document["data"]["n_speakers"]) == (0, 20, 2)
    assert document["protocol"]["splits"][0]["name"] == "speakers/toy-01,toy-02"


def test_left_out_emotions_are_told(run: Callable[..., Any], toy: Manifest) -> None:
    code, out, err = run("--data", toy.root, "--labels", "angry,happy", "--format", "json")
    document = json.loads(out)
    assert (code, document["data"]["n_clips"]) == (0, 48)
    assert document["settings"]["left_out"] == {"fear": 24, "neutral": 24, "sad": 24}
    assert "left out" in err
    assert "fear 24" in err


def test_unpredictable_emotions_stop(
    run: Callable[..., Any], toy: Manifest, make_bundle: Callable[..., Path]
) -> None:
    code, _, err = run("--data", toy.root, model=make_bundle(("happy", "sad")))
    assert code == 2
    assert "--labels happy,sad" in err


def test_output_folder_is_not_overwritten(run: Callable[..., Any], toy: Manifest, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    assert run("--data", toy.root, "--labels", "angry,sad", "-o", out)[0] == 0
    assert sorted(p.name for p in out.iterdir()) == (
        ["answers.csv", "evaluation.html", "evaluation.json", "evaluation.md"]
    )
    before = (out / "evaluation.json").read_bytes()
    code, _, err = run("--data", toy.root, "-o", out)
    assert code == 2
    assert "--force" in err
    assert (out / "evaluation.json").read_bytes() == before
    assert run("--data", toy.root, "-o", out, "--force")[0] == 0
    assert (out / "evaluation.json").read_bytes() != before
    assert run("--data", toy.root, "-o", out / "answers.csv")[0] == 2


def test_unreadable_clips_exit_code(run: Callable[..., Any], toy: Manifest, tmp_path: Path) -> None:
    rows = tuple(replace(u, path=f"x/{u.path}") for u in toy.utterances[:5])
    link = tmp_path / "x"
    link.symlink_to(toy.root)
    file = Manifest(tmp_path, (replace(rows[0], path="x/none.wav"), *rows[1:])).write_csv(tmp_path / "m.csv")
    code, out, err = run("--data", file)
    assert code == 1
    assert f"{toy.ids[0]}:" in err
    assert "1 of 5 clips" in err
    assert "stamp" in out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("--protocol", "emobx"), "did you mean 'emobox'"),
        (("--labels", "angrry"), "angry"),
        (("--map", "5"), "there are 9, 7, 6, 4"),
        (("--corpus", "other"), "only of toy"),
        (("--workers", "0"), "workers"),
    ],
)
def test_wrong_requests_are_told(
    run: Callable[..., Any], toy: Manifest, argv: tuple[str, ...], said: str
) -> None:
    code, _, err = run("--data", toy.root, *argv)
    assert code == 2
    assert said in err
