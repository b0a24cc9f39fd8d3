"""From a config to better settings: searched for on the training part, never on the test.

::

    found = searched(config, problem.manifest, plan.splits[0], table, study=folder / "study.db")
    found.best                                         # the config, with the best settings

An estimator is judged on speaker-disjoint folds of the training part. A net is judged as its training will
be, by the validation speakers at its best epoch; where no clips validate, on such folds too.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emovox.datasets.manifest import Manifest
from emovox.datasets.splits import Split
from emovox.features.extraction import FeatureTable
from emovox.training.classical.spaces import endpoints, read_space
from emovox.training.config import Config, NetModel
from emovox.training.experiment import classical_config, copied, rows_of

if TYPE_CHECKING:
    from emovox.training.experiment_nets import ClipTable
    from emovox.training.search import SearchResult, Trial

__all__ = ["check_search", "searched", "searched_net"]


def check_search(config: Config) -> None:
    """See before the work that the model, what may vary of it, and the augmentation are possible.

    Raises:
        ConfigError: a name is unknown or a value out of its range.
        MissingExtraError: the config is of a net, and PyTorch is not installed.
    """
    config.augmentation()
    space = read_space(config.tune.space)
    if isinstance(config.model, NetModel):
        from emovox.training.experiment_nets import check_net
        from emovox.training.search.nets import check_space

        check_net(config)
        check_space(config, space)
    else:
        classical_config(config.model, config.seed)
        for name, one in space.items():
            for value in endpoints(one):
                params = {**config.model.params, name: value}
                classical_config(replace(config.model, params=params), config.seed)


def searched(
    config: Config,
    manifest: Manifest,
    split: Split,
    table: FeatureTable,
    copies: FeatureTable | None = None,
    *,
    study: Path | None = None,
    tell: Callable[[Trial], None] = lambda trial: None,
) -> SearchResult[Config]:
    """Search an estimator's settings inside the split's training part.

    Args:
        copies: features of the training clips' changed copies (`emovox.augment.clips`): learnt from inside
            the training part of each inner fold, and judged on in none.
        study: where ``optuna`` keeps its trials, to go on from.
        tell: called after each trial.

    Raises:
        ConfigError: a setting is impossible, or there are too few speakers.
    """
    from emovox.training.search import Copies, SearchResult, search

    rows = rows_of(table, manifest, split.train)
    found = search(
        rows.x,
        rows.y,
        rows.speakers,
        classical_config(config.model, config.seed),
        copies=None if copies is None else Copies(*copied(rows, copies, config.augment.copies)),
        method=config.tune.method,
        draws=config.tune.draws,
        inner_folds=config.tune.inner_folds,
        space=read_space(config.tune.space) or None,
        study=study if config.tune.method == "optuna" else None,
        seed=config.seed,
        tell=tell,
    )
    params = {key: _plain(value) for key, value in found.best.params.items()}
    best = replace(config, model=replace(config.model, params=params))
    return SearchResult(best, found.params, found.trials, found.interrupted)


def searched_net(
    config: Config,
    manifest: Manifest,
    split: Split,
    table: ClipTable,
    *,
    study: Path | None = None,
    tell: Callable[[Trial], None] = lambda trial: None,
) -> SearchResult[Config]:
    """Search settings of a net and of its training; see `searched`.

    Raises:
        ConfigError: a setting is impossible, or there are too few speakers.
    """
    from emovox.training.experiment_nets import clip_sets
    from emovox.training.search.net_spaces import space_of_net
    from emovox.training.search.nets import inner_parts, search_net
    from emovox.training.search.strategies import Plan

    _, taught, held = clip_sets(manifest, split, table)
    if held is None:
        speakers = [manifest[key].known_speaker for key in split.train if key in table.clips]
        parts = inner_parts(taught, speakers, config.tune.inner_folds, config.seed)
    else:
        parts = [(taught, held)]
    plan = Plan(
        space=read_space(config.tune.space) or space_of_net(config.model.name),
        method=config.tune.method,
        draws=config.tune.draws,
        study=study if config.tune.method == "optuna" else None,
        seed=config.seed,
    )
    return search_net(config, parts, plan, tell=tell)


def _plain(value: Any) -> Any:
    """Types that YAML knows."""
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value
