"""What the commands on data share: names, options, answers, files that are not replaced unasked."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

import typer

from emovox.cli.models import Form
from emovox.cli.terminal import clean, pad, width
from emovox.errors import did_you_mean

if TYPE_CHECKING:
    from emovox.datasets import Manifest
    from emovox.datasets.formats import ReadOptions

__all__ = [
    "TREES",
    "Corpus",
    "DropUnknown",
    "FormOption",
    "Labels",
    "Report",
    "Root",
    "SpeakerPattern",
    "Workers",
    "manifest_at",
    "reading",
    "show",
    "source_name",
    "table",
]

TREES = ("folder", "suffix", "csv")
"""Names that stand beside those of the corpora: foreign trees and tables."""

FormOption = Annotated[Form, typer.Option("--format", "-f", help="How the answer looks.")]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="NAME=EMOTION", help="What an emotion of this data means; repeatable."),
]
Root = Annotated[
    Path | None, typer.Option("--root", metavar="DIR", help="The folder that relative paths start from.")
]
SpeakerPattern = Annotated[
    str | None,
    typer.Option("--speaker", metavar="REGEX", help="Finds the speaker in a path: its first group."),
]
Corpus = Annotated[str | None, typer.Option("--corpus", metavar="NAME", help="Which corpus this is.")]
DropUnknown = Annotated[
    bool,
    typer.Option("--drop-unknown", help="Leave out rows without a label; otherwise they stop the command."),
]
Workers = Annotated[int, typer.Option("--workers", min=1, metavar="N", help="Threads to use.")]


class Report(Protocol):
    """What can be shown to people and to machines."""

    def lines(self) -> Iterable[str]:
        """For people."""

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""


def show(lines: Iterable[str], document: Any, form: Form) -> None:
    """Write an answer to stdout: lines for people, or one JSON document."""
    if form is Form.json:
        typer.echo(json.dumps(document, ensure_ascii=True, indent=2))
    else:
        for line in lines:
            typer.echo(_printable(line))


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> list[str]:
    """Lines of aligned columns; figures stand to the right."""
    cells = [[clean(_printable("" if c is None else str(c))) for c in row] for row in rows]
    columns = [max(map(width, column)) for column in zip(heads, *cells, strict=True)]
    right = [all(re.fullmatch(r"[-\d.,]*", c) for c in column) for column in zip(*cells, strict=True)]
    right = right or [False] * len(heads)

    def line(row: Sequence[str]) -> str:
        placed = zip(row, columns, right, strict=True)
        return "  ".join(
            f"{' ' * (n - width(c))}{c}" if to_right else pad(c, n) for c, n, to_right in placed
        ).rstrip()

    return [line(heads), *map(line, cells)]


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def source_name(name: str) -> str:
    """``name`` if it is a corpus or a foreign tree; else a usage error that names the nearest."""
    from emovox.datasets import CORPORA
    from emovox.datasets.formats import FORMATS

    known = (*CORPORA, *TREES, *FORMATS)
    if name in known:
        return name
    raise typer.BadParameter(
        f"no corpus {name!r}; {did_you_mean(name.lower(), known, listed=(*CORPORA, *TREES))}"
    )


def reading(
    *,
    root: Path | None = None,
    corpus: str | None = None,
    labels: Sequence[str] | None = None,
    speaker: str | None = None,
    audio: Path | None = None,
) -> ReadOptions:
    """The options of a foreign table out of what was typed."""
    from emovox.datasets.formats import ReadOptions

    try:
        pattern = None if speaker is None else re.compile(speaker)
    except re.error as error:
        raise typer.BadParameter(f"--speaker {speaker!r} is no regular expression: {error}") from error
    return ReadOptions(root=root, corpus=corpus, labels=_labels(labels or ()), speaker=pattern, audio=audio)


def _labels(pairs: Sequence[str]) -> Mapping[str, str]:
    from emovox.labels import normalize_label

    meanings: dict[str, str] = {}
    for pair in pairs:
        name, sign, emotion = pair.rpartition("=")
        if not sign or not name:
            raise typer.BadParameter(f"--label {pair!r}: expected NAME=EMOTION, such as hangry=angry")
        meanings[name] = meanings[name.lower()] = normalize_label(emotion)
    return meanings


def manifest_at(path: str, options: ReadOptions, *, format: str | None = None) -> tuple[Manifest, Report]:
    """The manifest at ``path``: a corpus's own folder if a corpus is named, else whatever is recognised.

    Where there is no such path, ``path`` may be the name of a corpus that lies at ``--root``.
    """
    from emovox.datasets import CORPORA, scan
    from emovox.datasets.formats import guess, read

    if path in CORPORA and options.root is not None and not Path(path).exists():
        return scan(path, options.root)
    if format is None and options.corpus in CORPORA and Path(path).is_dir():
        form = guess(path) if any(Path(path).glob("*.*")) and _is_table_folder(Path(path)) else None
        if form is None:
            return scan(options.corpus, path)
    return read(path, format=format, options=options)


def _is_table_folder(folder: Path) -> bool:
    marks = ("wav.scp", "db.yaml", "state.json", "dataset_dict.json", "metadata.jsonl", "metadata.csv")
    return any((folder / mark).is_file() for mark in marks)
