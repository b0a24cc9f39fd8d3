"""The folder of a run: started once, resumed with the same recordings, model and settings, used by one run.

::

    OUT/run.json                    the record of the run: plan, model, settings; written when the plan is
    complete OUT/plan/000000.jsonl           the recordings of a shard
    OUT/parts/000000-1.parquet      its rows; -2 those of recordings that failed and were tried again
    OUT/journal/000000-1.jsonl      what a worker is doing just now
    OUT/rows.parquet                all rows, merged
    OUT/lock                        held while a run uses a local folder
"""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import socket
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import IO, Any

import emovox
from emovox.batch import storage
from emovox.batch.inputs import BatchItem, list_items
from emovox.batch.outputs import FORMATS, Fields, check_format, list_attempts, part_file
from emovox.batch.shards import ShardPlan, check_shard_size, hash_items, sync_shards, write_shards
from emovox.batch.tasks import BatchTask
from emovox.errors import BatchError, PlaceError, PlaceNotFoundError

__all__ = [
    "RECORD_FILE",
    "SHARD_SIZE",
    "BatchJob",
    "RunRecord",
    "check_folder",
    "lock_folder",
    "read_record",
    "start_or_resume",
]

RECORD_FILE = "run.json"
SHARD_SIZE = 500
"""Default number of recordings in a shard."""

_SCHEMA = 1
_LIBRARIES = ("numpy", "onnxruntime", "soundfile", "soxr", "av")
_PIECE = re.compile(r"(\d{6,})-(\d+)\.jsonl")
# What a run leaves in its folder when it is killed while it plans.
_LEFTOVERS = re.compile(
    r"lock|(run\.json|lock)\.\d+\.part|plan/\d{6,}\.jsonl(\.\d+\.part)?|plan/\.spool-[^/]+/[0-9a-f]{2}"
    r"|(parts|journal)/\d{6,}-\d+\.(jsonl|parquet)(\.\d+\.part)?"
)


@dataclass(frozen=True, slots=True)
class BatchJob:
    """A request: what to do with which recordings, and the folder for the rows."""

    plan: str
    output: str
    task: BatchTask
    column: str | None = None
    form: str | None = None
    """Format of the parts; default: that of the run in the folder, or Parquet."""
    shard_size: int | None = None
    """Default: that of the run in the folder, or ``SHARD_SIZE``."""
    recursive: bool = False
    """Whether to enter the folders below a folder."""
    left_out: Counter[str] = field(default_factory=Counter, compare=False)
    """Files of folders left out by their suffix, and folders not entered (``"/"``); known when the
    recordings are listed."""

    def items(self) -> Iterator[BatchItem]:
        """List the recordings. Errors as `list_items`."""
        self.left_out.clear()
        return list_items(self.plan, column=self.column, recursive=self.recursive, left_out=self.left_out)


@dataclass(frozen=True, slots=True)
class RunRecord:
    """What all parts of a run have in common, stored as ``run.json``."""

    task: Mapping[str, Any]
    """All that rows depend on (``BatchTask.record``)."""
    fields: Fields
    plan: ShardPlan
    form: str
    root: str
    """Folder at which relative names in the plan start."""
    source: str
    """The plan as typed, without secrets."""
    column: str | None
    emovox: str
    versions: Mapping[str, str]
    created: str

    @classmethod
    def new(
        cls,
        *,
        task: Mapping[str, Any],
        fields: Fields,
        plan: ShardPlan,
        form: str,
        root: str,
        source: str,
        column: str | None,
    ) -> RunRecord:
        """Make the record of a run that starts now."""
        versions = {"python": platform.python_version()}
        for name in _LIBRARIES:
            with suppress(metadata.PackageNotFoundError):
                versions[name] = metadata.version(name)
        created = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(task, fields, plan, form, root, source, column, emovox.__version__, versions, created)

    @property
    def note(self) -> str:
        """A description of the rows as JSON; equal runs have equal notes."""
        return json.dumps({"emovox": self.emovox, **self.task}, sort_keys=True)

    def write(self, folder: str) -> None:
        """Write it to the folder of the run."""
        text = json.dumps({"schema": _SCHEMA, **asdict(self)}, indent=1)
        storage.write_bytes(storage.join(folder, RECORD_FILE), text.encode() + b"\n", durable=True)


