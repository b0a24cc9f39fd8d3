"""Confidence intervals and paired differences by a bootstrap over speakers."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

import numpy as np

from emovox._arrays import Doubles, Ints
from emovox.evaluation.metrics.counts import (
    METRICS,
    OF_MATRIX,
    Labels,
    Metric,
    as_list,
    classes_of,
    codes_of,
    pair,
)

__all__ = [
    "MIN_SPEAKERS",
    "Difference",
    "Interval",
    "check_bootstrap",
    "draw_speakers",
    "expanded_percentiles",
    "group_intervals",
    "paired_difference",
    "recall_intervals",
    "speaker_interval",
    "sum_interval",
]

MIN_SPEAKERS = 10
"""Below this many speakers an interval over them would be a guess."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A score with its confidence interval over speakers."""

    value: float
    low: float | None
    """``None`` with too few speakers for an interval."""
    high: float | None
    n_speakers: int
    n_clips: int
    level: float = 0.95
    per_speaker: Mapping[str, float] = field(default_factory=dict)
    """The same score on each speaker's clips alone."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return {
            "value": self.value,
            "low": self.low,
            "high": self.high,
            "n_speakers": self.n_speakers,
            "n_clips": self.n_clips,
            "level": self.level,
            "per_speaker": dict(self.per_speaker),
        }


@dataclass(frozen=True, slots=True)
class Difference:
    """Score of system A less score of system B on the same clips."""

    value: float
    low: float | None
    high: float | None
    p_value: float | None
    """Two-sided, from the share of resamples that change the sign, with the interval's correction for few
    speakers: under ``1 - level`` where 0 is outside of it. ``None`` with too few speakers."""
    n_speakers: int
    n_clips: int
    level: float = 0.95


def speaker_interval(
    y_true: Labels,
    y_pred: Labels,
    speakers: Sequence[Hashable],
    metric: Metric = "uar",
    n: int = 2000,
    seed: int = 0,
    *,
    level: float = 0.95,
    labels: Labels | None = None,
    min_speakers: int = MIN_SPEAKERS,
) -> Interval:
    """Compute a score and its bootstrap interval over speakers.

    Args:
        speakers: the speaker of each clip.
        metric: a name in ``METRICS``, one of those functions, or any ``f(y_true, y_pred) -> float`` (slower).
        n: number of resamples.

    Raises:
        ValueError: lengths differ, an unknown metric, ``n`` below 100 or ``level`` outside of (0, 1).
    """
    true, pred = pair(y_true, y_pred)
    names, score = _make_scorer(true, [pred], speakers, metric, labels)
    check_bootstrap(n, level)
    n_speakers = len(names)
    low = high = None
    if n_speakers >= max(2, min_speakers):
        low, high = expanded_percentiles(score(draw_speakers(n_speakers, n, seed))[0], n_speakers, level)
    alone = score(np.eye(n_speakers))[0]
    value = float(score(np.ones((1, n_speakers)))[0, 0])
    per_speaker = {str(name): float(x) for name, x in zip(names, alone, strict=True)}
    return Interval(value, low, high, n_speakers, len(true), level, per_speaker)


def sum_interval(
    sums: Doubles,
    score: Callable[[Doubles], Doubles],
    n: int = 2000,
    seed: int = 0,
    *,
    level: float = 0.95,
    min_speakers: int = MIN_SPEAKERS,
) -> tuple[float, float | None, float | None]:
    """Compute a score of sums over speakers, with its bootstrap interval over them.

    Args:
        sums: ``(n_speakers, ...)``: what each speaker contributes, such as a confusion matrix.
        score: takes sums of resamples ``(n_draws, d)``, one row each, and returns ``(n_draws,)``.
        n: number of resamples.

    Returns:
        The score, and the ends of its interval; ``None`` with too few speakers.

    Raises:
        ValueError: ``n`` below 100 or ``level`` outside of (0, 1).
    """
    check_bootstrap(n, level)
    table = sums.reshape(len(sums), -1)
    value = float(score(table.sum(axis=0, keepdims=True))[0])
    if len(table) < max(2, min_speakers):
        return value, None, None
    resampled = score(draw_speakers(len(table), n, seed) @ table)
    return value, *expanded_percentiles(resampled, len(table), level)


def recall_intervals(
    y_true: Labels,
    y_pred: Labels,
    speakers: Sequence[Hashable],
    n: int = 2000,
    seed: int = 0,
    *,
    level: float = 0.95,
    min_speakers: int = MIN_SPEAKERS,
) -> dict[Hashable, Interval]:
    """Compute the recall of every class that occurs, with its interval over the speakers who express it.

    Arguments and errors as in ``speaker_interval``.
    """
    true, pred = pair(y_true, y_pred)
    who = as_list("speakers", speakers)
    if len(who) != len(true):
        raise ValueError(f"got {len(who)} speakers for {len(true)} clips; expected one for each clip")
    found = {}
    for name in classes_of(true, None):
        own = [i for i, label in enumerate(true) if label == name]
        t, p, s = ([values[i] for i in own] for values in (true, pred, who))
        # On the clips of one class, accuracy is the recall of that class.
        found[name] = speaker_interval(t, p, s, "wa", n, seed, level=level, min_speakers=min_speakers)
    return found


def group_intervals(
    y_true: Labels,
    y_pred: Labels,
    speakers: Sequence[Hashable],
    groups: Sequence[Hashable],
    metric: Metric = "uar",
    n: int = 2000,
    seed: int = 0,
    *,
    level: float = 0.95,
    min_speakers: int = MIN_SPEAKERS,
) -> tuple[dict[Hashable, Interval], Difference | None]:
    """Score each group of clips with its interval over speakers, and the gap between best and worst group.

    The speakers of each group are resampled on their own. ``None`` in ``groups`` (unknown) is a group of its
    own, which does not count for the gap. The gap is ``None`` with fewer than two known groups; its interval
    holds for the two groups that were found best and worst, not for the largest gap by chance.

    Arguments and errors as in ``speaker_interval``.
    """
    true, pred = pair(y_true, y_pred)
    if not len(groups) == len(speakers) == len(true):
        raise ValueError(
            f"got {len(groups)} groups and {len(speakers)} speakers for {len(true)} clips; "
            "expected one for each clip"
        )
    clips: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        clips.setdefault(group, []).append(i)
    parts = {
        g: ([true[i] for i in at], [pred[i] for i in at], [speakers[i] for i in at])
        for g, at in clips.items()
    }
    found = {
        g: speaker_interval(t, p, s, metric, n, seed, level=level, min_speakers=min_speakers)
        for g, (t, p, s) in parts.items()
    }
    known = [g for g, one in found.items() if g is not None and not math.isnan(one.value)]
    if len(known) < 2:
        return found, None
    best = max(known, key=lambda g: found[g].value)
    worst = min((g for g in known if g != best), key=lambda g: found[g].value)
    n_speakers = min(found[best].n_speakers, found[worst].n_speakers)
    low = high = p_value = None
    if n_speakers >= max(2, min_speakers):
        resampled = []
        for k, group in enumerate((best, worst)):
            t, p, s = parts[group]
            names, score = _make_scorer(t, [p], s, metric, None)
            resampled.append(score(draw_speakers(len(names), n, seed + k))[0])
        gaps = resampled[0] - resampled[1]
        low, high = expanded_percentiles(gaps, n_speakers, level)
        tail = min((gaps <= 0).sum(), (gaps >= 0).sum())
        p_value = _two_sided_p(min(0.5, (tail + 1) / (n + 1)), n_speakers)
    gap = found[best].value - found[worst].value
    total = len({*parts[best][2], *parts[worst][2]})
    return found, Difference(gap, low, high, p_value, total, len(clips[best]) + len(clips[worst]), level)


def paired_difference(
    y_true: Labels,
    y_pred_a: Labels,
    y_pred_b: Labels,
    speakers: Sequence[Hashable],
    metric: Metric = "uar",
    n: int = 2000,
    seed: int = 0,
    *,
    level: float = 0.95,
    labels: Labels | None = None,
    min_speakers: int = MIN_SPEAKERS,
) -> Difference:
    """Compare two systems on the same resampled speakers.

    Arguments and errors as in ``speaker_interval``.
    """
    true, pred_a = pair(y_true, y_pred_a)
    _, pred_b = pair(y_true, y_pred_b)
    names, score = _make_scorer(true, [pred_a, pred_b], speakers, metric, labels)
    check_bootstrap(n, level)
    n_speakers = len(names)
    a, b = score(np.ones((1, n_speakers)))[:, 0]
    low = high = p_value = None
    if n_speakers >= max(2, min_speakers):
        resampled = np.subtract(*score(draw_speakers(n_speakers, n, seed)))
        low, high = expanded_percentiles(resampled, n_speakers, level)
        # The observed sample counts as one of the resamples, so that p is never 0.
        tail = min((resampled <= 0).sum(), (resampled >= 0).sum())
        p_value = _two_sided_p(min(0.5, (tail + 1) / (n + 1)), n_speakers)
    return Difference(float(a - b), low, high, p_value, n_speakers, len(true), level)


def check_bootstrap(n: int, level: float) -> None:
    """Raise ValueError where number or level of resamples are impossible."""
    if n < 100 or not 0 < level < 1:
        raise ValueError(
            f"n is {n!r} and level {level!r}; expected 100 resamples or more and a level such as 0.95"
        )


_ResampleScorer = Callable[[Doubles], Doubles]
"""How often each speaker is drawn ``(n_draws, n_speakers)`` -> scores ``(n_systems, n_draws)``."""


def _make_scorer(
    true: list[Hashable],
    preds: Sequence[list[Hashable]],
    speakers: Sequence[Hashable],
    metric: Metric,
    labels: Labels | None,
) -> tuple[list[Hashable], _ResampleScorer]:
    """Return the speakers, and the function that scores resamples of them."""
    who = as_list("speakers", speakers)
    if len(who) != len(true):
        raise ValueError(f"got {len(who)} speakers for {len(true)} clips; expected one for each clip")
    names = classes_of(who, None)
    place = codes_of(who, names)
    name = next((key for key, known in METRICS.items() if metric == key or metric is known), None)
    if name is None and not callable(metric):
        raise ValueError(f"unknown metric {metric!r}; expected one of {', '.join(METRICS)} or a function")
    if name is None:
        return names, _score_by_calls(true, preds, place, len(names), metric)  # type: ignore[arg-type]
    classes = classes_of([*true, *(label for pred in preds for label in pred)], labels)
    return names, _score_by_counts(true, preds, place, len(names), classes, OF_MATRIX[name])


def _score_by_counts(
    true: list[Hashable],
    preds: Sequence[list[Hashable]],
    place: Ints,
    n_speakers: int,
    classes: list[Hashable],
    of_matrix: Callable[[Doubles], Doubles],
) -> _ResampleScorer:
    """Score sums of confusion matrices: that of a resample is a weighted sum of the speakers' matrices."""
    k = len(classes)
    rows = codes_of(true, classes)
    tables = []
    for pred in preds:
        cell = (place * k + rows) * k + codes_of(pred, classes)
        tables.append(np.bincount(cell, minlength=n_speakers * k * k).reshape(n_speakers, k * k))

    def score(times: Doubles) -> Doubles:
        return np.stack([of_matrix((times @ table).reshape(-1, k, k)) for table in tables])

    return score


