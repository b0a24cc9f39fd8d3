"""A run over many recordings: gone on with after whatever stopped it, and never mixed with another."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from emovox._parallel import Outcome, attempt
from emovox.batch import storage
from emovox.batch.engines import LocalEngine, Shard, ShardResult
from emovox.batch.inputs import BatchItem
from emovox.batch.merge import merge_run
from emovox.batch.outputs import BatchRow, Fields, read_part, write_part
from emovox.batch.run_folder import BatchJob, lock_folder, read_record
from emovox.batch.runner import BatchProgress, read_status, run_job
from emovox.batch.shards import read_shard, write_shards
from emovox.batch.worker import MAX_CRASHES, Journal
from emovox.errors import AudioDecodeError, BatchError, ConfigError, PlaceError

# ------------------------------------------------------------------------------------------ a toy task


@dataclass(frozen=True)
class Toy:
    """Judges by the name of a recording alone; one named ``fickle`` works when the file ``cure`` is there."""

    folder: str
    taste: str = "sweet"
    fields: Fields = None  # type: ignore[assignment]

    def __post_init__(self) -> None:
        object.__setattr__(self, "fields", {"file": "text", "size": "int", "taste": "text"})

    def record(self) -> dict[str, Any]:
        return {"task": "toy", "taste": self.taste}

    def load(self) -> Callable[[BatchItem, str], tuple[list[BatchRow], float]]:
        return partial(toy, self)


def toy(task: Toy, item: BatchItem, place: str) -> tuple[list[BatchRow], float]:
    with (Path(task.folder) / "judged.txt").open("a") as stream:
        stream.write(f"{item.key}\n")
    if "segfault" in item.file:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "refused" in item.file or ("fickle" in item.file and not (Path(task.folder) / "cure").exists()):
        raise AudioDecodeError(f"{place}: no sound")
    if "bug" in item.file:
        raise ZeroDivisionError("a bug")
    if "slow" in item.file:
        time.sleep(0.05)
    n_rows = 2 if "stereo" in item.file else 1
    return [{"file": item.file, "size": len(item.file), "taste": task.taste} for _ in range(n_rows)], 2.0


class Here:
    """An engine in this process, for what has to be made to go wrong from outside."""

    name = "here"

    def run(
        self, factory: Callable[[], Callable[[Shard], ShardResult]], shards: Iterable[Shard], *, workers: int
    ) -> Iterator[Outcome[Shard, ShardResult]]:
        work = factory()
        for shard in shards:
            value, error = attempt(work, shard)
            yield Outcome(shard, value, error)


def job(tmp_path: Path, *names: str, **changes: Any) -> BatchJob:
    listed = tmp_path / "plan.txt"
    if names:
        listed.write_text("".join(f"/calls/{name}\n" for name in names))
    made = BatchJob(str(listed), str(tmp_path / "out"), Toy(str(tmp_path)), form="jsonl", shard_size=3)
    return replace(made, **changes)


def judged(tmp_path: Path) -> list[str]:
    file = tmp_path / "judged.txt"
    return [Path(line).name for line in file.read_text().split()] if file.exists() else []


def merged(tmp_path: Path, asked: BatchJob, suffix: str = "jsonl") -> bytes:
    file = tmp_path / f"merged.{suffix}"
    ledger = read_record(asked.output)
    assert ledger is not None
    merge_run(asked.output, ledger, str(file))
    return file.read_bytes()


def rows_of(data: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in data.splitlines()]


MANY = (*(f"{i}.wav" for i in range(17)), "stereo.wav", "refused.wav", "bug.wav")


# ------------------------------------------------------------------------------------------ rows and parts


def test_every_recording_has_a_row(tmp_path: Path) -> None:
    asked = job(tmp_path, *MANY, "0.wav")
    seen: list[tuple[int, int, int]] = []
    found = run_job(asked, Here(), on_progress=lambda p: seen.append((p.n_done, p.n_todo, p.n_twice)))
    assert (found.n_done, found.n_failed, found.is_complete) == (20, 2, True)
    assert seen[0] == (0, 20, 1)
    assert seen[-1] == (20, 20, 1)
    rows = rows_of(merged(tmp_path, asked))
    assert [row["file"] for row in rows] == sorted([f"/calls/{name}" for name in (*MANY, "stereo.wav")])
    errors = {Path(row["file"]).name: row for row in rows if "error" in row}
    assert errors == {
        "refused.wav": {"file": "/calls/refused.wav", "error": "no sound", "attempts": 1},
        "bug.wav": {
            "file": "/calls/bug.wav",
            "error": "internal error, please report it: ZeroDivisionError: a bug",
            "attempts": 1,
        },
    }
    assert rows[0] == {"file": "/calls/0.wav", "size": 12, "taste": "sweet"}
    assert not list((tmp_path / "out/journal").iterdir())


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_workers_do_not_change_rows(tmp_path: Path, form: str) -> None:
    pytest.importorskip("pyarrow")
    files = {
        kind: [
            merged(tmp_path, replace(asked, output=str(tmp_path / name)), kind)
            for name, engine, workers, size in (
                ("one", LocalEngine(), 1, 3),
                ("two", LocalEngine(), 2, 3),
                ("here", Here(), 1, 500),
            )
            for asked in [job(tmp_path, *MANY, form=form, shard_size=size, output=str(tmp_path / name))]
            if run_job(asked, engine, workers=workers).is_complete
        ]
        for kind in ("jsonl", "parquet")
    }
    for same in files.values():
        assert len(same) == 3
        assert len(set(same)) == 1
    assert len(rows_of(files["jsonl"][0])) == 21


def test_parquet_equals_jsonl(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    lines = job(tmp_path, *MANY)
    table = replace(lines, form="parquet", output=str(tmp_path / "table"))
    run_job(lines, Here())
    run_job(table, Here())
    assert merged(tmp_path, lines) == merged(tmp_path, table)
    assert merged(tmp_path, lines, "parquet") == merged(tmp_path, table, "parquet")
    read = parquet.read_table(tmp_path / "merged.parquet")
    assert read.column_names == ["file", "size", "taste", "error", "attempts"]
    assert json.loads(read.schema.metadata[b"emovox"])["taste"] == "sweet"
    assert read.num_rows == 21


def test_rows_of_every_kind_come_back_from_a_part(tmp_path: Path) -> None:
    fields = {"file": "text", "n_rows": "int", "x": "float32", "in": {"y": "float", "z": "texts"}}
    rows = [
        {"key": "b\\udcff", "n": 1, "file": "b", "n_rows": None, "x": 0.5, "in": {"y": 0.1, "z": []}},
        {"key": "b\\udcff", "n": 0, "file": "b", "n_rows": 3, "x": None, "in": {"y": None, "z": ["k", "ü"]}},
        {"key": "a", "n": 0, "file": "a", "error": "none", "attempts": 2},
    ]
    for form in ("jsonl", "parquet"):
        if form == "parquet":
            pytest.importorskip("pyarrow")
        place = str(tmp_path / f"part.{form}")
        write_part(place, rows, fields, form)
        assert list(read_part(place, form)) == sorted(rows, key=lambda row: (row["key"], row["n"]))
        data = Path(place).read_bytes()
        Path(place).write_bytes(data[: len(data) // 2])
        with pytest.raises(PlaceError, match="damaged"):
            list(read_part(place, form))


def test_merge_in_several_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = job(tmp_path, *MANY, shard_size=1)
    run_job(asked, Here())
    whole = merged(tmp_path, asked)
    monkeypatch.setattr("emovox.batch.merge._MAX_OPEN", 3)
    assert merged(tmp_path, asked) == whole
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_incomplete_run_is_not_merged(tmp_path: Path) -> None:
    asked = job(tmp_path, *MANY)
    run_job(asked, Here())
    ledger = read_record(asked.output)
    assert ledger is not None
    with pytest.raises(ConfigError, match="ends with"):
        merge_run(asked.output, ledger, "rows.csv")
    next((tmp_path / "out/parts").iterdir()).unlink()
    with pytest.raises(BatchError, match="1 of 7 shards are not done"):
        merged(tmp_path, asked)


# ------------------------------------------------------------------------------------------ going on


class Tripping(Here):
    """Gives up after some shards, as Ctrl-C would have it."""

    def __init__(self, after: int) -> None:
        self._after = after

    def run(self, factory: Any, shards: Iterable[Shard], *, workers: int) -> Iterator[Any]:
        for n, outcome in enumerate(super().run(factory, shards, workers=workers)):
            if n == self._after:
                raise KeyboardInterrupt
            yield outcome


def test_resume_skips_finished(tmp_path: Path) -> None:
    whole = job(tmp_path, *MANY, output=str(tmp_path / "whole"))
    run_job(whole, Here())
    (tmp_path / "judged.txt").unlink()
    asked = job(tmp_path)
    for after in (2, 1):
        with pytest.raises(KeyboardInterrupt):
            run_job(asked, Tripping(after))
    so_far = read_status(asked.output)
    assert not so_far.is_complete
    before = list(judged(tmp_path))
    found = run_job(asked, Here())
    assert (found.n_done, found.n_failed) == (20, 2)
    assert len(judged(tmp_path)) == len(before) + 20 - so_far.n_done
    assert merged(tmp_path, asked) == merged(tmp_path, whole)
    again = len(judged(tmp_path))
    assert run_job(asked, Here()) == found
    assert len(judged(tmp_path)) == again


def test_resume_with_renewed_signatures(tmp_path: Path) -> None:
    asked = job(tmp_path)
    listed = Path(asked.plan)

    def sign(signature: int) -> None:
        base = "https://voices.test/{}.wav?X-Amz-Date={}&X-Amz-Signature={}\n"
        listed.write_text("".join(base.format(i, signature, signature) for i in range(9)))

    sign(1)
    with pytest.raises(KeyboardInterrupt):
        run_job(asked, Tripping(1))
    first = {item.file for item in read_shard(asked.output, 2)}
    assert all("Signature=1" in file for file in first)
    sign(2)
    before = len((tmp_path / "judged.txt").read_text().split())
    n_done = read_status(asked.output).n_done
    assert run_job(asked, Here()).n_done == 9
    assert {item.file for item in read_shard(asked.output, 2)} == {
        file.replace("Date=1", "Date=2").replace("Signature=1", "Signature=2") for file in first
    }
    assert len((tmp_path / "judged.txt").read_text().split()) == before + 9 - n_done
    rows = merged(tmp_path, asked)
    whole = replace(asked, output=str(tmp_path / "whole"))
    run_job(whole, Here())
    assert merged(tmp_path, whole) == rows
    listed.write_text(listed.read_text().replace("8.wav", "9.wav"))
    with pytest.raises(BatchError, match="the plan: other recordings"):
        run_job(asked, Here())


def test_retry_failed(tmp_path: Path) -> None:
    asked = job(tmp_path, "a.wav", "fickle1.wav", "b.wav", "refused.wav", "c.wav", "fickle2.wav")
    assert run_job(asked, Here()).n_failed == 3
    (tmp_path / "judged.txt").unlink()
    (tmp_path / "cure").touch()
    assert run_job(asked, Here()).n_failed == 3
    assert judged(tmp_path) == []
    found = run_job(asked, Here(), retry_failed=True)
    assert (found.n_done, found.n_failed) == (6, 1)
    assert sorted(judged(tmp_path)) == ["fickle1.wav", "fickle2.wav", "refused.wav"]
    rows = rows_of(merged(tmp_path, asked))
    assert len(rows) == 6
    assert [row for row in rows if "error" in row or "attempts" in row] == [
        {"file": "/calls/refused.wav", "error": "no sound", "attempts": 2}
    ]
    assert run_job(asked, Here(), retry_failed=True).n_failed == 1
    assert rows_of(merged(tmp_path, asked))[-1]["attempts"] == 3
    untroubled = replace(asked, output=str(tmp_path / "other"))
    run_job(untroubled, Here())
    assert rows_of(merged(tmp_path, untroubled))[:5] == rows[:5], (
        "of what works nobody sees how often it was tried"
    )


def test_fatal_recording(tmp_path: Path) -> None:
    names = ("a.wav", "segfault1.wav", "b.wav", "segfault2.wav", "c.wav")
    asked = job(tmp_path, *names, shard_size=5)
    paces: list[BatchProgress] = []
    found = run_job(asked, LocalEngine(), workers=2, on_progress=paces.append)
    assert (found.n_done, found.n_failed) == (5, 2)
    assert paces[-1].n_lost == 4
    rows = rows_of(merged(tmp_path, asked))
    assert [Path(row["file"]).name for row in rows if "error" not in row] == ["a.wav", "b.wav", "c.wav"]
    assert all("ended the process" in row["error"] for row in rows if "error" in row)
    counts = [judged(tmp_path).count(name) for name in names]
    assert counts == [1, 2, 1, 2, 1], "the others' rows were in the journal"


def test_interrupted_recordings_are_retried(tmp_path: Path) -> None:
    file = tmp_path / "journal/0.jsonl"
    for session in "abcd":  # each run was stopped at it
        with Journal(file, session=session, run="r") as journal:
            assert journal.n_crashes("k") < MAX_CRASHES
            journal.begin("k")
    for expected in (False, True):
        with Journal(file, session="d", run="r") as journal:
            journal.begin("other")
            journal.end("other", [], 0.0)
            assert (journal.n_crashes("k") >= MAX_CRASHES) == expected
            journal.begin("k")


def test_incomplete_journal_line(tmp_path: Path) -> None:
    file = tmp_path / "0.jsonl"
    with Journal(file, session="a", run="r") as journal:
        journal.end("k", [{"file": "k"}], 1.0)
    file.write_bytes(file.read_bytes() + b'["done", "half", [{"fi')
    with Journal(file, session="b", run="r") as journal:
        assert journal.result("k") == ([{"file": "k"}], 1.0)
        assert journal.result("half") is None
        journal.end("next", [], 0.0)
    with Journal(file, session="c", run="r") as journal:
        assert journal.result("next") == ([], 0.0)


@pytest.mark.parametrize("where", ["watch", "problem"])
def test_no_worker_after_an_error(tmp_path: Path, where: str) -> None:
    asked = job(tmp_path, *(f"slow{i}.wav" for i in range(60)))

    def watch(pace: BatchProgress) -> None:
        if pace.n_done and where == "watch":
            raise KeyboardInterrupt
        if pace.n_done:  # the next part cannot be written
            for number in range(20):
                with suppress(FileExistsError):
                    (tmp_path / f"out/parts/{number:06d}-1.jsonl").mkdir()

    with pytest.raises(KeyboardInterrupt if where == "watch" else BatchError) as caught:
        run_job(asked, LocalEngine(), workers=2, on_progress=watch)
    assert multiprocessing.active_children() == []
    assert caught.tb is not None, "the traceback, which knows of the workers, is still there"


# ------------------------------------------------------------------------------------------ refusals


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda j: replace(j, task=replace(j.task, taste="sour")), "taste: sweet, now sour"),
        (lambda j: replace(j, form="parquet"), "--format: jsonl, now parquet"),
        (lambda j: replace(j, shard_size=4), "--shard-size: 3, now 4"),
        (lambda j: Path(j.plan).write_text("/calls/a.wav\n") and j, "the plan: other recordings"),
    ],
)
def test_runs_are_not_mixed(tmp_path: Path, change: Callable[[BatchJob], BatchJob], said: str) -> None:
    asked = job(tmp_path, "a.wav", "b.wav")
    run_job(asked, Here())
    with pytest.raises(BatchError, match="mixed") as caught:
        run_job(change(asked), Here())
    assert said in str(caught.value)


def test_other_version_does_not_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = job(tmp_path, "a.wav")
    run_job(asked, Here())
    monkeypatch.setattr("emovox.__version__", "99.0")
    with pytest.raises(BatchError, match=r"emovox: .*, now 99\.0"):
        run_job(asked, Here())


def test_resume_keeps_settings(tmp_path: Path) -> None:
    run_job(job(tmp_path, "a.wav", "b.wav"), Here())
    assert run_job(job(tmp_path, form=None, shard_size=None), Here()).record.plan.shard_size == 3


def test_relative_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "plan.txt").write_text("calls/a.wav\n")
    monkeypatch.chdir(tmp_path)
    asked = job(tmp_path)
    assert run_job(asked, Here()).record.root == str(tmp_path)
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    with pytest.raises(BatchError, match="the current folder"):
        run_job(asked, Here())


@pytest.mark.parametrize("ledger", [b"", b"[]", b'{"schema": 99}', b'{"schema": 1}'])
def test_damaged_record(tmp_path: Path, ledger: bytes) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/run.json").write_bytes(ledger)
    with pytest.raises(BatchError, match=r"run\.json"):
        run_job(job(tmp_path, "a.wav"), Here())


def test_parts_without_record(tmp_path: Path) -> None:
    asked = job(tmp_path, "a.wav")
    run_job(asked, Here())
    (tmp_path / "out/run.json").unlink()
    with pytest.raises(BatchError, match="no record"):
        run_job(asked, Here())
    with pytest.raises(BatchError, match="no run"):
        read_status(asked.output)


def test_lock(tmp_path: Path) -> None:
    code = "import sys, time; from emovox.batch.run_folder import lock_folder\n"
    code += "with lock_folder(sys.argv[1]): print(1, flush=True); time.sleep(60)"
    asked = job(tmp_path, "a.wav")
    holder = subprocess.Popen([sys.executable, "-c", code, asked.output], stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        holder.stdout.readline()
        with pytest.raises(BatchError, match=f"another run uses this folder .process {holder.pid} "):
            run_job(asked, Here())
        assert judged(tmp_path) == []
    finally:
        holder.kill()
        holder.communicate()
    assert run_job(asked, Here()).is_complete
    with (
        lock_folder(asked.output),
        pytest.raises(BatchError, match=f"process {os.getpid()}"),
        lock_folder(asked.output),
    ):
        pass


# ------------------------------------------------------------------------------------------ others' files


def everything(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("name", ["plan/a.wav", "plan/000000.jsonl.bak", "lock", "notes.txt", "parts/a.wav"])
def test_folder_with_other_files(tmp_path: Path, name: str) -> None:
    asked = job(tmp_path, "a.wav")
    file = tmp_path / "out" / name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"precious")
    with pytest.raises(BatchError, match="choose a"):
        run_job(asked, Here())
    assert everything(tmp_path / "out") == {name: b"precious"}


def test_leftovers_keep_other_files(tmp_path: Path) -> None:
    for name in ("000000.jsonl", "mine.wav", ".spool-x/0a", ".spool-y/mine.wav"):
        file = tmp_path / "plan" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"precious")
    write_shards([BatchItem("a")], str(tmp_path), shard_size=1)
    found = everything(tmp_path / "plan")
    assert found.pop("000000.jsonl") == b'["a"]\n'
    assert found == {"mine.wav": b"precious", ".spool-y/mine.wav": b"precious"}


def test_interrupted_planning(tmp_path: Path) -> None:
    asked = job(tmp_path, "a.wav", "b.wav")
    for name in ("plan/000009.jsonl", "plan/.spool-abc/0f", "plan/000001.jsonl.77.part", "lock"):
        file = tmp_path / "out" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert run_job(asked, Here()).is_complete
    assert [file.name for file in (tmp_path / "out/plan").iterdir()] == ["000000.jsonl"]


def test_output_is_a_file(tmp_path: Path) -> None:
    asked = job(tmp_path, "a.wav")
    run_job(asked, Here())
    with pytest.raises(BatchError, match="a file; expected the folder"):
        run_job(replace(asked, output=f"{asked.output}/run.json"), Here())


def test_refused_plan_leaves_nothing(tmp_path: Path) -> None:
    asked = job(tmp_path, "a.wav")
    Path(asked.plan).write_text("\n")
    with pytest.raises(ConfigError, match="no recording"):
        run_job(asked, Here())
    assert not (tmp_path / "out").exists()


# ------------------------------------------------------------------------------------------ another run's


def interrupted_journal(asked: BatchJob) -> Path:
    """Begin a run that is stopped while it has a shard in hand; its journal stays."""

    class Stopping(Toy):
        def load(self) -> Callable[[BatchItem, str], tuple[list[BatchRow], float]]:
            judge, seen = super().load(), list[BatchItem]()

            def stops(item: BatchItem, place: str) -> tuple[list[BatchRow], float]:
                seen.append(item)
                if len(seen) > 1:
                    raise KeyboardInterrupt
                return judge(item, place)

            return stops

    task = Stopping(asked.task.folder, asked.task.taste)  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        run_job(replace(asked, task=task), Here())
    (file,) = (file for file in Path(task.folder).rglob("000000-1.jsonl") if "journal" in str(file.parent))
    return file


@pytest.mark.parametrize("lies", ["here", "there"])
def test_journals_of_other_runs(tmp_path: Path, store: str, lies: str) -> None:
    asked = job(tmp_path, "a.wav", "b.wav")
    if lies == "there":
        asked = replace(asked, output=f"{store}/out")
    journal = interrupted_journal(asked)
    assert b"sweet" in journal.read_bytes()
    for name in ("run.json", "plan/000000.jsonl", "lock"):
        storage.remove(f"{asked.output}/{name}")
    sour = replace(asked, task=Toy(str(tmp_path), "sour"))
    run_job(sour, Here())
    assert {row["taste"] for row in rows_of(merged(tmp_path, sour))} == {"sour"}
    if lies == "there" and os.name == "posix":
        assert journal.parent.stat().st_mode & 0o777 == 0o700
        assert f"-{os.getuid()}-" in journal.parent.name


def test_journal_of_other_run(tmp_path: Path) -> None:
    file = tmp_path / "0.jsonl"
    with Journal(file, session="a", run="one") as journal:
        journal.end("k", [{"file": "k"}], 1.0)
    with Journal(file, session="a", run="two") as journal:
        assert journal.result("k") is None
    assert b"file" not in file.read_bytes()


@pytest.mark.parametrize("left", [b'["ru', b'["run", "r"]\n["beg', b'["run", "r"]', b"\0\0\0"])
def test_truncated_journal(tmp_path: Path, left: bytes) -> None:
    file = tmp_path / "0.jsonl"
    file.write_bytes(left)
    with Journal(file, session="a", run="r") as journal:
        journal.end("k", [], 2.0)
    with Journal(file, session="b", run="r") as journal:
        assert journal.result("k") == ([], 2.0)


def test_a_journal_is_closed_before_it_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, missing_ok: bool = False) -> None:
        assert journal._stream.closed
        raise PermissionError

    with Journal(tmp_path / "0.jsonl", session="a", run="r") as journal:
        monkeypatch.setattr(Path, "unlink", refused)
        journal.remove()


def test_a_foreign_file_among_journals_is_no_trouble(tmp_path: Path) -> None:
    asked = job(tmp_path, "a.wav")
    run_job(asked, Here())
    (tmp_path / "out/journal/notes.jsonl").write_text("mine")
    assert run_job(asked, Here()).is_complete
    assert (tmp_path / "out/journal/notes.jsonl").read_text() == "mine"


def test_another_model_is_named_first(tmp_path: Path) -> None:
    def of(name: str, sha256: str) -> BatchJob:
        class Modelled(Toy):
            def record(self) -> dict[str, Any]:
                return {"task": "toy", "labels": [name], "model": {"name": name, "sha256": sha256}}

        return job(tmp_path, "a.wav", task=Modelled(str(tmp_path)))

    run_job(of("vox 1.0", "a" * 64), Here())
    with pytest.raises(
        BatchError, match=r"mixed: --model: vox 1\.0 \(a{12}\), now vox 2\.0 \(b{12}\); labels"
    ) as said:
        run_job(of("vox 2.0", "b" * 64), Here())
    assert "sha256" not in str(said.value)


# ------------------------------------------------------------------------------------------ a power cut


@pytest.mark.parametrize("left", [b"", b'["/calls/a.wav"]\n', b'["/calls/a.wav"]\n["/ca'])
def test_truncated_shard(tmp_path: Path, left: bytes) -> None:
    asked = job(tmp_path, "a.wav", "b.wav", "c.wav", "d.wav")
    with pytest.raises(KeyboardInterrupt):
        run_job(asked, Tripping(0))
    for part in (tmp_path / "out/parts").iterdir():
        part.unlink()
    (tmp_path / "out/plan/000000.jsonl").write_bytes(left)
    with pytest.raises(
        BatchError, match=r"000000\.jsonl: (\d recordings, expected 3|damaged).*start the run anew"
    ):
        run_job(asked, Here())
    assert not read_status(asked.output).is_complete


@pytest.mark.skipif(not hasattr(os, "sync"), reason="each shard is waited for there")
def test_shards_are_on_the_disk_before_the_ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[bool, bool]] = []
    out = tmp_path / "out"
    monkeypatch.setattr(
        os, "sync", lambda: seen.append(((out / "plan/000000.jsonl").exists(), (out / "run.json").exists()))
    )
    run_job(job(tmp_path, "a.wav"), Here())
    assert seen == [(True, False)]


def test_workers_may_be_in_another_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Elsewhere(Here):
        def run(self, factory: Any, shards: Iterable[Shard], *, workers: int) -> Iterator[Any]:
            for shard in shards:
                monkeypatch.chdir("/")
                (outcome,) = super().run(factory, [shard], workers=workers)
                monkeypatch.chdir(tmp_path)
                yield outcome

    monkeypatch.chdir(tmp_path)
    assert run_job(job(tmp_path, *MANY, output="out"), Elsewhere()).n_done == 20
    assert len(list((tmp_path / "out/parts").iterdir())) == 7


# ------------------------------------------------------------------------------------------ locks


@pytest.mark.skipif(os.name != "posix", reason="asks for flock")
def test_a_file_system_without_locks_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", none)
    with pytest.raises(PlaceError, match="cannot be locked: No locks available; this file system has no"):
        run_job(job(tmp_path, "a.wav"), Here())


# ------------------------------------------------------------------------------------------ in a store


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    """A folder of a store in memory; journals are in a folder of the test's own."""
    pytest.importorskip("fsspec")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return f"memory://{uuid4().hex}"


