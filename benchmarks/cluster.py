"""A thousand workers that are slow, or lost, at times: how long would a big run take, and in which shards?

    EMOVOX_CORPORA=... python benchmarks/cluster.py [--workers 1000] [--hours 100000] [--seeds 5]
    python benchmarks/cluster.py --times times.json      # measured before, with --keep times.json

First real clips are judged one after the other, as a worker does it (the model loaded once, one thread), and
each is timed; then a cluster is simulated, event by event, whose shards take what so many clips drawn from
these times take. One driver hands out shards, a millisecond each (Ray, measured, see ``--hand-ms``). A share
of the workers is slow. A worker is lost at a constant rate; its shard goes to the end of the queue, and a new
worker is there after a while. What a lost worker had done of its shard is lost with it where the run's folder
is in a store; on a shared disk the journal keeps it (``--journal``). ``copies`` is what Hadoop calls
speculative execution, which `emovox batch` does not do: when the queue is empty, whoever is free does the
oldest shard in hand once more.

*Ideal* is all work shared out among workers of their speeds that are never lost and never idle.
"""

from __future__ import annotations

import argparse
import heapq
import json
import os
import sys
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from measure import EXAMPLES, finish, one_core, table

from emovox._arrays import Doubles

__all__ = ["Cluster", "Outcome", "drawn", "main", "measured", "simulated"]

SIZES = (100, 500, 2000, 10_000, 50_000)
LOST_EVERY_H = (None, 24.0, 6.0, 1.0)
POOL = 1000
"""Different shards of one size; each is drawn from the measured times."""
WITHIN = 1.15
"""Of the ideal time, at the default shard size, on a cluster that is slow and lost at times."""
SHARD_SIZE = 500


# --- a cluster ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is simulated; seconds."""

    n_workers: int
    hand_s: float = 0.001
    """Of the one driver, for each shard that it hands out."""
    start_s: float = 0.0
    """Until a worker is ready, at first."""
    again_s: float = 60.0
    """Until another one is ready in the place of one that was lost."""
    lost_per_s: float = 0.0
    """How often a worker is lost."""
    slow_share: float = 0.0
    slow_factor: float = 1.0
    """A slow worker takes so many times as long."""
    journal: bool = False
    """What was done of a shard is kept when its worker is lost."""
    copies: bool = False
    """At the end, those who are free do once more what others have in hand."""


@dataclass(slots=True)
class Outcome:
    """What became of a run; seconds of workers but for ``makespan_s``."""

    makespan_s: float = 0.0
    ideal_s: float = 0.0
    worked_s: float = 0.0
    """In shards, whatever came of it."""
    lost_s: float = 0.0
    """Of that, in shards whose worker was lost."""
    doubled_s: float = 0.0
    """Of that, in shards that somebody else finished first."""
    n_lost: int = 0
    n_done: int = 0


@dataclass(slots=True)
class _Shard:
    work_s: float
    """What is left to do, at full speed."""
    is_done: bool = False
    n_hands: int = 0


