"""``emovox plot confusion | classes | comparison | learning | search | training``: figures of scores."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emovox.cli.plot.common import Force, Output, check_output, document_at, finish, table_at
from emovox.errors import ConfigError

if TYPE_CHECKING:
    from emovox.reports.figures import System
    from emovox.training.run_folder import Run

__all__ = ["classes", "comparison", "confusion", "learning", "search", "training"]

_EVALUATION = "evaluation.json"
Evaluated = Annotated[
    Path, typer.Argument(metavar="EVALUATION", help="What `emovox evaluate -o` or `emovox train` wrote.")
]
Runs = Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Folders of `emovox train`.")]


def confusion(
    evaluation: Evaluated,
    output: Output,
    shares: Annotated[
        bool, typer.Option("--normalise", "--normalize", help="Per cent of each row instead of clips.")
    ] = False,
    force: Force = False,
) -> int:
    """Which emotion was taken for which: the confusion matrix."""
    from emovox.reports.figures import confusion_figure

    check_output(output, force=force)
    document = document_at(evaluation, _EVALUATION, "`emovox evaluate -o`")
    return finish(confusion_figure(document, shares=shares), output, "Confusion matrix")


def classes(evaluation: Evaluated, output: Output, force: Force = False) -> int:
    """How many clips of each emotion were recognised: recall, with its interval over speakers."""
    from emovox.reports.figures import class_figure

    check_output(output, force=force)
    document = document_at(evaluation, _EVALUATION, "`emovox evaluate -o`")
    return finish(class_figure(document), output, "Recall of each emotion")


def comparison(
    paths: Annotated[
        list[Path], typer.Argument(metavar="PATH...", help="One `emovox compare`, or several trained runs.")
    ],
    output: Output,
    protocol: Annotated[
        str | None, typer.Option("--protocol", metavar="P", help="Which of the comparison's; else its first.")
    ] = None,
    force: Force = False,
) -> int:
    """Which system is better: UAR with intervals, differences and their significance.

    Runs are compared with the first of them, on the same clips.
    """
    from emovox.reports.figures import comparison_figure, comparison_systems

    check_output(output, force=force)
    if len(paths) == 1:
        document = document_at(paths[0], "compare.json", "`emovox compare -o`")
        systems, title, caption = comparison_systems(document, protocol)
        return finish(comparison_figure(systems, title=title, caption=caption), output, title)
    found = _trained(paths)
    title = f"Runs on {_tested(found[0])}"
    caption = (
        f"{_clips(found[0])}. Ring: {found[0].name}, which the others are compared with; p: two-sided, "
        "paired over speakers, not corrected for the number of runs."
    )
    figure = comparison_figure([_system(run, found[0]) for run in found], title=title, caption=caption)
    return finish(figure, output, title)


def learning(runs: Runs, output: Output, force: Force = False) -> int:
    """What more data brings: UAR of several runs against the clips they were trained on."""
    from emovox.reports.figures import Point, learning_figure

    check_output(output, force=force)
    found = _trained(runs)
    points = []
    for run in found:
        uar = run.record["scores"]["uar"]
        points.append(Point(run.record["split"]["n_train"], uar["value"], uar["low"], uar["high"]))
    title = f"Learning curve: {found[0].record['model']}, {_tested(found[0])}"
    ranged = any(point.low is not None for point in points)
    lines = "lines: 95 % intervals over speakers" if ranged else "too few speakers for intervals"
    caption = f"{_clips(found[0])}, the same for all runs; {lines}."
    return finish(learning_figure(points, title=title, caption=caption), output, title)


def search(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="What `emovox tune -o` wrote.")],
    output: Output,
    force: Force = False,
) -> int:
    """How a search went: each trial, and the best so far."""
    from emovox.reports.figures import search_figure
    from emovox.training.run_folder import read_run

    check_output(output, force=force)
    trials = table_at(run, ["trials.json"], "`emovox tune -o`")
    folder = run if run.is_dir() else run.parent
    record = read_run(folder).record
    parts = (record.get("model"), record.get("features", {}).get("set"), _data(folder))
    title = f"Search: {', '.join(part for part in parts if part)}"
    caption = (
        f"Mean UAR on inner folds with other speakers, inside the training part of "
        f"{record.get('split', {}).get('name')}; the test was not looked at. The best was chosen by this "
        "score, so it flatters."
    )
    return finish(search_figure(trials, title=title, caption=caption), output, title)


def training(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A run with its history, or a table: epoch, losses, UARs.")
    ],
    output: Output,
    force: Force = False,
) -> int:
    """How a training went: losses and UAR along the epochs."""
    from emovox.reports.figures import training_figure

    check_output(output, force=force)
    history = [_named(row) for row in table_at(run, _HISTORIES, "the training of a net")]
    parts = (run.name, _data(run)) if run.is_dir() else (run.stem,)
    title = f"Training: {', '.join(part for part in parts if part)}"
    caption = "As the training wrote it; UAR there is on validation clips, not on the test."
    return finish(training_figure(history, title=title, caption=caption), output, title)


_HISTORIES = (
    "training/curves.csv",
    "curves.csv",
    "history.json",
    "history.jsonl",
    "history.csv",
    "metrics.csv",
)
_FULL_NAMES = {"number": "epoch", "loss": "train_loss", "uar": "validation_uar"}
"""Columns of ``curves.csv`` (`emovox.training.neural.curves`) -> what they are called beside others."""


def _named(row: Mapping[str, Any]) -> dict[str, Any]:
    return {full if (full := _FULL_NAMES.get(name)) and full not in row else name: row[name] for name in row}


# --------------------------------------------------------------------------------------------- runs


def _data(folder: Path) -> str:
    """What a run's config names as its data, in short; nothing where there is no config."""
    from emovox.training.config import read_config
    from emovox.training.run_folder import CONFIG_FILE

    file = folder / CONFIG_FILE
    return ", ".join(Path(name).stem for name in read_config(file).data) if file.is_file() else ""


def _trained(folders: list[Path]) -> list[Run]:
    """Runs of `emovox train`, all tested on the same clips.

    Raises:
        ConfigError: fewer than two, or they cannot be compared.
    """
    from emovox.training.run_folder import difference, read_run

    if len(folders) < 2:
        raise ConfigError(f"one run, {str(folders[0])!r}, makes no such figure; name another one")
    found = [read_run(folder) for folder in folders]
    for run in found:
        if run.kind != "train":
            raise ConfigError(
                f"{str(run.folder)!r} is no model that was trained, but {run.kind or 'nothing'}"
            )
        if difference(run, found[0]) is None:
            raise ConfigError(
                f"{run.name} was tested on other clips than {found[0].name}; expected runs with the same test"
            )
    return found


def _system(run: Run, first: Run) -> System:
    from emovox.reports.figures import System
    from emovox.training.run_folder import difference

    uar = run.record["scores"]["uar"]
    against = None if run is first else difference(run, first)
    return System(
        run.name,
        uar["value"],
        uar["low"],
        uar["high"],
        None if against is None else against.value,
        None if against is None else against.p_value,
        is_reference=run is first,
    )


def _tested(run: Run) -> str:
    record: Mapping[str, Any] = run.record
    return f"{', '.join(record['data']['corpora'])}, protocol {record['split']['name']}"


def _clips(run: Run) -> str:
    n_speakers = run.record["scores"]["uar"]["n_speakers"]
    stamp = run.record["stamp"]["stamp"]
    return f"Test: {run.record['split']['n_test']} clips of {n_speakers} speakers, stamp: {stamp}"
