"""All that the answers amount to, as one document of plain JSON types that the pages are made of.

Keys of the document, scores being fractions rounded to six digits and ``None`` where there is no such figure:

- ``model``, ``data``, ``protocol``, ``settings``: what was judged by what, and how.
- ``stamp``: what the test had in common with the training, and why.
- ``scores``: UAR and WA with their intervals over speakers (under ten speakers ``low`` and ``high`` are
  ``None``: look at ``speakers``), macro and weighted F1, log-loss, Brier, ECE, AUC, what abstaining does.
- ``classes``, ``confusion``, ``groups``, ``speakers``, ``splits``: tables.
- ``reliability``, ``risk_coverage``: curves.
- ``errors``: clips that could not be read; they count as wrong.
- ``robustness``, where it was asked for: UAR, its loss and the share of changed answers under each condition.

Macro F1 and AUC are means over the emotions that occur in the data: a label that the data cannot show is no
class of it, though answering it is wrong.
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
from emovox.datasets.splits import Split
from emovox.evaluation import metrics
from emovox.evaluation.leakage import Stamp
from emovox.evaluation.predictions import NO_LABEL, Predictions
from emovox.evaluation.robustness import Robustness

__all__ = ["AGE_BANDS", "CURVE_POINTS", "GROUPS", "N_BINS", "SCHEMA", "make_scorecard"]

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
"""Years below which a band ends, and what it is called."""


def _band(row: Utterance) -> str | None:
    return None if row.age is None else next(name for end, name in AGE_BANDS if row.age < end)


GROUPS: Mapping[str, Callable[[Utterance], str | None]] = {
    "sex": lambda row: row.sex,
    "age": _band,
    "language": lambda row: row.language,
    "corpus": lambda row: row.corpus,
}
"""How clips are divided for the tables of groups; ``None`` = not known."""


def make_scorecard(
    answers: Predictions,
    manifest: Manifest,
    *,
    spec: Spec,
    stamp: Stamp,
    protocol: str,
    splits: Sequence[Split] = (),
    settings: Mapping[str, Any] | None = None,
    robustness: Robustness | None = None,
) -> dict[str, Any]:
    """The document of an evaluation.

    Args:
        answers: of the model with ``spec`` to clips of ``manifest``.
        protocol: as it was asked for.
        splits: of the protocol; where there are several, each gets its row.
        settings: what else was asked for, in plain JSON types.
        robustness: the answers when the sound is worse.
    """
    rows = manifest.select(answers.ids)
    document = {
        "schema": SCHEMA,
        "kind": "evaluation",
        "emovox": emovox.__version__,
        "model": _model(spec),
        "data": {
            "corpora": list(rows.corpora),
            "n_clips": len(rows),
            "n_speakers": len(rows.speakers),
            "emotions": rows.counts("emotion"),
        },
        "protocol": {"name": protocol, "splits": [{"name": s.name, "digest": s.digest} for s in splits]},
        "settings": {"labels": list(answers.labels), **(settings or {})},
        "stamp": stamp.to_dict(),
        "scores": _scores(answers),
        "classes": _classes(answers),
        "confusion": _confusion(answers),
        "groups": _groups(answers, rows),
        "speakers": _speakers(answers, rows),
        "splits": _splits(answers, splits),
        "reliability": _reliability(answers),
        "risk_coverage": _risk_coverage(answers),
        "errors": [{"id": key, "error": why} for key, why in answers.errors],
    }
    if robustness is not None:
        document["robustness"] = robustness.to_dict()
    plain: dict[str, Any] = _plain(document)
    return plain


def _model(spec: Spec) -> dict[str, Any]:
    return {
        "name": spec.name,
        "version": spec.version,
        "sha256": spec.sha256,
        "labels": list(spec.labels),
        "corpora": list(spec.corpora),
        "protocol": spec.protocol,
        "weights": spec.licence.weights,
        "temperature": spec.temperature,
        "abstains_below": spec.abstain.confidence,
    }


def _answered(answers: Predictions) -> tuple[list[str], Doubles]:
    """Truth and probabilities of the clips that got any."""
    known = np.asarray(np.isfinite(answers.probabilities).all(axis=1))
    return [y for y, k in zip(answers.y_true, known, strict=True) if k], answers.probabilities[known]


def _scores(answers: Predictions) -> dict[str, Any]:
    f1 = dict(zip(_names(answers), _f1(answers), strict=True))
    there = sorted(set(answers.y_true))
    true, probs = _answered(answers)
    labels = list(answers.labels)
    soft: dict[str, Callable[..., float]] = {
        "log_loss": metrics.log_loss,
        "brier": metrics.brier,
        "ece": metrics.ece,
        "auc": _mean_auc,
    }
    return {
        "uar": _interval(answers.uar()),
        "wa": _interval(answers.wa()),
        "chance": 1 / len(there),
        "macro_f1": _mean([f1[name] for name in there]),
        "weighted_f1": metrics.weighted_f1(answers.y_true, answers.y_pred),
        **{name: score(true, probs, labels=labels) if true else None for name, score in soft.items()},
        "coverage": answers.coverage(),
        "answered_uar": answers.answered_uar(),
        "n_unanswered": len(answers) - len(true),
        "most_frequent_answer": dict(zip(("label", "share"), answers.largest_share(), strict=True)),
    }


def _mean_auc(true: Sequence[str], probs: Doubles, *, labels: Sequence[str]) -> float:
    return _mean(metrics.auc(true, probs, labels=labels))


def _interval(interval: metrics.Interval) -> dict[str, Any]:
    return {k: v for k, v in interval.to_dict().items() if k not in ("per_speaker", "n_clips")}


def _names(answers: Predictions) -> list[str]:
    """Labels that occur or could be answered; no answer last."""
    return [*answers.labels, NO_LABEL] if NO_LABEL in answers.y_pred else list(answers.labels)


def _f1(answers: Predictions) -> Doubles:
    return metrics.f1_scores(answers.y_true, answers.y_pred, labels=_names(answers))


def _classes(answers: Predictions) -> list[dict[str, Any]]:
    names = _names(answers)
    recalls = metrics.recalls(answers.y_true, answers.y_pred, labels=names)
    precisions = metrics.precisions(answers.y_true, answers.y_pred, labels=names)
    true, probs = _answered(answers)
    areas = metrics.auc(true, probs, labels=list(answers.labels)) if true else [math.nan] * len(names)
    ranges = metrics.recall_intervals(answers.y_true, answers.y_pred, answers.speakers)
    table = zip(answers.labels, recalls, precisions, _f1(answers), areas, strict=False)
    return [
        {
            "label": label,
            "n": answers.y_true.count(label),
            "n_answers": answers.y_pred.count(label),
            "recall": recall,
            "recall_low": ranges[label].low if label in ranges else None,
            "recall_high": ranges[label].high if label in ranges else None,
            "precision": precision,
            "f1": f1,
            "auc": area,
        }
        for label, recall, precision, f1, area in table
    ]


def _confusion(answers: Predictions) -> dict[str, Any]:
    names = _names(answers)
    counts = metrics.confusion_matrix(answers.y_true, answers.y_pred, labels=names)
    there = [n for n, name in enumerate(names) if name in answers.y_true]
    return {"true": [names[n] for n in there], "answered": names, "counts": counts[there].tolist()}


def _groups(answers: Predictions, rows: Manifest) -> list[dict[str, Any]]:
    """A table for each division that tells clips apart; groups by name, clips of unknown group last."""
    tables = []
    for name, group_of in GROUPS.items():
        groups = [group_of(u) for u in rows]
        if set(groups) == {None}:
            continue
        uars, gap = metrics.group_table(answers.y_true, answers.y_pred, groups, "uar")
        was, _ = metrics.group_table(answers.y_true, answers.y_pred, groups, "wa")
        order = sorted(uars, key=lambda group: (group is None, _place(str(group))))
        table = [
            {
                "group": group,
                "n_clips": groups.count(group),  # type: ignore[arg-type]
                "n_speakers": len({u.speaker for u, g in zip(rows, groups, strict=True) if g == group}),
                "uar": uars[group],
                "wa": was[group],
            }
            for group in order
        ]
        tables.append({"by": name, "rows": table, "gap": gap})
    return tables


def _place(group: str) -> tuple[int, str]:
    names = [name for _, name in AGE_BANDS]
    return (names.index(group) if group in names else 0, group)


def _speakers(answers: Predictions, rows: Manifest) -> list[dict[str, Any]]:
    alone = answers.uar(n=100).per_speaker
    sexes = {u.speaker: u.sex for u in rows}
    return [
        {"speaker": who, "sex": sexes[who], "n_clips": answers.speakers.count(who), "uar": uar}
        for who, uar in alone.items()
    ]


def _splits(answers: Predictions, splits: Sequence[Split]) -> list[dict[str, Any]]:
    if len(splits) < 2:
        return []
    table = []
    for split in splits:
        test = set(split.test)
        part = answers.where(lambda i, test=test: answers.ids[i] in test)  # type: ignore[misc]
        if len(part):
            table.append(
                {"split": split.name, "n_clips": len(part), "uar": part.uar().value, "wa": part.wa().value}
            )
    return table


def _reliability(answers: Predictions) -> list[dict[str, Any]]:
    true, probs = _answered(answers)
    if not true:
        return []
    table = metrics.reliability(true, probs, labels=list(answers.labels), n_bins=N_BINS)
    return [
        {"low": n / N_BINS, "high": (n + 1) / N_BINS, "confidence": sure, "accuracy": right, "n": int(size)}
        for n, (sure, right, size) in enumerate(table)
    ]


def _risk_coverage(answers: Predictions) -> dict[str, Any]:
    """The curve, thinned; a clip without an answer is wrong at confidence 0. ``now`` is where it stands."""
    sure = np.nan_to_num(answers.probabilities.max(axis=1), nan=0.0)
    right = np.array([t == p for t, p in zip(answers.y_true, answers.y_pred, strict=True)])
    curve = metrics.risk_coverage(right, sure)
    n = len(curve.coverage)
    kept = np.unique(np.linspace(0, n - 1, min(n, CURVE_POINTS)).round().astype(int))
    given = ~answers.abstained
    return {
        "points": [
            {"threshold": curve.threshold[i], "coverage": curve.coverage[i], "risk": curve.risk[i]}
            for i in kept
        ],
        "aurc": curve.aurc,
        "now": {
            "coverage": float(given.mean()),
            "risk": float((~right[given]).mean()) if given.any() else None,
        },
    }


def _mean(values: Sequence[float] | Doubles) -> float:
    """Over the values that are there."""
    known = [float(v) for v in values if not math.isnan(v)]
    return sum(known) / len(known) if known else math.nan


def _plain(value: Any) -> Any:
    """JSON types only: floats of six digits, ``None`` for what is not a number."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (float, np.floating)):
        return round(float(value), 6) + 0.0 if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
