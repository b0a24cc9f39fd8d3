"""The simulation of a cluster against what can be reckoned without it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.insert(0, str(BENCHMARKS))
try:
    from cluster import Cluster, drawn, simulated
finally:
    sys.path.remove(str(BENCHMARKS))

QUICK = Cluster(1, hand_s=0.0, again_s=0.0)


@pytest.mark.parametrize(("n_shards", "n_workers"), [(1, 1), (7, 1), (7, 2), (8, 2), (3, 10), (1000, 64)])
def test_equal_shards_and_no_losses_take_whole_rounds(n_shards: int, n_workers: int) -> None:
    cluster = replace(QUICK, n_workers=n_workers, start_s=3.0)
    found = simulated(np.full(n_shards, 2.0), cluster)
    assert found.makespan_s == pytest.approx(3.0 + 2.0 * -(-n_shards // n_workers))
    assert found.ideal_s == pytest.approx(2.0 * n_shards / n_workers)
    assert (found.n_done, found.n_lost, found.lost_s) == (n_shards, 0, 0.0)
    assert found.worked_s == pytest.approx(2.0 * n_shards)


@pytest.mark.parametrize("rate_times_s", [0.1, 0.7, 1.5])
def test_lost_work_is_that_of_a_poisson_process(rate_times_s: float) -> None:
    """A task of s seconds that starts again from nothing takes (exp(rate s) - 1) / rate on average."""
    n, s = 20_000, 10.0
    rate = rate_times_s / s
    found = simulated(np.full(n, s), replace(QUICK, lost_per_s=rate))
    # The variance of one task's time, by the same generating function.
    variance = (np.exp(2 * rate_times_s) - 2 * rate_times_s * np.exp(rate_times_s) - 1) / rate**2
    expected, deviation = n * np.expm1(rate_times_s) / rate, np.sqrt(n * variance)
    assert abs(found.makespan_s - expected) < 4 * deviation
    assert found.worked_s == pytest.approx(found.makespan_s)
    assert found.lost_s == pytest.approx(found.worked_s - n * s)


def test_what_a_journal_keeps_is_done_once() -> None:
    n, s, rate, again_s = 5000, 10.0, 0.05, 4.0
    found = simulated(np.full(n, s), replace(QUICK, lost_per_s=rate, again_s=again_s, journal=True))
    assert found.worked_s == pytest.approx(n * s)
    assert found.lost_s == 0
    assert found.makespan_s == pytest.approx(n * s + found.n_lost * again_s)
    assert abs(found.n_lost - rate * n * s) < 4 * np.sqrt(rate * n * s)


def test_the_driver_hands_out_one_shard_at_a_time() -> None:
    found = simulated(np.full(500, 0.25), replace(QUICK, n_workers=400, hand_s=0.01))
    assert found.makespan_s == pytest.approx(500 * 0.01 + 0.25), "it is the driver who is too slow"


def test_slow_workers_do_their_share_and_no_more() -> None:
    cluster = replace(QUICK, n_workers=4, slow_share=0.25, slow_factor=4.0)
    found = simulated(np.full(1300, 1.0), cluster)
    assert found.ideal_s == pytest.approx(1300 / 3.25)
    assert found.makespan_s == pytest.approx(400.0)
    late = simulated(np.full(5, 8.0), replace(cluster, n_workers=5, slow_share=0.2))
    assert late.makespan_s == pytest.approx(32.0), "the slow one has its shard in hand to the end"
    copied = simulated(np.full(5, 8.0), replace(cluster, n_workers=5, slow_share=0.2, copies=True))
    assert copied.makespan_s == pytest.approx(16.0), "somebody else began it at 8, and was done at 16"
    assert copied.n_done == 5


@given(
    shards=st.lists(st.floats(0.01, 20.0), min_size=1, max_size=60),
    n_workers=st.integers(1, 12),
    rate=st.sampled_from([0.0, 0.02]),
    slow=st.sampled_from([0.0, 0.5]),
    journal=st.booleans(),
    copies=st.booleans(),
    seed=st.integers(0, 3),
)
@settings(max_examples=150)
def test_every_shard_is_done_once_and_nobody_is_idle_without_need(
    shards: list[float], n_workers: int, rate: float, slow: float, journal: bool, copies: bool, seed: int
) -> None:
    cluster = Cluster(
        n_workers,
        hand_s=0.0,
        again_s=2.0,
        lost_per_s=rate,
        slow_share=slow,
        slow_factor=3.0,
        journal=journal,
        copies=copies,
    )
    found = simulated(shards, cluster, seed=seed)
    assert found.n_done == len(shards)
    assert found.makespan_s >= found.ideal_s * (1 - 1e-9)
    assert found.makespan_s >= max(shards) * (1 - 1e-9)
    assert found == simulated(shards, cluster, seed=seed), "a seed says all"
    if not found.n_lost:  # Graham's bound for lists, with workers of several speeds
        assert found.makespan_s <= found.ideal_s + 3.0 * max(shards) + 1e-9


def test_lost_copies_share_their_progress() -> None:
    cluster = Cluster(
        8, hand_s=0.0, again_s=2.0, lost_per_s=0.2, slow_share=0.5, slow_factor=3.0, journal=True, copies=True
    )
    for seed in range(300):
        found = simulated([13.0, 2.9, 0.9, 18.0, 1.0, 7.5, 12.0, 3.0, 6.0, 9.0], cluster, seed=seed)
        assert found.n_done == 10
        assert found.makespan_s >= found.ideal_s


def test_shards_are_drawn_from_the_times() -> None:
    times_s = np.array([0.004, 0.006])
    shards_s = drawn(times_s, 100_250, 500, seed=1)
    assert len(shards_s) == 201
    assert shards_s[:-1].mean() == pytest.approx(2.5, rel=0.01)
    assert shards_s[:-1].std() == pytest.approx(0.001 * np.sqrt(500), rel=0.15)
    assert 0.004 * 250 < shards_s[-1] < 0.006 * 250
    assert len(drawn(times_s, 1000, 500)) == 2
