"""Search the settings of a model without its test part: all that the command ``emovox tune`` does.

::

    found = tune("configs/seed-svm.yaml", data="corpora/ravdess", output="runs/search", draws=40)
    found.config                                       # the best settings, also in runs/search/best.yaml
    emovox.train(found.config, output="runs/found")
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from emovox._files import write_json, write_text
from emovox.datasets.loading import Dataset
from emovox.datasets.split_plan import make_split
from emovox.errors import ConfigError
from emovox.training import run_folder, tracking
from emovox.training.config import Changes, Config, Source, to_yaml
from emovox.training.trainers import make_config, make_trainer

if TYPE_CHECKING:
    from emovox.training.search import Trial

__all__ = ["BEST_FILE", "STUDY_FILE", "TRIALS_FILE", "TuningRun", "tune"]

BEST_FILE, TRIALS_FILE, STUDY_FILE = "best.yaml", "trials.json", "study.db"


@dataclass(frozen=True)
class TuningRun:
    """A search of settings, and what it found."""

    folder: Path
    config: Config
    """The config with the best settings."""
    params: Mapping[str, Any]
    """The best settings alone; empty if they are the defaults."""
    score: float
    """UAR on `part`; optimistic, as it chose the settings."""
    part: str
    """``inner folds`` of the training part; of a net with validation clips the ``validation part``."""
    trials: tuple[Trial, ...]
    interrupted: bool = False


def tune(
    config: Source | Config = None,
    *,
    settings: Changes = (),
    method: str | None = None,
    draws: int | None = None,
    output: str | Path,
    force: bool = False,
    workers: int = 1,
    store: str | Path | None = None,
    mlflow: str | None = None,
    notify: Callable[[str], None] = lambda line: None,
    progress: Callable[[int, int], None] = lambda done, total: None,
    **options: Any,
) -> TuningRun:
    """Search the settings of an estimator or a net on speakers that are not tested.

    An estimator is scored on speakers of the training part, held out in turn; a net on the validation part.
    With the method ``optuna`` every trial is kept in ``output``, and the same call resumes a search that was
    stopped.

    Args:
        config, settings, options: as in `emovox.training.run.train`.
        method: ``random``, ``halving`` or ``optuna``.
        draws: how many settings to try.
        output: folder of the run: ``best.yaml``, ``trials.json``, ``metrics.json``.

    Raises:
        ConfigError: a setting is unknown or impossible, there are too few speakers, or ``output`` holds
            something else.
        MissingExtraError: the model or the method needs an extra that is not installed.
    """
    started = time.monotonic()
    tracking.check_location(mlflow)
    searched = {"tune.method": method, "tune.draws": draws}
    trainer = make_trainer(make_config(config, settings, **options, **searched))
    if trainer.config.targets:
        raise ConfigError("settings are searched by the UAR of labels; expected a config without targets")
    trainer.check()
    dataset = Dataset.load(
        trainer.config.data, labels=trainer.config.labels, drop_unknown=trainer.config.drop_unknown
    )
    for note in dataset.notes:
        notify(note)
    plan = make_split(dataset.manifest, trainer.config.protocol, warn=notify)
    split = plan.splits[0]
    trainer = make_trainer(replace(trainer.config, protocol=plan.protocol))
    settled, folder = trainer.config, Path(output)
    _start(folder, to_yaml(settled), force=force, notify=notify)
    inputs = trainer.load(
        dataset.manifest, split, workers=workers, store=store, notify=notify, progress=progress
    )
    part = "validation part" if settled.model.kind == "net" and split.validation else "inner folds"
    found = trainer.search(inputs, study=folder / STUDY_FILE, tell=lambda trial: notify(_describe(trial)))
    write_text(folder / BEST_FILE, to_yaml(found.best))
    write_json(folder / TRIALS_FILE, [trial.to_dict() for trial in found.trials])
    if not found.interrupted:  # else the run is incomplete, and the same call resumes it
        record = {
            "kind": "tune",
            "name": settled.name,
            "model": settled.model.name,
            "model_kind": settled.model.kind,
            "seed": settled.seed,
            "seconds": round(time.monotonic() - started, 1),
            "features": {"set": settled.features.set, "overrides": dict(settled.features.overrides)},
            "split": {"name": split.name, "digest": split.digest, "n_train": len(split.train)},
            "scored_on": part,
            "best": {"params": dict(found.params), "inner_uar": round(found.score, 6)},
            "n_trials": len(found.trials),
            "curve": [None if value is None else round(value, 6) for value in found.curve],
        }
        tracking.track_run(run_folder.finish(folder, record), mlflow, notify)
    return TuningRun(folder, found.best, found.params, found.score, part, found.trials, found.interrupted)


def _start(folder: Path, config: str, *, force: bool, notify: Callable[[str], None]) -> None:
    """Begin a new run, or resume the one that was stopped if its config is the same."""
    kept = folder / run_folder.CONFIG_FILE
    complete = (folder / run_folder.METRICS_FILE).exists()
    if kept.is_file() and run_folder.list_contents(folder) and not complete and not force:
        if kept.read_text(encoding="utf-8") == config:
            notify(f"{folder}: resuming the search that was stopped")
            return
        raise ConfigError(
            f"{str(folder)!r} holds a search with another config; name another folder, or add --force"
        )
    if force:
        (folder / STUDY_FILE).unlink(missing_ok=True)
    run_folder.start(folder, config, force=force)


def _describe(trial: Trial) -> str:
    score = "no score" if trial.score is None else f"UAR {trial.score:.1%}"
    epochs = f" after {len(trial.epochs)} epochs" if trial.epochs else ""
    partial = "" if trial.complete else ", stopped early"
    settings = dict(trial.params) or "its defaults"
    return f"trial {trial.number}: {score}{epochs}{partial}, {trial.seconds:.1f} s, {settings}"
