"""Manifests: validated rows, CSV round trips, selection and merging."""

from __future__ import annotations

import string
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emovox.datasets import Manifest, Utterance
from emovox.errors import ManifestError
from emovox.labels import EMOTIONS, EXTRAS


def _row(n: int = 0, **fields: object) -> Utterance:
    base = {
        "id": f"c/{n}",
        "path": f"a/{n}.wav",
        "corpus": "c",
        "speaker": "c-1",
        "emotion": "sad",
        "original": "S",
    }
    return Utterance(**(base | fields))


@pytest.mark.parametrize(
    "fields",
    [
        {"id": ""},
        {"id": " "},
        {"id": "a\nb"},
        {"id": 3},
        {"speaker": None},
        {"path": "/a.wav"},
        {"path": "../a.wav"},
        {"path": "a//b.wav"},
        {"path": "./a.wav"},
        {"path": "."},
        {"path": ""},
        {"path": "a\0.wav"},
        {"path": Path("a.wav")},
        {"emotion": "anger"},
        {"emotion": "Sad"},
        {"emotion": "Gleeful"},
        {"emotion": ""},
        {"start": -1},
        {"start": float("nan")},
        {"start": "0"},
        {"start": True},
        {"end": 0.0},
        {"start": 2.0, "end": 2.0},
        {"end": float("inf")},
        {"sex": "f"},
        {"age": 25.0},
        {"age": -1},
        {"age": 121},
        {"age": True},
        {"language": ""},
        {"text": 3},
        {"extra": {"a": 1}},
        {"extra": "a"},
    ],
)
def test_impossible_rows_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ManifestError, match=next(reversed(fields))):
        _row(**fields)


def test_message_names_canonical_emotion() -> None:
    with pytest.raises(ManifestError, match=r"c/0.*'angry'"):
        _row(emotion="anger")


def test_rows_are_frozen_and_hashable() -> None:
    row = _row(extra={"a": "b"})
    with pytest.raises(AttributeError):
        row.id = "x"  # type: ignore[misc]
    assert len({row, _row(extra={"a": "b"})}) == 1


def test_ids_are_unique() -> None:
    with pytest.raises(ManifestError, match=r"1 ids.*c/0"):
        Manifest(Path(), (_row(), _row()))


def test_choosing_and_counting() -> None:
    manifest = Manifest(
        Path("r"),
        (
            _row(0),
            _row(1, emotion="angry"),
            _row(2, speaker="c-2", sex="male"),
            _row(3, corpus="d", speaker="d-1"),
        ),
    )
    assert manifest.where(emotion="sad", corpus="c").ids == ("c/0", "c/2")
    assert manifest.where(speaker=("c-2", "d-1")).ids == ("c/2", "c/3")
    assert manifest.where(sex=None).ids == ("c/0", "c/1", "c/3")
    assert manifest.keep(lambda u: u.id > "c/1").ids == ("c/2", "c/3")
    assert manifest.select(["c/3", "c/0"]).ids == ("c/3", "c/0")
    assert manifest.counts("emotion") == {"sad": 3, "angry": 1}
    assert (manifest.corpora, manifest.speakers, manifest.emotions) == (
        ("c", "d"),
        ("c-1", "c-2", "d-1"),
        ("angry", "sad"),
    )
    assert manifest.file(manifest["c/0"]) == Path("r/a/0.wav")
    assert len(manifest) == len(list(manifest)) == 4
    with pytest.raises(ManifestError, match="no field 'mood'"):
        manifest.where(mood="sad")
    with pytest.raises(ManifestError, match="no field 'extra'"):
        manifest.counts("extra")
    with pytest.raises(ManifestError, match="nobody"):
        manifest.select(["nobody"])


def test_merging_keeps_paths(tmp_path: Path) -> None:
    one = Manifest(tmp_path / "x" / "one", (_row(1),))
    two = Manifest(tmp_path / "x" / "two", (_row(2),))
    whole = Manifest.merged([one, two])
    assert whole.root == tmp_path / "x"
    assert [whole.file(u) for u in whole] == [one.file(one["c/1"]), two.file(two["c/2"])]
    assert Manifest.merged([one]) == one
    with pytest.raises(ManifestError, match="no manifest"):
        Manifest.merged([])
    with pytest.raises(ManifestError, match="more than once"):
        Manifest.merged([one, one])