def test_run_in_a_store(tmp_path: Path, store: str) -> None:
    storage.write_bytes(f"{store}/calls.csv", b"path\na.wav\nrefused.wav\n/b.wav\ns3://c/d.wav\na.wav\n")
    asked = job(tmp_path, plan=f"{store}/calls.csv", output=f"{store}/out", shard_size=2)
    with pytest.raises(KeyboardInterrupt):
        run_job(asked, Tripping(1))
    found = run_job(asked, Here())
    assert (found.n_done, found.n_failed, found.record.plan.n_twice) == (4, 1, 1)
    assert merge_run(asked.output, found.record, f"{store}/rows.jsonl") == (4, 1)
    rows = rows_of(storage.read_bytes(f"{store}/rows.jsonl"))
    assert [row["file"] for row in rows] == [
        "/b.wav",
        f"{store}/a.wav",
        f"{store}/refused.wav",
        "s3://c/d.wav",
    ]
    assert not list(tmp_path.glob("emovox-journal-*/*"))


def test_two_runs_in_a_store(tmp_path: Path, store: str) -> None:
    """A store has no lock: two runs at a time do some shards twice, with the same rows."""
    asked = job(tmp_path, *MANY, output=f"{store}/out")
    whole = job(tmp_path, output=str(tmp_path / "whole"))
    run_job(whole, Here())

    class Doubled(Here):
        def run(self, factory: Any, shards: Iterable[Shard], *, workers: int) -> Iterator[Any]:
            for number, outcome in enumerate(super().run(factory, shards, workers=workers)):
                if number == 1:
                    assert run_job(asked, Here()).is_complete
                yield outcome

    assert run_job(asked, Doubled()).is_complete
    assert merged(tmp_path, asked) == merged(tmp_path, whole)


