"""Labels of one's own are trained, evaluated and predicted; rows without a label stop the run."""

from __future__ import annotations

from pathlib import Path

import pytest

import emovox
from emovox.errors import ManifestError
from emovox.training import run
from voices import toy_corpus, toy_tree

pytest.importorskip("sklearn")


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = toy_tree(tmp_path_factory.mktemp("tree") / "mine")
    for part in ("train", "test"):
        (root / part / "sad").rename(root / part / "Frustrated")
        (root / part).rename(root / f"{part}-custom")
    return root


def test_own_label_is_trained(tree: Path, tmp_path: Path) -> None:
    told: list[str] = []
    done = run.train(
        {
            "data": [str(tree)],
            "features": {"set": "emovox-core"},
            "model": {"kind": "classical", "name": "lda"},
        },
        output=tmp_path / "run",
        store=tmp_path / "store",
        notify=told.append,
        mlflow="off",
    )
    assert emovox.load(done.bundle).labels == ("neutral", "happy", "angry", "frustrated")
    assert done.evaluation.document["protocol"]["name"] == "given"
    assert any("taken as they are: frustrated 12" in line for line in told)
    clip = next((tree / "test-custom" / "Frustrated").iterdir())
    assert "frustrated" in emovox.load(done.bundle).predict(clip).scores
    again = emovox.evaluate(done.bundle, tree, "given", labels="frustrated,happy")
    assert set(again.predictions.y_true) == {"frustrated", "happy"}


def test_unlabelled_rows_stop_the_run(tmp_path: Path) -> None:
    manifest = toy_corpus(tmp_path / "c", n_speakers=4)
    rows = "".join(f"{u.path},{u.emotion},{u.speaker}\n" for u in manifest)
    (tmp_path / "c" / "t.csv").write_text(f"path,emotion,speaker\n{rows}0-happy-0.wav,,x\n")
    settings = {"data": [str(tmp_path / "c" / "t.csv")], "model": {"kind": "classical", "name": "lda"}}
    options = {"output": tmp_path / "run", "store": tmp_path / "store", "mlflow": "off"}
    with pytest.raises(ManifestError, match="--drop-unknown"):
        run.train(settings, **options)  # type: ignore[arg-type]
    done = run.train(settings, drop_unknown=True, **options)  # type: ignore[arg-type]
    assert done.config.drop_unknown


def test_one_speaker_per_clip_is_not_strict(tmp_path: Path) -> None:
    manifest = toy_corpus(tmp_path / "c", n_speakers=4)
    rows = "".join(f"{u.path},{u.emotion},{n}\n" for n, u in enumerate(manifest))
    (tmp_path / "c" / "t.csv").write_text(f"path,emotion,speaker\n{rows}")
    done = run.train(
        {"data": [str(tmp_path / "c" / "t.csv")], "model": {"kind": "classical", "name": "lda"}},
        output=tmp_path / "run",
        store=tmp_path / "store",
        mlflow="off",
    )
    stamp = done.evaluation.document["stamp"]
    assert stamp["stamp"] == "speaker-dependent"
    assert "the 32 clips of t have 32 speakers, nearly one each" in " ".join(stamp["reasons"])
