"""An evaluation is what a user would have been answered, and no clip goes missing from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emovox.bundles import load_bundle
from emovox.datasets.manifest import Manifest, Utterance
from emovox.errors import LabelError, ManifestError
from emovox.evaluation import metrics
from emovox.evaluation.predictions import NO_LABEL, Predictions, predict_manifest
from emovox.inference.recognizer import Recognizer

RATE = 16_000
EMOTIONS = ("neutral", "happy", "sad", "angry", "fear")


@pytest.fixture(scope="module")
def model(tiny_bundle: Path) -> Recognizer:
    return Recognizer(load_bundle(tiny_bundle), vad="off")


def sound(hz: float, seconds: float = 1.0) -> np.ndarray:
    t = np.arange(round(seconds * RATE)) / RATE
    return (0.2 * np.sin(2 * np.pi * hz * t) + 0.05 * np.sin(2 * np.pi * 5.3 * hz * t)).astype(np.float32)


def utterance(key: str, path: str, emotion: str, speaker: str = "a", **more: object) -> Utterance:
    return Utterance(
        id=f"made/{key}", path=path, corpus="made", speaker=f"made-{speaker}", emotion=emotion, original="x",
        **more,  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    """Twelve clips of three speakers."""
    rows = []
    for k in range(12):
        soundfile.write(tmp_path / f"{k}.wav", sound(120 * 1.4**k, 0.6 + 0.1 * k), RATE)
        rows.append(utterance(str(k), f"{k}.wav", EMOTIONS[k % 5], "abc"[k % 3]))
    return Manifest(tmp_path, tuple(rows))


def made(**changes: object) -> Predictions:
    """Four clips; the third was not answered, the last but for its label."""
    whole = Predictions(
        ids=("made/0", "made/1", "made/2", "made/3"),
        labels=("happy", "sad"),
        y_true=("happy", "happy", "sad", "sad"),
        y_pred=("happy", "sad", NO_LABEL, "sad"),
        speakers=("a", "b", "a", "b"),
        corpora=("x", "x", "y", "y"),
        probabilities=np.array([[0.9, 0.1], [0.4, 0.6], [np.nan, np.nan], [0.3, 0.7]]),
        abstained=np.array([False, False, True, True]),
    )
    return replace(whole, **changes)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------ answers


def test_predictions_equal_recognizer(model: Recognizer, manifest: Manifest) -> None:
    found = predict_manifest(model, manifest)
    for k, u in enumerate(manifest):
        answer = model.predict(manifest.file(u))
        assert found.y_pred[k] == answer.top[0][0]
        assert dict(zip(found.labels, found.probabilities[k], strict=True)) == dict(answer.scores)
        assert found.abstained[k] == (answer.label is None)
    assert found.ids == manifest.ids
    assert found.y_true == tuple(u.emotion for u in manifest)
    assert found.speakers == tuple(u.speaker for u in manifest)
    assert found.corpora == ("made",) * 12
    assert len(set(found.y_pred)) > 1  # else the test could not tell clips apart
    assert found.uar().value == metrics.uar(found.y_true, found.y_pred)
    assert found.wa().value == np.mean([a == b for a, b in zip(found.y_true, found.y_pred, strict=True)])
    assert found.uar().n_speakers == 3


def test_restricted_labels_are_renormalised(model: Recognizer, manifest: Manifest) -> None:
    some = manifest.where(emotion=("happy", "sad"))
    whole, two = predict_manifest(model, some), predict_manifest(model, some, labels=("sadness", "happy"))
    assert two.labels == ("sad", "happy")
    columns = whole.probabilities[:, [whole.labels.index(name) for name in two.labels]]
    np.testing.assert_allclose(two.probabilities, columns / columns.sum(1, keepdims=True), atol=1e-9)


def test_an_abstention_is_still_scored(make_bundle: Callable[..., Path], manifest: Manifest) -> None:
    from emovox.bundles import Abstain

    sure = predict_manifest(Recognizer(load_bundle(make_bundle()), vad="off"), manifest)
    shy = predict_manifest(
        Recognizer(load_bundle(make_bundle(abstain=Abstain(confidence=0.999))), vad="off"), manifest
    )
    assert shy.y_pred == sure.y_pred
    assert shy.abstained.all()
    assert not sure.abstained.any()
    assert (shy.coverage(), sure.coverage()) == (0.0, 1.0)
    assert shy.answered_uar() is None
    assert sure.answered_uar() == sure.uar().value


def test_unscored_clips_are_wrong(model: Recognizer, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "good.wav", sound(400), RATE)
    soundfile.write(tmp_path / "silent.wav", np.zeros(RATE), RATE)
    soundfile.write(tmp_path / "short.wav", sound(400, 0.1), RATE)
    (tmp_path / "broken.wav").write_text("no sound")
    label = model.predict(tmp_path / "good.wav").label
    assert label is not None
    names = ("good", "silent", "short", "broken", "missing")
    rows = tuple(utterance(name, f"{name}.wav", label) for name in names)
    found = predict_manifest(model, Manifest(tmp_path, rows))
    assert found.y_pred == (label, *[NO_LABEL] * 4)
    assert found.uar().value == found.wa().value == 0.2
    assert found.coverage() == pytest.approx(0.2)
    assert found.abstained.tolist() == [False, True, True, True, True]
    np.testing.assert_array_equal(np.isnan(found.probabilities).all(1), found.abstained)
    assert found.ece() == predict_manifest(model, Manifest(tmp_path, rows[:1])).ece()
    assert found.largest_share() == (NO_LABEL, 0.8)


def test_segment_equals_array(model: Recognizer, tmp_path: Path) -> None:
    parts = [sound(150, 1.5), sound(900, 1.0), sound(3000, 1.2)]
    soundfile.write(tmp_path / "all.wav", np.concatenate(parts), RATE, subtype="FLOAT")
    (tmp_path / "broken.wav").write_text("no sound")
    rows = (
        utterance("first", "all.wav", "sad", end=1.5),
        utterance("second", "all.wav", "sad", start=1.5, end=2.5),
        utterance("third", "all.wav", "sad", start=2.5),
        utterance("whole", "all.wav", "sad"),
        utterance("beyond", "all.wav", "sad", start=60.0),
        utterance("broken", "broken.wav", "sad", start=0.5),
    )
    told: list[tuple[int, int]] = []
    found = predict_manifest(model, Manifest(tmp_path, rows), progress=lambda done, n: told.append((done, n)))
    for row, x in zip(found.probabilities, [*parts, np.concatenate(parts)], strict=False):
        scores = model.predict(x, sample_rate=RATE).scores
        np.testing.assert_array_equal(row, [scores[name] for name in found.labels])
    assert np.abs(found.probabilities[0] - found.probabilities[1]).max() > 0.01
    assert found.y_pred[4:] == (NO_LABEL, NO_LABEL)
    assert told == [(k + 1, 6) for k in range(6)]


def test_progress_per_clip(model: Recognizer, manifest: Manifest) -> None:
    told: list[tuple[int, int]] = []
    predict_manifest(model, manifest, progress=lambda done, n: told.append((done, n)))
    assert told == [(k + 1, 12) for k in range(12)]


def test_what_cannot_be_evaluated(model: Recognizer, manifest: Manifest) -> None:
    with pytest.raises(ManifestError, match="the manifest is empty"):
        predict_manifest(model, Manifest(manifest.root, ()))
    with pytest.raises(ManifestError, match="has 'angry', which is not among the labels"):
        predict_manifest(model, manifest.where(emotion=("happy", "angry")), labels=("happy", "sad"))
    strange = Manifest(manifest.root, (utterance("0", "0.wav", "boredom"),))
    with pytest.raises(ManifestError, match="'boredom'"):
        predict_manifest(model, strange)
    with pytest.raises(LabelError, match="boredom"):
        predict_manifest(model, manifest, labels=("boredom",))


# ------------------------------------------------------------------------------------ figures


def test_figures_by_hand() -> None:
    whole = made()
    assert len(whole) == 4
    assert whole.uar().value == 0.5  # happy 1 of 2, sad 1 of 2
    assert whole.wa().value == 0.5
    assert whole.coverage() == 0.5
    assert whole.answered_uar() == 0.5  # happy, happy -> happy, sad
    assert whole.largest_share() == ("sad", 0.5)
    # Each answered clip is alone in its bin: |0.9 - 1|, |0.6 - 0|, |0.7 - 1|.
    assert whole.ece() == pytest.approx((0.1 + 0.6 + 0.3) / 3)


def test_no_answer_at_all() -> None:
    none = made().where(lambda i: i == 2)
    assert none.uar().value == 0
    assert none.answered_uar() is None
    with pytest.raises(ValueError, match="no clips"):
        none.ece()


def test_where_keeps_rows_whole() -> None:
    whole = made()
    part = whole.where(lambda i: whole.corpora[i] == "y")
    assert part.ids == ("made/2", "made/3")
    assert part.y_true == ("sad", "sad")
    assert part.y_pred == (NO_LABEL, "sad")
    assert part.speakers == ("a", "b")
    assert part.corpora == ("y", "y")
    assert part.labels == whole.labels
    np.testing.assert_array_equal(part.probabilities, whole.probabilities[2:])
    np.testing.assert_array_equal(part.abstained, [True, True])


def test_joined_parts_are_the_whole() -> None:
    whole = made()
    parts = [whole.where(lambda i, k=k: i in k) for k in ((0,), (1, 2), (3,))]
    again = Predictions.concatenate(parts)
    for name in ("ids", "labels", "y_true", "y_pred", "speakers", "corpora"):
        assert getattr(again, name) == getattr(whole, name)
    np.testing.assert_array_equal(again.probabilities, whole.probabilities)
    np.testing.assert_array_equal(again.abstained, whole.abstained)
    assert again.uar() == whole.uar()


def test_other_labels_cannot_be_joined() -> None:
    with pytest.raises(ManifestError, match="different label sets"):
        Predictions.concatenate([made(), made(labels=("sad", "happy"))])
