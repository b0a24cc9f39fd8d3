"""What a worker does with a shard: judge its recordings, write its part, tell a summary."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing import parent_process
from pathlib import Path

from emovox.batch import places
from emovox.batch.engines.base import Shard, ShardDone
from emovox.batch.journal import STRIKES, Journal
from emovox.batch.listing import Item, shown
from emovox.batch.parts import Row, failures, part_file, write_part
from emovox.batch.plan import Plan, read_shard, shard_file
from emovox.batch.tasks import Judge, Task
from emovox.errors import BatchError, EmovoxError, PlaceError

__all__ = ["Work", "is_full"]


@dataclass(frozen=True, slots=True)
class Work:
    """A picklable factory for engines: called once in a worker, it loads the model."""

    folder: str
    """Of the run: a path or a URL that every worker can reach."""
    task: Task
    form: str
    root: str
    """What relative names start from."""
    session: str
    """Another one each time that the command runs."""
    run: str
    """Of which run this is: the same each time, and no other run's."""
    plan: Plan

    def __call__(self) -> Callable[[Shard], ShardDone]:
        return partial(_told, self, self.task.opened())


def _told(work: Work, judge: Judge, shard: Shard) -> ShardDone:
    """A shard whose part cannot be written is told as a problem: it would meet every other worker too."""
    try:
        return _done(work, judge, shard)
    except BatchError as error:
        return ShardDone(shard, 0, 0, 0, 0.0, str(error))
    except (PlaceError, OSError) as error:
        why = "the disk is full: " if is_full(error) else ""
        return ShardDone(shard, 0, 0, 0, 0.0, f"{why}{error}")


def is_full(error: PlaceError | OSError) -> bool:
    """Whether something could not be written for want of room."""
    if isinstance(error, PlaceError):
        return error.is_full
    return errno.errorcode.get(error.errno or 0) in ("ENOSPC", "EDQUOT")


def _done(work: Work, judge: Judge, shard: Shard) -> ShardDone:
    items = _items(work, shard)
    rows: list[Row] = []
    n_failed, total_s = 0, 0.0
    with Journal(_journal_file(work, shard), session=work.session, run=work.run) as journal:
        for item in items:
            _check_parent()
            found, audio_s = _judged(work, judge, journal, item)
            n_failed += any("error" in row for row in found)
            total_s += audio_s
            rows += [
                {"key": item.key, "n": n, **row, **({"attempts": shard.attempt} if "error" in row else {})}
                for n, row in enumerate(found)
            ]
        write_part(
            part_file(work.folder, shard.number, shard.attempt, work.form), rows, work.task.fields, work.form
        )
        journal.remove()
    return ShardDone(shard, len(items), n_failed, len(rows), total_s)


def _check_parent() -> None:
    """A process whose parent was killed has nobody to work for: another run may be at this shard already."""
    parent = parent_process()
    if parent is not None and not parent.is_alive():
        raise SystemExit(1)


def _items(work: Work, shard: Shard) -> list[Item]:
    """All of a shard; in a later attempt those that the one before left as failed.

    Raises:
        BatchError: there are fewer or more than there were.
        PlaceError: it cannot be read.
    """
    items, expected = read_shard(work.folder, shard.number), work.plan.n_in(shard.number)
    if len(items) != expected:
        raise BatchError(
            f"{places.veiled(shard_file(work.folder, shard.number))}: {len(items)} recordings, expected "
            f"{expected}; it was cut off, or changed: restore it, or begin the run anew in another folder"
        )
    if shard.attempt == 1:
        return items
    before = part_file(work.folder, shard.number, shard.attempt - 1, work.form)
    failed = failures(before, work.form)
    return [item for item in items if item.key in failed]


def _journal_file(work: Work, shard: Shard) -> Path:
    name = f"{shard.number:06d}-{shard.attempt}.jsonl"
    if places.is_local(work.folder):
        return places.local_path(places.joined(work.folder, "journal", name))
    place = hashlib.sha256(work.folder.encode()).hexdigest()[:16]  # each machine has its own, then
    return _own_folder(place) / name


def _own_folder(place: str) -> Path:
    """A folder among the temporary ones that nobody else can read or write.

    Raises:
        PlaceError: it is somebody else's.
    """
    user = 0 if sys.platform == "win32" else os.getuid()
    folder = Path(tempfile.gettempdir()) / f"emovox-journal-{user}-{place}"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if sys.platform != "win32":
        if folder.is_symlink() or folder.stat().st_uid != user:
            raise PlaceError(f"{folder}: another user's; remove it, or set TMPDIR to a folder of your own")
        folder.chmod(0o700)
    return folder


def _judged(work: Work, judge: Judge, journal: Journal, item: Item) -> tuple[list[Row], float]:
    key = item.key
    known = journal.done(key)
    if known is not None:
        return known
    if journal.is_deadly(key):
        return [_failed(item, f"it ended the process that judged it, {STRIKES} times; is it damaged?")], 0.0
    journal.begin(key)
    rows, audio_s = _tried(judge, item, work.root)
    journal.end(key, rows, audio_s)
    return rows, audio_s


def _tried(judge: Judge, item: Item, root: str) -> tuple[list[Row], float]:
    if item.problem is not None:
        return [_failed(item, item.problem)], 0.0
    place = item.file if places.is_url(item.file) else places.joined(root, item.file)
    try:
        return judge(item, place)
    except MemoryError:
        return [_failed(item, "there was not enough memory for it")], 0.0
    except (EmovoxError, OSError) as error:
        return [_failed(item, str(error), place)], 0.0
    except Exception as error:  # a fault of ours must not cost the other recordings
        told = f"internal error, please report it: {type(error).__name__}: {error}"
        return [_failed(item, told)], 0.0


def _failed(item: Item, error: str, place: str = "") -> Row:
    """The row names its file already, so the sentence need not begin with it."""
    for name in (place, item.file):
        for start in (f"{name}: ", f"{name!r}: "):
            error = error.removeprefix(start)
    stretch = {"start_s": item.start_s, "end_s": item.end_s}
    return {
        "file": shown(item.file),
        **{name: at for name, at in stretch.items() if at is not None},
        "error": places.veiled(error),
    }
