"""Scores of the continuous values of a model, such as arousal, as a part of the document of an evaluation.

Conventions: a clip without a value in the data is left out, and so is one for which the model gives none
(silence, an error); both are counted. A score that is not defined, as the CCC of a speaker whose clips all
have the same value, is ``None``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emovox._arrays import Doubles
from emovox.bundles import Target
from emovox.datasets.manifest import Manifest, Utterance
from emovox.datasets.splits import Split
from emovox.datasets.targets import has_values, read_targets
from emovox.evaluation import metrics
from emovox.results import Prediction

__all__ = ["MAX_POINTS", "ValueTable", "make_value_scores", "tabulate_values"]

MAX_POINTS = 1000
"""Pairs of truth and prediction in the document, for the figure; of more clips every k-th is taken."""


@dataclass(frozen=True, slots=True, eq=False)
class ValueTable:
    """True and predicted values of clips; nan where there is none."""

    targets: tuple[str, ...]
    """Those of the model that the data have."""
    true: Doubles
    """``(n_clips, n_targets)``."""
    predicted: Doubles
    """``(n_clips, n_targets)``."""

    def select(self, rows: Sequence[int]) -> ValueTable:
        """Return some of the clips."""
        return ValueTable(self.targets, self.true[list(rows)], self.predicted[list(rows)])

    @staticmethod
    def concatenate(parts: Sequence[ValueTable]) -> ValueTable:
        """Return the clips of several tables of the same targets."""
        return ValueTable(
            parts[0].targets,
            np.concatenate([part.true for part in parts]),
            np.concatenate([part.predicted for part in parts]),
        )


def tabulate_values(
    targets: Sequence[Target], manifest: Manifest, predictions: Sequence[Prediction]
) -> ValueTable:
    """Return the values of predictions on the clips of ``manifest``, one for each in their order, as a table.

    Raises:
        ManifestError: the data have none of the targets, or a cell is no number.
    """
    present = [target for target in targets if has_values(manifest, target.name)] or list(targets)
    names = tuple(target.name for target in present)
    true = read_targets(manifest, names, present[0].words)
    predicted = np.full(true.shape, np.nan)
    for row, prediction in zip(predicted, predictions, strict=True):
        if prediction.values is not None:
            row[:] = [prediction.values[name] for name in names]
    return ValueTable(names, true, predicted)


def make_value_scores(
    table: ValueTable, clips: Sequence[Utterance], targets: Sequence[Target], splits: Sequence[Split] = ()
) -> list[dict[str, Any]]:
    """Return the scores of each target as plain types, for the key ``values`` of the document.

    Args:
        clips: those of the table's rows.
        targets: descriptions of its targets.
        splits: where there are several, each gets a row.
    """
    described = {target.name: target for target in targets}
    rows = []
    for k, name in enumerate(table.targets):
        true, predicted = table.true[:, k], table.predicted[:, k]
        has_truth = ~np.isnan(true)
        scored = has_truth & ~np.isnan(predicted)
        rows.append(
            {
                "target": name,
                "unit": described[name].unit,
                "low": described[name].low,
                "high": described[name].high,
                "n_clips": int(scored.sum()),
                "n_missing": int((~has_truth).sum()),
                "n_unpredicted": int((has_truth & ~scored).sum()),
                **_score(
                    true[scored],
                    predicted[scored],
                    [clips[i] for i in np.flatnonzero(scored).tolist()],
                    splits,
                ),
            }
        )
    return rows


def _score(
    true: Doubles, predicted: Doubles, clips: Sequence[Utterance], splits: Sequence[Split]
) -> dict[str, Any]:
    """Return the scores of one target on clips that have both values."""
    if not len(true):
        return dict.fromkeys(("ccc", "pcc", "mae", "mae_of_mean", "true", "predicted")) | {
            "speakers": [],
            "splits": [],
            "points": [],
        }
    speakers = [u.speaker for u in clips]
    intervals = {
        name: metrics.value_interval(true, predicted, speakers, name) for name in metrics.VALUE_METRICS
    }
    known = {u.speaker: u.known_speaker for u in clips}
    n_known = len({*known.values()} - {None}) or None
    place = np.array(speakers)
    step = -(-len(true) // MAX_POINTS)
    return {
        **{
            name: {
                "value": one.value,
                "low": one.low,
                "high": one.high,
                "n_speakers": n_known,
                "level": one.level,
            }
            for name, one in intervals.items()
        },
        "mae_of_mean": metrics.mae(true, np.full(len(true), true.mean())),
        "true": {"mean": true.mean(), "deviation": true.std()},
        "predicted": {"mean": predicted.mean(), "deviation": predicted.std()},
        "speakers": [
            {
                "speaker": known[who],
                "n_clips": int((place == who).sum()),
                "ccc": ccc,
                "mae": intervals["mae"].per_speaker[who],
                "bias": float((predicted - true)[place == who].mean()),
            }
            for who, ccc in intervals["ccc"].per_speaker.items()
        ],
        "splits": _score_splits(true, predicted, clips, splits),
        "points": np.stack([true, predicted], axis=1)[::step].tolist(),
    }


def _score_splits(
    true: Doubles, predicted: Doubles, clips: Sequence[Utterance], splits: Sequence[Split]
) -> list[dict[str, Any]]:
    rows = []
    for split in splits if len(splits) > 1 else ():
        tested = set(split.test)
        at = np.array([u.id in tested for u in clips])
        if at.any():
            scores = {name: score(true[at], predicted[at]) for name, score in metrics.VALUE_METRICS.items()}
            rows.append({"split": split.name, "n_clips": int(at.sum()), **scores})
    return rows
