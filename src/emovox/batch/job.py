"""What is to be done with many recordings, and the folder of it: planned once, and gone on with as the same.

::

    OUT/run.json                    the ledger: plan, model, settings; there when the plan is complete
    OUT/plan/000000.jsonl           the recordings of a shard
    OUT/parts/000000-1.parquet      its rows; -2 those of what failed and was tried again
    OUT/journal/000000-1.jsonl      what is in hand just now
    OUT/lock                        held while a run works here
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from emovox.batch import places
from emovox.batch.ledger import Ledger, differences, read_ledger, write_ledger
from emovox.batch.listing import Item, listed
from emovox.batch.parts import FORMS, attempts_of, check_form, part_file
from emovox.batch.plan import Plan, check_shard_size, digests, settle, write_plan
from emovox.batch.tasks import Task
from emovox.errors import BatchError, PlaceNotFoundError

__all__ = ["SHARD_SIZE", "Job", "begun", "check_folder", "form_of"]

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


# --- beginning, or going on -------------------------------------------------------------------------


def check_folder(output: str) -> None:
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


def begun(job: Job) -> Ledger:
    """The ledger of this run, which is the one that the folder holds, if it holds one.

    Raises:
        BatchError: it holds another run.
        EmovoxError: the plan cannot be read or written.
    """
    known = read_ledger(job.output)
    form = form_of(job, known)
    size = job.shard_size if job.shard_size is not None else known.plan.shard_size if known else SHARD_SIZE
    check_shard_size(size)
    if known is None:
        return _new(job, form, size)
    addresses = _check_same(job, known, form, size)
    _sweep(job.output, known)
    return known if addresses == known.plan.addresses else _readdressed(job, known)


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


def _readdressed(job: Job, begun: Ledger) -> Ledger:
    """The plan anew: the same recordings in the same shards, by their renewed web addresses."""
    write_ledger(job.output, replace(begun, plan=replace(begun.plan, addresses="")))  # should it be cut off
    plan = write_plan(job.items(), job.output, shard_size=begun.plan.shard_size)
    if plan.sha256 != begun.plan.sha256:
        raise BatchError(f"{places.veiled(job.plan)}: changed while it was read; run the same command again")
    settle(job.output, plan.n_shards)
    ledger = replace(begun, plan=plan)
    write_ledger(job.output, ledger)
    return ledger


def _check_same(job: Job, begun: Ledger, form: str, size: int) -> str:
    """Refuse what is another run; ``Plan.addresses`` of what is asked for."""
    seen = _Seen(job.items())
    sha256, addresses = digests(seen)
    plan = replace(begun.plan, sha256=sha256, shard_size=size)
    wrong = _told_apart(begun, _ledger(job, plan, form, seen.root))
    if wrong:
        raise BatchError(
            f"{places.veiled(job.output)}: the run in this folder was begun otherwise, and rows of two runs "
            f"must not be mixed: {'; '.join(wrong)}. Choose another folder, or ask for the same"
        )
    return addresses


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
