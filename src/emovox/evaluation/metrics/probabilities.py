"""Scores of probabilities: correctness, calibration, ranking, and the effect of abstaining."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from emovox._arrays import Bools, Doubles, Ints
from emovox.evaluation.metrics.counts import Labels, as_list, classes_of, codes_of, ratio

__all__ = [
    "RiskCoverage",
    "accuracy_at",
    "auc",
    "brier",
    "ece",
    "log_loss",
    "reliability",
    "risk_coverage",
]


def _probs(probs: ArrayLike, n: int, k: int) -> Doubles:
    table = np.asarray(probs, dtype=np.float64)
    if table.shape != (n, k):
        raise ValueError(
            f"probs have the shape {table.shape}; expected {(n, k)}: a row a clip, a column a label"
        )
    if not np.isfinite(table).all() or (table < 0).any():
        raise ValueError("probs hold negative or non-finite values; expected probabilities")
    if (off := float(np.abs(table.sum(axis=1) - 1).max())) > 1e-3:
        raise ValueError(f"rows of probs miss the sum 1 by up to {off:.3g}; give probabilities, not logits")
    return table


def _check(y_true: Labels, probs: ArrayLike, labels: Labels) -> tuple[Ints, Doubles]:
    true = as_list("y_true", y_true)
    if not true:
        raise ValueError("got no clips; expected at least one")
    classes = classes_of(true, labels)
    return codes_of(true, classes), _probs(probs, len(true), len(classes))


def log_loss(y_true: Labels, probs: ArrayLike, *, labels: Labels) -> float:
    """Return the mean of ``-ln p(true class)``, in nats."""
    true, table = _check(y_true, probs, labels)
    eps = np.finfo(np.float64).eps
    return float(-np.log(np.clip(table[np.arange(len(true)), true], eps, 1 - eps)).mean())


def brier(y_true: Labels, probs: ArrayLike, *, labels: Labels) -> float:
    """Return the squared errors summed over classes, averaged over clips: 0 (right) to 2 (wrong)."""
    true, table = _check(y_true, probs, labels)
    return float(((table - np.eye(table.shape[1])[true]) ** 2).sum(axis=1).mean())


def reliability(y_true: Labels, probs: ArrayLike, *, labels: Labels, n_bins: int = 15) -> Doubles:
    """Return the reliability diagram ``(n_bins, 3)``: mean confidence, accuracy, number of clips.

    The bins divide (0, 1] evenly and include their upper edges; an empty one has ``nan``, ``nan`` and 0.
    """
    true, table = _check(y_true, probs, labels)
    if n_bins < 1:
        raise ValueError(f"n_bins is {n_bins!r}; expected 1 or more")
    confidence = table.max(axis=1)
    right = table.argmax(axis=1) == true
    place = np.clip(np.ceil(confidence * n_bins).astype(np.intp) - 1, 0, n_bins - 1)
    n = np.bincount(place, minlength=n_bins).astype(np.float64)
    sums = (
        np.bincount(place, weights=weights, minlength=n_bins).astype(np.float64)
        for weights in (confidence, right)
    )
    return np.stack([*(ratio(part, n, np.nan) for part in sums), n], axis=1)


def ece(y_true: Labels, probs: ArrayLike, *, labels: Labels, n_bins: int = 15) -> float:
    """Return the expected calibration error: the mean over clips of |confidence - accuracy| of their bin."""
    bins = reliability(y_true, probs, labels=labels, n_bins=n_bins)
    bins = bins[bins[:, 2] > 0]
    return float((np.abs(bins[:, 0] - bins[:, 1]) * bins[:, 2]).sum() / bins[:, 2].sum())


def auc(y_true: Labels, probs: ArrayLike, *, labels: Labels) -> Doubles:
    """Return the area under the ROC curve of each class against the rest ``(n_classes,)``."""
    true, table = _check(y_true, probs, labels)
    return np.array([_auc(table[:, c], true == c) for c in range(table.shape[1])])


def _auc(score: Doubles, positive: Bools) -> float:
    n_pos, n_neg = int(positive.sum()), int((~positive).sum())
    if not n_pos or not n_neg:
        return math.nan
    _, place, count = np.unique(score, return_inverse=True, return_counts=True)
    mean_rank = np.cumsum(count) - (count - 1) / 2
    return float((mean_rank[place][positive].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg))


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """Risk and coverage when a label is given only at a confidence of at least ``threshold[i]``.

    Each array is ``(n_thresholds,)``, from the highest threshold to labelling all clips.
    """

    threshold: Doubles
    coverage: Doubles
    """Share of clips that are labelled."""
    risk: Doubles
    """Share of wrong labels among those."""

    @property
    def aurc(self) -> float:
        """Area under the curve: the risk averaged over coverage; lower is better."""
        return float((self.risk * np.diff(self.coverage, prepend=0.0)).sum())


def risk_coverage(right: ArrayLike, confidence: ArrayLike) -> RiskCoverage:
    """Compute the curve of ``right (n,)`` booleans and ``confidence (n,)``; ties share one point."""
    good = np.asarray(right)
    sure = np.asarray(confidence, dtype=np.float64)
    if good.dtype != np.bool_ or good.ndim != 1 or good.shape != sure.shape or not good.size:
        raise ValueError(
            f"right is {good.dtype} {good.shape} and confidence {sure.shape}; "
            "expected booleans and as many numbers"
        )
    if not np.isfinite(sure).all():
        raise ValueError("confidence holds non-finite values; expected a number for every clip")
    order = np.argsort(-sure, kind="stable")
    sure, wrong = sure[order], np.cumsum(~good[order])
    last = np.append(sure[1:] != sure[:-1], True)
    n = np.arange(1, sure.size + 1)
    return RiskCoverage(sure[last], (n / sure.size)[last], (wrong / n)[last])


def accuracy_at(curve: RiskCoverage, coverage: float) -> float:
    """Return the accuracy when at least the share ``coverage`` of the clips is labelled."""
    if not 0 < coverage <= 1:
        raise ValueError(f"coverage is {coverage!r}; expected a share above 0, at most 1")
    return float(1 - curve.risk[np.searchsorted(curve.coverage, coverage - 1e-12)])
