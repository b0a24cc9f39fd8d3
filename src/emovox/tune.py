"""Which parameters? Tried on speakers of the training who are held out in turn, by unweighted average recall.

::

    found = search(x, emotions, speakers, ClassicalConfig(model="svc"), method="random", draws=20)
    fitted = fit(x, emotions, speakers, found.best)

Three ways: ``random`` judges every draw on all inner folds; ``halving`` judges all draws on a part of the
speakers, and the better third of them on three times as many, until few see all (successive halving, Jamieson
and Talwalkar, 2016); ``optuna`` proposes where earlier trials were good (TPE), gives up a trial that is worse
than the median after a fold, and goes on where an SQLite study stopped.

The search is given training rows alone, and each inner fold fits scaler, selection and classifier anew.
The seed decides everything: a search again, or one interrupted and resumed, finds the same.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from emovox.classical import ClassicalConfig, fit, speaker_folds
from emovox.classical.fitting import Fold, speaker_numbers
from emovox.classical.spaces import Choice, Range, Space, draw
from emovox.errors import ConfigError, MissingExtraError
from emovox.metrics import uar

__all__ = ["Method", "SearchResult", "Trial", "search"]

Method = Literal["random", "halving", "optuna"]

_KEPT = 3
"""Successive halving keeps one draw in so many, and gives it so many times the speakers."""

_FEWEST = 4
"""Speakers of a training that tell anything about a parameter."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One set of parameters, and what it reached."""

    number: int
    params: dict[str, Any]
    scores: tuple[float, ...]
    """UAR, 0 to 1, of each inner fold; fewer where it was given up."""
    n_speakers: int
    """In the largest training."""
    seconds: float
    complete: bool
    """Judged on all folds with all speakers: only such a trial can win."""

    @property
    def score(self) -> float | None:
        """Mean UAR over its folds; ``None`` when there is none."""
        return float(np.mean(self.scores)) if self.scores else None

    def to_dict(self) -> dict[str, Any]:
        """Plain types, a row of a table."""
        return {
            "number": self.number,
            "params": self.params,
            "score": self.score,
            "scores": list(self.scores),
            "n_speakers": self.n_speakers,
            "seconds": round(self.seconds, 3),
            "complete": self.complete,
        }


@dataclass(frozen=True, slots=True)
class SearchResult:
    """What a search found."""

    best: ClassicalConfig
    """What was searched, with the best parameters."""
    trials: tuple[Trial, ...]
    """In the order in which they were made."""
    interrupted: bool = False
    """Ctrl-C: the trials that were done are here."""

    @property
    def score(self) -> float:
        """Mean UAR of the best on the inner folds; it was chosen by it, so it flatters."""
        return max(t.score for t in self.trials if t.complete and t.score is not None)

    @property
    def curve(self) -> tuple[float | None, ...]:
        """The best complete score after each trial."""
        best: list[float | None] = []
        for trial in self.trials:
            before = best[-1] if best else None
            reached = trial.score if trial.complete else None
            known = [one for one in (before, reached) if one is not None]
            best.append(max(known) if known else None)
        return tuple(best)


def search(
    x: ArrayLike,
    y: Sequence[str],
    speakers: Sequence[str | None],
    config: ClassicalConfig,
    *,
    method: Method = "random",
    draws: int = 20,
    inner_folds: int = 3,
    space: Space | None = None,
    study: str | Path | None = None,
    seed: int = 0,
    tell: Callable[[Trial], None] = lambda trial: None,
) -> SearchResult:
    """Search parameters of ``config.model`` on training rows.

    The model's defaults (with ``config.params``) are tried first, as one of the ``draws``, so that a search
    never does worse on the inner folds than no search.

    Args:
        x: ``(n, d)``, training rows, nan where missing.
        y: labels ``(n,)``.
        speakers: ``(n,)``; no speaker is on both sides of an inner fold.
        space: what may vary; the model's own when ``None``.
        study: an SQLite file, for ``optuna``; trials that it holds are not made again.
        tell: called after each trial.

    Raises:
        ConfigError: a setting is out of range, there is nothing to search, or there are too few speakers.
        MissingExtraError: ``optuna`` is not installed.
        KeyboardInterrupt: interrupted before one trial was complete.
    """
    space = config.estimator.space if space is None else space
    if method not in get_args(Method):
        raise ConfigError(f"no search {method!r}; there are {', '.join(get_args(Method))}")
    if draws < 1 or inner_folds < 2:
        raise ConfigError(f"draws {draws}, inner_folds {inner_folds}; expected at least 1 and 2")
    if not space:
        raise ConfigError(f"{config.model} has no parameters to search: give a space")
    if study is not None and method != "optuna":
        raise ConfigError(f"only optuna keeps a study; {method!r} is made again from its seed")
    judge = _Judge.of(x, y, speakers, config, inner_folds, seed)
    ways: dict[str, _Way] = {"random": _random, "halving": _halving, "optuna": partial(_optuna, study=study)}
    trials: list[Trial] = []

    def keep(trial: Trial) -> None:
        trials.append(trial)
        tell(trial)

    try:
        ways[method](judge, space, draws, seed, keep)
    except KeyboardInterrupt:
        if not any(one.complete for one in trials):
            raise
        return _result(config, trials, interrupted=True)
    return _result(config, trials)


