"""``emovox batch`` as typed by a user: run, interrupt, resume, merge."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import emovox
from emovox._parallel import map_unordered
from emovox.cli import main
from emovox.features.extraction import extract as feature_table


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine recordings, two of them broken."""
    folder = tmp_path_factory.mktemp("calls")
    rng = np.random.default_rng(5)
    for i in range(9):
        x = np.convolve(rng.standard_normal(4000 * (i + 1)), np.hanning(2 + i), "same") * 0.02
        soundfile.write(folder / f"{i}.wav", x, 16_000)
    (folder / "3.wav").write_text("no sound")
    (folder / "7.wav").write_bytes(b"")
    return folder


def rows_of(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def test_rows_equal_predict(
    tiny_bundle: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, merged, rows = tmp_path / "out", tmp_path / "rows.jsonl", tmp_path / "predict.jsonl"
    argv = [
        str(folder),
        "-o",
        str(out),
        "--model",
        str(tiny_bundle),
        "--format",
        "jsonl",
        "--shard-size",
        "4",
    ]
    assert main(["batch", "predict", *argv, "--workers", "2"]) == 1
    said = capsys.readouterr()
    assert "9 of 9 recordings done, 2 failed" in said.out
    assert "--retry-failed" in said.err
    assert main(["batch", "merge", str(out), "-o", str(merged)]) == 0
    assert "9 rows (2 of failed recordings)" in capsys.readouterr().out
    assert main(["predict", str(folder), "--model", str(tiny_bundle), "-o", str(rows)]) == 1
    ours, theirs = rows_of(merged), rows_of(rows)
    for row in ours:
        assert ("attempts" in row) == ("error" in row)
        row.pop("attempts", None)
    assert ours == theirs
    assert main(["batch", "merge", str(out), "-o", str(merged)]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["batch", "predict", *argv, "--retry-failed"]) == 1
    assert main(["batch", "merge", str(out), "-o", str(merged), "--force"]) == 0
    assert [row["attempts"] for row in rows_of(merged) if "error" in row] == [2, 2]


def test_folders_below_are_counted(
    tiny_bundle: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = tmp_path / "calls" / "deep"
    deep.mkdir(parents=True)
    shutil.copy(folder / "0.wav", deep / "0.wav")
    (deep.parent / "list.txt").touch()
    argv = [str(deep.parent), "--model", str(tiny_bundle), "--format", "jsonl", "-o"]
    assert main(["batch", "predict", *argv, str(tmp_path / "none")]) == 2
    err = capsys.readouterr().err
    assert "left out: 1 file by its suffix (.txt), 1 folder below (--recursive enters it)" in err
    assert "the plan names no recordings" in err
    for _ in range(2):  # resumed as well
        assert main(["batch", "timeline", "--recursive", *argv, str(tmp_path / "out")]) == 0
        out, err = capsys.readouterr()
        assert "1 of 1 recording done" in out
        assert err.count("left out: 1 file by its suffix (.txt)\n") == 1


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_answers_are_merged_and_named(
    tiny_bundle: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow")
    out, merged = tmp_path / "out", tmp_path / f"merged.{form}"
    argv = ["batch", "predict", str(folder), "-o", str(out), "--model", str(tiny_bundle), "--format", form]
    assert main([*argv, "--no-merge"]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[-1] == f"answers: {out / 'parts'} (1 file); one file of them: emovox batch merge"
    assert not (out / f"rows.{form}").exists()
    assert main(argv) == 1
    assert capsys.readouterr().out.splitlines()[-1] == f"answers: {out / f'rows.{form}'} (9 rows)"
    assert main(["batch", "merge", str(out), "-o", str(merged)]) == 0
    assert (out / f"rows.{form}").read_bytes() == merged.read_bytes()
    assert main(argv) == 1  # complete, and said again


def test_rows_equal_timeline(tiny_bundle: Path, folder: Path, tmp_path: Path) -> None:
    out, merged, rows = tmp_path / "out", tmp_path / "rows.jsonl", tmp_path / "predict.jsonl"
    asked = ["--model", str(tiny_bundle), "--hop-s", "0.5", "--window-s", "1.5"]
    argv = [str(folder), "-o", str(out), *asked, "--format", "jsonl"]
    assert main(["batch", "timeline", *argv]) == 1
    assert main(["batch", "merge", str(out), "-o", str(merged)]) == 0
    assert main(["predict", "--timeline", str(folder), *asked, "-o", str(rows)]) == 1
    ours = [{k: v for k, v in row.items() if k != "attempts"} for row in rows_of(merged)]
    assert ours == rows_of(rows)


def test_rows_equal_features(folder: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out, merged = tmp_path / "out", tmp_path / "rows.parquet"
    assert main(["batch", "features", str(folder), "-o", str(out), "--set", "seed-180"]) == 1
    assert main(["batch", "merge", str(out), "-o", str(merged)]) == 0
    files = [folder / f"{i}.wav" for i in range(9)]
    expected = feature_table(files, "seed-180")
    read = parquet.read_table(merged)
    assert read["file"].to_pylist() == list(map(str, files))
    assert tuple(read.column_names[3:-2]) == expected.columns
    values = np.stack([read[name].to_numpy() for name in expected.columns], axis=1)
    np.testing.assert_array_equal(values, expected.values)
    assert [error is None for error in read["error"].to_pylist()] == expected.ok.tolist()


def test_time_spans(tiny_bundle: Path, folder: Path, tmp_path: Path) -> None:
    plan, out, merged = folder / "calls.csv", tmp_path / "out", tmp_path / "rows.jsonl"
    plan.write_text("file,start,end\n8.wav,0.5,1.75\n8.wav,,\n6.wav,1,\n8.wav,60,61\n")
    try:
        argv = ["batch", "predict", str(plan), "-o", str(out), "--model", str(tiny_bundle)]
        assert main([*argv, "--format", "jsonl"]) == 1
    finally:
        plan.unlink()
    assert main(["batch", "merge", str(out), "-o", str(merged)]) == 0
    six, whole, part, beyond = rows_of(merged)
    model = emovox.load(tiny_bundle)
    x, rate = soundfile.read(folder / "8.wav", dtype="float32")
    alone = model.predict(x[8000:28_000], sample_rate=rate).to_dict()
    assert part == {**alone, "file": str(folder / "8.wav"), "start_s": 0.5, "end_s": 1.75}
    assert whole == model.predict(folder / "8.wav").to_dict()
    assert (six["start_s"], six["end_s"]) == (1.0, 1.75)
    assert (beyond["start_s"], beyond["end_s"]) == (60.0, 61.0)
    assert "no sound from 60 s" in beyond["error"]


def test_a_status_says_how_far_it_is(
    tiny_bundle: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    argv = ["batch", "predict", str(folder), "-o", str(out), "--model", str(tiny_bundle), "--format", "jsonl"]
    assert main([*argv, "--shard-size", "4"]) == 1
    (out / "parts/000001-1.jsonl").unlink()
    capsys.readouterr()
    assert main(["batch", "status", str(out), "--format", "json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert (found["n_items"], found["n_done"], found["n_shards_done"], found["complete"]) == (9, 5, 2, False)
    assert main(["batch", "status", str(out)]) == 0
    assert "5 of 9 recordings done" in capsys.readouterr().out
    assert main(["batch", "merge", str(out), "-o", str(tmp_path / "rows.jsonl")]) == 2
    assert "1 of 3 shards are not done" in capsys.readouterr().err
    assert main(argv) == 1
    assert "5 of 9 recordings were done before" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["predict", "nowhere", "-o", "out"], "no such file, folder or pattern"),
        (["predict", ".", "-o", "out", "--model", "none"], "neither a known model"),
        (["predict", ".", "-o", "out", "--engine", "rays"], "did you mean 'ray'"),
        (["predict", ".", "-o", "out", "--address", "auto"], "--engine ray"),
        (["predict", ".", "-o", "out", "--channels", "left"], "channels is"),
        (["predict", ".", "-o", "out", "--labels", "glee"], "glee"),
        (["predict", ".", "-o", "out"], "names no recording"),
        (["timeline", ".", "-o", "out", "--window-s", "1", "--hop-s", "2"], "hop"),
        (["features", ".", "-o", "out", "--set", "seed-lstm"], "frames"),
        (["features", ".", "-o", "out", "--set", "a,a"], "different names"),
        (["status", "."], "no run"),
        (["merge", ".", "-o", "rows.jsonl"], "no run"),
    ],
)
def test_a_request_that_cannot_be_met_says_why(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    argv: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["batch", *argv]) == 2
    assert said in capsys.readouterr().err


def test_a_plan_that_matches_nothing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["batch", "features", "*.wav", "-o", "out", "--set", "seed-180", "--format", "jsonl"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_one_is_not_many(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(tmp_path / "out")
    argv = [str(folder / "3.wav"), "-o", out, "--set", "seed-180", "--format", "jsonl"]
    assert main(["batch", "features", *argv]) == 1
    said = capsys.readouterr()
    assert "1 of 1 recording done, 1 failed" in said.out
    assert "1 recording failed: its row has the error" in said.err
    assert main(["batch", "merge", out, "-o", str(tmp_path / "rows.jsonl")]) == 0
    assert "1 row (1 of " in capsys.readouterr().out
    assert main(["batch", "features", *argv]) == 1
    assert "1 of 1 recording was done before" in capsys.readouterr().err
    assert main(["batch", "features", str(folder), "-o", f"{out}/run.json", *argv[3:]]) == 2
    assert "a file; expected the folder of a run" in capsys.readouterr().err


@pytest.mark.skipif(os.name != "posix", reason="sends a signal")
def test_ctrl_c_keeps_what_is_done(tiny_bundle: Path, folder: Path, tmp_path: Path) -> None:
    plan, out, pipe = tmp_path / "plan.txt", tmp_path / "out", tmp_path / "pipe.wav"
    os.mkfifo(pipe)  # a worker waits for its sound, so the run cannot end before it is interrupted
    plan.write_text(f"{pipe}\n" + "".join(f"{folder}/gone-{i}.wav\n" for i in range(19_999)))
    argv = ["batch", "predict", str(plan), "-o", str(out), "--model", str(tiny_bundle), "--format", "jsonl"]
    command = [sys.executable, "-m", "emovox", *argv, "--shard-size", "200", "--workers", "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    parts = out / "parts"
    while process.poll() is None and not any(parts.glob("*-1.jsonl")):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 130
    assert "interrupted; finished work is kept, and the same command resumes" in said
    assert "Traceback" not in said
    assert 0 < len(list(parts.glob("*.jsonl"))) < 100
    pipe.unlink()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "of 20,000 recordings were done before" in said
    assert sorted(part.name for part in parts.iterdir()) == [f"{i:06d}-1.jsonl" for i in range(100)]
    assert list((out / "journal").iterdir()) == []


def test_what_the_driver_needs_is_light() -> None:
    """Neither a worker nor the driver of a run on JSON lines loads what only tables of features need."""
    code = (
        "import sys, emovox.cli.batch, emovox.batch.runner, emovox.batch.merge, emovox.batch.worker;"
        "print(*[m for m in ('pyarrow', 'pandas', 'ray', 'fsspec', 'torch', 'scipy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_one_worker_apart_is_a_process_of_its_own() -> None:
    found = list(map_unordered(_pid, [1, 2, 3], workers=1))
    assert {outcome.value for outcome in found}.isdisjoint({os.getpid()})
    assert len({outcome.value for outcome in found}) == 1


def _pid() -> Any:
    return lambda _: os.getpid()
