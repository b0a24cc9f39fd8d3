"""Conversion: the same samples as the decoder, atomic files, resumed runs."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emovox import audio
from emovox.datasets import Manifest, Utterance
from emovox.datasets import prepare as preparing
from emovox.datasets.prepare import LEDGER, ConvertedFile, convert_tree, converted_manifest
from emovox.errors import ManifestError


def sound(
    path: Path, seconds: float = 0.5, *, rate: int = 44_100, hz: float = 300.0, channels: int = 1
) -> Path:
    t = np.arange(round(rate * seconds)) / rate
    x = 0.3 * np.sin(2 * np.pi * hz * t)
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.stack([x * 0.5**c for c in range(channels)], 1), rate)
    return path


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    sound(root / "a" / "1.wav", channels=2)
    sound(root / "a" / "1.flac", hz=500)
    sound(root / "b" / "c" / "2.ogg", rate=48_000)
    (root / "b" / "bad.wav").write_bytes(b"RIFF no sound at all")
    (root / "b" / "notes.txt").write_text("not sound")
    return root


def states(results: list[ConvertedFile]) -> dict[str, str]:
    return {one.source: one.state for one in results}


@pytest.mark.parametrize("container", ["flac", "wav"])
def test_converted_file_equals_decoder(tree: Path, tmp_path: Path, container: str) -> None:
    results = list(convert_tree(tree, tmp_path / "out", container=container))  # type: ignore[arg-type]
    assert states(results) == {
        "a/1.flac": "made",
        "a/1.wav": "made",
        "b/bad.wav": "failed",
        "b/c/2.ogg": "made",
    }
    assert {one.target for one in results if one.state == "made"} == {
        f"a/1.flac.{container}",
        f"a/1.wav.{container}",
        f"b/c/2.{container}",
    }
    for one in results:
        if one.state == "made":
            info = soundfile.info(tmp_path / "out" / one.target)
            assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
            made, wanted = audio.read(tmp_path / "out" / one.target), audio.read(tree / one.source)
            assert np.abs(made - wanted).max() <= 1.01 / 32768
            assert one.duration_s == wanted.size / 16_000
    (bad,) = [one for one in results if one.error]
    assert "bad.wav" in str(bad.error)


def test_second_run_converts_the_rest(tree: Path, tmp_path: Path) -> None:
    goal = tmp_path / "out"
    list(convert_tree(tree, goal))
    before = {path: path.stat().st_mtime_ns for path in goal.rglob("*.flac")}
    assert states(list(convert_tree(tree, goal))) == {
        "a/1.flac": "kept",
        "a/1.wav": "kept",
        "b/bad.wav": "failed",
        "b/c/2.ogg": "kept",
    }
    assert {path: path.stat().st_mtime_ns for path in goal.rglob("*.flac")} == before
    sound(tree / "a" / "1.wav", hz=900)  # other content under the same name
    os.utime(tree / "a" / "1.flac")  # the same content, touched
    (goal / "b" / "c" / "2.flac").unlink()
    sound(tree / "b" / "bad.wav")  # mended
    again = states(list(convert_tree(tree, goal)))
    assert again == {"a/1.flac": "kept", "a/1.wav": "made", "b/bad.wav": "made", "b/c/2.ogg": "made"}
    assert set(states(list(convert_tree(tree, goal, container="wav"))).values()) == {"made"}


def test_stopped_run_resumes(tree: Path, tmp_path: Path) -> None:
    goal = tmp_path / "out"
    running = convert_tree(tree, goal, workers=1)
    assert next(running).state == "made"
    running.close()
    with (goal / LEDGER).open("a") as ledger:
        ledger.write('{"target": "b/c/2.flac", "key')  # the line that the crash cut
    assert not list(goal.rglob("*.part"))
    again = list(convert_tree(tree, goal))
    assert again[0].state == "kept"
    assert {one.state for one in again if one.source != "b/bad.wav"} <= {"kept", "made"}
    assert len(list(goal.rglob("*.flac"))) == 3
    for line in (goal / LEDGER).read_text().splitlines()[-1:]:
        json.loads(line)


def test_unlisted_target_is_rewritten(tree: Path, tmp_path: Path) -> None:
    goal = tmp_path / "out"
    (goal / "b" / "c").mkdir(parents=True)
    (goal / "b" / "c" / "2.flac").write_bytes(b"half a file of somebody else")
    assert states(list(convert_tree(tree, goal)))["b/c/2.ogg"] == "made"
    assert soundfile.info(goal / "b" / "c" / "2.flac").frames == 8000


def test_full_disk_stops_conversion(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **more: object) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(preparing.soundfile, "SoundFile", full)
    monkeypatch.setattr(preparing.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 100}))
    with pytest.raises(OSError, match="no space left"):
        list(convert_tree(tree, tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").rglob("*") if path.is_file()] == [LEDGER]


def test_short_write_fails(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preparing.soundfile, "info", lambda path: type("Info", (), {"frames": 7}))
    results = list(convert_tree(tree, tmp_path / "out"))
    assert {one.state for one in results} == {"failed"}
    assert not list((tmp_path / "out").rglob("*.flac*"))


def test_source_and_target_are_separate(tree: Path) -> None:
    for goal in (tree, tree / "out", tree.parent):
        with pytest.raises(ManifestError, match="in each other"):
            list(convert_tree(tree, goal))
    with pytest.raises(ManifestError, match="not a folder"):
        list(convert_tree(tree / "nothing", tree.parent / "out"))


def test_converted_manifest(tree: Path, tmp_path: Path) -> None:
    rows = [
        Utterance(f"m/{path}", path, "m", "m-1", "happy", "happy", extra={"part": "test"})
        for path in ("a/1.wav", "b/bad.wav", "b/c/2.ogg")
    ]
    goal = tmp_path / "out"
    paths = [row.path for row in rows]
    results = list(convert_tree(tree, goal, paths=paths))
    made = converted_manifest(Manifest(tree, tuple(rows)), goal, results)
    assert [(u.id, u.path, u.extra["part"]) for u in made] == [
        ("m/a/1.wav", "a/1.flac", "test"),
        ("m/b/c/2.ogg", "b/c/2.flac", "test"),
    ]
    assert all(made.file(u).is_file() for u in made)


def test_one_worker_equals_many(tree: Path, tmp_path: Path) -> None:
    for workers in (1, 4):
        list(convert_tree(tree, tmp_path / str(workers), workers=workers))
    one, many = (
        {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*.flac")}
        for folder in (tmp_path / "1", tmp_path / "4")
    )
    assert one == many
    assert len(one) == 3
