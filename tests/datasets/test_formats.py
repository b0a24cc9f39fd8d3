"""Formats: round trips, reports of what a format cannot hold, foreign tables and trees."""

from __future__ import annotations

import csv
import json
import string
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emovox.datasets import CORPORA, Manifest, Utterance, scan
from emovox.datasets.formats import FORMATS, ReadOptions, csv_tables, guess, read, write
from emovox.datasets.formats.columns import make_row, parse_seconds
from emovox.datasets.manifest import UNKNOWN_SPEAKER
from emovox.datasets.splits import PARTS
from emovox.errors import ManifestError
from emovox.labels import EMOTIONS

WRITABLE = [name for name, form in FORMATS.items() if form.write is not None]
TABLES = [name for name in WRITABLE if name not in ("folder", "suffix")]


def need(form: str) -> None:
    if FORMATS[form].extra == "data":
        pytest.importorskip("pyarrow" if form in ("parquet", "datasets") else "audformat")


def utterance(key: str = "a", **changes: Any) -> Utterance:
    fields: dict[str, Any] = {
        "id": f"mine/{key}",
        "path": f"{key}.wav",
        "corpus": "mine",
        "speaker": "mine-1",
        "emotion": "happy",
        "original": "joyful",
    }
    return Utterance(**(fields | changes))


def reduced(row: Utterance, form: str) -> dict[str, Any]:
    """What should be left of a row after a round trip."""
    kept = {name: getattr(row, name) for name in FORMATS[form].holds}
    if form != "parquet" and form != "emovox" and form != "audiofolder" and kept.get("start") == 0:
        kept["start"] = None
    return kept


# --- round trips ----------------------------------------------------------------------------------------

names = st.text(string.ascii_letters + string.digits + "_-.äß 中", min_size=1, max_size=12).filter(
    lambda text: text == text.strip() and text not in (".", "..")
)
paths = st.lists(names, min_size=1, max_size=3).map(lambda parts: "/".join(parts) + ".wav")
times = st.integers(0, 10_000_000).map(lambda ms: ms / 1000)


@st.composite
def utterances(draw: st.DrawFn) -> Utterance:
    span = draw(st.none() | st.tuples(times, times).filter(lambda t: t[1] > t[0]))
    return utterance(
        path=draw(paths),
        speaker="mine-" + draw(names),
        emotion=draw(st.sampled_from(EMOTIONS)),
        original=draw(names),
        start=None if span is None else span[0],
        end=None if span is None else span[1],
        sex=draw(st.sampled_from(("female", "male", None))),
        age=draw(st.none() | st.integers(0, 120)),
        language=draw(st.none() | st.sampled_from(("en", "de", "zh", "pl"))),
        text=draw(st.none() | names),
        intensity=draw(st.none() | names),
        extra=draw(st.dictionaries(names, names, max_size=2)),
    )


@st.composite
def manifests(draw: st.DrawFn) -> tuple[Utterance, ...]:
    """Rows that every format can hold together: ids apart, stretches apart, one sex for each speaker."""
    rows = draw(
        st.lists(utterances(), min_size=1, max_size=6, unique_by=lambda u: (u.path, u.start or 0, u.end))
    )
    sexes = {u.speaker: u.sex for u in rows}
    return tuple(replace(u, id=f"mine/{n:02} {u.path}", sex=sexes[u.speaker]) for n, u in enumerate(rows))


