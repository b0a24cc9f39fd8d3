"""Tables as people have them: spans, Unicode, dialects of CSV, labels of their own; with the right values."""

from __future__ import annotations

import json
import shutil
import string
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emovox.datasets import Dataset, Manifest, Utterance
from emovox.datasets.formats import guess, read, write
from emovox.datasets.protocols import make_splits
from emovox.datasets.statistics import measure_clips
from emovox.errors import ManifestError
from emovox.features.extraction import list_clips, read_clips

CASES = Path(__file__).parents[1] / "cases"


@pytest.fixture
def place(tmp_path: Path) -> Callable[[str], Path]:
    """Copies a case beside three files of sound."""

    def copy(name: str) -> Path:
        (tmp_path / "wav").mkdir(exist_ok=True)
        for stem in "abc":
            (tmp_path / "wav" / f"{stem}.wav").write_bytes(b"sound")
        return Path(shutil.copy(CASES / name, tmp_path / name))

    return copy


def spans(manifest: Manifest) -> list[tuple[float | None, float | None, str]]:
    return [(u.start, u.end, u.emotion) for u in manifest]


# ----------------------------------------------------------------------------------------- spans


@pytest.mark.parametrize(
    ("columns", "cells", "span"),
    [
        ("offset,dur", "1.0,0.5", (1.0, 1.5)),
        ("start,length_s", "1,2", (1.0, 3.0)),
        ("begin,end", "1,2", (1.0, 2.0)),
        ("onset,offset", "1,2.5", (1.0, 2.5)),
        ("offset", "1.5", (1.5, None)),
        ("duration", "3.2", (None, None)),
        ("start_ms,duration_ms", "1500,250", (1.5, 1.75)),
        ("begin_time,duration_sec", "1,2", (1.0, 3.0)),
        ("Start (ms),Length [ms]", "1500,250", (1.5, 1.75)),
        ("Begin Time - hh:mm:ss.ms,End Time - hh:mm:ss.ms", "00:00:01.500,00:00:02.000", (1.5, 2.0)),
        ("Begin Time - msec,End Time - msec", "1500,2000", (1.5, 2.0)),
        ("StartTime,EndTime", "1,2", (1.0, 2.0)),
        ("seg_start,seg_end", "1,2", (1.0, 2.0)),
        ("tmin,tmax", "1,2", (1.0, 2.0)),
        ("start,len", "1,2", (1.0, 3.0)),
        ("start_sample,end_sample", "16000,32000", "left out"),
        ("start_word,end_word", "1,2", (None, None)),
        ("start,end", "00:01.5,00:02", (1.5, 2.0)),
        ("start,end,duration", "1,2,1", (1.0, 2.0)),
        ("start,duration", "1,-1", "left out"),
        ("start,duration", "soon,1", "left out"),
    ],
)
def test_span_columns(
    columns: str, cells: str, span: object, place: Callable[[str], Path], tmp_path: Path
) -> None:
    place("dur.csv")
    rows = dict(zip(columns.split(","), cells.split(","), strict=True))
    (tmp_path / "t.csv").write_text(f"file,emotion,{columns}\nwav/b.wav,sad,{cells}\n")
    (tmp_path / "t.jsonl").write_text(json.dumps({"audio_filepath": "wav/b.wav", "label": "sad", **rows}))
    (tmp_path / "metadata.jsonl").write_text(json.dumps({"file_name": "wav/b.wav", "label": "sad", **rows}))
    for name in ("t.csv", "t.jsonl", "metadata.jsonl"):
        manifest, report = read(tmp_path / name)
        if span == "left out":
            assert len(report.refused) == 1
        else:
            assert [(u.start, u.end) for u in manifest] == [span]
    assert guess(tmp_path / "t.jsonl") == "jsonl"


