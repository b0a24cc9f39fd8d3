"""Scanning a folder: a manifest and a complete report; no audio file is lost."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emovox.audio import AUDIO_SUFFIXES
from emovox.datasets import CORPORA, ScanReport, scan
from emovox.datasets.scan import walk
from emovox.errors import ManifestError

RAVDESS = [f"Actor_{a:02}/03-01-0{e}-01-01-01-{a:02}" for a in (1, 2) for e in range(1, 9)]


def _grow(root: Path, *paths: str, content: bytes = b"x") -> Path:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)
    return root


def _accounted(report: ScanReport) -> int:
    return report.n_clips + len(report.unread) + len(report.duplicates) + len(report.empty)


@pytest.mark.parametrize("suffix", [".wav", ".FLAC", ".opus", ".m4a"])
def test_any_audio_extension(tmp_path: Path, suffix: str) -> None:
    _grow(tmp_path, *(name + suffix for name in RAVDESS), "README.txt", "Actor_01/cover.png")
    manifest, report = scan("ravdess", tmp_path)
    assert len(manifest) == report.n_clips == 16
    assert manifest.speakers == ("ravdess-01", "ravdess-02")
    assert len(report.missing) == 1440 - 16
    assert report.n_other == 2
    assert not report.ok
    assert all(manifest.file(u).is_file() for u in manifest)


@pytest.mark.parametrize("above", ["", "a", "a/b"])
def test_corpus_found_below(tmp_path: Path, above: str) -> None:
    """Beside a corpus with names that look alike, and one level of strangers."""
    _grow(tmp_path / above, *(f"mine/{name}.wav" if above != "a/b" else f"{name}.wav" for name in RAVDESS))
    _grow(tmp_path, *(f"other/{n}.wav" for n in range(30)))
    _grow(tmp_path, *(f"song/{name.replace('03-01', '03-02')}.wav" for name in RAVDESS))
    manifest, report = scan("ravdess", tmp_path)
    assert manifest.root == tmp_path / above / ("mine" if above != "a/b" else "")
    assert len(manifest) == 16
    assert report.unread == report.outside == ()


def test_neighbouring_corpora_are_separated(tmp_path: Path) -> None:
    """Many of RAVDESS's names could be BanglaSER's."""
    _grow(tmp_path, *(f"banglaser/03-01-0{e}-01-01-01-0{a}.opus" for e in (1, 3, 4) for a in (7, 8, 9)))
    _grow(tmp_path, *(f"RAVDESS/{name}.wav" for name in RAVDESS))
    _grow(tmp_path, *(f"RAVDESS/Actor_02/03-01-0{e}-02-02-0{n}-02.wav" for e in (6, 7, 8) for n in (1, 2)))
    manifest, report = scan("banglaser", tmp_path)
    assert len(manifest) == 9
    assert report.outside == ()


def test_clips_outside_are_named(tmp_path: Path) -> None:
    _grow(tmp_path, *(f"part{int(name[6:8])}/{name.rsplit('/')[1]}.wav" for name in RAVDESS[:-1]))
    _grow(tmp_path, *(f"{n}.wav" for n in range(100)))
    manifest, report = scan("ravdess", tmp_path)
    assert manifest.root == tmp_path / "part1"
    assert len(manifest) == 8
    assert len(report.outside) == 7
    assert not report.ok


@pytest.mark.parametrize(
    ("corpus", "inner", "names", "up"),
    [
        ("ravdess", "Actor_01", [f"{name}.wav" for name in RAVDESS], 1),
        ("casia", "wangzhe/angry", ["wangzhe/angry/201.wav", "liuchanhg/sad/202.wav"], 2),
        ("emodb", "wav", ["wav/03a01Fa.wav", "wav/16b10Lb.wav"], 1),
        ("esd", "0011/Angry", ["0011/Angry/0011_000351.wav", "0012/Sad/0012_001051.wav"], 2),
        ("savee", "AudioData/DC", ["AudioData/DC/a01.wav", "AudioData/KL/a01.wav"], 2),
        ("urdu", "Angry", ["Angry/SM1_F10_A010.wav", "Sad/SF6_F2_S026.wav"], 1),
    ],
)
def test_corpus_found_above(tmp_path: Path, corpus: str, inner: str, names: list[str], up: int) -> None:
    root = _grow(tmp_path / "x" / "corpus", *names)
    _grow(tmp_path / "x", "stranger.wav")
    manifest, _ = scan(corpus, root / inner)
    assert len(manifest) == len(names)
    assert manifest.root == (root / inner).parents[up - 1]


def test_nothing_is_dropped_silently(tmp_path: Path) -> None:
    _grow(
        tmp_path,
        *(f"{name}.wav" for name in RAVDESS),
        "copy/03-01-01-01-01-01-01.flac",  # the same clip again
        "Actor_02/03-01-01-01-02-01-01.wav",  # in another actor's folder
        "Actor_01/03-01-01-02-02-01-01.wav",  # strong neutral: well formed, not official
        "Actor_01/notes to self.wav",
        "Actor_01/._03-01-01-01-01-01-01.wav",
    )
    _grow(tmp_path, "Actor_01/03-01-02-01-02-02-01.wav", content=b"")
    (tmp_path / "Actor_01/03-01-03-01-02-02-01.wav").symlink_to(tmp_path / "nowhere.wav")
    manifest, report = scan("ravdess", tmp_path)
    assert report.duplicates == (("copy/03-01-01-01-01-01-01.flac", "Actor_01/03-01-01-01-01-01-01.wav"),)
    assert [path for path, _ in report.misnamed] == ["Actor_02/03-01-01-01-02-01-01.wav"]
    assert report.extra == ("Actor_01/03-01-01-02-02-01-01.wav",)
    assert report.unread == ("Actor_01/notes to self.wav",)
    assert report.empty == ("Actor_01/03-01-02-01-02-02-01.wav", "Actor_01/03-01-03-01-02-02-01.wav")
    assert report.n_other == 1
    assert _accounted(report) == 16 + 6
    assert "ravdess/03-01-01-02-02-01-01" in manifest.by_id
    text = "\n".join(report.lines(most=1))
    for word in (
        "missing",
        "more",
        "duplicate",
        "misnamed",
        "extra",
        "not understood",
        "empty",
        "known defect",
    ):
        assert word in text
    assert report.to_dict()["ok"] is False


def test_a_whole_corpus_is_ok(tmp_path: Path) -> None:
    _grow(tmp_path, *(f"{key[4:6]}/{key}.wav" for key in CORPORA["emovo"].keys()))  # noqa: SIM118 - a rule, no dict
    manifest, report = scan("emovo", tmp_path)
    assert report.ok
    assert len(manifest) == 588
    assert report.missing == report.extra == ()


def test_duplicate_tree(tmp_path: Path) -> None:
    """A common mirror of TESS."""
    names = [f"OAF_{word}_{emotion}.wav" for word in ("back", "bar") for emotion in ("angry", "ps")]
    _grow(tmp_path, *(f"OAF/{n}" for n in names), *(f"TESS data/OAF/{n}" for n in names))
    manifest, report = scan("tess", tmp_path)
    assert len(manifest) == len(report.duplicates) == 4
    assert all(u.path.startswith("OAF/") for u in manifest)


def test_nemo_table_adds_facts(tmp_path: Path) -> None:
    _grow(tmp_path, "samples/SM0_anger_77.wav", "samples/KD0_fear_1.wav")
    manifest, _ = scan("nemo", tmp_path)
    assert manifest["nemo/SM0_anger_77"].age is None
    (tmp_path / "data.tsv").write_text(
        "file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage\n"
        'SM0_anger_77.wav\tanger\t"Tak."\ttak\t        SM0\tmale\t24\n',
        encoding="utf-8",
    )
    manifest, report = scan("nemo", tmp_path / "samples")
    row = manifest["nemo/SM0_anger_77"]
    assert (row.sex, row.age, row.text, row.extra) == ("male", 24, "nemo-77", {"words": "tak"})
    assert report.misnamed == (("samples/KD0_fear_1.wav", "not in data.tsv"),)
    (tmp_path / "data.tsv").write_text("wrong\n1\n", encoding="utf-8")
    with pytest.raises(ManifestError, match=r"data\.tsv"):
        scan("nemo", tmp_path)


def test_cremad_perceived_emotions(tmp_path: Path) -> None:
    _grow(
        tmp_path,
        "AudioWAV/1001_DFA_ANG_XX.wav",
        "AudioWAV/1001_IEO_NEU_XX.wav",
        "AudioWAV/1040_ITH_SAD_X.wav",
    )
    (tmp_path / "processedResults").mkdir()
    (tmp_path / "processedResults/tabulatedVotes.csv").write_text(
        '"","A","D","F","H","N","S","fileName","numResponses"\n'
        '"100001",3,0,0,0,3,1,"1001_DFA_ANG_XX",7\n'
        '"200001",9,0,0,0,0,0,"1001_IEO_NEU_XX",9\n'
        '"100002",0,0,0,0,8,1,"1001_IEO_NEU_XX",9\n',
        encoding="utf-8",
    )
    for root in (tmp_path, tmp_path / "AudioWAV"):
        manifest, _ = scan("cremad", root)
        assert manifest["cremad/1001_DFA_ANG_XX"].extra == {
            "perceived": "angry|neutral",
            "votes": "A3 D0 F0 H0 N3 S1",
        }
        assert manifest["cremad/1001_IEO_NEU_XX"].extra["perceived"] == "neutral"
        assert manifest["cremad/1001_DFA_ANG_XX"].emotion == "angry"
        assert manifest["cremad/1040_ITH_SAD_XX"].extra == {}


def test_clear_errors(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="not a folder"):
        scan("ravdess", tmp_path / "nowhere")
    with pytest.raises(ManifestError, match=r"no clip of RAVDESS.*zenodo"):
        scan("ravdess", _grow(tmp_path, "a.wav"))
    with pytest.raises(ManifestError, match="did you mean 'ravdess'"):
        scan("ravdes", tmp_path)
    with pytest.raises(ManifestError, match="there are ravdess"):
        scan("zzz", tmp_path)


def test_circular_links_and_deep_trees(tmp_path: Path) -> None:
    _grow(tmp_path, *(f"{name}.wav" for name in RAVDESS))
    (tmp_path / "Actor_01" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    deep = tmp_path
    for n in range(60):
        deep = deep / f"d{n}"
    _grow(deep, "03-01-05-02-01-01-05.wav")
    manifest, report = scan("ravdess", tmp_path)
    assert len(manifest) == 17
    assert report.duplicates == ()
    assert "ravdess/03-01-05-02-01-01-05" in manifest.by_id


def test_many_empty_files(tmp_path: Path) -> None:
    for n in range(3000):
        os.close(os.open(tmp_path / f"x{n}.wav", os.O_CREAT))
    _grow(tmp_path, *(f"{name}.wav" for name in RAVDESS))
    _, report = scan("ravdess", tmp_path)
    assert len(report.unread) == 3000


def test_names_that_are_no_text(tmp_path: Path) -> None:
    _grow(tmp_path, *(f"{name}.wav" for name in RAVDESS))
    folder = os.fsencode(tmp_path) + b"/\xff\xfe\nodd"
    os.mkdir(folder)  # noqa: PTH102 - Path takes no bytes
    for name in (b"03-01-05-02-01-01-07.wav", b"\xe9.wav"):
        with open(folder + b"/" + name, "wb") as stream:  # noqa: PTH123
            stream.write(b"x")
    manifest, report = scan("ravdess", tmp_path)
    assert manifest.file(manifest["ravdess/03-01-05-02-01-01-07"]).read_bytes() == b"x"
    "\n".join(report.lines()).encode("utf-8")
    back = type(manifest).read_csv(manifest.write_csv(tmp_path / "m.csv"))
    assert back == manifest


@given(st.lists(st.sampled_from([*RAVDESS, "x", "Actor_01/x y", "a/b/c/d"]), max_size=12), st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_file_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], data
) -> None:
    root = tmp_path_factory.mktemp("tree")
    for name in names:
        suffix = data.draw(st.sampled_from([".wav", ".mp3", ".txt", ""]))
        _grow(root, name + suffix, content=data.draw(st.sampled_from([b"", b"x"])))
    sound = [p for p in root.rglob("*") if p.suffix in AUDIO_SUFFIXES]
    assert len(list(walk(root))) == sum(p.is_file() for p in root.rglob("*"))
    try:
        manifest, report = scan("ravdess", root)
    except ManifestError:
        return
    below = [p for p in sound if p.is_relative_to(manifest.root)]
    assert _accounted(report) == len(below)
    assert len(manifest) == report.n_clips


# -- the real corpora ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def real() -> Path:
    folder = os.environ.get("EMOVOX_CORPORA")
    if not folder:
        pytest.skip("EMOVOX_CORPORA is unset")
    return Path(folder)


@pytest.mark.corpora
@pytest.mark.parametrize(
    ("corpus", "n_clips", "n_speakers", "n_emotions"),
    [
        ("ravdess", 1440, 24, 8),
        ("ravdess_song", 1012, 23, 6),
        ("tess", 2800, 2, 7),
        ("emodb", 535, 10, 7),
        ("nemo", 4481, 9, 6),
        ("banglaser", 1466, 34, 5),
    ],
)
def test_counts_of_the_real_corpora(
    real: Path, corpus: str, n_clips: int, n_speakers: int, n_emotions: int
) -> None:
    manifest, report = scan(corpus, real)
    assert (len(manifest), len(manifest.speakers), len(manifest.emotions)) == (
        n_clips,
        n_speakers,
        n_emotions,
    )
    assert (report.unread, report.duplicates, report.empty, report.extra) == ((), (), (), ())
    assert manifest.root == real / corpus
    misnamed = {
        "tess": ["OAF_neutral/OA_bite_neutral"],
        "banglaser": [f"01-01-04-02-03-0{n}-15" for n in (1, 2, 3)],
    }
    assert [path.rsplit(".", 1)[0] for path, _ in report.misnamed] == misnamed.get(corpus, [])
    assert report.missing == (("03-01-05-01-01-03-19",) if corpus == "banglaser" else ())
    assert report.ok == (corpus != "banglaser")
    assert all(u.sex for u in manifest)
