"""``emovox data prepare`` and ``convert``: write a manifest, other formats, and 16 kHz sound."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from emovox.audio import AUDIO_SUFFIXES
from emovox.cli.data.common import (
    Corpus,
    FormOption,
    Labels,
    Root,
    SpeakerPattern,
    Workers,
    check_source_name,
    is_incomplete,
    read_options,
    show,
)
from emovox.cli.models import Form
from emovox.cli.outputs import check_new
from emovox.cli.terminal import Progress, say

if TYPE_CHECKING:
    from emovox.datasets.prepare import ConvertedFile

__all__ = ["ContainerName", "convert", "prepare"]

_TABLES = {".csv": "emovox", ".parquet": "parquet", ".jsonl": "emobox"}
"""Suffix of a target -> its format."""


class ContainerName(StrEnum):
    """File format of converted sound, both 16 bit."""

    flac = "flac"
    wav = "wav"


Container = Annotated[ContainerName, typer.Option("--container", help="Format of converted sound.")]


def prepare(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A corpus from `data list`, or folder, suffix, csv.")
    ],
    root: Annotated[Path, typer.Option("--root", metavar="DIR", help="Its folder, or the table.")],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="The manifest to write: .csv, or .parquet."),
    ],
    audio: Annotated[
        Path | None,
        typer.Option("--audio", metavar="DIR", help="Also convert the sound to 16 kHz mono, into DIR."),
    ] = None,
    container: Container = ContainerName.flac,
    labels: Labels = None,
    speaker: SpeakerPattern = None,
    corpus: Corpus = None,
    workers: Workers = 2,
    force: Annotated[bool, typer.Option("--force", help="Let -o replace a manifest that exists.")] = False,
    format: FormOption = Form.table,
) -> int:
    """Write the manifest of a corpus: who says what, with which expression, in which file.

    With --audio, the same command resumes an interrupted conversion. A file that cannot be read is left out
    and named.

    Exit code: 0 when every recording is in the manifest, 1 when some are not, each named.
    """
    check_source_name(name)
    check_new(output, force=force)
    from emovox.datasets import formats
    from emovox.datasets.loading import read_corpus
    from emovox.datasets.prepare import convert_tree, converted_manifest

    options = read_options(labels=labels, speaker=speaker, corpus=corpus)
    manifest, report = read_corpus(name, root, options)
    results: list[ConvertedFile] = []
    if audio is not None:
        paths = list(dict.fromkeys(u.path for u in manifest))
        converting = convert_tree(
            manifest.root, audio, container=container.value, workers=workers, paths=paths
        )
        results = _report_progress(converting, len(paths))
        manifest = converted_manifest(manifest, audio, results)
    failed = [one.to_dict() for one in results if one.state == "failed"]
    kind = "parquet" if output.suffix.lower() == ".parquet" else "emovox"
    written = formats.write(manifest, output, format=kind, force=force)
    document = {
        "manifest": str(output),
        "n_utterances": written.n_rows,
        "report": report.to_dict(),
        "failed": failed,
        "left_out": [list(pair) for pair in written.left_out],
    }
    show([*report.lines(), *written.lines()], document, format)
    return 1 if failed or written.left_out or is_incomplete(report.to_dict()) else 0


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
        typer.Option("--from", metavar="FORMAT", help="Format of SRC; guessed unless given."),
    ] = None,
    container: Container = ContainerName.flac,
    root: Root = None,
    labels: Labels = None,
    speaker: SpeakerPattern = None,
    corpus: Corpus = None,
    audio: Annotated[
        Path | None,
        typer.Option("--audio", metavar="DIR", help="Folder for sound that is embedded in SRC."),
    ] = None,
    absolute: Annotated[bool, typer.Option("--absolute", help="Write whole paths into a table.")] = False,
    workers: Workers = 2,
    force: Annotated[bool, typer.Option("--force", help="Replace a table that exists.")] = False,
    format: FormOption = Form.table,
) -> int:
    """Convert a folder of any sound to 16 kHz mono, or the manifest of a corpus to another format.

    Sound: the same command resumes an interrupted conversion. Tables: what the format cannot hold is listed.

    Exit code: 0 on success, 1 when some recordings or rows are not in DST, each named.
    """
    place = Path(source)
    is_sound = place.is_dir() or (place.is_file() and place.suffix.lower() in AUDIO_SUFFIXES)
    if to is None and from_ is None and target.suffix.lower() not in _TABLES and is_sound:
        return _convert_sound(place, target, container, workers, format)
    if to is None and target.suffix.lower() not in _TABLES:
        raise typer.BadParameter(f"--to is missing, and the name {str(target)!r} does not give the format")
    from emovox.datasets import formats
    from emovox.datasets.loading import read_source

    options = read_options(root=root, corpus=corpus, labels=labels, speaker=speaker, audio=audio)
    manifest, report = read_source(source, options, format=from_)
    kind = to or _TABLES[target.suffix.lower()]
    written = formats.write(manifest, target, format=kind, absolute=absolute, force=force)
    document = {
        "written": str(target),
        "n_utterances": written.n_rows,
        "lost": dict(written.lost),
        "left_out": [list(pair) for pair in written.left_out],
        "report": report.to_dict(),
    }
    show([*report.lines(), *written.lines()], document, format)
    return 1 if written.left_out or is_incomplete(report.to_dict()) else 0


def _convert_sound(source: Path, target: Path, container: ContainerName, workers: int, form: Form) -> int:
    from emovox.datasets.prepare import convert_tree
    from emovox.datasets.scan import walk_audio

    root, paths = (source.parent, [source.name]) if source.is_file() else (source, None)
    converting = convert_tree(root, target, container=container.value, workers=workers, paths=paths)
    rows = _report_progress(converting, sum(1 for _ in walk_audio(root)) if paths is None else 1)
    states = [one.state for one in rows]
    line = (
        f"{states.count('made')} converted, {states.count('kept')} were there already, "
        f"{states.count('failed')} failed: {target}"
    )
    show([line if rows else f"no recording in {str(source)!r}"], [one.to_dict() for one in rows], form)
    return 1 if "failed" in states or not rows else 0


def _report_progress(converting: Iterable[ConvertedFile], total: int) -> list[ConvertedFile]:
    """Convert, with a bar, and name the files that fail."""
    progress, results = Progress(total), []
    for n, one in enumerate(converting, 1):
        results.append(one)
        if one.error:
            progress.hide()
            say(f"{one.source}: {one.error}")
        progress.at(n)
    progress.hide()
    return results
