"""``emovox data convert``: a tree of sound to 16 kHz mono, or a table of a corpus to another format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emovox.audio import AUDIO_SUFFIXES
from emovox.cli.data.common import (
    Corpus,
    FormOption,
    Labels,
    Root,
    SpeakerPattern,
    Workers,
    manifest_at,
    reading,
    show,
)
from emovox.cli.data.prepare import ContainerName
from emovox.cli.models import Form
from emovox.cli.terminal import Progress, say

__all__ = ["convert"]

_TABLES = {".csv": "emovox", ".parquet": "parquet", ".jsonl": "emobox"}
"""What a name says about the format."""


def convert(
    source: Annotated[str, typer.Argument(metavar="SRC", help="A folder of sound; or a manifest, a table.")],
    target: Annotated[Path, typer.Argument(metavar="DST", help="The folder or file to write.")],
    to: Annotated[
        str | None,
        typer.Option(
            "--to", metavar="FORMAT", help="Write a table: nkululeko, kaldi, ... (docs/corpora.md)."
        ),
    ] = None,
    from_: Annotated[
        str | None,
        typer.Option("--from", metavar="FORMAT", help="What SRC is; found out by itself unless given."),
    ] = None,
    container: Annotated[
        ContainerName, typer.Option("--container", help="Of converted sound.")
    ] = ContainerName.flac,
    root: Root = None,
    labels: Labels = None,
    speaker: SpeakerPattern = None,
    corpus: Corpus = None,
    audio: Annotated[
        Path | None,
        typer.Option("--audio", metavar="DIR", help="Where sound that is embedded in SRC is written."),
    ] = None,
    absolute: Annotated[bool, typer.Option("--absolute", help="Write whole paths into a table.")] = False,
    workers: Workers = 2,
    force: Annotated[bool, typer.Option("--force", help="Replace a table that exists.")] = False,
    format: FormOption = Form.table,
) -> int:
    """Convert a folder of any sound to 16 kHz mono, or what is known about a corpus to another format.

    Sound: it can be stopped and run again; what is done is kept. Tables: what the format cannot hold is told.

    Exit code: 0 when all worked, 1 when some recordings or rows are not in DST, each named.
    """
    if to is None and from_ is None and target.suffix.lower() not in _TABLES and _is_sound(Path(source)):
        return _sound(Path(source), target, container, workers, format)
    from emovox.datasets import formats

    options = reading(root=root, corpus=corpus, labels=labels, speaker=speaker, audio=audio)
    kind = to or _kind_of(target)
    manifest, report = manifest_at(source, options, format=from_)
    written = formats.write(manifest, target, format=kind, absolute=absolute, force=force)
    found = report.to_dict()
    document = {
        "written": str(target),
        "n_utterances": written.n_rows,
        "lost": dict(written.lost),
        "left_out": [list(pair) for pair in written.left_out],
        "report": found,
    }
    show([*report.lines(), *written.lines()], document, format)
    out = any(found.get(name) for name in ("unknown", "refused", "unread", "empty", "outside"))
    return 1 if out or written.left_out else 0


def _is_sound(path: Path) -> bool:
    if path.is_file():
        return path.suffix.lower() in AUDIO_SUFFIXES
    return path.is_dir()


def _kind_of(target: Path) -> str:
    if target.suffix.lower() in _TABLES:
        return _TABLES[target.suffix.lower()]
    raise typer.BadParameter(f"--to is missing, and {str(target)!r} does not say the format by its name")


def _sound(source: Path, target: Path, container: ContainerName, workers: int, form: Form) -> int:
    from emovox.datasets.prepare import convert_tree

    root, paths = (source.parent, [source.name]) if source.is_file() else (source, None)
    rows = []
    n = 0
    progress: Progress | None = None
    for n, one in enumerate(
        convert_tree(root, target, container=container.value, workers=workers, paths=paths), 1
    ):
        progress = progress or Progress(_count(root) if paths is None else 1)
        rows.append(one)
        if one.error:
            progress.hide()
            say(f"{one.source}: {one.error}")
        progress.at(n)
    if progress is not None:
        progress.hide()
    states = [one.state for one in rows]
    told = (
        f"{states.count('made')} converted, {states.count('kept')} were there already, "
        f"{states.count('failed')} failed: {target}"
    )
    if not rows:
        told = f"no recording in {str(source)!r}"
    show([told], [one.to_dict() for one in rows], form)
    return 1 if "failed" in states or not rows else 0


def _count(root: Path) -> int:
    from emovox.datasets.scan import walk

    return sum(Path(path).suffix.lower() in AUDIO_SUFFIXES for path, _ in walk(root))
