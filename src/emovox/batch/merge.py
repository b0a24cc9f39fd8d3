"""All rows of a run in one file, sorted by recording: the same bytes, however many workers made them.

Parts are sorted inside, so they are merged as they are read. So many at a time as fit in memory; what comes
of these goes to temporary files, and those are merged again.
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

from emovox.batch import places
from emovox.batch.ledger import Ledger
from emovox.batch.parts import Row, attempts_of, opened_writer, part_file, read_part
from emovox.errors import BatchError, ConfigError

__all__ = ["MERGED", "Merged", "merge"]

MERGED: tuple[str, ...] = (".parquet", ".jsonl")
"""What the name of a merged file may end with."""

_FEW_COLUMNS = 100
_AT_ONCE, _AT_ONCE_WIDE = 128, 16


class Merged(NamedTuple):
    """What was written."""

    n_rows: int
    n_failed: int
    """Rows that are errors."""


def merge(folder: str, ledger: Ledger, output: str) -> Merged:
    """Write all rows of a complete run to ``output``, which appears whole.

    Raises:
        BatchError: the run is not complete, or a part lacks rows; nothing is written then.
        ConfigError: the file's name ends with none of ``MERGED``.
        PlaceError: a part cannot be read, or the file not written.
    """
    suffix = os.path.splitext(output)[1].lower()  # noqa: PTH122 - of URLs too
    if suffix not in MERGED:
        raise ConfigError(f"-o {output!r}: expected a name that ends with {' or '.join(MERGED)}")
    attempts = attempts_of(folder, ledger.form)
    lacking = ledger.plan.n_shards - len(attempts)
    if lacking:
        raise BatchError(
            f"{places.veiled(folder)}: {lacking} of {ledger.plan.n_shards} shards are not done; run the "
            "command again that began it, which goes on"
        )
    n_rows = n_failed = 0
    found: Counter[int] = Counter()
    with tempfile.TemporaryDirectory(prefix=".merge-", dir=_near(output)) as spool:
        shards = (
            _counted(_shard(folder, ledger.form, number, attempts[number]), number, found)
            for number in sorted(attempts)
        )
        with places.written(output) as stream:
            write, end = opened_writer(stream, ledger.fields, suffix[1:], note=ledger.note)
            for row in _merged(shards, Path(spool), _at_once(ledger)):
                del row["key"], row["n"]
                write(row)
                n_rows += 1
                n_failed += "error" in row
            end()
            _check_all(folder, ledger, found)
    return Merged(n_rows, n_failed)


def _counted(rows: Iterator[Row], number: int, found: Counter[int]) -> Iterator[Row]:
    """The rows of a shard, its recordings counted: each has one row that is its first."""
    for row in rows:
        found[number] += row["n"] == 0
        yield row


def _check_all(folder: str, ledger: Ledger, found: Counter[int]) -> None:
    """Refuse a merge in which a recording of the plan has no row, or one is there that is not of the plan."""
    plan = ledger.plan
    wrong = [number for number in range(plan.n_shards) if found[number] != plan.n_in(number)]
    if not wrong:
        return
    n_found, n_planned = (sum(map(of, wrong)) for of in (found.__getitem__, plan.n_in))
    some = ", ".join(f"{number:06d}" for number in wrong[:10])
    raise BatchError(
        f"{places.veiled(folder)}: {len(wrong)} shards hold rows of {n_found} recordings, the plan has "
        f"{n_planned} in them ({n_planned - n_found} are missing): {some}{', ...' * (len(wrong) > 10)}; "
        "remove the parts that begin with these numbers, and run the command again that began it"
    )


def _near(output: str) -> Path | None:
    """Where there is room for as much again; for a store, the place of temporary files."""
    if not places.is_local(output):
        return None
    folder = places.local_path(output).absolute().parent
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _at_once(ledger: Ledger) -> int:
    return _AT_ONCE if len(ledger.fields) <= _FEW_COLUMNS else _AT_ONCE_WIDE


def _order(row: Row) -> tuple[str, int]:
    return row["key"], row["n"]


def _shard(folder: str, form: str, number: int, attempts: Sequence[int]) -> Iterator[Row]:
    """The rows of a shard in order; those that a later attempt made stand for the earlier ones.

    Those of one recording are held at a time.
    """
    if len(attempts) == 1:
        yield from read_part(part_file(folder, number, attempts[0], form), form)
        return
    told = [
        zip(repeat(attempt), read_part(part_file(folder, number, attempt, form), form))
        for attempt in attempts
    ]
    merged = heapq.merge(*told, key=_key_of_try)  # of one key, earlier attempts come first
    for _, tries in groupby(merged, key=_key_of_try):
        held = list(tries)
        yield from (row for attempt, row in held if attempt == held[-1][0])


def _key_of_try(one: tuple[int, Row]) -> str:
    key: str = one[1]["key"]
    return key


# --- an external merge ------------------------------------------------------------------------------


def _merged(runs: Iterable[Iterator[Row]], spool: Path, at_once: int) -> Iterator[Row]:
    """The rows of sorted runs in order; ties in the order of the runs."""
    waiting, names = iter(runs), count()
    first = list(islice(waiting, at_once + 1))
    if len(first) <= at_once:
        yield from heapq.merge(*first, key=_order)
        return
    files = list(_spooled(chain(first, waiting), spool, at_once, names))
    while len(files) > at_once:
        files = list(_spooled(map(_spooled_rows, files), spool, at_once, names))
    yield from heapq.merge(*map(_spooled_rows, files), key=_order)


def _spooled(
    runs: Iterator[Iterator[Row]], spool: Path, at_once: int, names: Iterator[int]
) -> Iterator[Path]:
    """Merge so many runs at a time into files."""
    while some := list(islice(runs, at_once)):
        file = spool / f"{next(names)}.jsonl"
        with file.open("w", encoding="utf-8") as stream:
            for row in heapq.merge(*some, key=_order):
                stream.write(json.dumps(row))
                stream.write("\n")
        yield file


def _spooled_rows(file: Path) -> Iterator[Row]:
    with file.open(encoding="utf-8") as stream:
        for line in stream:
            yield json.loads(line)
    file.unlink()
