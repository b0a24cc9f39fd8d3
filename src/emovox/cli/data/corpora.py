"""``emovox data list``, ``check`` and ``download``: which corpora there are, and whether one is complete."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emovox.cli.data.common import (
    Corpus,
    FormOption,
    Labels,
    SpeakerPattern,
    Workers,
    check_source_name,
    read_options,
    show,
    table,
)
from emovox.cli.models import Form
from emovox.cli.terminal import Progress, say

__all__ = ["check", "download", "list_corpora"]

_FACTS = (
    *("name", "title", "licence", "commercial", "citation", "url", "access", "language", "n_clips"),
    *("n_speakers", "emotions", "known_defects", "people", "complete"),
)
"""What ``--format json`` says of a corpus."""

_MIB = 1 << 20


def list_corpora(format: FormOption = Form.table) -> None:
    """List the corpora that emovox reads: size, language, licence, and how to get them."""
    from emovox.datasets import CORPORA
    from emovox.datasets.download import SOURCES

    facts = [
        {**{fact: getattr(corpus, fact) for fact in _FACTS}, "download": name in SOURCES}
        for name, corpus in CORPORA.items()
    ]
    rows = [
        (
            *(f[k] for k in ("name", "n_clips", "n_speakers", "language")),
            len(f["emotions"]),
            "yes" if f["download"] else "by hand",
            "yes" if f["commercial"] else "no",
            f["licence"],
        )
        for f in facts
    ]
    heads = ("name", "clips", "speakers", "language", "emotions", "download", "commercial", "licence")
    foot = ["", "`emovox data download NAME` downloads a corpus, or says how to get it."]
    show([*table(heads, rows), *foot], facts, format)


def check(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="A corpus from `data list`, or folder, suffix, csv.")
    ],
    root: Annotated[Path, typer.Option("--root", metavar="DIR", help="Its folder, or the table.")],
    labels: Labels = None,
    speaker: SpeakerPattern = None,
    corpus: Corpus = None,
    all: Annotated[bool, typer.Option("--all", help="Name every file, not the first few of a kind.")] = False,
    format: FormOption = Form.table,
) -> int:
    """Report what of a corpus is missing, extra, misnamed or duplicate, and its known defects.

    Exit code: 0 when it is complete, 1 when something is not as it should be.
    """
    from emovox.datasets.formats import ImportReport
    from emovox.datasets.loading import read_corpus
    from emovox.datasets.scan import ScanReport

    check_source_name(name)
    report: ScanReport | ImportReport
    _, report = read_corpus(name, root, read_options(labels=labels, speaker=speaker, corpus=corpus))
    show(report.lines(**({"most": 1 << 30} if all else {})), report.to_dict(), format)
    return 0 if report.ok else 1


def download(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A corpus from `emovox data list`.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="DIR", help="Folder of archives and their content.")
    ] = Path(),
    workers: Workers = 4,
    unpack: Annotated[bool, typer.Option("--unpack/--no-unpack", help="Unpack the archives too.")] = True,
    format: FormOption = Form.table,
) -> int:
    """Download a corpus from its publisher; the same command resumes an interrupted download.

    A corpus that is published under terms, or without a stable address, is not downloaded: the command says
    how to get it.

    Exit code: 0 when all is there, 1 when a file failed, 2 when the corpus cannot be downloaded.
    """
    from emovox.datasets import download as downloading
    from emovox.errors import DownloadError

    instructions = downloading.instructions(name)  # refuses an unknown name
    if name not in downloading.SOURCES:
        say(f"{name} cannot be downloaded by a program. {instructions}")
        return 2
    files, folder = downloading.SOURCES[name], output / name
    total = sum(remote.n_bytes or 0 for remote in files)
    bar = Progress(max(1, total // _MIB), enabled=total > 0)
    done = 0

    def advance(n_bytes: int) -> None:
        nonlocal done
        done += n_bytes
        bar.at(done / _MIB)

    rows = []
    for result in downloading.download_files(files, folder, workers=workers, progress=advance):
        error, place = result.error, result.path
        if place is not None and unpack:
            try:
                place = downloading.unpack(place, folder)
            except DownloadError as problem:
                error = str(problem)
        bar.hide()
        if error:
            say(error)
        rows.append({"file": result.remote.name, "path": str(place) if place else None, "error": error})
    lines = [f"{row['file']}: {row['path']}" for row in rows if not row["error"]]
    failed = any(row["error"] for row in rows)
    next_step = [] if failed else [f"next:  emovox data check {name} --root {folder}"]
    show([*lines, *next_step], rows, format)
    return 1 if failed else 0
