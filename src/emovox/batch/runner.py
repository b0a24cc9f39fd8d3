"""Run a job over many recordings, shard by shard; resume it after any interruption."""

from __future__ import annotations

import hashlib
import json
import secrets
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace

from emovox.batch import storage
from emovox.batch.engines import Engine, Shard, ShardResult
from emovox.batch.outputs import list_attempts, part_file, read_failures
from emovox.batch.run_folder import (
    BatchJob,
    RunRecord,
    check_folder,
    lock_folder,
    read_record,
    start_or_resume,
)
from emovox.batch.worker import MAX_CRASHES, ShardWorkerFactory, is_disk_full
from emovox.errors import BatchError, PlaceError

__all__ = ["BatchProgress", "BatchStatus", "read_status", "run_job"]


@dataclass(frozen=True, slots=True)
class BatchStatus:
    """The state of a run."""

    record: RunRecord
    n_done: int
    """Recordings in complete parts."""
    n_failed: int
    """Those of them whose row is an error, after all attempts."""
    n_shards_done: int

    @property
    def is_complete(self) -> bool:
        """Whether every recording has its row."""
        return self.n_shards_done == self.record.plan.n_shards


@dataclass(slots=True)
class BatchProgress:
    """Progress and speed of a run; updated while it works."""

    n_items: int = 0
    """Recordings of the plan."""
    n_twice: int = 0
    """Duplicates in the plan."""
    n_before: int = 0
    """Done in earlier runs."""
    n_todo: int = 0
    """To be done in this run, including those tried again."""
    n_done: int = 0
    n_failed: int = 0
    audio_s: float = 0.0
    n_lost: int = 0
    """How often a worker was lost."""
    start_s: float = field(default_factory=time.monotonic)
    """When work began."""

    @property
    def elapsed_s(self) -> float:
        """Seconds of work."""
        return max(time.monotonic() - self.start_s, 1e-9)

    @property
    def items_per_s(self) -> float:
        """Recordings per second."""
        return self.n_done / self.elapsed_s

    @property
    def audio_h_per_h(self) -> float:
        """Hours of audio per hour."""
        return self.audio_s / self.elapsed_s

    @property
    def left_s(self) -> float | None:
        """Estimated seconds to the end; ``None`` while unknown."""
        return (self.n_todo - self.n_done) / self.items_per_s if self.n_done else None


def run_job(
    job: BatchJob,
    engine: Engine,
    *,
    workers: int = 1,
    retry_failed: bool = False,
    on_progress: Callable[[BatchProgress], None] = lambda _: None,
) -> BatchStatus:
    """Start or resume a run, until every recording has its row.

    Args:
        retry_failed: also try again what failed in earlier runs.
        on_progress: called when the amount of work is known, and after each shard.

    Raises:
        BatchError: the folder contains another run, or one is working there; the disk is full; a worker is
            lost repeatedly. Finished work is kept, and the same command resumes.
        EmovoxError: the plan cannot be read, the model not be loaded, a worker not be started.
    """
    check_folder(job.output)
    try:
        with lock_folder(job.output):
            return _run_locked(job, engine, workers, retry_failed, on_progress)
    except (PlaceError, OSError) as error:
        if not is_disk_full(error):
            raise
        raise BatchError(
            f"the disk is full: {error}; finished work is kept, and the same command resumes when there is "
            "space"
        ) from error


def _run_locked(
    job: BatchJob,
    engine: Engine,
    workers: int,
    retry_failed: bool,
    on_progress: Callable[[BatchProgress], None],
) -> BatchStatus:
    record, progress = start_or_resume(job), BatchProgress()
    plan = record.plan
    attempts = list_attempts(job.output, record.form)
    again: list[Shard] = []
    progress.n_items, progress.n_twice = plan.n_items, plan.n_twice
    progress.n_before = sum(map(plan.n_in, attempts))
    progress.n_todo = plan.n_items - progress.n_before
    for number, tried in sorted(attempts.items()) if retry_failed else ():
        failed = read_failures(part_file(job.output, number, tried[-1], record.form), record.form)
        if failed:
            again.append(Shard(number, tried[-1] + 1))
            progress.n_todo += len(failed)
    on_progress(progress)
    progress.start_s = time.monotonic()
    work = _make_work(job, record)
    first = (Shard(number) for number in range(plan.n_shards) if number not in attempts)
    for shards in (first, again):
        with closing(_run_shards(engine, work, shards, workers, progress)) as results:
            for result in results:
                progress.n_done += result.n_items
                progress.n_failed += result.n_failed
                progress.audio_s += result.audio_s
                on_progress(progress)
    if attempts:
        return _count_status(job.output, record)
    return BatchStatus(record, plan.n_items, progress.n_failed, plan.n_shards)


def _make_work(job: BatchJob, record: RunRecord) -> ShardWorkerFactory:
    """What workers receive; their current folder may differ from this process's."""
    folder = job.output
    if storage.is_local(folder):
        folder = str(storage.local_path(folder).absolute())
    unsigned = replace(record, plan=replace(record.plan, addresses=""))
    run = hashlib.sha256(json.dumps(asdict(unsigned), sort_keys=True).encode()).hexdigest()[:16]
    return ShardWorkerFactory(
        folder, job.task, record.form, record.root, secrets.token_hex(8), run, record.plan
    )


def _run_shards(
    engine: Engine,
    work: ShardWorkerFactory,
    shards: Iterable[Shard],
    workers: int,
    progress: BatchProgress,
) -> Generator[ShardResult]:
    """Yield the result of every shard; those whose worker was lost are repeated after the others.

    A recording that ended its process twice is skipped, so a shard may be lost twice for each of its
    recordings, and a few times for other reasons.
    """
    losses: Counter[int] = Counter()
    max_losses = MAX_CRASHES * work.plan.shard_size + 3
    while True:
        lost: list[Shard] = []
        # Closed here, not by the garbage collector: a traceback would keep the workers alive.
        with closing(engine.run(work, shards, workers=workers)) as outcomes:
            for outcome in outcomes:
                result, number = outcome.value, outcome.item.number
                if result is None:
                    progress.n_lost += 1
                    losses[number] += 1
                    if losses[number] > max_losses:
                        raise BatchError(
                            f"shard {number} was lost {losses[number]} times, the last time: "
                            f"{outcome.error}; finished work is kept, and the same command resumes"
                        )
                    lost.append(outcome.item)
                elif result.problem is not None:
                    raise BatchError(
                        f"{result.problem}; finished work is kept, and the same command resumes once that is "
                        "solved"
                    )
                else:
                    yield result
        if not lost:
            return
        shards = lost


def read_status(output: str) -> BatchStatus:
    """Return the state of the run in a folder.

    Raises:
        BatchError: there is no run.
        PlaceError: a part cannot be read.
    """
    record = read_record(output)
    if record is None:
        raise BatchError(f"{storage.redact(output)}: no run in this folder, or its plan is not complete yet")
    return _count_status(output, record)


def _count_status(output: str, record: RunRecord) -> BatchStatus:
    attempts = list_attempts(output, record.form)
    n_failed = sum(
        len(read_failures(part_file(output, number, tried[-1], record.form), record.form))
        for number, tried in attempts.items()
    )
    return BatchStatus(record, sum(map(record.plan.n_in, attempts)), n_failed, len(attempts))
