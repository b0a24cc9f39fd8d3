"""The data commands: output, exit codes, and existing files that are kept."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from emovox._arrays import Floats
from emovox.audio import microphone
from emovox.cli import main
from emovox.cli.data import common
from emovox.datasets import CORPORA, Manifest, download, scan
from emovox.datasets.download import RemoteFile
from emovox.datasets.formats import FORMATS

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """``run(*argv)`` -> exit code, stdout and stderr of ``emovox data``."""

    def call(*argv: str | Path) -> tuple[int, str, str]:
        code = main(["data", *map(str, argv)])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


@pytest.fixture
def ravdess(tmp_path: Path) -> Path:
    """Eight clips of two actors, and a file that is none."""
    root = tmp_path / "ravdess"
    for actor in (1, 2):
        (root / f"Actor_{actor:02}").mkdir(parents=True)
        for n, emotion in enumerate(("03", "04", "05", "06")):
            x = np.random.default_rng(10 * actor + n).standard_normal(16_000) * 0.1
            x *= np.sin(np.arange(16_000) / (700 + 90 * n + 40 * actor))
            soundfile.write(
                root / f"Actor_{actor:02}" / f"03-01-{emotion}-01-01-01-{actor:02}.wav", x, 16_000
            )
    return root


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- list, check ----------------------------------------------------------------------------------


def test_list(run: Run) -> None:
    code, out, _ = run("list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()[1 : len(CORPORA) + 1]] == list(CORPORA)
    code, out, _ = run("list", "-f", "json")
    facts = {one["name"]: one for one in json.loads(out)}
    assert facts["ravdess"]["n_clips"] == 1440
    assert facts["ravdess"]["download"] is True
    assert facts["casia"]["download"] is False
    assert facts["casia"]["licence"] == CORPORA["casia"].licence


def test_check_prints_scan_report(run: Run, ravdess: Path) -> None:
    (ravdess / "Actor_01" / "strange.wav").write_bytes(b"x")
    _, report = scan("ravdess", ravdess)
    code, out, _ = run("check", "ravdess", "--root", ravdess)
    assert code == 1
    assert out.splitlines() == list(report.lines())
    assert "strange.wav" in out
    code, out, _ = run("check", "ravdess", "--root", ravdess, "--format", "json")
    assert json.loads(out) == json.loads(json.dumps(report.to_dict()))
    code, out, _ = run("check", "ravdess", "--root", ravdess, "--all")
    assert len(out.splitlines()) > 1432


def test_mistakes(run: Run, tmp_path: Path) -> None:
    for argv, told in (
        (("chek",), "did you mean 'check'"),
        (("check", "ravdes", "--root", tmp_path), "did you mean 'ravdess'"),
        (("check", "zzz", "--root", tmp_path), "there are ravdess"),
        (("check", "ravdess", "--root", tmp_path / "no"), "not a folder"),
        (("download", "ravdes"), "did you mean 'ravdess'"),
        (("prepare", "csv", "--root", tmp_path, "-o", tmp_path / "no" / "m.csv"), "folder that exists"),
        (("convert", tmp_path / "m.csv", tmp_path / "x.bin"), "--to is missing"),
        (("convert", tmp_path / "no.csv", tmp_path / "x", "--to", "kaldi"), "there is no"),
        (
            ("prepare", "folder", "--root", tmp_path, "-o", tmp_path / "m.csv", "--speaker", "("),
            "regular expression",
        ),
        (("prepare", "folder", "--root", tmp_path, "-o", tmp_path / "m.csv", "--label", "x"), "NAME=LABEL"),
        (
            ("prepare", "folder", "--root", tmp_path, "-o", tmp_path / "m.csv", "--label", "x= "),
            "cannot be a label",
        ),
    ):
        code, out, err = run(*argv)
        assert (code, out) == (2, ""), argv
        assert told in " ".join(err.replace("│", " ").split()), (argv, err)


# --- prepare, convert -----------------------------------------------------------------------------


def test_prepare_writes_manifest(run: Run, ravdess: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    for place in (ravdess / "manifest.csv", tmp_path / "m.csv", tmp_path / "far" / "m.csv"):
        code, _, _ = run("prepare", "ravdess", "--root", ravdess, "-o", place)
        assert code == 0
        manifest = Manifest.read_csv(place)
        assert len(manifest) == 8
        assert all(manifest.file(u).is_file() for u in manifest)
        before = place.read_bytes()
        code, _, err = run("prepare", "ravdess", "--root", ravdess, "-o", place)
        assert code == 2
        assert "exists" in err
        assert place.read_bytes() == before
        assert run("prepare", "ravdess", "--root", ravdess, "-o", place, "--force")[0] == 0


def test_prepare_converts_sound(run: Run, ravdess: Path, tmp_path: Path) -> None:
    bad = ravdess / "Actor_01" / "03-01-05-01-01-01-01.wav"
    bad.write_bytes(b"no sound")
    argv = (
        "prepare",
        "ravdess",
        "--root",
        ravdess,
        "-o",
        tmp_path / "m.csv",
        "--audio",
        tmp_path / "out",
        "-f",
        "json",
    )
    code, out, err = run(*argv)
    found = json.loads(out)
    assert code == 1
    assert bad.name in err
    assert [one["source"] for one in found["failed"]] == [f"Actor_01/{bad.name}"]
    manifest = Manifest.read_csv(tmp_path / "m.csv")
    assert len(manifest) == found["n_utterances"] == 7
    assert {manifest.file(u).suffix for u in manifest} == {".flac"}
    assert all(manifest.file(u).is_file() for u in manifest)


def test_prepare_of_own_tree(run: Run, tmp_path: Path) -> None:
    for name in ("train/anna/hangry/1.wav", "test/bert/joy/2.wav", "train/anna/odd/3.wav"):
        (tmp_path / "mine" / name).parent.mkdir(parents=True)
        (tmp_path / "mine" / name).write_bytes(b"x")
    argv = (
        "prepare",
        "folder",
        "--root",
        tmp_path / "mine",
        "-o",
        tmp_path / "m.csv",
        "--label",
        "hangry=angry",
    )
    code, out, _ = run(*argv, "--speaker", r"/(anna|bert)/")
    assert code == 0
    assert "taken as they are: odd 1" in out
    manifest = Manifest.read_csv(tmp_path / "m.csv")
    assert {(u.speaker, u.emotion, u.extra["part"]) for u in manifest} == {
        ("mine-anna", "angry", "train"),
        ("mine-anna", "odd", "train"),
        ("mine-bert", "happy", "test"),
    }


def test_convert_round_trip(run: Run, ravdess: Path, tmp_path: Path) -> None:
    run("prepare", "ravdess", "--root", ravdess, "-o", tmp_path / "m.csv")
    code, out, _ = run("convert", tmp_path / "m.csv", tmp_path / "k", "--to", "kaldi")
    assert code == 0
    assert "does not hold text: lost for 8" in out
    code, _, err = run("convert", tmp_path / "k", tmp_path / "back.csv", "--corpus", "ravdess")
    assert (code, err) == (0, "")
    before, after = (Manifest.read_csv(tmp_path / name) for name in ("m.csv", "back.csv"))
    assert set(before.ids) == set(after.ids)
    assert {u.speaker for u in after} == {"ravdess-01", "ravdess-02"}


def test_convert_sound(run: Run, ravdess: Path, tmp_path: Path) -> None:
    code, out, _ = run("convert", ravdess, tmp_path / "out")
    assert code == 0
    assert "8 converted, 0 were there already, 0 failed" in out
    code, out, _ = run("convert", ravdess, tmp_path / "out")
    assert "0 converted, 8 were there already" in out
    code, out, _ = run(
        "convert", ravdess / "Actor_01" / "03-01-05-01-01-01-01.wav", tmp_path / "one", "-f", "json"
    )
    assert [one["state"] for one in json.loads(out)] == ["made"]
    (tmp_path / "nothing").mkdir()
    assert run("convert", tmp_path / "nothing", tmp_path / "out2")[0] == 1


# --- stats, audit ---------------------------------------------------------------------------------


def test_stats(run: Run, ravdess: Path, tmp_path: Path) -> None:
    code, out, _ = run("stats", ravdess, "--corpus", "ravdess", "--html", tmp_path / "page.html")
    assert code == 0
    assert "8 clips, 2 speakers" in out
    assert "0 pairs of clips" in out
    page = (tmp_path / "page.html").read_text()
    assert "<svg" in page
    assert run("stats", ravdess, "--corpus", "ravdess", "--html", tmp_path / "page.html")[0] == 2
    run("prepare", "ravdess", "--root", ravdess, "-o", tmp_path / "m.csv")
    code, out, _ = run("stats", tmp_path / "m.csv", "--no-hear", "-f", "json")
    document = json.loads(out)
    assert document["counts"]["emotion"] == {"angry": 2, "fear": 2, "happy": 2, "sad": 2}
    assert document["duration_s"] is None
    (ravdess / "Actor_01" / "03-01-05-01-01-01-01.wav").write_bytes(b"no sound")
    code, _, err = run("stats", tmp_path / "m.csv")
    assert code == 1
    assert "ravdess/03-01-05-01-01-01-01" in err


def test_corpus_name_with_root(run: Run, ravdess: Path) -> None:
    by_name = run("stats", "ravdess", "--root", ravdess, "--no-hear", "-f", "json")
    by_folder = run("stats", ravdess, "--corpus", "ravdess", "--no-hear", "-f", "json")
    assert by_name == by_folder
    assert by_name[0] == 0
    assert run("stats", "ravdess")[0] == 2  # without --root nobody knows where it lies


def test_audit(run: Run, ravdess: Path, tmp_path: Path) -> None:
    run("prepare", "ravdess", "--root", ravdess, "-o", tmp_path / "m.csv")
    code, out, _ = run("audit", tmp_path / "m.csv", "--protocol", "loso")
    assert code == 0
    assert out.splitlines()[-1] == "2 splits: 2 text-shared"
    (ravdess / "Actor_02" / "03-01-05-01-01-01-02.wav").write_bytes(
        (ravdess / "Actor_01" / "03-01-05-01-01-01-01.wav").read_bytes()
    )
    code, out, _ = run("audit", tmp_path / "m.csv", "--protocol", "loso", "-f", "json")
    assert code == 1
    assert {one["stamp"] for one in json.loads(out)} == {"contaminated"}
    assert run("audit", tmp_path / "m.csv", "--protocol", "lsoo")[0] == 2


# --- download -------------------------------------------------------------------------------------


def test_gated_corpora_have_instructions(run: Run) -> None:
    for name in set(CORPORA) - set(download.SOURCES):
        code, out, err = run("download", name)
        assert (code, out) == (2, "")
        assert CORPORA[name].url in err


def test_download_unpacks_and_reports(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with io.BytesIO() as packed:
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("Actor_01/x.wav", b"x")
        content = packed.getvalue()
    asked: list[str] = []

    def opened(request: Any, timeout: float) -> Any:
        asked.append(request.full_url)
        answer = io.BytesIO(content)
        answer.status = 200  # type: ignore[attr-defined]
        answer.headers = {"Content-Length": str(len(content))}  # type: ignore[attr-defined]
        return answer

    monkeypatch.setattr(download.urllib.request, "urlopen", opened)
    good = RemoteFile("https://x.invalid/a.zip", "a.zip", "md5:" + hashlib.md5(content).hexdigest())
    bad = RemoteFile("https://x.invalid/b.zip", "b.zip", "md5:" + "0" * 32)
    monkeypatch.setitem(download.SOURCES, "ravdess", (good,))
    code, out, _ = run("download", "ravdess", "-o", tmp_path)
    assert code == 0
    assert (tmp_path / "ravdess" / "a" / "Actor_01" / "x.wav").read_bytes() == b"x"
    assert "next:  emovox data check ravdess" in out
    monkeypatch.setitem(download.SOURCES, "ravdess", (good, bad))
    code, out, err = run("download", "ravdess", "-o", tmp_path, "-f", "json", "--no-unpack")
    assert code == 1
    assert [row["error"] is None for row in json.loads(out)] == [True, False]
    assert "wrong checksum" in err
    assert asked.count(good.url) == 1, "what is there is not fetched again"
    assert files(tmp_path / "ravdess") == {"a.zip", "a"}


# --- record ---------------------------------------------------------------------------------------


class Voice:
    """A source that gives these takes, one after the other."""

    sample_rate = 16_000

    def __init__(self, *takes: Floats) -> None:
        self.takes = list(takes)

    def start(self) -> None:
        pass

    def stop(self) -> Floats:
        return self.takes.pop(0)


def test_record(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    t = np.arange(16_000) / 16_000
    good = (0.2 * np.sin(1200 * t)).astype(np.float32)
    silence = np.zeros(16_000, np.float32)
    prompts = tmp_path / "p.csv"
    prompts.write_text("emotion,text\nhappy,One.\nsad,One.\nangry,One.\n")
    argv = ("record", tmp_path / "own", "--speaker", "p01", "--prompts", prompts, "--sex", "female")

    def typed(*lines: str) -> None:
        monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))

    monkeypatch.setattr(microphone, "Recorder", lambda device: Voice(silence, good, good))
    typed("no")
    assert run(*argv)[0] == 1
    assert not (tmp_path / "own").exists()
    # happy: silence is repeated, then kept; sad: skipped; then the input ends.
    typed("yes", "", "", "", "", "", "", "s")
    code, _, err = run(*argv)
    assert code == 0
    assert "silence" in err
    assert "1 takes kept, 2 prompts left" in err
    manifest = Manifest.read_csv(tmp_path / "own" / "manifest.csv")
    assert [(u.emotion, u.sex) for u in manifest] == [("happy", "female")]
    monkeypatch.setattr(microphone, "Recorder", lambda device: Voice(good, good))
    typed("yes", "", "", "r", "", "", "", "q")
    assert "1 takes kept, 1 prompts left" in run(*argv)[2]
    assert run("record", tmp_path / "own", "--speaker", "Anna B")[0] == 2


def test_record_without_takes(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(microphone, "Recorder", lambda device: Voice())
    monkeypatch.setattr(sys, "stdin", io.StringIO("yes\nq\n"))
    code, _, err = run("record", tmp_path / "own", "--speaker", "p01")
    assert code == 0
    assert "0 takes kept, 20 prompts left" in err
    assert "manifest.csv" not in err


def test_stats_of_unknown_speakers(run: Run, tmp_path: Path) -> None:
    for name in ("happy/1.wav", "sad/2.wav"):
        (tmp_path / "mine" / name).parent.mkdir(parents=True)
        (tmp_path / "mine" / name).write_bytes(b"x")
    code, out, _ = run("stats", tmp_path / "mine", "--no-hear")
    assert code == 0
    assert "2 clips, speakers unknown" in out


def test_record_without_a_microphone(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    code, _, err = run("record", tmp_path / "own", "--speaker", "p01")
    assert code == 2
    assert "[mic]'" in err


# --- documentation ------------------------------------------------------------------------------------


def test_documentation_is_complete() -> None:
    text = (Path(__file__).parents[2] / "docs" / "corpora.md").read_text(encoding="utf-8")
    for name in (*FORMATS, *CORPORA, *common.TREES):
        assert f"`{name}`" in text, name
    for command in ("list", "download", "check", "prepare", "convert", "stats", "audit", "record"):
        assert f"emovox data {command}" in text, command
