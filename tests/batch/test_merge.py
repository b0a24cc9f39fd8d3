"""A merge has a row for every recording of the plan, or is refused; and it holds little at a time."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from emovox.batch.inputs import BatchItem
from emovox.batch.merge import MergeResult, merge_run
from emovox.batch.outputs import BatchRow, Fields, list_attempts, part_file, read_part, write_part
from emovox.batch.run_folder import RunRecord
from emovox.batch.shards import read_shard, write_shards
from emovox.errors import BatchError

FIELDS: Fields = {"file": "text", "taste": "text"}


def begun(folder: Path, names: list[str], *, form: str = "jsonl", fields: Fields = FIELDS) -> RunRecord:
    """A run of two recordings a shard, nothing of it done yet."""
    plan = write_shards(map(BatchItem, names), str(folder), shard_size=2)
    task: Mapping[str, Any] = {"task": "toy"}
    return RunRecord.new(task=task, fields=fields, plan=plan, form=form, root="", source="", column=None)


def row(item: BatchItem, error: str | None = None, *, n: int = 0, attempt: int = 1) -> BatchRow:
    said = {"taste": f"sweet {n}"} if error is None else {"error": error, "attempts": attempt}
    return {"key": item.key, "n": n, "file": item.file, **said}


def put(folder: Path, ledger: RunRecord, number: int, attempt: int, rows: list[BatchRow]) -> Path:
    place = part_file(str(folder), number, attempt, ledger.form)
    write_part(place, rows, ledger.fields, ledger.form)
    return Path(place)


def merged(folder: Path, ledger: RunRecord) -> list[BatchRow]:
    merge_run(str(folder), ledger, str(folder / "rows.jsonl"))
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def done(folder: Path, *names: str) -> tuple[RunRecord, list[list[BatchItem]]]:
    ledger = begun(folder, list(names))
    shards = [read_shard(str(folder), number) for number in range(ledger.plan.n_shards)]
    for number, items in enumerate(shards):
        put(folder, ledger, number, 1, [row(item, n=n) for item in items for n in (0, 1)])
    return ledger, shards


def test_a_later_attempt_without_the_first_counts_as_nothing(tmp_path: Path) -> None:
    ledger, shards = done(tmp_path, "a", "b", "c")
    for attempt in (2, 4):
        put(tmp_path, ledger, 0, attempt, [row(shards[0][0])])
    assert list_attempts(str(tmp_path), "jsonl") == {0: [1, 2], 1: [1]}
    Path(part_file(str(tmp_path), 0, 1, "jsonl")).unlink()
    assert list_attempts(str(tmp_path), "jsonl") == {1: [1]}, "the shard is to be done"
    with pytest.raises(BatchError, match="1 of 2 shards are not done"):
        merged(tmp_path, ledger)


def test_a_part_that_lacks_a_recording_is_not_merged(tmp_path: Path) -> None:
    ledger, shards = done(tmp_path, "a", "b", "c", "d", "e")
    (tmp_path / "rows.jsonl").write_text("before")
    put(tmp_path, ledger, 1, 1, [row(shards[1][0], n=n) for n in (0, 1)])
    with pytest.raises(BatchError, match=r"1 shards have .* \(1 are missing\): 000001; remove the parts"):
        merged(tmp_path, ledger)
    assert (tmp_path / "rows.jsonl").read_text() == "before"
    put(tmp_path, ledger, 1, 1, [row(item) for item in shards[1]])
    assert len({one["file"] for one in merged(tmp_path, ledger)}) == 5


def test_the_last_attempt_at_each_recording_stands(tmp_path: Path) -> None:
    ledger, shards = done(tmp_path, "a", "b")
    one, two = shards[0]
    put(tmp_path, ledger, 0, 1, [row(one, "no"), row(two, "no")])
    put(tmp_path, ledger, 0, 2, [row(one), row(one, n=1), row(two, "no", attempt=2)])
    put(tmp_path, ledger, 0, 3, [row(two, "still no", attempt=3)])
    expected = [row(one), row(one, n=1), row(two, "still no", attempt=3)]
    expected = [{k: v for k, v in some.items() if k not in ("key", "n")} for some in expected]
    assert merged(tmp_path, ledger) == sorted(expected, key=lambda some: some["file"])


def test_signatures_of_urls_are_in_no_part(tmp_path: Path) -> None:
    urls = ["https://voices.test/a.wav?X-Amz-Signature=SECRET", "https://me:SEC@RET@voices.test/b.wav"]
    done(tmp_path, *urls, "c.wav")
    parts = [file.read_text() for file in (tmp_path / "parts").iterdir()]
    assert len(parts) == 2
    assert not any("SEC" in part for part in parts)
    assert "https://voices.test/a.wav?X-Amz-Signature=***" in "".join(parts)


@pytest.mark.parametrize("attempts", [1, 3])
def test_wide_rows_and_many_attempts_take_little_memory(tmp_path: Path, attempts: int) -> None:
    pytest.importorskip("pyarrow")
    columns = [f"x{i}" for i in range(600)]
    fields = {"file": "text", **dict.fromkeys(columns, "float32")}
    plan = write_shards((BatchItem(f"{i:03d}") for i in range(300)), str(tmp_path), shard_size=300)
    ledger = RunRecord.new(task={}, fields=fields, plan=plan, form="parquet", root="", source="", column=None)
    items = read_shard(str(tmp_path), 0)
    for attempt in range(1, attempts + 1):
        cells = [{name: float(i) for i, name in enumerate(columns)} for _ in items]
        rows = [{**row(item), **some} for item, some in zip(items, cells, strict=True)]
        put(tmp_path, ledger, 0, attempt, rows)
    del cells, rows
    tracemalloc.start()
    try:
        n = sum(1 for _ in read_part(part_file(str(tmp_path), 0, 1, "parquet"), "parquet"))
        found = merge_run(str(tmp_path), ledger, str(tmp_path / "rows.jsonl"))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert n == 300
    assert found == MergeResult(300, 0)
    assert peak < 3.5e6 * attempts, peak  # 300 such rows at once are 8 MB
