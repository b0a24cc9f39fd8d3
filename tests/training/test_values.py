"""Models of continuous targets: trained, evaluated and used by the commands that people type."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("skl2onnx")
pytest.importorskip("yaml")

import emovox
from emovox.bundles import read_spec
from emovox.cli import main
from emovox.errors import BundleVersionError, ConfigError, LabelError, ManifestError
from emovox.evaluation import metrics
from emovox.results import Prediction, Segment
from emovox.training.run import TrainingRun
from emovox.training.tuning import tune
from voices import EMOTIONS, toy_corpus

OPTIONS: dict[str, Any] = {
    "features": "seed-180",
    "protocol": "speaker-kfold/4/0/1",
    "seed": 3,
    "mlflow": "off",
    "labels": "none",
}


def write_values(root: Path, name: str = "values") -> Path:
    """A table of the toy corpus without emotions: pitch is arousal, some values are missing."""
    manifest = toy_corpus(root)
    file = root / f"{name}.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["file", "speaker", "arousal", "age", "mood"])
        for n, u in enumerate(manifest):
            arousal = "" if n % 9 == 4 else f"{EMOTIONS.index(u.emotion) / 3 + 0.01 * (n % 5):.3f}"
            mood = "low" if u.emotion in ("neutral", "sad") else "high"
            table.writerow([u.path, u.speaker, arousal, 20 + 5 * int(u.speaker[-1]), mood])
    return file


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_values(tmp_path_factory.mktemp("values"))


@pytest.fixture(scope="module")
def run(table: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingRun:
    """Two targets by a support vector regression."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMOVOX_CACHE", str(folder / "cache"))
        return emovox.train(
            data=str(table), model="svr", targets="arousal,age", output=folder / "svr", **OPTIONS
        )


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMOVOX_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def clip(table: Path) -> Path:
    return table.parent / "0-angry-0.wav"


def test_run_scores_each_target(run: TrainingRun) -> None:
    arousal, age = run.metrics["values"]
    assert (arousal["target"], age["target"], age["unit"]) == ("arousal", "age", "years")
    assert arousal["ccc"]["value"] > 0.5
    assert arousal["n_missing"] > 0
    assert run.metrics["scores"] == {}
    assert run.metrics["stamp"]["stamp"] == "strict"
    assert run.metrics["validation_ccc"].keys() == {"arousal", "age"}
    document = json.loads((run.folder / "evaluation.json").read_text())
    assert "confusion" not in document
    assert all(row["ccc"] is None for row in document["values"][1]["speakers"]), "one age a speaker"


