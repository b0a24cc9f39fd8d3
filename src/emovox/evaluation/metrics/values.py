"""Scores of continuous values: concordance, correlation, error; and of soft labels."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from emovox._arrays import Doubles
from emovox.evaluation.metrics.counts import as_list, classes_of, codes_of
from emovox.evaluation.metrics.speakers import (
    MIN_SPEAKERS,
    Interval,
    check_bootstrap,
    draw_speakers,
    expanded_percentiles,
)

__all__ = ["VALUE_METRICS", "ccc", "jensen_shannon", "mae", "pcc", "soft_cross_entropy", "value_interval"]

_CONSTANT = 1e-12
"""A variance below this share of the squared magnitude is that of equal values, but for rounding."""


def ccc(true: ArrayLike, predicted: ArrayLike) -> float:
    """Return the concordance correlation coefficient (Lin, 1989), -1 to 1; nan where a side is constant.

    Args:
        true, predicted: ``(n,)`` finite numbers.

    Raises:
        ValueError: they are empty, not finite or differ in length.
    """
    return float(_ccc_of(_moments(*_pair(true, predicted)))[0])


def pcc(true: ArrayLike, predicted: ArrayLike) -> float:
    """Return Pearson's correlation, -1 to 1; nan where a side is constant. Arguments as in `ccc`."""
    return float(_pcc_of(_moments(*_pair(true, predicted)))[0])


def mae(true: ArrayLike, predicted: ArrayLike) -> float:
    """Return the mean absolute error. Arguments as in `ccc`."""
    t, p = _pair(true, predicted)
    return float(np.abs(t - p).mean())


def value_interval(
    true: ArrayLike,
    predicted: ArrayLike,
    speakers: Sequence[Hashable],
    metric: str = "ccc",
    n: int = 2000,
    seed: int = 0,
    *,
    level: float = 0.95,
    min_speakers: int = MIN_SPEAKERS,
) -> Interval:
    """Compute a score of values and its bootstrap interval over speakers.

    There is no interval either where a resample of the speakers has constant values.

    Args:
        true, predicted: ``(n,)`` finite numbers.
        speakers: the speaker of each clip.
        metric: a name in ``VALUE_METRICS``.
        n: number of resamples.

    Raises:
        ValueError: as `speaker_interval`.
    """
    t, p = _pair(true, predicted)
    who = as_list("speakers", speakers)
    if len(who) != len(t):
        raise ValueError(f"got {len(who)} speakers for {len(t)} clips; expected one for each clip")
    if metric not in VALUE_METRICS:
        raise ValueError(f"unknown metric {metric!r}; expected one of {', '.join(VALUE_METRICS)}")
    check_bootstrap(n, level)
    names = classes_of(who, None)
    place, n_speakers = codes_of(who, names), len(names)
    # Moments of a resample are weighted sums of those of its speakers.
    columns = _moments(t, p, each=True)
    table = np.stack([np.bincount(place, column, n_speakers) for column in columns], axis=1)
    score = _OF_MOMENTS[metric]
    low = high = None
    if n_speakers >= max(2, min_speakers):
        resampled = score(draw_speakers(n_speakers, n, seed) @ table)
        if np.isfinite(resampled).all():
            low, high = expanded_percentiles(resampled, n_speakers, level)
    alone = [VALUE_METRICS[metric](t[place == k], p[place == k]) for k in range(n_speakers)]
    per_speaker = {str(name): x for name, x in zip(names, alone, strict=True)}
    return Interval(VALUE_METRICS[metric](t, p), low, high, n_speakers, len(t), level, per_speaker)


def soft_cross_entropy(shares: ArrayLike, probs: ArrayLike) -> float:
    """Return the mean cross entropy of predicted probabilities under soft labels, in nats.

    It is the log-loss where each clip has one label. Probabilities are held above the machine epsilon.

    Args:
        shares: soft labels ``(n, n_labels)``, rows summing to 1.
        probs: predicted probabilities ``(n, n_labels)``.

    Raises:
        ValueError: the shapes differ, or rows are not distributions.
    """
    true, given = _distributions(shares, probs)
    return float(-(true * np.log(np.clip(given, np.finfo(np.float64).eps, 1))).sum(1).mean())


