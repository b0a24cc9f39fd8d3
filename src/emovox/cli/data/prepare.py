"""``emovox data prepare``: from a folder as it was downloaded to a manifest, and to 16 kHz sound."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from emovox.cli.data.common import (
    Corpus,
    FormOption,
    Labels,
    Report,
    SpeakerPattern,
    Workers,
    reading,
    show,
    source_name,
)
from emovox.cli.models import Form
from emovox.cli.outputs import check_new
from emovox.cli.terminal import Progress, say

if TYPE_CHECKING:
    from emovox.datasets import Manifest

__all__ = ["ContainerName", "prepare"]


class ContainerName(StrEnum):
    """What converted sound is kept in, both 16 bit."""

    flac = "flac"
    wav = "wav"


def prepare(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A corpus from `data list`, or folder, suffix, csv.")
    ],
    root: Annotated[
        Path, typer.Option("--root", metavar="DIR", help="Where it lies: its folder, or the table.")
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", metavar="FILE", help="The manifest to write: .csv, or .parquet."),
    ],
    audio: Annotated[
        Path | None,
        typer.Option("--audio", metavar="DIR", help="Also convert the sound to 16 kHz mono, into DIR."),
    ] = None,
    container: Annotated[
        ContainerName, typer.Option("--container", help="Of the converted sound.")
    ] = ContainerName.flac,
    labels: Labels = None,
    speaker: SpeakerPattern = None,
    corpus: Corpus = None,
    workers: Workers = 2,
    force: Annotated[bool, typer.Option("--force", help="Let -o replace a manifest that exists.")] = False,
    format: FormOption = Form.table,
) -> int:
    """Write the manifest of a corpus: who says what, with which expression, in which file.

    With --audio it can be stopped and run again: what is converted already is kept. A file that cannot
    be read costs only its own row.

    Exit code: 0 when every recording is in the manifest, 1 when some are not, each named.
    """
    source_name(name)
    check_new(output, force=force)
    from emovox.datasets import formats

    manifest, report = _read(name, root, reading(labels=labels, speaker=speaker, corpus=corpus))
    failed: list[dict[str, Any]] = []
    if audio is not None:
        manifest, failed = _converted(manifest, audio, container, workers)
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
    return 1 if failed or written.left_out or _kept_out(document["report"]) else 0


def _read(name: str, root: Path, options: Any) -> tuple[Manifest, Report]:
    from emovox.datasets import CORPORA, scan
    from emovox.datasets.formats import read

    return scan(name, root) if name in CORPORA else read(root, format=name, options=options)


def _kept_out(report: Any) -> bool:
    """Whether recordings that are there are not in the manifest; second copies are no loss."""
    return any(report.get(kind) for kind in ("unread", "empty", "outside", "unknown", "refused"))


def _converted(
    manifest: Manifest, audio: Path, container: ContainerName, workers: int
) -> tuple[Manifest, list[dict[str, Any]]]:
    from emovox.datasets.prepare import convert_tree, converted_manifest

    paths = list(dict.fromkeys(u.path for u in manifest))
    progress = Progress(len(paths))
    results = []
    for n, one in enumerate(
        convert_tree(manifest.root, audio, container=container.value, workers=workers, paths=paths), 1
    ):
        results.append(one)
        if one.error:
            progress.hide()
            say(f"{one.source}: {one.error}")
        progress.at(n)
    progress.hide()
    failed = [one.to_dict() for one in results if one.state == "failed"]
    return converted_manifest(manifest, audio, results), failed
