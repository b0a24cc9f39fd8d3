"""Scores of values and soft labels: equal to scipy's, nan for constants, intervals over speakers."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from emovox.evaluation import metrics

numbers = arrays(np.float64, st.integers(3, 40), elements=st.floats(-1e3, 1e3, allow_subnormal=False))


def plain_ccc(t: np.ndarray, p: np.ndarray) -> float:
    """Lin's formula as it is printed, with the covariance by numpy."""
    (vt, c), (_, vp) = np.cov(t, p, ddof=0)
    return float(2 * c / (vt + vp + (t.mean() - p.mean()) ** 2))


def make_pair(seed: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.normal(3.0, 2.0, n)
    return true, 0.6 * true + rng.normal(0, 1, n)


@given(st.integers(0, 1000), st.floats(-1e6, 1e6))
def test_parity_with_scipy_and_sklearn(seed: int, offset: float) -> None:
    stats, sklearn = pytest.importorskip("scipy.stats"), pytest.importorskip("sklearn.metrics")
    true, predicted = make_pair(seed)
    true, predicted = true + offset, predicted + offset
    tolerance = {"rel": 1e-9, "abs": 1e-9}
    assert metrics.pcc(true, predicted) == pytest.approx(stats.pearsonr(true, predicted)[0], **tolerance)
    assert metrics.mae(true, predicted) == pytest.approx(
        sklearn.mean_absolute_error(true, predicted), **tolerance
    )
    assert metrics.ccc(true, predicted) == pytest.approx(plain_ccc(true, predicted), **tolerance)


@given(numbers)
def test_perfect_and_opposite(true: np.ndarray) -> None:
    if np.ptp(true) < 1e-3:
        return
    assert metrics.ccc(true, true) == pytest.approx(1)
    assert metrics.pcc(true, -true) == pytest.approx(-1)
    assert metrics.ccc(true, true + 1) < 1, "a bias costs concordance"
    assert metrics.pcc(true, 2 * true + 1) == pytest.approx(1), "and not correlation"


@given(st.floats(-1e6, 1e6), st.integers(2, 30))
def test_constants_are_nan(constant: float, n: int) -> None:
    flat, slope = np.full(n, constant), np.arange(n, dtype=float)
    for true, predicted in ((flat, slope), (slope, flat), (flat, flat), (flat, flat + 1)):
        assert math.isnan(metrics.ccc(true, predicted))
        assert math.isnan(metrics.pcc(true, predicted))
        assert metrics.mae(true, predicted) == pytest.approx(np.abs(true - predicted).mean())


@given(st.integers(0, 1000))
def test_ccc_is_at_most_pcc_and_symmetric(seed: int) -> None:
    true, predicted = make_pair(seed)
    assert abs(metrics.ccc(true, predicted)) <= abs(metrics.pcc(true, predicted)) + 1e-12
    assert metrics.ccc(true, predicted) == pytest.approx(metrics.ccc(predicted, true))


@pytest.mark.parametrize("metric", metrics.VALUE_METRICS)
def test_interval_equals_resampling_of_clips(metric: str) -> None:
    true, predicted = make_pair(1)
    speakers = [f"s{i % 12}" for i in range(len(true))]
    found = metrics.value_interval(true, predicted, speakers, metric, n=300, seed=4)
    score = metrics.VALUE_METRICS[metric]
    assert found.value == score(true, predicted)
    assert found.low is not None
    assert found.high is not None
    assert found.low < found.value < found.high
    # The second road: the resamples drawn clip by clip, and the same percentiles.
    from emovox.evaluation.metrics.speakers import draw_speakers, expanded_percentiles

    names = sorted(set(speakers))
    rows = {name: [i for i, who in enumerate(speakers) if who == name] for name in names}
    scores = []
    for times in draw_speakers(12, 300, 4):
        chosen = [i for name, k in zip(names, times, strict=True) for i in rows[name] * int(k)]
        scores.append(score(true[chosen], predicted[chosen]))
    assert (found.low, found.high) == pytest.approx(expanded_percentiles(np.array(scores), 12, 0.95))
    assert found.per_speaker["s3"] == score(true[rows["s3"]], predicted[rows["s3"]])


def test_no_interval_of_few_speakers() -> None:
    true, predicted = make_pair(2, 30)
    found = metrics.value_interval(true, predicted, [f"s{i % 3}" for i in range(30)])
    assert (found.low, found.high, found.n_speakers) == (None, None, 3)


def test_speaker_with_one_value_is_nan() -> None:
    ages = np.repeat(np.arange(12.0), 4)
    predicted = ages + np.tile([0.1, -0.1, 0.2, 0.0], 12)
    found = metrics.value_interval(ages, predicted, [f"s{age:g}" for age in ages])
    assert all(math.isnan(value) for value in found.per_speaker.values())
    assert found.low is not None


@pytest.mark.parametrize(
    ("true", "predicted", "message"),
    [
        ([], [], "over 0"),
        ([1.0], [1.0, 2.0], "expected"),
        ([1.0, math.nan], [1.0, 2.0], "not finite"),
        ([1.0, 2.0], [math.inf, 2.0], "not finite"),
        ([[1.0]], [[1.0]], "expected"),
    ],
)
def test_impossible_values_are_refused(true: list[float], predicted: list[float], message: str) -> None:
    for score in metrics.VALUE_METRICS.values():
        with pytest.raises(ValueError, match=message):
            score(true, predicted)


def draw_shares(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet([0.5] * 4, 30), rng.dirichlet([0.5] * 4, 30)


@given(st.integers(0, 1000))
def test_soft_scores_equal_scipy_and_log_loss(seed: int) -> None:
    distance = pytest.importorskip("scipy.spatial.distance")
    shares, probs = draw_shares(seed)
    expected = np.mean(
        [distance.jensenshannon(p, q, base=2) ** 2 for p, q in zip(shares, probs, strict=True)]
    )
    assert metrics.jensen_shannon(shares, probs) == pytest.approx(expected, abs=1e-9)
    assert metrics.jensen_shannon(shares, shares) == pytest.approx(0, abs=1e-9)
    hard = np.eye(4)[shares.argmax(1)]
    labels = [int(k) for k in shares.argmax(1)]
    assert metrics.soft_cross_entropy(hard, probs) == pytest.approx(
        metrics.log_loss(labels, probs, labels=[0, 1, 2, 3])
    )
    # Gibbs' inequality: nothing predicts soft labels better than themselves.
    assert metrics.soft_cross_entropy(shares, shares) <= metrics.soft_cross_entropy(shares, probs) + 1e-12


def test_opposite_labels_diverge_by_one_bit() -> None:
    assert metrics.jensen_shannon([[1, 0]], [[0, 1]]) == pytest.approx(1)


@pytest.mark.parametrize("rows", [[[0.5, 0.6]], [[-0.1, 1.1]], [[math.nan, 1]], [[1.0]], []])
def test_no_distributions_are_refused(rows: list[list[float]]) -> None:
    for score in (metrics.soft_cross_entropy, metrics.jensen_shannon):
        with pytest.raises(ValueError, match="expected"):
            score(rows, [[0.5, 0.5]])
