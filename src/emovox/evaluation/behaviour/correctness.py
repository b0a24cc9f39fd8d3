"""Metrics of correctness: scores, distribution of labels, single speakers, calibration, abstention."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from emovox._arrays import Doubles, Ints
from emovox.evaluation import metrics
from emovox.evaluation.behaviour.samples import Measurement, Metric, NotApplicable, Row, Sample
from emovox.evaluation.metrics.counts import codes_of, ratio
from emovox.evaluation.predictions import NO_LABEL, Predictions

__all__ = ["CORRECTNESS", "MIN_CLIPS_OF_SPEAKER"]

MIN_CLIPS_OF_SPEAKER = 10
"""Clips below which the shares of labels of one speaker say little."""

# Bins of the expected calibration error, as in `emovox.evaluation.metrics.ece`.
_N_BINS = 15


def _uar(sample: Sample) -> Measurement:
    uar = sample.changed.uar()
    rows = _recall_rows(sample.changed)
    return Measurement(uar.value, uar.low, uar.high, uar.n_clips, uar.n_speakers, rows)


def _lowest_recall(sample: Sample) -> Measurement:
    return _lowest(sample, _recall_rows(sample.changed))


def _uap(sample: Sample) -> Measurement:
    found = sample.changed
    names, tables = _count_by_speaker(found)
    occurs = np.isin(names, list(set(found.y_true)))

    def score(sums: Doubles) -> Doubles:
        return np.asarray(_precisions(sums, len(names))[..., occurs].mean(axis=-1))

    value, low, high = metrics.sum_interval(tables, score)
    return Measurement(value, low, high, len(found), len(tables), _precision_rows(found))


def _lowest_precision(sample: Sample) -> Measurement:
    return _lowest(sample, _precision_rows(sample.changed))


def _lowest(sample: Sample, rows: list[Row]) -> Measurement:
    worst = min(rows, key=lambda row: row.value or 0.0)
    n_speakers = len(set(sample.changed.speakers))
    return Measurement(worst.value or 0.0, worst.low, worst.high, len(sample.changed), n_speakers, rows)


def _recall_rows(found: Predictions) -> list[Row]:
    intervals = metrics.recall_intervals(found.y_true, found.y_pred, found.speakers)
    return [Row(str(name), one.value, one.low, one.high, one.n_clips) for name, one in intervals.items()]


def _precision_rows(found: Predictions) -> list[Row]:
    """Return the precision of each label that occurs; 0 for one that is never predicted."""
    names, tables = _count_by_speaker(found)
    rows = []
    for k, name in enumerate(names):
        if name in found.y_true:

            def score(sums: Doubles, k: int = k) -> Doubles:
                return _precisions(sums, len(names))[..., k]

            value, low, high = metrics.sum_interval(tables, score)
            rows.append(Row(name, value, low, high, found.y_pred.count(name)))
    return rows


def _share_difference(sample: Sample) -> Measurement:
    """Measure the largest difference between the predicted and the true share of a label."""
    found = sample.changed
    names, tables = _count_by_speaker(found)
    k = len(names)

    def differences(sums: Doubles) -> Doubles:
        matrices = sums.reshape(-1, k, k)
        gaps = matrices.sum(axis=-2) - matrices.sum(axis=-1)
        return ratio(gaps, matrices.sum(axis=(-2, -1))[:, None], np.nan)

    value, low, high = metrics.sum_interval(tables, lambda sums: np.abs(differences(sums)).max(axis=-1))
    each = differences(tables.sum(axis=0, keepdims=True))[0]
    rows = [
        Row(name, float(gap), n_clips=found.y_pred.count(name)) for name, gap in zip(names, each, strict=True)
    ]
    return Measurement(value, low, high, len(found), len(tables), rows)


def _speaker_average(sample: Sample) -> Measurement:
    """Measure the mean over speakers and labels of |predicted share - true share|."""
    true, pred, speakers = _speaker_shares(sample.changed)
    errors = np.abs(pred - true).mean(axis=1)
    sums = np.stack([errors, np.ones(len(errors))], axis=1)
    value, low, high = metrics.sum_interval(sums, lambda rows: rows[:, 0] / rows[:, 1])
    rows = [Row(name, float(error)) for name, error in zip(speakers, errors, strict=True)]
    return Measurement(value, low, high, len(sample.changed), len(speakers), rows)


def _speaker_ranking(sample: Sample) -> Measurement:
    """Measure Spearman's correlation over speakers of predicted and true share, averaged over labels."""
    true, pred, speakers = _speaker_shares(sample.changed)
    varied = np.flatnonzero(np.ptp(true, axis=0) > 1e-9)
    counted = f"{len(speakers)} speakers have {MIN_CLIPS_OF_SPEAKER} clips or more"
    if len(speakers) < 5:
        raise NotApplicable(f"{counted}; expected 5")
    if not len(varied):
        raise NotApplicable(f"{counted}, and all express each label equally often")
    everyone = np.arange(len(speakers))

    def correlations(chosen: Ints) -> list[float]:
        return [_spearman(true[chosen, k], pred[chosen, k]) for k in varied]

    def score(draws: Doubles) -> Doubles:
        return np.array([np.mean(correlations(np.repeat(everyone, row.astype(int)))) for row in draws])

    value, low, high = metrics.sum_interval(np.eye(len(speakers)), score)
    rows = [Row(sample.names[k], one) for k, one in zip(varied, correlations(everyone), strict=True)]
    return Measurement(value, low, high, len(sample.changed), len(speakers), rows)


