"""One fit of one system on one split, kept as a JSON file under a key of all that it depends on.

An interrupted comparison goes on where it stopped, and one that was changed computes what is new. A cell
holds answers, never what would have been right.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from importlib.metadata import version
from multiprocessing import active_children, get_context, parent_process
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

import emovox
from emovox._arrays import Floats
from emovox._files import write_json
from emovox.errors import EmovoxError
from emovox.training.classical import ClassicalConfig, fit
from emovox.training.config import TuneConfig

__all__ = ["Answers", "Cell", "System", "kept_under", "worked"]

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, order=True)
class System:
    """An estimator on a set of features."""

    features: str
    model: str

    def __str__(self) -> str:
        return f"{self.model} on {self.features}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One fit, and the clips that it is asked about."""

    system: System
    protocol: str
    split: str
    part: str
    """``validation`` or ``test``: which one is answered."""
    config: ClassicalConfig
    tune: TuneConfig | None
    """How settings are searched for first, inside the training rows."""
    table: Path
    """``(n, d)`` float32, as ``.npy``."""
    content: str
    """Hash of the table."""
    columns: tuple[str, ...]
    training: tuple[int, ...]
    """Rows of the table."""
    y: tuple[str, ...]
    speakers: tuple[str | None, ...]
    asked: tuple[int, ...]
    """Rows of the table."""
    asked_ids: tuple[str, ...]
    file: Path
    key: str = ""


@dataclass(frozen=True, slots=True)
class Answers:
    """What became of a cell."""

    ids: tuple[str, ...]
    answers: tuple[str, ...]
    config: Mapping[str, Any]
    """As fitted, with what a search found."""
    n_columns: int
    fit_s: float
    predict_s: float
    notes: tuple[str, ...] = ()
    error: str | None = None


def kept_under(cell: Cell) -> Cell:
    """The cell with its key."""
    what = {
        "content": cell.content,
        "config": cell.config.to_dict(),
        "resolved": _resolved(cell.config),
        "tune": None if cell.tune is None else asdict(cell.tune),
        "training": cell.training,
        "y": cell.y,
        "speakers": cell.speakers,
        "asked": cell.asked_ids,
        "versions": [emovox.__version__, *(version(name) for name in _packages(cell.config))],
    }
    text = json.dumps(what, sort_keys=True).encode("utf-8", "surrogatepass")
    return replace(cell, key=hashlib.sha256(text).hexdigest()[:16])


def _resolved(config: ClassicalConfig) -> dict[str, str]:
    """Every parameter of the classifier, the defaults that nobody typed among them."""
    made = config.estimator.make(config.seed, config.n_jobs, **config.params)
    return {name: repr(value) for name, value in made.get_params().items()}


def _packages(config: ClassicalConfig) -> Iterator[str]:
    """Those that the numbers depend on."""
    yield from ("numpy", "scikit-learn")
    if config.estimator.extra is not None:
        yield config.estimator.extra  # the extras of the table are named like their packages
    if config.select is not None and config.select.method == "catboost":
        yield "catboost"


def worked(cells: Sequence[Cell], *, workers: int, tell: Tell) -> list[Answers]:
    """The answers of ``cells``, in their order; what is kept is not computed again.

    Args:
        workers: processes, each of one thread, so that the numbers do not depend on how many there are.
        tell: called with a line of text as a cell is done.

    Raises:
        EmovoxError: a process died.
    """
    found = {n: kept for n, cell in enumerate(cells) if (kept := _kept(cell)) is not None}
    todo = [n for n in range(len(cells)) if n not in found]
    if found:
        tell(f"{len(found)} of {len(cells)} fits are there from before")
    for count, (n, answers) in enumerate(_results(cells, todo, workers), 1):
        found[n] = answers
        told = f"failed: {answers.error}" if answers.error else f"{answers.fit_s:.1f} s"
        tell(f"{count}/{len(todo)} {cells[n].split}, {cells[n].part}, {cells[n].system}: {told}")
    return [found[n] for n in range(len(cells))]


def _results(cells: Sequence[Cell], todo: Sequence[int], workers: int) -> Iterator[tuple[int, Answers]]:
    if workers < 2 or len(todo) < 2:
        yield from ((n, _work(cells[n])) for n in todo)
        return
    before = set(active_children())
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"), initializer=_begin)
    try:
        futures = {pool.submit(_work, cells[n]): n for n in todo}
        yield from ((futures[done], done.result()) for done in as_completed(futures))
    except BrokenProcessPool:
        raise EmovoxError(
            "a process that was fitting a model has died, of too little memory perhaps; what was done is "
            "kept: start the comparison again, with --workers 1"
        ) from None
    except BaseException:  # a fit may take minutes, and nothing but itself is lost with it
        for process in set(active_children()) - before:
            process.terminate()
        raise
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _begin() -> None:
    """In a worker: Ctrl-C is left to the first process, and when that one was killed, this one goes too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # it would wait for work for ever: its queue stays open in its brothers


def _work(cell: Cell) -> Answers:
    with threadpool_limits(limits=1):
        try:
            answers = _answered(cell)
        except EmovoxError as error:  # a row of the table, told as such; tried again the next time
            return Answers((), (), cell.config.to_dict(), 0, 0.0, 0.0, error=str(error))
    write_json(cell.file, {"key": cell.key, **asdict(answers)})
    return answers


def _answered(cell: Cell) -> Answers:
    values = _values(cell.table)
    x = values[list(cell.training)]
    started = time.perf_counter()
    config = cell.config if cell.tune is None else _searched(cell, cell.tune, x)
    fitted = fit(x, cell.y, cell.speakers, config, cell.columns)
    between = time.perf_counter()
    given = fitted.predict(values[list(cell.asked)])
    return Answers(
        ids=cell.asked_ids,
        answers=tuple(str(one) for one in given),
        config=config.to_dict(),
        n_columns=len(fitted.selected),
        fit_s=round(between - started, 3),
        predict_s=round(time.perf_counter() - between, 4),
        notes=fitted.notes,
    )


def _searched(cell: Cell, tune: TuneConfig, x: Floats) -> ClassicalConfig:
    from emovox.training.search import search

    found = search(
        x,
        cell.y,
        cell.speakers,
        cell.config,
        method=tune.method,
        draws=tune.draws,
        inner_folds=tune.inner_folds,
        seed=cell.config.seed,
    )
    best: ClassicalConfig = found.best
    return best


@lru_cache(maxsize=1)
def _values(table: Path) -> Floats:
    values: Floats = np.load(table, allow_pickle=False)
    return values


def _kept(cell: Cell) -> Answers | None:
    """What is there from before, if it was made of the same."""
    try:
        found = json.loads(cell.file.read_text(encoding="utf-8"))
        if found.pop("key") != cell.key:
            return None
        for name in ("ids", "answers", "notes"):
            found[name] = tuple(found[name])
        return Answers(**found)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
