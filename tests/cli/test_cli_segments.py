"""``emovox predict --segments`` and label files of the command."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

import emovox
from emovox.cli import main
from emovox.transcripts import LABEL_FORMATS
from emovox.transcripts.reading import read_transcript
from emovox.transcripts.speakers import summarize_speakers
from speech import talk, wav

Run = Callable[..., tuple[int, str, str]]
SRT = (
    "1\n00:00:00,400 --> 00:00:04,000\n[Anna]: Hi <b>there</b>\n\n"
    "2\n00:00:06,500 --> 00:00:12,340\n[Bo]: good \x1b[31mbye\n\n"
    "3\n00:00:06,500 --> 00:01:00,000\n[Anna]: over the end\n"
)


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recording and ``call.srt``, in the current folder."""
    monkeypatch.chdir(tmp_path)
    Path("call.wav").write_bytes(wav(talk(), subtype="PCM_16"))
    Path("call.srt").write_text(SRT)
    return Path("call.wav")


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tiny_bundle: Path) -> Run:
    """``run(*argv)`` -> exit code, stdout, stderr of `emovox predict` with the tiny model."""

    def predict(*argv: str | Path, model: Path = tiny_bundle) -> tuple[int, str, str]:
        code = main(["predict", "--model", str(model), *map(str, argv)])
        said = capfd.readouterr()
        return code, said.out, said.err

    return predict


def test_rows_are_the_librarys(run: Run, call: Path, tiny_bundle: Path) -> None:
    code, out, err = run(call, "--segments", "call.srt", "--format", "jsonl", "--speakers", "speakers.json")
    segments = read_transcript("call.srt").segments
    found = list(emovox.load(tiny_bundle).predict_segments(call, segments))
    rows = [json.loads(line) for line in out.splitlines()]
    assert (code, err) == (0, "")
    assert rows == [one.to_dict() for one in found]
    assert [row["text"] for row in rows] == ["Hi there", "good [31mbye", "over the end"]
    assert rows[2]["quality"]["warnings"] == ["outside"]
    summaries = json.loads(Path("speakers.json").read_text())
    assert summaries == [one.to_dict() for one in summarize_speakers(found)]
    assert [one["speaker"] for one in summaries] == ["Anna", "Bo"]


def test_table_has_speakers_and_a_summary(run: Run, call: Path) -> None:
    code, out, _ = run(call, "--segments", "call.srt")
    assert code == 0
    assert "\x1b" not in out
    rows, summary = out.split("\n\n")
    heads = ["file", "start", "end", "speaker", "expressed", "confidence", "then"]
    assert rows.splitlines()[0].split() == heads
    assert "12.34 s  Bo" in rows
    assert rows.splitlines()[1].endswith('"Hi there"')
    assert [line.split()[:2] for line in summary.splitlines()] == [
        ["speaker", "segments"],
        ["Anna", "2"],
        ["Bo", "1"],
    ]


def test_csv_has_speaker_and_text(run: Run, call: Path) -> None:
    _, out, _ = run(call, "--segments", "call.srt", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out)))
    assert (rows[0]["speaker"], rows[0]["text"]) == ("Anna", "Hi there")
    _, out, _ = run(call, "--timeline", "--format", "csv")
    assert "speaker" not in out


@pytest.mark.parametrize("name", list(LABEL_FORMATS))
def test_label_files(run: Run, call: Path, name: str) -> None:
    """By the suffix, but for Audacity's; what is written can be read as segments again."""
    output = f"out{LABEL_FORMATS[name]}"
    form = ["--format", "audacity"] if name == "audacity" else []
    assert run(call, "--segments", "call.srt", "-o", output, *form) == (0, "", "")
    found = sorted(read_transcript(output).segments, key=lambda one: (one.start_s, one.end_s))
    assert [(one.start_s, one.end_s) for one in found] == [(0.4, 4.0), (6.5, 12.34), (6.5, 18.5)]
    assert [one.speaker for one in found] == ["Anna", "Bo", "Anna"]
    assert run(call, "--segments", output, "--format", "jsonl")[0] == 0
    code, out, _ = run(call, "--timeline", "--format", name)
    rows = [json.loads(line) for line in run(call, "--timeline", "--format", "jsonl")[1].splitlines()]
    assert code == 0
    again = sorted((one.start_s, one.end_s) for one in read_transcript(out.encode()).segments)
    assert again == [(row["start_s"], row["end_s"]) for row in rows]


def test_textgrid_ends_with_the_recording(run: Run, call: Path) -> None:
    _, out, _ = run(call, "--timeline", "--format", "textgrid")
    assert "xmax = 18.5\n" in out


def test_audformat_is_a_folder(run: Run, call: Path) -> None:
    pytest.importorskip("audformat")
    argv = (call, "--segments", "call.srt", "--format", "audformat")
    assert "name it with -o" in run(*argv)[2]
    assert run(*argv, "-o", "db") == (0, "", "")
    assert Path("db/db.yaml").exists()
    assert "--force" in run(*argv, "-o", "db")[2]
    assert run(*argv, "-o", "db", "--force")[0] == 0


def test_a_damaged_part_is_reported(run: Run, call: Path) -> None:
    Path("bad.srt").write_text(
        SRT.replace("00:00:00,400 -->", "00:00:xx -->") + "\n4\n00:01:00,000 --> 00:01:02,000\nx\n"
    )
    code, out, err = run(call, "--segments", "bad.srt", "--format", "jsonl")
    assert code == 1
    assert len(out.splitlines()) == 3
    assert "bad.srt: line 2: '00:00:xx --> 00:00:04,000' is no time span" in err
    assert "call.wav, 60 s: it begins at 60 s, after the end at 18.5 s" in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["call.wav", "--format", "srt"], "add --timeline or --segments"),
        (["call.wav", "call.wav", "b.wav", "--timeline", "--format", "vtt"], "one recording; got 2"),
        (["call.wav", "b.wav", "--segments", "call.srt"], "one recording; got 2"),
        (["call.wav", "--segments", "none.srt"], "no such file"),
        (["call.wav", "--segments", "call.wav"], "expected SRT"),
        (["call.wav", "--segments", "call.srt", "--tier", "x"], "no tiers"),
        (["call.wav", "--segments", "call.srt", "--timeline"], "segments and a timeline"),
        (["call.wav", "--segments", "call.srt", "--channels", "each"], "segments"),
        (["call.wav", "--segments", "call.srt", "-o", "call.srt"], "is read by this command"),
        (["call.wav", "--segments", "call.srt", "--adapt"], "adapt"),
        (["call.wav", "--tier", "x"], "add --segments"),
        (["call.wav", "--speakers", "x.json"], "add --segments"),
    ],
)
def test_wrong_requests(run: Run, call: Path, argv: list[str], message: str) -> None:
    Path("b.wav").write_bytes(call.read_bytes())
    code, out, err = run(*argv)
    assert (code, out) == (2, "")
    assert message in err


def test_adapts_to_each_speaker(run: Run, call: Path, adaptive_bundle: Path) -> None:
    code, out, _ = run(call, "--segments", "call.srt", "--adapt", "--format", "jsonl", model=adaptive_bundle)
    rows = [json.loads(line) for line in out.splitlines()]
    assert code == 0
    assert all(row["adaptation"]["n_clips"] >= 1 for row in rows if row["scores"])
