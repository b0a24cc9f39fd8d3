"""In which order are settings tried, and which are given up: by chance, by halving, as Optuna proposes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import numpy as np

from emovox.errors import ConfigError, MissingExtraError
from emovox.training.classical.spaces import Choice, Range, Space, draw
from emovox.training.search.trials import Judge, SearchResult, Trial

__all__ = ["Method", "Plan", "run"]

Method = Literal["random", "halving", "optuna"]

Best = TypeVar("Best")

_KEPT = 3
"""Successive halving keeps one draw in so many, and gives it so many times the means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How a search goes.

    Raises:
        ConfigError: a setting is out of range, or there is nothing to search.
    """

    space: Space
    method: Method = "random"
    draws: int = 20
    study: str | Path | None = None
    """An SQLite file, for ``optuna``; trials that it holds are not made again."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ConfigError(f"no search {self.method!r}; there are {', '.join(get_args(Method))}")
        if self.draws < 1:
            raise ConfigError(f"draws is {self.draws}; expected at least 1")
        if not self.space:
            raise ConfigError("there are no parameters to search: give a space")
        if self.study is not None and self.method != "optuna":
            raise ConfigError(f"only optuna keeps a study; {self.method!r} is made again from its seed")


def run(
    judge: Judge, plan: Plan, made: Callable[[Mapping[str, Any]], Best], tell: Callable[[Trial], None]
) -> SearchResult[Best]:
    """Try what the plan says; the defaults come first, so that no search is worse than none.

    Args:
        made: puts parameters into what is searched.
        tell: called after each trial.

    Raises:
        MissingExtraError: ``optuna`` is not installed.
        KeyboardInterrupt: interrupted before one trial was complete.
    """
    trials: list[Trial] = []

    def keep(trial: Trial) -> None:
        trials.append(trial)
        tell(trial)

    try:
        _WAYS[plan.method](judge, plan, keep)
    except KeyboardInterrupt:
        if not any(one.complete for one in trials):
            raise
        return SearchResult.of(trials, made, interrupted=True)
    return SearchResult.of(trials, made, interrupted=False)


_Keep = Callable[[Trial], None]


def _never(point: int, value: float) -> bool:
    return False


def _draws(plan: Plan) -> list[dict[str, Any]]:
    """The defaults, and the rest by chance."""
    rng = np.random.default_rng(plan.seed)
    return [{}, *(draw(plan.space, rng) for _ in range(plan.draws - 1))]


def _random(judge: Judge, plan: Plan, keep: _Keep) -> None:
    for number, params in enumerate(_draws(plan)):
        keep(judge.trial(number, params, 1.0, _never))


def _halving(judge: Judge, plan: Plan, keep: _Keep) -> None:
    left = list(enumerate(_draws(plan)))
    for n_more in range(_rounds(plan.draws), 0, -1):
        judged = []
        for number, params in left:
            judged.append(judge.trial(number, params, 1 / _KEPT**n_more, _never))
            keep(judged[-1])
        better = sorted(judged, key=lambda one: -(one.score or 0.0))[: -(-len(judged) // _KEPT)]
        left = [(n, params) for n, params in left if n == 0 or n in {one.number for one in better}]
    for number, params in left:
        keep(judge.trial(number, params, 1.0, _never))


def _rounds(draws: int) -> int:
    """Rounds before the last: at most two, then with a ninth of the means, and none with a single draw."""
    return min(2, int(np.log(max(1, draws)) / np.log(_KEPT)))


# -------------------------------------------------------------------------------------------- optuna


_STARTUP = 8
"""Trials by chance before the sampler has something to go by."""

_BEFORE_PRUNING = 4
"""Trials whose median is worth comparing with."""


def _optuna(judge: Judge, plan: Plan, keep: _Keep) -> None:
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError("the search 'optuna'", "classical") from error
    loud = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        kept = optuna.create_study(
            study_name=_study_name(judge, plan),
            storage=None if plan.study is None else f"sqlite:///{Path(plan.study).absolute()}",
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(_BEFORE_PRUNING, n_warmup_steps=judge.grace),
            load_if_exists=True,
        )
        done = [t for t in kept.trials if t.state.name in ("COMPLETE", "PRUNED")][: plan.draws]
        for one in done:
            keep(Trial.from_dict(one.user_attrs["trial"]))
        for number in range(len(done), plan.draws):
            # A sampler of its own for each trial: one that is resumed draws what the uninterrupted one drew.
            kept.sampler = optuna.samplers.TPESampler(seed=plan.seed + number, n_startup_trials=_STARTUP)
            keep(_asked(judge, plan.space, kept, number))
    finally:
        optuna.logging.set_verbosity(loud)


def _asked(judge: Judge, space: Space, study: Any, number: int) -> Trial:
    """One trial of a study: given up when it is below the median of the others at the same point."""
    asked = study.ask()
    params = {name: _suggested(asked, name, one) for name, one in space.items()} if number else {}

    def given_up(point: int, value: float) -> bool:
        asked.report(value, point)
        return bool(asked.should_prune())

    try:
        trial = judge.trial(number, params, 1.0, given_up)
    except BaseException:  # Ctrl-C too: it must not stay in the study as one that runs
        study.tell(asked, state=_state("FAIL"))
        raise
    asked.set_user_attr("trial", trial.to_dict())
    if trial.complete:
        study.tell(asked, trial.score)
    else:
        study.tell(asked, state=_state("PRUNED"))
    return trial


def _state(name: str) -> Any:
    from optuna.trial import TrialState

    return TrialState[name]


def _suggested(asked: Any, name: str, one: Range | Choice) -> Any:
    if isinstance(one, Choice):
        values = {json.dumps(value): value for value in one.values}
        return values[asked.suggest_categorical(name, list(values))]
    if one.whole:
        return asked.suggest_int(name, int(one.low), int(one.high), log=one.log)
    return asked.suggest_float(name, one.low, one.high, log=one.log)


def _study_name(judge: Judge, plan: Plan) -> str:
    """Names all that a trial's score depends on, so that a study of other clips is another study."""
    space = sorted((name, repr(one)) for name, one in plan.space.items())
    return hashlib.sha256(repr((judge.name, space, plan.seed)).encode()).hexdigest()[:16]


_WAYS: Mapping[Method, Callable[[Judge, Plan, _Keep], None]] = {
    "random": _random,
    "halving": _halving,
    "optuna": _optuna,
}
