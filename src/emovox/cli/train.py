"""``emovox train``: one model from a config or from options, trained, written as a bundle, and judged."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emovox.cli.evaluate import print_scores
from emovox.cli.models import Form
from emovox.cli.outputs import check_writable
from emovox.cli.terminal import progress_bar, say
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
    check_config,
    check_tracking,
    config_of,
    frames_of,
    need_classical,
    opened,
    rows_of,
    tracked,
)
from emovox.errors import ManifestError

if TYPE_CHECKING:
    from emovox.datasets import Manifest
    from emovox.datasets.loading import Dataset
    from emovox.evaluation.evaluate import Evaluation
    from emovox.features.extraction import FeatureTable
    from emovox.training.bench import Plan
    from emovox.training.config import Config
    from emovox.training.experiment import Trained
    from emovox.training.experiment_nets import ClipTable

__all__ = ["train"]


def train(
    output: Output,
    words: Changes = None,
    features: FeatureName = None,
    model: ModelName = None,
    data: Data = None,
    labels: Labels = None,
    protocol: Protocol = None,
    force: Force = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a net whose training in DIR was stopped.")
    ] = False,
    seed: Seed = None,
    workers: Workers = 1,
    store: Store = None,
    mlflow: Mlflow = None,
    format: Annotated[Form, typer.Option("--format", "-f", help="How the scores look.")] = Form.table,
) -> int:
    """Train a model, write its bundle into DIR, and judge it as `emovox evaluate` does.

    Then `emovox predict --model DIR` uses it. Needs the extra `classical`, or for nets `train`.

    Exit code: 0 when all worked, 1 when some clips could not be read, 2 when the request cannot be met.
    """
    need_classical()
    check_tracking(mlflow)
    check_writable(output)
    from emovox.training import run_folder
    from emovox.training.config import NetModel, to_yaml
    from emovox.training.experiment import planned

    started = time.monotonic()
    config = config_of(words, features, model, data, labels, protocol, seed)
    check_config(config)
    problem = opened(config.data, config.labels)
    plan = planned(problem.manifest, config.protocol)
    _check_parts(problem.manifest, plan)
    config = replace(config, protocol=plan.protocol)
    folder = _folder(output, to_yaml(config), force, resume)
    way = _net if isinstance(config.model, NetModel) else _estimator
    made, table = way(config, problem.manifest, plan, folder, workers, store)
    for note in made.notes:
        say(note)
    evaluation = _judge(folder, made, problem, plan, workers, curves=way is _net)
    document, answers = evaluation.document, evaluation.predictions
    run = run_folder.finish(folder, _record(config, problem.manifest, plan, table, made, document, started))
    print_scores(document, form=format)
    _tell_test(document)
    tracked(run, mlflow)
    say(f"written: {folder}; to use it:  emovox predict --model {folder} FILE")
    return 1 if answers.errors or table.errors else 0


def _folder(output: Path, config: str, force: bool, resume: bool) -> Path:
    """A new run; or the one that was stopped, when the same is asked for."""
    from emovox.errors import ConfigError
    from emovox.training import run_folder

    if resume:
        kept = output / run_folder.CONFIG_FILE
        if not kept.is_file() or (output / run_folder.METRICS_FILE).exists():
            raise ConfigError(f"{str(output)!r} holds no run that was stopped; expected one for --resume")
        if kept.read_text(encoding="utf-8") != config:
            raise ConfigError(f"{str(kept)!r} says something else than this command; go on with that config")
    elif force:
        shutil.rmtree(output / _TRAINING, ignore_errors=True)
    return run_folder.start(output, config, force=force or resume)


_TRAINING = "training"
"""Where a net's checkpoint and curves lie in its run."""


def _estimator(
    config: Config, manifest: Manifest, plan: Plan, folder: Path, workers: int, store: Path | None
) -> tuple[Trained, FeatureTable]:
    from emovox.training.experiment import train as fit

    split = plan.splits[0]
    table, copies = rows_of(manifest, split, config, workers=workers, store=store)
    return fit(config, manifest, split, table, copies), table


def _net(
    config: Config, manifest: Manifest, plan: Plan, folder: Path, workers: int, store: Path | None
) -> tuple[Trained, ClipTable]:
    from emovox.training.experiment_nets import train_net

    table = frames_of(manifest, plan.splits[0], config, workers=workers, store=store)
    try:
        made = train_net(
            config,
            manifest,
            plan.splits[0],
            table,
            folder=folder / _TRAINING,
            tell=lambda epoch: say(epoch.line()),
        )
    except KeyboardInterrupt:
        say("stopped, and saved up to the last whole epoch; to go on add  --resume")
        raise
    return made, table


