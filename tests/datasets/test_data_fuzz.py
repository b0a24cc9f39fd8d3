"""Hostile trees: a report, never a crash, and no file lost silently."""

# ruff: noqa: PTH103, PTH118, PTH120, PTH123, PTH208
from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from emovox.datasets import CORPORA, Manifest, scan
from emovox.datasets.formats import FORMATS, read, write
from emovox.datasets.prepare import convert_tree
from emovox.errors import ManifestError

GOOD = (
    *("03-01-06-01-02-01-12", "03a01Fa", "1001_DFA_ANG_XX", "OAF_back_angry", "SM0_anger_77", "DC_a01"),
    *("SM1_F10_A010", "0011_000351", "dis-f1-b1", "female1_angry_10a_1", "amused_1-15_0001", "201"),
    *("03-02-06-01-01-60-02-02-02-16", "happy", "x_sad"),
)
FOLDERS = (
    "Actor_01",
    "wav",
    "AudioWAV",
    "bea_Amused",
    "liuchanhg",
    "angry",
    "train",
    "test",
    "AudioData",
    "..x",
    " ",
)

pieces = st.sampled_from([piece.encode() for piece in (*GOOD, *FOLDERS)]) | st.binary(min_size=1, max_size=20)
suffixes = st.sampled_from([b".wav", b".WAV", b".flac", b".mp3", b"", b".txt", b".csv", b".wav.wav"])


def usable(name: bytes) -> bool:
    return b"/" not in name and b"\0" not in name and name not in (b".", b"..") and len(name) < 200


names = st.tuples(st.lists(pieces.filter(usable), max_size=4), pieces, suffixes).map(
    lambda parts: [*parts[0], parts[1].replace(b"/", b"_").replace(b"\0", b"_") + parts[2]]
)
trees = st.lists(names.filter(lambda parts: usable(parts[-1])), max_size=12)


def plant(root: bytes, files: list[list[bytes]]) -> None:
    os.makedirs(root)
    for parts in files:
        path = os.path.join(root, *parts)
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "xb") as stream:
                stream.write(b"x")
        except OSError:  # a file stands where a folder should, or the name is taken
            continue


def heard_of(manifest: Manifest, root: Path) -> set[str]:
    return {str((manifest.root / u.path).resolve().relative_to(root.resolve())) for u in manifest}


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
@settings(
    max_examples=12,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(files=trees, n=st.integers(0, 10**9))
def test_any_tree_gives_a_report(files: list[list[bytes]], n: int, tmp_path: Path) -> None:
    root = tmp_path / f"{n}-{len(os.listdir(tmp_path))}"
    plant(os.fsencode(root), files)
    for name in CORPORA:
        try:
            manifest, report = scan(name, root)
        except ManifestError:
            continue
        told = {*report.unread, *report.empty, *report.outside, *(path for path, _ in report.duplicates)}
        assert len(manifest) == report.n_clips
        assert len({u.path for u in manifest}) == len(manifest)
        assert not told & {u.path for u in manifest}
        "\n".join(report.lines()).encode()
        manifest.write_csv(tmp_path / "m.csv")
        assert Manifest.read_csv(tmp_path / "m.csv", root=manifest.root).utterances == manifest.utterances
    for name in ("folder", "suffix"):
        manifest, found = read(root, format=name)
        assert found.n_rows == len(manifest) + len(found.unknown) + len(found.refused)
        "\n".join(found.lines()).encode()
        if len(manifest):
            for form in ("csv", "nkululeko", "kaldi", "emobox", "emovox"):
                written = write(manifest, tmp_path / form, format=form, force=True)
                again, _ = read(tmp_path / form, format=form)
                assert len(again) == written.n_rows
                assert heard_of(again, root) <= heard_of(manifest, root)


def test_circular_and_broken_links(tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    (root / "Actor_12" / "angry").mkdir(parents=True)
    (root / "Actor_12" / "03-01-05-01-02-01-12.wav").write_bytes(b"x")
    (root / "Actor_12" / "angry" / "back").symlink_to(root)
    (root / "self").symlink_to(root / "self")
    (root / "happy").symlink_to(root / "Actor_12")
    (root / "Actor_12" / "03-01-05-01-02-02-12.wav").symlink_to(root / "nowhere.wav")
    manifest, report = scan("ravdess", root)
    assert len(manifest) == 1
    assert report.empty == ("Actor_12/03-01-05-01-02-02-12.wav",)
    found, imported = read(root, format="folder")
    assert len(found) + len(imported.unknown) + len(imported.refused) == imported.n_rows == 2
    results = list(convert_tree(root, tmp_path / "out"))
    assert {one.state for one in results} == {"failed"}


@pytest.mark.skipif(sys.platform != "linux", reason="needs folders relative to folders")
def test_very_deep_tree(tmp_path: Path) -> None:
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for _ in range(120):
            os.mkdir("happy" * 10, dir_fd=here)
            deeper = os.open("happy" * 10, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = deeper
        os.close(os.open("x_happy.wav", os.O_CREAT | os.O_WRONLY, dir_fd=here))
    finally:
        os.close(here)
    (tmp_path / "y_happy.wav").write_bytes(b"x")
    manifest, _ = read(tmp_path, format="suffix")
    assert [u.path for u in manifest] == ["y_happy.wav"]
    with pytest.raises(ManifestError):
        scan("ravdess", tmp_path)


def test_unreadable_folders(tmp_path: Path) -> None:
    (tmp_path / "happy").mkdir()
    (tmp_path / "happy" / "1.wav").write_bytes(b"x")
    (tmp_path / "shut").mkdir(mode=0)
    manifest, report = read(tmp_path, format="folder")
    assert len(manifest) == 1
    assert report.ok


@pytest.mark.slow
def test_a_hundred_thousand_empty_files(tmp_path: Path) -> None:
    for folder in range(100):
        place = tmp_path / f"Actor_{folder:02}"
        place.mkdir()
        for n in range(1000):
            os.close(os.open(place / f"03-01-05-01-01-{n:04}-{folder:02}.wav", os.O_CREAT | os.O_WRONLY))
    (tmp_path / "Actor_01" / "03-01-05-01-01-01-01.wav").write_bytes(b"x")
    manifest, report = scan("ravdess", tmp_path)
    assert len(manifest) == 1
    assert len(report.unread) + len(report.empty) == 100_000
    for form, n_kept in (("folder", 1), ("suffix", 0)):
        _, found = read(tmp_path, format=form)
        assert found.n_rows == 100_001
        assert len(found.refused) == 100_001 - n_kept
        assert len(list(found.lines())) < 30


def test_readers_refuse_wrong_kinds(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"\x00\xff" * 50)
    (tmp_path / "empty").mkdir()
    for form in FORMATS:
        if FORMATS[form].extra:
            pytest.importorskip("pyarrow")
            pytest.importorskip("audformat")
        for place in (tmp_path / "file", tmp_path / "empty"):
            try:
                manifest, report = read(place, format=form)
            except ManifestError as error:
                assert str(place) in str(error) or str(tmp_path) in str(error)  # noqa: PT017 - some may pass
                continue
            assert len(manifest) == report.n_kept == 0
