"""What would a run take? Its plan is read, and a few of its recordings are judged; nothing is kept."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from emovox._parallel import map_unordered
from emovox.batch import places
from emovox.batch.job import SHARD_SIZE, Job
from emovox.batch.listing import Item
from emovox.batch.plan import Plan, read_shard, write_plan
from emovox.batch.tasks import Judge, Task
from emovox.errors import EmovoxError

__all__ = ["Estimate", "estimate"]

_SOME = 100
_PATIENCE_S = 8.0


@dataclass(frozen=True, slots=True)
class Estimate:
    """How much is to be done, and at which pace one worker does it."""

    plan: Plan
    n_tried: int
    """Recordings that were judged to measure it; 0: the speed was stated, or nothing could be measured."""
    n_failed: int
    """Those of them that failed."""
    items_per_s: float | None
    """Recordings a second, of one worker."""
    audio_h_per_h: float | None
    """Hours of sound an hour, of one worker."""
    problem: str | None = None
    """Of the first one, where every recording that was tried failed: then no speed is known."""

    def takes_s(self, workers: int) -> float | None:
        """Seconds for so many workers, each with a core of its own."""
        return None if not self.items_per_s else self.plan.n_items / (self.items_per_s * workers)


def estimate(job: Job, *, speed: float | None = None) -> Estimate:
    """Read the plan of ``job``, and judge a few of its recordings in a process of its own.

    Args:
        speed: recordings a second of one worker, if that is known; then none is judged.

    Raises:
        EmovoxError: the plan cannot be read, or names nothing.
    """
    with tempfile.TemporaryDirectory(prefix="emovox-plan-") as folder:
        plan = write_plan(job.items(), folder, shard_size=job.shard_size or SHARD_SIZE)
        if speed is not None:
            return Estimate(plan, 0, 0, speed, None)
        some = read_shard(folder, 0)[:_SOME]  # by the hash: as good as drawn by chance
    return _measured(plan, job.task, some)


def _measured(plan: Plan, task: Task, some: list[Item]) -> Estimate:
    """The first recording starts the clock: until it is judged a process starts and loads the model."""
    n = n_failed = 0
    audio_s, problem = 0.0, None
    with closing(map_unordered(partial(_tried, task), some[:1] + some, workers=1)) as outcomes:
        next(outcomes)
        start_s = now_s = time.monotonic()
        for outcome in outcomes:
            n, now_s = n + 1, time.monotonic()
            n_failed += outcome.value is None
            problem = problem or outcome.error
            audio_s += outcome.value or 0.0
            if now_s - start_s > _PATIENCE_S:
                break
    if n_failed == n:
        return Estimate(plan, n, n_failed, None, None, problem)
    took_s = max(now_s - start_s, 1e-9)
    return Estimate(plan, n, n_failed, n / took_s, audio_s / took_s)


def _tried(task: Task) -> Callable[[Item], float]:
    return partial(_audio_s, task.opened(), str(Path.cwd()))


def _audio_s(judge: Judge, root: str, item: Item) -> float:
    if item.problem is not None:
        raise EmovoxError(item.problem)
    return judge(item, item.file if places.is_url(item.file) else places.joined(root, item.file))[1]