def test_scores_equal_those_of_the_answers(run: TrainingRun) -> None:
    with (run.folder / "answers.csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["arousal_true"]]
    assert list(rows[0]) == [
        *("id", "speaker", "corpus", "arousal_true", "arousal_value", "age_true", "age_value")
    ]
    true, predicted = (
        np.array([float(row[f"arousal_{part}"]) for row in rows]) for part in ("true", "value")
    )
    scores = run.metrics["values"][0]
    assert scores["ccc"]["value"] == pytest.approx(metrics.ccc(true, predicted), abs=1e-4)
    assert scores["n_clips"] == len(rows)


def test_spec_names_the_targets(run: TrainingRun) -> None:
    spec = read_spec(run.bundle)
    assert (spec.schema, spec.labels, spec.target_names) == (2, (), ("arousal", "age"))
    assert spec.targets[1].unit == "years"
    assert 0 <= spec.targets[0].low < spec.targets[0].high <= 1.1
    assert [score.metric for score in spec.scores] == ["ccc arousal", "ccc age"]


def test_older_versions_refuse_the_bundle(run: TrainingRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emovox.bundles.spec.SCHEMA", 1)
    with pytest.raises(BundleVersionError, match="schema 2, this emovox reads up to 1: update emovox"):
        read_spec(run.bundle)


def test_prediction_has_values(run: TrainingRun, clip: Path) -> None:
    model = run.recognizer()
    found = model.predict(clip)
    assert found.values is not None
    assert list(found.values) == ["arousal", "age"]
    assert (found.label, found.reason, found.confidence, found.scores) == (None, None, None, {})
    assert str(found) == f"{clip}: arousal {found.values['arousal']:.2f}, age {found.values['age']:.2f}"
    assert "<td>arousal</td>" in found._repr_html_()
    assert Prediction.from_dict(found.to_dict()).values == found.to_dict()["values"]
    with pytest.raises(LabelError, match="no labels to choose from; it gives values of arousal, age"):
        model.predict(clip, labels="angry")


def test_silence_has_no_values(run: TrainingRun) -> None:
    found = run.recognizer().predict(np.zeros(32_000, np.float32), sample_rate=16_000)
    assert (found.values, found.reason) == (None, "silence")
    assert "values" not in found.to_dict()


def test_timeline_equals_stream(run: TrainingRun, clip: Path) -> None:
    import soundfile

    model = run.recognizer(vad="off")
    sound = np.tile(soundfile.read(clip, dtype="float32")[0], 16)
    segments = list(model.timeline(sound, sample_rate=16_000))
    stream = model.stream(sample_rate=16_000)
    live = [one for at in range(0, len(sound), 7001) for one in stream.push(sound[at : at + 7001])]
    live += stream.flush()
    assert segments == [one for one in live if isinstance(one, Segment)]
    assert segments
    for one in segments:
        assert one.values is not None
        assert (one.label, one.reason, one.confidence) == (None, None, None)
        assert Segment.from_dict(one.to_dict()).values == one.to_dict()["values"]
    windows = [one for one in live if not isinstance(one, Segment)]
    assert all(one.values is not None and one.to_dict()["values"] for one in windows)
    # A long recording: the mean of its windows, each the same here up to its place in the sound.
    whole = model.predict(sound, sample_rate=16_000)
    assert whole.values is not None
    low, high = (f(one.values["arousal"] for one in windows if one.values) for f in (min, max))
    assert low - 0.3 <= whole.values["arousal"] <= high + 0.3


@pytest.mark.parametrize("form", ["json", "jsonl", "csv", "table"])
def test_outputs_have_values(
    run: TrainingRun, clip: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", "--model", str(run.folder), str(clip), "-f", form]) == 0
    printed = capsys.readouterr().out
    expected = run.recognizer().predict(clip).to_dict()["values"]
    if form == "csv":
        (row,) = csv.DictReader(printed.splitlines())
        assert float(row["arousal_value"]) == expected["arousal"]
        assert row["label"] == row["confidence"] == ""
    elif form == "table":
        head, line = printed.splitlines()[:2]
        assert head.split() == ["file", "length", "arousal", "age"]
        assert line.split()[-2:] == [f"{expected['arousal']:.3f}", f"{expected['age']:.3f}"]
    else:
        row = json.loads(printed)
        row = row[0] if isinstance(row, list) else row
        assert row["values"] == expected


def test_timeline_formats(run: TrainingRun, clip: Path, tmp_path: Path) -> None:
    for name in ("a.csv", "a.jsonl", "a.srt", "a.vtt", "a.TextGrid", "a.rttm", "a.eaf"):
        options = ["--timeline", "--vad", "off", "-o", str(tmp_path / name)]
        assert main(["predict", "--model", str(run.folder), str(clip), *options]) == 0
    assert "[arousal " in (tmp_path / "a.srt").read_text()
    assert "None" not in (tmp_path / "a.TextGrid").read_text()


def test_evaluate_again_gives_the_same(run: TrainingRun, table: Path, tmp_path: Path) -> None:
    command = ["evaluate", "--model", str(run.folder), "--data", str(table), "-o", str(tmp_path / "e")]
    assert main([*command, "--protocol", OPTIONS["protocol"]]) == 0
    again = json.loads((tmp_path / "e" / "evaluation.json").read_text())
    first = json.loads((run.folder / "evaluation.json").read_text())
    for one in (*again["values"], *first["values"]):  # the order of the clips differs
        del one["points"]
        one["speakers"].sort(key=lambda row: row["speaker"])
    assert again["values"] == first["values"]
    page = (tmp_path / "e" / "evaluation.html").read_text()
    assert "MAE of the mean" in page
    assert "<svg" in page


def test_whole_corpus_is_contaminated(run: TrainingRun, table: Path) -> None:
    found = emovox.evaluate(run.folder, table)
    assert found.document["stamp"]["stamp"] == "contaminated"


def test_data_without_the_target_is_refused(run: TrainingRun, table: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text(f"file,speaker\n{table.parent / '0-angry-0.wav'},x\n")
    with pytest.raises(ManifestError, match="no clip has a value of 'arousal'"):
        emovox.evaluate(run.folder, other)
    with pytest.raises(ConfigError, match="predicts values alone"):
        emovox.evaluate(run.folder, table, labels="angry,sad")
    with pytest.raises(ConfigError, match="robustness"):
        emovox.evaluate(run.folder, table, robustness=True)


def test_words_stand_for_numbers(table: Path, tmp_path: Path) -> None:
    settings = {"target_words.low": 0, "target_words.high": 1}
    run = emovox.train(
        data=str(table), model="ridge", targets="mood", settings=settings, output=tmp_path / "r", **OPTIONS
    )
    (mood,) = read_spec(run.bundle).targets
    assert (mood.low, mood.high, mood.words) == (0, 1, {"low": 0, "high": 1})
    assert emovox.evaluate(run.folder, table).document["values"][0]["ccc"]["value"] > 0
    assert "low = 0, high = 1" in (run.folder / "evaluation.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"targets": "mood"}, r"clip '.*', column 'mood': 'low' is not a number"),
        ({"targets": "arusal"}, "no clip has a value of 'arusal'; did you mean 'arousal'?"),
        ({"targets": "arousal,arousal"}, "expected each once"),
        ({"targets": "arousal", "model": "svc"}, "predicts labels"),
        ({"targets": "arousal", "labels": "all"}, "labels=none"),
        ({"targets": "arousal", "settings": ["model.select.method=anova"]}, "model.select is for labels"),
        ({"targets": "arousal", "settings": ["target_words.low=x"]}, "expected a number"),
        ({"targets": "arousal", "features": "seed-lstm"}, "vector"),
        ({"targets": "a=b"}, "expected letters, digits"),
        ({}, "labels is none; expected targets"),
        ({"labels": "all"}, "the model 'svr' predicts values; expected the columns"),
        ({"targets": "arousal", "labels": "all", "model": "logistic-regression"}, "predicts labels"),
    ],
)
def test_impossible_settings_are_refused(
    table: Path, tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    given = {"data": str(table), "model": "svr", "output": tmp_path / "r", **OPTIONS, **options}
    with pytest.raises((ConfigError, ManifestError), match=message):
        emovox.train(**given)
    assert not (tmp_path / "r" / "metrics.json").exists()


def test_constant_target_is_refused(table: Path, tmp_path: Path) -> None:
    rows = table.read_text().splitlines()
    constant = table.parent / "constant.csv"
    constant.write_text("\n".join([f"{rows[0]},flat", *(f"{row},0.5" for row in rows[1:])]) + "\n")
    with pytest.raises(ManifestError, match=r"'flat' is 0.5 for all \d+ clips .* training part"):
        emovox.train(data=str(constant), model="svr", targets="flat", output=tmp_path / "r", **OPTIONS)


def test_settings_are_not_searched(table: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="config without targets"):
        tune(data=str(table), model="svr", labels="none", settings=["targets=[arousal]"], output=tmp_path)


def test_resumed_scores_are_finite_json(run: TrainingRun) -> None:
    text = (run.folder / "metrics.json").read_text()
    assert "NaN" not in text
    assert all(not math.isnan(row["mae"]["value"]) for row in json.loads(text)["values"])


def test_labels_are_asked_of_other_models(run: TrainingRun, clip: Path) -> None:
    with pytest.raises(LabelError, match="values and no labels"):
        run.recognizer().explain(clip)
    with pytest.raises(ConfigError, match="no embedding"):
        emovox.finetune([str(clip.parent)], model=run.folder, output=clip.parent / "tuned")
    assert main(["export", str(run.folder), "--web", str(clip.parent / "page"), "--runtime", "x"]) == 2
    assert "CCC" in run._repr_html_()


def cross_validate(table: Path, output: Path, **options: Any) -> Any:
    settings = {"data": [str(table)], "targets": ["arousal", "age"], "labels": "none"}
    configs = {
        name: {**settings, "model": {"name": name}, "features": {"set": "seed-180"}}
        for name in ("svr", "ridge")
    }
    return emovox.cross_validate(
        configs, protocols=["speaker-kfold/4", "random"], output=output, allow=["contaminated"], **options
    )


def test_cross_validation_of_values(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = cross_validate(table, tmp_path / "cv")
    strict, leaky = found.document["protocols"]
    assert (strict["stamp"], leaky["stamp"]) == ("strict", "speaker-dependent")
    assert strict["chosen"]["name"] in ("svr", "ridge")
    chosen = json.loads((tmp_path / "cv" / "chosen.json").read_text())[0]
    assert set(chosen["validation_ccc"]) == {"svr", "ridge"}
    assert max(chosen["validation_ccc"], key=chosen["validation_ccc"].get) == chosen["chosen"]["name"]
    row = next(row for row in strict["systems"] if row["name"] == "svr")
    arousal, age = row["values"]
    assert (arousal["target"], age["target"], len(arousal["splits"])) == ("arousal", "age", 4)
    assert arousal["n_clips"] + arousal["n_missing"] == 64, "every clip is tested once"
    # The second road: the answers of single trainings on the same splits, pooled.
    true, predicted = [], []
    for n in range(1, 5):
        options = {**OPTIONS, "protocol": f"speaker-kfold/4/0/{n}", "seed": None}
        run = emovox.train(
            data=str(table), model="svr", targets="arousal,age", output=tmp_path / f"fold{n}", **options
        )
        with (run.folder / "answers.csv").open(newline="") as stream:
            for one in csv.DictReader(stream):
                if one["arousal_true"]:
                    true.append(float(one["arousal_true"]))
                    predicted.append(float(one["arousal_value"]))
    assert arousal["ccc"]["value"] == pytest.approx(metrics.ccc(true, predicted), abs=1e-4)
    found.write("config")
    assert "MAE of the mean" in (tmp_path / "cv" / "compare.md").read_text()
    assert "each split" in (tmp_path / "cv" / "compare.html").read_text()
    lines: list[str] = []
    again = cross_validate(table, tmp_path / "cv", notify=lines.append)
    assert again.document == found.document
    assert any("kept from before" in line for line in lines)
    assert main(["runs", "list", str(tmp_path)]) == 0


def test_mixed_systems_are_refused(table: Path, tmp_path: Path) -> None:
    one = {"data": [str(table)], "targets": ["arousal"], "labels": "none", "model": {"name": "svr"}}
    for other, message in (
        ({**one, "targets": ["age"]}, "differ in targets"),
        ({**one, "labels": "all"}, "differ in targets or labels"),
    ):
        with pytest.raises(ConfigError, match=message):
            emovox.cross_validate({"a": one, "b": other}, output=tmp_path / "cv")
    with pytest.raises(ConfigError, match="labels or values"):
        emovox.cross_validate({**one, "labels": "all"}, output=tmp_path / "cv")
    with pytest.raises(ConfigError, match="export=True"):
        emovox.cross_validate(one, output=tmp_path / "cv", export=False)
