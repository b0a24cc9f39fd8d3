"""Plans: whatever names recordings is read as a stream, and cut into the same shards in any order."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emovox.batch.inputs import BatchItem, escape_name, list_items, public_name
from emovox.batch.shards import hash_items, read_shard, write_shards
from emovox.errors import ConfigError, EmovoxError, ManifestError

NAMES = st.text(
    st.characters(exclude_characters="\0\r\n", exclude_categories=["Cs"]), min_size=1, max_size=20
)
TIMES = st.none() | st.floats(0.0, 1e6, allow_nan=False)


@st.composite
def items(draw: st.DrawFn) -> BatchItem:
    start_s, length_s = draw(TIMES), draw(st.none() | st.floats(0.001, 1e3))
    return BatchItem(draw(NAMES), start_s, None if length_s is None else (start_s or 0.0) + length_s)


def shards_of(folder: Path, given: list[BatchItem], size: int) -> list[list[BatchItem]]:
    plan = write_shards(iter(given), str(folder), shard_size=size)
    return [read_shard(str(folder), i) for i in range(plan.n_shards)]


# --- what a PLAN names ------------------------------------------------------------------------------


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def test_folders_are_those_of_predict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from emovox.cli.sources import describe_left_out, find_recordings

    touch(tmp_path, "a.wav", "b.txt", "deep/er/b.FLAC", "deep/c.mp3", "deep/notes.txt", ".hidden.wav")
    touch(tmp_path, "deep.wav/d.opus", ".trash/e.wav", "f")
    for plan in (
        tmp_path,
        tmp_path / "*.wav",
        tmp_path / "d*",
        tmp_path / "**" / "*.mp3",
        tmp_path / "deep/**",
    ):
        for recursive in (False, True):
            left_out: Counter[str] = Counter()
            found = [one.file for one in list_items(str(plan), recursive=recursive, left_out=left_out)]
            assert sorted(found) == sorted(
                one.name for one in find_recordings([str(plan)], recursive=recursive)
            )
            line = capsys.readouterr().err
            assert line == (f"emovox: {describe_left_out(left_out)}\n" if left_out else "")


def test_a_pattern_a_recording_and_a_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path, "calls/a.wav", "calls/b.wav", "calls/b.txt", "odd[1].wav")
    assert sorted(item.file for item in list_items("calls/*.wav")) == ["calls/a.wav", "calls/b.wav"]
    assert [*list_items("odd[1].wav")] == [BatchItem("odd[1].wav")], "a file of that very name is no pattern"
    Path("list.txt").write_bytes(b"\xef\xbb\xbfcalls/a.wav\r\n\n  gone.wav\ncalls/\xff.wav\n")
    assert [*list_items("list.txt")] == [
        BatchItem("calls/a.wav"),
        BatchItem("  gone.wav"),
        BatchItem("calls/\udcff.wav"),
    ]


def test_a_table_is_read_by_the_usual_names_or_by_the_column(tmp_path: Path) -> None:
    table = tmp_path / "calls.csv"
    table.write_text(
        "speaker;File Path;other;Start;end\na;x.wav;y.wav;;\nb;/z.wav;s3://b/k.wav;1.5;0 days 00:00:04\n"
    )
    assert [*list_items(str(table))] == [BatchItem(str(tmp_path / "x.wav")), BatchItem("/z.wav", 1.5, 4.0)]
    assert [item.file for item in list_items(str(table), column="other")] == [
        str(tmp_path / "y.wav"),
        "s3://b/k.wav",
    ]
    (tmp_path / "calls.csv.root").write_text("/elsewhere\n")
    assert next(iter(list_items(str(table)))).file == "/elsewhere/x.wav"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(
    "text",
    [
        "file,offset,duration\n/a.wav,1,1.5\n/a.wav,,\n",
        "file,start,dur\n/a.wav,1,1.5\n/a.wav,,\n",
        "sep=;\nfile; onset; offset\n/a.wav; 1; 2,5\n/a.wav;;\n",
    ],
)
def test_offset_and_duration(text: str, encoding: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    items = list(list_items(str(tmp_path / "t.csv")))
    assert items == [BatchItem("/a.wav", 1.0, 2.5), BatchItem("/a.wav")]


@pytest.mark.parametrize("before", ["# exported\n\n", "My calls, version 2\n", "sep=,\n# by me\n", "\n"])
def test_lines_before_the_header(before: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(f"{before}name,file,start,end\naudio,/a.wav,1,2\nx,/b.wav,9,8\n")
    *_, last = found = list(list_items(str(tmp_path / "t.csv")))
    assert found[0] == BatchItem("/a.wav", 1.0, 2.0)
    assert [item.file for item in found] == ["/a.wav", "/b.wav"]
    assert last.problem is not None
    (tmp_path / "t.csv").write_text(f"{before}a,b,n\n/a.wav,file,n\n")
    assert [item.file for item in list_items(str(tmp_path / "t.csv"), column="a")] == ["/a.wav"]


def test_names_as_other_systems_write_them(tmp_path: Path) -> None:
    touch(tmp_path, "Müller/Jürgen 1.wav")
    for name, text in {
        "t.csv": "file\r\nMüller/Jürgen 1.wav\r\nM\xfcller\\Jürgen 1.wav\r\nMüller/other.wav\r\n",
        "l.txt": f"{tmp_path}/Müller/Jürgen 1.wav\n{tmp_path}/Müller\\Jürgen 1.wav\n",
    }.items():
        (tmp_path / name).write_bytes(text.encode("cp1252"))
        first, second, *rest = list_items(str(tmp_path / name))
        assert first == second == BatchItem(str(tmp_path / "Müller/Jürgen 1.wav"))
        assert [item.file[-12:] for item in rest] == ["ller/other.wav"[-12:]] * len(rest)


def test_json_lines_and_parquet(tmp_path: Path) -> None:
    rows = [{"wav": "a.wav", "start": 1.0, "end": None}, {"wav": "b.wav", "start": None, "end": 2.5}]
    expected = [BatchItem(str(tmp_path / "a.wav"), 1.0), BatchItem(str(tmp_path / "b.wav"), 0.0, 2.5)]
    lines = tmp_path / "calls.jsonl"
    lines.write_text("\n".join(map(json.dumps, rows)) + "\n\n")
    assert [*list_items(str(lines))] == expected
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    for name, kind in (
        ("plain", arrow.string()),
        ("dictionary", arrow.dictionary(arrow.int8(), arrow.string())),
    ):
        table = arrow.Table.from_pylist(rows)
        at = table.schema.get_field_index("wav")
        parquet.write_table(
            table.set_column(at, "wav", table["wav"].cast(kind)), tmp_path / f"{name}.parquet"
        )
        assert [*list_items(str(tmp_path / f"{name}.parquet"))] == expected
    with pytest.raises(ManifestError, match="not text"):
        list(list_items(str(tmp_path / "plain.parquet"), column="start"))


def test_a_time_that_is_none_is_a_row_with_a_problem(tmp_path: Path) -> None:
    table = tmp_path / "calls.csv"
    table.write_text("path,start,end\n/a.wav,soon,\n/a.wav,3,2\n/a.wav,-1,\n/a.wav,0,\n")
    *wrong, right = list_items(str(table))
    assert [item.problem is not None for item in wrong] == [True] * 3
    assert "'soon'" in str(wrong[0].problem)
    assert right == BatchItem("/a.wav"), "a stretch of all of it is the recording"
    assert len({item.key for item in (*wrong, right)}) == 4


def test_one_stretch_has_one_form(tmp_path: Path) -> None:
    table = tmp_path / "calls.csv"
    table.write_text(
        "path,start,end\n/a.ogg,,3\n/a.ogg,0,3\n/a.ogg,-0.0,3\n/a.ogg,,\n/a.ogg,0,\n/a.ogg,-0,\n"
    )
    assert list(map(repr, list_items(str(table)))) == 3 * [repr(BatchItem("/a.ogg", 0.0, 3.0))] + 3 * [
        repr(BatchItem("/a.ogg"))
    ]


def test_rows_of_json_may_differ_in_what_they_say(tmp_path: Path) -> None:
    rows = [
        {"path": "/a.wav"},
        {"path": "/a.wav", "start": 1, "end": 2},
        {"end": 3, "start": 2, "file": "/b.wav"},
        {"path": "/c.wav"},
    ]
    lines = tmp_path / "calls.jsonl"
    lines.write_text("\n".join(map(json.dumps, rows)))
    expected = [
        BatchItem("/a.wav"),
        BatchItem("/a.wav", 1.0, 2.0),
        BatchItem("/b.wav", 2.0, 3.0),
        BatchItem("/c.wav"),
    ]
    assert [*list_items(str(lines))] == expected


@pytest.mark.parametrize(
    ("name", "content", "where"),
    [
        ("a.csv", "path,start\n/a.wav,1\n\n,2\n", "line 4: no recording is named"),
        ("a.tsv", "text\tpath\nsaid\n", "line 2: no recording is named"),
        ("a.jsonl", '{"path": "/a.wav"}\n{"text": "said"}\n', "line 2 has no column"),
        ("a.jsonl", '{"path": "/a.wav"}\n\n{"path": null}\n', "line 3: no recording is named"),
        ("a.jsonl", '{"path": "/a.wav"}\n{"path": ""}\n', "line 2: no recording is named"),
    ],
)
def test_a_row_that_names_no_recording_is_told(tmp_path: Path, name: str, content: str, where: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(ManifestError, match=where):
        list(list_items(str(tmp_path / name)))


def test_a_row_of_parquet_that_names_no_recording_is_told(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"path": ["/a.wav", None]})
    pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / "a.parquet")
    with pytest.raises(ManifestError, match="row 2: no recording is named"):
        list(list_items(str(tmp_path / "a.parquet")))


@pytest.mark.parametrize(
    "signed",
    [
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=ID{n}%2F2026&X-Amz-Date=2026112{n}T0Z&X-Amz-Expires=9{n}"
        "&X-Amz-SignedHeaders=host&X-Amz-Signature=77{n}",
        "X-Goog-Date=2026{n}&X-Goog-Expires={n}00&X-Goog-SignedHeaders=host&X-Goog-Signature=a{n}",
        "AWSAccessKeyId=A{n}&Expires=17{n}&Signature=x{n}",
        "Policy=ab{n}&Signature=x{n}&Key-Pair-Id=K{n}",
        "sv=2024-11-04&st=2026-11-2{n}T00%3A00Z&se=2026-11-2{n}T01%3A00Z&sr=b&sp=r&sig=x{n}",
    ],
)
def test_a_renewed_signature_is_of_the_same_recording(signed: str) -> None:
    item, renewed = (BatchItem(f"https://voices.test/a.wav?id=3&{signed.format(n=n)}") for n in (1, 2))
    assert item.key == renewed.key == public_name(item.file)
    assert (
        public_name(public_name(item.file))
        == public_name(item.file)
        != public_name(item.file.replace("id=3", "id=4"))
    )
    unsigned = "https://voices.test/a.wav?expires=1&st=1"
    assert public_name(unsigned) == unsigned, "there is no signature: what it says may be what it asks for"


def test_of_two_addresses_of_a_recording_one_is_planned(tmp_path: Path) -> None:
    base = "https://voices.test/a.wav?X-Amz-Signature="
    other, stretch = BatchItem("b.wav"), BatchItem(f"{base}1", 0.0, 3.0)
    items = [BatchItem(f"{base}2"), other, BatchItem(f"{base}1"), stretch]
    plan = write_shards(items, str(tmp_path), shard_size=10)
    assert (plan.n_items, plan.n_twice) == (3, 1)
    assert set(read_shard(str(tmp_path), 0)) == {BatchItem(f"{base}1"), other, stretch}
    renewed = [item._replace(file=item.file.replace("Signature=", "Signature=9")) for item in reversed(items)]
    assert hash_items(items) == (plan.sha256, plan.addresses)
    assert hash_items(renewed)[0] == plan.sha256
    assert hash_items(renewed)[1] != plan.addresses


def test_keys_have_no_secrets_and_no_two_recordings_one_key() -> None:
    base = "https://voices.test/a.wav?id=3&X-Amz-Signature="
    assert BatchItem(f"{base}SECRET").key == BatchItem(f"{base}OTHER").key == f"{base}***"
    one, other = (
        BatchItem(f"https://voices.test/get?key={name}.wav", 1.0).key for name in ("SECRETa", "SECRETb")
    )
    assert one != other
    assert "SECRET" not in one + other + BatchItem("sftp://me:SEC/SECRET@host/a.wav", problem="none").key
    assert BatchItem("/calls/a://me:b@c.wav").key == "/calls/a://me:b@c.wav", "a path is no URL"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", b"x,y\n1,2\n", "--column"),
        ("a.csv", b"", "no column"),
        ("a.csv", b'path\n"' + b"x" * 200_000, "cannot be read"),
        ("a.jsonl", b'{"path": "a.wav"}\n\n{', "line 3: invalid JSON .*column 2"),
        ("a.jsonl", b"[1]\n", "expected an object"),
        ("a.jsonl", b'{"path": 3}\n', "not text"),
        ("a.parquet", b"PAR1", "Parquet"),
        ("a.pdf", b"", "expected a folder"),
    ],
)
def test_what_is_no_plan_is_refused_in_words(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    if name.endswith("parquet"):
        pytest.importorskip("pyarrow")
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EmovoxError, match=message):
        list(list_items(str(tmp_path / name)))


def test_what_is_not_there_is_refused(tmp_path: Path) -> None:
    for plan in ("", str(tmp_path / "none"), str(tmp_path / "none.csv")):
        with pytest.raises(ConfigError, match="PLAN"):
            list_items(plan)
    touch(tmp_path, "a.txt")
    with pytest.raises(ConfigError, match="requires a table"):
        list_items(str(tmp_path / "a.txt"), column="path")


@given(st.binary(max_size=400), st.sampled_from([".csv", ".tsv", ".jsonl", ".txt", ".parquet"]))
def test_foreign_bytes_are_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, suffix: str
) -> None:
    file = tmp_path_factory.getbasetemp() / f"foreign{suffix}"
    file.write_bytes(data)
    try:
        found = list(list_items(str(file)))
    except EmovoxError:
        return
    for item in found:
        item.key.encode()  # is valid text, whatever the bytes were
        assert item.file


@given(st.lists(items(), max_size=20))
def test_a_table_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, given: list[BatchItem]
) -> None:
    file = tmp_path_factory.getbasetemp() / "own.csv"
    text = io.StringIO(newline="")
    table = csv.writer(text)
    table.writerow(["path", "start", "end"])
    for item in given:
        table.writerow([f"/{item.file}", "" if item.start_s is None else repr(item.start_s), item.end_s])
    file.write_text(text.getvalue(), encoding="utf-8", newline="")
    expected = [
        BatchItem(f"/{item.file}", item.start_s or (None if item.end_s is None else 0.0), item.end_s)
        for item in given
    ]
    assert list(list_items(str(file))) == expected


# --- shards -----------------------------------------------------------------------------------------


@given(st.lists(items(), min_size=1, max_size=40), st.integers(1, 7), st.randoms())
def test_shards_hold_every_item_once_in_any_order(
    tmp_path_factory: pytest.TempPathFactory, given: list[BatchItem], size: int, random: object
) -> None:
    folder = tmp_path_factory.mktemp("plan")
    shards = shards_of(folder, given, size)
    assert {item.key for shard in shards for item in shard} == {item.key for item in given}
    assert sum(map(len, shards)) == len({item.key for item in given})
    assert all(len(shard) == size for shard in shards[:-1])
    shuffled = list(given)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert shards_of(folder, shuffled, size) == shards
    assert hash_items(shuffled) == hash_items(given)
    assert not {*hash_items([*given, BatchItem("one more")])} & {*hash_items(given)}


def test_a_plan_says_what_was_listed_twice(tmp_path: Path) -> None:
    plan = write_shards(map(BatchItem, ["a", "b", "a", "c", "a"]), str(tmp_path), shard_size=2)
    assert (plan.n_items, plan.n_twice, plan.n_shards) == (3, 2, 2)
    assert [plan.n_in(i) for i in range(2)] == [2, 1]
    with pytest.raises(ConfigError, match="no recording"):
        write_shards([], str(tmp_path), shard_size=2)


@pytest.mark.parametrize("size", [0, -1, 2.5, True, "3"])
def test_the_size_of_a_shard_is_checked(tmp_path: Path, size: object) -> None:
    with pytest.raises(ConfigError, match="shard size"):
        write_shards([BatchItem("a")], str(tmp_path), shard_size=size)  # type: ignore[arg-type]


def test_names_that_are_no_text_come_back(tmp_path: Path) -> None:
    (shard,) = shards_of(tmp_path, [BatchItem("calls/\udcff.wav")], 5)
    assert shard == [BatchItem("calls/\udcff.wav")]
    assert shard[0].key == escape_name("calls/\udcff.wav") == "calls/\\udcff.wav"


def test_a_long_plan_takes_little_memory(tmp_path: Path) -> None:
    def many() -> Iterator[BatchItem]:
        for i in range(40_000):
            yield BatchItem(f"/calls/{i % 97}/{i}.wav")

    tracemalloc.start()
    try:
        plan = write_shards(many(), str(tmp_path), shard_size=1000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert plan.n_items == 40_000
    assert peak < 5e6  # held as a list, these are 8 MB
