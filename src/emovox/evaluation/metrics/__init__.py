"""Scores of labels and probabilities, with intervals over speakers. Imports numpy alone.

Conventions
-----------

- ``y_true`` and ``y_pred`` are sequences of labels (text or integers) of equal length ``n >= 1``. An
  abstention (``None``) is not a label: map or drop it first.
- ``labels`` fixes classes and their order. Left out, it is the sorted union of what occurs. A label outside
  of ``labels`` is an error.
- Confusion matrices are ``(n_classes, n_classes)`` counts, rows true, columns predicted.
- *Recall* of a class that never occurs in ``y_true`` is ``nan``, and UAR is the mean over the classes that
  do occur: equal to scikit-learn's ``balanced_accuracy_score``. (UAR = "UA"; WA = accuracy = "WAR".)
- *F1* of a class that neither occurs nor is predicted is 0, and macro F1 is the mean over all ``labels``:
  equal to scikit-learn's ``f1_score(labels=labels, zero_division=0)``.
- ``probs`` is ``(n, n_classes)`` in the order of ``labels``, finite, not negative, rows summing to 1 within
  1e-3.
- *Log-loss* is in nats, probabilities held above the machine epsilon of float64. *Brier* is the sum over
  classes of squared errors, averaged over clips: 0 to 2. *ECE* has bins of equal width over the confidence,
  the highest probability of a clip. *AUC* is one class against the rest, ``nan`` where a class has no clips
  or no rest.
- *Values* (arousal ...) are finite numbers ``(n,)``: leave out clips without one. CCC is Lin's (1989) with
  the moments of the sample (divisor ``n``). CCC and PCC are ``nan``, never 0, where truth or prediction is
  constant: a speaker's own age correlates with nothing. *Soft labels* are distributions ``(n, n_classes)``,
  scored by cross entropy in nats and Jensen-Shannon divergence in bits.
- Intervals come from resampling *speakers*, not clips: clips of one speaker are not independent. With few
  speakers plain percentiles are too narrow; they are widened as by Student's t (Hesterberg 2015, "What
  Teachers Should Know About the Bootstrap", expanded percentile). Under ten speakers there is no interval,
  only the value of each speaker.

Scores are fractions (0.589), not per cent. Invalid input raises a ``ValueError``.
"""

from __future__ import annotations

from emovox.evaluation.metrics.counts import (
    METRICS,
    confusion_matrix,
    f1_scores,
    macro_f1,
    precisions,
    recalls,
    uar,
    wa,
    weighted_f1,
)
from emovox.evaluation.metrics.probabilities import (
    RiskCoverage,
    accuracy_at,
    auc,
    brier,
    ece,
    log_loss,
    reliability,
    risk_coverage,
)
from emovox.evaluation.metrics.speakers import (
    Difference,
    Interval,
    group_intervals,
    paired_difference,
    recall_intervals,
    speaker_interval,
    sum_interval,
)
from emovox.evaluation.metrics.values import (
    VALUE_METRICS,
    ccc,
    jensen_shannon,
    mae,
    pcc,
    soft_cross_entropy,
    value_interval,
)

__all__ = [
    "METRICS",
    "VALUE_METRICS",
    "Difference",
    "Interval",
    "RiskCoverage",
    "accuracy_at",
    "auc",
    "brier",
    "ccc",
    "confusion_matrix",
    "ece",
    "f1_scores",
    "group_intervals",
    "jensen_shannon",
    "log_loss",
    "macro_f1",
    "mae",
    "paired_difference",
    "pcc",
    "precisions",
    "recall_intervals",
    "recalls",
    "reliability",
    "risk_coverage",
    "soft_cross_entropy",
    "speaker_interval",
    "sum_interval",
    "uar",
    "value_interval",
    "wa",
    "weighted_f1",
]
