"""``emovox.train``: all that the command does, with the same scores; the script of the docs runs."""

from __future__ import annotations

import gc
import json
import re
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")

import emovox
from emovox.cli import main
from emovox.errors import ConfigError, ManifestError
from emovox.training.config import Config, read_config
from emovox.training.tuning import tune
from voices import tones, toy_corpus

ROOT = Path(__file__).parents[2]
OPTIONS: dict[str, Any] = {
    "features": "seed-180",
    "model": "logistic-regression",
    "protocol": "speaker-kfold/4/0/1",
    "seed": 3,
    "mlflow": "off",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    root = tmp_path_factory.mktemp("toy") / "toy"
    toy_corpus(root)
    return str(root / "toy.csv")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOVOX_CACHE", str(tmp_path / "cache"))


def without_times(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if key not in ("created", "seconds")}


def test_command_and_function_write_the_same(data: str, tmp_path: Path) -> None:
    words = [word for key, value in OPTIONS.items() for word in (f"--{key}", str(value))]
    assert main(["train", "--data", data, *words, "-o", str(tmp_path / "command")]) == 0
    run = emovox.train(data=data, output=tmp_path / "function", **OPTIONS)
    one, two = (
        json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("command", "function")
    )
    assert without_times(one) == without_times(two)
    assert two == run.metrics
    for name in ("config.yaml", "answers.csv", "split.csv", "bundle/model.onnx"):
        assert (tmp_path / "command" / name).read_bytes() == (tmp_path / "function" / name).read_bytes()


def test_script_of_the_docs_does_what_the_command_does(
    data: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = (ROOT / "docs/training.md").read_text(encoding="utf-8")
    script = next(re.finditer(r"```python\n(.*?)```", text, re.DOTALL))[1]
    assert len(script.strip().splitlines()) <= 10
    command = re.search(r"emovox train --data corpora/ravdess (.*)\n", text)
    assert command
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.wav").symlink_to(next(Path(data).parent.glob("*.wav")))
    replaced = script.replace('"corpora/ravdess"', repr(data)).replace(
        "emobox/ravdess/1", OPTIONS["protocol"]
    )
    exec(compile(replaced, "docs/training.md", "exec"), {})
    printed = capsys.readouterr().out.splitlines()
    words = command[1].replace("emobox/ravdess/1", OPTIONS["protocol"]).replace("runs/svc", "runs/command")
    assert main(["train", "--data", data, *words.split()]) == 0
    one, two = (json.loads(Path(f"runs/{name}/metrics.json").read_text()) for name in ("svc", "command"))
    assert without_times(one) == without_times(two)
    assert f"{two['scores']['uar']['value']:.3f}" in printed[0]
    assert Path("exported/model.onnx").is_file()


def test_run_gives_bundle_scores_and_recognizer(data: str) -> None:
    lines: list[str] = []
    passes: list[tuple[int, int]] = []
    run = emovox.train(
        {"name": "toy"}, data=data, notify=lines.append, progress=lambda *n: passes.append(n), **OPTIONS
    )
    assert "seed-180: 64 clips, 180 columns" in lines
    assert (64, 64) in passes
    assert (16, 16) in passes, "the test part, too"
    assert run.evaluation.document["scores"] == run.metrics["scores"]
    model = run.recognizer()
    assert model.spec.name == "toy"
    assert model.predict(next(Path(data).parent.glob("*.wav"))).label in model.labels
    assert emovox.load(run.bundle).spec == model.spec
    folder = run.folder
    assert (folder / "evaluation.html").is_file()
    del run, model
    gc.collect()
    assert not folder.exists(), "without an output the folder is temporary"


def test_settings_are_texts_or_mappings(data: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("model: {name: knn, params: {n_neighbors: 3}}\n", encoding="utf-8")
    options = {key: value for key, value in OPTIONS.items() if key != "model"}
    one = emovox.train(path, data=data, settings=["model.params.weights=uniform"], **options).config
    two = emovox.train(path, data=data, settings={"model.params.weights": "uniform"}, **options).config
    assert one == two
    assert one.model.params == {"n_neighbors": 3, "weights": "uniform"}
    again = emovox.train(one, output=tmp_path / "again", mlflow="off")
    assert again.config == one == read_config(tmp_path / "again/config.yaml")


def test_errors_come_before_the_work(data: str, tmp_path: Path) -> None:
    out = tmp_path / "x"
    with pytest.raises(ConfigError, match="did you mean 'svc'"):
        emovox.train(data=data, model="scv", output=out)
    with pytest.raises(ConfigError, match="no data are named"):
        emovox.train(Config(), output=out)
    rows = Path(data).read_text().splitlines()
    few = Path(data).with_name("few.csv")
    few.write_text("\n".join(row for row in rows if "toy-0" in row or "angry" not in row) + "\n")
    with pytest.raises(ManifestError, match="the test has the labels angry"):
        emovox.train(data=str(few), features="seed-180", protocol="speakers/toy-0", output=out)
    assert not out.exists()


def test_learning_curve(data: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [word for key, value in OPTIONS.items() for word in (f"--{key}", str(value))]
    argv = ["train", "--data", data, *words, "--train-sizes", "1,0.25,0.5", "-o", str(tmp_path / "curve")]
    assert main(argv) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    numbers = [int(row[0]) for row in rows if row and row[0].isdecimal()]
    assert numbers == sorted(numbers)
    assert len(numbers) == 3
    assert (tmp_path / "curve" / "learning.png").stat().st_size > 1000
    parts = []
    for size in ("0.25", "0.5", "1"):
        lines = (tmp_path / "curve" / f"size-{size}" / "split.csv").read_text().splitlines()[1:]
        rows = [line.split(",") for line in lines]
        parts.append({name: {row[1] for row in rows if row[2] == name} for name in ("train", "test")})
    assert parts[0]["train"] < parts[1]["train"] < parts[2]["train"]
    assert parts[0]["test"] == parts[1]["test"] == parts[2]["test"]
    whole = emovox.train(data=data, **OPTIONS)
    kept = json.loads((tmp_path / "curve" / "size-1" / "metrics.json").read_text())
    assert kept["scores"] == whole.metrics["scores"]
    for wrong in ("0.5", "0.5,2", "0,1", "half"):
        capsys.readouterr()
        assert main([*argv[:-3], wrong, "-o", str(tmp_path / "wrong")]) == 2
        assert "0.25,0.5,1" in capsys.readouterr().err


def test_tuning_from_python(data: str, tmp_path: Path) -> None:
    options = {**OPTIONS, "model": "knn"}
    found = tune(data=data, draws=2, settings=["tune.inner_folds=2"], output=tmp_path / "tuned", **options)
    assert len(found.trials) == 2
    assert read_config(tmp_path / "tuned/best.yaml") == found.config
    run = emovox.train(found.config, output=tmp_path / "best", mlflow="off")
    assert run.metrics["model"] == "knn"
    assert found.part == "inner folds"
    assert json.loads((tmp_path / "tuned/metrics.json").read_text())["scored_on"] == "inner folds"


def test_net_trains_from_python(tmp_path: Path) -> None:
    pytest.importorskip("lightning")
    pytest.importorskip("onnxscript")
    lines: list[str] = []
    run = emovox.train(
        data=str(tones(tmp_path / "tones")),
        model="gru",
        features="seed-lstm",
        settings={"train.epochs": 1, "train.tensorboard": False, "train.batch_size": 4},
        notify=lines.append,
    )
    assert any(line.startswith("epoch 1/1") for line in lines)
    assert [row["number"] for row in run.evaluation.document["training"]["epochs"]] == [1]