def _result(config: ClassicalConfig, trials: Sequence[Trial], *, interrupted: bool = False) -> SearchResult:
    complete = [one for one in trials if one.complete]
    best = max(complete, key=lambda one: one.score or 0.0)  # the first of equals
    chosen = replace(config, params={**config.params, **best.params})
    return SearchResult(chosen, tuple(trials), interrupted)


# ------------------------------------------------------------------------------------------- judging


@dataclass(frozen=True, slots=True)
class _Judge:
    """The rows, and the inner folds on which every trial is judged."""

    x: NDArray[np.float32]
    y: NDArray[np.str_]
    speakers: NDArray[np.int64]
    config: ClassicalConfig
    folds: list[Fold]

    @classmethod
    def of(
        cls,
        x: ArrayLike,
        y: Sequence[str],
        speakers: Sequence[str | None],
        config: ClassicalConfig,
        inner_folds: int,
        seed: int,
    ) -> _Judge:
        rows, labels = np.asarray(x, np.float32), np.asarray(y, str)
        if rows.ndim != 2 or not len(rows) == len(labels) == len(speakers):
            raise ConfigError(
                f"got rows {rows.shape}, {len(labels)} labels, {len(speakers)} speakers; expected n of each"
            )
        numbers = speaker_numbers(speakers)
        truth = np.unique(labels, return_inverse=True)[1]
        folds = speaker_folds(truth, numbers, inner_folds, seed)
        return cls(rows, labels, numbers, replace(config, calibrate=False), folds)

    def score(self, params: dict[str, Any], fold: Fold, share: float = 1.0) -> float:
        """UAR, 0 to 1, on the held-out part of a fold, trained on a share of the speakers of the other."""
        training, held = fold
        training = training[np.isin(self.speakers[training], self.some(training, share))]
        config = replace(self.config, params={**self.config.params, **params})
        names = [str(one) for one in self.speakers[training]]
        fitted = fit(self.x[training], self.y[training].tolist(), names, config)
        return uar(self.y[held].tolist(), fitted.predict(self.x[held]).tolist())

    def some(self, training: NDArray[np.int64], share: float = 1.0) -> NDArray[np.int64]:
        """A share of the speakers of a training, the same ones every time; more of them contain the fewer."""
        names = np.unique(self.speakers[training])
        order = np.random.default_rng(self.config.seed).permutation(names)
        return order[: max(min(_FEWEST, len(names)), round(share * len(names)))]

    def trial(self, number: int, params: dict[str, Any], share: float = 1.0) -> Trial:
        """Judge on all folds."""
        started = time.monotonic()
        scores = tuple(self.score(params, fold, share) for fold in self.folds)
        return self.told(number, params, scores, started, share)

    def told(
        self, number: int, params: dict[str, Any], scores: Sequence[float], started: float, share: float = 1.0
    ) -> Trial:
        """What is known of a trial after some folds."""
        return Trial(
            number,
            params,
            tuple(scores),
            max(len(self.some(training, share)) for training, _ in self.folds),
            time.monotonic() - started,
            complete=share >= 1 and len(scores) == len(self.folds),
        )


_Keep = Callable[[Trial], None]
_Way = Callable[[_Judge, Space, int, int, _Keep], None]


def _draws(space: Space, draws: int, seed: int) -> list[dict[str, Any]]:
    """The defaults, and the rest by chance."""
    rng = np.random.default_rng(seed)
    return [{}, *(draw(space, rng) for _ in range(draws - 1))]


def _random(judge: _Judge, space: Space, draws: int, seed: int, keep: _Keep) -> None:
    for number, params in enumerate(_draws(space, draws, seed)):
        keep(judge.trial(number, params))