@pytest.mark.parametrize("form", TABLES)
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(rows=manifests())
def test_formats_round_trip(form: str, rows: tuple[Utterance, ...], tmp_path: Path) -> None:
    need(form)
    manifest = Manifest(tmp_path, rows)
    target = tmp_path if form == "audiofolder" else tmp_path / f"out-{form}"
    written = write(manifest, target, format=form, force=True)
    again, report = read(
        target, format=form, options=ReadOptions(corpus="mine" if form == "nkululeko" else None)
    )
    kept = [u for u in rows if u.id not in dict(written.left_out)]
    assert written.n_rows == len(kept) == len(again) == report.n_rows
    if form in ("csv", "emobox"):
        assert all(u.start or u.end for u in rows if u not in kept), "only stretches are left out"
    elif form != "audformat":
        assert kept == list(rows)
    assert (report.unknown, report.refused, report.noted) == ((), (), ())
    expected = [reduced(u, form) for u in kept]
    got = [reduced(u, form) for u in again]
    if form == "kaldi":
        expected.sort(key=lambda row: row["id"].replace(" ", "%20").encode())
    assert got == expected
    assert set(written.lost) <= set(FORMATS["emovox"].holds) - FORMATS[form].holds


def test_ids_survive_every_table(tmp_path: Path) -> None:
    # The adapter reads what the format lost out of the file names.
    for actor in ("01", "02"):
        folder = tmp_path / f"Actor_{actor}"
        folder.mkdir()
        for emotion in ("03", "05"):
            (folder / f"03-01-{emotion}-01-01-01-{actor}.wav").write_bytes(b"x")
    manifest, _ = scan("ravdess", tmp_path)
    for form in ("csv", "nkululeko", "emobox", "kaldi"):
        write(manifest, tmp_path / form, format=form)
        again, report = read(tmp_path / form, format=form, options=ReadOptions(corpus="ravdess"))
        assert report.ok, list(report.lines())
        assert set(map(repr, again)) >= {repr(replace(u, original=again[u.id].original)) for u in manifest}


@pytest.mark.parametrize("form", ["folder", "suffix"])
def test_trees_round_trip(form: str, tmp_path: Path) -> None:
    rows = []
    for n, (emotion, part) in enumerate(
        [("happy", "train"), ("sad", "test"), ("happy", None), ("fear", "train")]
    ):
        (tmp_path / f"{n}.wav").write_bytes(bytes([n]) * 9)
        rows.append(
            utterance(
                str(n),
                emotion=emotion,
                id=f"mine/{n % 2}?{'' if n < 2 else 'x'}",
                extra={"part": part} if part else {},
            )
        )
    rows.append(utterance("0", id="mine/stretch", start=1.0))
    rows.append(utterance("gone", id="mine/gone"))
    written = write(Manifest(tmp_path, tuple(rows)), tmp_path / "out", format=form)
    assert [key for key, _ in written.left_out] == ["mine/stretch", "mine/gone"]
    again, report = read(tmp_path / "out", format=form)
    assert report.ok
    assert report.no_speaker == 4

    def facts(manifest: Manifest) -> set[tuple[str, str | None, bytes]]:
        return {(u.emotion, u.extra.get("part"), manifest.file(u).read_bytes()) for u in manifest}

    assert facts(again) == facts(Manifest(tmp_path, tuple(rows[:4])))
    assert {u.speaker for u in again} == {f"out-{UNKNOWN_SPEAKER}"}
    assert guess(tmp_path / "out") == form


# --- paths of files ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [name for name in TABLES if name != "audiofolder"])
@pytest.mark.parametrize("absolute", [False, True])
def test_sound_found_from_any_table(form: str, absolute: bool, tmp_path: Path) -> None:
    need(form)
    if form == "emovox" and absolute:
        pytest.skip("our own manifests hold relative paths")
    (tmp_path / "corpus" / "deep").mkdir(parents=True)
    (tmp_path / "corpus" / "deep" / "a.wav").write_bytes(b"sound")
    manifest = Manifest(tmp_path / "corpus", (utterance(path="deep/a.wav"),))
    for place in ("corpus", ".", "elsewhere"):
        target = tmp_path / place / f"table-{form}"
        write(manifest, target, format=form, absolute=absolute)
        again, report = read(target, format=form)
        assert report.absent == ()
        assert again.file(next(iter(again))).read_bytes() == b"sound"


