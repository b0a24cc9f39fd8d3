"""Search strategies over any objective: random, successive halving, Optuna; their trials and results."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Generic, Literal, Protocol, TypeVar, get_args

import numpy as np

from emovox.errors import ConfigError, MissingExtraError
from emovox.training.classical.spaces import Choice, Space, draw

__all__ = ["Method", "Objective", "SearchPlan", "SearchResult", "ShouldPrune", "Trial", "run_search"]

Method = Literal["random", "halving", "optuna"]

Best = TypeVar("Best")

ShouldPrune = Callable[[int, float], bool]
"""``(step, UAR so far) -> whether to stop the trial``."""

_HALVING_FACTOR = 3
"""Successive halving keeps one draw in so many, and gives it so many times the budget."""

_N_STARTUP_TRIALS = 8
"""Random trials before Optuna's sampler."""

_N_BEFORE_PRUNING = 4
"""Trials that the median needs."""


@dataclass(frozen=True, slots=True)
class Trial:
    """Parameters and their scores."""

    number: int
    params: Mapping[str, Any]
    scores: tuple[float, ...]
    """UAR, 0 to 1, of each inner fold; fewer if it was pruned."""
    seconds: float
    complete: bool
    """Evaluated in full; only such a trial can be the best."""
    n_speakers: int | None = None
    """In the largest training part; ``None`` for a net."""
    epochs: tuple[float, ...] = ()
    """Of a net: the best UAR so far after each epoch."""

    @property
    def score(self) -> float | None:
        """Mean UAR over the folds; ``None`` without any."""
        return float(np.mean(self.scores)) if self.scores else None

    def to_dict(self) -> dict[str, Any]:
        """Return plain types, a row of a table."""
        return {
            "number": self.number,
            "params": dict(self.params),
            "score": self.score,
            "scores": list(self.scores),
            "n_speakers": self.n_speakers,
            "epochs": list(self.epochs),
            "seconds": round(self.seconds, 3),
            "complete": self.complete,
        }

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Trial:
        """Create the trial that `to_dict` returned."""
        values: dict[str, Any] = {field.name: row[field.name] for field in fields(cls)}
        return cls(**values | {name: tuple(values[name]) for name in ("scores", "epochs")})


@dataclass(frozen=True, slots=True)
class SearchResult(Generic[Best]):
    """Trials of a search and the best of them."""

    best: Best
    """The searched config with the best parameters."""
    params: Mapping[str, Any]
    """The best parameters alone."""
    trials: tuple[Trial, ...]
    """In the order of evaluation."""
    interrupted: bool = False
    """Whether Ctrl-C ended the search early."""

    @property
    def score(self) -> float:
        """Mean UAR of the best on the inner folds; optimistic, since it selected the parameters."""
        return max(t.score for t in self.trials if t.complete and t.score is not None)

    @property
    def curve(self) -> tuple[float | None, ...]:
        """The best complete score after each trial."""
        curve: list[float | None] = []
        for trial in self.trials:
            scores = [*curve[-1:], trial.score if trial.complete else None]
            curve.append(max((score for score in scores if score is not None), default=None))
        return tuple(curve)


class Objective(Protocol):
    """Trains with some parameters and scores the result."""

    @property
    def name(self) -> str:
        """Identify everything that a score depends on except the parameters."""

    @property
    def n_warmup_steps(self) -> int:
        """Steps before which no trial is pruned."""

    def evaluate(
        self, number: int, params: Mapping[str, Any], budget: float, should_prune: ShouldPrune
    ) -> Trial:
        """Evaluate with a share of the full budget, 0 to 1; complete with all of it and unless pruned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """Settings of a search.

    Raises:
        ConfigError: a setting is out of range, or there is nothing to search.
    """

    space: Space
    method: Method = "random"
    draws: int = 20
    """Trials, or draws of `halving`."""
    study: str | Path | None = None
    """SQLite file of ``optuna``, from which the search resumes."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise ConfigError(f"no search {self.method!r}; there are {', '.join(get_args(Method))}")
        if self.draws < 1:
            raise ConfigError(f"draws is {self.draws}; expected at least 1")
        if not self.space:
            raise ConfigError("there are no parameters to search: give a space")
        if self.study is not None and self.method != "optuna":
            raise ConfigError(f"only optuna keeps a study; {self.method!r} is repeated from its seed")


def run_search(
    objective: Objective,
    plan: SearchPlan,
    make_best: Callable[[Mapping[str, Any]], Best],
    on_trial: Callable[[Trial], None],
) -> SearchResult[Best]:
    """Search by the plan; the defaults are tried first, so that no search is worse than none.

    Args:
        objective: evaluates parameters.
        plan: space, method and number of draws.
        make_best: parameters -> what was searched with them.
        on_trial: called after each trial.

    Raises:
        MissingExtraError: ``optuna`` is not installed.
        KeyboardInterrupt: interrupted before a trial was complete.
    """
    trials: list[Trial] = []

    def record(trial: Trial) -> None:
        trials.append(trial)
        on_trial(trial)

    strategy = {"random": _search_random, "halving": _search_halving, "optuna": _search_optuna}[plan.method]
    interrupted = False
    try:
        strategy(objective, plan, record)
    except KeyboardInterrupt:
        if not any(trial.complete for trial in trials):
            raise
        interrupted = True
    best = max((trial for trial in trials if trial.complete), key=lambda trial: trial.score or 0.0)
    return SearchResult(make_best(best.params), best.params, tuple(trials), interrupted)


