"""``emovox tune``: settings of an estimator or a net, searched for without a look at the test."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emovox._files import write_json, write_text
from emovox.cli.outputs import check_writable
from emovox.cli.terminal import say
from emovox.cli.training import (
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
    check_tracking,
    config_of,
    frames_of,
    need_classical,
    opened,
    rows_of,
    tracked,
)
from emovox.errors import ConfigError

if TYPE_CHECKING:
    from emovox.datasets import Manifest
    from emovox.datasets.splits import Split
    from emovox.training.config import Config
    from emovox.training.search import SearchResult, Trial

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
    """Search the settings of an estimator or a net on speakers that are not tested.

    An estimator is judged on speakers of the training part, held out in turn; a net by the validation part.
    What may vary is the model's own space (docs/training.md), or tune.space.NAME=[A,B] and
    tune.space.NAME={low: A, high: B}. Writes the best as a config, DIR/best.yaml, for `emovox train`. With
    the method optuna the trials are kept as they come, and a search that was stopped goes on when the same
    command is given again.

    Exit code: 0 when all worked, 2 when the request cannot be met.
    """
    need_classical()
    check_tracking(mlflow)
    check_writable(output)
    from emovox.features import find_feature_set
    from emovox.training.config import to_yaml
    from emovox.training.experiment import planned
    from emovox.training.experiment_search import check_search
    from emovox.training.run_folder import finish

    started = time.monotonic()
    more = changed({"tune.method": method, "tune.draws": draws})
    config = config_of(words, features, model, data, labels, protocol, seed, more)
    find_feature_set(config.features.set, config.features.overrides)
    check_search(config)
    problem = opened(config.data, config.labels)
    plan = planned(problem.manifest, config.protocol)
    config = replace(config, protocol=plan.protocol)
    folder = _folder(output, to_yaml(config), force)
    found = _searched(config, problem.manifest, plan.splits[0], folder, workers, store)
    best = found.best
    write_text(folder / BEST_FILE, to_yaml(best))
    write_json(folder / TRIALS_FILE, [trial.to_dict() for trial in found.trials])
    if not found.interrupted:  # else it is no complete run, and the same command goes on with it
        run = finish(folder, _record(config, best, plan.splits[0], found, started))
        tracked(run, mlflow)
    settings = dict(found.params) or "its defaults"
    where = f"{config.model.name} on {config.features.set}"
    typer.echo(f"{where}: inner UAR {found.score:.1%} with {settings}")
    say(f"written: {folder / BEST_FILE}; to train it:  emovox train {folder / BEST_FILE} -o DIR")
    return 130 if found.interrupted else 0


def _searched(
    config: Config, manifest: Manifest, split: Split, folder: Path, workers: int, store: Path | None
) -> SearchResult[Config]:
    from emovox.training.config import NetModel
    from emovox.training.experiment_search import searched, searched_net

    study = folder / STUDY_FILE
    if isinstance(config.model, NetModel):
        clips = frames_of(manifest, split, config, workers=workers, store=store)
        return searched_net(config, manifest, split, clips, study=study, tell=_told)
    table, copies = rows_of(manifest, split, config, workers=workers, store=store)
    return searched(config, manifest, split, table, copies, study=study, tell=_told)


def _folder(output: Path, config: str, force: bool) -> Path:
    """A new run; or the one that was stopped, when it was asked for the same."""
    from emovox.training import run_folder

    kept = output / run_folder.CONFIG_FILE
    stopped = kept.is_file() and run_folder.held(output) and not (output / run_folder.METRICS_FILE).exists()
    if stopped and not force:
        if kept.read_text(encoding="utf-8") == config:
            say(f"{output}: going on with the search that was stopped")
            return output
        raise ConfigError(
            f"{str(output)!r} holds a search with another config; name another folder, or add --force"
        )
    if force:
        (output / STUDY_FILE).unlink(missing_ok=True)
    return run_folder.start(output, config, force=force)


def _told(trial: Trial) -> None:
    score = "no score" if trial.score is None else f"UAR {trial.score:.1%}"
    epochs = f" after {len(trial.epochs)} epochs" if trial.epochs else ""
    not_whole = "" if trial.complete else ", not judged whole"
    settings = dict(trial.params) or "its defaults"
    say(f"trial {trial.number}: {score}{epochs}{not_whole}, {trial.seconds:.1f} s, {settings}")


def _record(
    config: Config, best: Config, split: Any, found: SearchResult[Config], started: float
) -> dict[str, Any]:
    return {
        "kind": "tune",
        "name": config.name,
        "model": config.model.name,
        "seed": config.seed,
        "seconds": round(time.monotonic() - started, 1),
        "features": {"set": config.features.set, "overrides": dict(config.features.overrides)},
        "split": {"name": split.name, "digest": split.digest, "n_train": len(split.train)},
        "best": {"params": dict(found.params), "inner_uar": round(found.score, 6)},
        "n_trials": len(found.trials),
        "curve": [None if value is None else round(value, 6) for value in found.curve],
    }