def read_record(folder: str) -> RunRecord | None:
    """Read the record of the run in a folder; ``None`` if there is none.

    Raises:
        BatchError: it is damaged, or of a newer emovox.
        PlaceError: it cannot be read.
    """
    location = storage.join(folder, RECORD_FILE)
    try:
        document = json.loads(storage.read_bytes(location))
        schema = document.pop("schema")
        if schema != _SCHEMA:
            raise BatchError(
                f"{storage.redact(location)}: schema {schema!r}, this emovox reads {_SCHEMA}; update it"
            )
        record = RunRecord(**{**document, "plan": ShardPlan(**document["plan"])})
        if record.form not in FORMATS:
            raise ValueError(f"format {record.form!r}")
    except PlaceNotFoundError:
        return None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BatchError(
            f"{storage.redact(location)}: not the record of a run ({error}); choose another folder"
        ) from error
    return record


# --- starting or resuming -------------------------------------------------------------------------


def check_folder(output: str) -> None:
    """Refuse a folder that is used for something else, before anything is written to it.

    Raises:
        BatchError: it is a file, or contains other things than a run.
        PlaceError: it cannot be read.
    """
    if storage.exists(output) and not storage.is_folder(output):
        raise BatchError(f"{storage.redact(output)}: a file; expected the folder of a run, or a new one")
    if read_record(output) is not None:
        return
    base = f"{storage.local_path(output)}/" if storage.is_local(output) else storage.join(output, "")
    try:
        for location in storage.list_files(output):
            name = location.replace(os.sep, "/").removeprefix(base.replace(os.sep, "/"))
            if not _LEFTOVERS.fullmatch(name):
                raise BatchError(
                    f"{storage.redact(output)}: contains other files ({storage.redact(name)}) and no run; "
                    "choose a new or an empty folder"
                )
    except PlaceNotFoundError:  # a new folder
        return


def start_or_resume(job: BatchJob) -> RunRecord:
    """Return the record of the run: the one in the folder, or a new one whose shards are written.

    Raises:
        BatchError: the folder contains a different run.
        EmovoxError: the plan cannot be read or written.
    """
    known = read_record(job.output)
    form = job.form or (known.form if known else FORMATS[0])
    check_format(form)
    size = job.shard_size if job.shard_size is not None else known.plan.shard_size if known else SHARD_SIZE
    check_shard_size(size)
    if known is None:
        return _start(job, form, size)
    addresses = _check_same_run(job, known, form, size)
    _remove_leftovers(job.output, known)
    if addresses == known.plan.addresses:
        return known
    # The same recordings in the same shards, by renewed web addresses. Without addresses in the record, a run
    # that is killed here does this again.
    replace(known, plan=replace(known.plan, addresses="")).write(job.output)
    plan = write_shards(job.items(), job.output, shard_size=known.plan.shard_size)
    if plan.sha256 != known.plan.sha256:
        raise BatchError(f"{storage.redact(job.plan)}: changed while it was read; run the same command again")
    sync_shards(job.output, plan.n_shards)
    record = replace(known, plan=plan)
    record.write(job.output)
    return record


def _start(job: BatchJob, form: str, size: int) -> RunRecord:
    if list_attempts(job.output, form):
        raise BatchError(
            f"{storage.redact(job.output)}: there are parts, but no record of their run; choose another "
            "folder"
        )
    items = _RootTracker(job.items())
    plan = write_shards(items, job.output, shard_size=size)
    _remove_leftovers(job.output, None)
    sync_shards(job.output, plan.n_shards)
    record = _make_record(job, plan, form, items.root)
    record.write(job.output)
    return record


def _remove_leftovers(output: str, record: RunRecord | None) -> None:
    """Remove what killed workers left: partial parts, and journals of finished shards or of earlier runs."""
    if not storage.is_local(output):  # the store removes interrupted uploads
        return
    for partial in storage.local_path(storage.join(output, "parts")).glob("*.part") if record else ():
        partial.unlink(missing_ok=True)
    for journal in storage.local_path(storage.join(output, "journal")).glob("*.jsonl"):
        piece = _PIECE.fullmatch(journal.name)
        if piece and (
            record is None or storage.exists(part_file(output, int(piece[1]), int(piece[2]), record.form))
        ):
            journal.unlink(missing_ok=True)


class _RootTracker:
    """Iterates over items; ``root`` is the current folder if any name is relative to it."""

    def __init__(self, items: Iterable[BatchItem]) -> None:
        self._items = items
        self.root = ""

    def __iter__(self) -> Iterator[BatchItem]:
        for item in self._items:
            if not self.root and not storage.is_url(item.file) and not os.path.isabs(item.file):  # noqa: PTH117
                self.root = str(Path.cwd())
            yield item