# ------------------------------------------------------------------------------------------ a full disk


@pytest.mark.parametrize("where", ["part", "journal"])
def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    asked = job(tmp_path, *MANY)
    written = 0

    def full(*given: Any, **named: Any) -> Any:
        nonlocal written
        written += 1
        if written > 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(*given, **named)

    name = "emovox.batch.storage.atomic_path" if where == "part" else "emovox.batch.worker.Journal.end"
    real = (
        Journal.end
        if where == "journal"
        else __import__("emovox._files", fromlist=["atomic_path"]).atomic_path
    )
    run_job(replace(asked, output=str(tmp_path / "whole")), Here())
    with monkeypatch.context() as patch:
        with pytest.raises(KeyboardInterrupt):
            run_job(asked, Tripping(1))
        patch.setattr(name, full)
        with pytest.raises(BatchError, match=r"the disk is full.*the same command resumes"):
            run_job(asked, Here())
    assert all(path.name.endswith(".jsonl") for path in (tmp_path / "out/parts").iterdir())
    assert run_job(asked, Here()).is_complete
    assert merged(tmp_path, asked) == merged(tmp_path, replace(asked, output=str(tmp_path / "whole")))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 4 MiB, where one may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)]
    with suppress(OSError):
        if subprocess.run(mount, capture_output=True).returncode == 0:
            yield folder
            subprocess.run(["umount", str(folder)], check=True)
            return
    pytest.skip("no disk can be mounted here")


