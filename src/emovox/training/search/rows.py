"""Which parameters of an estimator? Judged on inner folds of the training's rows.

Each inner fold fits scaler, selection and classifier anew, and no speaker is on both of its sides. Changed
copies of rows are learnt from where their rows are, and nothing is judged by them.
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
from emovox.training.search.strategies import Method, Plan, run
from emovox.training.search.trials import GivenUp, SearchResult, Trial

__all__ = ["Copies", "search"]

_FEWEST = 4
"""Speakers of a training that tell anything about a parameter."""

_FEWEST_CLIPS, _FEWEST_A_CLASS = 48, 4
"""Clips of a training, and of each class, that do: where nobody knows who speaks, a clip is a speaker."""


@dataclass(frozen=True, slots=True, eq=False)
class Copies:
    """Changed copies of a training's rows."""

    x: Floats
    """``(m, d)``, nan where missing."""
    of: NDArray[np.int64]
    """``(m,)``: of which row each is a copy."""


def search(
    x: ArrayLike,
    y: Sequence[str],
    speakers: Sequence[str | None],
    config: ClassicalConfig,
    *,
    copies: Copies | None = None,
    method: Method = "random",
    draws: int = 20,
    inner_folds: int = 3,
    space: Space | None = None,
    study: str | Path | None = None,
    seed: int = 0,
    tell: Callable[[Trial], None] = lambda trial: None,
) -> SearchResult[ClassicalConfig]:
    """Search parameters of ``config.model`` on training rows.

    The model's defaults (with ``config.params``) are tried first, as one of the ``draws``, so that a search
    never does worse on the inner folds than no search.

    Args:
        x: ``(n, d)``, training rows, nan where missing.
        y: labels ``(n,)``.
        speakers: ``(n,)``; no speaker is on both sides of an inner fold.
        copies: further rows for the training side of a fold that their rows are on.
        space: what may vary; the model's own when ``None``.
        study: an SQLite file, for ``optuna``; trials that it holds are not made again.
        tell: called after each trial.

    Raises:
        ConfigError: a setting is out of range, there is nothing to search, or there are too few speakers.
        MissingExtraError: ``optuna`` is not installed.
        KeyboardInterrupt: interrupted before one trial was complete.
    """
    given = config.estimator.space if space is None else space
    if not given:
        raise ConfigError(f"{config.model} has no parameters to search: give a space")
    if inner_folds < 2:
        raise ConfigError(f"inner_folds is {inner_folds}; expected at least 2")
    plan = Plan(space=given, method=method, draws=draws, study=study, seed=seed)
    judge = _Judge.of(x, y, speakers, config, copies, inner_folds, seed)
    return run(judge, plan, lambda params: replace(config, params={**config.params, **params}), tell)


@dataclass(frozen=True, slots=True)
class _Judge:
    """The rows, and the inner folds on which every trial is judged."""

    x: Floats
    y: NDArray[np.str_]
    speakers: NDArray[np.int64]
    config: ClassicalConfig
    copies: Copies | None
    folds: list[Fold]

    @classmethod
    def of(
        cls,
        x: ArrayLike,
        y: Sequence[str],
        speakers: Sequence[str | None],
        config: ClassicalConfig,
        copies: Copies | None,
        inner_folds: int,
        seed: int,
    ) -> _Judge:
        rows, labels = np.asarray(x, np.float32), np.asarray(y, str)
        if rows.ndim != 2 or not len(rows) == len(labels) == len(speakers):
            raise ConfigError(
                f"got rows {rows.shape}, {len(labels)} labels, {len(speakers)} speakers; expected n of each"
            )
        numbers = number_speakers(speakers)
        truth = np.unique(labels, return_inverse=True)[1]
        folds = make_speaker_folds(truth, numbers, inner_folds, seed)
        return cls(rows, labels, numbers, replace(config, calibrate=False), copies, folds)

    @property
    def name(self) -> str:
        """Names rows, their copies, labels, speakers, folds and the rest of the settings."""
        seen = hashlib.sha256(np.ascontiguousarray(self.x).tobytes())
        for part in (self.y.tolist(), self.speakers.tolist(), self.config.to_dict()):
            seen.update(repr(part).encode())
        for training, _ in self.folds:
            seen.update(training.tobytes())
        if self.copies is not None:
            seen.update(np.ascontiguousarray(self.copies.x).tobytes() + self.copies.of.tobytes())
        return seen.hexdigest()

    @property
    def grace(self) -> int:
        """One fold is enough to give up."""
        return 0

    def trial(self, number: int, params: Mapping[str, Any], share: float, given_up: GivenUp) -> Trial:
        """Judge on the folds in turn, trained on a share of the speakers.

        One that fails has no score and goes no further. The defaults on all speakers are what the search
        falls back on: if they fail, so does it.
        """
        started, scores = time.monotonic(), list[float]()
        for point, fold in enumerate(self.folds):
            try:
                scores.append(self._score(params, fold, share))
            except ConfigError:
                if number == 0 and share >= 1:
                    raise
                scores.clear()
                break
            if given_up(point, float(np.mean(scores))) and point + 1 < len(self.folds):
                break
        return Trial(
            number,
            params,
            tuple(scores),
            time.monotonic() - started,
            complete=share >= 1 and len(scores) == len(self.folds),
            n_speakers=max(len(self._some(training, share)) for training, _ in self.folds),
        )

    def _score(self, params: Mapping[str, Any], fold: Fold, share: float) -> float:
        """UAR, 0 to 1, on the held-out part of a fold, trained on a share of the speakers of the other.

        Raises:
            ConfigError: with these parameters it cannot be fitted, or cannot answer.
        """
        training, held = fold
        training = training[np.isin(self.speakers[training], self._some(training, share))]
        config = replace(self.config, params={**self.config.params, **params})
        x, whose = self._taught(training)
        names = [str(one) for one in self.speakers[whose]]
        fitted = fit(x, self.y[whose].tolist(), names, config)
        try:
            answers = fitted.predict(self.x[held])
        except EmovoxError:
            raise
        except Exception as error:  # some parameters, such as more neighbours than clips, fail only here
            raise ConfigError(f"{config.model} cannot answer: {error}") from error
        return uar(self.y[held].tolist(), answers.tolist())

    def _taught(self, training: NDArray[np.int64]) -> tuple[Floats, NDArray[np.int64]]:
        """The rows of a training and their copies, and of which row each is."""
        if self.copies is None:
            return self.x[training], training
        near = np.isin(self.copies.of, training)
        whose = np.concatenate([training, self.copies.of[near]])
        return np.concatenate([self.x[training], self.copies.x[near]]), whose

    def _some(self, training: NDArray[np.int64], share: float) -> NDArray[np.int64]:
        """A share of the speakers of a training, the same ones every time; more of them contain the fewer.

        More than the share where it would leave too few speakers, clips or clips of a class.
        """
        names, who = np.unique(self.speakers[training], return_inverse=True)
        order = np.random.default_rng(self.config.seed).permutation(names)
        turn, y = np.argsort(order)[who], self.y[training]
        least = [
            min(_FEWEST, len(names)),
            _reached(turn, _FEWEST_CLIPS),
            *(_reached(turn[y == label], _FEWEST_A_CLASS) for label in np.unique(y)),
        ]
        return order[: max(round(share * len(names)), *least)]


def _reached(turn: NDArray[np.int64], n: int) -> int:
    """How many speakers have to be heard for ``n`` clips, or all; ``turn``: when that of each clip comes."""
    return int(np.sort(turn)[min(n, len(turn)) - 1]) + 1
