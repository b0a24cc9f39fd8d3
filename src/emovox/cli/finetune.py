"""``emovox finetune``: fit a model to labels of your own, without PyTorch or scikit-learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from emovox.cli.data.common import DropUnknown
from emovox.cli.models import Form
from emovox.cli.outputs import check_writable
from emovox.cli.terminal import say
from emovox.cli.training import Force, Labels, Output, ProgressBars, Seed, Workers

__all__ = ["finetune"]


def finetune(
    output: Output,
    data: Annotated[
        list[str],
        typer.Option(
            "--data", metavar="PATH", help="Folders with a sub-folder per label, or any labelled data."
        ),
    ],
    model: Annotated[
        str, typer.Option("--model", metavar="BUNDLE", help="The base model; it must give an embedding.")
    ] = "default",
    labels: Labels = None,
    drop_unknown: DropUnknown = False,
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Of the new bundle.")] = "finetuned",
    force: Force = False,
    seed: Seed = None,
    workers: Workers = 1,
    format: Annotated[Form, typer.Option("--format", "-f", help="table, or json: the record.")] = Form.table,
) -> int:
    """Fit a calibrated head for your labels on a model's embeddings; write its bundle into DIR.

    Five clips of each label are enough to begin with, twenty are better. The score is cross-validated, over
    speakers where they are known. Then `emovox predict --model DIR` uses the bundle.

    Exit code: 0 on success, 1 when some clips could not be read, 2 when the request is not possible.
    """
    check_writable(output)
    from emovox.reports.text import span
    from emovox.training import finetune as training

    with ProgressBars() as progress:
        run = training.finetune(
            [Path(one) for one in data],
            model=model,
            labels=labels or "all",
            drop_unknown=drop_unknown,
            name=name,
            seed=seed or 0,
            output=output,
            force=force,
            workers=workers,
            notify=say,
            progress=progress,
        )
    uar, clips = run.metrics["scores"]["uar"], run.metrics["data"]
    if format is Form.json:
        typer.echo(json.dumps(dict(run.metrics), ensure_ascii=False, indent=2, allow_nan=False))
    else:
        typer.echo(f"labels    {', '.join(f'{label} {n}' for label, n in clips['labels'].items())}")
        typer.echo(f"UAR       {span(uar['value'], uar['low'], uar['high'])}, {run.metrics['split']['name']}")
        typer.echo(f"stamp     {run.metrics['stamp']['stamp']}")
    say(f"written: {run.folder}; to use it:  emovox predict --model {run.folder} FILE")
    return 1 if clips["unread"] else 0
