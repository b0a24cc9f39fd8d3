"""``emovox features``: three formats of the same rows, failures among them, nothing replaced unasked."""

from __future__ import annotations

import csv
import errno
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from emovox import audio
from emovox.cli import feature_tables, main
from emovox.datasets import Manifest
from emovox.datasets.manifest import Utterance
from emovox.errors import install_command
from emovox.features import SETS, extraction, find_feature_set

RATE = 16_000
SEED = find_feature_set("seed-180")
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """``run(*argv)`` -> exit code, stdout and stderr of ``emovox features``, with a cache of its own."""
    monkeypatch.setenv("EMOVOX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # else the command would choose, for all tests that follow

    def call(*argv: str | Path) -> tuple[int, str, str]:
        code = main(["features", *map(str, argv)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Three recordings; read them, do not change them."""
    root = tmp_path_factory.mktemp("clips")
    for i in range(3):
        t = np.arange(round((0.3 + 0.2 * i) * RATE)) / RATE
        soundfile.write(root / f"{i}.wav", 0.1 * np.sign(np.sin(2 * np.pi * (120 + 40 * i) * t)), RATE)
    return sorted(root.iterdir())


def csv_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def numbers(rows: list[dict[str, str]], columns: tuple[str, ...] = SEED.columns) -> np.ndarray:
    return np.array([[row[c] or "nan" for c in columns] for row in rows], dtype=np.float32)


def expected(paths: list[Path]) -> np.ndarray:
    return np.stack([SEED(audio.read(path)) for path in paths])


# ------------------------------------------------------------------------------------------ formats


def test_csv_digits(run: Run, clips: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    code, told, _ = run(*clips, "--set", "seed-180", "-o", out)
    assert code == 0
    assert told == f"3 rows of 180 features of 3 recordings (3 computed, 0 from the cache): {out}\n"
    rows = csv_rows(out)
    assert list(rows[0]) == ["file", "start_s", "end_s", *SEED.columns, "error"]
    assert [row["file"] for row in rows] == [str(path) for path in clips]
    assert [(row["start_s"], row["end_s"]) for row in rows][2] == ("0.000000", "0.700000")
    np.testing.assert_array_equal(numbers(rows), expected(clips))


def test_npz_needs_numpy_alone(run: Run, clips: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    assert run(clips[0].parent, tmp_path / "gone.wav", "--set", "seed-180", "-o", out)[0] == 1
    with np.load(out) as found:
        assert found["values"].dtype == np.float32
        np.testing.assert_array_equal(found["values"][:3], expected(clips))
        assert np.isnan(found["values"][3]).all()
        assert tuple(found["columns"]) == SEED.columns
        assert found["clip"].tolist() == [0, 1, 2, 3]
        assert found["file"].tolist() == [*map(str, clips), str(tmp_path / "gone.wav")]
        assert found["error"][:3].tolist() == [""] * 3
        assert "no such file" in str(found["error"][3])
        np.testing.assert_allclose(found["end_s"], [0.3, 0.5, 0.7, np.nan])
        assert json.loads(str(found["about"]))["sets"] == [SEED.reference()]


def test_parquet_metadata(run: Run, clips: list[Path], tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "out.parquet"
    assert run(*clips, tmp_path / "gone.wav", "--set", "seed-180", "-o", out)[0] == 1
    found = parquet.read_table(out)
    assert found.column_names == ["file", "start_s", "end_s", *SEED.columns, "error"]
    values = np.stack([found[c].to_numpy() for c in SEED.columns], axis=1)
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values[:3], expected(clips))
    assert np.isnan(values[3]).all()
    assert found["error"].to_pylist()[:3] == [None] * 3
    assert found["start_s"].to_pylist() == [0.0, 0.0, 0.0, None]
    assert json.loads(found.schema.metadata[b"emovox"])["sets"] == [SEED.reference()]


def test_parquet_missing_extra(
    run: Run, clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, _, said = run(*clips, "--set", "seed-180", "-o", tmp_path / "out.parquet")
    assert code == 2
    assert install_command("data") in said
    assert not list(tmp_path.glob("out*"))


def test_two_sets(run: Run, clips: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    code, *_ = run(
        *(*clips, "--set", "seed-180,seed-full", "--param", "seed-full:clip_s=0.2", "-o", out),
    )
    assert code == 0
    rows = csv_rows(out)
    np.testing.assert_array_equal(
        numbers(rows, tuple(f"seed-180.{c}" for c in SEED.columns)), expected(clips)
    )
    full = find_feature_set("seed-full", {"clip_s": 0.2})
    found = numbers(rows, tuple(f"seed-full.{c}" for c in full.columns))
    np.testing.assert_array_equal(found, np.stack([full(audio.read(path)) for path in clips]))


def test_manifest_columns(run: Run, clips: list[Path], tmp_path: Path) -> None:
    about = {"corpus": "c", "speaker": "c-ann", "original": "a"}
    rows = [
        Utterance(id="c/1", path="2.wav", start=0.1, end=0.5, emotion="angry", **about),
        Utterance(id="c/2", path="1.wav", emotion="sad", **about),
    ]
    manifest = Manifest(clips[0].parent, tuple(rows)).write_csv(clips[0].parent / "manifest.csv")
    out = tmp_path / "out.csv"
    assert run("--data", manifest, "--set", "seed-180", "-o", out)[0] == 0
    one, two = csv_rows(out)
    assert [one[c] for c in ("id", "speaker", "emotion", "start_s")] == ["c/1", "c-ann", "angry", "0.100000"]
    assert (two["emotion"], two["end_s"]) == ("sad", "0.500000")
    np.testing.assert_array_equal(numbers([one])[0], SEED(audio.read(clips[2])[1600:8000]))
    code, _, said = run("--data", manifest, "--set", "seed-180", "-o", manifest, "--force")
    assert code == 2
    assert "is read by this command" in said


# ----------------------------------------------------------------------------------- frames, windows


def test_frame_rows(run: Run, clips: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out.npz"
    assert run(*clips, "--set", "seed-lstm", "--frames", "-o", out)[0] == 0
    whole = [SETS["seed-lstm"](audio.read(path)) for path in clips]
    with np.load(out) as found:
        np.testing.assert_array_equal(found["values"], np.concatenate(whole))
        assert np.bincount(found["clip"]).tolist() == [len(frames) for frames in whole]
        np.testing.assert_allclose(found["time_s"][: len(whole[0])], 0.032 * np.arange(len(whole[0])))
        assert found["file"].shape == (3,)


def test_frames_of_long_recording(
    run: Run, clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / "long.wav"
    x = np.random.default_rng(0).standard_normal(40 * RATE) * 0.1
    soundfile.write(long, x, RATE)
    monkeypatch.setattr(extraction, "LONG_S", 30.0)
    free = ("--set", "seed-lstm", "--param", "mfcc.top_db=none", "--frames")
    out = tmp_path / "out.npz"
    assert run(clips[0], long, clips[1], *free, "-o", out)[0] == 0
    chosen = find_feature_set("seed-lstm", {"mfcc.top_db": None})
    whole = [chosen(audio.read(path)) for path in (clips[0], long, clips[1])]
    with np.load(out) as found:
        assert np.bincount(found["clip"]).tolist() == [len(frames) for frames in whole]
        np.testing.assert_allclose(found["values"], np.concatenate(whole), rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(found["time_s"][found["clip"] == 1], 0.032 * np.arange(len(whole[1])))
    code, _, said = run(long, clips[0], "--set", "seed-lstm", "--frames", "-o", tmp_path / "no.csv")
    assert code == 1  # it needs the whole recording, and says so; the other one is there
    assert "override mfcc.top_db with None" in said
    rows = csv_rows(tmp_path / "no.csv")
    assert rows[0]["error"]
    assert rows[1]["mfcc_01"]


@pytest.mark.parametrize("many", [1 << 23, 500])
def test_window_rows(
    run: Run, clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    monkeypatch.setattr(extraction, "MANY_VALUES", many)  # one by one they are the same
    out = tmp_path / "out.csv"
    assert run(clips[2], "--set", "seed-180", "--window", "0.3", "--hop", "0.25", "-o", out)[0] == 0
    rows = csv_rows(out)
    times = [(float(row["start_s"]), float(row["end_s"])) for row in rows]
    assert times == [(0.0, 0.3), (0.25, 0.55), (0.4, 0.7)]
    x = audio.read(clips[2])
    for row, (start, end) in zip(rows, times, strict=True):
        np.testing.assert_array_equal(numbers([row])[0], SEED(x[round(start * RATE) : round(end * RATE)]))


# --------------------------------------------------------------------------------------- the store


def test_cache_options(run: Run, clips: list[Path], tmp_path: Path) -> None:
    given = (*clips, "--set", "seed-180", "--force", "-o", tmp_path / "out.npz")
    assert "(3 computed, 0 from" in run(*given)[1]
    assert "(0 computed, 3 from" in run(*given)[1]
    assert "(3 computed, 0 from" in run(*given, "--no-store")[1]
    assert "(3 computed, 0 from" in run(*given, "--store", tmp_path / "own")[1]
    assert "(3 computed, 0 from" in run(*given, "--param", "mfcc.n_mfcc=13")[1]
    for entry in (tmp_path / "cache").rglob("*.evf"):
        entry.write_bytes(b"damaged")
    code, told, said = run(*given)
    assert code == 0
    assert "(3 computed" in told
    assert "3 entries of the cache" in said
    assert "damaged" in said


def test_unwritable_cache_is_reported(run: Run, clips: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    code, _, said = run(*clips, "--set", "seed-180", "--store", tmp_path / "file", "-o", tmp_path / "o.csv")
    assert code == 0
    assert "3 entries could not be written" in said


# ----------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--set", "seed-180"], "-o FILE"),
        (["-o", "out.csv"], "--set NAME"),
        (["--set", "seed-18", "-o", "out.csv"], "did you mean 'seed-180'"),
        (["--set", "seed-180,seed-180", "-o", "out.csv"], "different names"),
        (["--set", "seed-180", "-o", "out.txt"], ".csv, .npz, .parquet"),
        (["--set", "seed-180", "-o", "nowhere/out.csv"], "a folder that exists"),
        (["--set", "seed-180", "-o", "out.csv", "--param", "mfc.n=1"], "no parameter 'mfc.n'"),
        (["--set", "seed-180", "-o", "out.csv", "--param", "hop"], "KEY=VALUE"),
        (["--set", "seed-180", "-o", "out.csv", "--frames"], "leave out --frames"),
        (["--set", "seed-lstm", "-o", "out.csv"], "add --frames"),
        (["--set", "seed-lstm,seed-hybrid", "--frames", "-o", "out.csv"], "one set"),
        (["--set", "seed-180", "-o", "out.csv", "--hop", "1"], "--window-s"),
        (["--set", "seed-180", "-o", "out.csv", "--window", "1", "--hop", "2"], "hop <= window"),
        (["--set", "seed-180", "-o", "out.csv", "--data", "m.csv"], "either PATH or --data"),
        (["--set", "seed-180", "-o", "out.csv", "--store-max-gb", "0"], "more than 0"),
        (["--set", "seed-180", "-o", "out.csv", "--param", "mfcc.n_mfcc=x"], "the wrong type"),
        (["--set", "encoder:", "-o", "out.csv"], "expected encoder:NAME"),
        (["--describe", ""], "--describe ''"),
    ],
)
def test_invalid_requests(
    run: Run, clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argv: list[str], words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, said = run(clips[0], *argv)
    assert code == 2
    assert words in " ".join(said.replace("│", " ").split())
    assert list(tmp_path.iterdir()) == []


def test_existing_file_is_kept(run: Run, clips: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("mine")
    code, _, said = run(*clips, "--set", "seed-180", "-o", out)
    assert code == 2
    assert "--force" in said
    assert out.read_text() == "mine"
    assert run(*clips, "--set", "seed-180", "-o", out, "--force")[0] == 0
    assert len(csv_rows(out)) == 3


def test_leftover_files_are_removed(run: Run, clips: list[Path], tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    out, host = tmp_path / "out.csv", socket.gethostname()
    running = f"out.csv.{host}-{os.getppid()}.part"
    kept = [running, f"out.csv.elsewhere-{ended.pid}.part", "out.csv.part"]
    for name in (*kept, f"out.csv.{host}-{ended.pid}.part"):
        (tmp_path / name).touch()
    assert run(clips[0], "--set", "seed-180", "-o", out)[0] == 0
    assert sorted(p.name for p in tmp_path.glob("*.part")) == sorted(kept)


def test_failed_recording_message(run: Run, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_text("no sound")
    code, told, said = run(broken, "--set", "seed-180", "-o", tmp_path / "out.csv")
    assert code == 1
    assert said.count(str(broken)) == 1
    assert told.startswith("1 row of 180 features of 1 recording (0 computed, 0 from the cache, 1 recording ")


@pytest.mark.parametrize("suffix", ["csv", "npz", "parquet"])
def test_interrupted_run(
    run: Run, clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
    out = tmp_path / f"out.{suffix}"
    out.write_text("before")
    plain = extraction.iter_features

    def interrupted(*args: Any, **options: Any) -> Any:
        yield next(plain(*args, **options))
        raise KeyboardInterrupt

    monkeypatch.setattr(extraction, "iter_features", interrupted)
    code, _, said = run(*clips, "--set", "seed-180", "-o", out, "--force")
    assert code == 130
    assert "run it again to resume" in said
    assert out.read_text() == "before"
    assert [path.name for path in tmp_path.iterdir() if path.suffix == ".part"] == []
    monkeypatch.setattr(extraction, "iter_features", plain)
    assert "(2 computed, 1 from the cache)" in run(*clips, "--set", "seed-180", "-o", out, "--force")[1]


@pytest.mark.parametrize("suffix", ["csv", "npz", "parquet"])
def test_full_disk_leaves_no_file(
    run: Run, clips: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    if suffix == "parquet":
        pytest.importorskip("pyarrow")

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    kind = {
        "csv": feature_tables.CsvTable,
        "npz": feature_tables.NpzTable,
        "parquet": feature_tables.ParquetTable,
    }[suffix]
    monkeypatch.setattr(kind, "end", full)
    code, _, said = run(*clips, "--set", "seed-180", "-o", tmp_path / f"out.{suffix}")
    assert code == 2
    assert "No space left" in said
    assert list(tmp_path.glob("out*")) == []


# ------------------------------------------------------------------------------------ what there is


def test_list_sets(run: Run) -> None:
    code, told, _ = run("--list")
    assert code == 0
    assert all(name in told for name in SETS)
    entries = json.loads(run("--list", "-f", "json")[1])
    assert [entry["set"] for entry in entries] == list(SETS)


def test_describe_set(run: Run) -> None:
    code, told, _ = run("--describe", "seed-lstm", "--param", "mfcc.n_mfcc=3", "--param", "taper=hamming")
    changed = find_feature_set("seed-lstm", {"mfcc.n_mfcc": 3, "taper": "hamming"})
    assert code == 0
    for words in ("n_mfcc=3", "taper=hamming", "hop=512", "32 ms", changed.source, changed.digest, "mfcc_03"):
        assert words in told
    (entry,) = json.loads(run("--describe", "seed-full", "-f", "json")[1])
    assert entry["columns"] == list(SETS["seed-full"].columns)
    code, _, said = run("--describe", "sed-full")
    assert code == 2
    assert "did you mean 'seed-full'" in said