_words = st.text(
    st.characters(exclude_characters="\0\r\n", exclude_categories=()), min_size=1, max_size=12
).filter(lambda s: bool(s.strip()))
_safe = st.text(string.ascii_letters + string.digits + " ,;\"'|\t\\é字\udcff", min_size=1, max_size=12)
_line = _safe.filter(lambda s: bool(s.strip()))
_paths = st.lists(_line.filter(lambda s: "/" not in s), min_size=1, max_size=3).map("/".join)


@st.composite
def _rows(draw: st.DrawFn) -> Utterance:
    start = draw(st.none() | st.floats(0, 1e4))
    end = draw(st.none() | st.floats(0.001, 1e4).map(lambda s: (start or 0.0) + s))
    return Utterance(
        id=draw(_line),
        path=draw(_paths),
        corpus=draw(_line),
        speaker=draw(_line),
        emotion=draw(st.sampled_from(EMOTIONS + EXTRAS)),
        original=draw(_line),
        start=start,
        end=end,
        sex=draw(st.sampled_from([None, "female", "male", "other"])),
        age=draw(st.none() | st.integers(0, 120)),
        language=draw(st.none() | _line),
        text=draw(st.none() | _line),
        intensity=draw(st.none() | _line),
        extra=draw(st.dictionaries(_safe, _safe, max_size=2)),
    )


@given(st.lists(_rows(), max_size=5, unique_by=lambda u: u.id))
@settings(max_examples=60, deadline=None)
def test_csv_round_trip(tmp_path_factory: pytest.TempPathFactory, rows: list[Utterance]) -> None:
    root = tmp_path_factory.getbasetemp()
    manifest = Manifest(root, tuple(rows))
    path = manifest.write_csv(root / "m.csv")
    assert Manifest.read_csv(path) == manifest
    assert Manifest.read_csv(path, root="elsewhere") == replace(manifest, root=Path("elsewhere"))
    assert [p.name for p in root.glob("m.csv*")] == ["m.csv"]


HEADER = "id,path,corpus,speaker,emotion,original"
GOOD = "c/1,1.wav,c,c-1,sad,S"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("id,path\nx,y\n", "no column 'corpus'"),
        ("", "no column 'id'"),
        (f"{HEADER},mood\n{GOOD},x\n", "unknown column 'mood'"),
        (f"{HEADER}\n{GOOD},extra\n", "row 1: got more or fewer"),
        (f"{HEADER}\nc/1,1.wav\n", "row 1: got more or fewer"),
        (f"{HEADER}\n{GOOD}\n{GOOD}\n", "more than once"),
        (f"{HEADER}\n{GOOD.replace('sad', 'Sadness')}\n", "row 1.*'sad'"),
        (f"{HEADER}\n{GOOD.replace('c-1', '')}\n", "'speaker' is empty"),
        (f"{HEADER},age\n{GOOD},old\n", "row 1.*numbers"),
        (f"{HEADER},start\n{GOOD},-2\n", "row 1.*start"),
        (f"{HEADER},extra\n{GOOD},[1]\n", "row 1.*extra"),
        (f"{HEADER},extra\n{GOOD},{{\n", "row 1.*JSON"),
        (f'{HEADER}\n"c/1,1.wav', "not a CSV"),
    ],
)
def test_wrong_tables_are_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "m.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ManifestError, match=says):
        Manifest.read_csv(tmp_path / "m.csv")


def test_missing_columns_are_unknown_values(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text(f"\ufeff{HEADER}\n{GOOD}\n", encoding="utf-8")
    row = Manifest.read_csv(tmp_path / "m.csv")["c/1"]
    assert (row.sex, row.age, row.start, row.text, row.extra) == (None, None, None, None, {})


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"no manifest.*write_csv"):
        Manifest.read_csv(tmp_path / "m.csv")
    with pytest.raises(ManifestError, match="not a CSV"):
        Manifest.read_csv(tmp_path)


@given(st.binary(max_size=200) | _words.map(lambda s: s.encode("utf-8", "surrogatepass")))
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_parsed_or_refused(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any.csv"
    path.write_bytes(f"{HEADER},extra\n{GOOD},".encode() + data)
    try:
        manifest = Manifest.read_csv(path)
    except ManifestError:
        return
    assert manifest.ids[0] == "c/1"