def _make_record(job: BatchJob, plan: ShardPlan, form: str, root: str) -> RunRecord:
    return RunRecord.new(
        task=job.task.record(),
        fields=job.task.fields,
        plan=plan,
        form=form,
        root=root,
        source=storage.redact(job.plan),
        column=job.column,
    )


def _check_same_run(job: BatchJob, known: RunRecord, form: str, size: int) -> str:
    """Refuse to mix rows of two runs; return ``ShardPlan.addresses`` of the request."""
    items = _RootTracker(job.items())
    sha256, addresses = hash_items(items)
    asked = _make_record(job, replace(known.plan, sha256=sha256, shard_size=size), form, items.root)
    compared = {
        "the plan": ("other recordings", "these") if known.plan.sha256 != sha256 else ("", ""),
        "emovox": (known.emovox, asked.emovox),
        "--format": (known.form, asked.form),
        "--shard-size": (known.plan.shard_size, asked.plan.shard_size),
        "the current folder": (known.root, asked.root),
    }
    for name in sorted({*known.task, *asked.task}):
        then, now = (json.loads(json.dumps(one.task.get(name))) for one in (known, asked))
        compared[name] = (then, now)
    changes = [f"{name}: {then}, now {now}" for name, (then, now) in compared.items() if then != now]
    then, now = known.task.get("model"), asked.task.get("model")
    if then and now and dict(then) != dict(now):  # the most frequent reason comes first, and is short
        models = [f"{one['name']} ({one['sha256'][:12]})" for one in (then, now)]
        others = (one for one in changes if not one.startswith("model: "))
        changes = [f"--model: {models[0]}, now {models[1]}", *others]
    if changes:
        raise BatchError(
            f"{storage.redact(job.output)}: the run in this folder was started with other settings, and rows "
            f"of two runs must not be mixed: {'; '.join(changes)}. Choose another folder, or the "
            "same settings"
        )
    return addresses


# --- the lock -------------------------------------------------------------------------------------


@contextmanager
def lock_folder(folder: str) -> Iterator[None]:
    """Hold the lock of a local run folder; the system releases it when the process ends, in any way.

    In a store there is no lock: two runs of the same record may work there at once. They do some shards
    twice, with the same result, since a part appears complete and its bytes depend on nothing else.

    Raises:
        BatchError: another process holds it, or a file of that name is not a lock.
        PlaceError: it cannot be written, or the file system has no locks.
    """
    if not storage.is_local(folder):
        yield
        return
    file = storage.local_path(storage.join(folder, "lock"))
    existed = file.parent.exists()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        stream = file.open("a+", encoding="utf-8", errors="replace")
    except OSError as error:
        raise PlaceError(f"{str(file)!r} cannot be written: {error.strerror or error}") from error
    with stream:
        is_ours = _lock_stream(stream, file)
        stream.seek(0)
        text = stream.read(1000).strip("\0 \r\n")
        try:
            holder = json.loads(text) if text else {}
            who = f" (process {holder['pid']} on {holder['host']})" if text else ""
        except (ValueError, KeyError, TypeError):
            if is_ours:
                raise BatchError(
                    f"{str(file)!r}: this file is not the lock of a run; choose another folder"
                ) from None
            who = ""
        # A lock file removed meanwhile belonged to a run that just ended; the next command succeeds.
        if not is_ours or (os.name == "posix" and os.fstat(stream.fileno()).st_nlink == 0):
            raise BatchError(
                f"{file.parent}: another run uses this folder{who}; wait until it ends (emovox batch status "
                "shows its progress), or choose another folder"
            )
        stream.truncate(0)
        stream.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
        stream.flush()
        try:
            yield
        finally:
            if os.name != "posix":  # an open file cannot be removed there
                stream.close()
            with suppress(OSError):  # a run that was refused before it began leaves nothing behind
                if [one.name for one in file.parent.iterdir()] == [file.name]:
                    file.unlink()
                    if not existed:
                        file.parent.rmdir()


def _lock_stream(stream: IO[str], file: Path) -> bool:
    """Lock an open file; return whether it was free."""
    try:
        if sys.platform == "win32":
            import msvcrt

            stream.seek(1 << 20)  # a byte far behind the text: locked bytes cannot be read
            msvcrt.locking(stream.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if isinstance(error, BlockingIOError) or error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise PlaceError(
            f"{str(file)!r} cannot be locked: {error.strerror or error}; this file system has no locks, or "
            "they are switched off: choose a folder on another disk"
        ) from error
    return True