def _halving(judge: _Judge, space: Space, draws: int, seed: int, keep: _Keep) -> None:
    left = list(enumerate(_draws(space, draws, seed)))
    for n_more in range(_rounds(draws), 0, -1):
        judged = []
        for number, params in left:
            judged.append(judge.trial(number, params, share=1 / _KEPT**n_more))
            keep(judged[-1])
        better = sorted(judged, key=lambda one: -(one.score or 0.0))[: -(-len(judged) // _KEPT)]
        left = [(one.number, one.params) for one in judged if one in better or one.number == 0]
    for number, params in left:
        keep(judge.trial(number, params))


def _rounds(draws: int) -> int:
    """Rounds before the last: at most two, then of a ninth of the speakers, and none with a single draw."""
    return min(2, int(np.log(max(1, draws)) / np.log(_KEPT)))


# -------------------------------------------------------------------------------------------- optuna


_STARTUP = 8
"""Trials by chance before the sampler has something to go by."""

_BEFORE_PRUNING = 4
"""Trials whose median is worth comparing with."""


def _optuna(
    judge: _Judge, space: Space, draws: int, seed: int, keep: _Keep, *, study: str | Path | None
) -> None:
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError("the search 'optuna'", "classical") from error
    loud = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        kept = optuna.create_study(
            study_name=_study_name(judge, space, seed),
            storage=None if study is None else f"sqlite:///{Path(study).absolute()}",
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(n_startup_trials=_BEFORE_PRUNING, n_warmup_steps=0),
            load_if_exists=True,
        )
        done = [t for t in kept.trials if t.state.name in ("COMPLETE", "PRUNED")][:draws]
        for number, one in enumerate(done):
            keep(_recalled(judge, number, one))
        for number in range(len(done), draws):
            # A sampler of its own for each trial: one that is resumed draws what the uninterrupted one drew.
            kept.sampler = optuna.samplers.TPESampler(seed=seed + number, n_startup_trials=_STARTUP)
            keep(_asked(judge, space, kept, number))
    finally:
        optuna.logging.set_verbosity(loud)


def _asked(judge: _Judge, space: Space, study: Any, number: int) -> Trial:
    """One trial of a study: given up when it is below the median of the others after a fold."""
    started, asked = time.monotonic(), study.ask()
    params = {name: _suggested(asked, name, one) for name, one in space.items()} if number else {}
    scores: list[float] = []
    try:
        for step, fold in enumerate(judge.folds):
            scores.append(judge.score(params, fold))
            asked.report(float(np.mean(scores)), step)
            if step + 1 < len(judge.folds) and asked.should_prune():
                break
    except BaseException:  # Ctrl-C too: it must not stay in the study as one that runs
        study.tell(asked, state=_state("FAIL"))
        raise
    trial = judge.told(number, params, scores, started)
    asked.set_user_attr("trial", trial.to_dict())
    if trial.complete:
        study.tell(asked, trial.score)
    else:
        study.tell(asked, state=_state("PRUNED"))
    return trial


def _state(name: str) -> Any:
    from optuna.trial import TrialState

    return TrialState[name]


def _recalled(judge: _Judge, number: int, kept: Any) -> Trial:
    """A trial from before."""
    told = kept.user_attrs["trial"]
    trial = judge.told(number, told["params"], told["scores"], 0.0)
    return replace(trial, seconds=told["seconds"])


def _suggested(asked: Any, name: str, one: Range | Choice) -> Any:
    if isinstance(one, Choice):
        values = {json.dumps(value): value for value in one.values}
        return values[asked.suggest_categorical(name, list(values))]
    if one.whole:
        return asked.suggest_int(name, int(one.low), int(one.high), log=one.log)
    return asked.suggest_float(name, one.low, one.high, log=one.log)


def _study_name(judge: _Judge, space: Space, seed: int) -> str:
    """Names all that a trial's score depends on, so that a study of other clips is another study."""
    seen = hashlib.sha256(np.ascontiguousarray(judge.x).tobytes())
    for part in (judge.y.tolist(), judge.speakers.tolist(), judge.config.to_dict(), sorted(space), seed):
        seen.update(repr(part).encode())
    seen.update(repr([space[name] for name in sorted(space)]).encode())
    for training, _ in judge.folds:
        seen.update(training.tobytes())
    return f"{judge.config.model}-{seen.hexdigest()[:16]}"
