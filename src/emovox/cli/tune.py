"""``emovox tune``: search the settings of an estimator or a net without its test part."""

from __future__ import annotations

from typing import Annotated

import typer

from emovox.cli.data.common import DropUnknown
from emovox.cli.outputs import check_writable
from emovox.cli.terminal import say
from emovox.cli.training import (
    ConfigWords,
    Data,
    FeatureName,
    Force,
    Labels,
    Mlflow,
    ModelName,
    Output,
    ProgressBars,
    Protocol,
    Seed,
    Store,
    Workers,
    require_classical,
    split_words,
)

__all__ = ["tune"]


def tune(
    output: Output,
    words: ConfigWords = None,
    features: FeatureName = None,
    model: ModelName = None,
    data: Data = None,
    labels: Labels = None,
    drop_unknown: DropUnknown = False,
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

    An estimator is scored on speakers of the training part, held out in turn; a net on the validation part.
    The search space is the model's own (docs/comparing.md), or tune.space.NAME=[A,B] and
    tune.space.NAME={low: A, high: B}. Writes the best settings as a config, DIR/best.yaml, for
    `emovox train`. With the method optuna every trial is kept, and the same command resumes a search that was
    stopped.

    Exit code: 0 on success, 2 when the request is not possible, 130 when it was interrupted.
    """
    require_classical()
    check_writable(output)
    from emovox.training import tuning

    path, settings = split_words(words or [])
    with ProgressBars() as progress:
        found = tuning.tune(
            path,
            data=data,
            features=features,
            model=model,
            labels=labels,
            drop_unknown=drop_unknown or None,
            protocol=protocol,
            seed=seed,
            settings=settings,
            method=method,
            draws=draws,
            output=output,
            force=force,
            workers=workers,
            store=store,
            mlflow=mlflow,
            notify=say,
            progress=progress,
        )
    config, best = found.config, found.folder / tuning.BEST_FILE
    params = dict(found.params) or "its defaults"
    typer.echo(
        f"{config.model.name} on {config.features.set}: UAR {found.score:.1%} on the {found.part}, "
        f"with {params}"
    )
    say(f"written: {best}; to train it:  emovox train {best} -o DIR")
    return 130 if found.interrupted else 0
