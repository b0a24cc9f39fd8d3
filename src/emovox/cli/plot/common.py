"""What all figures share: where they are written, and where results are found."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emovox._files import write_text
from emovox.cli.outputs import check_new
from emovox.cli.terminal import say
from emovox.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["PAGE", "Force", "Output", "check_output", "document_at", "finish", "table_at"]

PAGE = ".html"
"""A figure as a page of its own, which needs nothing beside itself."""

Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="A .png, .svg, .pdf, or .html page.")
]
Force = Annotated[bool, typer.Option("--force", help="Let -o replace a file that exists.")]


def check_output(output: Path, *, force: bool) -> None:
    """Refuse, before the work, what cannot be written or would be destroyed."""
    from emovox.reports.figures import SUFFIXES

    known = (*SUFFIXES, PAGE)
    if output.suffix.lower() not in known:
        raise typer.BadParameter(f"-o {str(output)!r}: expected a name that ends with {', '.join(known)}")
    check_new(output, force=force)


def finish(figure: Figure, output: Path, description: str) -> int:
    """Write the figure, whole or not at all."""
    from emovox.reports.figures import figure_part, write_figure
    from emovox.reports.html import page

    if output.suffix.lower() != PAGE:
        write_figure(figure, output)
    else:
        write_text(output, page(description, figure_part(figure, description)))
    say(f"written: {output}")
    return 0


def document_at(path: Path, name: str, made_by: str) -> dict[str, Any]:
    """The JSON document at ``path``, or called ``name`` in that folder.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    file = _file(path, [name], made_by)
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{file} holds {type(document).__name__}; expected what {made_by} writes")
    return document


def table_at(path: Path, names: Sequence[str], made_by: str) -> list[dict[str, Any]]:
    """Rows of a table: a JSON list, JSON lines, or CSV, whose cells become numbers or ``None``.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    file = _file(path, names, made_by)
    try:
        rows = _rows(file.read_text(encoding="utf-8-sig"), file.suffix.lower())
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{file} is no table: expected a list of rows with named columns")
    return rows


def _file(path: Path, names: Sequence[str], made_by: str) -> Path:
    if path.is_file():
        return path
    for name in names:
        if (path / name).is_file():
            return path / name
    what = f"no {' or '.join(names)} in it" if path.is_dir() else "nothing there"
    raise ConfigError(f"{str(path)!r}: {what}; expected what {made_by} writes")


def _rows(text: str, suffix: str) -> Any:
    if suffix == ".json":
        return json.loads(text)
    if suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    rows = csv.DictReader(text.splitlines(), strict=True)
    return [{key: _cell(value) for key, value in row.items()} for row in rows]


def _cell(text: str | None) -> Any:
    """A number, ``None`` where there is nothing, or text."""
    if not text:
        return None
    try:
        return float(text)
    except ValueError:
        return text
