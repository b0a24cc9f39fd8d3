"""Segments of label files beside the recordings of a batch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import emovox
from emovox.batch import make_prediction_task
from emovox.batch.inputs import BatchItem
from emovox.cli import main
from emovox.errors import ConfigError, ProfileError
from emovox.inference.options import PredictOptions
from emovox.transcripts.reading import read_transcript
from speech import talk, wav

SRT = (
    "1\n00:00:00,400 --> 00:00:04,000\n[Anna]: Hi\n\n2\n00:00:xx --> 00:00:09,000\nbad\n\n"
    "3\n00:01:00,000 --> 00:01:01,000\n[Bo]: late\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two recordings, one of them without a label file."""
    folder = tmp_path / "calls"
    folder.mkdir()
    for name in ("a.wav", "b.wav"):
        (folder / name).write_bytes(wav(talk(), subtype="PCM_16"))
    (folder / "a.srt").write_text(SRT)
    return folder


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_rows_of_segments(folder: Path, tiny_bundle: Path, tmp_path: Path, format: str) -> None:
    if format == "parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / "run"
    argv = [
        "batch",
        "predict",
        folder,
        "-o",
        out,
        "--model",
        tiny_bundle,
        "--segments",
        "srt",
        "--format",
        format,
    ]
    assert main(list(map(str, argv))) == 1
    if format == "jsonl":
        rows = [json.loads(line) for line in (out / "rows.jsonl").read_text().splitlines()]
    else:
        import pyarrow.parquet

        rows = pyarrow.parquet.read_table(out / "rows.parquet").to_pylist()
    first, late, bad, missing = rows
    (expected, _) = emovox.load(tiny_bundle).predict_segments(
        folder / "a.wav", read_transcript(SRT.encode()).segments
    )
    assert (first["speaker"], first["text"], first["end_s"]) == ("Anna", "Hi", 4.0)
    assert first["scores"] == expected.to_dict()["scores"]
    assert first["problem"] is None
    assert "after the end" in late["problem"]
    assert (late["speaker"], late.get("label"), late.get("error")) == ("Bo", None, None)
    assert "line 6" in bad["problem"]
    assert missing["file"].endswith("b.wav")
    assert "b.srt" in missing["error"]


def test_wrong_options(folder: Path, tiny_bundle: Path) -> None:
    task = make_prediction_task(str(tiny_bundle), segments=".srt")
    assert task.record()["segments"] == ".srt"
    with pytest.raises(Exception, match="span"):
        task.load()(BatchItem("a.wav", 0.0, 2.0), str(folder / "a.wav"))
    with pytest.raises(ConfigError, match="each"):
        make_prediction_task(str(tiny_bundle), PredictOptions(channels="each"), segments="srt")
    with pytest.raises(ProfileError):
        make_prediction_task(str(tiny_bundle), PredictOptions(adapt=True), segments="srt")
    with pytest.raises(ConfigError, match="profile"):
        make_prediction_task(str(tiny_bundle), PredictOptions(adapt=True))
    (folder / "b.srt").write_text("no label file")
    with pytest.raises(Exception, match=r"b\.srt.*expected SRT"):
        task.load()(BatchItem("b.wav"), str(folder / "b.wav"))