def _ece(sample: Sample) -> Measurement:
    found = sample.changed
    scored = np.flatnonzero(np.isfinite(found.probabilities).all(axis=1))
    if not len(scored):
        raise NotApplicable("no clip has scores")
    confidence = found.probabilities[scored].max(axis=1)
    right = np.array([found.y_true[i] == found.y_pred[i] for i in scored])
    bins = np.clip(np.ceil(confidence * _N_BINS).astype(int) - 1, 0, _N_BINS - 1)
    who = [found.speakers[i] for i in scored]
    speakers = sorted(set(who))
    tables = np.zeros((len(speakers), 2, _N_BINS))
    np.add.at(tables[:, 0], (codes_of(who, speakers), bins), confidence - right)
    np.add.at(tables[:, 1], (codes_of(who, speakers), bins), 1.0)

    def score(sums: Doubles) -> Doubles:
        parts = sums.reshape(-1, 2, _N_BINS)
        return ratio(np.abs(parts[:, 0]).sum(axis=-1), parts[:, 1].sum(axis=-1), 0.0)

    value, low, high = metrics.sum_interval(tables, score)
    gaps, counts = tables.sum(axis=0)
    rows = [
        Row(
            f"confidence {k / _N_BINS:.2f} to {(k + 1) / _N_BINS:.2f}",
            gaps[k] / counts[k],
            None,
            None,
            int(counts[k]),
        )
        for k in np.flatnonzero(counts)
    ]
    return Measurement(value, low, high, len(scored), len(speakers), rows)


def _coverage(sample: Sample) -> Measurement:
    found = sample.changed
    labelled = [NO_LABEL if abstained else "label" for abstained in found.abstained]
    one = metrics.speaker_interval(["label"] * len(found), labelled, found.speakers, "wa")
    return Measurement(one.value, one.low, one.high, len(found), one.n_speakers)


def _answered_gain(sample: Sample) -> Measurement:
    """Measure the UAR of the labelled clips less the UAR of all."""
    found = sample.changed
    answered = found.answered_uar()
    if answered is None or not found.abstained.any():
        raise NotApplicable(f"the model labels {'none' if answered is None else 'all'} of the clips")
    uar = found.uar().value
    rows = [
        Row("all clips", uar, n_clips=len(found)),
        Row("labelled clips", answered, n_clips=int((~found.abstained).sum())),
    ]
    return Measurement(answered - uar, n_clips=len(found), n_speakers=len(set(found.speakers)), rows=rows)


# --- shared -------------------------------------------------------------------------------------------


def _count_by_speaker(found: Predictions) -> tuple[list[str], Doubles]:
    """Return the labels, and each speaker's confusion matrix as a row ``(n_speakers, k * k)``."""
    names = [*found.labels, *([NO_LABEL] if NO_LABEL in found.y_pred else [])]
    speakers, k = sorted(set(found.speakers)), len(names)
    cell = codes_of(found.y_true, names) * k + codes_of(found.y_pred, names)
    tables = np.zeros((len(speakers), k * k))
    np.add.at(tables, (codes_of(found.speakers, speakers), cell), 1.0)
    return names, tables


def _precisions(sums: Doubles, k: int) -> Doubles:
    matrices = sums.reshape(-1, k, k)
    hits = np.diagonal(matrices, axis1=-2, axis2=-1)
    return ratio(hits, matrices.sum(axis=-2), 0.0)


def _speaker_shares(found: Predictions) -> tuple[Doubles, Doubles, list[str]]:
    """Return true and predicted shares of the labels ``(n_speakers, n_labels)``, and the speakers."""
    names, tables = _count_by_speaker(found)
    matrices = tables.reshape(-1, len(names), len(names))
    n_clips = matrices.sum(axis=(1, 2))
    kept = n_clips >= MIN_CLIPS_OF_SPEAKER
    if not kept.any():
        raise NotApplicable(f"no speaker has {MIN_CLIPS_OF_SPEAKER} clips or more")
    n_labels = len(found.labels)
    true = (matrices.sum(axis=2) / n_clips[:, None])[kept, :n_labels]
    pred = (matrices.sum(axis=1) / n_clips[:, None])[kept, :n_labels]
    speakers = [name for name, keep in zip(sorted(set(found.speakers)), kept, strict=True) if keep]
    return true, pred, speakers


def _spearman(a: Doubles, b: Doubles) -> float:
    """Return the rank correlation; 0 where one of both does not vary."""
    ranks = np.stack([_rank(a), _rank(b)])
    ranks -= ranks.mean(axis=1, keepdims=True)
    norms = np.sqrt((ranks**2).sum(axis=1))
    return float(ranks[0] @ ranks[1] / (norms[0] * norms[1])) if norms.all() else 0.0


def _rank(values: Doubles) -> Doubles:
    _, place, count = np.unique(values.round(9), return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(count) - (count - 1) / 2)[place])


CORRECTNESS: Mapping[str, Metric] = MappingProxyType(
    {
        "uar": Metric(_uar, "higher", "unweighted average recall"),
        "uap": Metric(_uap, "higher", "unweighted average precision of the labels that occur"),
        "lowest-recall": Metric(_lowest_recall, "higher", "lowest recall of a label"),
        "lowest-precision": Metric(_lowest_precision, "higher", "lowest precision of a label"),
        "share-difference": Metric(
            _share_difference, "lower", "largest difference between predicted and true share of a label"
        ),
        "speaker-average": Metric(
            _speaker_average, "lower", "mean error of the shares of labels of a speaker"
        ),
        "speaker-ranking": Metric(
            _speaker_ranking, "higher", "rank correlation over speakers of predicted and true shares"
        ),
        "ece": Metric(_ece, "lower", "expected calibration error"),
        "coverage": Metric(_coverage, "higher", "share of clips that get a label", needs_labels=False),
        "answered-gain": Metric(_answered_gain, "higher", "UAR of the labelled clips less that of all"),
    }
)
"""Name in a test -> metric."""
