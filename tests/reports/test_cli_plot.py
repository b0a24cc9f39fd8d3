"""``emovox plot``: every kind is written, nothing is replaced unasked, and mistakes are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile

from emovox.cli import main
from voices import toy_corpus, voice

pytest.importorskip("matplotlib")

GOLDEN = Path(__file__).parents[1] / "golden" / "evaluation.json"


@pytest.mark.parametrize("suffix", [".svg", ".html"])
def test_confusion_of_an_evaluation(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"figure{suffix}"
    argv = ["plot", "confusion", str(GOLDEN), "-o", str(file)]
    assert main(argv) == 0
    first = file.read_text(encoding="utf-8")
    assert "protocol speaker-kfold/3" in first
    assert main(argv) == 2
    assert file.read_text(encoding="utf-8") == first
    assert main([*argv, "--force"]) == 0


def test_confusion_of_a_comparison(tmp_path: Path) -> None:
    matrix = {"labels": ["happy", "sad"], "counts": [[30, 15], [5, 40]]}
    row = {"name": "lda on seed-180", "error": None, "test": {"uar": 0.7, "confusion": matrix}}
    one = {"protocol": "emobox", "stamp": "strict", "systems": [row]}
    data = {"corpora": ["toy"], "n_clips": 90, "n_speakers": 12}
    document = {"kind": "comparison", "data": data, "protocols": [one]}
    (tmp_path / "compare.json").write_text(json.dumps(document))
    file = tmp_path / "figure.svg"
    assert main(["plot", "confusion", str(tmp_path), "-o", str(file)]) == 0
    assert "lda on seed-180: UAR 70.0 %" in file.read_text(encoding="utf-8")
    argv = ["plot", "confusion", str(tmp_path), "-o", str(file), "--force", "--system", "ldo on seed-180"]
    assert main(argv) == 2


@pytest.mark.parametrize("kind", ["radar", "waveform", "spectrogram"])
def test_figures_of_a_recording(kind: str, tiny_bundle: Path, tmp_path: Path) -> None:
    clip, file = tmp_path / "clip.wav", tmp_path / "figure.svg"
    soundfile.write(clip, voice(1, 2, 3), 16_000)
    assert main(["plot", kind, str(clip), "-o", str(file), "--model", str(tiny_bundle)]) == 0
    assert "clip.wav" in file.read_text(encoding="utf-8")


def test_a_projection_of_a_corpus(tmp_path: Path) -> None:
    toy_corpus(tmp_path / "toy", n_speakers=3, n_takes=1)
    file = tmp_path / "figure.svg"
    data = ["--data", str(tmp_path / "toy" / "toy.csv"), "--set", "seed-180", "--store", str(tmp_path / "s")]
    assert main(["plot", "projection", *data, "-o", str(file)]) == 0
    assert "angry (3)" in file.read_text(encoding="utf-8")


def test_tables_become_curves_and_bars(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text("epoch,train_loss,validation_uar\n0,2,\n1,1,0.5\n")
    (tmp_path / "importance.csv").write_text("column,importance\nmfcc_1,2.5\nmfcc_2,\n")
    for kind, source in (("training", tmp_path), ("importance", tmp_path / "importance.csv")):
        file = tmp_path / f"{kind}.svg"
        assert main(["plot", kind, str(source), "-o", str(file)]) == 0
        assert ("validation UAR" if kind == "training" else "mfcc_1") in file.read_text(encoding="utf-8")


def test_plot_training_of_run(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    (tmp_path / "training" / "curves.csv").write_text(
        "number,of,loss,validation_loss,uar,learning_rate,seconds\n1,2,2,1.5,,0.1,3\n2,2,1,1.2,0.5,0.1,3\n"
    )
    file = tmp_path / "training.svg"
    assert main(["plot", "training", str(tmp_path), "-o", str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    for name in ("train loss", "validation loss", "validation UAR", "epoch", "loss, nats", "UAR, %"):
        assert name in text
    assert "learning" not in text


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["confusoin"], "did you mean 'confusion'"),
        (["confusion", "gone", "-o", "x.png"], "nothing there"),
        (["confusion", str(GOLDEN), "-o", "x.gif"], "ends with .png"),
        (["learning", "one", "-o", "x.png"], "name another one"),
        (["projection", "--data", "x", "--method", "pcaa", "-o", "x.png"], "did you mean 'pca'"),
        (["projection", "--data", "x", "--scale", "nune", "-o", "x.png"], "did you mean 'none'"),
        (["projection", "--data", "x", "--by", "speakr", "-o", "x.png"], "did you mean 'speaker'"),
    ],
)
def test_mistakes_are_named(
    argv: list[str],
    says: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plot", *argv]) == 2
    assert says in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_plot_search_of_run(tmp_path: Path) -> None:
    record = {"schema": 1, "kind": "tune", "model": "svc", "split": {"name": "emobox/toy/1"}}
    (tmp_path / "metrics.json").write_text(json.dumps(record))
    (tmp_path / "trials.json").write_text(json.dumps([{"score": 0.4, "complete": True}]))
    file = tmp_path / "search.svg"
    assert main(["plot", "search", str(tmp_path), "-o", str(file)]) == 0
    text = file.read_text(encoding="utf-8")
    assert "emobox/toy/1" in text
    assert "UAR on the inner folds" in text
    assert "None" not in text, "what the run does not say is left out"


def test_search_of_a_net_names_the_validation_part(tmp_path: Path) -> None:
    record = {
        "schema": 1,
        "kind": "tune",
        "model": "lstm",
        "model_kind": "net",
        "split": {"name": "emobox/toy/1"},
    }
    (tmp_path / "metrics.json").write_text(json.dumps(record))
    (tmp_path / "trials.json").write_text(json.dumps([{"score": 0.4, "complete": True}]))
    file = tmp_path / "search.svg"
    assert main(["plot", "search", str(tmp_path), "-o", str(file)]) == 0
    assert "UAR on the validation part" in file.read_text(encoding="utf-8")
