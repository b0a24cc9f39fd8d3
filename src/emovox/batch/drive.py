"""A run over many recordings: done shard by shard, gone on with after whatever stopped it."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field, replace

from emovox._parallel import Outcome
from emovox.batch import places
from emovox.batch.engines import Engine, Shard, ShardDone
from emovox.batch.job import Job, begun, check_folder
from emovox.batch.journal import STRIKES
from emovox.batch.ledger import Ledger, read_ledger
from emovox.batch.lock import locked
from emovox.batch.parts import attempts_of, failures, part_file
from emovox.batch.work import Work, is_full
from emovox.errors import BatchError, PlaceError

__all__ = ["Pace", "Status", "run_job", "status"]


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
    check_folder(job.output)
    with _full_disks_told(), locked(job.output) as check:
        ledger, pace = begun(job), Pace()
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
            with closing(_insisted(engine, work, shards, workers, pace, ledger.plan.shard_size)) as told:
                for done in told:
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
    unsigned = replace(ledger, plan=replace(ledger.plan, addresses=""))
    whole = json.dumps(asdict(unsigned), sort_keys=True).encode()
    run = hashlib.sha256(whole).hexdigest()[:16]
    return Work(folder, job.task, ledger.form, ledger.root, secrets.token_hex(8), run, ledger.plan)


# --- working ----------------------------------------------------------------------------------------


def _again(output: str, ledger: Ledger, before: dict[int, list[int]]) -> Iterator[tuple[Shard, int]]:
    """The shards in which something failed, and how much."""
    for number, tried in sorted(before.items()):
        failed = failures(part_file(output, number, tried[-1], ledger.form), ledger.form)
        if failed:
            yield Shard(number, tried[-1] + 1), len(failed)


def _insisted(
    engine: Engine, work: Work, shards: Iterable[Shard], workers: int, pace: Pace, shard_size: int
) -> Generator[ShardDone]:
    """Every shard's summary; one whose worker was lost is taken up again after the others.

    A recording that ends its process is passed over when it did so a second time, so a shard may be lost
    twice for each of its recordings, and a few times for other reasons.
    """
    losses: Counter[int] = Counter()
    while True:
        lost: list[Shard] = []
        # Closed, not left to the collector: a traceback would keep workers at it that nobody waits for.
        with closing(engine.run(work, shards, workers=workers)) as outcomes:
            for outcome in outcomes:
                if outcome.value is None:
                    _count_loss(outcome, losses, pace, STRIKES * shard_size + 3)
                    lost.append(outcome.item)
                elif outcome.value.problem is None:
                    yield outcome.value
                else:
                    raise BatchError(
                        f"{outcome.value.problem}; what was done is kept, and the same command goes on when "
                        "that is mended"
                    )
        if not lost:
            return
        shards = lost


def _count_loss(outcome: Outcome[Shard, ShardDone], losses: Counter[int], pace: Pace, most: int) -> None:
    number = outcome.item.number
    pace.n_lost += 1
    losses[number] += 1
    if losses[number] > most:
        raise BatchError(
            f"shard {number} was lost {losses[number]} times, at last: {outcome.error}; what was done is "
            "kept, and the same command goes on"
        )
