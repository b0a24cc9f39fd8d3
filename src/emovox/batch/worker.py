"""Process a shard in a worker: predict its recordings, keep a journal, write the part, report a summary."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import parent_process
from pathlib import Path
from types import TracebackType
from typing import Self

from emovox.batch import storage
from emovox.batch.engines import Shard, ShardResult
from emovox.batch.inputs import BatchItem, public_name
from emovox.batch.outputs import BatchRow, part_file, read_failures, write_part
from emovox.batch.shards import ShardPlan, read_shard, shard_file
from emovox.batch.tasks import BatchTask, ItemFunction
from emovox.errors import BatchError, EmovoxError, PlaceError

__all__ = ["MAX_CRASHES", "Journal", "ShardWorkerFactory", "is_disk_full"]

MAX_CRASHES = 2
"""A recording that ended its process so often is not tried again; a single crash may have other causes."""


@dataclass(frozen=True, slots=True)
class ShardWorkerFactory:
    """A picklable factory for engines: called once in each worker, it loads the model."""

    folder: str
    """Of the run: a path or a URL that every worker can reach."""
    task: BatchTask
    form: str
    root: str
    """Folder at which relative names start."""
    session: str
    """Different each time the command runs."""
    run: str
    """Identifies the run, however often it is resumed."""
    plan: ShardPlan

    def __call__(self) -> Callable[[Shard], ShardResult]:
        return _ShardWorker(self, self.task.load()).process


def is_disk_full(error: PlaceError | OSError) -> bool:
    """Return whether the error is a full disk or an exhausted quota."""
    if isinstance(error, PlaceError):
        return error.is_full
    return errno.errorcode.get(error.errno or 0) in ("ENOSPC", "EDQUOT")


class _ShardWorker:
    def __init__(self, work: ShardWorkerFactory, function: ItemFunction) -> None:
        self._work, self._function = work, function

    def process(self, shard: Shard) -> ShardResult:
        """Process a shard. A part that cannot be written is reported: other workers would fail likewise."""
        try:
            return self._process(shard)
        except BatchError as error:
            return ShardResult(shard, 0, 0, 0, 0.0, str(error))
        except (PlaceError, OSError) as error:
            reason = "the disk is full: " if is_disk_full(error) else ""
            return ShardResult(shard, 0, 0, 0, 0.0, f"{reason}{error}")

    def _process(self, shard: Shard) -> ShardResult:
        work = self._work
        items = self._read_items(shard)
        rows: list[BatchRow] = []
        n_failed, total_s = 0, 0.0
        with Journal(self._journal_file(shard), session=work.session, run=work.run) as journal:
            for item in items:
                parent = parent_process()
                if parent is not None and not parent.is_alive():
                    raise SystemExit(1)  # another run may be working on this shard already
                found, audio_s = self._process_item(journal, item)
                n_failed += any("error" in row for row in found)
                total_s += audio_s
                for n, row in enumerate(found):
                    attempts = {"attempts": shard.attempt} if "error" in row else {}
                    rows.append({"key": item.key, "n": n, **row, **attempts})
            location = part_file(work.folder, shard.number, shard.attempt, work.form)
            write_part(location, rows, work.task.fields, work.form)
            journal.remove()
        return ShardResult(shard, len(items), n_failed, len(rows), total_s)

    def _read_items(self, shard: Shard) -> list[BatchItem]:
        """Read the items of a shard; in a later attempt, those that failed in the one before.

        Raises:
            BatchError: their number has changed.
            PlaceError: they cannot be read.
        """
        work = self._work
        items, expected = read_shard(work.folder, shard.number), work.plan.n_in(shard.number)
        if len(items) != expected:
            raise BatchError(
                f"{storage.redact(shard_file(work.folder, shard.number))}: {len(items)} recordings, expected "
                f"{expected}; it was truncated or changed: restore it, or start the run anew in another "
                "folder"
            )
        if shard.attempt == 1:
            return items
        previous = part_file(work.folder, shard.number, shard.attempt - 1, work.form)
        failed = read_failures(previous, work.form)
        return [item for item in items if item.key in failed]

    def _journal_file(self, shard: Shard) -> Path:
        name, folder = f"{shard.number:06d}-{shard.attempt}.jsonl", self._work.folder
        if storage.is_local(folder):
            return storage.local_path(storage.join(folder, "journal", name))
        # For a run in a store, each machine keeps its own journal, which other users cannot read.
        user = 0 if sys.platform == "win32" else os.getuid()
        digest = hashlib.sha256(folder.encode()).hexdigest()[:16]
        private = Path(tempfile.gettempdir()) / f"emovox-journal-{user}-{digest}"
        private.mkdir(mode=0o700, parents=True, exist_ok=True)
        if sys.platform != "win32":
            if private.is_symlink() or private.stat().st_uid != user:
                raise PlaceError(
                    f"{private}: another user's; remove it, or set TMPDIR to a folder of your own"
                )
            private.chmod(0o700)
        return private / name

    def _process_item(self, journal: Journal, item: BatchItem) -> tuple[list[BatchRow], float]:
        key = item.key
        known = journal.result(key)
        if known is not None:
            return known
        if journal.n_crashes(key) >= MAX_CRASHES:
            message = f"it ended the process working on it, {MAX_CRASHES} times; is it damaged?"
            return [_make_error_row(item, message)], 0.0
        journal.begin(key)
        rows, audio_s = self._try_item(item)
        journal.end(key, rows, audio_s)
        return rows, audio_s

    def _try_item(self, item: BatchItem) -> tuple[list[BatchRow], float]:
        if item.problem is not None:
            return [_make_error_row(item, item.problem)], 0.0
        location = item.file if storage.is_url(item.file) else storage.join(self._work.root, item.file)
        try:
            return self._function(item, location)
        except MemoryError:
            message = "not enough memory"
        except (EmovoxError, OSError) as error:
            message = str(error)
        except Exception as error:  # an internal error must not cost the other recordings
            message = f"internal error, please report it: {type(error).__name__}: {error}"
        return [_make_error_row(item, message, location)], 0.0


def _make_error_row(item: BatchItem, message: str, location: str = "") -> BatchRow:
    for name in (location, item.file):  # the row has the name already
        for start in (f"{name}: ", f"{name!r}: "):
            message = message.removeprefix(start)
    span = {"start_s": item.start_s, "end_s": item.end_s}
    return {
        "file": public_name(item.file),
        **{name: at for name, at in span.items() if at is not None},
        "error": storage.redact(message),
    }


class Journal:
    """What a worker does with one shard, so that the next worker knows what a killed one was doing.

    It contains the rows so far: a shard that is interrupted resumes where it was. An incomplete last line,
    left by a killed process, is ignored. The first line names the run; a journal of another run is replaced.

    Args:
        file: created if missing.
        session: of the command that runs now. Recordings left unfinished in an earlier session may have been
            interrupted; in this one, they ended their process.
        run: identifies the run.

    Raises:
        OSError: it cannot be read or written, also while it is used.
    """

    def __init__(self, file: Path, *, session: str, run: str) -> None:
        self._file, self._session = file, session
        self._results: dict[str, tuple[list[BatchRow], float]] = {}
        self._n_crashes: Counter[str] = Counter()
        file.parent.mkdir(parents=True, exist_ok=True)
        header = json.dumps(["run", run]).encode()
        first, *lines = file.read_bytes().split(b"\n") if file.exists() else [b""]
        is_ours = first == header and bool(lines)
        for line in lines[:-1] if is_ours else ():
            self._read(line)
        self._stream = file.open("ab" if is_ours else "wb", buffering=0)
        if not is_ours:
            self._write(header)
        elif lines[-1]:
            self._write(b"")  # ends the incomplete line

    def _read(self, line: bytes) -> None:
        try:
            kind, key, *rest = json.loads(line)
        except (ValueError, TypeError):
            return
        if kind == "begun":
            self._n_crashes[key] += rest == [self._session]
        elif kind == "done":
            rows, audio_s = rest
            self._results[key] = rows, audio_s
            del self._n_crashes[key]

    def result(self, key: str) -> tuple[list[BatchRow], float] | None:
        """Return the rows of a finished recording and its duration in seconds."""
        return self._results.get(key)

    def n_crashes(self, key: str) -> int:
        """Return how many processes of this session died while working on a recording."""
        return self._n_crashes[key]

    def begin(self, key: str) -> None:
        """Note that a recording is about to be processed."""
        self._write(json.dumps(["begun", key, self._session]).encode())

    def end(self, key: str, rows: list[BatchRow], audio_s: float) -> None:
        """Note the result of a recording."""
        self._write(json.dumps(["done", key, rows, audio_s]).encode())

    def _write(self, line: bytes) -> None:
        left = memoryview(line + b"\n")
        while left:  # a nearly full disk accepts only a part
            left = left[os.write(self._stream.fileno(), left) :]

    def remove(self) -> None:
        """Close and remove it, once the part is written."""
        self._stream.close()  # Windows removes no open file
        with suppress(PermissionError):  # open elsewhere just now; the next command removes it
            self._file.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stream.close()
