"""``emovox tune``: settings of an estimator, searched for inside the training part alone."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emovox.cli.terminal import say
from emovox.cli.workshop import (
    Changes,
    Data,
    FeatureName,
    Force,
    Labels,
    Mlflow,
    ModelName,
    Output,
    Protocol,
    Seed,
    Store,
    Workers,
    changed,
    config_of,
    need_classical,
    opened,
    tables_of,
    tracked,
)
from emovox.errors import ConfigError
from emovox.files import write_json, write_text

if TYPE_CHECKING:
    from emovox.config import Config
    from emovox.tune import SearchResult, Trial

__all__ = ["BEST_FILE", "STUDY_FILE", "TRIALS_FILE", "tune"]

BEST_FILE, TRIALS_FILE, STUDY_FILE = "best.yaml", "trials.json", "study.db"


def tune(
    output: Output,
    words: Changes = None,
    features: FeatureName = None,
    model: ModelName = None,
    data: Data = None,
    labels: Labels = None,
    protocol: Protocol = None,
    method: Annotated[
        str | None, typer.Option("--method", metavar="M", help="random, halving or optuna.")
    ] = None,
    draws: Annotated[int | None, typer.Option("--draws", min=1, metavar="N", help="Settings to try.")] = None,
    force: Force = False,
    seed: Seed = None,
    workers: Workers = 1,
    store: Store = None,
    mlflow: Mlflow = None,
) -> int:
    """Search an estimator's settings on speakers of the training part; the test is never looked at.

    Writes the best as a config, DIR/best.yaml, for `emovox train`. With the method optuna the trials are kept
    as they come, and a search that was stopped goes on when the same command is given again.

    Exit code: 0 when all worked, 2 when the request cannot be met.
    """
    need_classical()
    from emovox.config import to_yaml
    from emovox.experiment import classical_config, planned, searched
    from emovox.features import feature_set
    from emovox.runs import finish

    started = time.monotonic()
    more = changed({"tune.method": method, "tune.draws": draws})
    config = config_of(words, features, model, data, labels, protocol, seed, more)
    numbers = feature_set(config.features.set, config.features.overrides)
    classical_config(config.model, config.seed)  # a typo shows before the work
    problem = opened(config.data, config.labels)
    plan = planned(problem.manifest, config.protocol)
    config = replace(config, protocol=plan.protocol)
    folder = _folder(output, to_yaml(config), force)
    table = tables_of(problem.manifest, [numbers], workers=workers, store=store)[numbers.name]
    best, found = searched(
        config,
        problem.manifest,
        plan.splits[0],
        table,
        study=folder / STUDY_FILE,
        tell=_told,
    )
    write_text(folder / BEST_FILE, to_yaml(best))
    write_json(folder / TRIALS_FILE, [trial.to_dict() for trial in found.trials])
    if not found.interrupted:  # else it is no complete run, and the same command goes on with it
        run = finish(folder, _record(config, best, plan.splits[0], found, started))
        tracked(run, mlflow)
    settings = best.model.params or "its defaults"
    typer.echo(f"{config.model.name} on {numbers.name}: inner UAR {found.score:.1%} with {settings}")
    say(f"written: {folder / BEST_FILE}; to train it:  emovox train {folder / BEST_FILE} -o DIR")
    return 130 if found.interrupted else 0


def _folder(output: Path, config: str, force: bool) -> Path:
    """A new run; or the one that was stopped, when it was asked for the same."""
    from emovox import runs

    kept = output / runs.CONFIG_FILE
    stopped = kept.is_file() and not (output / runs.METRICS_FILE).exists()
    if stopped and not force:
        if kept.read_text(encoding="utf-8") == config:
            say(f"{output}: going on with the search that was stopped")
            return output
        raise ConfigError(
            f"{str(output)!r} holds a search with another config; name another folder, or add --force"
        )
    if force:
        (output / STUDY_FILE).unlink(missing_ok=True)
    return runs.start(output, config, force=force)


def _told(trial: Trial) -> None:
    score = "no score" if trial.score is None else f"UAR {trial.score:.1%}"
    given_up = "" if trial.complete else ", given up"
    say(f"trial {trial.number}: {score}{given_up}, {trial.seconds:.1f} s, {trial.params}")


def _record(config: Config, best: Config, split: Any, found: SearchResult, started: float) -> dict[str, Any]:
    return {
        "kind": "tune",
        "name": config.name,
        "model": config.model.name,
        "seed": config.seed,
        "seconds": round(time.monotonic() - started, 1),
        "features": {"set": config.features.set, "overrides": dict(config.features.overrides)},
        "split": {"name": split.name, "digest": split.digest, "n_train": len(split.train)},
        "best": {"params": best.model.params, "inner_uar": round(found.score, 6)},
        "n_trials": len(found.trials),
        "curve": [None if value is None else round(value, 6) for value in found.curve],
    }