def contents(place: Path) -> dict[str, bytes]:
    files = [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    return {path.name: path.read_bytes() for path in files}


def test_existing_files_are_kept(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path, (utterance(),))
    for form in TABLES:
        need(form)
        target = tmp_path if form == "audiofolder" else tmp_path / form
        write(manifest, target, format=form)
        before = contents(target)
        with pytest.raises(ManifestError, match="exists"):
            write(Manifest(tmp_path, (utterance("b"),)), target, format=form)
        assert contents(target) == before
        write(Manifest(tmp_path, (utterance("b"),)), target, format=form, force=True)
        assert contents(target) != before
    assert not list(tmp_path.rglob("*.part"))


def test_lost_fields_are_listed(tmp_path: Path) -> None:
    rows = (utterance(age=30, text="mine-t", extra={"a": "b"}), utterance("b", original="happy", start=1.0))
    written = write(Manifest(tmp_path, rows), tmp_path / "t.csv", format="csv")
    assert dict(written.lost) == {
        "id": 1,
        "corpus": 1,
        "speaker": 1,
        "original": 1,
        "age": 1,
        "text": 1,
        "extra": 1,
    }
    told = "\n".join(written.lines())
    assert "does not hold age" in told
    assert "mine/b" in told
    assert "span" in told


# --- foreign tables -----------------------------------------------------------------------------------------


def table(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_any_label_is_kept(tmp_path: Path) -> None:
    source = table(tmp_path / "t.csv", "path,emotion\na.wav,joy\nb.wav,hangry\nc.wav,\nd.wav,hangry\n,sad\n")
    manifest, report = read(source)
    assert [u.emotion for u in manifest] == ["happy", "hangry", "hangry"]
    assert report.own_labels == {"hangry": 2}
    assert [where for where, _ in report.refused] == ["line 4", "line 6"]
    assert "taken as they are: hangry 2 (or 'angry'?)" in "\n".join(report.lines())
    assert not report.ok
    manifest, report = read(source, options=ReadOptions(labels={"hangry": "angry"}))
    assert [(u.emotion, u.original) for u in manifest] == [
        ("happy", "joy"),
        ("angry", "hangry"),
        ("angry", "hangry"),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("comma.csv", "path,emotion\nx/a.wav,happy\n"),
        ("semicolon.csv", "Filename;Label\nx/a.wav;Happy\n"),
        ("tab.tsv", "wav\temo\tfold\nx/a.wav\thappiness\t3\n"),
        ("bare.csv", "x/a.wav,joy\n"),
        ("bom.csv", "\ufefffile,emotion\r\nx/a.wav,happy\r\n"),
        ("absolute.csv", "path,emotion\n{root}/x/a.wav,happy\n"),
        ("windows.csv", "path,emotion\nx\\a.wav,happy\n"),
        ("up.csv", "path,emotion\n../corpus/x/a.wav,happy\n"),
    ],
)
def test_tables_of_many_dialects(name: str, text: str, tmp_path: Path) -> None:
    root = tmp_path / "corpus"
    (root / "x").mkdir(parents=True)
    (root / "x" / "a.wav").write_bytes(b"sound")
    manifest, report = read(table(root / name, text.replace("{root}", str(root))))
    assert report.ok, list(report.lines())
    (row,) = manifest
    assert row.emotion == "happy"
    assert manifest.file(row).read_bytes() == b"sound"
    assert row.extra == ({"fold": "3"} if "fold" in text else {})


def test_foreign_table_with_all_columns(tmp_path: Path) -> None:
    source = table(
        tmp_path / "t.csv",
        "file,speaker,gender,emotion,age,language,start,end,split\n"
        "a.wav,7,F,ang,31.0,deu,0 days 00:00:01.500000,0 days 00:01:02,dev\n"
        "a.wav,7,woman?,ang,old,de,70,NaT,train\n"
        "a.wav,7,m,ang,,de,9,8,train\n",
    )
    assert guess(source) == "nkululeko"
    manifest, report = read(source, options=ReadOptions(corpus="mine"))
    first, second = manifest
    assert (first.speaker, first.sex, first.age, first.language) == ("mine-7", "female", 31, "de")
    assert (first.start, first.end, first.extra) == (1.5, 62.0, {"part": "validation"})
    assert (second.sex, second.age, second.start, second.end) == (None, None, 70.0, None)
    assert [where for where, _ in report.noted] == ["line 3", "line 3"]
    assert [where for where, _ in report.refused] == ["line 4"]
    assert report.absent == ("a.wav", "a.wav")


def test_speakers_stay_distinct(tmp_path: Path) -> None:
    source = table(tmp_path / "t.csv", "path,emotion,speaker\na.wav,sad,1\nb.wav,sad,mine-1\n")
    manifest, _ = read(source, options=ReadOptions(corpus="mine"))
    assert len(manifest.speakers) == 2


def test_speaker_pattern(tmp_path: Path) -> None:
    import re

    for name in ("anna/happy/1.wav", "anna/sad/1.wav", "bert/sad/1.wav", "sad/2.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    options = ReadOptions(corpus="mine", speaker=re.compile(r"^(\w+)/\w+/"))
    manifest, report = read(tmp_path, format="folder", options=options)
    assert manifest.counts("speaker") == {"mine-anna": 2, "mine-bert": 1, f"mine-{UNKNOWN_SPEAKER}": 1}
    assert report.no_speaker == 1


def test_emobox_rows_of_known_corpora(tmp_path: Path) -> None:
    rows = [
        {
            "key": "emodb-03a01Fa",
            "dataset": "emodb",
            "wav": "downloads/emodb/wav/03a01Fa.wav",
            "emo": "happy",
        },
        {
            "key": "savee-DC_a01",
            "dataset": "savee",
            "wav": "downloads/savee/AudioData/DC_a01.wav",
            "emo": "a",
        },
        {"key": "new-1", "dataset": "new", "wav": "new/1.wav", "emo": "K"},
        {"key": "new-2", "dataset": "new", "wav": "new/2.wav", "emo": "Q"},
        {"key": "new-3", "dataset": "new", "emo": "K"},
    ]
    source = tmp_path / "all.jsonl"
    source.write_text("\n".join(map(json.dumps, rows)) + "\nnot json\n")
    table(tmp_path / "label_map.json", '{"K": "Boredom"}')
    manifest, report = read(source)
    assert [(u.id, u.speaker, u.emotion) for u in manifest] == [
        ("emodb/03a01Fa", "emodb-03", "happy"),
        ("savee/DC_a01", "savee-DC", "angry"),
        ("new/new/1", f"new-{UNKNOWN_SPEAKER}", "boredom"),
        ("new/new/2", f"new-{UNKNOWN_SPEAKER}", "q"),
    ]
    assert [where for where, _ in report.refused] == ["line 5", "line 6"]


def test_audiofolder_with_parts_and_csv(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        table(tmp_path / part / "metadata.csv", f"file_name,label\n{part}.wav,sad\n")
    assert guess(tmp_path) == "audiofolder"
    manifest, _ = read(tmp_path)
    assert {(u.path, u.extra["part"]) for u in manifest} == {
        ("train/train.wav", "train"),
        ("test/test.wav", "test"),
    }


def test_audiofolder_holds_sound(tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    with pytest.raises(ManifestError, match="holds its sound"):
        write(Manifest(tmp_path, (utterance(),)), tmp_path / "far", format="audiofolder")


def test_audformat_null_words(tmp_path: Path) -> None:
    need("audformat")
    for word in ("NULL", "NA", "nan", "None", "n/a", "F"):
        rows = (utterance(original=word, text=word),)
        write(Manifest(tmp_path, rows), tmp_path / "db", format="audformat", force=True)
        again, _ = read(tmp_path / "db", format="audformat")
        assert [(u.id, u.original, u.text) for u in again] == [(u.id, word, word) for u in rows]


def test_a_refused_writing_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "sound").mkdir()
    with pytest.raises(ManifestError, match="holds its sound"):
        write(Manifest(tmp_path / "sound", (utterance(),)), tmp_path / "new" / "there", format="audiofolder")
    assert [path.name for path in (tmp_path / "new").iterdir()] == []


def test_foreign_label_map_is_kept(tmp_path: Path) -> None:
    emotion = utterance().emotion
    rows = Manifest(tmp_path, (utterance(),))
    (tmp_path / "label_map.json").write_text('{"xyz": "Happy"}')
    write(rows, tmp_path / "one.jsonl", format="emobox")
    write(rows, tmp_path / "two.jsonl", format="emobox")
    assert json.loads((tmp_path / "label_map.json").read_text()) == {"xyz": "Happy", emotion: emotion.title()}
    for strange in (f'{{"{emotion}": "{"Sad" if emotion != "sad" else "Happy"}"}}', "notes of mine"):
        (tmp_path / "label_map.json").write_text(strange)
        with pytest.raises(ManifestError, match=r"label_map\.json"):
            write(rows, tmp_path / "three.jsonl", format="emobox")
        assert (tmp_path / "label_map.json").read_text() == strange
        assert not (tmp_path / "three.jsonl").exists()


def test_part_names_in_trees(tmp_path: Path) -> None:
    for part in PARTS:
        (tmp_path / part / "angry").mkdir(parents=True)
        (tmp_path / part / "angry" / f"{part}.wav").write_bytes(b"x")
    manifest, _ = read(tmp_path, format="folder")
    assert {u.path.split("/")[0]: u.extra.get("part") for u in manifest} == dict(PARTS)


def test_a_foreign_kaldi_folder(tmp_path: Path) -> None:
    table(tmp_path / "wav.scp", "s1-u1 a b.wav\ns1-u2\tc.wav\ns2-u3 sph2pipe x.sph |\nrec /abs/long.wav\n")
    table(tmp_path / "utt2emo", "s1-u1 hap\ns1-u2 sad\ns2-u3 sad\n")
    table(tmp_path / "utt2spk", "s1-u1 s1\ns1-u2 s1\ns2-u3 s2\n")
    table(tmp_path / "spk2gender", "s1 f\n")
    manifest, report = read(tmp_path, options=ReadOptions(corpus="k"))
    assert [(u.speaker, u.sex, u.emotion) for u in manifest] == [
        ("k-s1", "female", "happy"),
        ("k-s1", "female", "sad"),
    ]
    assert {u.path for u in manifest} == {"a b.wav", "c.wav"}
    refused = dict(report.refused)
    assert "not run" in refused["utterance s2-u3"]
    assert refused["utterance rec"] == "it names no emotion"


def test_kaldi_files_are_valid(tmp_path: Path) -> None:
    rows = tuple(
        utterance(str(n), id=f"mine/{key}", path=f"{n}.wav") for n, key in enumerate(["b", "ä", "a c", "B"])
    )
    write(Manifest(tmp_path, rows), tmp_path / "k", format="kaldi")
    for name in ("wav.scp", "utt2emo", "utt2spk"):
        lines = (tmp_path / "k" / name).read_bytes().splitlines()
        assert lines == sorted(lines)
        assert all(line.count(b" ") == 1 for line in lines)


def test_trees_with_parts_and_defects(tmp_path: Path) -> None:
    for name in (
        "train/angry/1.wav",
        "train/hangry/2.wav",
        "Testing/Angry/deep/3.FLAC",
        "train/4.wav",
        "train/angry/5.txt",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "train" / "angry" / "6.wav").touch()
    (tmp_path / "train" / "angry" / "loop").symlink_to(tmp_path)
    manifest, report = read(tmp_path, format="folder")
    assert {(u.path, u.extra["part"]) for u in manifest} == {
        ("train/angry/1.wav", "train"),
        ("train/hangry/2.wav", "train"),
        ("Testing/Angry/deep/3.FLAC", "test"),
    }
    assert report.own_labels == {"hangry": 1}
    assert {where for where, _ in report.refused} == {"train/4.wav", "train/angry/6.wav"}


@pytest.mark.parametrize(
    ("name", "emotion"),
    [
        ("clip_01_happy", "happy"),
        ("clip-Angry", "angry"),
        ("OAF_back_pleasant_surprise", "surprise"),
        ("happy_sad", "sad"),
        ("fear", "fear"),
        ("1001 neutral", "neutral"),
    ],
)
def test_suffix_gives_emotion(name: str, emotion: str, tmp_path: Path) -> None:
    (tmp_path / f"{name}.wav").write_bytes(b"x")
    ((row,), _) = read(tmp_path, format="suffix")
    assert row.emotion == emotion


def test_saved_datasets_of_hugging_face(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.ipc

    sound = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    for part, label in (("train", 0), ("test", 1)):
        folder = tmp_path / part
        folder.mkdir()
        rows = arrow.table(
            {
                "audio": arrow.array([{"bytes": b"RIFF" + part.encode(), "path": "x.flac"}], sound),
                "label": arrow.array([label]),
                "speaker_id": arrow.array([7]),
            }
        )
        with pyarrow.ipc.new_stream(str(folder / "data-00000-of-00001.arrow"), rows.schema) as stream:
            stream.write_table(rows)
        table(folder / "state.json", '{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
        table(
            folder / "dataset_info.json",
            '{"features": {"label": {"names": ["sad", "joy"], "_type": "ClassLabel"}}}',
        )
    table(tmp_path / "dataset_dict.json", '{"splits": ["train", "test"]}')
    assert guess(tmp_path) == "datasets"
    manifest, report = read(tmp_path)
    assert len(manifest) == 0
    assert ["embedded" in why for _, why in report.refused] == [True, True]
    manifest, report = read(tmp_path, options=ReadOptions(corpus="hf", audio=tmp_path / "sound"))
    assert [(u.emotion, u.extra["part"], u.speaker) for u in manifest] == [
        ("sad", "train", "hf-7"),
        ("happy", "test", "hf-7"),
    ]
    assert [manifest.file(u).read_bytes() for u in manifest] == [b"RIFFtrain", b"RIFFtest"]
    assert report.ok


@pytest.mark.filterwarnings("ignore")  # the library's own, with a newer pandas
def test_audformat_databases_of_others(tmp_path: Path) -> None:
    audformat = pytest.importorskip("audformat")
    database = audformat.Database("foreign")
    database.schemes["emotion"] = audformat.Scheme(labels=["anger", "hm"])
    database.schemes["speaker"] = audformat.Scheme(
        labels={"s1": {"gender": "female", "age": 30}, "s2": {"gender": "male"}}
    )
    for name, files in (("emotion.train", ["a.wav", "b.wav"]), ("emotion.test", ["c.wav"])):
        database[name] = audformat.Table(audformat.filewise_index(files))
        for column, values in (("emotion", ["anger", "hm"]), ("speaker", ["s1", "s2"])):
            database[name][column] = audformat.Column(scheme_id=column)
            database[name][column].set(values[: len(files)])
    database.save(str(tmp_path))
    manifest, report = read(tmp_path, options=ReadOptions(corpus="f"))
    assert guess(tmp_path) == "audformat"
    assert {(u.path, u.speaker, u.sex, u.age, u.extra["part"]) for u in manifest} == {
        ("a.wav", "f-s1", "female", 30, "train"),
        ("b.wav", "f-s2", "male", None, "train"),
        ("c.wav", "f-s1", "female", 30, "test"),
    }
    assert report.own_labels == {"hm": 1}


@pytest.mark.filterwarnings("ignore")
def test_audformat_reads_export(tmp_path: Path) -> None:
    audformat = pytest.importorskip("audformat")
    write(
        Manifest(tmp_path, (utterance(age=30), utterance("b", start=0.5, end=1.0))),
        tmp_path / "db",
        format="audformat",
    )
    frame = audformat.Database.load(str(tmp_path / "db"))["emotion"].df
    assert list(frame["emotion"]) == ["happy", "happy"]
    assert frame.index.get_level_values("end")[1].total_seconds() == 1.0


# --- mistakes -----------------------------------------------------------------------------------------


def test_mistakes_are_explained(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="did you mean 'kaldi'"):
        read(tmp_path, format="kaldy")
    with pytest.raises(ManifestError, match="there is no"):
        read(tmp_path / "nothing.csv")
    with pytest.raises(ManifestError, match="no column for the file"):
        read(table(tmp_path / "x.csv", "a,b\n1,2\n"))
    with pytest.raises(ManifestError, match="can only be read"):
        write(Manifest(tmp_path, (utterance(),)), tmp_path / "d", format="datasets")
    with pytest.raises(ManifestError, match="say which"):
        guess(table(tmp_path / "x.bin", ""))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match="says what is expressed"):
        guess(tmp_path / "empty")
    assert parse_seconds("1 days 01:00:00") == 90_000
    with pytest.raises(ValueError, match="could not"):
        parse_seconds("soon")


def test_formats_declare_fields() -> None:
    for form in FORMATS.values():
        assert form.holds <= FORMATS["emovox"].holds
        assert "emotion" in form.holds
    assert "does not hold" in str(csv_tables.__doc__)
    assert set(CORPORA) & set(FORMATS) == set()


# --- hostile tables -----------------------------------------------------------------------------------

HOSTILE = {
    "csv": "t.csv",
    "nkululeko": "t.csv",
    "emovox": "t.csv",
    "emobox": "t.jsonl",
    "parquet": "t.parquet",
    "audiofolder": "metadata.jsonl",
    "kaldi": "utt2emo",
}


@pytest.mark.parametrize("form", HOSTILE)
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    content=st.binary(max_size=200)
    | st.lists(
        st.sampled_from(
            [
                b"path,emotion\n",
                b"a.wav,sad\n",
                b'"',
                b"\0",
                b"\xff",
                b",,,\n",
                b"../../x,happy\r",
                b"{}",
                b"[1]",
                b'{"wav":',
                b'{"wav":"a.wav","emo":"sad","dataset":"x"}\n',
                b"u1 happy\n",
                b"\n",
                b'{"file_name":["a"],"label":3}\n',
                b"id,path,corpus,speaker,emotion,original\n",
                b"a,a,a,a,sad,a\n",
                b"path,emotion,start,end\na,sad,inf,nan\n",
            ]
        ),
        max_size=8,
    ).map(b"".join)
)
def test_hostile_tables_are_reported(form: str, content: bytes, tmp_path: Path) -> None:
    need(form)
    source = tmp_path / HOSTILE[form]
    source.write_bytes(content)
    if form == "kaldi":
        (tmp_path / "wav.scp").write_bytes(b"u1 a.wav\n")
    try:
        manifest, report = read(tmp_path if form == "kaldi" else source, format=form)
    except ManifestError:
        return
    assert report.n_kept == len(manifest)
    assert report.n_kept + len(report.unknown) + len(report.refused) == report.n_rows
    assert "\n".join(report.lines()).encode()
    json.dumps(report.to_dict())


@given(
    st.dictionaries(
        st.text(max_size=8), st.none() | st.text(max_size=8) | st.integers() | st.lists(st.integers())
    )
)
def test_any_row_is_parsed(cells: dict[str, Any]) -> None:
    draft = make_row("here", cells)
    assert all(isinstance(value, str) for value in (*draft.cells.values(), *draft.extra.values(), draft.path))


def test_nkululeko_csv_is_plain(tmp_path: Path) -> None:
    write(
        Manifest(tmp_path, (utterance(), utterance("b", sex="female"))),
        tmp_path / "n.csv",
        format="nkululeko",
    )
    with (tmp_path / "n.csv").open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows == [
        ["file", "speaker", "gender", "emotion"],
        ["a.wav", "mine-1", "", "happy"],
        ["b.wav", "mine-1", "female", "happy"],
    ]