def _score_by_calls(
    true: list[Hashable],
    preds: Sequence[list[Hashable]],
    place: Ints,
    n_speakers: int,
    metric: Callable[[Labels, Labels], float],
) -> _ResampleScorer:
    clips = [np.flatnonzero(place == s) for s in range(n_speakers)]

    def one(times: Doubles, pred: list[Hashable]) -> float:
        chosen = np.concatenate([np.tile(clips[s], int(times[s])) for s in np.flatnonzero(times)])
        return float(metric([true[i] for i in chosen], [pred[i] for i in chosen]))

    def score(times: Doubles) -> Doubles:
        return np.array([[one(row, pred) for row in times] for pred in preds])

    return score


def draw_speakers(n_speakers: int, n: int, seed: int) -> Doubles:
    """Return how often each speaker is drawn in each of ``n`` resamples: ``(n, n_speakers)``."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_speakers, np.full(n_speakers, 1 / n_speakers), size=n).astype(np.float64)


def expanded_percentiles(resampled: Doubles, n_speakers: int, level: float) -> tuple[float, float]:
    """Return percentiles, widened by Student's t and the divisor ``n - 1``."""
    reach = _student_t((1 + level) / 2, n_speakers - 1) * math.sqrt(n_speakers / (n_speakers - 1))
    tail = NormalDist().cdf(-reach)
    low, high = np.quantile(resampled, [tail, 1 - tail])
    return float(low), float(high)


def _two_sided_p(tail: float, n_speakers: int) -> float:
    """Return the ``1 - level`` whose `expanded_percentiles` cut off ``tail`` of the resamples."""
    t = -NormalDist().inv_cdf(tail) / math.sqrt(n_speakers / (n_speakers - 1))
    return min(1.0, 2 * (0.5 - _above_median(t, n_speakers - 1)))


def _above_median(t: float, dof: int) -> float:
    """Return the probability of Student's t between 0 and ``t``, by Simpson's rule."""
    scale = math.exp(math.lgamma((dof + 1) / 2) - math.lgamma(dof / 2)) / math.sqrt(dof * math.pi)
    x = np.linspace(0.0, t, 2001)
    y = scale * (1 + x * x / dof) ** (-(dof + 1) / 2)
    return float((y[0] + y[-1] + 4 * y[1::2].sum() + 2 * y[2:-1:2].sum()) * (x[1] - x[0]) / 3)


def _student_t(p: float, dof: int) -> float:
    """Return the quantile ``p`` of Student's t, found by bisection."""
    low, high = 0.0, 1.0
    while _above_median(high, dof) < p - 0.5 and high < 1e4:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _above_median(middle, dof) < p - 0.5 else (low, middle)
    return (low + high) / 2