@dataclass(slots=True)
class _Run:
    """One run, event by event."""

    cluster: Cluster
    shards: deque[_Shard]
    speed: Doubles
    chance: np.random.Generator
    out: Outcome = field(default_factory=Outcome)
    events: list[tuple[float, int, str, int]] = field(default_factory=list)
    """(when, number, ``ready`` | ``done`` | ``lost``, worker), a heap."""
    hands: dict[int, tuple[_Shard, float, float]] = field(default_factory=dict)
    """Worker -> its shard, since when, and what was left to do then."""
    idle: list[int] = field(default_factory=list)
    driver_s: float = 0.0
    """When the driver is free."""
    n_events: int = 0
    n_open: int = 0

    def go(self) -> Outcome:
        """Until the last shard is done."""
        self.n_open = len(self.shards)
        for worker in range(self.cluster.n_workers):
            self._at(self.cluster.start_s, "ready", worker)
        while self.n_open:
            now_s, _, what, worker = heapq.heappop(self.events)
            if what == "ready":
                self._next(now_s, worker)
            elif what == "done":
                self._done(now_s, worker)
            else:
                self._lost(now_s, worker)
        return self.out

    def _at(self, when_s: float, what: str, worker: int) -> None:
        heapq.heappush(self.events, (when_s, self.n_events, what, worker))
        self.n_events += 1

    def _next(self, now_s: float, worker: int) -> None:
        shard = self.shards.popleft() if self.shards else self._oldest() if self.cluster.copies else None
        if shard is None:
            self.idle.append(worker)
            return
        self.driver_s = begin_s = max(now_s, self.driver_s) + self.cluster.hand_s
        shard.n_hands += 1
        self.hands[worker] = shard, begin_s, shard.work_s
        takes_s = shard.work_s / self.speed[worker]
        # A constant rate has no memory: the next loss may be drawn anew for each shard.
        rate = self.cluster.lost_per_s
        fails_s = self.chance.exponential(1 / rate) if rate else np.inf
        self._at(begin_s + min(takes_s, fails_s), "done" if takes_s <= fails_s else "lost", worker)

    def _oldest(self) -> _Shard | None:
        alone = [
            (begin_s, worker) for worker, (shard, begin_s, _) in self.hands.items() if shard.n_hands == 1
        ]
        return self.hands[min(alone)[1]][0] if alone else None

    def _done(self, now_s: float, worker: int) -> None:
        shard, begin_s, _ = self.hands.pop(worker)
        self.out.worked_s += now_s - begin_s
        shard.n_hands -= 1
        if shard.is_done:
            self.out.doubled_s += now_s - begin_s
        else:
            shard.is_done = True
            self.n_open -= 1
            self.out.n_done += 1
            self.out.makespan_s = now_s
        self._next(now_s, worker)

    def _lost(self, now_s: float, worker: int) -> None:
        shard, begin_s, work_s = self.hands.pop(worker)
        self.out.worked_s += now_s - begin_s
        self.out.n_lost += 1
        shard.n_hands -= 1
        if self.cluster.journal:
            # Two workers on one shard do the same work: what both did must not be subtracted twice.
            shard.work_s = min(shard.work_s, work_s - (now_s - begin_s) * self.speed[worker])
        else:
            self.out.lost_s += now_s - begin_s
        self._at(now_s + self.cluster.again_s, "ready", worker)
        if not shard.is_done and not shard.n_hands:
            self.shards.append(shard)
            if self.idle:
                self._next(now_s, self.idle.pop())


def simulated(shards_s: Sequence[float] | Doubles, cluster: Cluster, *, seed: int = 0) -> Outcome:
    """What becomes of a run whose shards take ``shards_s`` seconds each at full speed."""
    chance = np.random.default_rng(seed)
    speed = np.ones(cluster.n_workers)
    slow = chance.permutation(cluster.n_workers)[: round(cluster.slow_share * cluster.n_workers)]
    speed[slow] = 1 / cluster.slow_factor
    run = _Run(cluster, deque(map(_Shard, map(float, shards_s))), speed, chance)
    run.out.ideal_s = float(np.sum(shards_s)) / float(speed.sum())
    return run.go()


