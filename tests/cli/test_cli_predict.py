"""The command: what it prints is what the library says, and a mistake gets a sentence."""

from __future__ import annotations

import csv
import gc
import io
import json
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st

import emovox
from emovox.cli import main, sources, terminal, writers
from emovox.cli.doctor import DECODERS
from emovox.disclaimer import SHORT
from emovox.errors import install_command
from emovox.inference.scorer import MIN_HOP_S

EXAMPLES = Path(__file__).parents[2] / "tests" / "synthetic"
SPEECH = EXAMPLES / "happy.flac"
CALL = EXAMPLES / "call.ogg"

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], tiny_bundle: Path) -> Run:
    """``run(*argv)`` -> exit code, stdout, stderr of `emovox predict` with the tiny model."""

    def call(*argv: str | Path, model: Path = tiny_bundle) -> tuple[int, str, str]:
        code = main(["predict", "--model", str(model), *map(str, argv)])
        said = capfd.readouterr()
        return code, said.out, said.err

    return call


def command(*argv: str | Path) -> list[str]:
    return [sys.executable, "-m", "emovox", *map(str, argv)]


def process(*argv: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command(*argv), input=stdin, capture_output=True, timeout=60, check=False)


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def write(path: Path, seconds: float = 0.6, hz: float = 300.0, channels: int = 1) -> Path:
    t = np.arange(round(16_000 * seconds)) / 16_000
    x = 0.2 * np.sin(2 * np.pi * hz * t * (1 + 0.1 * np.sin(9 * t)))
    soundfile.write(path, np.stack([x * 0.5**c for c in range(channels)], 1), 16_000)
    return path


# --- what it prints is what the library says --------------------------------------------------------


def test_jsonl_rows_are_the_librarys_answers(run: Run, tiny_bundle: Path) -> None:
    files = sorted(EXAMPLES.glob("*.flac"))
    code, out, err = run(*files, "--format", "jsonl")
    model = emovox.load(tiny_bundle)
    assert (code, err) == (0, "")
    assert lines(out) == [model.predict(file).to_dict() for file in files]
    assert list(lines(out)[0]) == (
        ["file", "channel", "start_s", "end_s", "label", "reason", "confidence", "scores", "quality"]
    )


def test_all_formats_hold_the_same(run: Run, tmp_path: Path) -> None:
    rows = lines(run(SPEECH, CALL, tmp_path / "none.wav", "--format", "jsonl")[1])
    assert json.loads(run(SPEECH, CALL, tmp_path / "none.wav", "--format", "json")[1]) == rows
    table = list(csv.DictReader(io.StringIO(run(SPEECH, CALL, tmp_path / "none.wav", "--format", "csv")[1])))
    labels = list(rows[0]["scores"])
    assert list(table[0]) == (
        ["file", "channel", "start_s", "end_s", "label", "reason", "confidence"]
        + [f"{label}_prob" for label in labels]
        + ["error"]
    )
    for row, cells in zip(rows[:2], table[:2], strict=True):
        assert {label: float(cells[f"{label}_prob"]) for label in labels} == row["scores"]
        assert (cells["file"], cells["label"], float(cells["end_s"])) == (
            row["file"],
            row["label"],
            row["end_s"],
        )
        assert cells["channel"] == cells["error"] == ""
    assert table[2]["error"] == rows[2]["error"]
    assert table[2]["label"] == table[2]["confidence"] == ""
    assert len(table) == len(rows) == 3


def test_the_table_names_file_label_and_confidence(run: Run) -> None:
    row = lines(run(SPEECH, "--format", "jsonl")[1])[0]
    code, out, _ = run(SPEECH)
    head, body = out.splitlines()
    assert code == 0
    assert head.split()[:3] == ["file", "length", "expressed"]
    assert row["label"] in body
    assert f"{row['confidence']:.2f}" in body
    assert body.startswith("..." + str(SPEECH)[-20:]) or str(SPEECH) in body or body.startswith("...")
    assert "\x1b" not in out
    assert SHORT not in out


