"""Options and output that the commands on data share."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emovox.cli.models import Form
from emovox.cli.terminal import clean, pad, width
from emovox.errors import did_you_mean

if TYPE_CHECKING:
    from emovox.datasets.formats import ReadOptions

__all__ = [
    "TREES",
    "Corpus",
    "DropUnknown",
    "FormOption",
    "Labels",
    "Root",
    "SpeakerPattern",
    "Workers",
    "check_source_name",
    "is_incomplete",
    "read_options",
    "show",
    "table",
]

TREES = ("folder", "suffix", "csv")
"""Formats that may be named in place of a corpus."""

FormOption = Annotated[Form, typer.Option("--format", "-f", help="Format of the output.")]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="NAME=LABEL", help="The meaning of a label of this data; repeatable."),
]
Root = Annotated[
    Path | None, typer.Option("--root", metavar="DIR", help="The folder that relative paths start from.")
]
SpeakerPattern = Annotated[
    str | None,
    typer.Option("--speaker", metavar="REGEX", help="Finds the speaker in a path: its first group."),
]
Corpus = Annotated[str | None, typer.Option("--corpus", metavar="NAME", help="Which corpus this is.")]
Workers = Annotated[int, typer.Option("--workers", min=1, metavar="N", help="Threads to use.")]
DropUnknown = Annotated[
    bool,
    typer.Option("--drop-unknown", help="Leave out rows without a label; otherwise they stop the command."),
]


def show(lines: Iterable[str], document: Any, form: Form) -> None:
    """Write to stdout: lines for people, or one JSON document."""
    if form is Form.json:
        typer.echo(json.dumps(document, ensure_ascii=True, indent=2))
    else:
        for line in lines:
            typer.echo(_printable(line))


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of aligned columns, numbers to the right."""
    cells = [[clean(_printable("" if c is None else str(c))) for c in row] for row in rows]
    columns = [max(map(width, column)) for column in zip(heads, *cells, strict=True)]
    numeric = [all(re.fullmatch(r"[-\d.,]*", c) for c in column) for column in zip(*cells, strict=True)]
    numeric = numeric or [False] * len(heads)

    def line(row: Sequence[str]) -> str:
        aligned = zip(row, columns, numeric, strict=True)
        return "  ".join(
            f"{' ' * (n - width(c))}{c}" if to_right else pad(c, n) for c, n, to_right in aligned
        ).rstrip()

    return [line(heads), *map(line, cells)]


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def check_source_name(name: str) -> None:
    """Refuse a name that is no corpus and no format."""
    from emovox.datasets import CORPORA
    from emovox.datasets.formats import FORMATS

    known = (*CORPORA, *TREES, *FORMATS)
    if name not in known:
        hint = did_you_mean(name.lower(), known, listed=(*CORPORA, *TREES))
        raise typer.BadParameter(f"no corpus {name!r}; {hint}")


def is_incomplete(report: Mapping[str, Any]) -> bool:
    """Whether recordings are missing from the manifest; second copies are no loss."""
    return any(report.get(kind) for kind in ("unread", "empty", "outside", "unknown", "refused"))


def read_options(
    *,
    root: Path | None = None,
    corpus: str | None = None,
    labels: Sequence[str] | None = None,
    speaker: str | None = None,
    audio: Path | None = None,
) -> ReadOptions:
    """The options for reading, from what was typed."""
    from emovox.datasets.formats import ReadOptions
    from emovox.labels import normalize_label

    try:
        pattern = None if speaker is None else re.compile(speaker)
    except re.error as error:
        raise typer.BadParameter(f"--speaker {speaker!r} is no regular expression: {error}") from error
    meanings: dict[str, str] = {}
    for pair in labels or ():
        name, sign, label = pair.rpartition("=")
        if not sign or not name:
            raise typer.BadParameter(f"--label {pair!r}: expected NAME=LABEL, such as hangry=angry")
        meanings[name] = meanings[name.lower()] = normalize_label(label)
    return ReadOptions(root=root, corpus=corpus, labels=meanings, speaker=pattern, audio=audio)
