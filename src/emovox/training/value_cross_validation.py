"""Scores of cross-validated models of values: what `emovox.training.cross_validation` writes about them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from emovox.datasets.manifest import Utterance
from emovox.datasets.split_plan import SplitPlan
from emovox.errors import ConfigError
from emovox.evaluation.scorecard import to_plain
from emovox.evaluation.values import ValueTable, make_value_scores
from emovox.training.bundle_spec import make_targets
from emovox.training.config import Config
from emovox.training.folds import FoldResult, System
from emovox.training.regressor_trainer import read_part, score_values

__all__ = ["check_systems", "describe_value_protocol", "score_validation"]

_LEFT_OUT = ("points", "speakers")
"""Keys of the scores of an evaluation that a comparison does not have."""


def check_systems(systems: Sequence[System]) -> bool:
    """Return whether the systems predict values alone, and not labels.

    Raises:
        ConfigError: they differ in that or in their targets, predict both, or are not exported.
    """
    configs = [system.trainer.config for system in systems]
    if not any(config.targets for config in configs):
        return False
    if len({(config.targets, config.labels) for config in configs}) > 1:
        raise ConfigError(
            "the configs differ in targets or labels; expected the same, to compare their scores"
        )
    if configs[0].labels != "none":
        raise ConfigError(
            f"labels is {configs[0].labels!r}: a cross-validation scores labels or values; expected "
            "labels=none, or no targets"
        )
    if not all(system.export for system in systems):
        raise ConfigError("models of values are predicted from their bundles; expected export=True")
    return True


def score_validation(config: Config, plan: SplitPlan, results: Sequence[FoldResult]) -> float:
    """Return the mean CCC of the targets over all validation clips; -1 where none is defined."""
    table, _ = _pool(config, plan, results, "validation")
    scores = score_values(config, table.true, table.predicted)
    known = [score for score in scores.values() if score is not None]
    return round(sum(known) / len(known), 6) if known else -1.0


Results = Mapping[System, tuple[FoldResult, ...]]


def describe_value_protocol(
    plan: SplitPlan, chosen: System | None, validation: Results, test: Results
) -> dict[str, Any]:
    """Return the scores of all systems under one protocol, in plain JSON types.

    Args:
        chosen: the system that was chosen, if any.
        validation: results of each split, in the plan's order.
        test: likewise, of the systems that could be fitted.
    """
    plain: dict[str, Any] = to_plain(
        {
            **plan.to_dict(),
            "chosen": None if chosen is None else chosen.about,
            "systems": [
                _describe_system(plan, system, first, test.get(system, ()))
                for system, first in validation.items()
            ],
        }
    )
    return plain


def _describe_system(
    plan: SplitPlan, system: System, first: Sequence[FoldResult], test: Sequence[FoldResult]
) -> dict[str, Any]:
    failed = sorted({str(fold.error) for fold in (*first, *test) if fold.error})
    row: dict[str, Any] = {**system.about, "error": "; ".join(failed) or None}
    if failed or not test:
        return row
    config = system.trainer.config
    table, clips = _pool(config, plan, test, "test")
    targets = make_targets(config, read_part(config, plan.manifest, plan.manifest.ids))
    scores = make_value_scores(table, clips, targets, plan.splits)
    has_validation = all(split.validation for split in plan.splits)
    return {
        **row,
        "n_columns": [fold.n_columns for fold in first],
        "n_parameters": [fold.n_parameters for fold in first],
        "validation_ccc": score_validation(config, plan, first) if has_validation else None,
        "values": [
            {key: value for key, value in scored.items() if key not in _LEFT_OUT} for scored in scores
        ],
        "notes": list(dict.fromkeys(note for fold in (*first, *test) for note in fold.notes)),
    }


def _pool(
    config: Config, plan: SplitPlan, results: Sequence[FoldResult], part: str
) -> tuple[ValueTable, list[Utterance]]:
    """True and predicted values of the clips of a part over all splits, and the clips.

    A clip that is in the part of several splits, as validation clips may be, counts in each.
    """
    ids: list[str] = []
    rows: list[list[float]] = []
    nothing = (None,) * len(config.targets)
    for split, result in zip(plan.splits, results, strict=True):
        given = dict(zip(result.ids, result.values, strict=True))
        for key in getattr(split, part):
            ids.append(key)
            rows.append([math.nan if value is None else value for value in given.get(key, nothing)])
    predicted = np.array(rows, np.float64).reshape(len(ids), len(config.targets))
    true = read_part(config, plan.manifest, ids)
    return ValueTable(config.targets, true, predicted), [plan.manifest[key] for key in ids]
