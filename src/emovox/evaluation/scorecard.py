"""All figures of an evaluation as one document of plain JSON types, from which the pages are made.

Keys of the document; scores are fractions rounded to six digits, ``None`` where there is no such figure:

- ``model``, ``data``, ``protocol``, ``settings``: what was evaluated on what, and how.
- ``stamp``: what the test shares with the training, and why.
- ``scores``: UAR and WA with their intervals over speakers (``low`` and ``high`` are ``None`` under ten
  speakers: see ``speakers``), macro and weighted F1, log-loss, Brier, ECE, AUC, the effect of abstaining.
- ``classes``, ``confusion``, ``groups``, ``speakers``, ``splits``: tables. Unknown speakers are ``None``.
- ``reliability``, ``risk_coverage``: curves.
- ``errors``: clips that could not be read; they count as wrong.
- ``values``, of a model with targets: CCC, PCC and MAE of each (`emovox.evaluation.values`). A model of
  values alone has no ``scores``, ``classes``, ``confusion``, ``groups``, ``speakers``, ``splits``, curves.
- ``robustness``, on request: UAR, its loss and the share of changed labels under each condition.

Macro F1 and AUC are means over the emotions that occur in the data: a label that never occurs is no class of
the test, though predicting it is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import emovox
from emovox._arrays import Doubles
from emovox.bundles import Spec
from emovox.datasets.manifest import Manifest, Utterance
from emovox.datasets.soft_labels import has_shares, read_shares
from emovox.datasets.splits import Split
from emovox.evaluation import metrics
from emovox.evaluation.leakage import Stamp
from emovox.evaluation.predictions import NO_LABEL, Predictions
from emovox.evaluation.robustness import Robustness
from emovox.evaluation.values import make_value_scores

__all__ = [
    "AGE_BANDS",
    "CURVE_POINTS",
    "GROUPS",
    "N_BINS",
    "SCHEMA",
    "describe_spec",
    "make_scorecard",
    "to_plain",
]

SCHEMA = 1
"""Version of the document."""

N_BINS = 10
"""Bins of the reliability diagram."""

CURVE_POINTS = 100
"""Points of the risk-coverage curve at most."""

AGE_BANDS: tuple[tuple[int, str], ...] = (
    (18, "under 18"),
    (30, "18 to 29"),
    (45, "30 to 44"),
    (60, "45 to 59"),
    (200, "60 and over"),
)
"""Years below which a band ends, and the band's name."""


def _age_band(u: Utterance) -> str | None:
    return None if u.age is None else next(name for end, name in AGE_BANDS if u.age < end)


GROUPS: Mapping[str, Callable[[Utterance], str | None]] = {
    "sex": lambda u: u.sex,
    "age": _age_band,
    "language": lambda u: u.language,
    "corpus": lambda u: u.corpus,
}
"""How clips are divided for the tables of groups; ``None`` = unknown."""


def describe_spec(spec: Spec) -> dict[str, Any]:
    """Return what documents of evaluations and of behavioural tests say about a model."""
    return {
        "name": spec.name,
        "version": spec.version,
        "sha256": spec.sha256,
        "labels": list(spec.labels),
        "corpora": list(spec.corpora),
        "protocol": spec.protocol,
        "weights": spec.licence.weights,
    }


def make_scorecard(
    predictions: Predictions,
    manifest: Manifest,
    *,
    spec: Spec,
    stamp: Stamp,
    protocol: str,
    splits: Sequence[Split] = (),
    settings: Mapping[str, Any] | None = None,
    robustness: Robustness | None = None,
) -> dict[str, Any]:
    """Make the document of an evaluation.

    Args:
        predictions: of the model with ``spec`` on clips of ``manifest``.
        protocol: its name.
        splits: of the protocol; where there are several, each gets a row.
        settings: what else was asked for, as plain JSON types.
        robustness: predictions on the same clips under other conditions.
    """
    clips = manifest.select(predictions.ids)
    document: dict[str, Any] = {
        "schema": SCHEMA,
        "kind": "evaluation",
        "emovox": emovox.__version__,
        "model": {
            **describe_spec(spec),
            "temperature": spec.temperature,
            "abstains_below": spec.abstain.confidence,
        },
        "data": {
            "corpora": list(clips.corpora),
            "n_clips": len(clips),
            "n_speakers": clips.n_known_speakers,
            "emotions": clips.counts("emotion"),
        },
        "protocol": {"name": protocol, "splits": [{"name": s.name, "digest": s.digest} for s in splits]},
        "settings": {"labels": list(predictions.labels), **(settings or {})},
        "stamp": stamp.to_dict(),
    }
    if predictions.labels:
        uar = predictions.uar()
        document |= {
            "scores": _scores(predictions, uar, clips),
            "classes": _classes(predictions),
            "confusion": _confusion(predictions),
            "groups": _groups(predictions, clips),
            "speakers": _speakers(predictions, clips, uar),
            "splits": _splits(predictions, splits),
            "reliability": _reliability(predictions),
            "risk_coverage": _risk_coverage(predictions),
        }
    if predictions.values is not None:
        document["model"]["targets"] = [target.to_dict() for target in spec.targets]
        document["values"] = make_value_scores(predictions.values, clips.utterances, spec.targets, splits)
    document["errors"] = [{"id": key, "error": error} for key, error in predictions.errors]
    if robustness is not None:
        document["robustness"] = robustness.to_dict()
    plain: dict[str, Any] = to_plain(document)
    return plain


