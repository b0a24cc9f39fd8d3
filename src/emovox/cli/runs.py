"""``emovox runs``: list runs, show one, compare several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emovox.cli.data.common import FormOption, show, table
from emovox.cli.groups import Group
from emovox.cli.models import Form
from emovox.cli.terminal import say
from emovox.errors import ConfigError
from emovox.reports.text import MISSING, percent, signed

if TYPE_CHECKING:
    from emovox.evaluation.metrics import Difference
    from emovox.training.run_folder import Run

__all__ = ["app"]

app = typer.Typer(
    name="runs",
    cls=Group,
    help="List and compare what was trained, searched and compared.",
    rich_markup_mode=None,
    context_settings={"help_option_names": ["--help", "-h"]},
)

_ROOT = Path("runs")
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Folder that holds the runs.")]


@app.command("list")
def _list(root: Folder = _ROOT, format: FormOption = Form.table) -> int:
    """List every complete run in DIR and below, oldest first."""
    from emovox.training.run_folder import find_runs

    if not root.is_dir():
        raise ConfigError(f"there is no folder {str(root)!r}; runs are where -o put them")
    found = find_runs(root)
    heads = ("run", "kind", "model", "features", "test", "stamp", "UAR, %", "made")
    show(
        table(heads, map(_row, found)) if found else [f"no complete run in {root}"],
        [{"folder": str(run.folder), **run.record} for run in found],
        format,
    )
    return 0


@app.callback(invoke_without_command=True)
def _root(context: typer.Context) -> int | None:
    return _list(_ROOT) if context.invoked_subcommand is None else None


@app.command("show")
def _show(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    format: FormOption = Form.table,
) -> int:
    """Show the record of a run."""
    from emovox.training.run_folder import read_run

    run = read_run(folder)
    show(_facts(run.record), {"folder": str(run.folder), **run.record}, format)
    return 0


@app.command("compare")
def _compare(
    folders: Annotated[list[Path], typer.Argument(metavar="RUN RUN...", help="Two runs or more.")],
    format: FormOption = Form.table,
) -> int:
    """Compare scores with the first run, paired over speakers, and show the settings that differ."""
    from emovox.training.run_folder import difference, read_run

    if len(folders) < 2:
        raise ConfigError(f"one run, {str(folders[0])!r}, cannot be compared; name another one")
    found = [read_run(folder) for folder in folders]
    for run in found:
        if run.kind != "train":
            raise ConfigError(
                f"{str(run.folder)!r} is no model that was trained, but {run.kind or 'nothing'}"
            )
        if not run.record["scores"]:
            raise ConfigError(f"{str(run.folder)!r} is a model of values alone; expected models with labels")
    against = [None, *(difference(run, found[0]) for run in found[1:])]
    for run, one in zip(found[1:], against[1:], strict=True):
        if one is None:
            say(f"{run.name} was tested on other clips than {found[0].name}: no difference can be computed")
    heads = ("run", "test", "stamp", "UAR, %", "interval", f"less {found[0].name}", "p")
    lines = table(heads, [_scores(run, one) for run, one in zip(found, against, strict=True)])
    changed = list(_settings(found))
    show(
        [*lines, "", *table(("setting", *(run.name for run in found)), changed)],
        _document(found, against),
        format,
    )
    return 0


def _row(run: Run) -> list[object]:
    from emovox.training.run_folder import find_scored_part

    record = run.record
    uar = record.get("scores", {}).get("uar", {}).get("value")
    inner = record.get("best", {}).get("inner_uar")
    stamp = record.get("stamp", {}).get("stamp", MISSING if inner is None else find_scored_part(record))
    return [
        str(run.folder),
        run.kind,
        record.get("model", MISSING),
        record.get("features", {}).get("set", MISSING),
        record.get("split", {}).get("name", MISSING),
        stamp,
        percent(inner if uar is None else uar),
        str(record.get("created", MISSING))[:16],
    ]


def _scores(run: Run, against: Difference | None) -> list[object]:
    uar = run.record["scores"]["uar"]
    low, high = uar["low"], uar["high"]
    return [
        run.name,
        run.record["split"]["name"],
        run.record["stamp"]["stamp"],
        percent(uar["value"]),
        MISSING if low is None else f"[{percent(low)}, {percent(high)}]",
        MISSING if against is None else signed(against.value),
        MISSING if against is None or against.p_value is None else f"{against.p_value:.3f}",
    ]


def _document(found: list[Run], against: list[Any]) -> list[dict[str, Any]]:
    return [
        {
            "folder": str(run.folder),
            **run.record,
            "less_first": None
            if one is None
            else {"value": one.value, "low": one.low, "high": one.high, "p": one.p_value},
        }
        for run, one in zip(found, against, strict=True)
    ]


def _settings(found: list[Run]) -> Iterable[list[object]]:
    """Yield rows of the settings in which the runs differ."""
    from dataclasses import asdict

    from emovox.training.config import read_config
    from emovox.training.run_folder import CONFIG_FILE

    every = [dict(_flatten(asdict(read_config(run.folder / CONFIG_FILE)))) for run in found]
    for key in dict.fromkeys(key for one in every for key in one):
        values = [one.get(key, MISSING) for one in every]
        if any(value != values[0] for value in values):
            yield [key, *values]


def _facts(record: Mapping[str, Any]) -> Iterable[str]:
    for key, value in _flatten(record):
        yield f"{key:32} {value}"


def _flatten(values: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, Any]]:
    """Yield dotted keys and values; long lists are counted."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{before}{key}.")
        elif isinstance(value, list | tuple) and len(value) > 8:
            yield f"{before}{key}", f"{len(value)} entries"
        else:
            yield f"{before}{key}", MISSING if value is None else value
