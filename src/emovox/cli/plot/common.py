"""Options of all `emovox plot` commands, the output of figures, and the input of results."""

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

__all__ = ["PAGE", "Force", "Output", "check_output", "find_file", "read_document", "read_table", "write"]

PAGE = ".html"
"""Suffix of a figure as an HTML page that needs no other file."""

Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="FILE", help="A .png, .svg, .pdf, or .html page.")
]
Force = Annotated[bool, typer.Option("--force", help="Let -o replace a file that exists.")]


def check_output(output: Path, *, force: bool) -> None:
    """Refuse, before the work, a file that cannot be written or would be overwritten."""
    from emovox.reports.figures import SUFFIXES

    known = (*SUFFIXES, PAGE)
    if output.suffix.lower() not in known:
        raise typer.BadParameter(f"-o {str(output)!r}: expected a name that ends with {', '.join(known)}")
    check_new(output, force=force)


def write(figure: Figure, output: Path, description: str) -> int:
    """Write the figure, whole or not at all, and return the exit code."""
    from emovox.reports.figures import inline_svg, write_figure
    from emovox.reports.html import page

    if output.suffix.lower() != PAGE:
        write_figure(figure, output)
    else:
        write_text(output, page(description, inline_svg(figure, description)))
    say(f"written: {output}")
    return 0


def read_document(path: Path, names: Sequence[str], made_by: str) -> dict[str, Any]:
    """Read the JSON document at ``path``, or the first of ``names`` in that folder.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    file = find_file(path, names, made_by)
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    if not isinstance(document, dict):
        raise ConfigError(f"{file} holds {type(document).__name__}; expected what {made_by} writes")
    return document


def read_table(path: Path, names: Sequence[str], made_by: str) -> list[dict[str, Any]]:
    """Read the rows of a JSON list, of JSON lines, or of CSV, whose cells become numbers or ``None``.

    Raises:
        ConfigError: there is none, or it cannot be read.
    """
    file = find_file(path, names, made_by)
    try:
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() == ".json":
            rows = json.loads(text)
        elif file.suffix.lower() == ".jsonl":
            rows = [json.loads(line) for line in text.splitlines() if line.strip()]
        else:
            table = csv.DictReader(text.splitlines(), strict=True)
            rows = [{key: _parse_cell(value) for key, value in row.items()} for row in table]
    except (OSError, ValueError, csv.Error) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ConfigError(f"{file} is no table: expected a list of rows with named columns")
    return rows


def find_file(path: Path, names: Sequence[str], made_by: str) -> Path:
    """Return ``path``, or the first of ``names`` in that folder.

    Raises:
        ConfigError: there is none.
    """
    if path.is_file():
        return path
    for name in names:
        if (path / name).is_file():
            return path / name
    what = f"no {' or '.join(names)} in it" if path.is_dir() else "nothing there"
    raise ConfigError(f"{str(path)!r}: {what}; expected what {made_by} writes")


def _parse_cell(text: str | None) -> Any:
    try:
        return float(text) if text else None
    except ValueError:
        return text
