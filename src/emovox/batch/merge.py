"""Merge all rows of a run into one file, sorted by recording: the same bytes for any number of workers.

Parts are sorted, so they are merged as they are read: as many at a time as fit in memory, into temporary
files that are merged again.
"""

from __future__ import annotations

import heapq
import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, count, groupby, islice, repeat
from pathlib import Path
from typing import NamedTuple

from emovox.batch import storage
from emovox.batch.outputs import BatchRow, list_attempts, make_row_writer, part_file, read_part
from emovox.batch.run_folder import RunRecord
from emovox.errors import BatchError, ConfigError

__all__ = ["MERGE_SUFFIXES", "MergeResult", "merge_run", "merged_file"]

MERGE_SUFFIXES: tuple[str, ...] = (".parquet", ".jsonl")
"""Suffixes of merged files."""

_MAX_OPEN, _MAX_OPEN_WIDE = 128, 16
_WIDE_COLUMNS = 100


class MergeResult(NamedTuple):
    """Numbers of a merge."""

    n_rows: int
    n_failed: int
    """Rows that are errors."""


def merged_file(folder: str, record: RunRecord) -> str:
    """Return the default location of the merged rows, in the folder of the run."""
    return storage.join(folder, f"rows.{record.form}")


def merge_run(folder: str, record: RunRecord, output: str) -> MergeResult:
    """Write all rows of a complete run to ``output``, which appears complete.

    Raises:
        BatchError: the run is not complete, or rows are missing from a part; nothing is written then.
        ConfigError: the suffix of the file is none of ``MERGE_SUFFIXES``.
        PlaceError: a part cannot be read, or the file not written.
    """
    suffix = os.path.splitext(output)[1].lower()  # noqa: PTH122 - of URLs too
    if suffix not in MERGE_SUFFIXES:
        raise ConfigError(f"-o {output!r}: expected a name that ends with {' or '.join(MERGE_SUFFIXES)}")
    attempts, plan = list_attempts(folder, record.form), record.plan
    n_missing = plan.n_shards - len(attempts)
    if n_missing:
        raise BatchError(
            f"{storage.redact(folder)}: {n_missing} of {plan.n_shards} shards are not done; run the command "
            "that started it again to resume"
        )
    near: Path | None = None  # temporary files go where there is space for as much again
    if storage.is_local(output):
        near = storage.local_path(output).absolute().parent
        near.mkdir(parents=True, exist_ok=True)
    max_open = _MAX_OPEN if len(record.fields) <= _WIDE_COLUMNS else _MAX_OPEN_WIDE
    n_rows = n_failed = 0
    n_found: Counter[int] = Counter()
    with tempfile.TemporaryDirectory(prefix=".merge-", dir=near) as spool:
        shards = (
            _read_shard_rows(folder, record.form, number, attempts[number], n_found)
            for number in sorted(attempts)
        )
        with storage.open_write(output) as stream:
            writer = make_row_writer(stream, record.fields, suffix[1:], note=record.note)
            for row in _merge_sorted(shards, Path(spool), max_open):
                del row["key"], row["n"]
                writer.write(row)
                n_rows += 1
                n_failed += "error" in row
            writer.close()
            _check_counts(folder, record, n_found)
    return MergeResult(n_rows, n_failed)


def _check_counts(folder: str, record: RunRecord, n_found: Counter[int]) -> None:
    """Refuse a merge in which a recording of the plan has no row, or one is not of the plan."""
    plan = record.plan
    wrong = [number for number in range(plan.n_shards) if n_found[number] != plan.n_in(number)]
    if not wrong:
        return
    n_rows, n_planned = sum(n_found[number] for number in wrong), sum(map(plan.n_in, wrong))
    examples = ", ".join(f"{number:06d}" for number in wrong[:10])
    raise BatchError(
        f"{storage.redact(folder)}: {len(wrong)} shards have rows of {n_rows} recordings, the plan has "
        f"{n_planned} in them ({n_planned - n_rows} are missing): {examples}{', ...' * (len(wrong) > 10)}; "
        "remove the parts that begin with these numbers, and run the command that started it again"
    )


def _row_order(row: BatchRow) -> tuple[str, int]:
    return row["key"], row["n"]


def _key_of_attempt(pair: tuple[int, BatchRow]) -> str:
    key: str = pair[1]["key"]
    return key


def _read_shard_rows(
    folder: str, form: str, number: int, attempts: Sequence[int], n_found: Counter[int]
) -> Iterator[BatchRow]:
    """Yield the rows of a shard in order, later attempts replacing earlier ones; count recordings."""
    parts = [
        zip(repeat(attempt), read_part(part_file(folder, number, attempt, form), form))
        for attempt in attempts
    ]
    merged = heapq.merge(*parts, key=_key_of_attempt)  # of one key, earlier attempts come first
    for _, pairs in groupby(merged, key=_key_of_attempt):
        held = list(pairs)
        for attempt, row in held:
            if attempt == held[-1][0]:
                n_found[number] += row["n"] == 0  # each recording has one first row
                yield row


def _merge_sorted(runs: Iterable[Iterator[BatchRow]], spool: Path, max_open: int) -> Iterator[BatchRow]:
    """Merge sorted runs, at most ``max_open`` at a time; equal rows stay in the order of the runs."""
    waiting, names = iter(runs), count()
    first = list(islice(waiting, max_open + 1))
    if len(first) <= max_open:
        yield from heapq.merge(*first, key=_row_order)
        return
    files = list(_spool_merged(chain(first, waiting), spool, max_open, names))
    while len(files) > max_open:
        files = list(_spool_merged(map(_read_spooled, files), spool, max_open, names))
    yield from heapq.merge(*map(_read_spooled, files), key=_row_order)


def _spool_merged(
    runs: Iterator[Iterator[BatchRow]], spool: Path, max_open: int, names: Iterator[int]
) -> Iterator[Path]:
    while some := list(islice(runs, max_open)):
        file = spool / f"{next(names)}.jsonl"
        with file.open("w", encoding="utf-8") as stream:
            for row in heapq.merge(*some, key=_row_order):
                stream.write(f"{json.dumps(row)}\n")
        yield file


def _read_spooled(file: Path) -> Iterator[BatchRow]:
    with file.open(encoding="utf-8") as stream:
        yield from map(json.loads, stream)
    file.unlink()