def _draw_all(plan: SearchPlan) -> list[tuple[int, dict[str, Any]]]:
    """Number and parameters of each draw; the first is the defaults."""
    rng = np.random.default_rng(plan.seed)
    return list(enumerate([{}, *(draw(plan.space, rng) for _ in range(plan.draws - 1))]))


def _never_prune(step: int, score: float) -> bool:
    return False


def _search_random(objective: Objective, plan: SearchPlan, record: Callable[[Trial], None]) -> None:
    for number, params in _draw_all(plan):
        record(objective.evaluate(number, params, 1.0, _never_prune))


def _search_halving(objective: Objective, plan: SearchPlan, record: Callable[[Trial], None]) -> None:
    remaining = _draw_all(plan)
    # At most two rounds before the last, the first with a ninth of the budget; none with a single draw.
    n_rounds = min(2, int(np.log(max(1, plan.draws)) / np.log(_HALVING_FACTOR)))
    for n_left in range(n_rounds, 0, -1):
        trials = []
        for number, params in remaining:
            trials.append(objective.evaluate(number, params, 1 / _HALVING_FACTOR**n_left, _never_prune))
            record(trials[-1])
        ranked = sorted(trials, key=lambda trial: -(trial.score or 0.0))
        kept = {0, *(trial.number for trial in ranked[: -(-len(trials) // _HALVING_FACTOR)])}
        remaining = [(number, params) for number, params in remaining if number in kept]
    for number, params in remaining:
        record(objective.evaluate(number, params, 1.0, _never_prune))


def _search_optuna(objective: Objective, plan: SearchPlan, record: Callable[[Trial], None]) -> None:
    try:
        import optuna
    except ImportError as error:
        raise MissingExtraError("the search 'optuna'", "classical") from error
    # A study of other clips, settings or values is another study in the same file.
    space = sorted((name, repr(values)) for name, values in plan.space.items())
    identity = hashlib.sha256(repr((objective.name, space, plan.seed)).encode()).hexdigest()[:16]
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    storage = None
    try:
        if plan.study is not None:
            storage = optuna.storages.RDBStorage(f"sqlite:///{Path(plan.study).absolute()}")
        study = optuna.create_study(
            study_name=identity,
            storage=storage,
            direction="maximize",
            pruner=optuna.pruners.MedianPruner(_N_BEFORE_PRUNING, n_warmup_steps=objective.n_warmup_steps),
            load_if_exists=True,
        )
        done = [t for t in study.trials if t.state.name in ("COMPLETE", "PRUNED")][: plan.draws]
        for finished in done:
            record(Trial.from_dict(finished.user_attrs["trial"]))
        for number in range(len(done), plan.draws):
            # One sampler per trial, so that a resumed search draws what the uninterrupted one drew.
            study.sampler = optuna.samplers.TPESampler(
                seed=plan.seed + number, n_startup_trials=_N_STARTUP_TRIALS
            )
            record(_run_optuna_trial(objective, plan.space, study, number))
    finally:
        optuna.logging.set_verbosity(verbosity)
        if storage is not None:  # Python 3.13 warns of an SQLite connection that is left open
            storage.remove_session()
            storage.engine.dispose()


def _run_optuna_trial(objective: Objective, space: Space, study: Any, number: int) -> Trial:
    from optuna.trial import TrialState

    suggestion = study.ask()
    params: dict[str, Any] = {}
    for name, values in space.items() if number else ():
        if isinstance(values, Choice):
            by_text = {json.dumps(value): value for value in values.values}
            params[name] = by_text[suggestion.suggest_categorical(name, list(by_text))]
        elif values.whole:
            params[name] = suggestion.suggest_int(name, int(values.low), int(values.high), log=values.log)
        else:
            params[name] = suggestion.suggest_float(name, values.low, values.high, log=values.log)

    def should_prune(step: int, score: float) -> bool:
        suggestion.report(score, step)
        return bool(suggestion.should_prune())

    try:
        trial = objective.evaluate(number, params, 1.0, should_prune)
    except BaseException:  # also Ctrl-C: the study must not keep it as a running trial
        study.tell(suggestion, state=TrialState.FAIL)
        raise
    suggestion.set_user_attr("trial", trial.to_dict())
    if trial.complete:
        study.tell(suggestion, trial.score)
    else:
        study.tell(suggestion, state=TrialState.PRUNED)
    return trial