def filled(folder: Path, *, leave: int) -> Path:
    """Write a file that takes all room but ``leave`` bytes."""
    ballast = folder / "ballast"
    with ballast.open("wb", buffering=0) as stream, suppress(OSError):
        while stream.write(bytes(4096)):
            pass
    os.truncate(ballast, ballast.stat().st_size - leave)
    return ballast


def test_real_full_disk(tmp_path: Path, small_disk: Path) -> None:
    names = [f"{i:04}-{'x' * 80}.wav" for i in range(600)]
    asked = job(tmp_path, *names, output=str(small_disk / "out"), shard_size=50)
    ballast = filled(small_disk, leave=100_000)
    with pytest.raises(BatchError, match="the disk is full"):  # there is not even room for the plan
        run_job(asked, LocalEngine(), workers=2)
    ballast.unlink()
    with pytest.raises(KeyboardInterrupt):
        run_job(asked, Tripping(1))
    ballast = filled(small_disk, leave=60_000)
    with pytest.raises(BatchError, match="the disk is full"):
        run_job(asked, LocalEngine(), workers=2)
    done = read_status(asked.output)
    assert 0 < done.n_shards_done < 12
    assert sum(len(list(read_part(str(part), "jsonl"))) for part in (small_disk / "out/parts").iterdir()) == (
        done.n_done
    ), "no part is there by half"
    ballast.unlink()
    assert run_job(asked, LocalEngine(), workers=2).is_complete
    assert len(rows_of(merged(tmp_path, asked))) == 600