def _scores(predictions: Predictions, uar: metrics.Interval, clips: Manifest) -> dict[str, Any]:
    y_true, y_pred = predictions.y_true, predictions.y_pred
    occurring = sorted(set(y_true))
    names = _column_names(predictions)
    f1 = dict(zip(names, metrics.f1_scores(y_true, y_pred, labels=names), strict=True))
    scored_true, probs = predictions.select_scored()
    labels = list(predictions.labels)
    soft: dict[str, Callable[..., float]] = {
        "log_loss": metrics.log_loss,
        "brier": metrics.brier,
        "ece": metrics.ece,
        "auc": lambda true, probs, *, labels: _mean(metrics.auc(true, probs, labels=labels)),
    }
    return {
        "uar": _interval(uar, clips),
        "wa": _interval(predictions.wa(), clips),
        "chance": 1 / len(occurring),
        "macro_f1": _mean([f1[name] for name in occurring]),
        "weighted_f1": metrics.weighted_f1(y_true, y_pred),
        **{
            name: score(scored_true, probs, labels=labels) if scored_true else None
            for name, score in soft.items()
        },
        "coverage": predictions.coverage(),
        "answered_uar": predictions.answered_uar(),
        **({"soft": soft_scores} if (soft_scores := _score_soft_labels(predictions, clips)) else {}),
        "n_unanswered": len(predictions) - len(scored_true),
        "most_frequent_answer": dict(zip(("label", "share"), predictions.largest_share(), strict=True)),
    }


def _score_soft_labels(predictions: Predictions, clips: Manifest) -> dict[str, Any] | None:
    """Score the probabilities against the shares of labels; ``None`` where each clip has one label."""
    if not has_shares(clips):
        return None
    shares = read_shares(clips.utterances, predictions.labels)
    scored = np.isfinite(predictions.probabilities).all(axis=1) & (shares.sum(axis=1) > 0)
    if not scored.any():
        return None
    true, given = shares[scored], predictions.probabilities[scored]
    return {
        "n_clips": int(scored.sum()),
        "n_soft": int((true.max(axis=1) < 1).sum()),
        "cross_entropy": metrics.soft_cross_entropy(true, given),
        "entropy": metrics.soft_cross_entropy(true, true),
        "jensen_shannon": metrics.jensen_shannon(true, given),
    }


def _interval(interval: metrics.Interval, clips: Manifest) -> dict[str, Any]:
    return {
        "value": interval.value,
        "low": interval.low,
        "high": interval.high,
        "n_speakers": clips.n_known_speakers,
        "level": interval.level,
    }


def _column_names(predictions: Predictions) -> list[str]:
    """Return the labels that can be predicted; `NO_LABEL` is the last where it occurs."""
    labels = list(predictions.labels)
    return [*labels, NO_LABEL] if NO_LABEL in predictions.y_pred else labels


def _classes(predictions: Predictions) -> list[dict[str, Any]]:
    y_true, y_pred, names = predictions.y_true, predictions.y_pred, _column_names(predictions)
    recalls = metrics.recalls(y_true, y_pred, labels=names)
    precisions = metrics.precisions(y_true, y_pred, labels=names)
    f1s = metrics.f1_scores(y_true, y_pred, labels=names)
    scored_true, probs = predictions.select_scored()
    n_labels = len(predictions.labels)
    areas = metrics.auc(scored_true, probs, labels=list(predictions.labels)) if scored_true else None
    intervals = metrics.recall_intervals(y_true, y_pred, predictions.speakers)
    return [
        {
            "label": label,
            "n": y_true.count(label),
            "n_answers": y_pred.count(label),
            "recall": recalls[k],
            "recall_low": intervals[label].low if label in intervals else None,
            "recall_high": intervals[label].high if label in intervals else None,
            "precision": precisions[k],
            "f1": f1s[k],
            "auc": None if areas is None else areas[k],
        }
        for k, label in enumerate(names[:n_labels])
    ]


