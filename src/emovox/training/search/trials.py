"""What a trial was, what a search found, and who judges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

__all__ = ["GivenUp", "Judge", "SearchResult", "Trial"]

Best = TypeVar("Best")

GivenUp = Callable[[int, float], bool]
"""Told the UAR that a trial has reached at a point, answers whether to give it up."""


@dataclass(frozen=True, slots=True)
class Trial:
    """One set of parameters, and what it reached."""

    number: int
    params: Mapping[str, Any]
    scores: tuple[float, ...]
    """UAR, 0 to 1, of each inner fold; fewer where it was given up."""
    seconds: float
    complete: bool
    """Judged whole: only such a trial can win."""
    n_speakers: int | None = None
    """In the largest training; ``None`` for a net."""
    epochs: tuple[float, ...] = ()
    """Of a net: the best UAR so far after each epoch."""

    @property
    def score(self) -> float | None:
        """Mean UAR over its folds; ``None`` when there is none."""
        return float(np.mean(self.scores)) if self.scores else None

    def to_dict(self) -> dict[str, Any]:
        """Plain types, a row of a table."""
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
        """The trial that `to_dict` wrote."""
        given: dict[str, Any] = {one.name: row[one.name] for one in fields(cls)}
        return cls(**given | {name: tuple(given[name]) for name in ("scores", "epochs")})


@dataclass(frozen=True, slots=True)
class SearchResult(Generic[Best]):
    """What a search found."""

    best: Best
    """What was searched, with the best parameters."""
    params: Mapping[str, Any]
    """Those parameters alone."""
    trials: tuple[Trial, ...]
    """In the order in which they were made."""
    interrupted: bool = False
    """Ctrl-C: the trials that were done are here."""

    @classmethod
    def of(
        cls, trials: Sequence[Trial], made: Callable[[Mapping[str, Any]], Best], *, interrupted: bool
    ) -> SearchResult[Best]:
        """The best of ``trials``, the first of equals; ``made`` puts its parameters where they belong."""
        best = max((one for one in trials if one.complete), key=lambda one: one.score or 0.0)
        return cls(made(best.params), best.params, tuple(trials), interrupted)

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


class Judge(Protocol):
    """Who trains with some parameters and scores what came of it."""

    @property
    def name(self) -> str:
        """Names all that a score depends on but the parameters."""

    @property
    def grace(self) -> int:
        """Points before which no trial is given up."""

    def trial(self, number: int, params: Mapping[str, Any], share: float, given_up: GivenUp) -> Trial:
        """Judge with a share of the means, 0 to 1; complete when all were used and it was not given up."""