def jensen_shannon(shares: ArrayLike, probs: ArrayLike) -> float:
    """Return the mean Jensen-Shannon divergence in bits, 0 (equal) to 1 (Lin, 1991).

    Arguments and errors as in `soft_cross_entropy`.
    """
    true, given = _distributions(shares, probs)
    middle = (true + given) / 2

    def relative_entropy(p: Doubles) -> Doubles:
        ratio = np.divide(p, middle, out=np.ones_like(p), where=p > 0)
        return np.asarray((p * np.log2(ratio)).sum(1))

    return float(np.clip((relative_entropy(true) + relative_entropy(given)) / 2, 0, 1).mean())


VALUE_METRICS: Mapping[str, Callable[[ArrayLike, ArrayLike], float]] = {"ccc": ccc, "pcc": pcc, "mae": mae}
"""Scores of values, by name."""


def _pair(true: ArrayLike, predicted: ArrayLike) -> tuple[Doubles, Doubles]:
    t, p = np.asarray(true, np.float64), np.asarray(predicted, np.float64)
    if t.ndim != 1 or t.shape != p.shape or not t.size:
        raise ValueError(f"true is {t.shape} and predicted {p.shape}; expected (n,) of both, n over 0")
    if not (np.isfinite(t).all() and np.isfinite(p).all()):
        raise ValueError("a value is not finite: leave out clips without a value first")
    return t, p


def _moments(t: Doubles, p: Doubles, *, each: bool = False) -> Doubles:
    """Count, sums, squares, products and errors ``(1, 7)``; ``(7, n)`` of each clip.

    The origin is the common mean, for the sake of precision.
    """
    centre = (t.mean() + p.mean()) / 2
    x, y = t - centre, p - centre
    rows = np.stack([np.ones_like(x), x, y, x * x, y * y, x * y, np.abs(x - y)])
    return rows if each else rows.sum(1)[None]


def _covariances(sums: Doubles) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """Variances of truth and prediction, their covariance and the difference of their means.

    Variances of constants are nan.
    """
    n, x, y, xx, yy, xy = sums[:, :6].T
    variances = []
    for first, second in ((x, xx), (y, yy)):
        variance = second / n - (first / n) ** 2
        variances.append(np.where(variance > _CONSTANT * np.maximum(xx, yy) / n, variance, np.nan))
    return variances[0], variances[1], xy / n - x * y / n**2, (x - y) / n


def _ccc_of(sums: Doubles) -> Doubles:
    vx, vy, xy, difference = _covariances(sums)
    return np.asarray(2 * xy / (vx + vy + difference**2))


def _pcc_of(sums: Doubles) -> Doubles:
    vx, vy, xy, _ = _covariances(sums)
    return np.asarray(np.clip(xy / np.sqrt(vx * vy), -1, 1))


_OF_MOMENTS: Mapping[str, Callable[[Doubles], Doubles]] = {
    "ccc": _ccc_of,
    "pcc": _pcc_of,
    "mae": lambda sums: np.asarray(sums[:, 6] / sums[:, 0]),
}


def _distributions(shares: ArrayLike, probs: ArrayLike) -> tuple[Doubles, Doubles]:
    true, given = np.asarray(shares, np.float64), np.asarray(probs, np.float64)
    if true.ndim != 2 or true.shape != given.shape or not true.size:
        raise ValueError(f"shares are {true.shape}, probs {given.shape}; expected (n, n_labels) of both")
    for name, rows in (("shares", true), ("probs", given)):
        if not (np.isfinite(rows).all() and (rows >= 0).all() and np.allclose(rows.sum(1), 1, atol=1e-3)):
            raise ValueError(f"a row of {name} is no distribution; expected shares from 0 that sum to 1")
    return true, given
