"""A run over many recordings: planned once, done shard by shard, gone on with after whatever stopped it.

::

    OUT/run.json                    the ledger: plan, model, settings; there when the plan is complete
    OUT/plan/000000.jsonl           the recordings of a shard
    OUT/parts/000000-1.parquet      its rows; -2 those of what failed and was tried again
    OUT/journal/000000-1.jsonl      what is in hand just now
    OUT/lock                        held while a run works here
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from emovox import places
from emovox.batch.engines import Engine, Shard, ShardDone
from emovox.batch.journal import STRIKES
from emovox.batch.ledger import Ledger, differences, read_ledger, write_ledger
from emovox.batch.listing import Item, listed
from emovox.batch.lock import locked
from emovox.batch.parts import FORMS, attempts_of, check_form, failures, part_file
from emovox.batch.plan import Digest, Plan, check_shard_size, settle, write_plan
from emovox.batch.tasks import Task
from emovox.batch.work import Work, is_full
from emovox.errors import BatchError, PlaceError, PlaceNotFoundError

__all__ = ["SHARD_SIZE", "Job", "Pace", "Status", "form_of", "run_job", "status"]

SHARD_SIZE = 500
"""Recordings in a shard, unless it is said."""

_PIECE = re.compile(r"(\d{6,})-(\d+)\.jsonl")
_OURS = re.compile(
    r"lock|(run\.json|lock)\.\d+\.part|plan/\d{6,}\.jsonl(\.\d+\.part)?|plan/\.spool-[^/]+/[0-9a-f]{2}"
    r"|(parts|journal)/\d{6,}-\d+\.(jsonl|parquet)(\.\d+\.part)?"
)
"""What a run leaves in its folder that was stopped while it planned, and what `_new` says more about."""


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be done, and where it goes."""

    plan: str
    output: str
    task: Task
    column: str | None = None
    form: str | None = None
    """Of the parts; what the run began with, or Parquet."""
    shard_size: int | None = None
    """What the run began with, or ``SHARD_SIZE``."""

    def items(self) -> Iterator[Item]:
        """What the plan names. Errors as `listed`."""
        return listed(self.plan, column=self.column)


@dataclass(frozen=True, slots=True)
class Status:
    """How far a run is."""

    ledger: Ledger
    n_done: int
    """Recordings in parts that are complete."""
    n_failed: int
    """Those of them whose row is an error, after all attempts."""
    n_shards_done: int

    @property
    def is_complete(self) -> bool:
        """Whether every recording has its row."""
        return self.n_shards_done == self.ledger.plan.n_shards


@dataclass(slots=True)
class Pace:
    """How far a run is, and how fast; changed while it goes on."""

    n_items: int = 0
    """Recordings of the plan."""
    n_twice: int = 0
    n_before: int = 0
    """Done in earlier runs."""
    n_todo: int = 0
    """To be done in this one; those that are tried again included."""
    n_done: int = 0
    n_failed: int = 0
    audio_s: float = 0.0
    n_lost: int = 0
    """Times that a worker was lost."""
    start_s: float = field(default_factory=time.monotonic)
    """When work began."""

    @property
    def elapsed_s(self) -> float:
        """Seconds of work."""
        return max(time.monotonic() - self.start_s, 1e-9)

    @property
    def items_per_s(self) -> float:
        """Recordings a second."""
        return self.n_done / self.elapsed_s

    @property
    def audio_h_per_h(self) -> float:
        """Hours of sound an hour."""
        return self.audio_s / self.elapsed_s

    @property
    def left_s(self) -> float | None:
        """Seconds to the end at this pace; ``None``: nobody knows yet."""
        return (self.n_todo - self.n_done) / self.items_per_s if self.n_done else None


