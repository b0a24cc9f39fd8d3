"""``emovox train``: train one model, write its bundle, and evaluate it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emovox.cli.data.common import DropUnknown, table
from emovox.cli.evaluate import print_scores
from emovox.cli.models import Form
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
from emovox.errors import ConfigError
from emovox.reports.text import MISSING, percent

if TYPE_CHECKING:
    from emovox.training.run import TrainingRun

__all__ = ["train"]


def train(
    output: Output,
    words: ConfigWords = None,
    features: FeatureName = None,
    model: ModelName = None,
    data: Data = None,
    labels: Labels = None,
    targets: Annotated[
        str | None,
        typer.Option(
            "--targets",
            metavar="A,B",
            help="Columns of numbers to predict, such as arousal,valence; with --labels none they alone.",
        ),
    ] = None,
    drop_unknown: DropUnknown = False,
    protocol: Protocol = None,
    force: Force = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume a net whose training in DIR was stopped.")
    ] = False,
    listen: Annotated[
        bool, typer.Option("--listen/--no-listen", help="Also search the test for training clips by sound.")
    ] = False,
    train_sizes: Annotated[
        str | None,
        typer.Option(
            "--train-sizes", metavar="S,S", help="Learning curve: a run for each share, such as 0.25,0.5,1."
        ),
    ] = None,
    seed: Seed = None,
    workers: Workers = 1,
    store: Store = None,
    mlflow: Mlflow = None,
    format: Annotated[Form, typer.Option("--format", "-f", help="Format of the scores.")] = Form.table,
) -> int:
    """Train a model, write its bundle into DIR, and evaluate it as `emovox evaluate` does.

    Then `emovox predict --model DIR` uses it. Requires the extra `classical`, or for nets `train`.

    Exit code: 0 on success, 1 when some clips could not be read, 2 when the request is not possible.
    """
    require_classical()
    check_writable(output)
    from emovox.training import run

    path, settings = split_words(words or [])
    with ProgressBars() as progress:
        options: dict[str, Any] = {
            "data": data,
            "features": features,
            "model": model,
            "labels": labels,
            "targets": targets,
            "drop_unknown": drop_unknown,
            "protocol": protocol,
            "seed": seed,
            "settings": settings,
            "compare_sound": listen,
            "output": output,
            "force": force,
            "resume": resume,
            "workers": workers,
            "store": store,
            "mlflow": mlflow,
            "notify": say,
            "progress": progress,
        }
        if train_sizes is not None:
            return _print_curve(run.learning_curve(path, sizes=_read_sizes(train_sizes), **options), output)
        done = run.train(path, **options)
    print_scores(done.evaluation.document, form=format)
    if scores := done.metrics["scores"]:  # a model of values alone has none
        accuracy, loss = scores["wa"]["value"], scores["log_loss"]
        say(f"test: accuracy {accuracy:.1%}" + ("" if loss is None else f", loss {loss:.3f}"))
    say(f"written: {done.folder}; to use it:  emovox predict --model {done.folder} FILE")
    return 1 if done.n_unread else 0


def _read_sizes(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise ConfigError(
            f"--train-sizes is {text!r}; expected shares with commas, such as 0.25,0.5,1"
        ) from None


def _print_curve(runs: list[TrainingRun], output: Path) -> int:
    """Print the scores by number of training clips, and draw them."""
    from emovox.cli.plot.results import learning

    rows: list[tuple[object, ...]] = []
    if not runs[0].metrics["scores"]:  # of values alone; the figure is of UAR
        for one in runs:
            for row in one.metrics["values"]:
                ccc = row["ccc"]
                interval = MISSING if ccc["low"] is None else f"[{ccc['low']:.3f}, {ccc['high']:.3f}]"
                value = MISSING if ccc["value"] is None else f"{ccc['value']:.3f}"
                rows.append((one.metrics["split"]["n_train"], row["target"], value, interval))
        for line in table(("training clips", "target", "CCC", "interval"), rows):
            typer.echo(line)
        return 1 if any(one.n_unread for one in runs) else 0
    for one in runs:
        uar, n = one.metrics["scores"]["uar"], one.metrics["split"]["n_train"]
        interval = MISSING if uar["low"] is None else f"[{percent(uar['low'])}, {percent(uar['high'])}]"
        rows.append((n, percent(uar["value"]), interval, percent(one.metrics["scores"]["wa"]["value"])))
    for line in table(("training clips", "UAR, %", "interval", "accuracy, %"), rows):
        typer.echo(line)
    learning([one.folder for one in runs], output / "learning.png", force=True)
    return 1 if any(one.n_unread for one in runs) else 0