def test_top_keeps_the_likeliest(run: Run) -> None:
    everything = lines(run(SPEECH, "--format", "jsonl")[1])[0]["scores"]
    two = lines(run(SPEECH, "--format", "jsonl", "--top", "2")[1])[0]["scores"]
    assert list(two) == sorted(everything, key=lambda label: -everything[label])[:2]
    assert two.items() <= everything.items()


def test_labels_are_restricted_by_any_name(run: Run, tiny_bundle: Path) -> None:
    row = lines(run(SPEECH, "--format", "jsonl", "--labels", "anger,Fearful")[1])[0]
    assert list(row["scores"]) == ["angry", "fear"]
    assert sum(row["scores"].values()) == pytest.approx(1, abs=2e-6)


def test_channels(run: Run, tiny_bundle: Path) -> None:
    each = lines(run(CALL, "--format", "jsonl", "--channels", "each")[1])
    right = lines(run(CALL, "--format", "jsonl", "--channels", "1")[1])
    assert [row["channel"] for row in each] == [0, 1]
    assert each[1:] == right
    code, out, err = run(CALL, "--format", "jsonl", "--channels", "7")
    assert code == 1
    assert "7" in lines(out)[0]["error"]
    assert "call.ogg" in err


def test_timeline_rows_are_the_librarys_segments(run: Run, tiny_bundle: Path) -> None:
    code, out, _ = run(CALL, "--timeline", "--window-s", "1.5", "--hop-s", "0.5", "--format", "jsonl")
    segments = list(emovox.load(tiny_bundle).timeline(CALL, window_s=1.5, hop_s=0.5))
    assert code == 0
    assert len(segments) > 0
    assert lines(out) == [segment.to_dict() for segment in segments]


def test_a_timeline_of_silence_is_a_row(run: Run, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silent.wav", np.zeros((32_000, 2)), 16_000)
    code, out, _ = run(tmp_path / "silent.wav", "--timeline", "--channels", "each", "--format", "jsonl")
    assert code == 0
    assert [(row["channel"], row["label"], row["reason"]) for row in lines(out)] == [
        (0, None, "no_speech"),
        (1, None, "no_speech"),
    ]
    assert "no speech" in run(tmp_path / "silent.wav", "--timeline")[1]


def test_timeline_of_two_channels_names_both(run: Run) -> None:
    rows = lines(run(CALL, "--timeline", "--channels", "each", "--format", "jsonl")[1])
    assert {row["channel"] for row in rows} == {0, 1}


@pytest.mark.parametrize("how", [[], ["--timeline", "--channels", "each"]])
def test_workers_change_nothing(run: Run, tmp_path: Path, how: list[str]) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_text("no sound")
    paths = [SPEECH, broken, CALL, tmp_path / "missing.wav", EXAMPLES / "sad.flac"]
    alone = run(*paths, *how, "--format", "jsonl")
    assert run(*paths, *how, "--format", "jsonl", "--workers", "2") == alone
    assert alone[0] == 1


def test_vad_off_judges_what_vad_would_not(run: Run, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "hiss.wav", np.random.default_rng(0).normal(0, 0.003, 32_000), 16_000)
    quiet = lines(run(tmp_path / "hiss.wav", "--format", "jsonl", "--vad", "off")[1])[0]
    assert quiet["quality"]["speech_s"] is None
    assert quiet["label"] is not None


# --- which recordings -------------------------------------------------------------------------------


def names(*arguments: str | Path, recursive: bool = False) -> list[str]:
    found = sources.find_recordings(map(str, arguments), recursive=recursive)
    assert [source for source in found if source.problem] == []
    return [Path(source.name).name for source in found]


def test_a_folder_is_its_recordings_in_natural_order(tmp_path: Path) -> None:
    for name in ("clip10.wav", "clip2.WAV", "._clip2.wav", "notes.txt", "song.mp3", "clip1.flac"):
        (tmp_path / name).touch()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "more.opus").touch()
    (tmp_path / "folder.wav").mkdir()
    (tmp_path / "circle").symlink_to(tmp_path)
    assert names(tmp_path) == ["clip1.flac", "clip2.WAV", "clip10.wav", "song.mp3"]
    assert names(tmp_path, recursive=True) == [*names(tmp_path)[:3], "more.opus", "song.mp3"]