# ------------------------------------------------------------------------------------------ kill -9

DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, {tests!r})
from test_runner import LocalEngine, job, run_job
if __name__ == "__main__":
    run_job(job(Path({folder!r})), LocalEngine(), workers=2)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="asks /proc for children")
@pytest.mark.slow
@pytest.mark.parametrize("victim", ["worker", "driver"])
def test_kill_9(tmp_path: Path, victim: str) -> None:
    names = [f"slow{i}.wav" for i in range(60)]
    whole = job(tmp_path, *names, output=str(tmp_path / "whole"))
    run_job(whole, Here())
    script = tmp_path / "driver.py"
    script.write_text(DRIVER.format(tests=str(Path(__file__).parent), folder=str(tmp_path)))
    process = subprocess.Popen([sys.executable, script])
    parts = tmp_path / "out/parts"
    while not (parts.exists() and list(parts.glob("*.jsonl"))):
        assert process.poll() is None
        time.sleep(0.01)
    os.kill(process.pid if victim == "driver" else child_of(process.pid), signal.SIGKILL)
    code = process.wait(timeout=120)
    assert code == (-signal.SIGKILL if victim == "driver" else 0)
    n_done = read_status(str(tmp_path / "out")).n_done
    assert 0 < n_done < 60 if victim == "driver" else n_done == 60
    assert run_job(job(tmp_path), Here()).n_failed == 0
    assert merged(tmp_path, job(tmp_path)) == merged(tmp_path, whole)


def child_of(pid: int) -> int:
    children = map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())
    return next(one for one in children if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes())