def _check_parts(manifest: Manifest, plan: Plan) -> None:
    split = plan.splits[0]
    say(
        f"{split.name}: {len(split.train)} clips train, {len(split.validation)} validate, "
        f"{len(split.test)} are tested"
    )
    taught = set(manifest.select(split.train).emotions)
    if strange := [name for name in manifest.select(split.test).emotions if name not in taught]:
        raise ManifestError(
            f"the test asks for {', '.join(strange)}, which no training clip expresses; to leave those clips "
            f"out:  --labels {','.join(sorted(taught))}"
        )


def _judge(
    folder: Path, made: Trained, problem: Dataset, plan: Plan, workers: int, *, curves: bool
) -> Evaluation:
    """Write the bundle, ask it about the test as a user would, write the pages and the scores.

    Args:
        curves: a net's curves lie in the folder; they are put into the pages.
    """
    from emovox.bundles import registry, write_bundle
    from emovox.datasets.protocols import write_splits
    from emovox.evaluation.evaluate import evaluate_split
    from emovox.training import run_folder

    split = plan.splits[0]
    write_splits(folder / run_folder.SPLIT_FILE, plan.splits)
    spec = write_bundle(folder / run_folder.BUNDLE_FOLDER, made.model, made.spec, replace=True)
    with progress_bar() as progress:
        evaluation = evaluate_split(
            registry.load(folder),
            problem.manifest.select(split.test),
            within=problem.manifest,
            protocol=split.name,
            splits=plan.splits,
            settings={
                "merged": {new: list(old) for new, old in problem.merged.items()},
                "left_out": dict(problem.dropped),
                "not_read": problem.n_unread,
                "selected_columns": list(made.selected or ()),
            },
            workers=workers,
            notify=say,
            progress=progress,
        )
    document = evaluation.document
    if curves:
        from emovox.training.neural.curves import read_curves

        document["training"] = read_curves(folder / _TRAINING)
    evaluation.write(folder)
    say(f"written: {folder / 'evaluation.html'} and beside it evaluation.json, evaluation.md, answers.csv")
    scored = replace(spec, scores=(_score(document, problem.manifest.select(split.test)),))
    write_bundle(folder / run_folder.BUNDLE_FOLDER, made.model, scored, replace=True)
    return evaluation


def _score(document: dict[str, Any], tested: Manifest) -> Any:
    from emovox.bundles import Score

    named = all(u.known_speaker is not None for u in tested)
    uar = document["scores"]["uar"]
    return Score(
        corpus="+".join(document["data"]["corpora"]),
        protocol=f"{document['protocol']['name']} ({document['stamp']['stamp']})",
        metric="uar",
        value=uar["value"],
        low=uar["low"],
        high=uar["high"],
        n_speakers=uar["n_speakers"] if named else None,
        n_clips=document["data"]["n_clips"],
    )


def _tell_test(document: dict[str, Any]) -> None:
    scores = document["scores"]
    accuracy, loss = scores["wa"]["value"], scores["log_loss"]
    parts = [f"accuracy {accuracy:.1%}", *([] if loss is None else [f"loss {loss:.3f}"])]
    say(f"test: {', '.join(parts)}")


def _record(
    config: Config,
    manifest: Manifest,
    plan: Plan,
    table: FeatureTable | ClipTable,
    made: Trained,
    document: dict[str, Any],
    started: float,
) -> dict[str, Any]:
    from emovox.training.run_folder import clips_digest

    split = plan.splits[0]
    return {
        "kind": "train",
        "name": config.name,
        "model": config.model.name,
        "seed": config.seed,
        "seconds": round(time.monotonic() - started, 1),
        "features": dict(table.reference),
        "n_columns": len(made.selected or table.columns),
        "selected_columns": None if made.selected is None else list(made.selected),
        "data": {
            "digest": clips_digest(manifest),
            "corpora": list(manifest.corpora),
            "n_clips": len(manifest),
            "n_speakers": len(manifest.speakers),
            "unread": _some(table.errors),
        },
        "split": {
            "name": split.name,
            "digest": split.digest,
            "n_train": len(split.train),
            "n_validation": len(split.validation),
            "n_test": len(split.test),
        },
        "stamp": document["stamp"],
        "validation_uar": None if made.validation_uar is None else round(made.validation_uar, 6),
        "temperature": round(made.spec.temperature, 6),
        "scores": document["scores"],
        "model_sha256": document["model"]["sha256"],
        "notes": list(made.notes),
    }


def _some(errors: Any) -> list[dict[str, str]]:
    return [{"id": key, "error": why} for key, why in errors.items()]