def test_left_out_files_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.wav", "b.txt", "c.txt", "d.csv", ".hidden.txt"):
        (tmp_path / name).touch()
    (tmp_path / "deep").mkdir()
    names(tmp_path)
    line = "emovox: left out: 3 files by their suffix (.txt, .csv), 1 folder below (--recursive enters it)\n"
    assert capsys.readouterr().err == line
    names(tmp_path / "a.wav")
    assert capsys.readouterr().err == ""


def test_patterns_and_repeats(tmp_path: Path) -> None:
    for name in ("b.wav", "a.wav", "x[1].wav"):
        (tmp_path / name).touch()
    assert names(tmp_path / "?.wav") == ["a.wav", "b.wav"]
    assert names(tmp_path / "x[1].wav") == ["x[1].wav"], "a file's own name is no pattern"
    assert names(tmp_path / "b.wav", tmp_path, tmp_path / "*.wav") == ["b.wav", "a.wav", "x[1].wav"]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("hapy.flac", "did you mean"),
        ("nowhere/clip.wav", "no folder"),
        ("*.xyz", "nothing matches"),
        ("empty", "--recursive"),
        ("n" * 5000, "too long"),
    ],
)
def test_what_is_not_there_is_said(run: Run, tmp_path: Path, argument: str, said: str) -> None:
    (tmp_path / "empty").mkdir()
    shutil.copy(SPEECH, tmp_path)
    code, out, err = run(tmp_path / argument, SPEECH, "--format", "jsonl")
    bad, good = lines(out)
    assert code == 1
    assert said in bad["error"]
    assert bad["file"] == str(tmp_path / argument)
    assert bad["error"] in err
    assert [good] == lines(run(SPEECH, "--format", "jsonl")[1])


