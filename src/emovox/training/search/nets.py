"""Search of the settings of a net and its training, scored by UAR on held-out speakers (extra ``train``).

::

    found = search_net(config, [(training, validation)], plan)
    found.best                                         # the config with the best settings

Optuna may prune a trial at every epoch; successive halving trains for fewer epochs first. A name in a space
is a setting of the net, as in ``model.params``, or of its training, as ``train.learning_rate``.
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
from emovox.training.classical.spaces import Choice, Range, Space, endpoints
from emovox.training.config import Config, NetModel, read_config
from emovox.training.neural.clips import ClipSet
from emovox.training.neural.curves import Epoch
from emovox.training.neural.trainer import fit_net
from emovox.training.search.strategies import SearchPlan, SearchResult, ShouldPrune, Trial, run_search

__all__ = [
    "COMMON_SPACE",
    "NET_SPACES",
    "apply_params",
    "check_space",
    "find_net_space",
    "make_inner_parts",
    "search_net",
]

_TRAIN = "train."
_MIN_EPOCHS = 3
"""Fewer epochs say nothing about a net."""

COMMON_SPACE: Space = {
    "dropout": Range(0.0, 0.6),
    "head": Choice((0, 64, 128)),
    "train.learning_rate": Range(3e-4, 1e-2, log=True),
    "train.batch_size": Choice((16, 32, 64)),
    "train.weight_decay": Range(1e-4, 0.3, log=True),
}
"""Of every net."""

_POOLING = Choice(("attention", "statistics", "mean"))
_RECURRENT: Space = {
    "hidden": Range(32, 192, log=True, whole=True),
    "n_layers": Range(1, 3, whole=True),
    "pooling": Choice((*_POOLING.values, "last")),
}
_CHANNELS = Choice(((32, 64), (64, 64), (64, 128), (64, 128, 128)))

NET_SPACES: Mapping[str, Space] = {
    "mlp": {"layers": Choice(((64,), (128,), (128, 128), (256, 128)))},
    "lstm": _RECURRENT,
    "bilstm": _RECURRENT,
    "gru": _RECURRENT,
    "cnn1d": {"channels": _CHANNELS, "kernel": Choice((3, 5, 7, 9)), "pooling": _POOLING},
    "cnn2d": {"channels": Choice(((16, 32), (16, 32, 64), (32, 64, 64))), "pooling": _POOLING},
    "clstm": {
        "channels": Choice(((32,), (64,), (64, 64))),
        "kernel": Choice((3, 5, 7)),
        "hidden": Range(32, 128, log=True, whole=True),
        "bidirectional": Choice((False, True)),
    },
    "crnn": {
        "channels": Choice(((16,), (16, 32), (32, 32))),
        "hidden": Range(32, 128, log=True, whole=True),
        "bidirectional": Choice((False, True)),
    },
    "tcn": {
        "channels": Choice((32, 64, 96)),
        "kernel": Choice((3, 5)),
        "n_blocks": Range(3, 7, whole=True),
        "pooling": _POOLING,
    },
    "conformer": {
        "channels": Choice((48, 64, 96)),
        "n_blocks": Range(1, 3, whole=True),
        "kernel": Choice((7, 15, 31)),
        "pooling": _POOLING,
    },
}
"""Net -> its space, in addition to `COMMON_SPACE`."""


def find_net_space(name: str) -> Space:
    """Return the default space of a net; `COMMON_SPACE` for nets that are not in the table."""
    return {**NET_SPACES.get(name, {}), **COMMON_SPACE}


def search_net(
    config: Config,
    parts: Sequence[tuple[ClipSet, ClipSet]],
    plan: SearchPlan,
    *,
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> SearchResult[Config]:
    """Search settings of ``config.model`` and ``config.train``.

    Args:
        config: the net and its training.
        parts: training and held-out clips; each trial is trained on each, and scored by the mean of its UARs
            on the held-out clips at the best epoch.
        plan: space, method and number of draws.
        on_trial: called after each trial.

    Raises:
        ConfigError: a setting of the space is unknown or out of range.
        KeyboardInterrupt: interrupted before a trial was complete.
    """
    check_space(config, plan.space)
    objective = _NetObjective(config, tuple(parts))
    return run_search(objective, plan, lambda params: apply_params(config, params), on_trial)


def make_inner_parts(
    clips: ClipSet, speakers: Sequence[str | None], n_folds: int, seed: int
) -> list[tuple[ClipSet, ClipSet]]:
    """Part training clips into speaker-disjoint folds, each held out once.

    Raises:
        ConfigError: there are too few speakers.
    """
    folds = make_speaker_folds(clips.labels, number_speakers(speakers), n_folds, seed)
    return [(clips.select(training), clips.select(held_out)) for training, held_out in folds]


def apply_params(config: Config, params: Mapping[str, Any]) -> Config:
    """Return the config with other settings, named as in a space.

    Raises:
        ConfigError: a value is out of its range.
    """
    train = {name.removeprefix(_TRAIN): v for name, v in params.items() if name.startswith(_TRAIN)}
    net = {name: v for name, v in params.items() if not name.startswith(_TRAIN)}
    net = {name: list(v) if isinstance(v, tuple) else v for name, v in net.items()}  # as YAML has it
    model = replace(config.model, params={**config.model.params, **net})
    return replace(config, model=model, train=replace(config.train, **train))


def check_space(config: Config, space: Space) -> None:
    """Check that every value of a space is valid, before any training.

    Raises:
        ConfigError: a setting is unknown or a value out of its range.
    """
    if not isinstance(config.model, NetModel):
        raise ConfigError(f"model.kind is {config.model.kind!r}; expected net")
    for name, values in space.items():
        for value in endpoints(values):
            if name.startswith(_TRAIN):
                read_config(None, [f"{name}={json.dumps(value)}"])  # checks the type, too
            else:
                _make_net(apply_params(config, {name: value}), n_in=1, n_labels=2)


def _make_net(config: Config, *, n_in: int, n_labels: int) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return make_net(config.model.name, config.model.params, n_in=n_in, n_labels=n_labels)


@dataclass(frozen=True, slots=True)
class _NetObjective:
    """Clips on which every trial is trained and evaluated; implements `Objective`."""

    config: Config
    parts: tuple[tuple[ClipSet, ClipSet], ...]

    @property
    def name(self) -> str:
        digests = [clips.digest for part in self.parts for clips in part]
        settings = (asdict(self.config.model), asdict(self.config.train), self.config.seed, digests)
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    @property
    def n_warmup_steps(self) -> int:
        return max(2, self.config.train.epochs // 5)

    def evaluate(
        self, number: int, params: Mapping[str, Any], budget: float, should_prune: ShouldPrune
    ) -> Trial:
        """Train on each part in turn, with a share of the epochs."""
        started, scores, reached = time.monotonic(), list[float](), list[float]()
        config = apply_params(self.config, params)
        n_epochs = min(config.train.epochs, max(_MIN_EPOCHS, round(budget * config.train.epochs)))
        config = replace(config, train=replace(config.train, epochs=n_epochs))
        is_pruned = False
        for training, held_out in self.parts:
            best, earlier, first_step = 0.0, tuple(scores), len(scores) * n_epochs

            def should_stop(epoch: Epoch) -> bool:
                nonlocal best, is_pruned
                best = max(best, epoch.uar or 0.0)
                mean = float(np.mean([*earlier, best]))  # noqa: B023
                is_pruned = should_prune(first_step + epoch.number, mean)  # noqa: B023
                return is_pruned

            net = _make_net(config, n_in=training.n_columns, n_labels=training.corpus_labels.shape[1])
            fitted = fit_net(net, training, held_out, config.train, seed=config.seed, should_stop=should_stop)
            scores.append(fitted.uar or 0.0)
            reached += accumulate((epoch.uar or 0.0 for epoch in fitted.epochs), max)
            if is_pruned:
                break
        return Trial(
            number,
            params,
            tuple(scores),
            time.monotonic() - started,
            complete=budget >= 1 and not is_pruned,
            epochs=tuple(reached),
        )