def run_job(
    job: Job,
    engine: Engine,
    *,
    workers: int = 1,
    retry_failed: bool = False,
    watch: Callable[[Pace], None] = lambda _: None,
) -> Status:
    """Begin a run or go on with it, until every recording has its row.

    Args:
        retry_failed: also try again what failed in runs before this one.
        watch: is told how far it is, first when it is known what is to be done, then after each shard.

    Raises:
        BatchError: the folder belongs to another run, or one works in it; a disk is full; a worker is lost
            again and again. What was done is kept, and the same command goes on.
        EmovoxError: the plan cannot be read, the model not be loaded, a worker not be started.
    """
    _check_folder(job.output)
    with _full_disks_told(), locked(job.output) as check:
        ledger, pace = _begun(job), Pace()
        work = _work(job, ledger)
        before = attempts_of(job.output, ledger.form)
        again = list(_again(job.output, ledger, before)) if retry_failed else []
        pace.n_items, pace.n_twice = ledger.plan.n_items, ledger.plan.n_twice
        pace.n_before = sum(map(ledger.plan.n_in, before))
        pace.n_todo = pace.n_items - pace.n_before + sum(n for _, n in again)
        watch(pace)
        first = (Shard(number) for number in range(ledger.plan.n_shards) if number not in before)
        pace.start_s = time.monotonic()
        for shards in (first, [shard for shard, _ in again]):
            for done in _insisted(engine, work, shards, workers, pace, ledger.plan.shard_size):
                pace.n_done += done.n_items
                pace.n_failed += done.n_failed
                pace.audio_s += done.audio_s
                watch(pace)
                check()
        if before:
            return _status(job.output, ledger)
        return Status(ledger, ledger.plan.n_items, pace.n_failed, ledger.plan.n_shards)


@contextmanager
def _full_disks_told() -> Iterator[None]:
    """A disk may be full long before there are parts: a long plan takes room as well."""
    try:
        yield
    except (PlaceError, OSError) as error:
        if not is_full(error):
            raise
        raise BatchError(
            f"the disk is full: {error}; what was done is kept, and the same command goes on when there is "
            "room"
        ) from error


def status(output: str) -> Status:
    """How far the run in a folder is.

    Raises:
        BatchError: there is none.
        PlaceError: a part cannot be read.
    """
    ledger = read_ledger(output)
    if ledger is None:
        raise BatchError(
            f"{places.veiled(output)}: no run in this folder, or one whose plan is not complete yet"
        )
    return _status(output, ledger)


def _status(output: str, ledger: Ledger) -> Status:
    found = attempts_of(output, ledger.form)
    n_failed = sum(
        len(failures(part_file(output, number, tried[-1], ledger.form), ledger.form))
        for number, tried in found.items()
    )
    return Status(ledger, sum(map(ledger.plan.n_in, found)), n_failed, len(found))


def _work(job: Job, ledger: Ledger) -> Work:
    """What workers get. They may be in another folder than this process."""
    local = places.is_local(job.output)
    folder = str(places.local_path(job.output).absolute()) if local else job.output
    whole = json.dumps(asdict(ledger), sort_keys=True).encode()
    run = hashlib.sha256(whole).hexdigest()[:16]
    return Work(folder, job.task, ledger.form, ledger.root, secrets.token_hex(8), run, ledger.plan)


# --- beginning, or going on -------------------------------------------------------------------------


def _check_folder(output: str) -> None:
    """Refuse a folder that is used for something else, before anything is written to it.

    Raises:
        BatchError: it is a file, or holds other things than a run.
        PlaceError: it cannot be read.
    """
    if places.exists(output) and not places.is_folder(output):
        raise BatchError(f"{places.veiled(output)}: a file; expected the folder of a run, or a new one")
    if read_ledger(output) is not None:
        return
    try:
        found = next((name for name in _names(output) if not _OURS.fullmatch(name)), None)
    except PlaceNotFoundError:  # a new folder
        return
    if found is not None:
        raise BatchError(
            f"{places.veiled(output)}: there are other things in it ({places.veiled(found)}), and no run; "
            "choose a new or an empty folder"
        )


def _names(output: str) -> Iterator[str]:
    """Of all files below a folder."""
    for place in places.walk(output):
        if places.is_local(output):
            yield Path(place).relative_to(places.local_path(output)).as_posix()
        else:
            yield place.removeprefix(places.joined(output, ""))


def form_of(job: Job, begun: Ledger | None) -> str:
    """The form of a job's parts, given the run that its folder holds.

    Raises:
        ConfigError, MissingExtraError: as `check_form`.
    """
    form = job.form or (begun.form if begun else FORMS[0])
    check_form(form)
    return form


def _begun(job: Job) -> Ledger:
    """The ledger of this run, which is the one that the folder holds, if it holds one."""
    begun = read_ledger(job.output)
    form = form_of(job, begun)
    size = job.shard_size if job.shard_size is not None else begun.plan.shard_size if begun else SHARD_SIZE
    check_shard_size(size)
    if begun is None:
        return _new(job, form, size)
    _check_same(job, begun, form, size)
    _sweep(job.output, begun)
    return begun


