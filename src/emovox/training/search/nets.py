"""Which settings of a net? Judged by the UAR on speakers that the training does not hear (extra ``train``).

::

    found = search_net(config, [(training, validation)], plan)
    found.best                                         # the config, with the best settings

Every epoch is a point at which Optuna may give a trial up, and successive halving gives fewer epochs first.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from typing import Any

import numpy as np
import torch

from emovox.errors import ConfigError
from emovox.nets.registry import make_net
from emovox.training.classical import make_speaker_folds
from emovox.training.classical.fitting import number_speakers
from emovox.training.classical.spaces import Space, endpoints
from emovox.training.config import Config, NetModel, read_config
from emovox.training.neural.clips import ClipSet
from emovox.training.neural.curves import Epoch
from emovox.training.neural.trainer import fit_net
from emovox.training.search.strategies import Plan, run
from emovox.training.search.trials import GivenUp, SearchResult, Trial

__all__ = ["changed", "check_space", "inner_parts", "search_net"]

_TRAIN = "train."
_FEWEST = 3
"""Epochs after which a net tells anything."""


def search_net(
    config: Config,
    parts: Sequence[tuple[ClipSet, ClipSet]],
    plan: Plan,
    *,
    tell: Callable[[Trial], None] = lambda trial: None,
) -> SearchResult[Config]:
    """Search settings of ``config.model`` and ``config.train``.

    Args:
        parts: training and held-out clips; each trial is trained on each, and scored by the mean of its UARs
            on the held-out ones, at the best epoch.
        plan: its space has the names of `emovox.training.search.net_spaces`.
        tell: called after each trial.

    Raises:
        ConfigError: a setting of the space is unknown or impossible.
        KeyboardInterrupt: interrupted before one trial was complete.
    """
    check_space(config, plan.space)
    return run(_Judge(config, tuple(parts)), plan, lambda params: changed(config, params), tell)


def inner_parts(
    clips: ClipSet, speakers: Sequence[str | None], n_folds: int, seed: int
) -> list[tuple[ClipSet, ClipSet]]:
    """A training's clips in speaker-disjoint parts, each held out once.

    Raises:
        ConfigError: there are too few speakers.
    """
    folds = make_speaker_folds(clips.labels, number_speakers(speakers), n_folds, seed)
    return [(clips.select(training), clips.select(held)) for training, held in folds]


def changed(config: Config, params: Mapping[str, Any]) -> Config:
    """The config with other settings, named as in a space.

    Raises:
        ConfigError: a value is out of its range.
    """
    taught = {name.removeprefix(_TRAIN): v for name, v in params.items() if name.startswith(_TRAIN)}
    made = {name: _plain(v) for name, v in params.items() if not name.startswith(_TRAIN)}
    model = replace(config.model, params={**config.model.params, **made})
    return replace(config, model=model, train=replace(config.train, **taught))


def check_space(config: Config, space: Space) -> None:
    """See before the work that all values can be met.

    Raises:
        ConfigError: one cannot, or is of no setting.
    """
    if not isinstance(config.model, NetModel):
        raise ConfigError(f"model.kind is {config.model.kind!r}; expected net")
    for name, one in space.items():
        for value in endpoints(one):
            if name.startswith(_TRAIN):
                read_config(None, [f"{name}={json.dumps(value)}"])  # which knows types, and the nearest name
            else:
                _net(changed(config, {name: value}), n_in=1, n_labels=2)


def _net(config: Config, *, n_in: int, n_labels: int) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return make_net(config.model.name, config.model.params, n_in=n_in, n_labels=n_labels)


@dataclass(frozen=True, slots=True)
class _Judge:
    """The clips on which every trial is trained and judged."""

    config: Config
    parts: tuple[tuple[ClipSet, ClipSet], ...]

    @property
    def name(self) -> str:
        """Names the clips and the rest of the settings."""
        clips = [one.digest for part in self.parts for one in part]
        told = (asdict(self.config.model), asdict(self.config.train), self.config.seed, clips)
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    @property
    def grace(self) -> int:
        """A fifth of the epochs of one training."""
        return max(2, self.config.train.epochs // 5)

    def trial(self, number: int, params: Mapping[str, Any], share: float, given_up: GivenUp) -> Trial:
        """Train on each part in turn, with a share of the epochs."""
        started, scores, reached = time.monotonic(), list[float](), list[float]()
        config = changed(self.config, params)
        n_epochs = min(config.train.epochs, max(_FEWEST, round(share * config.train.epochs)))
        config = replace(config, train=replace(config.train, epochs=n_epochs))
        for training, held in self.parts:
            watch = _Watch(tuple(scores), len(scores) * n_epochs, given_up)
            net = _net(config, n_in=training.n_columns, n_labels=training.corpus_labels.shape[1])
            fitted = fit_net(net, training, held, config.train, seed=config.seed, should_stop=watch)
            scores.append(fitted.uar or 0.0)
            reached += accumulate((epoch.uar or 0.0 for epoch in fitted.epochs), max)
            if watch.is_over:
                break
        return Trial(
            number,
            params,
            tuple(scores),
            time.monotonic() - started,
            complete=share >= 1 and not watch.is_over,
            epochs=tuple(reached),
        )


@dataclass(slots=True)
class _Watch:
    """Hands what a trial has reached to whoever may give it up."""

    before: tuple[float, ...]
    """Scores of the parts that are done."""
    point: int
    """How many epochs those might have taken."""
    given_up: GivenUp
    best: float = 0.0
    is_over: bool = False

    def __call__(self, epoch: Epoch) -> bool:
        self.best = max(self.best, epoch.uar or 0.0)
        mean = float(np.mean([*self.before, self.best]))
        self.is_over = self.given_up(self.point + epoch.number, mean)
        return self.is_over


def _plain(value: Any) -> Any:
    """Lists instead of tuples, as YAML has them."""
    return list(value) if isinstance(value, tuple) else value
