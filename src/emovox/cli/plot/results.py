"""``emovox plot confusion | learning | search | training``: figures of scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emovox.cli.plot.common import Force, Output, check_output, read_document, read_table, write
from emovox.errors import ConfigError
from emovox.reports.text import speakers

if TYPE_CHECKING:
    from emovox.training.run_folder import Run

__all__ = ["confusion", "learning", "search", "training"]

_HISTORIES = (
    "training/curves.csv",
    "curves.csv",
    "history.json",
    "history.jsonl",
    "history.csv",
    "metrics.csv",
)
_FULL_NAMES = {"number": "epoch", "loss": "train_loss", "uar": "validation_uar"}
"""Columns of ``curves.csv`` (`emovox.training.neural.curves`) -> names in the figure."""


def confusion(
    results: Annotated[
        Path,
        typer.Argument(
            metavar="RESULTS", help="What `emovox evaluate -o`, `train`, `compare` or `bench` wrote."
        ),
    ],
    output: Output,
    shares: Annotated[
        bool, typer.Option("--normalise", "--normalize", help="Per cent of each row instead of clips.")
    ] = False,
    protocol: Annotated[
        str | None,
        typer.Option("--protocol", metavar="P", help="Of a comparison, which protocol; else its first."),
    ] = None,
    system: Annotated[
        str | None, typer.Option("--system", metavar="NAME", help="Of a comparison, which system; else all.")
    ] = None,
    force: Force = False,
) -> int:
    """Draw the confusion matrix of an evaluation, or of every system of a comparison."""
    from emovox.reports.figures import draw_confusion, draw_system_confusions

    check_output(output, force=force)
    made_by = "`emovox evaluate -o` or `emovox compare`"
    document = read_document(results, ["evaluation.json", "compare.json"], made_by)
    if document.get("kind") == "evaluation":
        figure = draw_confusion(document, shares=shares)
    else:
        figure = draw_system_confusions(document, protocol=protocol, system=system, shares=shares)
    return write(figure, output, "Confusion matrix")


def learning(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Folders of `emovox train`.")],
    output: Output,
    force: Force = False,
) -> int:
    """Draw the learning curve: UAR of several runs against the number of their training clips."""
    from emovox.reports.figures import LearningPoint, draw_learning_curve

    check_output(output, force=force)
    found = _read_runs(runs)
    points = []
    for run in found:
        uar = run.record["scores"]["uar"]
        points.append(LearningPoint(run.record["split"]["n_train"], uar["value"], uar["low"], uar["high"]))
    record = found[0].record
    corpora, split = ", ".join(record["data"]["corpora"]), record["split"]
    title = f"Learning curve: {record['model']}, {corpora}, protocol {split['name']}"
    has_intervals = any(point.low is not None for point in points)
    lines = "lines: 95 % intervals over speakers" if has_intervals else "too few speakers for intervals"
    caption = (
        f"Test: {split['n_test']} clips of {speakers(record['scores']['uar']['n_speakers'])}, stamp: "
        f"{record['stamp']['stamp']}, the same for all runs; {lines}."
    )
    return write(draw_learning_curve(points, title=title, caption=caption), output, title)


def _read_runs(folders: list[Path]) -> list[Run]:
    """Read runs of `emovox train` that were tested on the same clips.

    Raises:
        ConfigError: fewer than two, or they cannot be compared.
    """
    from emovox.training.run_folder import difference, read_run

    if len(folders) < 2:
        raise ConfigError("a learning curve needs two runs or more; name another one")
    found = [read_run(folder) for folder in folders]
    for run in found:
        if run.kind != "train":
            raise ConfigError(f"{str(run.folder)!r} holds {run.kind or 'nothing'}; expected a trained model")
        if not run.record["scores"]:
            raise ConfigError(f"{str(run.folder)!r} is a model of values alone; expected models with labels")
        if difference(run, found[0]) is None:
            raise ConfigError(
                f"{run.name} was tested on other clips than {found[0].name}; expected runs with the same test"
            )
    return found


def search(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="What `emovox tune -o` wrote.")],
    output: Output,
    force: Force = False,
) -> int:
    """Draw a search: the UAR of each trial, and the best so far."""
    from emovox.reports.figures import draw_search
    from emovox.training.run_folder import find_scored_part, read_run

    check_output(output, force=force)
    trials = read_table(run, ["trials.json"], "`emovox tune -o`")
    folder = run if run.is_dir() else run.parent
    record = read_run(folder).record
    named = (record.get("model"), record.get("features", {}).get("set"), _describe_data(folder))
    title = f"Search: {', '.join(name for name in named if name)}"
    part = find_scored_part(record)
    caption = (
        f"Mean UAR on the {part} of {record.get('split', {}).get('name')}; the test was not used. The best "
        "trial was chosen by this score, so its value is optimistic."
    )
    return write(draw_search(trials, part=f"the {part}", title=title, caption=caption), output, title)


def training(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run with its history, or a table: epoch, losses, UARs.")
    ],
    output: Output,
    force: Force = False,
) -> int:
    """Draw losses and UAR of a training over its epochs."""
    from emovox.reports.figures import draw_training

    check_output(output, force=force)
    history = [_rename_columns(row) for row in read_table(run, _HISTORIES, "the training of a net")]
    parts = (run.name, _describe_data(run)) if run.is_dir() else (run.stem,)
    title = f"Training: {', '.join(part for part in parts if part)}"
    caption = "As the training wrote it; its UAR is on validation clips, not on the test."
    return write(draw_training(history, title=title, caption=caption), output, title)


def _rename_columns(row: Mapping[str, Any]) -> dict[str, Any]:
    return {full if (full := _FULL_NAMES.get(name)) and full not in row else name: row[name] for name in row}


def _describe_data(folder: Path) -> str:
    """Return the stems of a run's data; empty where there is no config."""
    from emovox.training.config import read_config
    from emovox.training.run_folder import CONFIG_FILE

    file = folder / CONFIG_FILE
    return ", ".join(Path(name).stem for name in read_config(file).data) if file.is_file() else ""