def _sweep(output: str, ledger: Ledger) -> None:
    """Remove what workers left that were killed: half parts, and journals of shards that are done."""
    if not places.is_local(output):  # uploads that were cut off are the store's to remove
        return
    for half in places.local_path(places.joined(output, "parts")).glob("*.part"):
        half.unlink(missing_ok=True)
    for journal in places.local_path(places.joined(output, "journal")).glob("*.jsonl"):
        piece = _PIECE.fullmatch(journal.name)
        if piece and places.exists(part_file(output, int(piece[1]), int(piece[2]), ledger.form)):
            journal.unlink(missing_ok=True)


def _new(job: Job, form: str, size: int) -> Ledger:
    if attempts_of(job.output, form):
        raise BatchError(
            f"{places.veiled(job.output)}: there are parts, but no ledger says of which run; choose another "
            "folder"
        )
    seen = _Seen(job.items())
    plan = write_plan(seen, job.output, shard_size=size)
    _forget(job.output)
    settle(job.output, plan.n_shards)
    ledger = _ledger(job, plan, form, seen.root)
    write_ledger(job.output, ledger)
    return ledger


def _forget(output: str) -> None:
    """Remove journals of a run whose ledger is gone."""
    if places.is_local(output):
        for journal in places.local_path(places.joined(output, "journal")).glob("*.jsonl"):
            if _PIECE.fullmatch(journal.name):
                journal.unlink(missing_ok=True)


def _check_same(job: Job, begun: Ledger, form: str, size: int) -> None:
    seen = _Seen(job.items())
    plan = replace(begun.plan, sha256=Digest.of(seen), shard_size=size)
    wrong = _told_apart(begun, _ledger(job, plan, form, seen.root))
    if wrong:
        raise BatchError(
            f"{places.veiled(job.output)}: the run in this folder was begun otherwise, and rows of two runs "
            f"must not be mixed: {'; '.join(wrong)}. Choose another folder, or ask for the same"
        )


def _told_apart(begun: Ledger, asked: Ledger) -> list[str]:
    """In which ways two runs differ, a phrase each; another model is told first, and in few words."""
    wrong = list(differences(begun, asked))
    then, now = begun.task.get("model"), asked.task.get("model")
    if then and now and dict(then) != dict(now):
        told = [f"{one['name']} ({one['sha256'][:12]})" for one in (then, now)]
        others = (one for one in wrong if not one.startswith("model: "))
        wrong = [f"--model: {told[0]}, now {told[1]}", *others]
    return wrong


def _ledger(job: Job, plan: Plan, form: str, root: str) -> Ledger:
    return Ledger.new(
        task=job.task.record(),
        fields=job.task.fields,
        plan=plan,
        form=form,
        root=root,
        source=places.veiled(job.plan),
        column=job.column,
    )


class _Seen:
    """Items, and whether any name among them starts from the current folder."""

    def __init__(self, items: Iterable[Item]) -> None:
        self._items = items
        self.root = ""

    def __iter__(self) -> Iterator[Item]:
        for item in self._items:
            if not self.root and not places.is_url(item.file) and not os.path.isabs(item.file):  # noqa: PTH117
                self.root = str(Path.cwd())
            yield item


# --- working ----------------------------------------------------------------------------------------


def _again(output: str, ledger: Ledger, before: dict[int, list[int]]) -> Iterator[tuple[Shard, int]]:
    """The shards in which something failed, and how much."""
    for number, tried in sorted(before.items()):
        failed = failures(part_file(output, number, tried[-1], ledger.form), ledger.form)
        if failed:
            yield Shard(number, tried[-1] + 1), len(failed)


def _insisted(
    engine: Engine, work: Work, shards: Iterable[Shard], workers: int, pace: Pace, shard_size: int
) -> Iterator[ShardDone]:
    """Every shard's summary; one whose worker was lost is taken up again after the others.

    A recording that ends its process is passed over when it did so a second time, so a shard may be lost
    twice for each of its recordings, and a few times for other reasons.
    """
    losses: Counter[int] = Counter()
    while True:
        lost: list[Shard] = []
        for outcome in engine.run(work, shards, workers=workers):
            if outcome.value is None:
                pace.n_lost += 1
                number = outcome.item.number
                losses[number] += 1
                if losses[number] > STRIKES * shard_size + 3:
                    raise BatchError(
                        f"shard {number} was lost {losses[number]} times, at last: {outcome.error}; what was "
                        "done is kept, and the same command goes on"
                    )
                lost.append(outcome.item)
            elif outcome.value.problem is not None:
                raise BatchError(
                    f"{outcome.value.problem}; what was done is kept, and the same command goes on when "
                    "that is mended"
                )
            else:
                yield outcome.value
        if not lost:
            return
        shards = lost