def _confusion(predictions: Predictions) -> dict[str, Any]:
    names = _column_names(predictions)
    counts = metrics.confusion_matrix(predictions.y_true, predictions.y_pred, labels=names)
    rows = [k for k, name in enumerate(names) if name in predictions.y_true]
    return {"true": [names[k] for k in rows], "answered": names, "counts": counts[rows].tolist()}


def _groups(predictions: Predictions, clips: Manifest) -> list[dict[str, Any]]:
    """Return a table for each division that tells clips apart; clips of an unknown group come last."""
    bands = [name for _, name in AGE_BANDS]
    tables = []
    for by, group_of in GROUPS.items():
        groups = [group_of(u) for u in clips]
        if set(groups) == {None}:
            continue
        columns = predictions.y_true, predictions.y_pred, predictions.speakers
        uars, gap = metrics.group_intervals(*columns, groups, "uar")
        order = sorted(set(groups), key=lambda g: (g is None, bands.index(g) if g in bands else 0, str(g)))
        rows = []
        for group in order:
            at = [i for i, g in enumerate(groups) if g == group]
            wa = metrics.wa([columns[0][i] for i in at], [columns[1][i] for i in at])
            uar = uars[group]
            rows.append(
                {
                    "group": group,
                    "n_clips": len(at),
                    "n_speakers": len({clips.utterances[i].known_speaker for i in at} - {None}) or None,
                    "uar": uar.value,
                    "uar_low": uar.low,
                    "uar_high": uar.high,
                    "wa": wa,
                }
            )
        value, low, high = (None, None, None) if gap is None else (gap.value, gap.low, gap.high)
        tables.append({"by": by, "rows": rows, "gap": value, "gap_low": low, "gap_high": high})
    return tables


def _speakers(predictions: Predictions, clips: Manifest, uar: metrics.Interval) -> list[dict[str, Any]]:
    sexes = {u.speaker: u.sex for u in clips}
    known = {u.speaker: u.known_speaker for u in clips}
    return [
        {
            "speaker": known[name],
            "sex": sexes[name],
            "n_clips": predictions.speakers.count(name),
            "uar": value,
        }
        for name, value in uar.per_speaker.items()
    ]


def _splits(predictions: Predictions, splits: Sequence[Split]) -> list[dict[str, Any]]:
    rows = []
    for split in splits if len(splits) > 1 else ():
        test = set(split.test)
        part = predictions.where(lambda i, test=test: predictions.ids[i] in test)  # type: ignore[misc]
        if len(part):
            uar, wa = (metrics.METRICS[name](part.y_true, part.y_pred) for name in ("uar", "wa"))
            rows.append({"split": split.name, "n_clips": len(part), "uar": uar, "wa": wa})
    return rows


def _reliability(predictions: Predictions) -> list[dict[str, Any]]:
    y_true, probs = predictions.select_scored()
    if not y_true:
        return []
    bins = metrics.reliability(y_true, probs, labels=list(predictions.labels), n_bins=N_BINS)
    return [
        {"low": k / N_BINS, "high": (k + 1) / N_BINS, "confidence": mean, "accuracy": right, "n": int(n)}
        for k, (mean, right, n) in enumerate(bins)
    ]


def _risk_coverage(predictions: Predictions) -> dict[str, Any]:
    """Return the thinned curve, and as ``now`` the point where the model's own abstention puts it."""
    # A clip without scores is wrong with a confidence of 0.
    confidence = np.nan_to_num(predictions.probabilities.max(axis=1), nan=0.0)
    right = np.array([t == p for t, p in zip(predictions.y_true, predictions.y_pred, strict=True)])
    curve = metrics.risk_coverage(right, confidence)
    n = len(curve.coverage)
    kept = np.unique(np.linspace(0, n - 1, min(n, CURVE_POINTS)).round().astype(int))
    labelled = ~predictions.abstained
    return {
        "points": [
            {"threshold": curve.threshold[i], "coverage": curve.coverage[i], "risk": curve.risk[i]}
            for i in kept
        ],
        "aurc": curve.aurc,
        "now": {
            "coverage": float(labelled.mean()),
            "risk": float((~right[labelled]).mean()) if labelled.any() else None,
        },
    }


def _mean(values: Sequence[float] | Doubles) -> float:
    """Return the mean of the values that are not nan."""
    known = [float(v) for v in values if not math.isnan(v)]
    return sum(known) / len(known) if known else math.nan


def to_plain(value: Any) -> Any:
    """Return JSON types only: floats of six digits, ``None`` for nan and infinity."""
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(item) for item in value]
    if isinstance(value, float | np.floating):
        # Adding 0.0 turns -0.0 into 0.0.
        return round(float(value), 6) + 0.0 if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