def test_an_empty_path_is_not_the_current_folder(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(EXAMPLES)
    code, out, err = run(SPEECH, "")
    assert (code, out) == (2, "")
    assert "a PATH is empty" in err
    assert run(".", "--format", "csv")[0] == 0


def test_a_dead_link_is_a_row_and_not_skipped(run: Run, tmp_path: Path) -> None:
    (tmp_path / "dead.wav").symlink_to(tmp_path / "annex" / "dead.wav")
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    (tmp_path / "whole.flac").symlink_to(SPEECH)
    for argument in (tmp_path, tmp_path / "*"):
        code, out, _ = run(argument, "--format", "jsonl")
        dead, loop, whole = lines(out)
        assert code == 1
        assert "a link to nothing" in dead["error"]
        assert "a link to nothing" in loop["error"]
        assert whole["end_s"] > 0
    assert "did you mean" not in run(tmp_path / "dead.wav")[1]


def test_two_hundred_files_of_which_three_are_broken(run: Run, tmp_path: Path) -> None:
    write(tmp_path / "0.wav")
    for n in range(1, 200):
        shutil.copy(tmp_path / "0.wav", tmp_path / f"{n}.wav")
    for n, content in ((7, b""), (70, b"this is text"), (199, (tmp_path / "0.wav").read_bytes()[:44])):
        (tmp_path / f"{n}.wav").write_bytes(content)
    code, out, err = run(tmp_path, "--format", "jsonl", "--vad", "off")
    rows = lines(out)
    failed = [n for n, row in enumerate(rows) if "error" in row]
    assert code == 1
    assert [Path(row["file"]).stem for row in rows] == [str(n) for n in range(200)]
    assert failed == [7, 70, 199]
    assert all(f"{n}.wav" in err for n in failed)
    assert "3 of 200" in err
    assert "Traceback" not in err
    assert len({json.dumps({**row, "file": ""}) for row in rows if "error" not in row}) == 1


def test_the_help_names_the_shortest_hop_there_is(run: Run) -> None:
    offered = re.search(r"--hop-s S\s.*?x>=([0-9.]+)", run("--help")[1], re.S)
    assert offered is not None
    assert float(offered[1]) == MIN_HOP_S
    assert run(SPEECH, "--timeline", "--hop-s", offered[1])[0] == 0


def test_a_failure_names_its_file_once_and_in_words(run: Run, tmp_path: Path) -> None:
    text, empty = tmp_path / "text.wav", tmp_path / "empty.wav"
    text.write_text("not a recording")
    empty.touch()
    for workers in (1, 2):
        _, out, err = run(text, empty, "--format", "jsonl", "--workers", workers)
        assert [row["error"].split(" (")[0].split(",")[0] for row in lines(out)] == [
            "not sound that can be read",
            "nothing to read",
        ]
        assert (err.count(str(text)), err.count(str(empty))) == (1, 1)
        assert "Errno" not in out


def odd_recordings(folder: Path) -> dict[str, bool]:
    """Write recordings that are odd in one way each; name -> whether an answer is expected."""
    speech, rate = soundfile.read(SPEECH, dtype="float32")
    nan = speech.copy()
    nan[9000] = np.nan
    sounds = {
        "nan.wav": (nan, rate, False),
        "zeros.wav": (np.zeros(16_000), 16_000, True),
        "one_sample.wav": (np.zeros(1), 16_000, True),
        "10_ms.wav": (speech[:160], rate, True),
        "8_channels.wav": (np.stack([speech] * 8, 1), rate, True),
        "8_khz.wav": (speech[::2], 8_000, True),
        "192_khz.wav": (np.repeat(speech, 12), 192_000, True),
    }
    for name, (x, sample_rate, _) in sounds.items():
        soundfile.write(folder / name, x, sample_rate, subtype="FLOAT")
    whole = (folder / "8_khz.wav").read_bytes()
    (folder / "cut.wav").write_bytes(whole[: len(whole) // 2])
    (folder / "claims_4_gb.wav").write_bytes(whole[:40] + b"\xff\xff\xff\xff" + whole[44:])
    (folder / "text.wav").write_text("not a recording")
    (folder / "empty.wav").touch()
    expected = {name: answer for name, (_, _, answer) in sounds.items()}
    return expected | {"cut.wav": True, "text.wav": False, "empty.wav": False}


@pytest.mark.parametrize("how", [[], ["--timeline"], ["--channels", "each"]])
def test_odd_recordings_get_an_answer_or_a_sentence(run: Run, tmp_path: Path, how: list[str]) -> None:
    expected = odd_recordings(tmp_path)
    code, out, err = run(tmp_path, *how, "--format", "jsonl")
    answered = {Path(row["file"]).name: "error" not in row for row in lines(out)}
    assert code == 1
    assert answered.items() >= expected.items()
    assert answered.keys() == {path.name for path in tmp_path.iterdir()}
    assert "Traceback" not in err
    assert "internal error" not in out


def test_standard_input(run: Run, tiny_bundle: Path) -> None:
    row = lines(run(SPEECH, "--format", "jsonl")[1])[0]
    done = process("predict", "--model", tiny_bundle, "-", "--format", "jsonl", stdin=SPEECH.read_bytes())
    assert (done.returncode, done.stderr) == (0, b"")
    assert lines(done.stdout.decode()) == [{**row, "file": "-"}]
    done = process("predict", "--model", tiny_bundle, "-", "--format", "jsonl", stdin=b"")
    assert done.returncode == 1
    assert list(lines(done.stdout.decode())[0]) == ["file", "error"]


@pytest.mark.skipif(sys.platform == "win32", reason="a shell's redirections")
def test_closed_standard_streams_cost_a_sentence_at_most(tiny_bundle: Path, tmp_path: Path) -> None:
    def redirected(how: str, *argv: str | Path) -> tuple[int, str, str]:
        shell = ["sh", "-c", f'exec "$@" {how}', "sh", *command("predict", "--model", tiny_bundle, *argv)]
        done = subprocess.run(shell, capture_output=True, timeout=60, check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    code, out, err = redirected("<&-", "-", "--format", "jsonl")
    assert (code, lines(out)[0]["error"].split(";")[0]) == (1, "standard input is closed")
    assert redirected(">&-", SPEECH) == (2, "", "emovox: standard output is closed; name a file with -o\n")
    assert redirected(">&-", SPEECH, "-o", tmp_path / "rows.jsonl") == (0, "", "")
    assert lines((tmp_path / "rows.jsonl").read_text())[0]["file"] == str(SPEECH)
    code, out, err = redirected("2>&-", SPEECH, tmp_path / "none.wav", "--format", "jsonl")
    assert (code, [row["file"] for row in lines(out)], err) == (
        1,
        [str(SPEECH), str(tmp_path / "none.wav")],
        "",
    )


@pytest.mark.skipif(sys.platform != "linux", reason="file names are bytes on Linux alone")
def test_a_name_that_is_no_text(tiny_bundle: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(os.fsencode(tmp_path) + b"/na\xffme\n.flac")
    shutil.copy(SPEECH, odd)
    for form in ("jsonl", "csv", "table"):
        done = process("predict", "--model", tiny_bundle, tmp_path, "--format", form)
        assert (done.returncode, done.stderr) == (0, b"")
        if form == "jsonl":
            assert json.loads(done.stdout)["file"] == odd


# --- where it goes ----------------------------------------------------------------------------------


def test_output_is_never_replaced_silently(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    assert run(SPEECH, "-o", file)[:2] == (0, "")
    before = file.read_bytes()
    assert before.startswith(b"file,channel,")
    code, out, err = run(CALL, "-o", file)
    assert (code, out, file.read_bytes()) == (2, "", before)
    assert "--force" in err
    assert run(CALL, "-o", file, "--force")[0] == 0
    assert b"call.ogg" in file.read_bytes()
    assert b"happy.flac" not in file.read_bytes()


@pytest.mark.parametrize("name", ["rows.json", "rows.jsonl", "rows.csv", "rows.txt"])
def test_a_files_name_says_its_format(run: Run, tmp_path: Path, name: str) -> None:
    form = {"rows.txt": "table"}.get(name, name.removeprefix("rows."))
    run(SPEECH, "-o", tmp_path / name)
    assert (tmp_path / name).read_text(encoding="utf-8") == run(SPEECH, "--format", form)[1]


def test_a_request_that_cannot_be_met_spoils_no_file(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("precious")
    assert run(SPEECH, "-o", file, "--force", "--labels", "angy")[0] == 2
    assert run(SPEECH, "-o", file, "--force", model=tmp_path / "none")[0] == 2
    assert file.read_text() == "precious"
    copy = shutil.copy(SPEECH, tmp_path)
    assert run(tmp_path, "-o", copy, "--force")[0] == 2
    assert Path(copy).read_bytes() == SPEECH.read_bytes()
    assert run(SPEECH, "-o", tmp_path)[0] == 2
    assert run(SPEECH, "-o", tmp_path / "no" / "rows.csv")[0] == 2


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["predct", "x.wav"], "did you mean 'predict'"),
        (["clip.wav"], "emovox predict clip.wav"),
        (["predict"], "PATH"),
        (["predict", "--formt", "json", "x.wav"], "--format"),
        (["predict", "--format", "jsn", "x.wav"], "jsonl"),
        (["predict", "--channels", "left", "x.wav"], "'mix', 'each'"),
        (["predict", "--channels", "-1", "x.wav"], "'mix', 'each'"),
        (["predict", "--top", "0", "x.wav"], "--top"),
        (["predict", "--workers", "0", "x.wav"], "--workers"),
        (["predict", "--vad", "maybe", "x.wav"], "--vad"),
        (["predict", "--hop-s", "1", "x.wav"], "--timeline"),
        (["predict", "--model", "defualt", "x.wav"], "defualt"),
        (["predict", "--model", "BUNDLE", "--labels", "angy", "x.wav"], "'angry'"),
        (["predict", "--model", "BUNDLE", "--labels", "boredom", "x.wav"], "neutral"),
        (["predict", "--model", "BUNDLE", "--labels", "", "x.wav"], "label"),
        (["predict", "--model", "BUNDLE", "--timeline", "--window-s", "1", "--hop-s", "2", "x.wav"], "hop_s"),
        (["doctor", "--fast"], "--fast"),
    ],
)
def test_a_mistake_gets_a_sentence(
    capfd: pytest.CaptureFixture[str], tiny_bundle: Path, argv: Sequence[str], said: str
) -> None:
    assert main([str(tiny_bundle) if word == "BUNDLE" else word for word in argv]) == 2
    out, err = capfd.readouterr()
    assert said in err
    assert out == ""
    assert "Traceback" not in err


def test_a_reader_that_goes_away_is_no_error(tiny_bundle: Path, tmp_path: Path) -> None:
    for n in range(300):
        shutil.copy(SPEECH, tmp_path / f"{n}.flac")
    argv = command("predict", "--model", tiny_bundle, tmp_path, "--format", "jsonl")
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        assert json.loads(child.stdout.readline())["label"]
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(timeout=30) == 141


@pytest.mark.skipif(sys.platform == "win32", reason="sends a POSIX signal")
def test_ctrl_c_leaves_whole_json(tiny_bundle: Path) -> None:
    argv = command("predict", "--model", tiny_bundle, SPEECH, "-", "--format", "json")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(argv, **pipes) as child:  # it waits for the recording on stdin
        assert child.stdout is not None
        assert child.stderr is not None
        first = child.stdout.readline()
        child.send_signal(signal.SIGINT)
        rest, err = child.stdout.read(), child.stderr.read()
        assert child.wait(timeout=30) == 130
    assert [row["file"] for row in json.loads(first + rest)] == [str(SPEECH)]
    assert b"interrupted" in err
    assert b"Traceback" not in err


# --- what a terminal sees ---------------------------------------------------------------------------


def on_terminal(*argv: str | Path, **env: str) -> str:
    """What a person sees: stdout and stderr of a process on a terminal of its own."""
    ours, theirs = pty.openpty()
    variables = (
        {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "TERM")} | {"TERM": "xterm"} | env
    )
    with subprocess.Popen(command(*argv), stdout=theirs, stderr=theirs, stdin=theirs, env=variables) as child:
        os.close(theirs)
        seen = b""
        while True:
            try:
                part = os.read(ours, 65536)
            except OSError:  # Linux's word for the end of a terminal
                break
            if not part:
                break
            seen += part
        child.wait(timeout=30)
    os.close(ours)
    return seen.decode()


def test_a_terminal_gets_colours_and_the_notice(tiny_bundle: Path) -> None:
    argv = ("predict", "--model", tiny_bundle, SPEECH)
    seen = on_terminal(*argv)
    assert re.search(r"\x1b\[\d", seen)
    assert SHORT in seen
    plain = on_terminal(*argv, NO_COLOR="1")
    assert "\x1b" not in plain
    assert SHORT in plain
    assert "\x1b" not in on_terminal(*argv, TERM="dumb")


def test_a_keyboard_is_no_recording(tiny_bundle: Path) -> None:
    assert "keyboard" in on_terminal("predict", "--model", tiny_bundle, "-")


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_is_for_those_who_watch(monkeypatch: pytest.MonkeyPatch, capfd: Any) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(terminal.Progress, "DELAY_S", 0.0)
    monkeypatch.setattr(terminal.Progress, "REDRAW_S", 0.0)
    monkeypatch.setattr(sys, "stderr", _Terminal())
    progress = terminal.Progress(4)
    progress.at(1.5)
    assert "1/4" in sys.stderr.getvalue()  # type: ignore[attr-defined]
    progress.hide()
    assert sys.stderr.getvalue().endswith("\r\x1b[K")  # type: ignore[attr-defined]
    for quiet in (terminal.Progress(4, enabled=False), terminal.Progress(0)):
        monkeypatch.setattr(sys, "stderr", _Terminal())
        quiet.at(1)
        assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    terminal.Progress(4).at(1)
    assert sys.stderr.getvalue() == ""  # type: ignore[attr-defined]


def test_a_short_job_shows_no_bar(tiny_bundle: Path) -> None:
    seen = on_terminal("predict", "--model", tiny_bundle, SPEECH, CALL, NO_COLOR="1")
    assert " left" not in seen


words = st.text(st.characters(codec="utf-8"), max_size=30)


@given(file=words, error=words)
def test_any_text_survives_the_formats(file: str, error: str) -> None:
    row = {"file": file, "error": error}
    text = io.StringIO(newline="")
    writer = writers.CsvWriter(text, ["happy"])
    writer.row(row)
    back = list(csv.DictReader(io.StringIO(text.getvalue(), newline="")))
    assert [(cells["file"], cells["error"]) for cells in back] == [(file, error)]
    text = io.StringIO()
    writers.JsonLinesWriter(text).row(row)
    assert text.getvalue().count("\n") == 1
    assert json.loads(text.getvalue()) == row
    text = io.StringIO()
    table = writers.ResultTableWriter(text, files=[file], labels=["happy"])
    table.row(row)
    assert len(text.getvalue().splitlines()) == 2
    assert all(c.isprintable() or c == "\n" for c in text.getvalue())


@given(st.lists(words, max_size=4))
def test_json_is_a_list_of_the_rows(files: list[str]) -> None:
    text = io.StringIO()
    writer = writers.JsonWriter(text)
    for file in files:
        writer.row({"file": file, "scores": {"a": 0.5}})
    writer.end()
    assert [row["file"] for row in json.loads(text.getvalue())] == files


@given(words)
def test_columns_line_up(text: str) -> None:
    shown = terminal.clean(text)
    assert terminal.width(terminal.pad(shown, 80)) == 80


def test_width_of_wide_and_combining_letters() -> None:
    assert terminal.width("日本") == 4
    assert terminal.width("e\u0301") == 1
    assert terminal.clean("a\x1b[31m\nb") == "a\ufffd[31m b"


# --- the other commands -----------------------------------------------------------------------------


def test_version_and_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capfd.readouterr().out == f"emovox {emovox.__version__}\n"
    for argv in (["--help"], ["predict", "--help"]):
        assert main(argv) == 0
        said = " ".join(capfd.readouterr().out.split())
        assert "not what a person feels" in said
        assert "5(1)(f)" in said


def test_models_lists_labels_and_terms(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "--format", "json"]) == 0
    entries = json.loads(capfd.readouterr().out)
    assert [entry["model"] for entry in entries] == [known.name for known in emovox.models()]
    assert main(["models"]) == 0
    page = capfd.readouterr().out
    for entry in entries:
        assert entry["spec"]["licence"]["weights"] in page
        assert " ".join(entry["spec"]["labels"]) in page
    assert entries or "--model" in page


def test_doctor_tries_every_decoder(capfd: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--format", "json"])
    report = json.loads(capfd.readouterr().out)
    assert report["emovox"] == emovox.__version__
    assert report["packages"]["numpy"] == np.__version__
    assert report["extras"]["media"]["install"] == install_command("media")
    assert set(report["decoders"]) == set(DECODERS)
    for name, state in report["decoders"].items():
        assert state == "ok" or "[media]'" in state, f"{name}: {state}"
    assert code == (1 if report["model"].startswith("failed") else 0)
    main(["doctor"])
    page = capfd.readouterr().out
    assert all(name in page for name in (*report["packages"], *report["extras"], *DECODERS))


def test_doctor_says_how_to_get_what_is_missing() -> None:
    code = (
        "import sys; sys.modules['av'] = None; "
        "from emovox.cli import main; main(['doctor', '--format', 'json'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    decoders = json.loads(done.stdout)["decoders"]
    assert install_command("media") in decoders["amr"]
    assert install_command("media") in decoders["m4a, mp4 (aac)"]
    assert decoders["flac"] == decoders["mp3"] == "ok"


def test_predicting_loads_nothing_heavy(tiny_bundle: Path) -> None:
    code = (
        "import sys; from emovox.cli import main; "
        f"assert main(['predict', {str(SPEECH)!r}, {str(CALL)!r}, '--model', {str(tiny_bundle)!r}]) == 0; "
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    loaded = {name.split(".")[0] for name in done.stderr.split()}
    assert {"onnxruntime", "soundfile", "typer"} <= loaded, "it did not predict"
    heavy = {"torch", "sklearn", "scipy", "librosa", "pandas", "numba", "matplotlib", "onnx", "rich", "av"}
    assert not loaded & heavy


def test_what_runs_for_days_collects_its_garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    server = pytest.importorskip("emovox.server.server")
    seen: list[bool] = []
    monkeypatch.setattr(server, "run", lambda *_, **__: seen.append(gc.isenabled()))
    assert main(["serve"]) == 0
    assert seen == [True]


# ------------------------------------------------------------------------------------------ where it goes


@pytest.mark.parametrize("name", ["rows.parquet", "rows.tsv", "rows", "rows.jsonl.gz"])
def test_a_name_that_asks_for_no_format_is_refused(run: Run, tmp_path: Path, name: str) -> None:
    code, _, said = run(SPEECH, "-o", tmp_path / name)
    assert code == 2
    assert ".csv, .json, .jsonl" in " ".join(said.split())
    assert not (tmp_path / name).exists()
    assert run(SPEECH, "-o", tmp_path / name, "-f", "csv")[0] == 0
    assert run(SPEECH, "-o", tmp_path / "table.txt")[0] == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_what_cannot_be_written_is_no_recording_that_failed() -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            command("predict", SPEECH, "-f", "csv"),
            stdout=full,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert done.returncode == 2
    assert b"No space left on device" in done.stderr


def test_faults_of_the_system_name_what_was_asked_for(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("/r/x.csv", "/r/x.csv.host-12.part", "/r/x.csv/.merge-ab_1", None):
        error = OSError(13, "Permission denied", *([] if place is None else [place]))
        monkeypatch.setattr(
            "emovox.cli.predict.find_recordings", lambda *_, error=error, **__: (_ for _ in ()).throw(error)
        )
        assert main(["predict", str(SPEECH)]) == 2
        said = capfd.readouterr().err.strip().removeprefix("emovox: ")
        assert said == ("Permission denied" if place is None else "/r/x.csv: Permission denied")


def test_a_url_is_told_where_it_is_judged(run: Run) -> None:
    code, _, said = run("s3://voices/a.wav")
    assert code == 1
    assert "emovox batch predict" in said


def test_a_folder_that_takes_nothing_is_told_before_the_work(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.access", lambda place, mode: Path(place) != tmp_path)
    code, _, said = run(SPEECH, "-o", tmp_path / "rows.csv")
    assert code == 2
    assert "is not writable" in " ".join(said.split())
    for name in ("train", "tune", "compare", "evaluate"):
        assert main([name, "--data", "x", "-o", str(tmp_path / "run" / "deeper")]) == 2
        assert "is not writable" in " ".join(capfd.readouterr().err.split())


def test_ctrl_c_while_all_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(argv: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("emovox.cli.app.run", stopped)
    assert main(["predict", "x.wav"]) == 130
