"""Search of an estimator's parameters on speaker-disjoint inner folds of the training rows.

Each fold fits scaler, selection and classifier anew. Augmented rows are trained on with their clips, and
never evaluated.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emovox._arrays import Floats
from emovox.errors import ConfigError, EmovoxError
from emovox.evaluation.metrics import uar
from emovox.training.classical import ClassicalConfig, fit, make_speaker_folds
from emovox.training.classical.fitting import Fold, number_speakers
from emovox.training.classical.spaces import Space
from emovox.training.search.strategies import (
    Method,
    SearchPlan,
    SearchResult,
    ShouldPrune,
    Trial,
    run_search,
)

__all__ = ["AugmentedRows", "search_classifier"]

_MIN_SPEAKERS = 4
"""Speakers in a training part of successive halving; fewer say nothing about a parameter."""

_MIN_CLIPS, _MIN_CLIPS_PER_CLASS = 48, 4
"""The same for clips, since a clip of an unknown speaker counts as a speaker."""


@dataclass(frozen=True, slots=True, eq=False)
class AugmentedRows:
    """Rows of augmented training clips."""

    x: Floats
    """``(m, d)``, nan where missing."""
    source: NDArray[np.int64]
    """``(m,)``: index of the row that each one was made from."""


def search_classifier(
    x: ArrayLike,
    y: Sequence[str],
    speakers: Sequence[str | None],
    config: ClassicalConfig,
    *,
    augmented: AugmentedRows | None = None,
    method: Method = "random",
    draws: int = 20,
    inner_folds: int = 3,
    space: Space | None = None,
    study: str | Path | None = None,
    seed: int = 0,
    on_trial: Callable[[Trial], None] = lambda trial: None,
) -> SearchResult[ClassicalConfig]:
    """Search parameters of ``config.model`` on training rows.

    The first draw is the model's defaults with ``config.params``, so that the search is never worse on the
    inner folds than no search.

    Args:
        x: ``(n, d)``, training rows, nan where missing.
        y: labels ``(n,)``.
        speakers: ``(n,)``; no speaker is on both sides of an inner fold.
        config: the model and its preprocessing.
        augmented: rows that are added to the training side of a fold with the rows they were made from.
        method: ``random``, ``halving`` or ``optuna``.
        draws: number of parameter settings.
        inner_folds: at least 2.
        space: values to search; the model's own space by default.
        study: SQLite file of ``optuna``, from which the search resumes.
        seed: of draws and folds.
        on_trial: called after each trial.

    Raises:
        ConfigError: a setting is out of range, there is nothing to search, or there are too few speakers.
        MissingExtraError: ``optuna`` is not installed.
        KeyboardInterrupt: interrupted before a trial was complete.
    """
    values = config.estimator.space if space is None else space
    if not values:
        raise ConfigError(f"{config.model} has no parameters to search: give a space")
    if inner_folds < 2:
        raise ConfigError(f"inner_folds is {inner_folds}; expected at least 2")
    plan = SearchPlan(space=values, method=method, draws=draws, study=study, seed=seed)
    rows, labels = np.asarray(x, np.float32), np.asarray(y, str)
    if rows.ndim != 2 or not len(rows) == len(labels) == len(speakers):
        raise ConfigError(
            f"got rows {rows.shape}, {len(labels)} labels, {len(speakers)} speakers; expected n of each"
        )
    numbers = number_speakers(speakers)
    folds = make_speaker_folds(np.unique(labels, return_inverse=True)[1], numbers, inner_folds, seed)
    uncalibrated = replace(config, calibrate=False)  # it takes most of the time and hardly changes the UAR
    objective = _ClassifierObjective(rows, labels, numbers, uncalibrated, augmented, folds)
    return run_search(
        objective, plan, lambda params: replace(config, params={**config.params, **params}), on_trial
    )


@dataclass(frozen=True, slots=True)
class _ClassifierObjective:
    """Rows and inner folds on which every trial is evaluated; implements `Objective`."""

    x: Floats
    y: NDArray[np.str_]
    speakers: NDArray[np.int64]
    config: ClassicalConfig
    augmented: AugmentedRows | None
    folds: list[Fold]

    @property
    def name(self) -> str:
        digest = hashlib.sha256(np.ascontiguousarray(self.x).tobytes())
        for part in (self.y.tolist(), self.speakers.tolist(), self.config.to_dict()):
            digest.update(repr(part).encode())
        for training, _ in self.folds:
            digest.update(training.tobytes())
        if self.augmented is not None:
            digest.update(np.ascontiguousarray(self.augmented.x).tobytes() + self.augmented.source.tobytes())
        return digest.hexdigest()

    @property
    def n_warmup_steps(self) -> int:
        return 0  # a trial may be pruned after its first fold

    def evaluate(
        self, number: int, params: Mapping[str, Any], budget: float, should_prune: ShouldPrune
    ) -> Trial:
        """Evaluate on the folds in turn, training on a share of the speakers.

        A trial that fails has no score. The defaults on all speakers are the search's fallback: if they fail,
        the search fails.
        """
        started, scores = time.monotonic(), list[float]()
        for step, fold in enumerate(self.folds):
            try:
                scores.append(self._score(params, fold, budget))
            except ConfigError:
                if number == 0 and budget >= 1:
                    raise
                scores.clear()
                break
            if should_prune(step, float(np.mean(scores))) and step + 1 < len(self.folds):
                break
        return Trial(
            number,
            params,
            tuple(scores),
            time.monotonic() - started,
            complete=budget >= 1 and len(scores) == len(self.folds),
            n_speakers=max(len(self._choose_speakers(training, budget)) for training, _ in self.folds),
        )

    def _score(self, params: Mapping[str, Any], fold: Fold, budget: float) -> float:
        """UAR on the held-out part of a fold, trained on a share of the speakers of the other part."""
        training, held_out = fold
        training = training[np.isin(self.speakers[training], self._choose_speakers(training, budget))]
        config = replace(self.config, params={**self.config.params, **params})
        x, source = self.x[training], training
        if self.augmented is not None:
            added = np.isin(self.augmented.source, training)
            x = np.concatenate([x, self.augmented.x[added]])
            source = np.concatenate([source, self.augmented.source[added]])
        names = [str(speaker) for speaker in self.speakers[source]]
        fitted = fit(x, self.y[source].tolist(), names, config)
        try:
            predicted = fitted.predict(self.x[held_out])
        except EmovoxError:
            raise
        except Exception as error:  # some parameters, such as more neighbours than clips, fail only here
            raise ConfigError(f"{config.model} cannot predict: {error}") from error
        return uar(self.y[held_out].tolist(), predicted.tolist())

    def _choose_speakers(self, training: NDArray[np.int64], budget: float) -> NDArray[np.int64]:
        """Choose a share of the speakers of a training part; a larger share contains the smaller ones.

        It is enlarged if it leaves too few speakers, clips or clips of a class.
        """
        names, index = np.unique(self.speakers[training], return_inverse=True)
        order = np.random.default_rng(self.config.seed).permutation(names)
        rank, y = np.argsort(order)[index], self.y[training]  # of each clip's speaker in the order

        def count_speakers(clip_ranks: NDArray[np.int64], n_clips: int) -> int:
            """Speakers that it takes to have ``n_clips``, or all clips."""
            return int(np.sort(clip_ranks)[min(n_clips, len(clip_ranks)) - 1]) + 1

        least = [
            min(_MIN_SPEAKERS, len(names)),
            count_speakers(rank, _MIN_CLIPS),
            *(count_speakers(rank[y == label], _MIN_CLIPS_PER_CLASS) for label in np.unique(y)),
        ]
        return order[: max(round(budget * len(names)), *least)]
