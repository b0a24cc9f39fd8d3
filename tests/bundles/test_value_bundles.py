"""Bundles with values: spec and graph agree, every output has them, and labels stay as they were."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import emovox
from conftest import LABELS, TARGETS, tiny_onnx, tiny_spec, tiny_value_onnx
from emovox.bundles import SCHEMA, Spec, Target, load_bundle, read_spec, write_bundle
from emovox.bundles.card import make_card
from emovox.cli import main
from emovox.errors import BundleCorruptError
from emovox.results import Prediction, Segment, Window
from speech import talk, voice, wav

Make = Callable[..., Path]


@given(
    name=st.text(max_size=70),
    low=st.floats(allow_nan=True, allow_infinity=True),
    high=st.floats(allow_nan=True, allow_infinity=True),
    words=st.dictionaries(
        st.text(max_size=5), st.one_of(st.floats(), st.integers(), st.text(max_size=3)), max_size=3
    ),
)
def test_target_is_refused_or_read_again(name: str, low: float, high: float, words: dict[str, Any]) -> None:
    try:
        target = Target(name=name, low=low, high=high, words=words)
    except ValueError:
        return
    spec = tiny_spec(schema=2, targets=(target,))
    assert Spec.from_json(spec.to_json().encode()) == spec


def test_spec_without_targets_is_as_before() -> None:
    values = json.loads(tiny_spec().to_json())
    assert "targets" not in values
    assert values["schema"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 1, "targets": TARGETS}, "schema: 1, expected 2"),
        ({"schema": 2}, "schema: 2, expected 1"),
        ({"schema": 2, "targets": (TARGETS[0], TARGETS[0])}, "'arousal' is named twice"),
        ({"labels": ()}, "labels: there is none"),
    ],
)
def test_contradictory_specs_are_refused(changes: dict[str, Any], message: str) -> None:
    labels = changes.pop("labels", LABELS)
    with pytest.raises(ValueError, match=message):
        tiny_spec(labels, **changes)


def test_newer_schema_is_refused() -> None:
    text = tiny_spec(schema=2, targets=TARGETS).to_json().replace('"schema": 2', f'"schema": {SCHEMA + 1}')
    with pytest.raises(emovox.errors.BundleVersionError, match="update emovox"):
        Spec.from_json(text.encode())


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: tiny_onnx(5), "no output values"),
        (lambda: tiny_value_onnx(5, 3), "answers 3 values, spec.json names 2 targets"),
        (lambda: tiny_value_onnx(0, 2), "no output logits"),
    ],
)
def test_graph_must_fit_the_targets(model: Callable[[], bytes], message: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    with pytest.raises(BundleCorruptError, match=message):
        write_bundle(tmp_path / "b", model(), tiny_spec(schema=2, targets=TARGETS))


def test_values_equal_the_graph(make_value_bundle: Make) -> None:
    bundle = load_bundle(make_value_bundle())
    sound = voice(1.5)
    output = bundle.run([sound])
    found = emovox.load(bundle.path).predict(sound, sample_rate=16_000)
    assert found.values == dict(zip(("arousal", "age"), output.values[0].tolist(), strict=True))
    together = bundle.run([sound, sound[:12_000]])
    assert np.allclose(together.values[0], output.values[0], atol=1e-4)
    assert bundle.run([]).values.shape == (0, 2)


def test_labels_are_those_of_the_model_without_values(make_value_bundle: Make, tmp_path: Path) -> None:
    """The same logits with values beside them: the same labels, times and scores."""
    import onnx

    both = make_value_bundle()
    model = onnx.load(both / "model.onnx")
    del model.graph.output[1]
    spec = replace(read_spec(both), schema=1, targets=())
    write_bundle(tmp_path / "plain", model.SerializeToString(), spec)
    sound = talk()
    one, two = (emovox.load(path) for path in (both, tmp_path / "plain"))

    def drop(rows: list[Any]) -> list[dict[str, Any]]:
        return [{k: v for k, v in row.to_dict().items() if k != "values"} for row in rows]

    assert drop([one.predict(sound, sample_rate=16_000)]) == drop([two.predict(sound, sample_rate=16_000)])
    timelines = [list(model.timeline(sound, sample_rate=16_000)) for model in (one, two)]
    assert drop(timelines[0]) == drop(timelines[1])
    assert timelines[0]
    assert all("values" in row.to_dict() for row in timelines[0])
    assert all("values" not in row.to_dict() for row in timelines[1])


def test_segment_values_are_means_of_windows(make_value_bundle: Make) -> None:
    model = emovox.load(make_value_bundle(()), vad="off")
    stream = model.stream(sample_rate=16_000)
    found = [*stream.push(talk()), *stream.flush()]
    windows = [one for one in found if isinstance(one, Window)]
    (segment,) = (one for one in found if isinstance(one, Segment))
    assert segment.values is not None
    for name, value in segment.values.items():
        each = [one.values[name] for one in windows if one.values]
        assert min(each) <= value <= max(each)


def test_rows_round_trip(make_value_bundle: Make) -> None:
    model = emovox.load(make_value_bundle())
    for one in (
        model.predict(voice(1.5), sample_rate=16_000),
        *model.timeline(talk(), sample_rate=16_000),
    ):
        row = json.loads(json.dumps(one.to_dict()))
        kind = Prediction if isinstance(one, Prediction) else Segment
        assert kind.from_dict(row).to_dict() == row
        assert list(row).index("values") == list(row).index("scores") + 1


@pytest.mark.parametrize("labels", [LABELS, ()])
@pytest.mark.parametrize("timeline", [[], ["--timeline"]])
def test_commands_show_values(
    make_value_bundle: Make,
    tmp_path: Path,
    labels: tuple[str, ...],
    timeline: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "a.wav").write_bytes(wav(talk()))
    (tmp_path / "b.wav").write_bytes(wav(np.zeros(32_000)))
    (tmp_path / "c.wav").write_bytes(b"nothing")
    files = [str(tmp_path / name) for name in ("a.wav", "b.wav", "c.wav")]
    command = ["predict", "--model", str(make_value_bundle(labels)), *files, *timeline]
    assert main([*command, "-f", "csv"]) == 1
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert list(rows[0])[-3:] == ["arousal_value", "age_value", "error"]
    assert rows[0]["arousal_value"]
    assert [row["arousal_value"] for row in rows[-2:]] == ["", ""]
    assert rows[-1]["error"]
    assert main([*command, "-f", "table"]) == 1
    head, *lines = capsys.readouterr().out.splitlines()
    assert ("expressed" in head) == bool(labels)
    assert "arousal" in head
    assert "(silence)" in lines[-2] or "(no speech)" in lines[-2]
    assert main([*command, "-f", "jsonl"]) == 1
    parsed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert set(parsed[0]["values"]) == {"arousal", "age"}
    assert "values" not in parsed[-2]


def test_card_and_models_name_the_targets(make_value_bundle: Make) -> None:
    text = make_card(read_spec(make_value_bundle(())), "someone/valued")
    assert "arousal (0 to 1), age (18 to 70 years)" in text
    assert "Labels:" not in text
    assert "Labels: neutral" in make_card(read_spec(make_value_bundle()), "someone/valued")


def test_speaker_summaries_have_mean_values(make_value_bundle: Make) -> None:
    from emovox.results import TranscriptSegment
    from emovox.transcripts.speakers import summarize_speakers

    model = emovox.load(make_value_bundle(()))
    parts = [TranscriptSegment(0.4, 2.4, "a", "Anna"), TranscriptSegment(2.4, 3.4, "b", "Anna")]
    rows = list(model.predict_segments(talk(), parts, sample_rate=16_000))
    (anna,) = summarize_speakers(rows)
    values = [row.prediction.values["arousal"] for row in rows if row.prediction.values]
    assert anna.values is not None
    assert anna.values["arousal"] == pytest.approx((2 * values[0] + values[1]) / 3, abs=1e-5)
    assert (anna.unlabelled, anna.duration_s) == ({}, pytest.approx(3.0))
    assert "values" in anna.to_dict()


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_batch_has_values(make_value_bundle: Make, tmp_path: Path, format: str) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow")
    folder, out = tmp_path / "calls", tmp_path / "run"
    folder.mkdir()
    (folder / "a.wav").write_bytes(wav(voice(1.5)))
    model = make_value_bundle(())
    argv = ["batch", "predict", folder, "-o", out, "--model", model, "--format", format]
    assert main(list(map(str, argv))) == 0
    if format == "jsonl":
        (row,) = (json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines())
    else:
        import pyarrow.parquet

        (row,) = pyarrow.parquet.read_table(out / "rows.parquet").to_pylist()
    expected = emovox.load(model).predict(folder / "a.wav").to_dict()["values"]
    assert row["values"] == pytest.approx(expected, abs=1e-6)


def test_tables_have_values(make_value_bundle: Make, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    from emovox.integrations import predict_table

    (tmp_path / "a.wav").write_bytes(wav(voice(1.5)))
    found = predict_table(pandas.DataFrame({"file": [str(tmp_path / "a.wav")]}), model=make_value_bundle(()))
    assert list(found.columns)[-3:] == ["arousal_value", "age_value", "error"]
    assert found["arousal_value"][0] == pytest.approx(
        emovox.load(make_value_bundle(())).predict(tmp_path / "a.wav").values["arousal"]
    )


def test_server_answers_values(make_value_bundle: Make) -> None:
    pytest.importorskip("fastapi")
    from fastapi.testclient import TestClient

    from emovox.server.app import create_app
    from emovox.server.schemas import PredictAnswer, TimelineAnswer
    from emovox.server.settings import ServerSettings

    folder = make_value_bundle(())
    model, sound = emovox.load(folder), wav(talk(), subtype="PCM_16")
    with TestClient(create_app(ServerSettings(models=(str(folder),)))) as client:
        answer = client.post("/v1/predict", files={"file": ("a.wav", sound)})
        PredictAnswer.model_validate(answer.json())
        (row,) = answer.json()["predictions"]
        assert row["values"] == model.predict(sound).to_dict()["values"]
        timeline = client.post("/v1/timeline?windows=true", files={"file": ("a.wav", sound)})
        TimelineAnswer.model_validate(timeline.json())
        assert all(one["values"] for one in timeline.json()["segments"])
        text = client.post("/v1/timeline?format=csv", files={"file": ("a.wav", sound)}).text
        assert text.splitlines()[0].endswith(",arousal_value,age_value,error")
        (described,) = client.get("/v1/models").json()["models"]
        assert described["targets"] == ["arousal", "age"]


def test_live_table_has_values(make_value_bundle: Make) -> None:
    import io

    from emovox.cli.live import TableView

    stream = io.StringIO()
    model = emovox.load(make_value_bundle(()))
    view = TableView(stream, model.labels, model.targets)
    live = model.stream(sample_rate=16_000)
    for one in [*live.push(talk()), *live.flush()]:
        view.show(one)
    view.show_level(1.0, -20.0, "speech")
    view.end()
    head, *rows = stream.getvalue().splitlines()
    assert head.split() == ["file", "start", "end", "arousal", "age"]
    assert rows


def test_plot_of_values(make_value_bundle: Make) -> None:
    pytest.importorskip("matplotlib")
    model = emovox.load(make_value_bundle(()))
    stream = model.stream(sample_rate=16_000)
    found = [*stream.push(talk()), *stream.flush()]
    figure = emovox.plot(found, talk(), sample_rate=16_000)
    assert figure.get_suptitle().startswith("Recording: on average arousal ")
    assert "value" in [axes.get_ylabel() for axes in figure.axes]
