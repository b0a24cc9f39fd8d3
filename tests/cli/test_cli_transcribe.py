"""`emovox transcribe`, `predict --diarize` and `report`: rows in all formats, sentences for mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emovox.audio import SAMPLE_RATE
from emovox.cli import main
from emovox.speech import diarization, recognition
from emovox.transcripts.reading import read_transcript
from speech import BRIGHT, DARK, pause, voice
from speech_models import PitchEncoder, ScriptedRecognizer

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call_file(tmp_path: Path) -> Path:
    """Two voices in one channel, 16 seconds."""
    parts = [
        pause(1),
        voice(5, pitch_hz=210, formants_hz=DARK),
        pause(1),
        voice(5, pitch_hz=110, formants_hz=BRIGHT),
        pause(4),
    ]
    soundfile.write(tmp_path / "call.wav", np.concatenate(parts), SAMPLE_RATE)
    return tmp_path / "call.wav"


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tiny_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``run(command, ...)`` -> exit code, stdout, stderr, with models that need no weights."""
    pytest.importorskip("sklearn")
    monkeypatch.setattr(recognition, "open_recognizer", lambda name: ScriptedRecognizer("Hi", "there."))
    monkeypatch.setattr(diarization, "open_speaker_encoder", lambda file: PitchEncoder())

    def call(command: str, *argv: str | Path) -> tuple[int, str, str]:
        code = main([command, "--model", str(tiny_bundle), *map(str, argv)])
        captured = capfd.readouterr()
        return code, captured.out, captured.err

    return call


def test_rows_have_text_words_and_scores(run: Run, call_file: Path) -> None:
    code, out, err = run("transcribe", call_file, "-f", "jsonl", "--diarize", "2")
    assert (code, err) == (0, "")
    rows = [json.loads(line) for line in out.splitlines()]
    assert {row["speaker"] for row in rows} == {"speaker 1", "speaker 2"}
    assert all(row["file"] == str(call_file) and row["text"] for row in rows)
    for row in rows:
        assert row["words"][0]["start_s"] == row["start_s"]
        assert row["words"][-1]["end_s"] == row["end_s"] <= 16
        assert row["label"] is None or row["scores"][row["label"]] == max(row["scores"].values())


@pytest.mark.parametrize("suffix", ["srt", "vtt", "TextGrid", "eaf", "json", "csv"])
def test_outputs_are_read_again(run: Run, call_file: Path, suffix: str) -> None:
    rows = [json.loads(line) for line in run("transcribe", call_file, "-f", "jsonl")[1].splitlines()]
    file = call_file.with_suffix(f".{suffix}")
    assert run("transcribe", call_file, "-o", file)[0] == 0
    found = read_transcript(file).segments
    assert [(one.text, round(one.start_s, 3), round(one.end_s, 3)) for one in found] == [
        (row["text"], row["start_s"], row["end_s"]) for row in rows
    ]


def test_table_lists_speakers(run: Run, call_file: Path) -> None:
    code, out, _ = run("transcribe", call_file, "--diarize", "auto")
    assert code == 0
    assert "Hi there." in out
    assert [line.split("  ")[0] for line in out.splitlines()[-2:]] == ["speaker 1", "speaker 2"]


def test_silence_is_said(run: Run, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", pause(20), SAMPLE_RATE)
    code, out, err = run("transcribe", tmp_path / "silence.wav", "-f", "jsonl")
    assert (code, out) == (0, "")
    assert "no words were recognised" in err


def test_interruption_keeps_rows(run: Run, call_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted(ScriptedRecognizer):
        def recognize(self, sound: np.ndarray, language: str | None) -> recognition.RecognizedWords:
            if self.sounds:
                raise KeyboardInterrupt
            return super().recognize(sound, language)

    x, _ = soundfile.read(call_file, dtype="float32")
    soundfile.write(call_file, np.concatenate([x, x]), SAMPLE_RATE)
    monkeypatch.setattr(recognition, "open_recognizer", lambda name: Interrupted("Hi", "there."))
    code, out, err = run("transcribe", call_file, "-f", "jsonl")
    assert code == 130
    assert "interrupted" in err
    assert [json.loads(line) for line in out.splitlines()]


def test_diarize_gives_segments_to_predict(run: Run, call_file: Path) -> None:
    code, out, _ = run("predict", call_file, "--diarize", "2", "-f", "rttm")
    assert code == 0
    turns = [line.split() for line in out.splitlines()]
    assert [turn[7] for turn in turns] == ["speaker_1", "speaker_2"]
    assert float(turns[1][3]) == pytest.approx(7, abs=0.3)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("transcribe", "none.wav"), "no such file"),
        (("transcribe", "{call}", "--diarize", "two"), "expected the number of speakers"),
        (("transcribe", "{call}", "--channels", "each"), "once per channel"),
        (("transcribe", "{call}", "-o", "{call}"), "expected a name that ends with"),
        (("predict", "{call}", "--diarize", "2", "--timeline"), "leave --segments and --timeline out"),
        (("predict", "{call}", "--speaker-model", "m.onnx"), "add --diarize"),
        (("predict", "{call}", "{folder}", "--diarize", "0"), "1 to 20"),
        (("report", "{call}", "-o", "page.pdf"), "ends with .html"),
        (("report", "{call}", "-o", "{folder}/p.html", "--asr", "base"), "add --transcribe"),
        (("report", "{call}", "-o", "{folder}/p.html", "--tier", "a"), "add --segments"),
        (("report", "{folder}", "-o", "{folder}/p.html"), "expected one recording"),
        (("report", "none.wav", "-o", "{folder}/p.html"), "no such file"),
    ],
)
def test_mistakes_get_a_sentence(run: Run, call_file: Path, argv: tuple[str, ...], message: str) -> None:
    filled = [part.format(call=call_file, folder=call_file.parent) for part in argv]
    code, out, err = run(*filled)
    assert (code, out) == (2, "")
    assert message in " ".join(err.split())
    assert "Traceback" not in err


def test_report_is_written(run: Run, call_file: Path) -> None:
    page = call_file.with_suffix(".html")
    assert run("report", call_file, "-o", page, "--transcribe", "--diarize", "2")[0] == 0
    text = page.read_text(encoding="utf-8")
    assert "data:audio/mpeg;base64," in text
    assert "Hi there." in text
    assert "speaker 2" in text
    code, _, err = run("report", call_file, "-o", page)
    assert code == 2
    assert "--force" in err
    assert run("report", call_file, "-o", page, "--audio", "link", "--force")[0] == 0
    assert 'src="call.wav"' in page.read_text(encoding="utf-8")


def test_report_of_label_file(run: Run, call_file: Path) -> None:
    labels = call_file.with_suffix(".srt")
    labels.write_text("1\n00:00:01,500 --> 00:00:04,250\nGood <b>day</b>\n", encoding="utf-8")
    page = call_file.with_suffix(".html")
    assert run("report", call_file, "-o", page, "--segments", labels, "--audio", "none")[0] == 0
    text = page.read_text(encoding="utf-8")
    assert 'data-start="1.500" data-end="4.250"' in text
    assert "<audio" not in text
    assert "<b>day" not in text
