"""Protocols by name, given by a corpus, or read from a file."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emovox.datasets import splits as protocols
from emovox.datasets.emobox import emobox_rows, emobox_split
from emovox.datasets.formats import ReadOptions, read
from emovox.datasets.manifest import Manifest, Utterance
from emovox.datasets.protocols import PROTOCOLS, make_splits, read_splits, write_splits
from emovox.errors import ProtocolError


def people(n_speakers: int = 6, *, corpus: str = "toy", n_clips: int = 4) -> Manifest:
    emotions = ("angry", "happy", "neutral", "sad")
    return Manifest(
        Path(),
        tuple(
            Utterance(
                id=f"{corpus}/{s}-{c}",
                path=f"{corpus}/{s}-{c}.wav",
                corpus=corpus,
                speaker=f"{corpus}-{s}",
                emotion=emotions[c % 4],
                original=emotions[c % 4],
                sex=("male", "female")[s % 2],
            )
            for s in range(n_speakers)
            for c in range(n_clips)
        ),
    )


def ravdess() -> Manifest:
    rows = emobox_rows("ravdess")
    return Manifest(
        Path(),
        tuple(
            Utterance(
                id=f"ravdess/{row.key}",
                path=f"{row.key}.wav",
                corpus="ravdess",
                speaker=f"ravdess-{row.key[-2:]}",
                emotion="neutral",
                original=row.label,
            )
            for row in rows
        ),
    )


TYPED = ("loso", "speaker-kfold", "speaker-kfold/3", "speaker-kfold/3/7", "random", "random/0.5/3")


@pytest.mark.parametrize("text", [*TYPED, "speakers/toy-1,toy-4"])
def test_split_name_selects_split(text: str) -> None:
    manifest = people()
    found = make_splits(manifest, text)
    for split in found:
        assert make_splits(manifest, split.name) == (split,)


def test_the_numbers_of_splits() -> None:
    manifest = people()
    n = {text: len(make_splits(manifest, text)) for text in TYPED}
    assert list(n.values()) == [6, 5, 3, 3, 1, 1]
    assert make_splits(manifest, "speaker-kfold") == protocols.speaker_kfold(manifest, 5)
    assert make_splits(manifest, "random") == (protocols.random_split(manifest),)


def test_speakers_without_corpus_prefix(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("speaker,part\n0,train\n1,train\n2,test\n")
    (split,) = make_splits(people(), str(file))
    assert {people()[key].speaker for key in split.test} == {"toy-2"}
    (again,) = make_splits(people(), "speakers/2")
    assert again.test == split.test
    assert again.name == "speakers/toy-2"


def test_split_files_of_the_documentation(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text(encoding="utf-8")
    block = re.search(r"\n\n((?:    speaker,part .*\n)(?:    .*\n)+)", text)
    assert block is not None
    columns = list(zip(*(re.split(r"\s{2,}", line.strip()) for line in block[1].splitlines()), strict=True))
    (tmp_path / "data.csv").write_text(
        "path,emotion,speaker\na01.wav,sad,anna\na02.wav,happy,ben\nc.wav,sad,carl\nd.wav,sad,dora\n"
    )
    manifest, _ = read(tmp_path / "data.csv", options=ReadOptions(corpus="mine"))
    found = []
    for n, lines in enumerate(columns):
        (tmp_path / f"{n}.csv").write_text("\n".join(lines) + "\n")
        found.append(make_splits(manifest, str(tmp_path / f"{n}.csv")))
    one, folds, spelt_out = found
    assert [s.train for s in one] == [("mine/a01", "mine/d")]
    assert [(s.validation, s.test) for s in one] == [(("mine/a02",), ("mine/c",))]
    assert [s.test for s in folds] == [("mine/a01", "mine/a02"), ("mine/c", "mine/d")]
    assert [s.test for s in spelt_out] == [("mine/a02",), ("mine/a01",)]


def test_emobox_as_typed() -> None:
    manifest = ravdess()
    every = make_splits(manifest, "emobox")
    assert every == tuple(emobox_split(manifest, n) for n in range(1, 7))
    assert make_splits(manifest, "emobox/ravdess") == every
    assert make_splits(manifest, "emobox/2") == make_splits(manifest, "emobox/ravdess/2") == (every[1],)


def test_cross_corpus_takes_turns() -> None:
    both = Manifest.merged([people(3, corpus="one"), people(3, corpus="two")])
    found = make_splits(both, "cross-corpus")
    assert [split.name for split in found] == ["cross-corpus/one", "cross-corpus/two"]
    assert {key.split("/")[0] for key in found[0].test} == {"one"}
    assert make_splits(both, "cross-corpus/two") == (found[1],)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("emobx", "did you mean 'emobox'"),
        ("emobox", "speaker-kfold"),
        ("emobox/ravdess/x", "the form is emobox"),
        ("emobox/ravdess/1/2", "the form is emobox"),
        ("loso/nobody", "there is no split"),
        ("speaker-kfold/x", "the form is speaker-kfold"),
        ("speaker-kfold/3/0/9", "the last one is 'speaker-kfold/3/0/3'"),
        ("speaker-kfold/3/0/1/1", "the form is speaker-kfold"),
        ("speakers/", "the form is speakers"),
        ("speakers/who", "no speaker 'who'"),
        ("random/much", "the form is random"),
        ("random/1.5", "between 0 and 1"),
        ("random/0.5/0/0", "the form is random"),
        ("given", "another protocol"),
        ("given/1", "the form is given"),
        ("", "there are"),
        ("none.csv", "no protocol file"),
    ],
)
def test_impossible_protocols_are_refused(text: str, said: str) -> None:
    with pytest.raises(ProtocolError) as caught:
        make_splits(ravdess() if text.startswith("emobox/r") else people(), text)
    assert said in str(caught.value)


def test_every_protocol_is_described() -> None:
    assert {form.split("[")[0].split("/")[0] for form in PROTOCOLS} == (
        {"emobox", "loso", "speaker-kfold", "speakers", "random", "given", "cross-corpus", "FILE.csv"}
    )


def with_parts(manifest: Manifest, part_of: dict[str, str]) -> Manifest:
    return Manifest(
        manifest.root,
        tuple(
            replace(u, extra={"part": part_of[u.speaker]} if u.speaker in part_of else {}) for u in manifest
        ),
    )


def test_given_follows_the_corpus() -> None:
    manifest = with_parts(
        people(), {"toy-0": "train", "toy-1": "Train", "toy-2": "dev", "toy-3": "test", "toy-4": "testing"}
    )
    split = protocols.given(manifest)
    who = {
        part: {manifest[k].speaker for k in getattr(split, part)} for part in ("train", "test", "left_out")
    }
    assert who == {"train": {"toy-0", "toy-1"}, "test": {"toy-3", "toy-4"}, "left_out": {"toy-5"}}
    assert {manifest[k].speaker for k in split.validation} == {"toy-2"}
    assert split.stamp == "strict"
    assert make_splits(manifest, "given") == (split,)


def test_given_parts_draw_validation() -> None:
    manifest = people()
    halves = Manifest(
        manifest.root,
        tuple(replace(u, extra={"part": "test" if u.id.endswith("3") else "train"}) for u in manifest),
    )
    split = protocols.given(halves)
    assert split.stamp == "speaker-dependent"
    assert split.validation
    assert not {halves[k].speaker for k in split.validation} & {halves[k].speaker for k in split.train}


def test_unknown_part_is_refused() -> None:
    with pytest.raises(ProtocolError, match="'middle' is none of"):
        protocols.given(with_parts(people(), {"toy-0": "train", "toy-1": "middle", "toy-2": "test"}))


# --- files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["speaker", "id"])
def test_rotating_folds_are_disjoint(tmp_path: Path, key: str) -> None:
    names = [getattr(u, key) for u in people()]
    rows = list(dict.fromkeys(names))
    file = tmp_path / "mine.csv"
    text = "".join(f"{name},{n % 3}\n" for n, name in enumerate(rows))
    file.write_text(f"{key},fold\n{text}{rows[0]},1\n")
    with pytest.raises(ProtocolError, match=f"{key} '{rows[0]}' is in the folds '0' and '1'"):
        make_splits(people(), str(file))
    file.write_text(f"{key},fold\n{text}")
    assert len(make_splits(people(), str(file))) == 3


def test_a_file_of_speakers(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("speaker,part\ntoy-0,train\ntoy-1,train\ntoy-2,val\ntoy-3,test\n")
    (split,) = make_splits(people(), str(file))
    assert split.name == "file/mine"
    assert {key.split("/")[1][0] for key in split.test} == {"3"}
    assert len(split.left_out) == 8


def test_folds_alone_take_turns(tmp_path: Path) -> None:
    file = tmp_path / "folds.tsv"
    file.write_text("speaker\tfold\n" + "".join(f"toy-{n}\t{'ab'[n % 2]}\n" for n in range(6)))
    a, b = make_splits(people(), str(file))
    assert (a.name, b.name) == ("file/folds/a", "file/folds/b")
    assert set(a.test) == {*b.train, *b.validation}
    assert a.stamp == b.stamp == "strict"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no rows"),
        ("id,part\n", "no rows"),
        ("name,part\na,test\n", "has the columns name, part"),
        ("id\ntoy/0-0\n", "part or fold"),
        ("id,part\ntoy/0-0,test\ntoy/0-0,train\n", "twice"),
        ("id,part\ntoy/0-0,test\nother/1,train\n", "1 id is not in the manifest, the first is 'other/1'"),
        ("id,part\ntoy/0-0,test,x\n", "more or fewer cells"),
        ("id,part\ntoy/0-0\n", "more or fewer cells"),
        ("id,part\ntoy/0-0,test\n", "0 training"),
        ('id,part\n"toy/0-0,test\n', "cannot be read|not a table"),
    ],
)
def test_wrong_files_are_told(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "wrong.csv"
    file.write_text(text)
    with pytest.raises(ProtocolError, match=said):
        read_splits(people(), file)


def test_missing_clips_can_be_allowed(tmp_path: Path) -> None:
    file = tmp_path / "more.csv"
    file.write_text("speaker,part\ntoy-0,train\ntoy-1,train\ntoy-9,train\ntoy-3,test\n")
    lines: list[str] = []
    assert len(read_splits(people(), file, allow_missing=True, warn=lines.append)[0].test) == 4
    assert lines == ["warning: file/more: 1 speaker is not in the manifest, the first is 'toy-9': left out"]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.sampled_from(TYPED), n=st.integers(5, 9), suffix=st.sampled_from([".csv", ".tsv"]))
def test_written_splits_come_back(tmp_path: Path, text: str, n: int, suffix: str) -> None:
    manifest = people(n)
    before = make_splits(manifest, text)
    after = read_splits(manifest, write_splits(tmp_path / f"kept{suffix}", before))
    assert [(s.digest, s.stamp) for s in after] == [(s.digest, s.stamp) for s in before]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200) | st.text(max_size=120).map(lambda t: ("id,part\n" + t).encode()))
def test_any_split_file_is_read_or_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "any.csv"
    file.write_bytes(content)
    with pytest.raises(ProtocolError):  # none of these names a clip of the manifest
        read_splits(people(), file)