def test_parquet_spans(place: Callable[[str], Path], tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    place("dur.csv")
    rows = arrow.table({"file": ["wav/b.wav"], "label": ["sad"], "offset": [1.0], "duration": [1.5]})
    pyarrow.parquet.write_table(rows, tmp_path / "t.parquet")
    assert spans(read(tmp_path / "t.parquet")[0]) == [(1.0, 2.5, "sad")]


def test_overlapping_spans_are_reported(place: Callable[[str], Path], tmp_path: Path) -> None:
    place("dur.csv")
    (tmp_path / "t.csv").write_text(
        "file,emotion,start,end\nwav/b.wav,sad,0,2\nwav/b.wav,angry,1,3\nwav/b.wav,sad,3,4\nwav/a.wav,sad,1,3\n"
    )
    manifest, report = read(tmp_path / "t.csv")
    assert len(manifest) == 4
    assert [where for where, _ in report.overlapping] == ["line 3"]
    assert "line 3 overlaps line 2 (wav/b.wav)" in "\n".join(report.lines())
    assert not report.ok


def test_spans_outside_of_the_recording(tmp_path: Path) -> None:
    """A span may end a second after its recording; more, as of milliseconds, is an error."""
    (tmp_path / "a.wav").write_bytes((CASES / "happy.wav").read_bytes())
    (tmp_path / "t.csv").write_text(
        "file,emotion,start,end\na.wav,sad,1,3.5\na.wav,sad,0,2500\na.wav,sad,5,6\na.wav,sad,1,2\n"
    )
    manifest, _ = read(tmp_path / "t.csv")
    measured, failed = measure_clips(manifest)
    assert [round(found.duration_s, 2) for found in measured.values()] == [1.77, 1.0]
    assert [reason.partition(": ")[2].partition(";")[0] for reason in failed.values()] == [
        "the span from 0 s to 2500 s ends after the recording, which lasts 2.77419 s",
        "no sound from 5 s to 6 s",
    ]
    clips = list(read_clips(list_clips(manifest)))
    assert [clip.error for clip in clips] == [None, *failed.values(), None]


# --------------------------------------------------------------------------------------- Unicode


def test_speaker_in_two_unicode_forms(place: Callable[[str], Path]) -> None:
    manifest, _ = read(place("nfc_nfd_speakers.csv"))
    decomposed = unicodedata.normalize("NFD", f"speakers/{manifest.corpora[0]}-Zoë")
    (split,) = make_splits(manifest, decomposed)
    assert len(split.test) == 8
    assert split.stamp == "strict"


@pytest.mark.parametrize(("on_disk", "in_table"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_path_in_other_unicode_form(on_disk: str, in_table: str, tmp_path: Path) -> None:
    name = "Müller/Jürgen.wav"
    file = tmp_path / unicodedata.normalize(on_disk, name)  # type: ignore[arg-type]
    file.parent.mkdir()
    file.write_bytes(b"sound")
    row = unicodedata.normalize(in_table, name)  # type: ignore[arg-type]
    (tmp_path / "t.csv").write_text(f"file,emotion\n{row},happy\n", encoding="utf-8")
    manifest, report = read(tmp_path / "t.csv")
    assert report.absent == ()
    assert manifest.file(manifest.utterances[0]).read_bytes() == b"sound"
    own = Manifest(tmp_path, (Utterance("c/1", row, "c", "c-1", "happy", "happy"),))
    assert own.file(own.utterances[0]).read_bytes() == b"sound"


def test_labels_in_two_unicode_forms(tmp_path: Path) -> None:
    for n, form in enumerate(("NFC", "NFD")):
        folder = tmp_path / unicodedata.normalize(form, "Gefühlt")  # type: ignore[arg-type]
        folder.mkdir()
        (folder / f"{n}.wav").write_bytes(b"x")
    manifest, _ = read(tmp_path, format="folder")
    assert manifest.emotions == ("gefühlt",)


# -------------------------------------------------------------------------------------- dialects


@pytest.mark.parametrize(
    "text",
    [
        "sep=;\nfile;emotion\nwav/a.wav;happy\n",
        "sep=;\r\nfile;emotion\r\nwav/a.wav;happy\r\n",
        "file, emotion\nwav/a.wav, happy\n",
        "File ; Emotion \nwav/a.wav ; happy \n",
        "wav_path,emotion_label\nwav/a.wav,happy\n",
        "Audio Path|Emotion Label\nwav/a.wav|happy\n",
        "# exported yesterday\n\nfile,emotion\nwav/a.wav,happy\n",
        "My corpus, version 2\nfile,emotion\nwav/a.wav,happy\n",
        "\n\nfile,emotion\nwav/a.wav,happy\n",
        "emotion,n,file\nhappy,3,wav/a.wav\n",
        '"file","emotion"\n"wav/a.wav","happy"\n',
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252"])
def test_dialects_of_csv(text: str, encoding: str, place: Callable[[str], Path], tmp_path: Path) -> None:
    place("dur.csv")
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    manifest, report = read(tmp_path / "t.csv")
    assert [(u.path, u.emotion) for u in manifest] == [("wav/a.wav", "happy")]
    assert report.ok, list(report.lines())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it is empty"),
        (b"\n\n", "it is empty"),
        (b"PK\x03\x04" + bytes(99), "Excel workbook"),
        (b"file,emotion\nwav/a.wav,\x00\n", "NUL bytes"),
        (b"file,mood\nwav/a.wav,x\n", "no column for the emotion"),
        (b"who,emotion\nwav/a,x\n", "no column for the file"),
    ],
)
def test_reason_is_true(content: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(ManifestError, match=reason):
        read(tmp_path / "t.csv")


# "none" and the like are empty cells, and a row without a label is reported.
labels = st.text(string.ascii_letters + "äé中", min_size=1, max_size=8).filter(
    lambda text: text.lower() not in ("nan", "none", "null", "nat")
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(labels, labels), min_size=1, max_size=6, unique_by=lambda row: row[0].lower()),
    delimiter=st.sampled_from(",;\t|"),
    encoding=st.sampled_from(("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be")),
    preamble=st.sampled_from(("", "\n", "# a comment\n", "My corpus\n")),
    declared=st.booleans(),
    blank=st.sampled_from(("", " ")),
    line_end=st.sampled_from(("\n", "\r\n")),
    columns=st.permutations(("path", "emotion", "note")),
)
def test_no_dialect_loses_a_row(
    rows: list[tuple[str, str]],
    delimiter: str,
    encoding: str,
    preamble: str,
    declared: bool,
    blank: str,
    line_end: str,
    columns: list[str],
    tmp_path: Path,
) -> None:
    lines = [
        columns,
        *([{"path": f"{p}.wav", "emotion": e, "note": "x"}[c] for c in columns] for p, e in rows),
    ]
    text = "".join((delimiter + blank).join(line) + "\n" for line in lines)
    text = (f"sep={delimiter}\n" if declared else "") + preamble + text
    (tmp_path / "t.csv").write_bytes(text.replace("\n", line_end).encode(encoding))
    manifest, report = read(tmp_path / "t.csv")
    assert report.n_rows == len(rows)
    assert [(u.path, u.original) for u in manifest] == [(f"{p}.wav", e) for p, e in rows]


# ---------------------------------------------------------------------------------- labels, parts


def grow(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def test_unknown_folder_is_a_label(tmp_path: Path) -> None:
    grow(tmp_path, "Angry/1.wav", "Frustrated/2.wav", "Frustrated/s1/3.wav", "Calm/4.wav", "Very Tired/5.wav")
    assert guess(tmp_path) == "folder"
    manifest, report = read(tmp_path)
    assert {u.path: u.emotion for u in manifest} == {
        "Angry/1.wav": "angry",
        "Frustrated/2.wav": "frustrated",
        "Frustrated/s1/3.wav": "frustrated",
        "Calm/4.wav": "calm",
        "Very Tired/5.wav": "very_tired",
    }
    assert report.own_labels == {"frustrated": 2, "very_tired": 1}


def test_speaker_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="data prepare folder"):
        read(grow(tmp_path, "anna/1.wav", "bert/2.wav"))


@pytest.mark.parametrize(
    ("folder", "part"),
    [
        ("train-custom", "train"),
        ("Test-Custom", "test"),
        ("VALID", "validation"),
        ("my_dev", "validation"),
        ("eval2", "test"),
        ("training", "train"),
        ("contrast", None),
        ("train_and_test", None),
    ],
)
def test_names_of_parts(folder: str, part: str | None, tmp_path: Path) -> None:
    manifest, _ = read(grow(tmp_path, f"{folder}/angry/1.wav"))
    assert [u.extra.get("part") for u in manifest] == [part]


def test_list_of_known_corpus(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("file\nwav/03a01Fa.wav\nwav/03a02Wb.wav\n")
    assert Dataset.load(tmp_path / "list.csv", corpus="emodb").manifest.emotions == ("angry", "happy")
    with pytest.raises(ManifestError, match="no column for the emotion"):
        Dataset.load(tmp_path / "list.csv")


# ----------------------------------------------------------------------------- written and read


@pytest.mark.parametrize(
    "form", ["emovox", "csv", "nkululeko", "emobox", "kaldi", "audiofolder", "parquet", "audformat"]
)
def test_empty_export_is_readable(form: str, tmp_path: Path) -> None:
    if form in ("parquet", "audformat"):
        pytest.importorskip("pyarrow" if form == "parquet" else "audformat")
    target = tmp_path if form == "audiofolder" else tmp_path / "out.csv"
    write(Manifest(tmp_path), target, format=form)
    manifest, report = read(target, format=form)
    assert (len(manifest), report.n_rows) == (0, 0)


def test_own_labels_of_a_manifest_are_reported(tmp_path: Path) -> None:
    table = tmp_path / "manifest.csv"
    table.write_text("id,path,corpus,speaker,emotion,original\ni,c.wav,p,e,frustrated,s\n")
    report = read(table)[1]
    assert json.loads(json.dumps(report.to_dict()))["own_labels"] == {"frustrated": 1}