def drawn(times_s: Doubles, n_clips: int, size: int, *, seed: int = 0) -> Doubles:
    """Seconds of each shard of ``size`` clips, drawn from measured times; the last one is what is left."""
    chance = np.random.default_rng(seed)
    pool = np.array([chance.choice(times_s, size).sum() for _ in range(POOL)])
    whole = chance.choice(pool, n_clips // size)
    rest = n_clips % size
    return np.append(whole, chance.choice(times_s, rest).sum()) if rest else whole


# --- clips ----------------------------------------------------------------------------------------


def measured(folder: Path, n_clips: int) -> dict[str, Any]:
    """Judge clips below ``folder``, as a worker does; seconds of each, of its sound, and of the model."""
    import emovox
    from emovox.cli.sources import expand

    names = [source.name for source in expand([str(folder)], recursive=True)]
    some = [names[i] for i in np.random.default_rng(0).permutation(len(names))[:n_clips]]
    started = time.perf_counter()
    model = emovox.load(threads=1)
    load_s = time.perf_counter() - started
    times_s, sound_s = list[float](), list[float]()
    with one_core():
        model.predict(some[0])
        for name in some:
            started = time.perf_counter()
            told = model.predict(name)
            times_s.append(time.perf_counter() - started)
            sound_s.append(told.duration_s)
    return {"model": model.name, "load_s": load_s, "times_s": times_s, "sound_s": sound_s}


# --- the tables -----------------------------------------------------------------------------------


def main() -> int:
    """Measure or read, simulate, print, and return 0 when the target is met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--corpora", type=Path, default=os.environ.get("EMOVOX_CORPORA"), metavar="DIR")
    parser.add_argument("--clips", type=int, default=500, help="that are measured")
    parser.add_argument("--times", type=Path, help="measured before: what --keep wrote")
    parser.add_argument("--keep", type=Path, help="where to write what was measured")
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--hours", type=float, default=100_000, help="of sound")
    parser.add_argument("--hand-ms", type=float, default=1.1, help="of the driver, a shard")
    parser.add_argument("--again-s", type=float, default=60.0, help="until a lost worker is replaced")
    parser.add_argument("--slow", type=float, default=0.05, help="share of slow workers")
    parser.add_argument("--slower", type=float, default=3.0, help="times as long as others")
    parser.add_argument("--seeds", type=int, default=3)
    options = parser.parse_args()
    about = json.loads(options.times.read_text()) if options.times else _measured(options)
    times_s = np.array(about["times_s"])
    clip_s = float(np.mean(about["sound_s"]))
    n_clips = round(options.hours * 3600 / clip_s)
    print(
        f"{about['model']}: {len(times_s)} clips of {clip_s:.2f} s, {1000 * times_s.mean():.2f} ms each "
        f"(sd {1000 * times_s.std():.2f}, longest {1000 * times_s.max():.2f}), model loaded in "
        f"{about['load_s']:.2f} s\n{options.hours:,.0f} hours are {n_clips:,} clips, "
        f"{n_clips * times_s.mean() / 3600:,.0f} core-hours\n"
    )
    base = Cluster(
        options.workers,
        hand_s=options.hand_ms / 1000,
        start_s=about["load_s"],
        again_s=options.again_s,
        slow_share=options.slow,
        slow_factor=options.slower,
        lost_per_s=1 / (6 * 3600),
    )
    rows, figures = _tables(_Bench(times_s, n_clips, options.seeds), base)
    table(_HEADS, rows)
    over = figures["shard size 500"]["over_ideal"]
    return finish(
        "cluster",
        {"n_workers": options.workers, "n_clips": n_clips, "clip_ms": 1000 * times_s.mean(), "runs": figures},
        {f"within {WITHIN:g} of the ideal time at {SHARD_SIZE} clips a shard": over <= WITHIN},
    )


def _measured(options: argparse.Namespace) -> dict[str, Any]:
    found = measured(Path(options.corpora or EXAMPLES), options.clips)
    if options.keep:
        options.keep.write_text(json.dumps(found))
    return found


_HEADS = ("", "min", "ideal min", "times ideal", "lost %", "doubled %", "workers lost")


@dataclass(frozen=True, slots=True)
class _Bench:
    times_s: Doubles
    n_clips: int
    n_seeds: int

    def row(self, size: int, cluster: Cluster) -> list[float]:
        """The mean over seeds, in the columns of the table."""
        found = [
            simulated(drawn(self.times_s, self.n_clips, size, seed=seed), cluster, seed=seed)
            for seed in range(self.n_seeds)
        ]
        return [
            _mean(found, lambda one: one.makespan_s / 60),
            _mean(found, lambda one: one.ideal_s / 60),
            _mean(found, lambda one: one.makespan_s / one.ideal_s),
            _mean(found, lambda one: 100 * one.lost_s / one.worked_s),
            _mean(found, lambda one: 100 * one.doubled_s / one.worked_s),
            _mean(found, lambda one: one.n_lost),
        ]


def _mean(found: Sequence[Outcome], what: Callable[[Outcome], float]) -> float:
    return float(np.mean([what(one) for one in found]))


def _tables(bench: _Bench, base: Cluster) -> tuple[list[list[Any]], dict[str, dict[str, float]]]:
    """Every case: its row, and its figures by name."""
    cases: list[tuple[str, int, Cluster]] = [
        (f"shard size {size}", size, base) for size in SIZES if bench.n_clips // size >= base.n_workers
    ]
    for hours in LOST_EVERY_H:
        rate = 0.0 if hours is None else 1 / (3600 * hours)
        name = "never lost" if hours is None else f"lost every {hours:g} h"
        for size in (SHARD_SIZE, 10_000):
            cases.append((f"{name}, size {size}", size, replace(base, lost_per_s=rate)))
    cases += [
        ("size 10000, journal kept", 10_000, replace(base, journal=True)),
        ("size 10000, copies at the end", 10_000, replace(base, copies=True)),
        ("size 500, copies at the end", SHARD_SIZE, replace(base, copies=True)),
        ("size 500, none slow", SHARD_SIZE, replace(base, slow_share=0.0)),
    ]
    rows, figures = list[list[Any]](), dict[str, dict[str, float]]()
    for name, size, cluster in cases:
        values = bench.row(size, cluster)
        rows.append([name, *values])
        figures[name] = {
            "min": round(values[0], 2),
            "over_ideal": round(values[2], 4),
            "lost_percent": round(values[3], 3),
        }
    return rows, figures


if __name__ == "__main__":
    sys.exit(main())
